package lack

import "golang.org/x/sys/unix"

// openFiles returns the limit of open files of this process, or 0 if there is none.
func openFiles() uint64 { return resource(unix.RLIMIT_NOFILE) }

// userProcesses returns the limit of processes and threads of this user, or 0 if there is none.
func userProcesses() uint64 { return resource(unix.RLIMIT_NPROC) }

func resource(which int) uint64 {
	var limit unix.Rlimit
	if err := unix.Getrlimit(which, &limit); err != nil || limit.Cur == unix.RLIM_INFINITY {
		return 0
	}
	return limit.Cur
}
