package maillog

import (
	"context"
	"time"
)

// recentMax is how much of the log's end a Trail begins with, in bytes.
const recentMax = 2 << 20

// Trail reads recent lines and then new ones. It stores nothing, and is independent of CatchUp.
type Trail struct {
	log   Log
	since time.Time
	state state
	begun bool
}

// Since returns a Trail that begins at that time. Some earlier lines may come first.
func (l Log) Since(since time.Time) *Trail { return &Trail{log: l, since: since} }

// Read passes on the events since the last call.
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

// Poll returns the useful pause between two reads.
func (t *Trail) Poll() time.Duration {
	if t.log.File != "" {
		return 50 * time.Millisecond
	}
	return 500 * time.Millisecond // each read starts a program
}
