package disk

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Read returns the usage of the file system of path. If a network file system's server is down, the call blocks, and
// nothing can end it.
func Read(path string) (Usage, error) {
	var s unix.Statfs_t
	for {
		switch err := unix.Statfs(path, &s); err {
		case nil:
		case unix.EINTR:
			continue
		default:
			return Usage{}, fmt.Errorf("statfs %s: %w", path, err)
		}
		break
	}
	if s.Blocks == 0 {
		return Usage{}, fmt.Errorf("statfs %s: it is on a file system without blocks, such as /proc", path)
	}
	unit := uint64(max(s.Frsize, 1)) //nolint:gosec // a size is not negative
	return Usage{
		Bytes:  Share{Used: (s.Blocks - s.Bfree) * unit, Free: s.Bavail * unit},
		Inodes: Share{Used: s.Files - s.Ffree, Free: s.Ffree},
	}, nil
}
