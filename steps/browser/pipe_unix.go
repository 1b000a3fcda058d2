//go:build unix

package browser

import (
	"os"
	"os/exec"
	"syscall"
	"time"
)

// bounded puts a pump between a browser that will be started and chromedp, which reads messages of any size from it. Its
// messages come from the second of the extra files.
func bounded(cmd *exec.Cmd, exceeded func(error)) error {
	if len(cmd.ExtraFiles) != 2 {
		return nil
	}
	theirs := cmd.ExtraFiles[1]
	to, err := duplicate(theirs)
	if err != nil {
		return err
	}
	from, ours, err := os.Pipe()
	if err != nil {
		_ = to.Close()
		return err
	}
	cmd.ExtraFiles[1] = ours
	go pump(from, to, exceeded)
	go func() {
		// chromedp closes its end once the process has one, or did not start. So do we, or else the end of the process would
		// not be noticed.
		for !closed(theirs) {
			time.Sleep(2 * time.Millisecond)
		}
		_ = ours.Close()
	}()
	return nil
}

// duplicate returns another descriptor of a file, which no other process inherits.
func duplicate(f *os.File) (*os.File, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	var again int
	var failed error
	err = raw.Control(func(fd uintptr) {
		syscall.ForkLock.RLock()
		defer syscall.ForkLock.RUnlock()
		if again, failed = syscall.Dup(int(fd)); failed == nil {
			syscall.CloseOnExec(again)
		}
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(again), f.Name()), nil
}

// closed reports whether a file was closed.
func closed(f *os.File) bool {
	raw, err := f.SyscallConn()
	return err != nil || raw.Control(func(uintptr) {}) != nil
}
