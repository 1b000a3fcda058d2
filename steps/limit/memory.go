package limit

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/stepwatch/stepwatch/agent/result"
)

// RunMemory is the memory that one run may use for what it reads.
var RunMemory = Define(Limit{Subject: "run", What: "what the run has read", Unit: "bytes", Most: 64 << 20, Setting: "limits.memory"})

// guaranteed is the memory that a run gets even if the runs together use all of theirs: enough for a dialogue and a small
// page, so that greedy runs do not stop modest ones.
const guaranteed = 1 << 20

// Memory is the account of what a run holds in memory of what it read. It counts what its readers report, which is near to
// what the data takes: the bytes of a text, and an estimate for what is made of it, such as the nodes of a page. Its methods
// may be called from any goroutine. A nil Memory allows everything.
type Memory struct {
	limit Limit
	used  atomic.Int64
	all   *Pool
}

// Pool is the account of all runs together. A nil Pool allows everything.
type Pool struct {
	least int64        // the limit is not below it
	limit func() int64 // nil if it is least
	used  atomic.Int64
}

// NewPool returns the account of all runs, which together may use at most limit bytes.
func NewPool(limit int64) *Pool { return &Pool{least: limit} }

// NewLazyPool returns the account of all runs, with a limit that is found out when they first use more than least bytes.
func NewLazyPool(least int64, limit func() int64) *Pool {
	return &Pool{least: least, limit: sync.OnceValue(func() int64 { return max(limit(), least) })}
}

// exceeded returns the limit and whether so many bytes exceed it.
func (p *Pool) exceeded(used int64) (int64, bool) {
	if used <= p.least || p.limit == nil {
		return p.least, used > p.least
	}
	limit := p.limit()
	return limit, used > limit
}

// Used returns the bytes that all runs use now.
func (p *Pool) Used() int64 {
	if p == nil {
		return 0
	}
	return p.used.Load()
}

// NewMemory returns the account of one run, which may use at most limit, or RunMemory if limit is 0.
func NewMemory(limit int64, all *Pool) *Memory {
	return &Memory{limit: RunMemory.With(limit), all: all}
}

// Take counts n more bytes. It returns an Error if the run exceeds its limit, and a PoolError if the runs together exceed
// theirs and this run has more than a modest one needs. It counts the bytes in any case: the run is over after an error.
func (m *Memory) Take(n int64) error {
	if m == nil || n <= 0 {
		return nil
	}
	used := m.used.Add(n)
	if m.all != nil {
		all := m.all.used.Add(n)
		if limit, exceeded := m.all.exceeded(all); exceeded && used > guaranteed {
			return &PoolError{Used: all, Limit: limit}
		}
	}
	return m.limit.Check(used)
}

// Free returns n bytes that are no longer held, such as those of the page before.
func (m *Memory) Free(n int64) {
	if m == nil || n <= 0 {
		return
	}
	m.used.Add(-n)
	if m.all != nil {
		m.all.used.Add(-n)
	}
}

// Used returns the bytes that the run uses now.
func (m *Memory) Used() int64 {
	if m == nil {
		return 0
	}
	return m.used.Load()
}

// Close returns everything at the end of the run.
func (m *Memory) Close() {
	if m == nil {
		return
	}
	if n := m.used.Swap(0); m.all != nil {
		m.all.used.Add(-n)
	}
}

// PoolError is the error of a run that got no memory because all runs together use what they may. The monitor is to blame.
type PoolError struct{ Used, Limit int64 }

// Error returns the use, the limit and the remedy.
func (e *PoolError) Error() string {
	return fmt.Sprintf("all runs together hold %d bytes of what they read, the limit is %d: run fewer scenarios at once or raise limits.total_memory in stepwatch.yml", e.Used, e.Limit)
}

// Reason returns the reason of a step that fails with this error.
func (e *PoolError) Reason() result.Reason { return result.ReasonInternal }
