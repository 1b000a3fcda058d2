package agent

// A run mostly waits for the network. Meanwhile it costs about 100 kB (BenchmarkHanging) and one descriptor, or a few for a
// scenario with several connections. So the number of runs that may be in progress at once is what the machine has room for, and not so few that
// scenarios which wait for their answers leave none for the others.
const (
	workersMin = 16
	workersMax = 2048

	runFiles     = 4         // descriptors of a run, and some for the programs and files that it uses
	runMemory    = 128 << 10 // bytes
	memoryShare  = 8         // the part of the memory for runs that wait: one in so many
	reserveFiles = 64        // descriptors for everything else
)

// capacity returns the default of Limits.Workers.
func capacity() int { return capacityFor(descriptors(), memory()) }

// capacityFor returns how many runs there is room for with so many descriptors and so many bytes of memory. Zero means unknown.
func capacityFor(files, bytes uint64) int {
	workers := uint64(workersMax)
	if files > 0 {
		workers = min(workers, (max(files, reserveFiles)-reserveFiles)/runFiles)
	}
	if bytes > 0 {
		workers = min(workers, bytes/memoryShare/runMemory)
	}
	return int(max(workers, workersMin))
}
