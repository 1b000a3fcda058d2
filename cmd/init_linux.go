package cmd

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// asInit makes this program the first process of a container, which inherits every process whose parent has ended and must
// bury it: a browser leaves several each time. It runs itself once more to do the work, passes on signals, and gives the
// work's exit code.
func asInit() int {
	self, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, "stepwatch: start as process 1:", err)
		return exitNotRun
	}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2)
	_, err = unix.IoctlGetInt(0, unix.TIOCGPGRP)
	atTerminal := err == nil
	// A group of its own in the foreground of the terminal, if there is one: a key's signal then comes once and not twice.
	worker, err := syscall.ForkExec(self, os.Args, &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}, //nolint:gosec // it is this very program
		Sys: &syscall.SysProcAttr{Setpgid: true, Foreground: atTerminal, Ctty: 0}})
	if err != nil {
		fmt.Fprintln(os.Stderr, "stepwatch: start as process 1:", err)
		return exitNotRun
	}
	go func() {
		for s := range signals {
			if s, known := s.(syscall.Signal); known {
				_ = syscall.Kill(worker, s) // it has just ended
			}
		}
	}()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			fmt.Fprintln(os.Stderr, "stepwatch: wait as process 1:", err)
			return exitNotRun
		case pid != worker:
		case status.Signaled():
			return 128 + int(status.Signal()) // as a shell says it
		default:
			return status.ExitStatus()
		}
	}
}
