//go:build !unix

package fileset

import "io/fs"

// Owner is whose a file is, which cannot be told here.
type Owner struct{}

func ownerOf(fs.FileInfo) Owner { return Owner{} }

// User is empty.
func (Owner) User() string { return "" }

// Group is empty.
func (Owner) Group() string { return "" }

func missesDirectory(error) bool { return false }
