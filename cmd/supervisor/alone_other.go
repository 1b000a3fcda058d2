//go:build !linux || (!amd64 && !arm64)

package supervisor

import "time"

// On these systems no check is alone.

func mayBeAlone() bool        { return false }
func guardTime(time.Duration) {}
func release()                {}

// Guard does nothing.
func Guard() {}

// Alone returns false.
func Alone() bool { return false }

// Again does nothing.
func Again() {}
