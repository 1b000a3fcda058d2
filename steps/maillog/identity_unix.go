//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package maillog

import (
	"io/fs"
	"syscall"
)

// inode identifies a file on its disk, whatever its name.
func inode(info fs.FileInfo) uint64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Ino
	}
	return 0
}
