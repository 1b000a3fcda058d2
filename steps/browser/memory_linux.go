package browser

import (
	"bytes"
	"os"
	"strconv"
	"strings"
)

// resident sums what a process and everything that it started hold in memory (PSS), in bytes. Shared pages count once. The
// kernel walks all their page tables for it, which takes some 20 ms.
func resident(pid int) int64 {
	var sum int64
	for _, p := range family(pid) {
		sum += proportional(p.pid)
	}
	return sum
}

// exceeds says whether they hold more than limit. It counts shared pages once only when it has to.
func exceeds(pid int, limit int64) bool {
	var most int64
	for _, p := range family(pid) {
		most += p.resident
	}
	return most > limit && resident(pid) > limit
}

// member is one process of a family.
type member struct {
	pid      int
	resident int64 // bytes, all shared ones among them (RSS)
}

// family gives a process and everything that it started and that still has a parent among them.
func family(pid int) []member {
	children := map[int][]member{}
	var found []member
	entries, _ := os.ReadDir("/proc")
	for _, entry := range entries {
		id, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue // no process
		}
		stat, err := os.ReadFile("/proc/" + entry.Name() + "/stat")
		if err != nil {
			continue // it ended meanwhile
		}
		// The name in parentheses may hold anything; the state behind it is the third field (proc(5)).
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
	// A number that was given anew while we read could make a process its own ancestor.
	for i := 0; i < len(found) && len(found) <= len(entries); i++ {
		found = append(found, children[found[i].pid]...)
	}
	return found
}

func proportional(pid int) int64 {
	rollup, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/smaps_rollup")
	if err != nil {
		return 0
	}
	for line := range strings.SplitSeq(string(rollup), "\n") {
		if rest, found := strings.CutPrefix(line, "Pss:"); found {
			kb, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(rest, "kB")), 10, 64)
			return kb << 10
		}
	}
	return 0
}
