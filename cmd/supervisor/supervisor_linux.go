package supervisor

import (
	"io"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"github.com/stepwatch/stepwatch/agent/cucumber/hidepath"
)

// variable names the supervisor's process in the environment of its worker, which removes it.
const variable = "STEPWATCH_SUPERVISOR"

// The file descriptor of a worker's pipe to its supervisor, and the messages in it. Everything else in it is the text of a crash.
const (
	pipeFD       = 3
	limitMessage = "stepwatch limit " // followed by milliseconds
	endedMessage = "stepwatch ended"
)

const (
	// reserve is how much longer than its limit a check may take before it is ended.
	reserve = 2 * time.Second

	// dumpTime is how long a worker that hangs may write the stacks of its goroutines.
	dumpTime = 500 * time.Millisecond

	// sweepTime is how long the supervisor tries to end what the worker left.
	sweepTime = 5 * time.Second

	// writeTime is how long a full pipe that does not block may stay full.
	writeTime = 5 * time.Second

	// answerLimit is how many bytes of a check's output are kept. An answer of check has at most 8 KB and the paths of evidence.
	answerLimit = 1 << 20

	// crashLimit is how many bytes of a crash's text are looked at.
	crashLimit = 16 << 10

	// exitUnknown is UNKNOWN for Nagios, and "nothing was proved" for the other verbs.
	exitUnknown = 3
)

// toSupervisor is the worker's pipe to its supervisor, nil without a supervisor.
var toSupervisor *os.File

func init() {
	if parent, is := os.LookupEnv(variable); is {
		_ = os.Unsetenv(variable) // for programs that inherit the environment
		if parent == itoa(os.Getppid()) {
			syscall.CloseOnExec(pipeFD)
			toSupervisor = os.NewFile(pipeFD, "the pipe to the supervisor")
			adopt()
			runtime.LockOSThread() // Work needs the main thread
			return
		}
	}
	if len(os.Args) < 2 || !Supervised(os.Args[1]) || mayBeAlone() {
		return
	}
	hidepath.Restore() // the worker needs it
	if w := start(); w != nil {
		os.Exit(w.wait())
	}
}

// Work does the work of the program in another goroutine and returns its result. In a worker it reaps orphans meanwhile.
//
// The kernel gives the children of a process to its threads. A child is waited for by the thread that started it, if the
// call says so (__WNOTHREAD, wait(2)). Orphans become children of the main thread, which starts no programs, because the
// main goroutine is locked to it. So what the main thread can wait for are orphans, and never a program of ours.
func Work(work func() int) int {
	if toSupervisor == nil {
		return work()
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	code := make(chan int, 1)
	go func() { code <- work() }()
	for {
		select {
		case <-ended:
			const noThread = 0x20000000 // __WNOTHREAD
			for pid := 1; pid > 0; {
				pid, _ = syscall.Wait4(-1, nil, syscall.WNOHANG|noThread, nil)
			}
		case c := <-code:
			return c
		}
	}
}

// adopt makes the kernel hand orphaned descendants to this process.
func adopt() {
	const setChildSubreaper = 36 // PR_SET_CHILD_SUBREAPER (prctl(2))
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, setChildSubreaper, 1, 0)
}

// Ended tells the supervisor that the process ends now, as it should. An end without it is a crash, whatever the exit code.
// Without the supervisor, which was killed, it ends what is left itself.
func Ended() {
	release()
	if err := tell(endedMessage); err != nil {
		sweep()
	}
}

// CrashOutput returns the file for debug.SetCrashOutput, or nil. This package does not set it itself, because what
// runtime/debug imports is initialised late.
func CrashOutput() *os.File { return toSupervisor }

// Limit says how long a check may take: to the supervisor, or to the kernel.
func Limit(d time.Duration) {
	guardTime(d)
	_ = tell(limitMessage + itoa(int(d.Milliseconds())))
}

// tell fails when the supervisor was killed.
func tell(message string) (err error) {
	if toSupervisor != nil {
		_, err = io.WriteString(toSupervisor, message+"\n")
	}
	return err
}

