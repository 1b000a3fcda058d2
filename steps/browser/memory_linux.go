package browser

import (
	"bytes"
	"os"
	"strconv"
	"strings"
)

// resident returns the memory of a process and all its descendants (PSS), in bytes. Shared pages count once. The kernel
// walks all their page tables, which takes about 20 ms.
func resident(pid int) int64 { return proportional(family(pid)) }

// above returns this sum when it is more than limit, and 0 otherwise. It reads the PSS only when necessary.
func above(pid int, limit int64) int64 {
	all := family(pid)
	var most int64
	for _, p := range all {
		most += p.resident
	}
	if most <= limit {
		return 0
	}
	if held := proportional(all); held > limit {
		return held
	}
	return 0
}

// member is one process of a family.
type member struct {
	pid      int
	resident int64 // bytes, including all shared ones (RSS)
}

// family returns a process and its descendants, as far as their parents still run.
func family(pid int) []member {
	children := map[int][]member{}
	var found []member
	entries, _ := os.ReadDir("/proc")
	for _, entry := range entries {
		id, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue // not a process
		}
		stat, err := os.ReadFile("/proc/" + entry.Name() + "/stat")
		if err != nil {
			continue // it has ended in the meantime
		}
		// The name in parentheses may contain any character; the state after it is the third field (proc(5)).
		const third, parent, pages = 3, 4, 24
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if len(fields) <= pages-third {
			continue
		}
		of, err := strconv.Atoi(fields[parent-third])
		if err != nil {
			continue
		}
		held, _ := strconv.ParseInt(fields[pages-third], 10, 64)
		p := member{id, held * int64(os.Getpagesize())}
		if children[of] = append(children[of], p); id == pid {
			found = append(found, p)
		}
	}
	// A number that was reused while we read could make a process its own ancestor.
	for i := 0; i < len(found) && len(found) <= len(entries); i++ {
		found = append(found, children[found[i].pid]...)
	}
	return found
}

func proportional(all []member) (sum int64) {
	for _, p := range all {
		rollup, err := os.ReadFile("/proc/" + strconv.Itoa(p.pid) + "/smaps_rollup")
		if err != nil {
			continue // it has ended in the meantime
		}
		for line := range strings.SplitSeq(string(rollup), "\n") {
			if rest, found := strings.CutPrefix(line, "Pss:"); found {
				kb, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(rest, "kB")), 10, 64)
				sum += kb << 10
			}
		}
	}
	return sum
}
