//go:build !linux

package program

// endMarked cannot find processes here: their environments are not told.
func endMarked(string) int { return 0 }
