//go:build unix

package scratch

import (
	"os"
	"syscall"
)

// Lock opens a file or directory with these flags of os.OpenFile and locks it. It fails at once when another process
// holds the lock. The lock ends when the file is closed or the process ends.
func Lock(path string, flags int) (*os.File, error) {
	f, err := os.OpenFile(path, flags|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// ours reports whether a file belongs to our user: anybody may create one with any name in a directory for temporary
// files.
func ours(info os.FileInfo) bool {
	status, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(status.Uid) == os.Geteuid()
}
