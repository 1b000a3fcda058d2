//go:build linux

package stack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Server is one program of the stack, started in the foreground in a session of its own.
type Server struct {
	Name string // also that of its log file
	Log  string // what it says, and what it prints

	argv  []string
	env   []string                      // beside that of this process
	as    *syscall.Credential           // nil for root
	root  string                        // its root directory, see mountRoot; empty for the usual
	ready []func(context.Context) error // each is nil once that part of the server answers
	done  chan struct{}                 // closed when the program has ended; nil before the first start
	cmd   *exec.Cmd
	ended error // why, once done is closed
}

const (
	startLimit = 20 * time.Second
	stopLimit  = 500 * time.Millisecond // OpenDKIM and Dovecot can take five seconds, over nothing that a test would miss
	killLimit  = 5 * time.Second
	pollEvery  = 5 * time.Millisecond
)

// Start starts the server and returns when it answers. The error of a server that does not come up holds the end of its log.
func (s *Server) Start(ctx context.Context) error {
	if s.Running() {
		return fmt.Errorf("start %s: it runs already", s.Name)
	}
	log, err := os.OpenFile(s.Log, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return fmt.Errorf("start %s: %w", s.Name, err)
	}
	defer log.Close()
	cmd := exec.Command(s.argv[0], s.argv[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), s.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: s.as, Chroot: s.root}
	if s.root != "" {
		cmd.Dir = "/"
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", s.Name, err)
	}
	done := make(chan struct{})
	s.cmd, s.done = cmd, done
	go func() {
		s.ended = cmd.Wait()
		close(done)
	}()
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for _, ready := range s.ready {
		if err := s.await(ctx, ready); err != nil {
			return errors.Join(fmt.Errorf("start %s: %w%s", s.Name, err, s.tail()), s.Stop())
		}
	}
	return nil
}

// await repeats ready until it is nil, the server ends or ctx does.
func (s *Server) await(ctx context.Context, ready func(context.Context) error) error {
	pause := time.NewTicker(pollEvery)
	defer pause.Stop()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-s.done:
			return fmt.Errorf("it ended by itself: %w", s.ended)
		case <-ctx.Done():
			return fmt.Errorf("it does not answer: %w", err)
		case <-pause.C:
		}
	}
}

// Running says whether the program is there.
func (s *Server) Running() bool {
	if s.done == nil {
		return false
	}
	select {
	case <-s.done:
		return false
	default:
		return true
	}
}

// Stop ends the server with its children, by force after half a second, and returns when its ports are free. Stopping a
// server that does not run is no error.
func (s *Server) Stop() error {
	if s.done == nil {
		return nil
	}
	group := -s.cmd.Process.Pid
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
	limit := time.NewTimer(stopLimit)
	defer limit.Stop()
	select {
	case <-s.done:
	case <-limit.C:
	}
	pause := time.NewTicker(pollEvery)
	defer pause.Stop()
	for range int(killLimit / pollEvery) {
		if err := syscall.Kill(group, syscall.SIGKILL); errors.Is(err, syscall.ESRCH) {
			<-s.done
			return nil
		}
		<-pause.C
	}
	return fmt.Errorf("stop %s: process group %d outlives SIGKILL", s.Name, -group)
}

// Signal sends a signal to the server's first process.
func (s *Server) Signal(signal syscall.Signal) error {
	if !s.Running() {
		return fmt.Errorf("send %v to %s: it does not run", signal, s.Name)
	}
	return s.cmd.Process.Signal(signal)
}

// tail is the end of the log, as the last part of an error.
func (s *Server) tail() string {
	const lines = 12
	content, err := os.ReadFile(s.Log)
	if err != nil {
		return fmt.Sprintf("; its log cannot be read: %v", err)
	}
	content = bytes.TrimSpace(content)
	if len(content) == 0 {
		return "; its log " + s.Log + " is empty"
	}
	all := strings.Split(string(content), "\n")
	return fmt.Sprintf("; %s ends:\n\t%s", s.Log, strings.Join(all[max(0, len(all)-lines):], "\n\t"))
}

// listening is ready when something accepts connections at address.
func listening(network, address string) func(context.Context) error {
	return func(ctx context.Context) error {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err != nil {
			return err
		}
		return conn.Close()
	}
}

// written is ready when the file is there.
func written(path string) func(context.Context) error {
	return func(context.Context) error {
		_, err := os.Stat(path)
		return err
	}
}

// output runs a program to its end; its error holds what it printed.
func output(ctx context.Context, argv ...string) (string, error) { return outputAs(ctx, nil, argv...) }

// outputAs does that as another user, in the root directory.
func outputAs(ctx context.Context, as *syscall.Credential, argv ...string) (string, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	if as != nil {
		cmd.Dir, cmd.SysProcAttr = "/", &syscall.SysProcAttr{Credential: as}
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("run %s: %w: %s", filepath.Base(argv[0]), err, bytes.TrimSpace(out))
	}
	return string(out), nil
}
