// Package supervisor keeps a small process above the one that does the work, so that whatever ends the work is answered for:
// a crash that no code can recover from, such as concurrent map writes, an endless recursion or the kernel's lack of memory.
//
// On Linux, a verb that runs scenarios is started twice from the same program. The first process, the supervisor, starts the
// second one, the worker, passes signals on to it and waits. When the worker has ended, the supervisor ends every process
// that it left: the kernel hands orphaned descendants to the supervisor (PR_SET_CHILD_SUBREAPER), also those that started a
// session of their own or cleared their environment. When the supervisor itself is killed, the kernel sends the worker
// SIGTERM (PR_SET_PDEATHSIG), and the worker ends as on any SIGTERM: it removes its test mail, its plugins and its browser.
// As process 1 of a container, the supervisor also reaps what others leave.
//
// A check that starts no program needs no supervisor: see alone_linux.go.
//
// The output of "check" passes through the supervisor, which writes it when the worker has ended. So Nagios reads either the
// whole answer, or one line that says why there is none, and never a part of it.
//
// The supervisor acts in an init function, before the other packages of the program are initialised (see
// agent/cucumber/hidepath for how that order comes about). So it needs no more memory and time than an empty program: this
// is why the package imports nothing but small packages of the standard library.
package supervisor

import "time"

// verbs are the verbs that are supervised: those that run scenarios.
var verbs = []string{"agent", "check", "demo", "run"}

// hostTimeout is how long a check may take that has not yet said its own limit.
const hostTimeout = 55 * time.Second

// Supervised reports whether a verb is supervised on a system that permits it.
func Supervised(verb string) bool {
	for _, v := range verbs {
		if v == verb {
			return true
		}
	}
	return false
}
