//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package maillog

import (
	"io/fs"
	"os"
	"syscall"
)

// inode identifies a file on its disk, whatever its name.
func inode(info fs.FileInfo) uint64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Ino
	}
	return 0
}

// tryLock takes the lock unless this or another process has it. The lock ends with the file.
func tryLock(f *os.File) (taken bool, err error) {
	switch err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err {
	case nil:
		return true, nil
	case syscall.EWOULDBLOCK, syscall.EINTR:
		return false, nil
	default:
		return false, err
	}
}
