package maillog

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Log is the log of a mail server and where it is remembered what was read of it.
type Log struct {
	File    string   // path of the file that is written now, or
	Journal []string // systemd units
	State   string   // directory, made when it is not there

	at func(stage string) // called between the steps; only tests have it
}

// String names the log for a person.
func (l Log) String() string {
	if l.File != "" {
		return "the log " + l.File
	}
	return "the journal of " + strings.Join(l.Journal, ", ")
}

// source is what lines come from.
type source interface {
	// next hands over the lines since the last call, or since then at the first. doubtful says that some may be gone unread,
	// or may have been handed over before.
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

// stateVersion changes with the meaning of what is kept; the log is then read anew.
const stateVersion = 2

// CatchUp reads what was logged since the last call, by whichever process, and gives what is known then. At the first call it
// reads what the log and its rotated files have of the time that is Kept. Calls for one log wait for each other. When ctx ends before the end of the log
// is reached, that is an error, and the next call goes on there.
//
// A log that cannot be read, that is empty and always was, or that has no line of a mail server is an error, which says what
// to do.
func (l Log) CatchUp(ctx context.Context) (*Reading, error) {
	if err := os.MkdirAll(l.State, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory for what was read of %s: set state in stepwatch.yml to one that stepwatch may write: %w", l, err)
	}
	path := l.statePath()
	unlock, err := lock(ctx, path+".lock")
	if err != nil {
		return nil, fmt.Errorf("wait for others to read %s (users of one state directory must be one user): %w", l, err)
	}
	defer unlock()
	s, err := l.load(path)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	s.Counts.age(now)
	before := s.Counts.Newest
	parser := NewParser(now, nil)
	parser.last = before
	var lines int64
	from := l.source(s)
	doubtful, err := from.next(ctx, now.Add(-Kept), func(text string) {
		lines++
		s.Counts.line(parser, text)
	})
	if doubtful {
		s.Counts.Gaps = append(s.Counts.Gaps, gap{From: before, To: now})
	}
	s.Counts.age(now)
	s.At = now.Unix()
	if saveErr := save(path, s); saveErr != nil {
		return nil, fmt.Errorf("remember how far %s was read: set state in stepwatch.yml to a directory that stepwatch may write: %w", l, saveErr)
	}
	if err != nil {
		return nil, err
	}
	c := &s.Counts
	switch {
	case c.Mail > 0:
	case c.Foreign+c.Unknown == 0:
		return nil, fmt.Errorf("%s is empty: does the mail server write it at all?", l)
	case c.Unknown > 0:
		return nil, fmt.Errorf("%s has no line of Postfix, Dovecot, Exim or OpenDKIM among %d: its format is not known, or it is another log: %q", l, c.Foreign+c.Unknown, c.Sample)
	default:
		return nil, fmt.Errorf("%s has no line of Postfix, Dovecot, Exim or OpenDKIM among %d, but those of other programs: name the one that the mail server writes", l, c.Foreign)
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

// statePath is a file of its own for each log.
func (l Log) statePath() string {
	sum := sha256.Sum256([]byte(l.String()))
	return filepath.Join(l.State, "maillog-"+hex.EncodeToString(sum[:8])+".json")
}

// lockPoll is how often somebody who waits for a lock asks for it.
const lockPoll = 10 * time.Millisecond

// lock waits until nobody else has the lock. It is the kernel's, so it ends with the process that has it.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		taken, err := tryLock(f)
		if taken {
			return func() { _ = f.Close() }, nil // which gives the lock up
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

// load gives what is remembered. What is damaged is an error and not forgotten in silence: the counts in it would be lost.
func (l Log) load(path string) (*state, error) {
	fresh := &state{Version: stateVersion, Source: l.String()}
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fresh, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read what is remembered of %s: %w", l, err)
	}
	s := &state{}
	if err := json.Unmarshal(content, s); err != nil {
		return nil, fmt.Errorf("what is remembered of %s is damaged: remove %s, and the log is read anew: %w", l, path, err)
	}
	if s.Version != stateVersion {
		return fresh, nil
	}
	for i, b := range s.Counts.Buckets {
		if b == nil || b.N == nil {
			return nil, fmt.Errorf("what is remembered of %s is damaged (span %d): remove %s, and the log is read anew", l, i, path)
		}
	}
	return s, nil
}

// save replaces the file as a whole, or not at all, also when the power fails meanwhile.
func save(path string, s *state) error {
	content, err := json.Marshal(s)
	if err != nil {
		return err
	}
	s.Files.stage("save")
	next := path + ".new" // nobody else writes it: we have the lock
	f, err := os.OpenFile(next, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	s.Files.stage("written")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	s.Files.stage("synced")
	return os.Rename(next, path)
}
