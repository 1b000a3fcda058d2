package agent

import (
	"container/heap"
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stepwatch/stepwatch/agent/alert"
	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
)

// PlanRunner runs a plan once. Runner implements it and documents what a run guarantees.
type PlanRunner interface {
	Run(ctx context.Context, p *Plan, o Occasion) *result.Result
	Abandoned() int
}

// Sink takes results. The agent calls it from one goroutine at a time. The result is shared and must not be changed.
type Sink interface {
	Export(*result.Result)
}

// AlertSink is a Sink that also takes alerts. It gets an alert after the result that changed it.
type AlertSink interface {
	Alert(alert.Alert)
}

// Agent runs plans on their schedules until it is stopped. Its fields are set before Run.
type Agent struct {
	Runner  PlanRunner
	Plans   []*Plan
	Sinks   map[string]Sink // by name, for the count of dropped results
	Rules   []alert.Source
	Workers int           // maximum number of concurrent runs; zero means defaultWorkers
	Grace   time.Duration // time for runs in progress to end when the agent stops; zero means five seconds
	Log     *slog.Logger

	// Mistakes counts the mistakes in the loaded files, by path. It is part of Stats.
	Mistakes map[string]int

	once    sync.Once
	entries []*entry
	queues  map[string]*sinkQueue
	running atomic.Int64
	ending  sync.RWMutex // guards ended, after which the queues are closed
	ended   bool
}

// defaultWorkers is the default number of concurrent runs. A run mostly waits for the network and uses about 50 kB.
const defaultWorkers = 256

// queueLength is how many results may wait for a sink before results are dropped.
const queueLength = 1024

// entry is the schedule of one plan. Only the dispatcher accesses it, except for the counters.
type entry struct {
	plan    *Plan
	due     time.Time // of the next scheduled run
	retry   time.Time // of a quick repetition after a failure; zero if there is none
	start   time.Time // due time of the waiting or current run
	busy    bool      // waiting for a worker or in progress
	attempt int       // of the next run
	index   int       // in the heap

	missed atomic.Uint64
	late   atomic.Uint64
}

// next returns the next due time of the entry.
func (e *entry) next() time.Time {
	if !e.retry.IsZero() && e.retry.Before(e.due) {
		return e.retry
	}
	return e.due
}

func (a *Agent) init() {
	a.once.Do(func() {
		if a.Log == nil {
			a.Log = slog.New(slog.DiscardHandler)
		}
		if a.Workers == 0 {
			a.Workers = defaultWorkers
		}
		for _, p := range a.Plans {
			if p.Schedule.Interval > 0 && !p.Scenario.Policy.Manual {
				a.entries = append(a.entries, &entry{plan: p, attempt: 1})
			}
		}
		a.queues = make(map[string]*sinkQueue, len(a.Sinks))
		for name, sink := range a.Sinks {
			a.queues[name] = &sinkQueue{sink: sink, items: make(chan delivery, queueLength)}
		}
	})
}

// Stats returns a snapshot of the agent's own state. It may be called at any time, from any goroutine.
func (a *Agent) Stats() result.Stats {
	a.init()
	s := result.Stats{Running: int(a.running.Load()), Workers: a.Workers, Abandoned: a.Runner.Abandoned(),
		Mistakes: a.Mistakes, Scenarios: make([]result.ScenarioStats, 0, len(a.entries)), Dropped: make(map[string]uint64, len(a.queues))}
	for _, e := range a.entries {
		s.Scenarios = append(s.Scenarios, result.ScenarioStats{Identity: e.plan.Identity, Interval: e.plan.Schedule.Interval,
			Missed: e.missed.Load(), Late: e.late.Load()})
	}
	for name, q := range a.queues {
		s.Dropped[name] = q.dropped.Load()
	}
	return s
}

// Run dispatches the plans until ctx ends. Then it starts no more runs and waits up to Grace for those in progress. It
// stops the rest, drops their results, which prove nothing, and lets them clean up. It returns once every sink has taken
// its queue. It must be called only once.
func (a *Agent) Run(ctx context.Context) {
	a.init()
	var sinks sync.WaitGroup
	for _, q := range a.queues {
		sinks.Go(q.deliver)
	}
	runs, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	d := &dispatcher{agent: a, runs: runs, completed: make(chan completion, len(a.entries))}
	d.loop(ctx)
	d.drain(stop)
	a.ending.Lock() // nobody else puts anything into the queues
	a.ended = true
	for _, q := range a.queues {
		close(q.items)
	}
	a.ending.Unlock()
	sinks.Wait()
}

// completion is a run that has ended.
type completion struct {
	entry  *entry
	result *result.Result
}

// dispatcher runs the schedule in one goroutine, which owns every entry.
type dispatcher struct {
	agent     *Agent
	runs      context.Context // parent context of every run
	queue     entryHeap
	waiting   []*entry // due, waiting for a worker; first come, first served
	completed chan completion
}

