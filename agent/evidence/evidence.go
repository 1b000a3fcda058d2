// Package evidence stores the evidence of failed runs as files: a directory for each scenario, and in it one for each
// run. Only the owner may read them. Runs beyond the limits of number, age and size are removed.
//
// The evidence is already redacted. The package does not change it.
package evidence

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps/lack"
	"github.com/stepwatch/stepwatch/steps/statedir"
)

// Limits limit the stored runs. Zero means no limit.
type Limits struct {
	Keep int           // runs of one scenario
	Age  time.Duration // of a run
	Size int64         // bytes of all runs together
}

// Store is a directory of evidence. Operations open it anew, because others may remove it. Any number of goroutines may use it, and other processes may use the same
// directory.
type Store struct {
	dir  string
	open func(path string) (*statedir.Dir, error)
	log  *slog.Logger

	// Lacking is told what the machine lacks to save evidence, and nil when it does again. It may be nil. Export calls it.
	Lacking func(*result.Lack)
	lacks   bool // it was told of a lack

	mu     sync.Mutex
	limits Limits
	runs   []run // the known runs, the oldest first
}

// run is the evidence of one run.
type run struct {
	path     string
	scenario string
	at       time.Time
	bytes    int64
}

// sweepEvery is the interval at which the directory is read again, for runs that are too old and those of other
// processes.
const sweepEvery = time.Hour

// unfinished marks a directory that is being written. One older than unfinishedFor belongs to a killed process.
const (
	unfinished    = ".unfinished"
	unfinishedFor = 10 * time.Minute
)

// New returns a Store of dir, which need not exist yet and which only our user may write. log may be nil.
func New(dir string, limits Limits, log *slog.Logger) *Store {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Store{dir: dir, open: statedir.Open, limits: limits, log: log}
}

// NewShared returns a Store without limits in a directory that others may write, too.
func NewShared(dir string) *Store {
	s := New(dir, Limits{}, nil)
	s.open = statedir.OpenShared
	return s
}

// SetLimits changes the limits from the next run or sweep on.
func (s *Store) SetLimits(limits Limits) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limits = limits
}

// Export implements agent.Sink: it saves the evidence, and logs errors. It tells Lacking when the machine has no place for
// evidence, and when it has one again.
func (s *Store) Export(r *result.Result) {
	paths, err := s.Save(r)
	if err != nil {
		s.log.Warn("evidence not saved", "scenario", r.Identity.String(), "error", err)
	}
	own := lack.Of(err)
	switch {
	case s.Lacking == nil:
	case own != nil:
		s.lacks = true
		s.Lacking(&result.Lack{Kind: string(own.Kind), Said: "evidence is not saved: " + own.Said, Remedy: own.Remedy})
	case s.lacks && err == nil && (len(paths) > 0 || s.writable()):
		s.lacks = false
		s.Lacking(nil)
	}
}

// writable reports whether there is a place for evidence again: without a failed run, nothing else would tell.
func (s *Store) writable() bool {
	dir, err := s.open(s.dir)
	if err != nil {
		return false
	}
	defer func() { _ = dir.Close() }() // the files in it are closed already
	const probe = ".probe"
	return dir.WriteFile(probe, make([]byte, 4<<10)) == nil && dir.Root().Remove(probe) == nil
}

