package program

import (
	"os/exec"
	"runtime"
	"syscall"
)

// endWithUs lets the kernel end the program when this process is killed. The kernel does so when the thread ends that started
// the program (PR_SET_PDEATHSIG, prctl(2)), so the calling goroutine keeps its thread until release. It needs one anyway
// while it waits for the program.
func endWithUs(cmd *exec.Cmd) (release func()) {
	runtime.LockOSThread()
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	return runtime.UnlockOSThread
}
