// Package program runs another program to its end: never longer than its context, never with more output than was asked
// for, and with nothing of it left running. It is the one place of stepwatch that starts programs for a step.
//
// A program gets a small environment of its own, because ours may hold passwords. There is no shell: arguments arrive as
// they are given.
package program

import (
	"bytes"
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
	"syscall"
	"time"
)

// DefaultOutputLimit is how much of each output is kept unless the Command says otherwise: 1 MiB.
const DefaultOutputLimit = 1 << 20

// grace is how long after its end a program's children may hold its outputs open before they are closed.
const grace = 250 * time.Millisecond

// Command is what to run.
type Command struct {
	Path        string   // of the program, or its name for $PATH
	Args        []string // without the program's own name
	Dir         string   // where it runs; empty: where we do
	Env         []string // "NAME=value", added to the small environment that every program gets
	Inherit     bool     // pass our whole environment; for what the user configured as part of stepwatch itself
	Stdin       []byte
	Input       io.Reader // the standard input in the place of Stdin, for more than fits into memory
	OutputLimit int       // bytes kept of each output; 0 means DefaultOutputLimit

	// Foreign is for programs that stepwatch does not know: processes that left the program's group to go on by themselves
	// are found and ended too, on Linux, by a mark in their environment. Looking for them takes some milliseconds.
	Foreign bool

	// Stdout, when there is one, gets the standard output as it comes, and Output has none of it. Its error ends the program
	// and is Run's.
	Stdout io.Writer
}

// Output is what a program that ended has said.
type Output struct {
	Stdout, Stderr       []byte
	StdoutCut, StderrCut bool // there was more than the limit; it was read and dropped
	ExitCode             int  // -1 when a signal ended it
	Signal               string
	Strays               int // processes of a Foreign program that had left its group and were ended
	Duration             time.Duration
	CPU                  time.Duration // of the program and the children that it waited for
}

// inherited are the variables that every program needs and that hold no secret.
var inherited = []string{"PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR"}

// Run runs a program and waits for its end. An exit code other than zero is no error: what it means is for the caller.
// The error says that it could not be started, or wraps the context's when that ended it; the Output then holds what it
// had said until then. When Run returns, the program and all processes of its group have ended.
func Run(ctx context.Context, c Command) (*Output, error) {
	if err := ctx.Err(); err != nil {
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
	limit := c.OutputLimit
	if limit == 0 {
		limit = DefaultOutputLimit
	}
	stdout, stderr := NewKept(limit), NewKept(limit)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	var sink *checked
	if c.Stdout != nil {
		sink = &checked{to: c.Stdout, failed: func() { _ = cmd.Cancel() }}
		cmd.Stdout = sink
	}
	cmd.WaitDelay = grace
	ownGroup(cmd)
	mark := ""
	if c.Foreign {
		mark = "STEPWATCH_PROGRAM=" + rand.Text()
		cmd.Env = append(cmd.Env, mark)
		// What left the group may hold the outputs open, which would be waited for.
		end := cmd.Cancel
		cmd.Cancel = func() error { defer endMarked(mark); return end() }
	}

	start := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("run %s: %w", c.Path, startError(c, err))
	}
	err := cmd.Wait()
	took := time.Since(start)
	endGroup(cmd) // what it started and did not wait for
	strays := 0
	if mark != "" {
		strays = endMarked(mark)
	}
	out := &Output{Stdout: stdout.Bytes(), Stderr: stderr.Bytes(), StdoutCut: stdout.Cut(), StderrCut: stderr.Cut(),
		Duration: took, Strays: strays, ExitCode: -1}
	if state := cmd.ProcessState; state != nil {
		out.ExitCode, out.Signal = state.ExitCode(), signalOf(state)
		out.CPU = state.UserTime() + state.SystemTime()
	}
	var exit *exec.ExitError
	switch {
	case sink != nil && sink.err != nil:
		return out, fmt.Errorf("take what %s printed: %w", c.Path, sink.err)
	case ctx.Err() != nil && out.ExitCode != 0:
		return out, fmt.Errorf("run %s: ended after %s: %w", c.Path, out.Duration.Round(time.Millisecond), context.Cause(ctx))
	case err == nil, errors.As(err, &exit), errors.Is(err, exec.ErrWaitDelay), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return out, nil // judged by its exit code; a child that kept the outputs open is gone
	default:
		return out, fmt.Errorf("run %s: %w", c.Path, err)
	}
}

// startError words why a program did not start.
func startError(c Command, err error) error {
	if errors.Is(err, exec.ErrNotFound) {
		return errors.New("there is no such program in $PATH")
	}
	if at := (*fs.PathError)(nil); errors.As(err, &at) {
		err = at.Err // whose path is the command's
	}
	if c.Dir != "" {
		if _, gone := os.Stat(c.Dir); gone != nil {
			return fmt.Errorf("the directory to run it in: %w", gone)
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
		return fmt.Errorf("%w: the interpreter that its first line names, or else its loader, is not there", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: chmod +x makes it a program", err)
	case errors.Is(err, syscall.ENOEXEC):
		return fmt.Errorf("%w: it is no program of this machine, and its first line names no interpreter (#!/bin/sh)", err)
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

// checked ends the program when what it prints is not taken.
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

// Kept keeps the first bytes that are written to it and drops the rest, so that a program that floods its output neither
// fills the memory nor stops at a full pipe. It may be read while it is written to.
type Kept struct {
	mu     sync.Mutex
	buffer bytes.Buffer
	limit  int
	total  int64
}

// NewKept keeps at most so many bytes.
func NewKept(limit int) *Kept { return &Kept{limit: limit} }

// Write never fails.
func (w *Kept) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	keep := min(len(p), w.limit-w.buffer.Len())
	w.buffer.Write(p[:keep])
	w.total += int64(len(p))
	return len(p), nil
}

// Bytes gives what was kept.
func (w *Kept) Bytes() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buffer.Bytes()
}

// Cut says whether there was more.
func (w *Kept) Cut() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.total > int64(w.limit)
}

// Written says how many bytes were written to it.
func (w *Kept) Written() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.total
}
