//go:build unix

package fileset

import (
	"errors"
	"io/fs"
	"os/user"
	"strconv"
	"syscall"
)

// Owner is the owner of a file: its user and its group.
type Owner struct{ uid, gid uint32 }

func ownerOf(info fs.FileInfo) Owner {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return Owner{stat.Uid, stat.Gid}
	}
	return Owner{}
}

// User returns the name of the user, or its number if it has no name.
func (o Owner) User() string {
	id := strconv.FormatUint(uint64(o.uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return id
}

// Group returns the name of the group, or its number if it has no name.
func (o Owner) Group() string {
	id := strconv.FormatUint(uint64(o.gid), 10)
	if g, err := user.LookupGroupId(id); err == nil {
		return g.Name
	}
	return id
}

// missesDirectory reports whether err means that an element of a path is not a directory.
func missesDirectory(err error) bool { return errors.Is(err, syscall.ENOTDIR) }
