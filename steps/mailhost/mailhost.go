// Package mailhost reads what the host of a mail server keeps of the mail: its log and its queue, as stepwatch.yml says where
// they are, and the passage of one message through both.
package mailhost

import (
	"maps"
	"slices"
	"strings"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
)

// FailLog returns why a log could not be read: whoever set up stepwatch must fix it.
func FailLog(host *steps.Host, err error) error {
	return steps.Fail(result.ReasonConfig, result.BlameMonitor, "read the mail log of %q: %w", host.Name, err)
}

// TakenBy returns the host that is the server "host:port", if has accepts it, or nil.
func TakenBy(t *steps.Target, server string, has func(*steps.Host) bool) *steps.Host {
	for _, name := range slices.Sorted(maps.Keys(t.Hosts)) {
		if h := t.Hosts[name]; has(h) && strings.HasPrefix(server, h.Address+":") {
			return h
		}
	}
	return nil
}

// HasLog reports whether a host's log can show the outcome of a message.
func HasLog(h *steps.Host) bool { return steps.PartOf[*Log](h) != nil }

// HasQueue reports whether a host's queue can be searched for a message, which an API cannot do.
func HasQueue(h *steps.Host) bool { q := steps.PartOf[*Queue](h); return q != nil && !q.API }

// Traces reports whether a message can be traced on a host.
func Traces(h *steps.Host) bool { return HasLog(h) || HasQueue(h) }
