package cmd

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
)

// How much the heap may grow between two collections of garbage, however small it is. Go collects when the heap has
// doubled: for an agent that holds 8 MB and allocates 26 MB a second, that is three times a second and 9 % of its CPU time.
const (
	growthOnce  = 32 << 20 // of a verb that ends: a plugin ends before its first collection
	growthAgent = 16 << 20 // of an agent, whose memory is what counts
)

// A larger heap may grow by growthShare of what is in use, in percent. Half of Go's 100: an agent with ten thousand
// scenarios allocates little for its size, so it would hold twice what it uses for minutes.
const growthShare = 50

// heapMinimum is the heap before the first collection with a percentage of 100. It is a constant of the Go runtime.
const heapMinimum = 4 << 20

var heapGrowth atomic.Uint64

// setHeapGrowth sets how much the heap may grow between two collections. From then on each collection sets the percentage
// for the next one (GOGC), by what it has found in use. If $GOGC is set, it does nothing.
func setHeapGrowth(bytes uint64) {
	if os.Getenv("GOGC") != "" {
		return
	}
	if heapGrowth.Swap(bytes) == 0 {
		afterCollections(adjustPercentage)
	}
	adjustPercentage()
}

// adjustPercentage sets the percentage for the heap as the last collection found it.
func adjustPercentage() {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	debug.SetGCPercent(percentage(heapGrowth.Load(), live[0].Value.Uint64()))
}

// percentage returns the percentage by which a heap with so many bytes in use may grow.
func percentage(growth, inUse uint64) int {
	return int(max(growth*100/max(inUse, heapMinimum), growthShare)) //nolint:gosec // at most growthOnce*100/heapMinimum
}

// afterCollections calls do after each collection, until the process ends.
func afterCollections(do func()) {
	type collected struct{ _ *byte } // a pointer, or it would share its block with others that live longer
	runtime.AddCleanup(new(collected), func(do func()) {
		do()
		afterCollections(do)
	}, do)
}
