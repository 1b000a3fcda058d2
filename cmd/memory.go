package cmd

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// heapFloor is how much the heap may grow before a collection, however small it is. Go collects when the heap has
// doubled. For an agent that holds 5 MB that is every few dozen runs and costs a quarter of its CPU. A plugin ends earlier.
const heapFloor = 32 << 20

// setHeapFloor sets the GC percentage for the current heap. If $GOGC is set, it does nothing.
func setHeapFloor() {
	if os.Getenv("GOGC") != "" {
		return
	}
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	inUse := max(live[0].Value.Uint64(), 1<<20)
	debug.SetGCPercent(int(min(max(heapFloor*100/inUse, 100), 800)))
}

// keepHeapFloor updates the GC percentage as the heap grows, until ctx ends.
func keepHeapFloor(ctx context.Context) {
	ticker := time.NewTicker(10 * time.Second)
	defer ticker.Stop()
	for {
		setHeapFloor()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
