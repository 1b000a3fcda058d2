// Package program runs another program to its end: not longer than its context, with bounded output, and without
// leaving processes behind. It is the only place in stepwatch that starts programs for a step.
//
// A program gets its own small environment, because stepwatch's may contain passwords. There is no shell: arguments are
// passed unchanged.
package program

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/stepwatch/stepwatch/steps/lack"
	"github.com/stepwatch/stepwatch/steps/limit"
)

// DefaultOutputLimit is the number of bytes of each output that are kept by default: 1 MiB.
const DefaultOutputLimit = 1 << 20

// PrintLimit limits what a program prints on one of its outputs. What is beyond the OutputLimit of its Command is dropped; a
// program that prints more than this is ended.
var PrintLimit = limit.Define(limit.Limit{Subject: "program", What: "an output", Unit: "bytes", Most: 64 << 20})

// grace is how long a program's children may hold its outputs open after its end.
const grace = 250 * time.Millisecond

// Command describes a program to run.
type Command struct {
	Path        string   // of the program, or its name for $PATH
	Args        []string // without the program's own name
	Dir         string   // working directory; empty means ours
	Env         []string // "NAME=value", added to the small environment that every program gets
	Inherit     bool     // pass our whole environment; for programs configured as part of stepwatch
	Stdin       []byte
	Input       io.Reader // standard input instead of Stdin, for input larger than memory
	OutputLimit int       // bytes kept of each output; 0 means DefaultOutputLimit

	// Foreign is for programs that stepwatch does not know. On Linux, processes that left the program's group are found
	// by a mark in their environment and ended too. The search takes some milliseconds. Where this process adopts orphans,
	// those that cleared their environment are ended with the last of the programs that ran when they were first seen.
	Foreign bool

	// Stdout, if not nil, receives the standard output as it arrives; Output then holds none of it. An error of Stdout
	// ends the program and is returned by Run.
	Stdout io.Writer
}

// Output is the output and the end of a program.
type Output struct {
	Stdout, Stderr       []byte
	StdoutCut, StderrCut bool // the rest beyond the limit was read and dropped
	ExitCode             int  // -1 when a signal ended it
	Signal               string
	Strays               int // processes of a Foreign program that had left its group and were ended
	Duration             time.Duration
	CPU                  time.Duration // of the program and the children that it waited for
}

// inherited are the variables that every program needs and that contain no secret.
var inherited = []string{"PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR"}

var forbidden atomic.Bool

// Forbid makes this process start no program from now on, because nobody would end what it leaves.
func Forbid() { forbidden.Store(true) }

// Forbidden returns an error if this process may start no program.
func Forbidden() error {
	if forbidden.Load() {
		return errors.New("nobody would end what it leaves, because stepwatch took this check for one that starts no program: report it")
	}
	return nil
}

// Run runs a program and waits for its end. An exit code other than zero is not an error: its meaning is up to the
// caller. Run returns an error when the program did not start. On Linux, the kernel ends the program when this process is
// killed, except a program that changes its user. When the context ended the program, the error wraps the
// context's, and the Output holds the output so far. When the program printed too much, it wraps a *limit.Error. When Run returns, the program and all processes of its group have
// ended.
func Run(ctx context.Context, c Command) (*Output, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("run %s: %w", c.Path, err)
	}
	if err := Forbidden(); err != nil {
		return nil, fmt.Errorf("run %s: %w", c.Path, err)
	}
	cmd := exec.CommandContext(ctx, c.Path, c.Args...) //nolint:gosec // the configuration or the feature names the program
	cmd.Dir = c.Dir
	cmd.Env = environment(c)
	if c.Stdin != nil {
		cmd.Stdin = bytes.NewReader(c.Stdin)
	}
	if c.Input != nil {
		cmd.Stdin = c.Input
	}
	most := cmp.Or(c.OutputLimit, DefaultOutputLimit)
	stdout, stderr := NewKept(most), NewKept(most)
	end := func() { _ = cmd.Cancel() }
	var sink *checked
	printed, complained := &checked{to: stdout, failed: end}, &checked{to: stderr, failed: end}
	if c.Stdout != nil {
		sink = &checked{to: c.Stdout, failed: end}
		printed = sink
	}
	cmd.Stdout, cmd.Stderr = printed, complained
	cmd.WaitDelay = grace
	defer ownGroup(cmd)()
	mark := ""
	if c.Foreign {
		mark = "STEPWATCH_PROGRAM=" + rand.Text()
		cmd.Env = append(cmd.Env, mark)
		// Processes that left the group may hold the outputs open, and Wait would wait for them.
		end := cmd.Cancel
		cmd.Cancel = func() error { defer endMarked(mark); return end() }
	}

	orphaned := func() int { return 0 }
	if c.Foreign {
		orphaned = adoption.begin()
	}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		orphaned()
		return nil, fmt.Errorf("run %s: %w", c.Path, startError(c, err))
	}
	err := cmd.Wait()
	took := time.Since(start)
	endGroup(cmd) // children that it did not wait for
	strays := 0
	if mark != "" {
		strays = endMarked(mark)
	}
	strays += orphaned()
	out := &Output{Stdout: stdout.Bytes(), Stderr: stderr.Bytes(), StdoutCut: stdout.Cut(), StderrCut: stderr.Cut(),
		Duration: took, Strays: strays, ExitCode: -1}
	if state := cmd.ProcessState; state != nil {
		out.ExitCode, out.Signal = state.ExitCode(), signalOf(state)
		out.CPU = state.UserTime() + state.SystemTime()
	}
	var exit *exec.ExitError
	switch {
	case sink != nil && sink.err != nil:
		return out, fmt.Errorf("process the output of %s: %w", c.Path, sink.err)
	case printed.err != nil, complained.err != nil:
		return out, fmt.Errorf("run %s: %w", c.Path, cmp.Or(printed.err, complained.err))
	case ctx.Err() != nil && out.ExitCode != 0:
		return out, fmt.Errorf("run %s: ended after %s: %w", c.Path, out.Duration.Round(time.Millisecond), context.Cause(ctx))
	case err == nil, errors.As(err, &exit), errors.Is(err, exec.ErrWaitDelay), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return out, nil // the exit code counts; a child that held the outputs open has ended
	default:
		return out, fmt.Errorf("run %s: %w", c.Path, err)
	}
}

