//go:build unix

package scratch

import (
	"os"
	"syscall"
)

// Lock opens a file or directory with these flags of os.OpenFile and takes its lock, or fails at once when somebody holds it. The
// lock ends with the file, and with the process.
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

// ours says whether a file is our user's: everybody may make one of any name where temporary files are.
func ours(info os.FileInfo) bool {
	status, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(status.Uid) == os.Geteuid()
}
