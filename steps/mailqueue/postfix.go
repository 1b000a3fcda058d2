package mailqueue

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/stepwatch/stepwatch/steps/lifeline"
	"github.com/stepwatch/stepwatch/steps/wording"
)

// Showq reads the queue of a Postfix on this machine through its showq(8) service, whose socket is public/showq in the
// queue directory. It takes 0.5 ms for a small queue.
func Showq(ctx context.Context, socket string, sought ...string) (*Queue, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("connect to %s: %w: stepwatch's user must be in the group postdrop", socket, ErrDenied)
	case errors.Is(err, fs.ErrNotExist) && !isDirectory(filepath.Dir(socket)):
		return nil, fmt.Errorf("connect to %s: %w: the socket is public/showq in the directory that postconf -h queue_directory prints", socket, ErrMissing)
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("connect to %s: %w: Postfix was not started (postfix status), or master.cf has no showq", socket, ErrDown)
	case errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("connect to %s: %w: Postfix is down (postfix status)", socket, ErrDown)
	case err != nil:
		return nil, fmt.Errorf("connect to %s: %w", socket, err)
	}
	defer func() { _ = conn.Close() }() // the answer was read to its end
	line := lifeline.Bind(ctx, conn)
	defer line.Release()
	q, err := parseShowq(&bounded{r: conn, left: answerLimit.Most}, sought...)
	if err = line.Cause(err); err != nil {
		return nil, fmt.Errorf("read %s: %w", socket, err)
	}
	return q, nil
}

// bounded reads up to the limit of an answer.
type bounded struct {
	r    io.Reader
	left int64
}

// Read implements io.Reader. Beyond the limit it returns a limit.Error.
func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, answerLimit.Exceeded()
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

func isDirectory(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// parseShowq reads attributes in the format of Postfix's attr_print0(3): names and values ended by NUL, and an empty
// name at the end of each list. The first list names the protocol, if Postfix sends that; each later one is a message;
// an empty one ends the answer.
func parseShowq(r io.Reader, sought ...string) (*Queue, error) {
	in := bufio.NewReaderSize(r, int(attributeLimit.Most))
	q := newQueue(postfixQueues, sought...)
	for {
		var m Message
		attributes := 0
		for ; ; attributes++ {
			name, err := readAttribute(in)
			if err != nil {
				return nil, err
			}
			if name == "" {
				break
			}
			value, err := readAttribute(in)
			if err != nil {
				return nil, err
			}
			if err := m.setShowq(name, value); err != nil {
				return nil, err
			}
		}
		switch {
		case attributes == 0:
			return q, nil
		case m.Queue == "" && m.ID == "" && attributes == 1: // the protocol's name
		case m.ID == "" || m.Arrived.IsZero():
			return nil, fmt.Errorf("%w: a message without queue_id or time", ErrFormat)
		default:
			if err := q.add(&m); err != nil {
				return nil, err
			}
		}
	}
}

func readAttribute(in *bufio.Reader) (string, error) {
	text, err := in.ReadSlice(0)
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return "", attributeLimit.Exceeded()
	case errors.Is(err, io.EOF):
		return "", ErrIncomplete
	case err != nil:
		return "", err
	}
	return string(text[:len(text)-1]), nil
}

func (m *Message) setShowq(name, value string) error {
	switch name {
	case "protocol":
		if value != "mail_queue_list_protocol" {
			return fmt.Errorf("%w: the socket's protocol is %s, which is not that of showq", ErrFormat, wording.Quote(value))
		}
	case "queue_name":
		m.Queue = value
	case "queue_id":
		m.ID = value
	case "time":
		seconds, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return fmt.Errorf("%w: the time is %s", ErrFormat, wording.Quote(value))
		}
		m.Arrived = time.Unix(seconds, 0)
	case "size":
		size, err := strconv.ParseInt(value, 10, 64)
		if err != nil || size < 0 {
			return fmt.Errorf("%w: the size is %s", ErrFormat, wording.Quote(value))
		}
		m.Size = size
	case "recipient":
		return m.wait(Recipient{Address: value})
	case "reason":
		if n := len(m.Recipients); n > 0 {
			m.Recipients[n-1].Reason = value
		}
	}
	return nil // an unknown name is from a newer Postfix
}

