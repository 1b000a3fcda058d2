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

// PlanRunner runs a plan once. A Runner is one, and says what is promised.
type PlanRunner interface {
	Run(ctx context.Context, p *Plan, o Occasion) *result.Result
	Abandoned() int
}

// Sink takes results. The agent calls it from one goroutine at a time; the result is shared and must not be changed.
type Sink interface {
	Export(*result.Result)
}

// AlertSink is a Sink that wants alerts too. It gets an alert after the result that changed it.
type AlertSink interface {
	Alert(alert.Alert)
}

// Agent runs plans on their schedules until it is told to stop. Its fields are set before Run.
type Agent struct {
	Runner  PlanRunner
	Plans   []*Plan
	Sinks   map[string]Sink // by the name that their drops are counted under
	Rules   []alert.Source
	Workers int           // runs in progress at once, at most; zero means DefaultWorkers
	Grace   time.Duration // what runs in progress get to end by themselves when the agent is told to stop; zero means five seconds
	Log     *slog.Logger

	once    sync.Once
	entries []*entry
	queues  map[string]*sinkQueue
	running atomic.Int64
}

// DefaultWorkers is how many runs may be in progress at once. A run mostly waits for the network and holds some 50 kB.
const DefaultWorkers = 256

// queueLength is how many results a sink may be behind before results are dropped for it.
const queueLength = 1024

// entry is one plan's place in the schedule. Only the dispatcher touches it, but for the counters.
type entry struct {
	plan    *Plan
	due     time.Time // of the next scheduled run
	retry   time.Time // of a quick repetition after a failure; zero when none is wanted
	start   time.Time // due time of the run that is waiting or in progress
	busy    bool      // waiting for a worker or in progress
	attempt int       // of the next run
	index   int       // in the heap

	missed atomic.Uint64
	late   atomic.Uint64
}

// next is when the entry wants attention.
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
			a.Workers = DefaultWorkers
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

// Stats is a snapshot of the agent's own conduct. It may be called at any time, from any goroutine.
func (a *Agent) Stats() result.Stats {
	a.init()
	s := result.Stats{Running: int(a.running.Load()), Workers: a.Workers, Abandoned: a.Runner.Abandoned(),
		Scenarios: make([]result.ScenarioStats, 0, len(a.entries)), Dropped: make(map[string]uint64, len(a.queues))}
	for _, e := range a.entries {
		s.Scenarios = append(s.Scenarios, result.ScenarioStats{Identity: e.plan.Identity, Interval: e.plan.Schedule.Interval,
			Missed: e.missed.Load(), Late: e.late.Load()})
	}
	for name, q := range a.queues {
		s.Dropped[name] = q.dropped.Load()
	}
	return s
}

// Run dispatches the plans until ctx ends. It then starts nothing more, gives what is in progress Grace to end, stops
// the rest (whose results prove nothing and are not handed on), lets it clean up, and returns once every sink has taken
// what was queued for it. It must be called once.
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
	for _, q := range a.queues {
		close(q.items)
	}
	sinks.Wait()
}

// completion is a run that ended.
type completion struct {
	entry  *entry
	result *result.Result
}

// dispatcher is the schedule at work: one goroutine that owns every entry.
type dispatcher struct {
	agent     *Agent
	runs      context.Context // of every run
	queue     entryHeap
	waiting   []*entry // due, and no worker free; first come, first served
	completed chan completion
}

func (d *dispatcher) loop(ctx context.Context) {
	now := time.Now()
	for _, e := range d.agent.entries {
		e.due = e.plan.Schedule.First(now)
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

// collect takes every entry that is due into the waiting line, and counts what could not be.
func (d *dispatcher) collect(now time.Time) {
	for len(d.queue) > 0 && !d.queue[0].next().After(now) {
		e := d.queue[0]
		due := e.next()
		if due.Equal(e.due) {
			e.due = e.due.Add(e.plan.Schedule.Interval)
		}
		e.retry = time.Time{} // it is this run, or the scheduled one came first and does as well
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

// end frees the entry and decides on a quick repetition.
func (d *dispatcher) end(c completion) {
	d.agent.running.Add(-1)
	e := c.entry
	e.busy = false
	if c.result.State() == result.OK {
		e.attempt = 1
		return
	}
	if e.attempt <= e.plan.Retries {
		e.retry = time.Now().Add(retryAfter(e.plan.Schedule.Interval))
		heap.Fix(&d.queue, e.index)
	}
	e.attempt++
}

// retryAfter is the pause before a quick repetition: a quarter of the interval, at most ten seconds.
func retryAfter(interval time.Duration) time.Duration { return min(interval/4, 10*time.Second) }

// drain waits for the runs in progress, stopping them when Grace is over. It ends because every run does.
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

// hand gives a result, and the alerts that it changes, to every sink.
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
			a.Log.Info("alert "+string(change.State), "rule", change.Rule, "scenario", res.Identity.String(), "state", change.Severity.String(), "summary", change.Summary)
			d.alerts = append(d.alerts, change)
		}
	}
	for _, q := range a.queues {
		q.put(d)
	}
}

type delivery struct {
	result *result.Result
	alerts []alert.Alert
}

// sinkQueue keeps one slow sink from delaying the others and the schedule.
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
		q.sink.Export(d.result)
		if wantsAlerts {
			for _, a := range d.alerts {
				alerts.Alert(a)
			}
		}
	}
}

// entryHeap orders entries by when they want attention.
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
