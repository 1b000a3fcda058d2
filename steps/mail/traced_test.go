package mail

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/mailhost"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
	"github.com/stepwatch/stepwatch/steps/wording"
)

// listsQueue is a showq socket that lists these messages; each is a list of attributes and values in turn.
func listsQueue(t *testing.T, messages ...[]string) (socket string) {
	t.Helper()
	return listsQueues(t, messages)
}

// listsQueues is a showq socket that lists one queue after the other, and then always the last one.
func listsQueues(t *testing.T, queues ...[][]string) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "showq")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	done.Go(func() {
		for i := 0; ; i++ {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			for _, m := range queues[min(i, len(queues)-1)] {
				for _, text := range append(m, "") {
					fmt.Fprint(conn, text, "\x00")
				}
			}
			fmt.Fprint(conn, "\x00")
			conn.Close()
		}
	})
	t.Cleanup(func() {
		listener.Close()
		done.Wait()
	})
	return socket
}

// TestMissingMailIsTraced checks what the accepting server's log and queue say about a message that never came.
func TestMissingMailIsTraced(t *testing.T) {
	const (
		id      = "4jWmm25qFkz1VF5h"
		refused = "connect to mx.b.test[192.0.2.9]:25: Connection refused"
		line    = "@postfix/smtp[7]: " + id + ": to=<b@b.test>, relay=%s, delay=3, delays=0.1/2/0/0.9, dsn=%s, status=%s"
		stages  = "; 0.100s before the queue, 2.00s in the queue, 0.900s handing over"
	)
	for name, c := range map[string]struct {
		log   []string
		queue [][]string // nil when hosts has none
		want  string
	}{
		"refused by the next": {nil, [][]string{queued("active", "other", "x"), queued("deferred", id, refused)},
			`it is still in the queue of "mx1" as ` + id + `: deferred: ` + refused + `: ask the operator of mx.b.test (not_received, blame transfer)`},
		"with the log": {[]string{fmt.Sprintf(line, "none", "4.4.1", "deferred ("+refused+")")}, [][]string{queued("deferred", id, refused)},
			`it is still in the queue of "mx1" as ` + id + `: deferred: ` + refused + stages + `: ask the operator of mx.b.test (not_received, blame transfer)`},
		"policy of the next": {nil, [][]string{queued("deferred", id, "host mx.b.test[192.0.2.9] said: 451 4.7.1 Not now (in reply to RCPT TO command)")},
			`it is still in the queue of "mx1" as ` + id + `: deferred: host mx.b.test[192.0.2.9] said: 451 4.7.1 Not now (in reply to RCPT TO command): ask the operator of mx.b.test (not_received, blame filtering)`},
		"the store of the machine": {nil, [][]string{queued("deferred", id, "connect to mx1.mail.test[private/dovecot-lmtp]: Connection refused")},
			`it is still in the queue of "mx1" as ` + id + `: deferred: connect to mx1.mail.test[private/dovecot-lmtp]: Connection refused: ask the operator of mx1.mail.test:587 (not_received, blame delivery)`},
		"on hold": {nil, [][]string{queued("hold", id, "")},
			`it is still in the queue of "mx1" as ` + id + `: hold: ask the operator of mx1.mail.test:587 (not_received, blame queue)`},
		"not in the queue": {nil, [][]string{queued("deferred", "other", refused)},
			`whether it came back is unknown: no account can read a@mail.test over IMAP; ` + id + ` is not in the queue of "mx1": ask the operator of mx1.mail.test:587 (not_received, blame target)`},
		"an empty queue and nothing in the log": {[]string{}, [][]string{},
			`whether it came back is unknown: no account can read a@mail.test over IMAP; ` + id + ` is not in the queue of "mx1": ask the operator of mx1.mail.test:587 (not_received, blame target)`},
		"neither": {nil, nil, `whether it came back is unknown: no account can read a@mail.test over IMAP: ask the operator of mx1.mail.test:587 (not_received, blame target)`},
		"handed on": {[]string{fmt.Sprintf(line, "mx.b.test[192.0.2.9]:25", "2.0.0", "sent (250 2.0.0 Ok: queued as 77)")}, [][]string{},
			`according to the log of "mx1" it was sent to mx.b.test[192.0.2.9]:25: 250 2.0.0 Ok: queued as 77` + stages + `: ask the operator of mx.b.test (not_received, blame transfer)`},
		"delivered": {[]string{fmt.Sprintf(line, "mx1.mail.test[private/dovecot-lmtp]", "2.0.0", "sent (250 2.0.0 Saved)")}, nil,
			`according to the log of "mx1" it was sent to mx1.mail.test[private/dovecot-lmtp]: 250 2.0.0 Saved` + stages + `: ask the operator of mx1.mail.test:587 (not_received, blame delivery)`},
		"bounced": {[]string{fmt.Sprintf(line, "mx.b.test[192.0.2.9]:25", "5.1.1", "bounced (host mx.b.test[192.0.2.9] said: 550 5.1.1 unknown)")}, nil,
			`according to the log of "mx1" it was bounced to mx.b.test[192.0.2.9]:25: host mx.b.test[192.0.2.9] said: 550 5.1.1 unknown` + stages + `: ask the operator of mx.b.test (not_received, blame delivery)`},
		"through a filter": {[]string{"@postfix/smtpd[9]: 764D49C6071: client=localhost[127.0.0.1]", fmt.Sprintf(line, "127.0.0.1[127.0.0.1]:10024", "2.0.0", "sent (250 2.0.0 from MTA: 250 2.0.0 Ok: queued as 764D49C6071)")},
			[][]string{queued("deferred", "764D49C6071", refused)},
			`it is still in the queue of "mx1" as 764D49C6071: deferred: ` + refused + stages + `: ask the operator of mx.b.test (not_received, blame transfer)`},
	} {
		t.Run(name, func(t *testing.T) {
			w, target := fixture.MailLogWorld(t, c.log...)
			if c.log == nil {
				target.Hosts["mx1"].Set((*mailhost.Log)(nil))
			}
			if c.queue != nil {
				target.Hosts["mx1"].Set(&mailhost.Queue{Showq: listsQueue(t, c.queue...)})
			}
			fixture.WantFailure(t, missed(t, w, id), "no message; "+c.want)
		})
	}
}

