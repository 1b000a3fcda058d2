package alert

import (
	"fmt"
	"sync"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
)

// lacks is the name of the rule.
const lacks = "lack"

func init() { Builtin.Register(lacks, func() Source { return NewLacks() }) }

// Lacks raises one alert for everything that the machine of stepwatch lacks, however many scenarios meet it. The alert is
// hard at once, because the lack is certain, and has no scenario of its own. It is resolved when each scenario that met the
// lack has a later result without it. A scenario that runs seldom does not keep it open: without any result that has the
// lack for an hour it is resolved too.
type Lacks struct {
	mu   sync.Mutex
	open map[string]*lackAlert // by kind
}

type lackAlert struct {
	alert Alert
	met   map[result.Identity]bool // the scenarios whose last result has the lack
	last  time.Time                // start of the last run that met it
}

// lackHour is how long an alert stays open without another run that meets the lack.
const lackHour = time.Hour

// NewLacks returns the rule without open alerts.
func NewLacks() *Lacks { return &Lacks{open: make(map[string]*lackAlert)} }

// Observe implements Source.
func (l *Lacks) Observe(r *result.Result) []Alert {
	l.mu.Lock()
	defer l.mu.Unlock()
	var changed []Alert
	kind := ""
	if r.Lack != nil {
		kind = r.Lack.Kind
		if l.open[kind] == nil {
			l.open[kind] = &lackAlert{met: make(map[result.Identity]bool), alert: Alert{Rule: lacks, State: Hard, Severity: result.Unknown, Lack: r.Lack, Since: r.Started,
				Summary: fmt.Sprintf("%s: %s; scenarios that meet this are UNKNOWN, first %s", r.Lack.Said, r.Lack.Remedy, r.Identity)}}
			changed = append(changed, l.open[kind].alert)
		}
		l.open[kind].met[r.Identity] = true
		l.open[kind].last = r.Started
	}
	for other, a := range l.open {
		if other == kind {
			continue
		}
		delete(a.met, r.Identity)
		if len(a.met) > 0 && r.Started.Sub(a.last) < lackHour {
			continue
		}
		delete(l.open, other)
		a.alert.State, a.alert.Severity = Resolved, result.OK
		a.alert.Summary = fmt.Sprintf("no longer: %s", a.alert.Lack.Said)
		changed = append(changed, a.alert)
	}
	return changed
}
