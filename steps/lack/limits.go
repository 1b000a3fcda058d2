package lack

import (
	"fmt"
	"os"
	"path/filepath"
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
	l := Limits{OpenFiles: openFiles(), Processes: userProcesses(), Tasks: groupLimit("pids.max"), Memory: MemoryLimit()}
	l.LocalPortSpan = setting("net/ipv4/ip_local_port_range")
	var first, last int
	if n, err := fmt.Sscan(l.LocalPortSpan, &first, &last); n == 2 && err == nil && last >= first {
		l.LocalPorts = last - first + 1
	}
	return l
}

// MemoryLimit returns the memory that the control group of this process may have, in bytes; 0 is no limit.
func MemoryLimit() uint64 { return groupLimit("memory.max") }

// BrowserDescriptors is how many open files Chromium needs at least. With 100 it aborts every request, without saying why.
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

// controlGroups is where version 2 of control groups is mounted (cgroups(7)).
const controlGroups = "/sys/fs/cgroup"

// groups returns the directories of this process's control group and those above it.
func groups() []string {
	content, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(content)) {
		if path, unified := strings.CutPrefix(strings.TrimSpace(line), "0::/"); unified {
			var all []string
			for path = filepath.Clean(path); ; path = filepath.Dir(path) {
				all = append(all, filepath.Join(controlGroups, path))
				if path == "." || path == "/" {
					return all
				}
			}
		}
	}
	return nil
}

// groupLimit returns the smallest limit of that name in this process's control group and those above it, or 0.
func groupLimit(name string) uint64 {
	smallest := uint64(0)
	for _, dir := range groups() {
		if n := number(filepath.Join(dir, name)); n > 0 && (smallest == 0 || n < smallest) {
			smallest = n
		}
	}
	return smallest
}

// number returns the number in a file, or 0 if there is none ("max").
func number(path string) uint64 {
	content, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseUint(strings.TrimSpace(string(content)), 10, 64) // "max" is no limit
	return n
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
	for _, dir := range groups() {
		limit, used := number(filepath.Join(dir, "memory.max")), number(filepath.Join(dir, "memory.current"))
		if limit > 0 && used > limit/10*9 {
			return &Error{Memory, fmt.Sprintf("the control group of stepwatch has %d of %d MB in use", used>>20, limit>>20),
				fmt.Sprintf("raise MemoryMax= of the unit, now %d MB", limit>>20), err}
		}
	}
	return &Error{Memory, "the kernel of this machine has no memory for it", "give the machine more memory, or run less on it", err}
}

// processes returns the lack of processes, with the limit that is reached.
func processes(err error) *Error {
	for _, dir := range groups() {
		limit, used := number(filepath.Join(dir, "pids.max")), number(filepath.Join(dir, "pids.current"))
		if limit > 0 && used+2 >= limit {
			return &Error{Processes, fmt.Sprintf("the control group of stepwatch has %d of %d processes and threads", used, limit),
				fmt.Sprintf("raise TasksMax= of the unit, now %d", limit), err}
		}
	}
	limit := numberOr(userProcesses(), "unlimited")
	return &Error{Processes, "this machine starts no further process for this user", fmt.Sprintf("raise LimitNPROC= of the unit (ulimit -u), now %s, or kernel.pid_max, now %s", limit, setting("kernel/pid_max")), err}
}
