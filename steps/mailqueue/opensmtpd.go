package mailqueue

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/steps/regex"
	"github.com/stepwatch/stepwatch/steps/wording"
)

// OpenSMTPD reads the queue of an OpenSMTPD on this machine with smtpctl(8), which only root may use for that; path is the
// program's path or name. smtpctl does not report sizes.
func OpenSMTPD(ctx context.Context, path string, sought ...string) (*Queue, error) {
	// Without smtpd, "show queue" reads the spool by itself, and an empty one looks like the queue of a running smtpd.
	var status []byte
	_, err := smtpctl(ctx, path, "status", func(line []byte) error {
		if len(status) < headSize {
			status = append(append(status, line...), '\n')
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	p := newEnvelopeList(sought)
	unread, err := smtpctl(ctx, path, "queue", p.line)
	if err != nil {
		return nil, err
	}
	if unread == nil {
		unread = p.end()
	}
	if unread != nil {
		return nil, fmt.Errorf("%s show queue: %w", path, unread)
	}
	p.queue.Warning = paused(status)
	return p.queue, nil
}

// smtpctl runs "smtpctl show" and calls take for each line of its output. unread is the error of the output.
func smtpctl(ctx context.Context, path, what string, take func(line []byte) error) (unread, err error) {
	out, head, unread, err := readLines(ctx, path, []string{"show", what}, rowLimit, take)
	if err != nil {
		return nil, err
	}
	command, said := path+" show "+what, firstLine(append(out.Stderr, head...))
	switch {
	case out.ExitCode != 0 && (strings.Contains(said, "need root privileges") || strings.Contains(strings.ToLower(said), "permission denied")):
		return nil, fmt.Errorf("%s: %w: smtpctl shows the queue to root only: run stepwatch as root, or name a program that runs smtpctl as root (sudo, doas) in hosts.NAME.queue.opensmtpd", command, ErrDenied)
	case out.ExitCode != 0 && strings.Contains(said, "doesn't seem to be running"):
		return nil, fmt.Errorf("%s: %w: OpenSMTPD is down: %s", command, ErrDown, said)
	case out.ExitCode != 0:
		return nil, fmt.Errorf("%s failed: %s", command, said)
	}
	return unread, nil
}

// paused returns the lines of "show status" about what is not running ("MTA paused"), as one.
func paused(status []byte) string {
	var stopped []string
	for line := range strings.Lines(string(status)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasSuffix(line, " running") {
			stopped = append(stopped, line)
		}
	}
	said := strings.Join(stopped, ", ")
	return said[:min(len(said), 200)]
}

// opensmtpdLine matches an envelope, which is one recipient of a message: its id, the address family of the client, the
// agent, flags, the addresses (sender, recipient as it was given, recipient), the times of creation, expiry and the last
// attempt, the number of attempts, the state, seconds until the next attempt, and the last error. The local part of an
// address may contain the separator. A new message has the time of its creation in the place of the expiry, and 0 for the
// last attempt: only the first time is needed.
var opensmtpdLine = regex.Lazy(`^([0-9a-f]{8})[0-9a-f]{8}\|[^|]*\|[^|]*\|([^|]*)\|(.*?)\|(\d+)\|\d+\|\d+\|\d+\|(\w+)\|-?\d*\|(.*)$`)

// parseOpenSMTPD reads the output of "smtpctl show queue".
func parseOpenSMTPD(output []byte, sought ...string) (*Queue, error) {
	p := newEnvelopeList(sought)
	err := parseLines(output, rowLimit, p.line)
	if err == nil {
		err = p.end()
	}
	if err != nil {
		return nil, err
	}
	return p.queue, nil
}

// envelopeList reads the output of "smtpctl show queue" line by line. A message's envelopes follow each other, because they are in
// the order of their ids. A message with envelopes in several states is in the first of these: suspended, held, inflight, pending.
type envelopeList struct {
	queue   *Queue
	message *Message // the last one; nil before the first
}

func newEnvelopeList(sought []string) *envelopeList {
	q := newQueue(opensmtpdQueues, sought...)
	q.NoBytes = true
	return &envelopeList{queue: q}
}

// end counts the last message.
func (e *envelopeList) end() error {
	if e.message == nil {
		return nil
	}
	return e.queue.add(e.message)
}

func (e *envelopeList) line(raw []byte) error {
	parts := opensmtpdLine.FindSubmatch(raw)
	if parts == nil {
		return fmt.Errorf("%w: a line is %.80q", ErrFormat, raw)
	}
	id, flags, addresses, state := string(parts[1]), strings.Split(string(parts[2]), ","), string(parts[3]), string(parts[5])
	created, err := strconv.ParseInt(string(parts[4]), 10, 64)
	if err != nil {
		return fmt.Errorf("%w: the time is %s", ErrFormat, wording.Quote(string(parts[4])))
	}
	switch {
	case state == "offline":
		return fmt.Errorf("%w: OpenSMTPD went down while its queue was read", ErrDown)
	case slices.Contains(flags, "suspend"):
		state = Suspended
	case slices.Contains(flags, "hold"):
		state = Held
	case state != Pending && state != Inflight:
		return fmt.Errorf("%w: the state of an envelope is %s", ErrFormat, wording.Quote(state))
	}
	if e.message == nil || e.message.ID != id {
		if err := e.end(); err != nil {
			return err
		}
		e.message = &Message{ID: id, Queue: state, Arrived: time.Unix(created, 0)}
	}
	if m := e.message; slices.Index(opensmtpdQueues, state) < slices.Index(opensmtpdQueues, m.Queue) {
		m.Queue = state
	}
	// The recipient is last. Where a local part contains the separator this may be a part of it, with the right domain.
	return e.message.wait(Recipient{Address: addresses[strings.LastIndexByte(addresses, '|')+1:], Reason: string(parts[6])})
}
