//go:build !linux

package disk

// Read is not to be had here.
func Read(string) (Usage, error) { return Usage{}, ErrUnsupported }
