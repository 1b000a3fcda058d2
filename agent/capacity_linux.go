package agent

import (
	"os"
	"strconv"
	"strings"
	"syscall"
)

// descriptors returns how many files this process may have open, or zero.
func descriptors() uint64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return limit.Cur
}

// memory returns the bytes of memory that this process may use: those of the machine, or of its control group (cgroups(7)) if
// that has a limit. Zero means unknown.
func memory() uint64 {
	var info syscall.Sysinfo_t
	if err := syscall.Sysinfo(&info); err != nil {
		return 0
	}
	bytes := uint64(info.Totalram) * uint64(info.Unit) //nolint:unconvert // its type differs between architectures
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return bytes
	}
	path, found := strings.CutPrefix(strings.TrimSpace(string(own)), "0::") // version 2 alone
	if !found {
		return bytes
	}
	limit, err := os.ReadFile("/sys/fs/cgroup" + path + "/memory.max")
	if err != nil {
		return bytes
	}
	if most, err := strconv.ParseUint(strings.TrimSpace(string(limit)), 10, 64); err == nil { // "max" is no limit
		bytes = min(bytes, most)
	}
	return bytes
}
