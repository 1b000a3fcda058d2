//go:build linux

package stack

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// stage is the environment variable that tells a re-executed program how far Enter has come.
const stage = "STEPWATCH_STACK_STAGE"

// RunDir is a memory file system that only the namespaces have; what is kept there ends with them.
const RunDir = "/run"

const namespaces = syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID

// Inside says whether this process is the program that Enter ran again. A program that uses Enter calls it before
// anything that has an effect: between the two runs stands a third, the first process of the namespaces, which reaps
// orphans and ends with the second, and there Inside does not return.
func Inside() bool {
	at := os.Getenv(stage)
	if at == "first" {
		first()
	}
	return at == "inside"
}

// Leave makes programs that this process starts ordinary ones: they stay in the namespaces, and may Enter others.
func Leave() { os.Unsetenv(stage) }

// Enter runs this program again, with the same arguments and env added to its environment, in new namespaces with
// loopback up and a /run, a /proc and a resolver of their own. It returns the second program's exit code once nothing of
// it is left. In the second program, where Inside is true, calling Enter is a mistake.
func Enter(env ...string) (code int, err error) {
	if Inside() {
		return 0, errors.New("enter namespaces: already inside")
	}
	// The kernel ties Pdeathsig to the thread that forks, not to the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd, err := again("first", &syscall.SysProcAttr{Cloneflags: namespaces, Pdeathsig: syscall.SIGKILL})
	if err != nil {
		return 0, fmt.Errorf("enter namespaces: %w", err)
	}
	cmd.Env = append(cmd.Env, env...)
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("enter namespaces: %w", err)
	}
	defer forward(cmd.Process)()
	err = cmd.Wait()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		return 0, fmt.Errorf("wait for the namespaces: %w", err)
	}
	return exitCode(cmd.ProcessState.Sys().(syscall.WaitStatus)), nil
}

// again is this program at the next stage.
func again(next string, attributes *syscall.SysProcAttr) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Env = append(os.Environ(), stage+"="+next)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = attributes
	return cmd, nil
}

// forward passes on the signals that ask a program to end, until stop.
func forward(to *os.Process) (stop func()) {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for s := range signals {
			_ = to.Signal(s) // it may have ended by itself
		}
	}()
	return func() {
		signal.Stop(signals)
		close(signals)
		<-done
	}
}

// exitCode is a process' end as a shell tells it.
func exitCode(status syscall.WaitStatus) int {
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

// first is the whole life of the namespaces' first process. Its end is the end of every other process in them.
func first() {
	code, err := func() (int, error) {
		if os.Getpid() != 1 {
			return 0, fmt.Errorf("%s is set by hand: unset it", stage)
		}
		if err := furnish(); err != nil {
			return 0, err
		}
		cmd, err := again("inside", nil)
		if err != nil {
			return 0, err
		}
		if err := cmd.Start(); err != nil {
			return 0, err
		}
		defer forward(cmd.Process)()
		// Wait for anybody: what servers and monitors leave behind becomes this process' child.
		for {
			var status syscall.WaitStatus
			pid, err := syscall.Wait4(-1, &status, 0, nil)
			switch {
			case err == syscall.EINTR:
			case err != nil:
				return 0, fmt.Errorf("wait: %w", err)
			case pid == cmd.Process.Pid:
				return exitCode(status), nil
			}
		}
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, "enter namespaces:", err)
		code = 1
	}
	os.Exit(code)
}

// furnish makes the new namespaces habitable.
func furnish() error {
	unix.Umask(0o022) // the servers' users read what root writes
	for _, m := range []struct {
		source, target, kind string
		flags                uintptr
		data                 string
	}{
		{"", "/", "", unix.MS_REC | unix.MS_PRIVATE, ""}, // without it mounts would reach the machine
		{"proc", "/proc", "proc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
		{"tmpfs", RunDir, "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=0755"},
	} {
		if err := unix.Mount(m.source, m.target, m.kind, m.flags, m.data); err != nil {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	if err := ownEtc(); err != nil {
		return err
	}
	return raiseLoopback()
}

// ownEtc points libc's resolver at the stack's name server and makes Exim's user known, for the namespaces alone. It lays
// them over the whole of /etc: a mount over one file is gone as soon as the machine replaces that file, which every
// installation of a package may do.
func ownEtc() error {
	const etc, upper, work = "/etc", RunDir + "/etc/upper", RunDir + "/etc/work"
	users, err := os.ReadFile(etc + "/passwd")
	if err != nil {
		return err
	}
	groups, err := os.ReadFile(etc + "/group")
	if err != nil {
		return err
	}
	user := fmt.Sprintf("%s:x:%d:%d::/:/usr/sbin/nologin\n", eximUser, eximUID, eximUID)
	if strings.HasPrefix(string(users), user) {
		return nil // these namespaces are inside others of the stack, and overlays lie two deep at most
	}
	group := fmt.Sprintf("%s:x:%d:\n", eximUser, eximUID)
	write := func(name, content string) error {
		return os.WriteFile(filepath.Join(upper, name), []byte(content), 0o644)
	}
	if err := errors.Join(os.MkdirAll(upper, 0o755), os.MkdirAll(work, 0o755), write("passwd", user+string(users)), write("group", group+string(groups)),
		write("resolv.conf", "nameserver 127.0.0.1\noptions timeout:1 attempts:2\n")); err != nil {
		return err
	}
	if err := unix.Mount("overlay", etc, "overlay", 0, "lowerdir="+etc+",upperdir="+upper+",workdir="+work); err != nil {
		return fmt.Errorf("mount over %s: %w", etc, err)
	}
	return nil
}

func raiseLoopback() error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("bring lo up: %w", err)
	}
	defer unix.Close(socket)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("bring lo up: %w", err)
	}
	request.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("bring lo up: %w", err)
	}
	return nil
}
