// Package disk says how full a file system is, as df(1) counts it.
package disk

import "errors"

// ErrUnsupported says that this system cannot be asked.
var ErrUnsupported = errors.New("how full a disk is can be read on Linux only")

// Usage is what a file system has, for programs that are not root's.
type Usage struct {
	Bytes  Share
	Inodes Share // zero where the file system does not count them, as btrfs
}

// Share is what is used of something and what is left.
type Share struct {
	Used, Free uint64 // Free is without what is reserved for root, so the two need not add up to all there is
}

// Ratio is the share that is used, from 0 to 1, of what is there for everybody: df's Use%. It is zero when nothing is there.
func (s Share) Ratio() float64 {
	if s.Used+s.Free == 0 {
		return 0
	}
	return float64(s.Used) / float64(s.Used+s.Free)
}
