//go:build !linux

package program

// endMarked does nothing: this system does not show the environments of processes.
func endMarked(string) int { return 0 }
