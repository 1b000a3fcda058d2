package cmd

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// silent accepts connections and answers nothing. It returns its address, and a channel with a value for each connection.
func silent(t *testing.T) (address string, accepted <-chan struct{}) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	all := make(chan struct{}, 10)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = c.Close() })
			all <- struct{}{}
		}
	}()
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String(), all
}

// children returns the processes that a process has started.
func children(t *testing.T, pid int) string {
	t.Helper()
	var all strings.Builder
	paths, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, path := range paths {
		list, _ := os.ReadFile(path)
		all.Write(list)
	}
	return all.String()
}

// TestCheckAlone holds that a check of a page, which starts no program, has no second process, and answers all the same when
// it crashes and when it hangs.
func TestCheckAlone(t *testing.T) {
	t.Parallel()
	const crashed = "STEPWATCH UNKNOWN - stepwatch crashed (report it with the trace on standard error)\n"
	for how, c := range map[string]struct {
		signals []syscall.Signal
		args    []string
		want    string
	}{
		"fatal error":   {[]syscall.Signal{syscall.SIGSEGV}, nil, crashed},
		"abort":         {[]syscall.Signal{syscall.SIGABRT}, nil, crashed},
		"compatible":    {[]syscall.Signal{syscall.SIGABRT}, []string{"--compat"}, strings.Replace(crashed, "STEPWATCH", "CUCUMBER", 1)},
		"silence":       {[]syscall.Signal{syscall.SIGSTOP, syscall.SIGCONT}, nil, "STEPWATCH UNKNOWN - stepwatch did not answer within its --timeout of 2s and was ended (report it)\n"},
		"told to stop":  {[]syscall.Signal{syscall.SIGTERM}, nil, "STEPWATCH UNKNOWN - When I go to "},
		"its own limit": {nil, nil, "STEPWATCH UNKNOWN - When I go to "},
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			address, accepted := silent(t)
			path := filepath.Join(t.TempDir(), "page.feature")
			if err := os.WriteFile(path, []byte("Feature: Alone\n  Scenario: One\n    When I go to \"http://"+address+"/\"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := own(t, append(append([]string{"check", "--timeout", "2s"}, c.args...), path)...)
			cmd.Args[0] = "stepwatch"
			var out, errs bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &errs
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			select {
			case <-accepted:
			case <-time.After(20 * time.Second):
				t.Fatal("no request")
			}
			if others := children(t, cmd.Process.Pid); others != "" {
				t.Errorf("it started %s", others)
			}
			for _, s := range c.signals {
				if s == syscall.SIGCONT {
					time.Sleep(4500 * time.Millisecond) // beyond the limit and the reserve
				}
				_ = cmd.Process.Signal(s)
			}
			if code := ended(t, cmd, 20*time.Second); code != 3 || !strings.HasPrefix(out.String(), c.want) {
				t.Errorf("got exit code %d and\n%swant 3 and\n%s", code, &out, c.want)
			}
			if how == "fatal error" && !strings.Contains(errs.String(), "goroutine ") {
				t.Errorf("no trace on standard error: %s", &errs)
			}
		})
	}
}

// TestCheckOfProgramsIsSupervised holds that whatever may start a program has a supervisor, which ends what is left.
func TestCheckOfProgramsIsSupervised(t *testing.T) {
	t.Parallel()
	for what, rest := range map[string]string{
		"a command":                "  Scenario: Two\n    When I run `true`\n",
		"a ping":                   "  Scenario: Two\n    When I ping \"127.0.0.1\"\n",
		"a sentence with one":      "  @step\n  Scenario: I wait outside\n    When I run `true`\n\n  Scenario: Two\n    When I wait outside\n",
		"a browser":                "  @browser\n  Scenario: Two\n    When I go to \"http://127.0.0.1:1/\"\n",
		"a secret of a program":    "",
		"a step of the team's own": "",
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			address, accepted := silent(t)
			dir := t.TempDir()
			path := filepath.Join(dir, "programs.feature")
			text := "Feature: Programs\n  Scenario: One\n    When I go to \"http://" + address + "/\"\n\n" + rest
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := own(t, "check", "--timeout", "5s", path)
			if cmd.Dir = dir; what != "a step of the team's own" {
				cmd.Args[0] = "stepwatch"
			}
			if what == "a secret of a program" {
				if err := os.WriteFile(filepath.Join(dir, "stepwatch.yml"), []byte("secrets:\n  key:\n    command: [echo, x]\n"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			var out bytes.Buffer
			if cmd.Stdout = &out; cmd.Start() != nil {
				t.Fatal("it does not start")
			}
			select {
			case <-accepted:
				if children(t, cmd.Process.Pid) == "" {
					t.Error("it has no supervisor")
				}
			case <-time.After(20 * time.Second):
				t.Error("no request")
			}
			_ = cmd.Process.Signal(syscall.SIGTERM)
			if code := ended(t, cmd, 20*time.Second); code != 3 || strings.Contains(out.String(), "undefined") {
				t.Errorf("got exit code %d and %s", code, &out)
			}
		})
	}
}

// TestCheckWithoutProc holds that a check that cannot start itself again does its work itself, as any verb does that cannot start
// its worker: without a supervisor, but with its answer, and within its limit.
func TestCheckWithoutProc(t *testing.T) {
	t.Parallel()
	unshare, err := exec.LookPath("unshare")
	if err != nil || os.Getuid() != 0 {
		t.Skip("needs root and unshare")
	}
	address, accepted := silent(t)
	for what, c := range map[string]struct{ steps, want string }{
		"a program": {"    When I run `echo done`\n", "STEPWATCH OK - "},
		"silence":   {"    When I run `echo done`\n    When I go to \"http://" + address + "/\"\n", "STEPWATCH UNKNOWN - stepwatch did not answer within its --timeout of 2s"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "late.feature")
			// The beginning of the file looks as if it started no program.
			text := "Feature: Late\n  # http://" + address + "\n" + strings.Repeat("  # a line\n", 2000) + "  Scenario: One\n" + c.steps
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := own(t, "check", "--timeout", "2s", path)
			named := filepath.Join(t.TempDir(), "stepwatch")
			if err := os.Symlink(cmd.Path, named); err != nil {
				t.Fatal(err)
			}
			const hide = `mount -t tmpfs none /proc && exec "$@"`
			cmd.Args = append([]string{"unshare", "--mount", "sh", "-c", hide, "sh", named}, cmd.Args[1:]...)
			cmd.Path = unshare
			var out bytes.Buffer
			if cmd.Stdout = &out; cmd.Start() != nil {
				t.Fatal("it does not start")
			}
			if what == "silence" {
				select {
				case <-accepted:
				case <-time.After(20 * time.Second):
					t.Fatal("no request")
				}
				_ = cmd.Process.Signal(syscall.SIGSTOP)
				time.Sleep(4500 * time.Millisecond) // beyond the limit and the reserve
				_ = cmd.Process.Signal(syscall.SIGCONT)
			}
			if ended(t, cmd, 20*time.Second); !strings.HasPrefix(out.String(), c.want) {
				t.Errorf("got %s, want %s", &out, c.want)
			}
		})
	}
}
