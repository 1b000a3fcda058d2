package silence

import "time"

// Window is a maintenance window of the configuration.
type Window struct {
	Name     string
	Matchers Matchers

	matcher *matcher
}

// at returns the occurrence that holds at a moment.
func (w *Window) at(now time.Time) (start, end time.Time, in bool) { return start, end, false }
