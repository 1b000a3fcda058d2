package maillog

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/steps/statedir"

	"github.com/stepwatch/stepwatch/steps/limit"
)

// Log is the log of a mail server and the directory for its state.
type Log struct {
	File    string   // path of the current file, or
	Journal []string // systemd units
	State   string   // directory, created if it does not exist

	at func(stage string) // called between the steps; only for tests
}

// String names the log for people.
func (l Log) String() string {
	if l.File != "" {
		return "the log " + l.File
	}
	return "the journal of " + strings.Join(l.Journal, ", ")
}

// source is where lines come from.
type source interface {
	// next passes on the lines since the last call, or at the first call those since the given time. doubtful means
	// that some may be missing, or may have been passed on before.
	next(ctx context.Context, since time.Time, line func(text string)) (doubtful bool, err error)
}

// state is the file that outlives a process.
type state struct {
	Version int      `json:"version"`
	Source  string   `json:"source"`
	At      int64    `json:"at"` // when it was written, in seconds of the Unix epoch
	Files   files    `json:"files"`
	Entries *journal `json:"journal,omitempty"`
	Counts  counts   `json:"counts"`
}

// stateVersion changes with the meaning of the stored state; the log is then read again.
const stateVersion = 3

// CatchUp reads what was logged since the last call, by any process, and returns the current state. The first call
// reads the part of the log and its rotated files within Kept. Calls for one log wait for each other. If ctx ends
// before the end of the log is reached, that is an error, and the next call continues there.
//
// A log that is unreadable, that is empty and always was, or that has no line of a mail server is an error, which says
// what to do.
func (l Log) CatchUp(ctx context.Context) (*Reading, error) {
	dir, err := statedir.Open(l.State)
	if err != nil {
		return nil, fmt.Errorf("open the state directory for %s: set state in stepwatch.yml to a directory that only stepwatch may write: %w", l, err)
	}
	defer func() { _ = dir.Close() }() // the files in it are closed already
	file := l.stateFile()
	unlock, err := lock(ctx, dir, file+".lock")
	if err != nil {
		return nil, fmt.Errorf("wait for other processes that read %s (all must run as the same user): %w", l, err)
	}
	defer unlock()
	s, err := l.load(dir, file)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	s.Counts.age(now)
	before := s.Counts.Newest
	parser := NewParser(now, nil)
	parser.last, parser.previous, parser.exim = before, s.Counts.Previous, s.Counts.Seen["exim"]
	var lines int64
	from := l.source(s)
	doubtful, err := from.next(ctx, now.Add(-Kept), func(text string) {
		lines++
		s.Counts.line(parser, text)
	})
	s.Counts.Previous = parser.previous[:min(len(parser.previous), 2000)]
	if doubtful {
		s.Counts.Gaps = append(s.Counts.Gaps, gap{From: before, To: now})
	}
	s.Counts.age(now)
	s.At = now.Unix()
	if saveErr := save(dir, file, s); saveErr != nil {
		return nil, fmt.Errorf("store how far %s was read: set state in stepwatch.yml to a directory that stepwatch may write: %w", l, saveErr)
	}
	if err != nil {
		return nil, err
	}
	c := &s.Counts
	switch {
	case c.Mail > 0:
	case c.Foreign+c.Unknown == 0:
		return nil, fmt.Errorf("%s is empty: does the mail server write to it?", l)
	case c.Unknown > 0:
		return nil, fmt.Errorf("%s has no line of Postfix, Dovecot, Exim, OpenDKIM or another known mail server among %d: its format is unknown, or it is another log: %q", l, c.Foreign+c.Unknown, c.Sample)
	default:
		return nil, fmt.Errorf("%s has no line of Postfix, Dovecot, Exim, OpenDKIM or another known mail server among %d, only lines of other programs: set the log that the mail server writes", l, c.Foreign)
	}
	return &Reading{At: now, Lines: lines, Source: l.String(), counts: c}, nil
}

func (l Log) source(s *state) source {
	if l.File != "" {
		s.Files.at = l.at
		return &fileSource{l.File, &s.Files}
	}
	if s.Entries == nil {
		s.Entries = &journal{}
	}
	return &journalSource{l.Journal, s.Entries}
}

type fileSource struct {
	path  string
	files *files
}

func (f *fileSource) next(ctx context.Context, since time.Time, line func(string)) (bool, error) {
	return f.files.next(ctx, f.path, since, func(b []byte) { line(string(b)) })
}

// stateFile returns the name of the log's own state file.
func (l Log) stateFile() string {
	sum := sha256.Sum256([]byte(l.String()))
	return "maillog-" + hex.EncodeToString(sum[:8]) + ".json"
}

// lockPoll is the pause between two attempts to take a lock.
const lockPoll = 10 * time.Millisecond

// lock waits until it gets the lock. It is a kernel lock, so it ends with its process.
func lock(ctx context.Context, dir *statedir.Dir, file string) (unlock func(), err error) {
	f, err := dir.OpenLock(file)
	if err != nil {
		return nil, err
	}
	for {
		taken, err := statedir.TryLock(f)
		if taken {
			return func() { _ = f.Close() }, nil // which releases the lock
		}
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		select {
		case <-time.After(lockPoll):
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), f.Close())
		}
	}
}

// stateLimit is far above the state of a busy log.
var stateLimit = limit.Define(limit.Limit{Subject: "state", What: "the stored state of a mail log", Unit: "bytes", Most: 64 << 20})

// load returns the stored state. A damaged state is an error and not silently dropped: its counts would be lost.
func (l Log) load(dir *statedir.Dir, file string) (*state, error) {
	path := dir.Path(file)
	fresh := &state{Version: stateVersion, Source: l.String()}
	content, err := dir.ReadFile(file, stateLimit)
	if errors.As(err, new(*limit.Error)) {
		return nil, fmt.Errorf("the state of %s is damaged: remove %s, then the log is read again: %w", l, path, err)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return fresh, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the state of %s: %w", l, err)
	}
	s := &state{}
	if err := json.Unmarshal(content, s); err != nil {
		return nil, fmt.Errorf("the state of %s is damaged: remove %s, then the log is read again: %w", l, path, err)
	}
	if s.Version != stateVersion {
		return fresh, nil
	}
	for i, b := range s.Counts.Buckets {
		if b == nil || b.N == nil {
			return nil, fmt.Errorf("the state of %s is damaged (span %d): remove %s, then the log is read again", l, i, path)
		}
	}
	return s, nil
}

// save replaces the file as a whole or not at all, even if the power fails meanwhile.
func save(dir *statedir.Dir, file string, s *state) error {
	content, err := json.Marshal(s)
	if err != nil {
		return err
	}
	s.Files.stage("save")
	if err := dir.WriteFile(file, content); err != nil {
		return err
	}
	s.Files.stage("saved")
	return nil
}
