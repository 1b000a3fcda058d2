//go:build !unix

package statedir

import "io/fs"

// On this system, modes do not say who may write.
const unixModes = false

func owner(fs.FileInfo) (uid int, known bool) { return 0, false }

func group(fs.FileInfo) (gid int, known bool) { return 0, false }

func names(fs.FileInfo) uint64 { return 1 }
