package maillog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/steps/program"
)

// journal is how far the journal was read.
type journal struct {
	Cursor string `json:"cursor,omitempty"` // of the last entry read
	Read   int64  `json:"read,omitempty"`   // when, in seconds of the Unix epoch
}

// journalSource reads systemd's journal through journalctl(1), the only reader that certainly knows the format.
type journalSource struct {
	units []string
	*journal
}

// entry is a line of "journalctl --output=json". Each value may also be null, a list if a field occurs twice, or a list
// of bytes if it is not text.
type entry struct {
	Cursor     string          `json:"__CURSOR"`
	At         string          `json:"__REALTIME_TIMESTAMP"`
	Message    json.RawMessage `json:"MESSAGE"`
	Identifier json.RawMessage `json:"SYSLOG_IDENTIFIER"`
	PID        json.RawMessage `json:"_PID"`
	SyslogPID  json.RawMessage `json:"SYSLOG_PID"`
}

const journalFields = "--output-fields=MESSAGE,SYSLOG_IDENTIFIER,_PID,SYSLOG_PID"

// text reads a value of the journal's JSON.
func text(raw json.RawMessage) string {
	var s string
	if len(raw) == 0 || json.Unmarshal(raw, &s) == nil {
		return s
	}
	var several []string
	if json.Unmarshal(raw, &several) == nil && len(several) > 0 {
		return several[0]
	}
	var numbers []uint8
	var list []int
	if json.Unmarshal(raw, &list) == nil {
		for _, n := range list {
			numbers = append(numbers, uint8(n)) //nolint:gosec // bytes in the format; anything else is garbage in any case
		}
	}
	return string(numbers)
}

// parseEntry returns an entry as syslog would have written it, with a stamp of RFC 3339.
func parseEntry(b []byte) (e entry, line string, err error) {
	if err := json.Unmarshal(b, &e); err != nil {
		return e, "", fmt.Errorf("journalctl printed invalid JSON: %w", err)
	}
	micros, err := strconv.ParseInt(e.At, 10, 64)
	if err != nil || e.Cursor == "" || micros < 0 || micros > 1<<53 {
		return e, "", fmt.Errorf("journalctl printed an entry without cursor or time: %q", b[:min(len(b), 100)])
	}
	pid := text(e.SyslogPID)
	if pid == "" {
		pid = text(e.PID)
	}
	message, _, _ := strings.Cut(text(e.Message), "\n")
	return e, time.UnixMicro(micros).UTC().Format(time.RFC3339Nano) + " - " + text(e.Identifier) + "[" + pid + "]: " + message, nil
}

// lineSplitter calls do for each line that is written to it.
type lineSplitter struct {
	rest []byte
	skip bool // until the end of a line that is too long
	do   func(line []byte) error
}

// entryMax is the maximum length of an entry that is read, in bytes.
const entryMax = 1 << 20

func (s *lineSplitter) Write(p []byte) (int, error) {
	n := len(p)
	for {
		end := bytes.IndexByte(p, '\n')
		if end < 0 {
			break
		}
		line := p[:end]
		if len(s.rest) > 0 {
			s.rest = append(s.rest, line...)
			line = s.rest
		}
		if !s.skip && len(line) > 0 {
			if err := s.do(line); err != nil {
				return 0, err
			}
		}
		s.rest, s.skip, p = s.rest[:0], false, p[end+1:]
	}
	if s.rest = append(s.rest, p...); len(s.rest) > entryMax {
		s.rest, s.skip = s.rest[:0], true
	}
	return n, nil
}

func (j *journalSource) next(ctx context.Context, since time.Time, line func(string)) (lost bool, err error) {
	args := []string{"--no-pager", "--quiet", "--output=json", journalFields}
	for _, unit := range j.units {
		args = append(args, "--unit="+unit)
	}
	first := j.Cursor
	if first != "" {
		// With the entry itself, not after it: if it were gone, journalctl would continue with the next one without a
		// warning.
		args = append(args, "--cursor="+first)
	} else {
		args = append(args, "--since=@"+strconv.FormatInt(since.Unix(), 10))
	}
	before := j.Read
	split := &lineSplitter{do: func(b []byte) error {
		e, text, err := parseEntry(b)
		if err != nil {
			return err
		}
		again := first != "" && e.Cursor == first
		lost, first = lost || first != "" && !again, ""
		j.Cursor = e.Cursor
		if !again {
			line(text)
		}
		return nil
	}}
	out, err := program.Run(ctx, program.Command{Path: "journalctl", Args: args, Stdout: split})
	j.Read = time.Now().Unix()
	if err != nil {
		if ctx.Err() != nil {
			return lost, fmt.Errorf("the journal is too long to read in time, the next run continues where this one stopped: %w", err)
		}
		return lost, fmt.Errorf("read the journal: %w", err)
	}
	said := strings.TrimSpace(string(out.Stderr))
	switch {
	case strings.Contains(said, "insufficient permissions"), strings.Contains(said, "not seeing messages from other users"):
		return lost, errors.New("the journal cannot be read: permission denied: add stepwatch's user to the group systemd-journal")
	case out.ExitCode != 0:
		return lost, fmt.Errorf("journalctl ended with %d: %s", out.ExitCode, said)
	}
	return lost || first != "" && before > 0, nil // the entry itself is gone, and there is none after it
}
