//go:build unix

package fileset

import (
	"errors"
	"io/fs"
	"os/user"
	"strconv"
	"syscall"
)

// Owner is whose a file is. A number without a name stands for itself.
type Owner struct{ uid, gid uint32 }

func ownerOf(info fs.FileInfo) Owner {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return Owner{stat.Uid, stat.Gid}
	}
	return Owner{}
}

// User is the name of the user.
func (o Owner) User() string {
	id := strconv.FormatUint(uint64(o.uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return id
}

// Group is the name of the group.
func (o Owner) Group() string {
	id := strconv.FormatUint(uint64(o.gid), 10)
	if g, err := user.LookupGroupId(id); err == nil {
		return g.Name
	}
	return id
}

// missesDirectory says that an element of a path is no directory, so that nothing can be in it.
func missesDirectory(err error) bool { return errors.Is(err, syscall.ENOTDIR) }