// startError explains why a program did not start.
func startError(c Command, err error) error {
	if own := lack.Of(err); own != nil {
		return own
	}
	if errors.Is(err, exec.ErrNotFound) {
		return errors.New("there is no such program in $PATH")
	}
	if at := (*fs.PathError)(nil); errors.As(err, &at) {
		err = at.Err // its path is that of the command
	}
	if c.Dir != "" {
		if _, gone := os.Stat(c.Dir); gone != nil {
			return fmt.Errorf("its working directory: %w", gone)
		}
	}
	path := c.Path
	if !filepath.IsAbs(path) {
		path = filepath.Join(c.Dir, path)
	}
	info, missing := os.Stat(path)
	switch {
	case missing != nil:
		return err
	case info.IsDir():
		return fmt.Errorf("%w: it is a directory", err)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: the interpreter in its first line, or its loader, does not exist", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: make it executable with chmod +x", err)
	case errors.Is(err, syscall.ENOEXEC):
		return fmt.Errorf("%w: it is not a program for this machine, and its first line names no interpreter (#!/bin/sh)", err)
	}
	return err
}

func environment(c Command) []string {
	if c.Inherit {
		return append(os.Environ(), c.Env...)
	}
	env := make([]string, 0, len(inherited)+len(c.Env))
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		if slices.Contains(inherited, name) || strings.HasPrefix(name, "LC_") {
			env = append(env, variable)
		}
	}
	return append(env, c.Env...)
}

// checked ends the program when writing its output fails.
type checked struct {
	to     io.Writer
	failed func()
	err    error
}

func (w *checked) Write(p []byte) (int, error) {
	if w.err == nil {
		if _, w.err = w.to.Write(p); w.err != nil {
			w.failed()
		}
	}
	return len(p), nil
}

// Kept keeps the first bytes written to it and drops the rest up to PrintLimit, so that a program with very long output
// neither fills the memory nor blocks on a full pipe. It may be read during writes.
type Kept struct {
	mu     sync.Mutex
	buffer bytes.Buffer
	limit  int
	total  int64
}

// NewKept returns a Kept that keeps at most limit bytes.
func NewKept(limit int) *Kept { return &Kept{limit: limit} }

// Write keeps the bytes of p up to the limit. It fails when more than PrintLimit was written.
func (w *Kept) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	keep := min(len(p), w.limit-w.buffer.Len())
	w.buffer.Write(p[:keep])
	w.total += int64(len(p))
	if w.total > PrintLimit.Most {
		return len(p), PrintLimit.Exceeded()
	}
	return len(p), nil
}

// Bytes returns the kept bytes.
func (w *Kept) Bytes() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buffer.Bytes()
}

// Cut reports whether bytes were dropped.
func (w *Kept) Cut() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.total > int64(w.limit)
}

// Written returns the number of bytes written to it.
func (w *Kept) Written() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.total
}
