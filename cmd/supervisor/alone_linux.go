//go:build linux && (amd64 || arm64)

package supervisor

import (
	"os"
	"syscall"
	"time"
	"unsafe"
)

// A check that starts no program needs no supervisor to end what it left. So it runs alone, in the first process, which saves
// the start of a second one: 3.4 of 14 ms of CPU, and as much of the time until Nagios has its answer. It still answers for a
// crash and for its own silence: the kernel calls a few instructions of ours, which know nothing of Go and write the status
// line. Only SIGKILL leaves a check alone without an answer.

// againVariable tells a check that started itself again that it needs a supervisor.
const againVariable = "STEPWATCH_SUPERVISED"

// What the handlers write. The kernel may run them at any time, on any thread, while the runtime is broken: so they are
// complete before the handlers are set, and never moved.
var (
	crashLine, lateLine [128]byte
	//lint:ignore U1000 the assembly reads them
	crashLineLength, lateLineLength uintptr
)

// crashed and late write crashLine or lateLine to standard output and end the process with exitUnknown. They are the handlers
// of SIGABRT and SIGALRM, in assembly.
//
//lint:ignore U1000 the kernel calls it
func crashed()

//lint:ignore U1000 the kernel calls it
func late()

// addresses of the handlers, without the code that the compiler puts around them for Go.
func crashedAddress() uintptr
func lateAddress() uintptr

// alone is true while this process is a check without a supervisor.
var alone bool

// allowed is how long a check that is alone may take.
var allowed time.Duration

// mayBeAlone takes the first process of a check for one that needs no supervisor, until Again. Only the plans tell, which cost
// a start (8 ms) to make. So it takes no check for one whose files look otherwise.
func mayBeAlone() bool {
	if os.Args[1] != "check" {
		return false
	}
	_, again := os.LookupEnv(againVariable)
	_ = os.Unsetenv(againVariable)
	alone = !again && onlyPages(os.Args[2:])
	return alone
}

// onlyPages reports whether the arguments name feature files, and all of these name addresses of pages, but no command and no
// browser. It is a guess.
func onlyPages(args []string) bool {
	files := 0
	for _, path := range args {
		for i := len(path) - 1; i > 0 && (path[i] >= '0' && path[i] <= '9' || path[i] == ':'); i-- {
			if path[i] == ':' {
				path = path[:i]
			}
		}
		if !ends(path, ".feature") && !ends(path, ".feature.md") {
			continue // a flag or its value, or a directory
		}
		files++
		text := beginning(path)
		if has(text, "`") || has(text, "@browser") || !has(text, "://") {
			return false
		}
	}
	return files > 0
}

// beginning returns the first bytes of a file, or nothing.
func beginning(path string) string {
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0) // also of a pipe that nobody writes to
	if err != nil {
		return ""
	}
	buffer := make([]byte, 16<<10)
	n, _ := syscall.Read(fd, buffer)
	_ = syscall.Close(fd)
	return string(buffer[:max(n, 0)])
}

func ends(text, with string) bool {
	return len(text) >= len(with) && text[len(text)-len(with):] == with
}

func has(text, part string) bool {
	for i := range len(text) - len(part) + 1 {
		if text[i:i+len(part)] == part {
			return true
		}
	}
	return false
}

// Guard makes a check that is alone answer for its crash, and after hostTimeout for its silence. The caller sets the level
// "crash" of debug.SetTraceback: then the runtime ends with SIGABRT.
func Guard() {
	if alone {
		crashLineLength = set(&crashLine, statusName()+" UNKNOWN - stepwatch crashed (report it with the trace on standard error)\n")
		handle(syscall.SIGABRT, crashedAddress())
		guardTime(hostTimeout)
	}
}

// guardTime makes a check that is alone answer some time after a limit, whatever it does then.
func guardTime(d time.Duration) {
	if alone {
		alarm(0)
		lateLineLength = set(&lateLine, statusName()+" UNKNOWN - stepwatch did not answer within its --timeout of "+d.String()+" and was ended (report it)\n")
		handle(syscall.SIGALRM, lateAddress())
		allowed = d
		alarm(allowed + reserve)
	}
}

// release undoes Guard: the answer is written.
func release() {
	if alone {
		alarm(0)
		crashLineLength, lateLineLength = 0, 0
	}
}

// set copies a line, and returns its length.
func set(into *[128]byte, line string) uintptr {
	n := copy(into[:], line)
	into[n-1] = '\n'
	return uintptr(n)
}

// handle makes the kernel call code when the process gets a signal (rt_sigaction(2)). The code never returns.
func handle(s syscall.Signal, code uintptr) {
	const onStack, restorer = 0x08000000, 0x04000000 // SA_ONSTACK, SA_RESTORER: the kernel of amd64 wants one
	action := struct {
		handler, flags, restorer uintptr
		mask                     uint64
	}{code, onStack | restorer, code, ^uint64(0)}
	_, _, _ = syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(s), uintptr(unsafe.Pointer(&action)), 0, 8, 0, 0) //nolint:gosec // the kernel only reads it
}

// alarm makes the kernel send SIGALRM after a time, or never if it is 0 (setitimer(2), ITIMER_REAL).
func alarm(d time.Duration) {
	timer := struct{ interval, value syscall.Timeval }{value: syscall.NsecToTimeval(d.Nanoseconds())}
	_, _, _ = syscall.RawSyscall(syscall.SYS_SETITIMER, 0, uintptr(unsafe.Pointer(&timer)), 0) //nolint:gosec // the kernel only reads it
}

// Alone reports whether this process is a check without a supervisor.
func Alone() bool { return alone }

// Again starts a check that is alone again, in the place of this process, with a supervisor. It returns if this process has a
// supervisor, or if that fails, as without /proc: then this process does the work itself, as after start.
func Again() {
	if alone {
		alarm(0)                                                                              // an alarm would outlive this program, its handler not
		_ = syscall.Exec("/proc/self/exe", os.Args, append(os.Environ(), againVariable+"=1")) //nolint:gosec // the program starts itself again
		alarm(allowed + reserve)
	}
}
