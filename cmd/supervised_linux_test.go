package cmd

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/cmd/supervisor"
)

// ending writes a feature whose scenario ends the program, and returns its path.
func ending(t *testing.T, how string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "end.feature")
	text := "@every:1s @timeout:30s\nFeature: End\n  Scenario: One\n    When the program ends by \"" + how + "\"\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// own is this very program with steps of its own, as its own process.
func own(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Args[0], cmd.Dir = "ownsteps", t.TempDir()
	return cmd
}

func TestCheckAnswersForACrash(t *testing.T) {
	t.Parallel()
	for how, want := range map[string]string{
		"a panic":               "crashed: panic in cmd.endings.func1.1 (report it with the trace on standard error)",
		"a runtime panic":       "crashed: panic: runtime error: index out of range [15] with length 0 in cmd.endings.func1.2 (report it with the trace on standard error)",
		"concurrent map writes": "crashed: fatal error in cmd.endings.func1.3 (report it with the trace on standard error)",
		"an endless recursion":  "crashed: fatal error in cmd.endings.func1.4 (report it with the trace on standard error)",
		"exit code 0":           "ended with exit code 0 in the middle of its work: does the code of a step of your own call os.Exit?",
		"exit code 2":           "crashed (report it with the trace on standard error)",
		"11":                    "crashed: SIGSEGV: segmentation violation in ",
		"9":                     "was killed (SIGKILL): if nobody did that, the machine or its control group has no memory left; journalctl -k says so",
		"3":                     "was ended by SIGQUIT: the stacks of its goroutines are on standard error",
		"15":                    "",
		"19":                    "did not answer within its --timeout of 3s and was ended (report it with the trace on standard error)",
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			cmd := own(t, "check", "--timeout", "3s", ending(t, how))
			var out, errs bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &errs
			code := ended(t, func() *exec.Cmd { _ = cmd.Start(); return cmd }(), 12*time.Second)
			if how == "15" { // the answer of the worker itself
				if !strings.HasPrefix(out.String(), "STEPWATCH UNKNOWN - ") || code != 3 {
					t.Errorf("exit code %d, %s", code, &out)
				}
				return
			}
			if want := "STEPWATCH UNKNOWN - stepwatch " + want; !strings.HasPrefix(out.String(), want) || strings.Count(out.String(), "\n") != 1 || code != 3 {
				t.Errorf("got exit code %d and\n%swant 3 and\n%s", code, &out, want)
			}
			if strings.Contains(out.String(), "sesame") {
				t.Error("the answer has the value of the panic")
			}
			if strings.Contains(want, "crashed: ") && !strings.Contains(errs.String(), "goroutine ") {
				t.Errorf("no trace on standard error: %s", &errs)
			}
		})
	}
}

func TestRunSaysThatItCrashed(t *testing.T) {
	t.Parallel()
	for how, want := range map[string]struct {
		code int
		says string
	}{
		"a panic":     {3, "stepwatch: it crashed: panic in cmd.endings.func1.1 (report it with the trace on standard error)\n"},
		"exit code 0": {3, "stepwatch: it ended with exit code 0 in the middle of its work: does the code of a step of your own call os.Exit?\n"},
		"9":           {137, "stepwatch: it was killed (SIGKILL): "},
		"3":           {131, "stepwatch: it was ended by SIGQUIT: the stacks of its goroutines are on standard error\n"},
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			cmd := own(t, "run", ending(t, how))
			var errs bytes.Buffer
			cmd.Stderr = &errs
			code := ended(t, func() *exec.Cmd { _ = cmd.Start(); return cmd }(), 12*time.Second)
			if code != want.code || !strings.Contains(errs.String(), want.says) {
				t.Errorf("exit code %d, wanted %d, and %q in\n%s", code, want.code, want.says, &errs)
			}
		})
	}
}

// TestSupervisedVerbs holds that every supervised verb exists.
func TestSupervisedVerbs(t *testing.T) {
	count := 0
	for _, v := range verbs() {
		if supervisor.Supervised(v.name) {
			count++
		}
	}
	if count != 4 {
		t.Errorf("%d of the verbs are supervised, wanted agent, check, demo and run", count)
	}
}

