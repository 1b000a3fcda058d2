package steps_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
)

// TestCleanupWords says what could not be cleaned up in the words in which a step says it, not in those of a library.
func TestCleanupWords(t *testing.T) {
	for want, err := range map[string]error{
		"log out: no answer before the deadline":                                     fmt.Errorf("write: %w", context.DeadlineExceeded),
		"log out: the server closed the connection":                                  fmt.Errorf("read: %w", io.ErrUnexpectedEOF),
		"log out: open: a packet has an invalid length (RFC 4253 section 6.1)":       errors.New("open: ssh: max packet length exceeded"),
		"log out: 2 messages are left":                                               errors.New("2 messages are left"),
		"log out: 1 of 2: select \"INBOX\": NO":                                      fmt.Errorf("1 of 2: %w", steps.Fail(result.ReasonProtocol, result.BlameAccess, "select %q: NO", "INBOX")),
		"log out: no answer before the deadline\nlog in: the server closed the door": nil,
	} {
		w := steps.NewWorld(&steps.Target{}, nil, "run", "scenario")
		if err == nil {
			w.Cleanup("log in", func(context.Context) error { return errors.New("the server closed the door") })
			err = context.DeadlineExceeded
		}
		w.Cleanup("log out", func(context.Context) error { return err })
		if got := w.Close(t.Context()); got == nil || got.Error() != want {
			t.Errorf("got %v, want %s", got, want)
		}
	}
}
