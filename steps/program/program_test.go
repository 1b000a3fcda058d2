//go:build unix

package program_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps/limit"
	"github.com/stepwatch/stepwatch/steps/program"
)

func shell(script string) program.Command {
	return program.Command{Path: "sh", Args: []string{"-c", script}}
}

func TestRun(t *testing.T) {
	tests := []struct {
		name     string
		command  program.Command
		stdout   string
		stderr   string
		exitCode int
		signal   string
		cut      bool
	}{
		{name: "passes", command: shell("echo out; echo err >&2"), stdout: "out\n", stderr: "err\n"},
		{name: "exit code", command: shell("exit 2"), exitCode: 2},
		{name: "killed", command: shell("kill -9 $$"), exitCode: -1, signal: "killed"},
		{name: "arguments are not a shell's", command: program.Command{Path: "echo", Args: []string{"$HOME; *"}}, stdout: "$HOME; *\n"},
		{name: "input", command: program.Command{Path: "cat", Stdin: []byte("in")}, stdout: "in"},
		{name: "no input", command: program.Command{Path: "cat"}},
		{name: "flood", command: program.Command{Path: "sh", Args: []string{"-c", "head -c 3000000 /dev/zero | tr '\\0' x"}, OutputLimit: 4}, stdout: "xxxx", cut: true},
		{name: "a child that keeps the output open", command: shell("sleep 60 & echo done"), stdout: "done\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out, err := program.Run(t.Context(), tt.command)
			if err != nil {
				t.Fatal(err)
			}
			if string(out.Stdout) != tt.stdout || string(out.Stderr) != tt.stderr || out.ExitCode != tt.exitCode || out.Signal != tt.signal || out.StdoutCut != tt.cut {
				t.Errorf("got stdout %q, stderr %q, exit code %d, signal %q, cut %t", out.Stdout, out.Stderr, out.ExitCode, out.Signal, out.StdoutCut)
			}
		})
	}
}

// TestRunEndsAFlood runs programs that print without end, also one that does not care who reads.
func TestRunEndsAFlood(t *testing.T) {
	for name, command := range map[string]program.Command{
		"output":               shell("yes"),
		"error output":         shell("yes >&2"),
		"with a closed output": shell("trap '' PIPE; yes 2>/dev/null; sleep 60"),
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		out, err := program.Run(ctx, command)
		var over *limit.Error
		if !errors.As(err, &over) || over.Limit != program.PrintLimit || ctx.Err() != nil {
			t.Errorf("%s: %v, want PrintLimit", name, err)
		}
		if kept := len(out.Stdout) + len(out.Stderr); kept != program.DefaultOutputLimit {
			t.Errorf("%s: kept %d bytes", name, kept)
		}
		cancel()
	}
}

func TestRunEndsTheWholeGroup(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	out, err := program.Run(ctx, shell("sleep 61 & echo $!; sleep 62"))
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v, want the deadline", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(out.Stdout)))
	if err != nil {
		t.Fatal(err)
	}
	if err := ended(pid); err != nil {
		t.Error(err)
	}
}

// ended waits until a process has ended, or is a zombie that its new parent has not reaped yet.
func ended(pid int) error {
	for range 100 {
		stat, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat") // it does not exist after the process has ended
		if len(stat) == 0 || bytes.Contains(stat, []byte(") Z ")) {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return errors.New("the child still runs")
}

type refusing struct{}

func (refusing) Write([]byte) (int, error) { return 0, errors.New("enough") }

func TestRunHandsOutputOn(t *testing.T) {
	var got bytes.Buffer
	command := shell("echo one; echo two; echo three >&2")
	command.Stdout = &got
	out, err := program.Run(t.Context(), command)
	if err != nil || got.String() != "one\ntwo\n" || len(out.Stdout) > 0 || string(out.Stderr) != "three\n" {
		t.Errorf("got %q, %+v, %v", &got, out, err)
	}
	command = program.Command{Path: "yes", Stdout: refusing{}}
	if _, err := program.Run(t.Context(), command); err == nil || err.Error() != "process the output of yes: enough" {
		t.Errorf("got %v, want the writer's error", err)
	}
}

// TestRunEndsWhatLeftTheGroup checks that a program that puts itself into the background is found.
func TestRunEndsWhatLeftTheGroup(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("processes are found by their environment on Linux only")
	}
	c := shell("setsid sh -c 'echo $$ > pid; exec sleep 63' >/dev/null 2>&1 & while [ ! -s pid ]; do sleep 0.01; done")
	c.Dir, c.Foreign = t.TempDir(), true
	out, err := program.Run(t.Context(), c)
	if err != nil || out.ExitCode != 0 || out.Strays != 1 {
		t.Fatalf("got %+v, %v", out, err)
	}
	text, err := os.ReadFile(filepath.Join(c.Dir, "pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	if err := ended(pid); err != nil {
		t.Error(err)
	}
}

func TestRunInNoDirectory(t *testing.T) {
	_, err := program.Run(t.Context(), program.Command{Path: "true", Dir: "/no/such"})
	if want := "run true: its working directory: stat /no/such: no such file or directory"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestRunEndsWhatLeftTheGroupInTime checks that a process that left the group and holds the output open does not delay
// the end.
func TestRunEndsWhatLeftTheGroupInTime(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("processes are found by their environment on Linux only")
	}
	c := shell("setsid sleep 68 & sleep 69")
	c.Foreign = true
	for attempt := 1; ; attempt++ { // the machine may be busy
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		out, err := program.Run(ctx, c)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %v, want the deadline", err)
		}
		if out.Duration < 400*time.Millisecond {
			return
		}
		if attempt == 5 {
			t.Fatalf("it took %s, want about 200ms", out.Duration)
		}
	}
}

func TestRunCannotStart(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"plain": "x", "nobody": "#!/no/such/shell\n", "words": "echo x\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(dir, name), map[bool]os.FileMode{true: 0o644, false: 0o755}[name == "plain"]); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	for command, want := range map[string]string{
		"no-such-program-here": "run no-such-program-here: there is no such program in $PATH",
		"/no/such/program":     "run /no/such/program: no such file or directory",
		"./plain":              "run ./plain: permission denied: make it executable with chmod +x",
		"./dir":                "run ./dir: permission denied: it is a directory",
		"./nobody":             "run ./nobody: no such file or directory: the interpreter in its first line, or its loader, does not exist",
		"./words":              "run ./words: exec format error: it is not a program for this machine, and its first line names no interpreter (#!/bin/sh)",
	} {
		if _, err := program.Run(t.Context(), program.Command{Path: command, Dir: dir}); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestEnvironmentHoldsNoSecret(t *testing.T) {
	t.Setenv("MEMBERS_PASSWORD", "open sesame")
	out, err := program.Run(t.Context(), program.Command{Path: "env", Env: []string{"A=1"}})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(out.Stdout), "sesame") || !strings.Contains(string(out.Stdout), "A=1\n") || !strings.Contains(string(out.Stdout), "PATH=") {
		t.Errorf("got %s", out.Stdout)
	}
}