// strays is a command that leaves processes in every way, and a number that their command lines contain.
func strays(t *testing.T) (feature, number string) {
	t.Helper()
	number = strconv.Itoa(1_000_000_000 + rand.IntN(1_000_000_000))
	dir := t.TempDir()
	script := `sleep ` + number + ` &
setsid sleep ` + number + ` </dev/null >/dev/null 2>&1 &
(env -i setsid ` + "`command -v sleep` " + number + ` </dev/null >/dev/null 2>&1 &) &
trap '' TERM HUP INT
sleep ` + number + `
`
	feature = filepath.Join(dir, "strays.feature")
	text := "@every:1s @timeout:40s\nFeature: Strays\n  Scenario: One\n    When I run `sh " + filepath.Join(dir, "strays.sh") + "`\n"
	for path, content := range map[string]string{filepath.Join(dir, "strays.sh"): script, feature: text} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		for _, pid := range mentioning("sleep", number) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	return feature, number
}

// mentioning returns the processes whose command line consists of these words.
func mentioning(words ...string) (all []int) {
	paths, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range paths {
		line, _ := os.ReadFile(path)
		found := strings.Split(strings.TrimRight(string(line), "\x00"), "\x00")
		if len(found) == len(words) && strings.HasSuffix(found[0], words[0]) && found[len(found)-1] == words[len(words)-1] {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			all = append(all, pid)
		}
	}
	return all
}

// TestNothingIsLeft ends each verb in every way while a command runs that has put processes in the background.
func TestNothingIsLeft(t *testing.T) {
	t.Parallel()
	worker := func(cmd *exec.Cmd) int { return childOf(cmd.Process.Pid) }
	self := func(cmd *exec.Cmd) int { return cmd.Process.Pid }
	ways := []struct {
		name string
		whom func(*exec.Cmd) int
		how  syscall.Signal
	}{
		{"SIGHUP", self, syscall.SIGHUP},
		{"SIGINT", self, syscall.SIGINT},
		{"SIGTERM", self, syscall.SIGTERM},
		{"SIGQUIT", self, syscall.SIGQUIT},
		{"SIGKILL", self, syscall.SIGKILL},
		{"SIGKILL of the group", func(cmd *exec.Cmd) int { return -cmd.Process.Pid }, syscall.SIGKILL},
		{"SIGKILL of the worker", worker, syscall.SIGKILL},
		{"SIGSEGV of the worker", worker, syscall.SIGSEGV},
	}
	limit := make(chan struct{}, 3)
	for _, args := range [][]string{{"run"}, {"run", "--watch"}, {"check"}, {"agent", "--listen", "127.0.0.1:0"}} {
		for _, way := range ways {
			if args[0] == "agent" && way.how == syscall.SIGHUP {
				continue // it reloads: TestHangupReloads
			}
			t.Run(strings.Join(args[:min(2, len(args))], " ")+" "+way.name, func(t *testing.T) {
				t.Parallel()
				limit <- struct{}{}
				defer func() { <-limit }()
				feature, number := strays(t)
				cmd := own(t, append(args, feature)...)
				cmd.Args[0] = "stepwatch"
				cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
				begin(t, cmd)
				until(t, "the processes", func() bool { return len(mentioning("sleep", number)) == 4 })
				if err := syscall.Kill(way.whom(cmd), way.how); err != nil {
					t.Fatal(err)
				}
				_ = cmd.Wait()
				until(t, "the end of the processes", func() bool { return len(mentioning("sleep", number)) == 0 })
				if got := mentioning("stepwatch", feature); len(got) > 0 {
					until(t, "the end of the program", func() bool { return len(mentioning("stepwatch", feature)) == 0 })
				}
			})
		}
	}
}