// worker is the process that does the work, seen from its supervisor.
type worker struct {
	check bool
	pid   int
	told  chan told   // what it said in its pipe, once that is closed
	out   chan []byte // the output of a check, once that is closed

	mu      sync.Mutex
	gone    bool // pid may belong to another process
	overdue time.Duration
	timer   *time.Timer
}

// told is what a worker said.
type told struct {
	ended bool
	crash string // the beginning of the text of its crash
}

// start starts the worker. It returns nil if that fails: then this process does the work itself, without a supervisor.
func start() *worker {
	adopt()
	var pipe, out [2]int
	if syscall.Pipe2(pipe[:], syscall.O_CLOEXEC) != nil {
		return nil
	}
	w := &worker{check: os.Args[1] == "check", told: make(chan told, 1), out: make(chan []byte, 1)}
	stdout := 1
	if w.check {
		if syscall.Pipe2(out[:], syscall.O_CLOEXEC) != nil {
			return nil
		}
		stdout = out[1]
	}
	signals := make(chan os.Signal, 16)
	notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2)
	// The kernel sends the signal of Pdeathsig when this thread ends, not this process: keep it.
	runtime.LockOSThread()
	var err error
	w.pid, err = syscall.ForkExec("/proc/self/exe", os.Args, &syscall.ProcAttr{ //nolint:gosec // the program starts itself again
		Env:   append(os.Environ(), variable+"="+itoa(os.Getpid())),
		Files: []uintptr{0, uintptr(stdout), 2, uintptr(pipe[1])},
		// Nagios kills the process group of a plugin: the worker is not in it. At a terminal it stays in the group, so that
		// Ctrl-C, Ctrl-Z and fg reach it.
		Sys: &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: !atTerminal()},
	})
	if err != nil {
		signal.Stop(signals)
		runtime.UnlockOSThread()
		return nil
	}
	_ = syscall.Close(pipe[1])
	_ = syscall.SetNonblock(pipe[0], true) // then reading occupies no thread
	go w.listen(os.NewFile(uintptr(pipe[0]), "the worker's pipe"))
	if w.check {
		_ = syscall.Close(out[1])
		_ = syscall.SetNonblock(out[0], true)
		go func() {
			r := os.NewFile(uintptr(out[0]), "the worker's output")
			answer, _ := io.ReadAll(io.LimitReader(r, answerLimit))
			_, _ = io.Copy(io.Discard, r)
			w.out <- answer
		}()
		w.limit(hostTimeout)
	}
	go func() {
		for s := range signals {
			w.signal(s.(syscall.Signal))
		}
	}()
	return w
}

// notify is signal.Notify without those signals that the parent process wants ignored, as nohup does.
func notify(c chan<- os.Signal, all ...os.Signal) {
	for _, s := range all {
		if !signal.Ignored(s) {
			signal.Notify(c, s)
		}
	}
}

// atTerminal reports whether input or output is a terminal.
func atTerminal() bool {
	for fd := range uintptr(3) {
		var group int32
		//nolint:gosec // the kernel writes a pid_t there (TIOCGPGRP(2const))
		if _, _, err := syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TIOCGPGRP, uintptr(unsafe.Pointer(&group))); err == 0 {
			return true
		}
	}
	return false
}

// signal sends the worker a signal, if it still runs.
func (w *worker) signal(s syscall.Signal) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.gone {
		_ = syscall.Kill(w.pid, s)
	}
}

// limit ends the worker some time after a limit: first so that it shows its goroutines, then at once.
func (w *worker) limit(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer != nil {
		w.timer.Stop()
	}
	w.timer = time.AfterFunc(d+reserve, func() {
		w.mu.Lock()
		w.overdue = d
		w.mu.Unlock()
		w.signal(syscall.SIGABRT)
		time.Sleep(dumpTime)
		w.signal(syscall.SIGKILL)
	})
}

