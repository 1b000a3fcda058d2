// Package disk reads how full a file system is, counted like df(1).
package disk

import "errors"

// ErrUnsupported is the error of other systems than Linux.
var ErrUnsupported = errors.New("the usage of a disk can be read only on Linux")

// Usage is the usage of a file system, for programs that do not run as root.
type Usage struct {
	Bytes  Share
	Inodes Share // zero where the file system does not count them, as btrfs
}

// Share is the used and the free part of a resource.
type Share struct {
	Used, Free uint64 // Free excludes what is reserved for root, so the sum may be less than the total
}

// Ratio returns the used share, from 0 to 1, without what is reserved for root, like df's Use%. It returns zero when
// there is nothing.
func (s Share) Ratio() float64 {
	if s.Used+s.Free == 0 {
		return 0
	}
	return float64(s.Used) / float64(s.Used+s.Free)
}
