package mailqueue

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/steps/program"
	"github.com/stepwatch/stepwatch/steps/regex"
)

const adminRemedy = "stepwatch's user must be an admin user of Exim, on Debian through the group Debian-exim (queue_list_requires_admin)"

// Exim reads the queue of an Exim on this machine with its -bp; path is the program's path or name. The ages are exact,
// because a message's id contains its time. The sizes are rounded as in the output of -bp.
func Exim(ctx context.Context, path string, sought ...string) (*Queue, error) {
	p := newEximList(time.Now(), sought)
	out, _, unread, err := readLines(ctx, path, []string{"-bp"}, rowLimit, p.line)
	if err != nil {
		return nil, err
	}
	said := firstLine(out.Stderr)
	switch {
	case out.ExitCode != 0 && bytes.Contains(bytes.ToLower(out.Stderr), []byte("permission denied")):
		return nil, fmt.Errorf("%s -bp: %w: %s", path, ErrDenied, adminRemedy)
	case out.ExitCode != 0:
		return nil, fmt.Errorf("%s -bp failed: %s", path, said)
	}
	if unread == nil {
		unread = p.end()
	}
	if unread != nil {
		return nil, fmt.Errorf("%s -bp: %w", path, unread)
	}
	q := p.queue
	q.Warning = said
	if q.Messages() == 0 {
		return q, confirmEmpty(ctx, path)
	}
	return q, nil
}

// confirmEmpty checks whether a queue that -bp reports as empty is empty. An Exim that may not read its spool does not
// report that: it lists no message and exits with 0.
func confirmEmpty(ctx context.Context, path string) error {
	out, err := program.Run(ctx, program.Command{Path: path, Args: []string{"-bP", "spool_directory"}})
	if err != nil {
		return err
	}
	name, spool, found := strings.Cut(strings.TrimSpace(string(out.Stdout)), " = ")
	if out.ExitCode != 0 || !found || name != "spool_directory" {
		return fmt.Errorf("%s lists no message, but whether the queue is empty is unknown: -bP spool_directory says %.80q", path, firstLine(append(out.Stdout, out.Stderr...)))
	}
	// A message from the last minute was not missed by -bp.
	q, err := EximSpool(ctx, spool)
	if errors.Is(err, ErrDenied) {
		return fmt.Errorf("%s lists no message, which it also does without permission to read its spool: %w", path, err)
	}
	if errors.Is(err, ErrMissing) {
		_, err = os.ReadDir(spool) // a new Exim creates its input directory with the first message
		return err
	}
	if err != nil {
		return err
	}
	if n := q.Messages(); n > 0 && time.Since(q.Oldest) > time.Minute {
		return fmt.Errorf("%s -bp lists no message, but %s holds %d: %w: %s", path, spool, n, ErrDenied, adminRemedy)
	}
	return nil
}

var (
	// eximLine matches the first line of a message: age, size, id, sender, and further remarks.
	eximLine = regex.Lazy(`^ *(\d+)([mhd]) +(\S+) +([0-9A-Za-z]{6}-(?:[0-9A-Za-z]{6}|[0-9A-Za-z]{11})-(?:[0-9A-Za-z]{2}|[0-9A-Za-z]{4})) <(.*)>( \(.*\))?( \*\*\* frozen \*\*\*)?$`)

	eximSize = regex.Lazy(`^(\d+(?:\.\d+)?)([KMGT]?)$`)
)

// parseExim reads the output of -bp.
func parseExim(output []byte, now time.Time, sought ...string) (*Queue, error) {
	p := newEximList(now, sought)
	err := parseLines(output, rowLimit, p.line)
	if err == nil {
		err = p.end()
	}
	if err != nil {
		return nil, err
	}
	return p.queue, nil
}

// eximList reads the output of -bp line by line: for each message a line, one for each recipient (D marks a recipient that has the
// message), and an empty one.
type eximList struct {
	queue   *Queue
	now     time.Time
	message *Message // the current one, or nil between two
}

func newEximList(now time.Time, sought []string) *eximList {
	return &eximList{queue: newQueue(eximQueues, sought...), now: now}
}

// end returns an error if the list ends within a message.
func (e *eximList) end() error {
	if e.message != nil {
		return ErrIncomplete
	}
	return nil
}

