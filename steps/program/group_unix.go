//go:build unix

package program

import (
	"os"
	"os/exec"
	"syscall"
)

// ownGroup puts the program into its own process group, and makes the end of the context end the whole group. The program
// must start, and be waited for, in the calling goroutine; release follows.
func ownGroup(cmd *exec.Cmd) (release func()) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	return endWithUs(cmd)
}

func endGroup(cmd *exec.Cmd) {
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // it fails when the group is empty, as usual
}

func signalOf(state *os.ProcessState) string {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return status.Signal().String()
	}
	return ""
}
