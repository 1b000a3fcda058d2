//go:build !unix

package scratch

import "os"

// Lock opens a file. On this system, files cannot be locked this way, but a file in use cannot be removed.
func Lock(path string, flags int) (*os.File, error) { return os.OpenFile(path, flags, 0o600) }

// ours returns false, because directories cannot be locked on this system.
func ours(os.FileInfo) bool { return false }
