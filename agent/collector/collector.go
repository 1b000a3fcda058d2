// Package collector decides how often the Go runtime collects garbage.
//
// Go collects when the heap has doubled. A small heap doubles several times a second, in an agent that holds 8 MB and makes a
// thousand runs a second. A large one holds as much garbage as it has in use: 47 MB in an agent with ten thousand scenarios.
// So a small heap may grow by some megabytes, and a large one by half. Each collection sets the percentage for the next one
// (GOGC), because the runtime knows only then how much is in use.
package collector

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
)

// How much a small heap may grow until the next collection, in bytes. At a thousand runs a second, an agent that could grow by
// 8, 12, 16 and 32 MB took 0.166, 0.152, 0.153 and 0.153 ms of CPU time a run, and had 46, 51, 57 and 73 MB of memory.
const (
	Once  = 32 << 20 // a verb that ends: a plugin ends before its first collection
	Agent = 12 << 20
)

// share is how much a large heap may grow, in percent of what is in use.
const share = 50

// minimum is what the runtime takes for the heap in use before the first collection, in bytes.
const minimum = 4 << 20

var growth atomic.Uint64

// Pace sets how much a small heap may grow until the next collection, from now on. If $GOGC is set, it does nothing.
func Pace(bytes uint64) {
	if os.Getenv("GOGC") != "" {
		return
	}
	if growth.Swap(bytes) == 0 {
		afterEach(adjust)
	}
	adjust()
}

// inUse are what a percentage refers to: the heap as the last collection found it, and what it had to scan besides.
var inUse = []string{"/gc/heap/live:bytes", "/gc/scan/stack:bytes", "/gc/scan/globals:bytes"}

// adjust sets the percentage for what is in use.
func adjust() {
	samples := make([]metrics.Sample, len(inUse))
	for i, name := range inUse {
		samples[i].Name = name
	}
	metrics.Read(samples)
	sum := uint64(0)
	for _, s := range samples {
		if s.Value.Kind() == metrics.KindUint64 {
			sum += s.Value.Uint64()
		}
	}
	debug.SetGCPercent(percentage(growth.Load(), sum))
}

// percentage returns by how many percent what is in use may grow.
func percentage(growth, inUse uint64) int {
	return int(max(growth*100/max(inUse, minimum), share)) //nolint:gosec // at most Once*100/minimum
}

// afterEach calls do after each collection, until the process ends.
func afterEach(do func()) {
	type collected struct{ _ *byte } // a pointer, or it would share its block with others that live longer
	runtime.AddCleanup(new(collected), func(do func()) {
		do()
		afterEach(do)
	}, do)
}
