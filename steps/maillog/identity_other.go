//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package maillog

import (
	"errors"
	"io/fs"
	"os"
)

func inode(fs.FileInfo) uint64 { return 0 }

func tryLock(*os.File) (taken bool, err error) {
	return false, errors.New("reading mail logs needs file locks, which stepwatch does not support on this system")
}