func (d *dispatcher) loop(ctx context.Context) {
	now := time.Now()
	for _, e := range d.agent.entries {
		e.due = e.plan.Schedule.first(now)
		e.index = len(d.queue)
		d.queue = append(d.queue, e)
	}
	heap.Init(&d.queue)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if len(d.queue) > 0 {
			timer.Reset(time.Until(d.queue[0].next()))
		}
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case c := <-d.completed:
			d.end(c)
		}
		d.collect(time.Now())
		d.start(time.Now())
	}
}

// collect moves every due entry to the waiting list, and counts missed runs.
func (d *dispatcher) collect(now time.Time) {
	for len(d.queue) > 0 && !d.queue[0].next().After(now) {
		e := d.queue[0]
		due := e.next()
		if due.Equal(e.due) {
			e.due = e.due.Add(e.plan.Schedule.Interval)
		}
		e.retry = time.Time{} // this run replaces the repetition
		if e.busy {
			e.missed.Add(1)
		} else {
			e.busy, e.start = true, due
			d.waiting = append(d.waiting, e)
		}
		heap.Fix(&d.queue, 0)
	}
}

// start gives waiting entries to free workers.
func (d *dispatcher) start(now time.Time) {
	a := d.agent
	for len(d.waiting) > 0 && int(a.running.Load()) < a.Workers {
		e := d.waiting[0]
		d.waiting = d.waiting[1:]
		if now.Sub(e.start) > result.LateAfter {
			e.late.Add(1)
		}
		a.running.Add(1)
		occasion := Occasion{Due: e.start, Attempt: e.attempt, Interval: e.plan.Schedule.Interval}
		go func() {
			res := a.Runner.Run(d.runs, e.plan, occasion)
			a.hand(res)
			d.completed <- completion{e, res}
		}()
	}
}

// end releases the entry and decides on a quick repetition.
func (d *dispatcher) end(c completion) {
	d.agent.running.Add(-1)
	e := c.entry
	e.busy = false
	if c.result.State() == result.OK {
		e.attempt = 1
		return
	}
	if c.result.Lack != nil { // it proved nothing, so it is no attempt; a long interval is not waited for
		if e.plan.Schedule.Interval > lackRetry {
			e.retry = time.Now().Add(lackRetry)
			heap.Fix(&d.queue, e.index)
		}
		return
	}
	if e.attempt <= e.plan.Retries {
		e.retry = time.Now().Add(retryAfter(e.plan.Schedule.Interval))
		heap.Fix(&d.queue, e.index)
	}
	e.attempt++
}

// lackRetry is the pause before the repetition of a run in which the machine of stepwatch lacked something.
const lackRetry = time.Minute

// retryAfter returns the pause before a quick repetition: a quarter of the interval, at most ten seconds.
func retryAfter(interval time.Duration) time.Duration { return min(interval/4, 10*time.Second) }

// drain waits for the runs in progress and stops them when Grace is over. It ends because every run ends.
func (d *dispatcher) drain(stop context.CancelCauseFunc) {
	grace := time.NewTimer(orDefault(d.agent.Grace, 5*time.Second))
	defer grace.Stop()
	for d.agent.running.Load() > 0 {
		select {
		case <-d.completed:
			d.agent.running.Add(-1)
		case <-grace.C:
			stop(steps.ErrStopped)
		}
	}
}

// hand sends a result, and the alerts that it changes, to every sink.
func (a *Agent) hand(res *result.Result) {
	if res.Reason == result.ReasonCanceled {
		a.Log.Info("run stopped", "scenario", res.Identity.String())
		return
	}
	if res.Cleanup != "" {
		a.Log.Warn("clean-up incomplete", "scenario", res.Identity.String(), "left", res.Cleanup)
	}
	d := delivery{result: res}
	for _, rule := range a.Rules {
		for _, change := range rule.Observe(res) {
			if change.Lack != nil {
				d.alerts = append(d.alerts, a.logLack(change))
				continue
			}
			a.Log.Info("alert "+string(change.State), "rule", change.Rule, "scenario", res.Identity.String(), "state", change.Severity.String(), "summary", change.Summary)
			d.alerts = append(d.alerts, change)
		}
	}
	for _, q := range a.queues {
		q.put(d)
	}
}

type delivery struct {
	result *result.Result // nil if there are only alerts
	alerts []alert.Alert
}

// sinkQueue isolates a slow sink from the others and from the schedule.
type sinkQueue struct {
	sink    Sink
	items   chan delivery
	dropped atomic.Uint64
}

func (q *sinkQueue) put(d delivery) {
	select {
	case q.items <- d:
	default:
		q.dropped.Add(1)
	}
}

func (q *sinkQueue) deliver() {
	alerts, wantsAlerts := q.sink.(AlertSink)
	for d := range q.items {
		if d.result != nil {
			q.sink.Export(d.result)
		}
		if wantsAlerts {
			for _, a := range d.alerts {
				alerts.Alert(a)
			}
		}
	}
}

// entryHeap orders entries by their next due time.
type entryHeap []*entry

func (h entryHeap) Len() int           { return len(h) }
func (h entryHeap) Less(i, j int) bool { return h[i].next().Before(h[j].next()) }
func (h entryHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push implements heap.Interface.
func (h *entryHeap) Push(x any) { *h = append(*h, x.(*entry)) }

// Pop implements heap.Interface.
func (h *entryHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}
