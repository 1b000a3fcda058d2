//go:build !unix

package fileset

import "io/fs"

// Owner is the owner of a file, which this system does not report.
type Owner struct{}

func ownerOf(fs.FileInfo) Owner { return Owner{} }

// User returns "".
func (Owner) User() string { return "" }

// Group returns "".
func (Owner) Group() string { return "" }

func missesDirectory(error) bool { return false }
