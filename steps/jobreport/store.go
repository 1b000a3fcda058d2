package jobreport

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/stepwatch/stepwatch/steps/limit"
	"github.com/stepwatch/stepwatch/steps/statedir"
)

// folder is the directory of the records in the state directory, and presenceFile says when an agent took reports.
const (
	folder       = "jobs"
	presenceFile = "listening.json"
)

func fileOf(job string) string { return job + ".job.json" }

// ErrNone is the error of Read if no agent with this state directory has waited for the job.
var ErrNone = errors.New("no agent waits for its reports")

// DamagedError is the error of a file whose content is not a record.
type DamagedError struct {
	Path string
	Err  error
}

// Error says which file is damaged, and how.
func (e *DamagedError) Error() string { return fmt.Sprintf("%s is damaged: %s", e.Path, e.Err) }

// Unwrap returns what is wrong with it.
func (e *DamagedError) Unwrap() error { return e.Err }

// Read reads the record of a job, and when an agent took reports. It creates nothing. If no agent takes reports now, the last
// gap lasts until now.
func Read(stateDir, job string, now time.Time) (*Record, *Presence, error) {
	if err := CheckName(job); err != nil {
		return nil, nil, err
	}
	path := filepath.Join(stateDir, folder)
	if _, err := os.Lstat(filepath.Join(path, fileOf(job))); err != nil { // opening the directory would create it
		return nil, nil, none(err)
	}
	dir, err := statedir.Open(path)
	if err != nil {
		return nil, nil, err
	}
	s := &Store{dir: dir}
	r, err := s.record(job)
	if err != nil {
		return nil, nil, errors.Join(none(err), s.Close())
	}
	p, err := s.presence()
	if err = errors.Join(err, s.Close()); err != nil {
		return nil, nil, err
	}
	if now.Sub(p.Last) > presenceLate {
		p.Gaps = append(p.Gaps, Gap{p.Last, now})
	}
	return r, p, nil
}

// none returns ErrNone instead of the error of a missing file.
func none(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNone
	}
	return err
}

// record reads the record of a job. The error of a damaged one is a DamagedError.
func (s *Store) record(job string) (*Record, error) {
	name := fileOf(job)
	content, err := s.dir.ReadFile(name, fileLimit)
	if tooLarge := (*limit.Error)(nil); errors.As(err, &tooLarge) {
		return nil, &DamagedError{s.dir.Path(name), tooLarge}
	}
	if err != nil {
		return nil, err
	}
	return decode(s.dir.Path(name), job, content)
}

