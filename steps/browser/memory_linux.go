package browser

import (
	"bytes"
	"os"
	"strconv"
	"strings"
)

// resident sums what a process and everything that it started hold in memory alone or in part (PSS), in bytes.
func resident(pid int) int64 {
	children := map[int][]int{}
	entries, _ := os.ReadDir("/proc")
	for _, entry := range entries {
		child, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue // no process
		}
		stat, err := os.ReadFile("/proc/" + entry.Name() + "/stat")
		if err != nil {
			continue // it ended meanwhile
		}
		// The name in parentheses may hold anything (proc(5)).
		_, rest, found := bytes.Cut(stat[max(0, bytes.LastIndexByte(stat, ')')):], []byte(" "))
		fields := strings.Fields(string(rest))
		if !found || len(fields) < 2 {
			continue
		}
		if parent, err := strconv.Atoi(fields[1]); err == nil {
			children[parent] = append(children[parent], child)
		}
	}
	var sum int64
	var add func(pid, depth int)
	add = func(pid, depth int) {
		sum += proportional(pid)
		if depth > 16 {
			return
		}
		for _, child := range children[pid] {
			add(child, depth+1)
		}
	}
	add(pid, 0)
	return sum
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
