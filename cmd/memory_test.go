package cmd

import (
	"runtime"
	"testing"
)

// TestHeapGrowth checks how far heaps of several sizes may grow.
func TestHeapGrowth(t *testing.T) {
	const mb = 1 << 20
	for _, c := range []struct {
		growth, inUse uint64
		percent       int
	}{
		{growthOnce, 0, 800}, // the minimum heap is 4 MB at 100 %, so this is 32 MB
		{growthAgent, 0, 400},
		{growthAgent, 2 * mb, 400},
		{growthAgent, 8 * mb, 200},
		{growthAgent, 32 * mb, 50},
		{growthAgent, 512 * mb, 50},
	} {
		if got := percentage(c.growth, c.inUse); got != c.percent {
			t.Errorf("growth %d MB, in use %d MB: got %d %%, want %d %%", c.growth/mb, c.inUse/mb, got, c.percent)
		}
	}
}

// TestAfterCollections checks that each collection sets the pace for the next one.
func TestAfterCollections(t *testing.T) {
	called := make(chan struct{}, 100)
	afterCollections(func() { called <- struct{}{} })
	for range 3 {
		runtime.GC()
		<-called
	}
}