func (e *eximList) line(raw []byte) error {
	line := string(raw)
	switch {
	case line == "" && e.message != nil:
		m := e.message
		e.message = nil
		return e.queue.add(m)
	case line == "":
		return nil
	case e.message != nil && strings.HasPrefix(line, "        "):
		// Column 9 has the mark.
		if mark, address := line[8:min(9, len(line))], strings.TrimSpace(line[min(9, len(line)):]); mark != "D" && address != "" {
			return e.message.wait(Recipient{Address: address})
		}
		return nil
	}
	parts := eximLine.FindStringSubmatch(line)
	if parts == nil || e.message != nil {
		return fmt.Errorf("%w: a line is %.80q", ErrFormat, line)
	}
	m := &Message{ID: parts[4], Queue: Waiting}
	if parts[7] != "" {
		m.Queue = Frozen
	}
	size, err := parseEximSize(parts[3])
	if err != nil {
		return err
	}
	m.Size = size
	m.Arrived = eximArrival(m.ID, parts[1], parts[2], e.now)
	e.message = m
	return nil
}

func parseEximSize(text string) (int64, error) {
	parts := eximSize.FindStringSubmatch(text)
	if parts == nil {
		return 0, fmt.Errorf("%w: a size is %.20q", ErrFormat, text)
	}
	n, err := strconv.ParseFloat(parts[1], 64)
	scale := map[string]float64{"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}[parts[2]]
	if err != nil || n*scale > 1<<60 {
		return 0, fmt.Errorf("%w: a size is %.20q", ErrFormat, text)
	}
	return int64(n * scale), nil
}

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// eximArrival returns when a message arrived. Its id begins with that time in seconds, in base 62 (Exim specification,
// "Message identification"); the age is rounded to the hour after 90 minutes and to the day after 72 hours. If the time
// in the id does not match the age, the id is of another kind, and the age must do.
func eximArrival(id, number, unit string, now time.Time) time.Time {
	n, _ := strconv.Atoi(number) // digits; too many of them count as the largest number
	scale := map[string]time.Duration{"m": time.Minute, "h": time.Hour, "d": 24 * time.Hour}[unit]
	age := time.Duration(min(n, 36500)) * scale
	seconds := int64(0)
	for _, digit := range id[:6] {
		seconds = seconds*62 + int64(strings.IndexRune(base62, digit))
	}
	if exact := time.Unix(seconds, 0); (now.Sub(exact) - age).Abs() <= scale+time.Minute {
		return exact
	}
	return now.Add(-age)
}

// EximSpool reads the queue of an Exim from its spool directory, split or not. It needs permission to read there, and
// reads one small file for each message.
func EximSpool(ctx context.Context, directory string, sought ...string) (*Queue, error) {
	q := newQueue(eximQueues, sought...)
	input := filepath.Join(directory, "input")
	entries, err := readSpool(input)
	if err != nil {
		return nil, err
	}
	if err := q.addSpool(ctx, input, entries); err != nil {
		return nil, err
	}
	for _, e := range entries {
		// split_spool_directory distributes messages over directories of one letter.
		if e.IsDir() && len(e.Name()) == 1 {
			part := filepath.Join(input, e.Name())
			files, err := readSpool(part)
			if err == nil {
				err = q.addSpool(ctx, part, files)
			}
			if err != nil {
				return nil, err
			}
		}
	}
	return q, nil
}

func readSpool(directory string) ([]fs.DirEntry, error) {
	entries, err := os.ReadDir(directory)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("read %s: %w: %s", directory, ErrDenied, adminRemedy)
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("read %s: %w: Exim's spool is elsewhere (exim -bP spool_directory)", directory, ErrMissing)
	}
	return entries, err
}

func (q *Queue) addSpool(ctx context.Context, directory string, entries []fs.DirEntry) error {
	for _, e := range entries {
		id, isHeader := strings.CutSuffix(e.Name(), "-H")
		if !isHeader || e.IsDir() {
			continue
		}
		if ctx.Err() != nil {
			return fmt.Errorf("read %s: %w", directory, context.Cause(ctx))
		}
		path := filepath.Join(directory, e.Name())
		m, err := readSpoolFile(path, id)
		switch {
		case errors.Is(err, fs.ErrNotExist): // delivered meanwhile
		case errors.Is(err, fs.ErrPermission):
			return fmt.Errorf("read %s: %w: %s", path, ErrDenied, adminRemedy)
		case err != nil:
			return fmt.Errorf("read %s: %w", path, err)
		default:
			if err := q.add(m); err != nil {
				return err
			}
		}
	}
	return nil
}

func readSpoolFile(path, id string) (*Message, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // read only
	m, err := parseSpoolHeader(file, id)
	if err != nil {
		return nil, err
	}
	// The body's file begins with its own name and a line break; an empty line separates header and body.
	data, err := os.Stat(strings.TrimSuffix(path, "-H") + "-D")
	if err != nil {
		return nil, err
	}
	m.Size += 1 + max(0, data.Size()-int64(len(id)+len("-D\n")))
	return m, nil
}

