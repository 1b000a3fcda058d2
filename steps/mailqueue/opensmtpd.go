package mailqueue

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/steps/program"
)

// OpenSMTPD reads the queue of an OpenSMTPD on this machine with smtpctl(8), which only root may use for that; path is the
// program's path or name. smtpctl does not report sizes.
func OpenSMTPD(ctx context.Context, path string, sought ...string) (*Queue, error) {
	// Without smtpd, "show queue" reads the spool by itself, and an empty one looks like the queue of a running smtpd.
	status, err := smtpctl(ctx, path, "show", "status")
	if err != nil {
		return nil, err
	}
	list, err := smtpctl(ctx, path, "show", "queue")
	if err != nil {
		return nil, err
	}
	q, err := parseOpenSMTPD(ctx, list, sought...)
	if err != nil {
		return nil, fmt.Errorf("%s show queue: %w", path, err)
	}
	q.Warning = paused(status)
	return q, nil
}

// smtpctl runs smtpctl and returns its output.
func smtpctl(ctx context.Context, path string, args ...string) ([]byte, error) {
	out, err := program.Run(ctx, program.Command{Path: path, Args: args, OutputLimit: answerLimit})
	if err != nil {
		return nil, err
	}
	command, said := path+" "+strings.Join(args, " "), firstLine(append(out.Stderr, out.Stdout...))
	switch {
	case out.ExitCode != 0 && (strings.Contains(said, "need root privileges") || strings.Contains(strings.ToLower(said), "permission denied")):
		return nil, fmt.Errorf("%s: %w: smtpctl shows the queue to root only: run stepwatch as root, or name a program that runs smtpctl as root (sudo, doas) in hosts.NAME.queue.opensmtpd", command, ErrDenied)
	case out.ExitCode != 0 && strings.Contains(said, "doesn't seem to be running"):
		return nil, fmt.Errorf("%s: %w: OpenSMTPD is down: %s", command, ErrDown, said)
	case out.ExitCode != 0:
		return nil, fmt.Errorf("%s failed: %s", command, said)
	case out.StdoutCut:
		return nil, fmt.Errorf("%s: %w: more than %d bytes", command, ErrTooLarge, answerLimit)
	}
	return out.Stdout, nil
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
var opensmtpdLine = regexp.MustCompile(`^([0-9a-f]{8})[0-9a-f]{8}\|[^|]*\|[^|]*\|([^|]*)\|(.*?)\|(\d+)\|\d+\|\d+\|\d+\|(\w+)\|-?\d*\|(.*)$`)

// parseOpenSMTPD reads the output of "smtpctl show queue". A message's envelopes follow each other, because they are in the
// order of their ids. A message with envelopes in several states is in the first of these: suspended, held, inflight, pending.
func parseOpenSMTPD(ctx context.Context, output []byte, sought ...string) (*Queue, error) {
	q := newQueue(opensmtpdQueues, sought...)
	q.NoBytes = true
	var m *Message
	for n := 0; len(output) > 0; n++ {
		if n%linesBetween == 0 && ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		raw, rest, ended := bytes.Cut(output, []byte("\n"))
		if !ended {
			return nil, ErrIncomplete
		}
		output = rest
		parts := opensmtpdLine.FindSubmatch(raw)
		if parts == nil {
			return nil, fmt.Errorf("%w: a line is %.80q", ErrFormat, raw)
		}
		id, flags, addresses, state := string(parts[1]), strings.Split(string(parts[2]), ","), string(parts[3]), string(parts[5])
		created, err := strconv.ParseInt(string(parts[4]), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%w: the time is %q", ErrFormat, parts[4])
		}
		switch {
		case state == "offline":
			return nil, fmt.Errorf("%w: OpenSMTPD went down while its queue was read", ErrDown)
		case slices.Contains(flags, "suspend"):
			state = Suspended
		case slices.Contains(flags, "hold"):
			state = Held
		case state != Pending && state != Inflight:
			return nil, fmt.Errorf("%w: the state of an envelope is %q", ErrFormat, state)
		}
		if m == nil || m.ID != id {
			if m != nil {
				q.add(m)
			}
			m = &Message{ID: id, Queue: state, Arrived: time.Unix(created, 0)}
		}
		if slices.Index(opensmtpdQueues, state) < slices.Index(opensmtpdQueues, m.Queue) {
			m.Queue = state
		}
		if len(m.Recipients) < recipientLimit {
			// The recipient is last. Where a local part contains the separator this may be a part of it, with the right domain.
			m.Recipients = append(m.Recipients, Recipient{Address: addresses[strings.LastIndexByte(addresses, '|')+1:], Reason: string(parts[6])})
		}
	}
	if m != nil {
		q.add(m)
	}
	return q, nil
}
