package cmd

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// asInit runs this program as the first process of a container. It starts itself again to do the work, forwards signals,
// and returns the exit code of the work. It also reaps orphaned processes: a browser leaves several each time.
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
	// The worker gets its own process group in the foreground of the terminal, so that Ctrl-C signals it only once.
	worker, err := syscall.ForkExec(self, os.Args, &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}, //nolint:gosec // it is this very program
		Sys: &syscall.SysProcAttr{Setpgid: true, Foreground: atTerminal, Ctty: 0}})
	if err != nil {
		fmt.Fprintln(os.Stderr, "stepwatch: start as process 1:", err)
		return exitNotRun
	}
	go func() {
		for s := range signals {
			if s, known := s.(syscall.Signal); known {
				_ = syscall.Kill(worker, s) // it may have ended
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
			return 128 + int(status.Signal()) // as in a shell
		default:
			return status.ExitStatus()
		}
	}
}