// parseSpoolHeader reads a spool file "-H" (Exim specification, "Format of spool files"). The returned size is the
// header's; the body has a separate file.
func parseSpoolHeader(r io.Reader, id string) (*Message, error) {
	lines := &spoolLines{in: bufio.NewReaderSize(r, int(attributeLimit.Most))}
	if name := lines.next(); lines.err == nil && name != id+"-H" {
		return nil, fmt.Errorf("%w: the first line is %.60q, want %q", ErrFormat, name, id+"-H")
	}
	lines.next() // the submitting user
	lines.next() // the sender
	m := &Message{ID: id, Queue: Waiting}
	received, _, _ := strings.Cut(lines.next(), " ")
	seconds, err := strconv.ParseInt(received, 10, 64)
	if lines.err == nil && (err != nil || seconds <= 0) {
		return nil, fmt.Errorf("%w: the time of arrival is %.60q", ErrFormat, received)
	}
	m.Arrived = time.Unix(seconds, 0)
	line := lines.next()
	for ; strings.HasPrefix(line, "-"); line = lines.next() {
		if strings.HasPrefix(line, "-frozen") {
			m.Queue = Frozen
		}
	}
	delivered, line := lines.delivered(line)
	count, err := strconv.Atoi(line)
	if lines.err == nil && (err != nil || count < 0) {
		return nil, fmt.Errorf("%w: the number of recipients is %.60q", ErrFormat, line)
	}
	for i := 0; i < count && lines.err == nil; i++ {
		if address := addressOf(lines.next()); !delivered[address] {
			if err := m.wait(Recipient{Address: address}); err != nil {
				return nil, err
			}
		}
	}
	if gap := lines.next(); lines.err == nil && gap != "" {
		return nil, fmt.Errorf("%w: %.60q is after the recipients", ErrFormat, gap)
	}
	if lines.err != nil {
		return nil, lines.err
	}
	m.Size, err = headerSize(lines.in)
	return m, err
}

// spoolLines reads lines until the first error, which it keeps.
type spoolLines struct {
	in  *bufio.Reader
	err error
}

func (l *spoolLines) next() string {
	if l.err != nil {
		return ""
	}
	line, err := l.in.ReadSlice('\n')
	switch {
	case errors.Is(err, io.EOF):
		l.err = ErrIncomplete
	case errors.Is(err, bufio.ErrBufferFull):
		l.err = attributeLimit.Exceeded()
	case err != nil:
		l.err = err
	default:
		return string(line[:len(line)-1])
	}
	return ""
}

// delivered reads the recipients that have the message: a binary tree in pre-order, each node "YN address" with whether
// it has a left and a right branch, or "XX" for none. It returns the line after the tree.
func (l *spoolLines) delivered(line string) (addresses map[string]bool, behind string) {
	if line == "XX" {
		return nil, l.next()
	}
	addresses = make(map[string]bool)
	for nodes := 1; nodes > 0 && l.err == nil; nodes-- {
		if len(line) < 4 || strings.Trim(line[:2], "YN") != "" || line[2] != ' ' {
			l.err = fmt.Errorf("%w: %.60q is in the list of completed recipients", ErrFormat, line)
			return nil, ""
		}
		nodes += strings.Count(line[:2], "Y")
		addresses[line[3:]] = true
		line = l.next()
	}
	return addresses, line
}

// addressOf returns the address in a recipient's line, in which more text may follow after a space.
func addressOf(line string) string {
	quoted := false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case c == ' ' && !quoted:
			return line[:i]
		}
	}
	return line
}

// headerSize adds up the header fields, each of which begins with its length and a letter. Fields with "*" are no
// longer part of the message.
func headerSize(in *bufio.Reader) (int64, error) {
	sum := int64(0)
	for {
		// "157P Received: …": at least three digits, the letter, a space.
		begin, err := in.Peek(1)
		if errors.Is(err, io.EOF) {
			return sum, nil
		}
		if err != nil {
			return 0, err
		}
		prefix := make([]byte, 0, 12)
		for begin[0] >= '0' && begin[0] <= '9' && len(prefix) < 10 {
			prefix = append(prefix, begin[0])
			if _, err := in.Discard(1); err != nil {
				return 0, err
			}
			if begin, err = in.Peek(1); err != nil {
				return 0, ErrIncomplete
			}
		}
		length, err := strconv.ParseInt(string(prefix), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%w: a header field without its length", ErrFormat)
		}
		mark := begin[0]
		if _, err := io.CopyN(io.Discard, in, 2+length); err != nil {
			return 0, ErrIncomplete
		}
		if mark != '*' {
			sum += length
		}
	}
}
