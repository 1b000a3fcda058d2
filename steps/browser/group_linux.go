package browser

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// isolate puts a command in its own process group, which includes its children and is not reached by keys at a
// terminal. The kernel ends the command when this process is killed.
func isolate(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// endGroup ends the rest of a process group whose leader has ended.
func endGroup(leader int) {
	if leader > 0 {
		_ = syscall.Kill(-leader, syscall.SIGKILL) // usually nothing is left
	}
}

// endWithin ends the processes whose working directory is dir. A child of a stopped browser outlives it.
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
