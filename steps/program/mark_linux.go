package program

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// endMarked ends every process whose environment began with the mark in it, and says how many there were. A process may
// fork while it is looked for, so that is done until none is found.
func endMarked(mark string) int {
	ended := make(map[int]bool)
	for range 5 {
		found := 0
		all, _ := filepath.Glob("/proc/[0-9]*/environ")
		for _, path := range all {
			environment, err := os.ReadFile(path)
			if err != nil || !bytes.Contains(environment, []byte(mark)) {
				continue
			}
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil && syscall.Kill(pid, syscall.SIGKILL) == nil {
				found++
				ended[pid] = true // and there for a moment more
			}
		}
		if found == 0 {
			break
		}
	}
	return len(ended)
}
