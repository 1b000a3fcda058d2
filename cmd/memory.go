package cmd

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// heapFloor is what the heap may grow by before it is collected, whatever little is in use. Go collects when the heap has
// doubled, which for an agent that holds 5 MB is every few dozen runs: a quarter of its CPU. A plugin ends before that.
const heapFloor = 32 << 20

// setHeapFloor sets the collector's pace for the heap as it is now. $GOGC, when it is set, decides instead.
func setHeapFloor() {
	if os.Getenv("GOGC") != "" {
		return
	}
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	inUse := max(live[0].Value.Uint64(), 1<<20)
	debug.SetGCPercent(int(min(max(heapFloor*100/inUse, 100), 800)))
}

// keepHeapFloor sets the collector's pace anew as the heap grows, until ctx ends.
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
