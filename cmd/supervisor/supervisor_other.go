//go:build !linux

package supervisor

import (
	"os"
	"time"
)

// Ended does nothing on this system, where nobody supervises.
func Ended() {}

// CrashOutput returns nil on this system.
func CrashOutput() *os.File { return nil }

// Limit does nothing on this system.
func Limit(time.Duration) {}

// Work returns the result of work.
func Work(work func() int) int { return work() }
