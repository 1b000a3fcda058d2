//go:build !linux

package disk

// Read returns ErrUnsupported.
func Read(string) (Usage, error) { return Usage{}, ErrUnsupported }
