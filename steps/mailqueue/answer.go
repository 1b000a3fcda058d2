package mailqueue

import (
	"bytes"
	"context"

	"github.com/stepwatch/stepwatch/steps/limit"
	"github.com/stepwatch/stepwatch/steps/program"
)

// Limits of what a mail server reports about its queue. Remote servers and senders decide on much of it: on the domains, and on
// the reasons why a message waits.
var (
	answerLimit      = limit.Define(limit.Limit{Subject: "mail queue", What: "the answer", Unit: "bytes", Most: 1 << 30})
	lineLimit        = limit.Define(limit.Limit{Subject: "mail queue", What: "a line of the answer", Unit: "bytes", Most: 16 << 20}) // postqueue writes a message on one
	rowLimit         = limit.Define(limit.Limit{Subject: "mail queue", What: "a line of exim -bp or smtpctl", Unit: "bytes", Most: 64 << 10})
	attributeLimit   = limit.Define(limit.Limit{Subject: "mail queue", What: "a name or value of the answer", Unit: "bytes", Most: 64 << 10})
	recipientLimit   = limit.Define(limit.Limit{Subject: "mail queue", What: "a message", Unit: "recipients", Most: 100_000})
	destinationLimit = limit.Define(limit.Limit{Subject: "mail queue", What: "the queue", Unit: "destinations", Most: 200_000})
)

// lines calls take for each line that is written to it, up to the first error of take. It reads the rest all the same, because the
// exit code of the program may say more.
type lines struct {
	take func(line []byte) error
	most limit.Limit // of a line
	head []byte      // the first bytes, for messages
	rest []byte      // of the last line
	size int64
	err  error
}

// headSize is how many bytes of an answer are kept for messages.
const headSize = 1 << 10

// Write implements io.Writer. Its error is a limit.Error.
func (l *lines) Write(p []byte) (int, error) {
	n := len(p)
	if l.size += int64(n); l.size > answerLimit.Most {
		return 0, answerLimit.Exceeded()
	}
	l.head = append(l.head, p[:min(n, headSize-len(l.head))]...)
	for l.err == nil {
		line, after, ended := bytes.Cut(p, []byte("\n"))
		if !ended {
			break
		}
		if len(l.rest) > 0 {
			l.rest = append(l.rest, line...)
			line = l.rest
		}
		l.err = l.take(line)
		l.rest, p = l.rest[:0], after
	}
	if l.err == nil {
		l.rest = append(l.rest, p...)
		if int64(len(l.rest)) > l.most.Most {
			return 0, l.most.Exceeded()
		}
	}
	return n, nil
}

// end returns the error of the answer. One that does not end with a whole line is incomplete.
func (l *lines) end() error {
	if l.err == nil && len(l.rest) > 0 {
		return ErrIncomplete
	}
	return l.err
}

// readLines runs a program and calls take for each line of its output, which has at most a number of bytes. unread is the error of the answer.
func readLines(ctx context.Context, path string, args []string, most limit.Limit, take func(line []byte) error) (out *program.Output, head []byte, unread, err error) {
	l := &lines{take: take, most: most}
	out, err = program.Run(ctx, program.Command{Path: path, Args: args, Stdout: l})
	return out, l.head, l.end(), err
}

// parseLines is readLines for an output that is there already.
func parseLines(output []byte, most limit.Limit, take func(line []byte) error) error {
	l := &lines{take: take, most: most}
	if _, err := l.Write(output); err != nil {
		return err
	}
	return l.end()
}
