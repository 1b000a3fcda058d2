// Package limit has the bounds of everything that comes from outside: how large a line, a page or an answer may be, how
// deep it may be nested, and how much memory one run may use for it. A package defines the limits of what it reads where it
// reads it; docs/limits.md lists them all.
//
// A limit applies before the data is kept: whoever reads counts, and stops with an Error at the first byte or item too
// many. What is not limited here is limited by the deadline of the step.
package limit

import (
	"cmp"
	"fmt"
	"slices"
	"sync"

	"github.com/stepwatch/stepwatch/agent/result"
)

// Limit is one bound.
type Limit struct {
	Subject string // the protocol or format, for the table: "IMAP", "web page"
	What    string // what is bounded, with its article, for the message: "a line of the answer"
	Unit    string // "bytes", "rows", "levels"
	Most    int64  // the largest allowed value; the default if there is a Setting
	Setting string // the setting of stepwatch.yml that changes it, such as "web.body_limit"; empty if none does
}

var (
	mu      sync.Mutex
	defined []Limit
)

// Define adds a limit to those that All returns, and returns it. It is called for package variables. It panics if the
// limit is incomplete or already defined, because that is a mistake in the program.
func Define(l Limit) Limit {
	mu.Lock()
	defer mu.Unlock()
	if l.Subject == "" || l.What == "" || l.Unit == "" || l.Most <= 0 {
		panic(fmt.Sprintf("limit: incomplete: %+v", l))
	}
	if slices.ContainsFunc(defined, func(d Limit) bool { return d.Subject == l.Subject && d.What == l.What && d.Unit == l.Unit }) {
		panic(fmt.Sprintf("limit: defined twice: %+v", l))
	}
	defined = append(defined, l)
	return l
}

// All returns every defined limit, by subject and in the order of definition within it.
func All() []Limit {
	mu.Lock()
	defer mu.Unlock()
	all := slices.Clone(defined)
	slices.SortStableFunc(all, func(a, b Limit) int { return cmp.Compare(a.Subject, b.Subject) })
	return all
}

// With returns the limit with a configured value in place of the default. Zero means the default.
func (l Limit) With(most int64) Limit {
	if most > 0 {
		l.Most = most
	}
	return l
}

// Check returns an Error if n exceeds the limit.
func (l Limit) Check(n int64) error {
	if n <= l.Most {
		return nil
	}
	return &Error{Limit: l, Value: n}
}

// Exceeded returns the Error of something whose full size is unknown, because the reader stopped at the limit.
func (l Limit) Exceeded() error { return &Error{Limit: l} }

// Error is the error of something that exceeds a limit. Its reason is "too_large", and whoever sent it is to blame.
type Error struct {
	Limit Limit
	Value int64 // the announced or counted size, or 0 if it is not known
}

// Error returns what is too large, its size if that is known, the limit, and the setting that raises it.
func (e *Error) Error() string {
	text := fmt.Sprintf("%s has more than %d %s, the limit", e.Limit.What, e.Limit.Most, e.Limit.Unit)
	if e.Value > 0 {
		text = fmt.Sprintf("%s has %d %s, the limit is %d", e.Limit.What, e.Value, e.Limit.Unit, e.Limit.Most)
	}
	if e.Limit.Setting != "" {
		text += "; " + e.Limit.Setting + " in stepwatch.yml raises it"
	}
	return text
}

// Reason returns the reason of a step that fails with this error.
func (e *Error) Reason() result.Reason { return result.ReasonTooLarge }
