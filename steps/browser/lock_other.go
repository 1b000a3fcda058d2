//go:build !unix

package browser

import "os"

// lock opens a file; where files cannot be locked this way, removing one in use fails by itself.
func lock(path string) (*os.File, error) { return os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600) }
