package maillog

import (
	"context"
	"time"
)

// recentMax is how much of the log's end a Trail begins with, in bytes.
const recentMax = 2 << 20

// Trail reads what was logged lately and goes on with what comes. It remembers nothing beyond itself, and knows nothing of what
// CatchUp has read.
type Trail struct {
	log   Log
	since time.Time
	state state
	begun bool
}

// Since begins at what was logged from then on; some more may come before it.
func (l Log) Since(since time.Time) *Trail { return &Trail{log: l, since: since} }

// Read hands over the events since the last call.
func (t *Trail) Read(ctx context.Context, take func(Event)) error {
	if !t.begun && t.log.File != "" {
		if err := t.state.Files.recent(t.log.File, recentMax); err != nil {
			return err
		}
	}
	t.begun = true
	parser := NewParser(time.Now(), nil)
	_, err := t.log.source(&t.state).next(ctx, t.since.Add(-time.Second), func(text string) {
		if e, class := parser.Parse(text); class == ClassMail {
			take(e)
		}
	})
	return err
}

// Poll is how often it is worth asking for more.
func (t *Trail) Poll() time.Duration {
	if t.log.File != "" {
		return 50 * time.Millisecond
	}
	return 500 * time.Millisecond // a program has to be started
}