// queued returns a message of a queue for listsQueue.
func queued(queue, id, why string) []string {
	return []string{"queue_name", queue, "queue_id", id, "time", fmt.Sprint(time.Now().Unix()), "size", "9", "recipient", "b@b.test", "reason", why}
}

// missed returns the failure for a message that was accepted with this id and never came.
func missed(t *testing.T, w *steps.World, id string) error {
	t.Helper()
	s := &Submission{Server: "mx1.mail.test:587", Accepted: time.Now(), Took: time.Second, from: &steps.Account{Address: "a@mail.test"}, To: &steps.Account{Address: "b@b.test"},
		Reply: Reply{Code: 250, Lines: []string{"2.0.0 Ok: queued as " + id}}}
	done := make(chan struct{})
	close(done)
	r := &returnWatch{s: s, w: w, stop: func() {}, done: done}
	return r.explain(t.Context(), errors.New("no message"))
}

// TestTraceOfTry checks that the trace looks again for a message that is in a delivery attempt, and so has no reason,
// or that moved from one queue to the other between the two listings.
func TestTraceOfTry(t *testing.T) {
	const id = "4jWmm25qFkz1VF5h"
	trying := [][]string{queued("active", id, "")}
	deferred := [][]string{queued("deferred", id, "connect to mx.b.test[192.0.2.9]:25: Connection refused")}
	const refused = `deferred: connect to mx.b.test[192.0.2.9]:25: Connection refused: ask the operator of mx.b.test (not_received, blame transfer)`
	for _, c := range []struct {
		first, later [][]string
		want         string
	}{
		{trying, deferred, refused},
		{nil, deferred, refused},
		{trying, trying, `active: ask the operator of mx1.mail.test:587 (not_received, blame queue)`},
	} {
		w, target := fixture.MailLogWorld(t)
		target.Hosts["mx1"].Set((*mailhost.Log)(nil)).Set(&mailhost.Queue{Showq: listsQueues(t, c.first, c.later)})
		fixture.WantFailure(t, missed(t, w, id), `no message; it is still in the queue of "mx1" as `+id+": "+c.want)
	}
}

// TestTraceThatCannotBeRead checks that an unreadable trace is reported, and that the message is not reported as
// absent.
func TestTraceThatCannotBeRead(t *testing.T) {
	w, target := fixture.MailLogWorld(t)
	target.Hosts["mx1"].Set(&mailhost.Log{File: filepath.Join(t.TempDir(), "mail.log")}).Set(&mailhost.Queue{Showq: filepath.Join(t.TempDir(), "showq")})
	s := &Submission{Server: "mx1.mail.test:587", Accepted: time.Now(), Reply: Reply{Code: 250, Lines: []string{"2.0.0 Ok: queued as 4jWmm25qFkz1VF5h"}}}
	got := s.trace(t.Context(), w)
	if want := `the log of "mx1" cannot be read: the log ` + wording.OneLine(steps.PartOf[*mailhost.Log](target.Hosts["mx1"]).File, 50); got.blame != "" || got.ask != "" || len(got.said) < len(want) {
		t.Errorf("got %+v", got)
	}
	t.Log(got.said)
	over, stop := context.WithCancel(t.Context())
	stop()
	if got := s.trace(over, w); got != (traced{}) {
		t.Errorf("without time: got %+v", got)
	}
	s.Server = "elsewhere.test:587"
	if got := s.trace(t.Context(), w); got != (traced{}) {
		t.Errorf("of a server that hosts do not have: got %+v", got)
	}
}
