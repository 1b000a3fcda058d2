package lack

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Limits are those of this process. Zero means unknown or unlimited.
type Limits struct {
	OpenFiles     uint64 // RLIMIT_NOFILE; Go raises it to the hard limit when the program starts
	Processes     uint64 // RLIMIT_NPROC
	Tasks         uint64 // pids.max of the control group
	Memory        uint64 // memory.max of the control group, in bytes
	LocalPorts    int    // in net.ipv4.ip_local_port_range
	LocalPortSpan string // the setting itself, "32768 60999"
}

// Read returns the limits of this process as they are now.
func Read() Limits {
	l := Limits{OpenFiles: openFiles(), Processes: userProcesses(), Tasks: groupLimit("pids"), Memory: MemoryLimit()}
	l.LocalPortSpan = setting("net/ipv4/ip_local_port_range")
	var first, last int
	if n, err := fmt.Sscan(l.LocalPortSpan, &first, &last); n == 2 && err == nil && last >= first {
		l.LocalPorts = last - first + 1
	}
	return l
}

// MemoryLimit returns the memory that the control group of this process may have, in bytes; 0 is no limit.
func MemoryLimit() uint64 { return groupLimit("memory") }

// BrowserDescriptors is how many open files Chromium needs at least. With 100 it aborts every request, without saying
// why.
const BrowserDescriptors = 256

// ForBrowser returns that the limit of open files is too low for a browser on this machine, or nil.
func ForBrowser() *Error {
	limit := openFiles()
	if limit == 0 || limit >= BrowserDescriptors {
		return nil
	}
	return &Error{Kind: Descriptors, Said: fmt.Sprintf("a browser needs %d file descriptors or more, and the limit is %d", BrowserDescriptors, limit),
		Remedy: fmt.Sprintf("raise LimitNOFILE= of the unit (ulimit -n), now %d", limit)}
}

// setting returns the value of a kernel setting below /proc/sys on one line, or "unknown".
func setting(name string) string {
	content, err := os.ReadFile("/proc/sys/" + name)
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(content)), " ")
}

// controlGroups is where control groups are mounted: version 2 itself, or a directory for each controller of version 1
// (cgroups(7)).
const controlGroups = "/sys/fs/cgroup"

// groups returns the directories of this process's control group and those above it, for a controller ("memory",
// "pids"). In a container, where only the root is mounted, most of them do not exist.
func groups(controller string) []string {
	content, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil
	}
	var all []string
	for line := range strings.Lines(string(content)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3) // number, controllers of version 1, path
		if len(parts) < 3 {
			continue
		}
		root := controlGroups
		if parts[1] != "" {
			if !slices.Contains(strings.Split(parts[1], ","), controller) {
				continue
			}
			root = filepath.Join(root, controller)
		}
		for path := filepath.Join("/", parts[2]); ; path = filepath.Dir(path) {
			all = append(all, filepath.Join(root, path))
			if path == "/" {
				break
			}
		}
	}
	return all
}

// limitIn returns the limit of a controller in a directory; 0 is no limit.
func limitIn(dir, controller string) uint64 {
	limit, exists := number(filepath.Join(dir, controller+".max"))
	if exists {
		return limit
	}
	const unlimited = 1 << 60 // version 1 writes a number near 2^63
	if limit, _ = number(filepath.Join(dir, controller+".limit_in_bytes")); limit < unlimited {
		return limit
	}
	return 0
}

// usedIn returns how much of a controller is in use in a directory.
func usedIn(dir, controller string) uint64 {
	used, exists := number(filepath.Join(dir, controller+".current"))
	if !exists {
		used, _ = number(filepath.Join(dir, controller+".usage_in_bytes")) // version 1
	}
	return used
}

// groupLimit returns the smallest limit of a controller in this process's control group and those above it, or 0.
func groupLimit(controller string) uint64 {
	smallest := uint64(0)
	for _, dir := range groups(controller) {
		if limit := limitIn(dir, controller); limit > 0 && (smallest == 0 || limit < smallest) {
			smallest = limit
		}
	}
	return smallest
}

// number returns the number in a file, or 0 if it has none ("max"), and whether the file exists.
func number(path string) (n uint64, exists bool) {
	content, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	n, _ = strconv.ParseUint(strings.TrimSpace(string(content)), 10, 64) // "max" is no limit
	return n, true
}

// numberOr formats n, or returns otherwise for 0.
func numberOr(n uint64, otherwise string) string {
	if n == 0 {
		return otherwise
	}
	return strconv.FormatUint(n, 10)
}

// memory returns the lack of memory, with the limit that is near: that of the control group if it is nearly used up.
func memory(err error) *Error {
	for _, dir := range groups("memory") {
		limit, used := limitIn(dir, "memory"), usedIn(dir, "memory")
		if limit > 0 && used > limit/10*9 {
			return &Error{Memory, fmt.Sprintf("the control group of stepwatch has %d of %d MB in use", used>>20, limit>>20),
				fmt.Sprintf("raise MemoryMax= of the unit, now %d MB", limit>>20), err}
		}
	}
	return &Error{Memory, "the kernel of this machine has no memory for it", "give the machine more memory, or run less on it", err}
}

// processes returns the lack of processes, with the limit that is reached.
func processes(err error) *Error {
	for _, dir := range groups("pids") {
		limit, used := limitIn(dir, "pids"), usedIn(dir, "pids")
		if limit > 0 && used+2 >= limit {
			return &Error{Processes, fmt.Sprintf("the control group of stepwatch has %d of %d processes and threads", used, limit),
				fmt.Sprintf("raise TasksMax= of the unit, now %d", limit), err}
		}
	}
	limit := numberOr(userProcesses(), "unlimited")
	return &Error{Processes, "this machine starts no further process for this user", fmt.Sprintf("raise LimitNPROC= of the unit (ulimit -u), now %s, or kernel.pid_max, now %s", limit, setting("kernel/pid_max")), err}
}