// listen reads what the worker says.
func (w *worker) listen(r io.Reader) {
	var t told
	var line []byte // the beginning of the current line
	crash := make([]byte, 0, 256)
	var buffer [4096]byte
	for {
		n, err := r.Read(buffer[:])
		for _, c := range buffer[:n] {
			if line = append(line, c); c != '\n' && len(line) < cap(buffer) {
				continue
			}
			if ms, is := after(string(line), limitMessage); is {
				if n := atoi(ms); n > 0 && w.check {
					w.limit(time.Duration(n) * time.Millisecond)
				}
			} else if string(line) == endedMessage+"\n" {
				t.ended = true
			} else if len(crash) < crashLimit {
				crash = append(crash, line...)
			}
			line = line[:0]
		}
		if err != nil {
			break
		}
	}
	t.crash = string(crash)
	w.told <- t
}

// wait waits for the end of the worker, ends what it left, and returns the exit code.
func (w *worker) wait() int {
	var status syscall.WaitStatus
	for {
		var one syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &one, 0, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || pid == w.pid {
			status = one
			break
		}
	}
	w.mu.Lock()
	w.gone = true
	overdue := w.overdue
	if w.timer != nil {
		w.timer.Stop()
	}
	w.mu.Unlock()
	sweep()
	var t told
	select {
	case t = <-w.told:
	case <-time.After(time.Second): // somebody else has the pipe
	}
	if t.ended && status.Exited() {
		return w.answer(status.ExitStatus())
	}
	why := w.why(status, t, overdue)
	if w.check {
		return unknown(why)
	}
	complain("stepwatch: it " + why + "\n")
	switch {
	case begins(t.crash, "SIGQUIT"):
		return 128 + int(syscall.SIGQUIT) // as in a shell
	case status.Signaled() && t.crash == "":
		return 128 + int(status.Signal())
	}
	return exitUnknown
}

// unknown writes the status line of a check that has no answer, and returns its exit code.
func unknown(why string) int {
	if err := write(1, statusName()+" UNKNOWN - stepwatch "+why+"\n"); err != nil {
		complain("stepwatch check: it " + why + "\n")
	}
	return exitUnknown
}

// statusName returns what the status line of a check begins with.
func statusName() string {
	for _, arg := range os.Args[2:] {
		if arg == "--compat" {
			return "CUCUMBER"
		}
	}
	return "STEPWATCH"
}

// answer writes the output of a check and returns the exit code of the worker, or UNKNOWN if writing failed.
func (w *worker) answer(code int) int {
	if !w.check {
		return code
	}
	select {
	case text := <-w.out:
		if code > exitUnknown && len(text) == 0 {
			return unknown("was ended by a second signal before it had an answer")
		}
		if err := write(1, string(text)); err != nil {
			complain("stepwatch check: write to standard output: " + err.Error() + ": the result is lost\n")
			return exitUnknown
		}
		return code
	case <-time.After(time.Second):
		complain("stepwatch check: a process that could not be ended keeps the output open: the result is lost\n")
		return exitUnknown
	}
}

// why says why the worker ended without an answer.
func (w *worker) why(status syscall.WaitStatus, t told, overdue time.Duration) string {
	const report = " (report it with the trace on standard error)"
	switch {
	case overdue > 0:
		return "did not answer within its --timeout of " + overdue.String() + " and was ended" + report
	case begins(t.crash, "SIGQUIT"):
		return "was ended by SIGQUIT: the stacks of its goroutines are on standard error"
	case t.crash != "":
		return "crashed: " + summary(t.crash) + report
	case status.Signaled() && status.Signal() == syscall.SIGKILL:
		return "was killed (SIGKILL): if nobody did that, the machine or its control group has no memory left; journalctl -k says so"
	case status.Signaled():
		return "was ended by a signal: " + status.Signal().String()
	case status.ExitStatus() == 2:
		return "crashed" + report
	default:
		return "ended with exit code " + itoa(status.ExitStatus()) + " in the middle of its work: does the code of a step of your own call os.Exit?"
	}
}

// summary returns what the text of a crash says, in one line, and the first function of ours in it. It leaves out the value
// of a panic that is not the runtime's own, because it may contain anything, also a secret. The runtime writes what a fatal
// error is, such as concurrent map writes, to standard error only (debug.SetCrashOutput).
func summary(crash string) string {
	what, where := "fatal error", ""
	for i := 0; len(crash) > 0; i++ {
		var line string
		line, crash = cutLine(crash)
		switch {
		case i == 0 && (begins(line, "panic: runtime error: ") || begins(line, "SIG")):
			what = line
		case i == 0 && begins(line, "panic: "):
			what = "panic"
		case where == "" && begins(line, module):
			where = " in " + function(line[len(module):])
		}
	}
	text := []byte(what + where)
	for i, c := range text {
		if c < ' ' || c == '|' || c == 0x7f {
			text[i] = ' '
		}
	}
	return string(text)
}

