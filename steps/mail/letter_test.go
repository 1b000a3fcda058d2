package mail

import (
	"testing"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/message"
)

// Some servers deliver without Return-Path. Of a message that the run sent the sender is known all the same.
func TestTheSenderOfOurOwnMessageIsKnown(t *testing.T) {
	ours := &Submission{from: &steps.Account{Name: "alice", Address: "alice@example.org"}}
	for _, c := range []struct {
		header, want string
		sent         *Submission
		known        bool
	}{
		{"Return-Path: <bounces@example.org>\r\n", "bounces@example.org", ours, true},
		{"Return-Path: <>\r\n", "", ours, true},
		{"Subject: x\r\n", "alice@example.org", ours, true},
		{"Subject: x\r\n", "", nil, false},
	} {
		fields, _ := message.Read([]byte(c.header + "\r\n"))
		got, known := (&Letter{Arrival: &Arrival{sent: c.sent}, Fields: fields}).EnvelopeSender()
		if got != c.want || known != c.known {
			t.Errorf("%q: got %q, %v, want %q, %v", c.header, got, known, c.want, c.known)
		}
	}
}
