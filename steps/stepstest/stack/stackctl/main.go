//go:build linux

// Stackctl runs the stack of package stack by hand: to try a feature on real servers, or to look at one that fails.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stepwatch/stepwatch/steps/stepstest/stack"
)

const usage = `usage:
  stack run [--dir DIR] [--mailservers] [-- COMMAND…]
                                       start the servers, run COMMAND beside them (or wait for Ctrl-C), stop them;
                                       in the servers that "up --dir DIR" started, when there are any
  stack up [--dir DIR] [--mailservers] start the servers in the background, print DIR
  stack down --dir DIR                 stop them
  stack missing                        list the Debian packages that are not installed: name, tab, what they are for;
                                       and the trees that are not unpacked: directory, suites, what they are for and
                                       packages, between tabs, where a semicolon parts packages that may conflict
DIR has configuration, keys, queues, mailboxes, logs and a stepwatch.yml. COMMAND finds it in $STACK_DIR.
With --mailservers there are also mail servers of other makes and generations, with a stepwatch.yml each in DIR/NAME.
`

func main() {
	unix.Umask(0o022) // the servers' users go through DIR
	code, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "stack:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func run(args []string) (int, error) {
	if len(args) == 0 {
		args = []string{"help"}
	}
	verb := args[0]
	if verb == "run" && !stack.Inside() {
		// Whoever asked for the command is gone: so is the need for it.
		if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGTERM), 0, 0, 0); err != nil {
			return 1, err
		}
	}
	flags := flag.NewFlagSet("stack "+verb, flag.ContinueOnError)
	flags.Usage = func() { fmt.Fprint(os.Stderr, usage) }
	dir := flags.String("dir", "", "")
	mailservers := flags.Bool("mailservers", false, "")
	if err := flags.Parse(args[1:]); err != nil {
		return 2, nil //nolint:nilerr // flag has said it
	}
	command := flags.Args()
	if verb != "run" && len(command) > 0 {
		return 2, fmt.Errorf("%s takes no argument %q", verb, command[0])
	}
	switch verb {
	case "run":
		return runCommand(*dir, *mailservers, command)
	case "serve": // what up runs: no terminal, and no parent that matters
		return runCommand(*dir, *mailservers, nil)
	case "up":
		return 0, up(*dir, *mailservers)
	case "down":
		return 0, down(*dir)
	case "missing":
		for _, p := range stack.Missing() {
			fmt.Printf("%s\t%s\n", p.Name, p.Tests)
		}
		for _, t := range stack.MissingTrees() {
			fmt.Printf("%s/%s\t%s\t%s\t%s\n", stack.Trees, t.Name, t.Suites, t.Tests, strings.Join(t.Sets, ";"))
		}
		return 0, nil
	default:
		fmt.Fprint(os.Stderr, usage)
		return 2, nil
	}
}

// runCommand is called twice: in the machine's namespaces, and by Enter in the stack's own.
func runCommand(dir string, mailservers bool, command []string) (int, error) {
	if stack.Inside() {
		return inside(dir, mailservers, command)
	}
	if dir != "" {
		pid, err := holder(dir)
		switch {
		case err != nil:
			return 0, err
		case pid != 0 && len(command) == 0:
			return 0, fmt.Errorf("process %d runs the servers of %s already", pid, dir)
		case pid != 0:
			return join(pid, dir, command)
		}
		if err := hold(dir); err != nil {
			return 0, err
		}
	}
	if err := stack.Usable(); err != nil {
		return 0, err
	}
	return stack.Enter()
}

func inside(dir string, mailservers bool, command []string) (code int, err error) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if dir == "" {
		dir = filepath.Join(stack.RunDir, "stack")
	}
	begin := time.Now()
	servers, err := stack.Start(ctx, dir)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, servers.Close()) }()
	if mailservers {
		for _, m := range servers.Mailservers() {
			if err := m.Start(ctx); err != nil {
				return 0, err
			}
		}
	}
	if len(command) == 0 {
		fmt.Println("ready in", time.Since(begin).Round(time.Millisecond), "in", dir)
		<-ctx.Done()
		return 0, nil
	}
	stack.Leave()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	return execute(cmd, dir)
}

// join runs command in the namespaces of the stack that process pid runs.
func join(pid int, dir string, command []string) (int, error) {
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return 0, err
	}
	for _, list := range lists {
		children, err := os.ReadFile(list)
		if first := strings.Fields(string(children)); err == nil && len(first) > 0 {
			return execute(exec.Command("nsenter", append([]string{"--target", first[0], "--mount", "--net", "--pid", "--wd=.", "--"}, command...)...), dir)
		}
	}
	return 0, fmt.Errorf("process %d has no namespaces yet", pid)
}

func execute(cmd *exec.Cmd, dir string) (int, error) {
	cmd.Env = append(os.Environ(), "STACK_DIR="+dir)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.Exited() {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// up runs "serve --dir" in the background until it says that it is ready.
func up(dir string, mailservers bool) error {
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "stack-"); err != nil {
			return err
		}
		if err := os.Chmod(dir, 0o755); err != nil { // the servers run as users of their own
			return err
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "log"), 0o755); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(dir, "log", "stack"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(self, "serve", "--dir", dir, fmt.Sprintf("--mailservers=%t", mailservers))
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	lines, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	line, err := bufio.NewReader(lines).ReadString('\n')
	if errors.Is(err, io.EOF) {
		_ = cmd.Wait() // its log says why
		said, _ := os.ReadFile(log.Name())
		return fmt.Errorf("the servers do not come up: %s", strings.TrimPrefix(strings.TrimSpace(string(said)), "stack: "))
	}
	if err != nil {
		return err
	}
	fmt.Fprint(os.Stderr, line)
	fmt.Println(dir)
	return nil
}

// down ends the process that holds dir, never another one that got its number, and waits until all servers are gone.
func down(dir string) error {
	if dir == "" {
		return errors.New("down needs --dir")
	}
	pid, err := holder(dir)
	if err != nil {
		return err
	}
	if pid == 0 {
		return fmt.Errorf("no servers run in %s", dir)
	}
	process, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	if err := process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("end process %d: %w", pid, err)
	}
	lock, err := os.OpenFile(lockFile(dir), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer lock.Close()
	return unix.FcntlFlock(lock.Fd(), unix.F_SETLKW, &unix.Flock_t{Type: unix.F_WRLCK})
}

func lockFile(dir string) string { return filepath.Join(dir, "lock") }

// hold marks dir as this process' own, until the process ends. No os.File here: its Close would come too early.
func hold(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	lock, err := unix.Open(lockFile(dir), unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	if err == nil {
		err = unix.FcntlFlock(uintptr(lock), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
	}
	if err != nil {
		return fmt.Errorf("hold %s: %w", dir, err)
	}
	return nil
}

// holder is the process that holds dir, or 0.
func holder(dir string) (int, error) {
	lock, err := os.Open(lockFile(dir))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer lock.Close()
	query := unix.Flock_t{Type: unix.F_RDLCK}
	if err := unix.FcntlFlock(lock.Fd(), unix.F_GETLK, &query); err != nil {
		return 0, fmt.Errorf("find the holder of %s: %w", strconv.Quote(dir), err)
	}
	if query.Type == unix.F_UNLCK {
		return 0, nil
	}
	return int(query.Pid), nil
}
