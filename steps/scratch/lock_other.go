//go:build !unix

package scratch

import "os"

// Lock opens a file; where files cannot be locked this way, removing one in use fails by itself.
func Lock(path string, flags int) (*os.File, error) { return os.OpenFile(path, flags, 0o600) }

// ours is never true where directories cannot be locked.
func ours(os.FileInfo) bool { return false }