// function returns the function in the line of a stack: "steps/mail.(*session).read(0xc000, 0x1)" is
// "steps/mail.(*session).read".
func function(line string) string {
	for i := len(line) - 1; i > 0; i-- {
		if line[i] == '(' && line[i-1] != '.' {
			return line[:i]
		}
	}
	return line
}

const module = "github.com/stepwatch/stepwatch/"

// sweep ends and reaps all descendants of this process.
func sweep() {
	for pause, deadline := time.Millisecond, time.Now().Add(sweepTime); ; pause = min(2*pause, 50*time.Millisecond) {
		for {
			pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
			if err == syscall.ECHILD {
				return
			}
			if err == nil && pid == 0 {
				break
			}
		}
		left := descendants()
		if time.Now().After(deadline) {
			for _, pid := range left {
				complain("stepwatch: process " + itoa(pid) + " could not be ended: end it by hand\n")
			}
			return
		}
		for _, pid := range left {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		time.Sleep(pause)
	}
}

// descendants returns the processes below this one. A process that forks meanwhile may be missing.
func descendants() (all []int) {
	children := make(map[int][]int)
	entries, _ := os.ReadDir("/proc")
	for _, entry := range entries {
		pid := atoi(entry.Name())
		if pid == 0 {
			continue
		}
		stat, err := os.ReadFile("/proc/" + entry.Name() + "/stat")
		if err != nil {
			continue // it has ended
		}
		// The name in parentheses may contain any character; " S 42 " follows, the state and the parent (proc(5)).
		const parent = len(") S ")
		for i := len(stat) - 1; i >= 0; i-- {
			if stat[i] == ')' {
				of := atoi(string(stat[min(i+parent, len(stat)):]))
				children[of] = append(children[of], pid)
				break
			}
		}
	}
	all = children[os.Getpid()]
	for i := 0; i < len(all) && len(all) <= len(entries); i++ {
		all = append(all, children[all[i]]...)
	}
	return all
}

// complain writes text to standard error. If that fails, there is nowhere left to say so.
func complain(text string) { _ = write(2, text) }

// write writes text to a file descriptor. A broken pipe is an error like any other, and ends nothing.
func write(fd int, text string) error {
	for patience := writeTime; len(text) > 0; {
		n, err := syscall.Write(fd, []byte(text))
		switch {
		case err == syscall.EINTR:
		case err == syscall.EAGAIN && patience > 0: // somebody made it non-blocking
			patience -= 10 * time.Millisecond
			time.Sleep(10 * time.Millisecond)
		case err != nil:
			return err
		default:
			text = text[n:]
		}
	}
	return nil
}

// What follows is in packages strings and strconv. Importing them would put off the init function above by the half of the
// program.

func begins(text, with string) bool { return len(text) >= len(with) && text[:len(with)] == with }

// after returns the rest of a text that begins with prefix.
func after(text, prefix string) (rest string, is bool) {
	if !begins(text, prefix) {
		return "", false
	}
	return text[len(prefix):], true
}

func cutLine(text string) (line, rest string) {
	for i := range len(text) {
		if text[i] == '\n' {
			return text[:i], text[i+1:]
		}
	}
	return text, ""
}

// atoi returns the number that a text begins with, or 0.
func atoi(text string) (n int) {
	for _, c := range text {
		if c < '0' || c > '9' || n > 1<<40 {
			break
		}
		n = 10*n + int(c-'0')
	}
	return n
}

func itoa(n int) string {
	if n < 0 {
		return "-" + itoa(-n)
	}
	digits := [20]byte{}
	i := len(digits)
	for {
		i--
		digits[i] = byte('0' + n%10)
		if n /= 10; n == 0 {
			return string(digits[i:])
		}
	}
}