// Postqueue reads the queue of a Postfix on this machine with postqueue(1), which every user may run. directory is that
// of its main.cf. For an instance other than the machine's first, the first one must name it
// (alternate_config_directories).
func Postqueue(ctx context.Context, directory string, sought ...string) (*Queue, error) {
	q := newQueue(postfixQueues, sought...)
	out, _, unread, err := readLines(ctx, "postqueue", []string{"-c", directory, "-j"}, lineLimit, q.postqueueLine)
	if err != nil {
		return nil, err
	}
	said := firstLine(out.Stderr)
	if out.ExitCode != 0 {
		return nil, postqueueFailure(directory, string(out.Stderr), said)
	}
	if unread != nil {
		return nil, fmt.Errorf("postqueue -j: %w", unread)
	}
	q.Warning = said
	return q, nil
}

func postqueueFailure(directory, stderr, said string) error {
	switch {
	case strings.Contains(stderr, "alternate_config_directories"):
		return fmt.Errorf("postqueue: %w: alternate_config_directories in the machine's first main.cf must name %s, or stepwatch must run as root", ErrDenied, directory)
	case strings.Contains(stderr, "not allowed to view the mail queue"):
		return fmt.Errorf("postqueue: %w: stepwatch's user must be in authorized_mailq_users of %s/main.cf", ErrDenied, directory)
	case strings.Contains(stderr, "ermission denied"):
		return fmt.Errorf("postqueue: %w: %s", ErrDenied, said)
	case strings.Contains(stderr, "mail system is down"):
		return fmt.Errorf("postqueue: %w: Postfix is down (postfix status): %s", ErrDown, said)
	case strings.Contains(stderr, "No such file"):
		return fmt.Errorf("postqueue: %w: %s", ErrMissing, said)
	default:
		return fmt.Errorf("postqueue failed: %s", said)
	}
}

// firstLine returns the first line of a program's output, fit for one line.
func firstLine(stderr []byte) string {
	line, _, _ := bytes.Cut(bytes.TrimSpace(stderr), []byte("\n"))
	return string(line[:min(len(line), 200)])
}

// parsePostqueue reads the output of "postqueue -j".
func parsePostqueue(output []byte, sought ...string) (*Queue, error) {
	q := newQueue(postfixQueues, sought...)
	if err := parseLines(output, lineLimit, q.postqueueLine); err != nil {
		return nil, err
	}
	return q, nil
}

// postqueueLine reads the JSON object of a message.
func (q *Queue) postqueueLine(line []byte) error {
	var message struct {
		Queue      string `json:"queue_name"`
		ID         string `json:"queue_id"`
		Arrived    int64  `json:"arrival_time"`
		Size       int64  `json:"message_size"`
		Recipients []struct {
			Address string `json:"address"`
			Reason  string `json:"delay_reason"`
		} `json:"recipients"`
	}
	if err := json.Unmarshal(line, &message); err != nil {
		return fmt.Errorf("%w: a line cannot be read: %s: %.80q", ErrFormat, wording.Syntax(line, err), line)
	}
	if message.ID == "" || message.Arrived <= 0 || message.Size < 0 {
		return fmt.Errorf("%w: a message without queue_id or arrival_time: %.80q", ErrFormat, line)
	}
	m := Message{ID: message.ID, Queue: message.Queue, Arrived: time.Unix(message.Arrived, 0), Size: message.Size}
	for _, r := range message.Recipients {
		if err := m.wait(Recipient(r)); err != nil {
			return err
		}
	}
	return q.add(&m)
}
