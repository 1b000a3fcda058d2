package command

import (
	"io/fs"
	"strconv"
	"syscall"
	"time"
)

// ownerOf returns the user id of a file's owner.
func ownerOf(info fs.FileInfo) (uid string, known bool) {
	stat, known := info.Sys().(*syscall.Stat_t)
	if !known {
		return "", false
	}
	return strconv.FormatUint(uint64(stat.Uid), 10), true
}

// readTime returns the time when a file was last read.
func readTime(info fs.FileInfo) (at time.Time, known bool) {
	stat, known := info.Sys().(*syscall.Stat_t)
	if !known {
		return time.Time{}, false
	}
	return time.Unix(stat.Atim.Unix()), true
}