// TestSignals holds what the first signal and the second one do, and that two at once are one.
func TestSignals(t *testing.T) {
	t.Parallel()
	start := func(t *testing.T) (*exec.Cmd, *syncBuffer) {
		feature, number := strays(t)
		cmd := own(t, "run", feature)
		cmd.Args[0] = "stepwatch"
		out := begin(t, cmd)
		until(t, "the command", func() bool { return len(mentioning("sleep", number)) == 4 })
		return cmd, out
	}
	t.Run("two at once", func(t *testing.T) {
		t.Parallel()
		cmd, out := start(t)
		_ = cmd.Process.Signal(syscall.SIGTERM)
		time.Sleep(20 * time.Millisecond)
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if code := ended(t, cmd, 10*time.Second); code != exitNotRun || !strings.Contains(out.String(), "1 scenario: 1 failed") {
			t.Errorf("exit code %d\n%s", code, out)
		}
	})
	t.Run("ignored", func(t *testing.T) {
		t.Parallel()
		var asked atomic.Int64
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			asked.Add(1)
			time.Sleep(time.Second)
			fmt.Fprint(w, "<p>Welcome")
		}))
		defer server.Close()
		feature := filepath.Join(t.TempDir(), "slow.feature")
		if err := os.WriteFile(feature, []byte("Feature: Slow\n  Scenario: One\n    When I go to \""+server.URL+"\"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := own(t, "run", feature)
		cmd.Args = []string{"nohup", cmd.Path, "run", feature}
		cmd.Env = append(os.Environ(), "NAME=stepwatch")
		path, err := exec.LookPath("bash")
		if err != nil {
			t.Skip(err)
		}
		self := cmd.Path
		cmd.Path, cmd.Args = path, []string{"bash", "-c", `trap "" HUP; exec -a stepwatch "$0" "$@"`, self, "run", feature}
		out := begin(t, cmd)
		until(t, "the visit", func() bool { return asked.Load() > 0 })
		_ = cmd.Process.Signal(syscall.SIGHUP)
		if code := ended(t, cmd, 10*time.Second); code != exitPassed {
			t.Errorf("exit code %d\n%s", code, out)
		}
	})
}

// TestStraysOfARun holds that the end of a command ends what it put in the background, while the agent goes on.
func TestStraysOfARun(t *testing.T) {
	t.Parallel()
	feature, number := strays(t)
	script := strings.TrimSuffix(feature, ".feature") + ".sh"
	text, err := os.ReadFile(script)
	if err != nil {
		t.Fatal(err)
	}
	// The command ends once it is told to.
	last := "\nsleep " + number + "\n"
	short := strings.Replace(string(text), last, "\ntouch "+script+".began\nwhile [ ! -e "+script+".end ]; do sleep 0.05; done\n", 1)
	if err := os.WriteFile(script, []byte(short), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := own(t, "agent", "--listen", "127.0.0.1:0", feature)
	cmd.Args[0] = "stepwatch"
	begin(t, cmd)
	until(t, "the processes", func() bool { return len(mentioning("sleep", number)) == 3 })
	if err := os.WriteFile(script+".end", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	// The next runs leave processes, too, and end at once: there must be moments without any.
	until(t, "the end of the processes", func() bool { return len(mentioning("sleep", number)) == 0 })
	if err := os.Remove(feature); err != nil {
		t.Fatal(err)
	}
	worker := childOf(cmd.Process.Pid)
	until(t, "the burial of the processes", func() bool { return zombies(worker) == 0 })
	if worker == 0 {
		t.Error("the agent ended")
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	if code := ended(t, cmd, 20*time.Second); code != exitPassed {
		t.Errorf("exit code %d", code)
	}
}

// TestCheckAnswersInTime holds that the --timeout of a check includes the time to end its run, even of a step that ignores its
// deadline.
func TestCheckAnswersInTime(t *testing.T) {
	t.Parallel()
	const timeout = 5 * time.Second
	cmd := own(t, "check", "--timeout", timeout.String(), ending(t, "writing "+filepath.Join(t.TempDir(), "began")))
	start := time.Now()
	out, _ := cmd.Output() // the error is the exit code
	if took := time.Since(start); took > timeout || !strings.HasPrefix(string(out), "STEPWATCH UNKNOWN - ") || cmd.ProcessState.ExitCode() != 3 {
		t.Errorf("exit code %d after %s\n%s", cmd.ProcessState.ExitCode(), took, out)
	}
}