func decode(path, job string, content []byte) (*Record, error) {
	r, err := Decode(job, content)
	if errors.Is(err, ErrNewer) {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err != nil {
		return nil, &DamagedError{path, err}
	}
	return r, nil
}

// Store writes records. One process uses it; the methods about a record may not be called concurrently for the same job.
type Store struct {
	dir *statedir.Dir
	mu  sync.Mutex // held while the presence is read and written
}

// Open opens the records in a state directory for writing, and removes what a killed process did not finish.
func Open(stateDir string) (*Store, error) {
	state, err := statedir.Open(stateDir)
	if err != nil {
		return nil, err
	}
	dir, err := state.Sub(folder)
	if err = errors.Join(err, state.Close()); err != nil {
		return nil, err
	}
	dir.RemoveStale()
	return &Store{dir: dir}, nil
}

// Close closes the directory.
func (s *Store) Close() error { return s.dir.Close() }

// Load returns the record of a job. A job without one gets a new one, which is written, so that it is known since when
// stepwatch waits. A damaged file is renamed; the new record names it, and damaged describes it.
func (s *Store) Load(job string, now time.Time) (r *Record, damaged, err error) {
	if err := CheckName(job); err != nil {
		return nil, nil, err
	}
	name := fileOf(job)
	r, err = s.record(job)
	if errors.Is(err, fs.ErrNotExist) {
		r = New(job, now)
		return r, nil, s.Save(r)
	}
	broken := (*DamagedError)(nil)
	if !errors.As(err, &broken) {
		return r, nil, err
	}
	aside := name + ".damaged-" + now.UTC().Format("20060102T150405.000Z")
	if err := s.dir.Root().Rename(name, aside); err != nil {
		return nil, nil, errors.Join(broken, err)
	}
	r = New(job, now)
	r.SetAside = s.dir.Path(aside)
	return r, fmt.Errorf("%w; it is now %s", broken, r.SetAside), s.Save(r)
}

// Save writes a record as a whole. After Save has returned nil, the record survives a power failure.
func (s *Store) Save(r *Record) error {
	content, err := r.Encode()
	if err != nil {
		return err
	}
	return s.dir.WriteFile(fileOf(r.Job), content)
}

// Gap is a time in which no agent took reports: what a job reported then is lost.
type Gap struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// Presence says when an agent took reports. A verdict that no report came holds only for those times.
type Presence struct {
	Last time.Time `json:"last"` // when it last did
	Jobs []string  `json:"jobs"` // of which it took reports then
	Gaps []Gap     `json:"gaps,omitempty"`
}

// PresenceEvery is how often an agent is to say that it takes reports.
const PresenceEvery = time.Minute

// presenceLimit bounds how many gaps are kept, gapLeast is the shortest one that counts: a client that tries again, as
// `curl --retry 5` does for half a minute, loses nothing in a shorter one, and presenceLate is what a machine may be late.
const (
	presenceLimit = 100
	gapLeast      = 30 * time.Second
	presenceLate  = PresenceEvery + 30*time.Second
)

var presenceSize = limit.Define(limit.Limit{Subject: "job", What: "the times at which an agent took reports", Unit: "bytes", Most: 256 << 10})

// Begin notes that the agent takes reports from now on, after it did not since the last Present.
func (s *Store) Begin(now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.presence()
	if err != nil {
		p = &Presence{} // a damaged one is replaced: since when stepwatch waits is in the records
	}
	p.note(now, gapLeast)
	return s.savePresence(p)
}

// note notes that reports are taken now, and a gap if the last time is that long ago.
func (p *Presence) note(now time.Time, least time.Duration) {
	if gap := now.Sub(p.Last); !p.Last.IsZero() && gap >= least {
		p.Gaps = append(p.Gaps, Gap{p.Last, now})
		p.Gaps = slices.Delete(p.Gaps, 0, max(0, len(p.Gaps)-presenceLimit))
	}
	p.Last = now
}

// Wait notes of which jobs the agent takes reports from now on, and returns those that it took none of before.
func (s *Store) Wait(jobs []string) (added []string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.presence()
	if err != nil {
		return nil, err
	}
	for _, job := range jobs {
		if !slices.Contains(p.Jobs, job) {
			added = append(added, job)
		}
	}
	p.Jobs = slices.Sorted(slices.Values(jobs))
	return added, s.savePresence(p)
}

// Present notes that the agent has taken reports until now. It is called at least every PresenceEvery, and at the end.
func (s *Store) Present(now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.presence()
	if err != nil {
		return err
	}
	p.note(now, presenceLate) // the machine was suspended, or nothing could be written
	return s.savePresence(p)
}

func (s *Store) savePresence(p *Presence) error {
	content, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return s.dir.WriteFile(presenceFile, append(content, '\n'))
}

func (s *Store) presence() (*Presence, error) {
	content, err := s.dir.ReadFile(presenceFile, presenceSize)
	if errors.Is(err, fs.ErrNotExist) {
		return &Presence{}, nil
	}
	if err != nil {
		return nil, err
	}
	p, err := decodePresence(content)
	if err != nil {
		return nil, &DamagedError{s.dir.Path(presenceFile), err}
	}
	return p, nil
}

func decodePresence(content []byte) (*Presence, error) {
	p := new(Presence)
	if err := json.Unmarshal(content, p); err != nil {
		return nil, err
	}
	if len(p.Gaps) > presenceLimit {
		return nil, errors.New("it has more entries than it may have")
	}
	return p, nil
}

// Missed returns the last gap that overlaps a time from one moment to another, if there is one.
func (p *Presence) Missed(from, to time.Time) (gap Gap, missed bool) {
	for _, g := range slices.Backward(p.Gaps) {
		if g.From.Before(to) && g.To.After(from) {
			return g, true
		}
	}
	return Gap{}, false
}
