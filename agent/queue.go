package agent

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/stepwatch/stepwatch/agent/alert"
	"github.com/stepwatch/stepwatch/agent/result"
)

// delivery is a result, alerts, or that a scenario was removed.
type delivery struct {
	about  result.Identity // of the result, or of the scenario that was removed
	result *result.Result  // nil if there is none
	alerts []alert.Alert
	forget bool // the scenario was removed
}

// sinkQueue isolates a slow sink from the others and from the schedule. If the queue is full, results of a scenario replace
// each other, so that the sink misses some of them, but never the last one: it would show an old state for ever. Alerts wait.
type sinkQueue struct {
	sink      Sink
	items     chan delivery
	delivered func(number uint64) // is told up to which number the sink has every alert
	dropped   atomic.Uint64
	done      atomic.Bool // everything is delivered, after the end

	mu      sync.Mutex
	last    map[result.Identity]delivery // those that did not fit, to be taken once the queue is empty
	alerts  []alert.Alert                // those that did not fit, in order
	gone    map[result.Identity]bool     // the scenarios that were removed, to be forgotten after those
	waiting []uint64                     // numbers of the alerts that the sink does not have yet, rising
}

// alertsMost is how many alerts may wait for a sink apart from its queue. If there are more, those of one id replace each other.
const alertsMost = 10000

func (q *sinkQueue) put(d delivery) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if d.result == nil && !d.forget {
		q.putAlerts(d)
		return
	}
	key := d.about.Key()
	if d.forget && len(q.last)+len(q.alerts) > 0 { // never before what was said about the scenario
		if q.gone == nil {
			q.gone = make(map[result.Identity]bool)
		}
		q.gone[key] = true
		return
	}
	delete(q.gone, key) // it is loaded again
	if _, found := q.last[key]; found {
		q.dropped.Add(1)
	} else {
		select {
		case q.items <- d:
			return
		default:
		}
	}
	if q.last == nil {
		q.last = make(map[result.Identity]delivery)
	}
	q.last[key] = d
}

func (q *sinkQueue) putAlerts(d delivery) {
	for i := range d.alerts {
		q.waiting = append(q.waiting, d.alerts[i].Number)
	}
	if len(q.alerts) == 0 && len(q.last) == 0 { // never before the result that changed it
		select {
		case q.items <- d:
			return
		default:
		}
	}
	q.alerts = append(q.alerts, d.alerts...)
	if len(q.alerts) <= alertsMost {
		return
	}
	later := make(map[string]bool)
	kept := q.alerts[:0:0]
	for _, a := range slices.Backward(q.alerts) {
		if later[a.ID] {
			q.dropped.Add(1)
			q.has(a.Number)
			continue
		}
		later[a.ID] = true
		kept = append(kept, a)
	}
	slices.Reverse(kept)
	q.alerts = kept
}

// has notes that an alert does not wait any more.
func (q *sinkQueue) has(number uint64) {
	if i := slices.Index(q.waiting, number); i >= 0 {
		q.waiting = slices.Delete(q.waiting, i, i+1)
	}
}

func (q *sinkQueue) deliver() {
	defer q.done.Store(true)
	for d := range q.items {
		q.export(d)
		if len(q.items) == 0 {
			q.exportLast()
		}
	}
	q.exportLast()
}

func (q *sinkQueue) exportLast() {
	q.mu.Lock()
	last, alerts, gone := q.last, q.alerts, q.gone
	q.last, q.alerts, q.gone = nil, nil, nil
	q.mu.Unlock()
	for _, d := range last {
		q.export(d)
	}
	q.export(delivery{alerts: alerts})
	for key := range gone {
		q.export(delivery{about: key, forget: true})
	}
}

func (q *sinkQueue) export(d delivery) {
	if d.result != nil {
		q.sink.Export(d.result)
	}
	if sink, does := q.sink.(ForgettingSink); does && d.forget {
		sink.Forget(d.about)
	}
	sink, wants := q.sink.(AlertSink)
	if !wants || len(d.alerts) == 0 {
		return
	}
	for _, a := range d.alerts {
		sink.Alert(a)
	}
	q.mu.Lock()
	for i := range d.alerts {
		q.has(d.alerts[i].Number)
	}
	upTo := d.alerts[len(d.alerts)-1].Number
	if len(q.waiting) > 0 {
		upTo = q.waiting[0] - 1
	}
	q.mu.Unlock()
	if q.delivered != nil {
		q.delivered(upTo)
	}
}
