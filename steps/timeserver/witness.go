package timeserver

import (
	"time"

	"github.com/stepwatch/stepwatch/steps/date"
)

// Seen is the time that a server of the target said last in a run, beside its answer. It proves nothing: one of two clocks that
// differ is wrong.
type Seen struct {
	Host string
	Date string    // the field of HTTP (RFC 9110 section 6.6.1), not read yet
	At   time.Time // when the answer came
}

// Ahead returns by how much the clock of this machine was ahead of that of the server, and whether that is known. It is right
// to about a second.
func (s Seen) Ahead() (ahead time.Duration, known bool) {
	if s.Date == "" {
		return 0, false
	}
	at, err := date.HTTP(s.Date)
	if err != nil {
		return 0, false
	}
	return s.At.Sub(at), true
}

// Code is a code that a run computed from the time of this machine.
type Code struct {
	Name   string        // "the code of the secret \"members-totp\""; empty until a step used one
	Period time.Duration // how long one is valid
}
