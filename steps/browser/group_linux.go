package browser

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// isolate puts a command in a process group of its own, which its children stay in and no key at a terminal reaches, and
// has the kernel end it when this process is killed.
func isolate(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// endGroup ends what is left of a process group whose leader has ended.
func endGroup(leader int) {
	if leader > 0 {
		_ = syscall.Kill(-leader, syscall.SIGKILL) // mostly nothing is left
	}
}

// endWithin ends the processes that work in a directory. A child of a browser outlives it when it was stopped.
func endWithin(dir string) {
	all, _ := filepath.Glob("/proc/[0-9]*/cwd")
	for _, link := range all {
		cwd, err := os.Readlink(link)
		if err != nil || cwd != dir && !strings.HasPrefix(cwd, dir+" ") { // " (deleted)"
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(link))); err == nil && pid != os.Getpid() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}
