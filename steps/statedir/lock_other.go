//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package statedir

import (
	"errors"
	"os"
)

// TryLock returns an error on this system.
func TryLock(*os.File) (taken bool, err error) {
	return false, errors.New("stepwatch does not support the file locks of this system")
}