// SweepHourly sweeps at once and then every hour until ctx ends. It logs errors.
func (s *Store) SweepHourly(ctx context.Context) {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		if err := s.Sweep(ctx, time.Now()); err != nil && ctx.Err() == nil {
			s.log.Warn("evidence not swept", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Save writes the evidence of a run and returns the paths of its files, or none if the run has no evidence. It writes
// all files or none. A summary of the failure is next to them, for later readers.
func (s *Store) Save(r *result.Result) (paths []string, err error) {
	var files []file
	for i, step := range r.Steps {
		for _, e := range step.Evidence {
			files = append(files, file{fmt.Sprintf("step%d-%s%s", i+1, slug(e.Name), extension(e)), e.Body})
		}
	}
	if len(files) == 0 {
		return nil, nil
	}
	files = append(files, file{summary, failure(r)})
	scenario := directory(r.Identity)
	dir, err := s.open(s.dir)
	if err != nil {
		return nil, fmt.Errorf("save the evidence: %w", err)
	}
	defer func() { _ = dir.Close() }() // the files in it are closed already
	root := dir.Root()
	final := filepath.Join(scenario, r.Started.UTC().Format("20060102T150405.000Z")+"-"+r.Run)
	writing := final + unfinished
	if err = root.MkdirAll(writing, 0o700); errors.Is(err, fs.ErrNotExist) { // the scenario's empty directory has just been removed
		err = root.MkdirAll(writing, 0o700)
	}
	if err != nil {
		return nil, fmt.Errorf("save the evidence: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, root.RemoveAll(writing))
		}
	}()
	kept := run{path: filepath.Join(s.dir, final), scenario: scenario, at: r.Started}
	seen := map[string]int{}
	for _, f := range files {
		if seen[f.name]++; seen[f.name] > 1 {
			f.name = fmt.Sprintf("%d-%s", seen[f.name], f.name)
		}
		if err := create(root, filepath.Join(writing, f.name), f.body); err != nil {
			return nil, fmt.Errorf("save the evidence: %w", err)
		}
		kept.bytes += int64(len(f.body))
		if f.name != summary {
			paths = append(paths, filepath.Join(s.dir, final, f.name))
		}
	}
	if err := root.Rename(writing, final); err != nil {
		return nil, fmt.Errorf("save the evidence: %w", err)
	}
	s.mu.Lock()
	s.runs = append(s.runs, kept)
	surplus := s.surplus(time.Now())
	s.mu.Unlock()
	return paths, s.remove(dir, surplus)
}

// create writes a new file. It never writes into an existing one, whatever that is.
func create(root *os.Root, name string, body []byte) error {
	f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(body)
	return errors.Join(err, f.Close())
}

const summary = "failure.txt"

type file struct {
	name string
	body []byte
}

// failure returns the summary of a failed run.
func failure(r *result.Result) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n%s:%d\nrun %s at %s\n\n", r.Identity, r.Identity.File, r.Identity.Line, r.Run, r.Started.Format(time.RFC3339))
	for i, step := range r.Steps {
		fmt.Fprintf(&b, "%d. %s %s: %s\n", i+1, step.Keyword, step.Text, step.Status)
		if step.Error != "" {
			fmt.Fprintf(&b, "   %s (reason %s, blame %s)\n", step.Error, step.Reason, step.Blame)
		}
		inner(&b, "   ", step.Steps)
	}
	return []byte(b.String())
}

// inner lists the inner steps of a sentence composed of others.
func inner(b *strings.Builder, indent string, steps []result.StepResult) {
	for _, step := range steps {
		fmt.Fprintf(b, "%s%s %s: %s (%s:%d)\n", indent, step.Keyword, step.Text, step.Status, step.File, step.Line)
		inner(b, indent+"   ", step.Steps)
	}
}

// Sweep reads the directory again, and removes the runs beyond the limits and the unfinished ones of killed processes.
// It may take long on a slow disk, so it does not block Save and ends with ctx. Only one sweep may run at a time.
func (s *Store) Sweep(ctx context.Context, now time.Time) error {
	s.mu.Lock()
	before := s.runs
	s.runs = nil // collects the runs saved from here on
	s.mu.Unlock()
	dir, err := s.existing()
	var found []run
	if dir != nil {
		defer func() { _ = dir.Close() }() // the files in it are closed already
		found, err = s.read(ctx, dir.Root(), now)
	}
	s.mu.Lock()
	if ctx.Err() != nil {
		s.runs = append(before, s.runs...)
		s.mu.Unlock()
		return context.Cause(ctx)
	}
	for _, saved := range s.runs {
		if !slices.ContainsFunc(found, func(r run) bool { return r.path == saved.path }) {
			found = append(found, saved)
		}
	}
	slices.SortStableFunc(found, func(a, b run) int { return a.at.Compare(b.at) })
	s.runs = found
	surplus := s.surplus(now)
	s.mu.Unlock()
	return errors.Join(err, s.remove(dir, surplus))
}

// existing opens the directory, or returns nil if it does not exist.
func (s *Store) existing() (*statedir.Dir, error) {
	if _, err := os.Lstat(s.dir); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	dir, err := s.open(s.dir)
	if err != nil {
		return nil, fmt.Errorf("sweep the evidence: %w", err)
	}
	return dir, nil
}

// read returns the runs in the directory. It removes the unfinished ones of killed processes.
func (s *Store) read(ctx context.Context, root *os.Root, now time.Time) (found []run, err error) {
	scenarios, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return nil, fmt.Errorf("sweep the evidence: %w", err)
	}
	var errs []error
	for _, scenario := range scenarios {
		if ctx.Err() != nil {
			break
		}
		if !scenario.IsDir() {
			continue
		}
		runs, err := fs.ReadDir(root.FS(), scenario.Name())
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, entry := range runs {
			name := filepath.Join(scenario.Name(), entry.Name())
			info, err := entry.Info()
			if err != nil || !entry.IsDir() {
				continue // removed meanwhile, or not ours
			}
			if strings.HasSuffix(entry.Name(), unfinished) {
				if now.Sub(info.ModTime()) > unfinishedFor {
					errs = append(errs, root.RemoveAll(name))
				}
				continue
			}
			stamp, _, _ := strings.Cut(entry.Name(), "-")
			at, err := time.Parse("20060102T150405.000Z", stamp)
			if err != nil {
				continue // not ours
			}
			found = append(found, run{filepath.Join(s.dir, name), scenario.Name(), at, size(root, name)})
		}
	}
	return found, errors.Join(errs...)
}

// surplus removes runs from s.runs, the oldest first, until the limits hold, and returns them. The caller holds s.mu.
func (s *Store) surplus(now time.Time) (surplus []run) {
	count, total := map[string]int{}, int64(0)
	for _, r := range s.runs {
		count[r.scenario]++
		total += r.bytes
	}
	s.runs = slices.DeleteFunc(s.runs, func(r run) bool {
		if (s.limits.Keep == 0 || count[r.scenario] <= s.limits.Keep) && (s.limits.Age == 0 || now.Sub(r.at) <= s.limits.Age) && (s.limits.Size == 0 || total <= s.limits.Size) {
			return false
		}
		surplus = append(surplus, r)
		count[r.scenario]--
		total -= r.bytes
		return true
	})
	return surplus
}

// remove removes runs from the directory, which is nil only if there are none.
func (s *Store) remove(dir *statedir.Dir, runs []run) error {
	if dir == nil {
		return nil
	}
	root := dir.Root()
	var errs []error
	for _, r := range runs {
		name := filepath.Join(r.scenario, filepath.Base(r.path))
		if err := root.RemoveAll(name); err != nil {
			errs = append(errs, err)
		}
		_ = root.Remove(r.scenario) // if it was the scenario's last run
	}
	return errors.Join(errs...)
}

func size(root *os.Root, dir string) (total int64) {
	files, _ := fs.ReadDir(root.FS(), filepath.ToSlash(dir)) // a removed directory is empty
	for _, f := range files {
		if info, err := f.Info(); err == nil {
			total += info.Size()
		}
	}
	return total
}

// directory returns the name of a scenario's directory: a readable name, and a hash that makes it unique.
func directory(id result.Identity) string {
	sum := sha256.Sum256([]byte(id.File + "\x00" + id.String()))
	return slug(id.Feature+" "+id.Scenario) + "-" + hex.EncodeToString(sum[:4])
}

// slug converts a name to lower-case letters, digits and hyphens, which are valid in file names everywhere.
func slug(name string) string {
	words := strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') })
	short := strings.Join(words, "-")
	return cmp.Or(strings.Trim(short[:min(len(short), 60)], "-"), "x")
}

func extension(e result.Evidence) string {
	kind, _, _ := strings.Cut(e.MediaType, ";")
	switch kind {
	case "application/har+json":
		return ".har"
	case "text/html", "application/xhtml+xml":
		return ".html"
	case "image/jpeg":
		return ".jpg"
	case "image/png":
		return ".png"
	case "application/json":
		return ".json"
	case "message/rfc822":
		return ".eml"
	default:
		return ".txt"
	}
}
