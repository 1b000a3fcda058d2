package cmd

import (
	"bytes"
	"fmt"
	"io"
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

	"github.com/stepwatch/stepwatch/steps/browser"
)

// visited is a website and a directory with a feature in a browser that visits it.
type visited struct {
	url  string
	dir  string
	hits func(path string) int64
}

func newVisited(t *testing.T) *visited {
	t.Helper()
	if _, err := browser.Find(); err != nil {
		t.Skip(err)
	}
	var home, other, hang atomic.Int64
	counts := map[string]*atomic.Int64{"/": &home, "/other": &other, "/hang": &hang}
	stop := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n := counts[r.URL.Path]; n != nil {
			n.Add(1)
		}
		if r.URL.Path == "/hang" {
			select {
			case <-stop:
			case <-r.Context().Done():
			}
			return
		}
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<p>Welcome")
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(stop) })
	return &visited{server.URL, t.TempDir(), func(path string) int64 { return counts[path].Load() }}
}

// write writes the configuration and a feature that visits a path, and gives its file's name.
func (v *visited) write(t *testing.T, config, path string) string {
	t.Helper()
	feature := "@browser @every:1s @timeout:60s\nFeature: Visit\n  Scenario: A page\n    When I go to \"" + v.url + path + "\"\n    Then I should see \"Welcome\"\n"
	name := filepath.Join(v.dir, strings.Trim(path, "/")+"visit.feature")
	for file, content := range map[string]string{name: feature, filepath.Join(v.dir, "stepwatch.yml"): "state: state\n" + config} {
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil { //nolint:gosec // another user reads it
			t.Fatal(err)
		}
	}
	return name
}

// program is this very program, as its own process.
func (v *visited) program(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...) //nolint:gosec // it is this test
	cmd.Args[0], cmd.Dir = "stepwatch", v.dir
	return cmd
}

// begin starts a program that is gone with the test.
func begin(t *testing.T, cmd *exec.Cmd) *syncBuffer {
	t.Helper()
	var out syncBuffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return &out
}

// left gives the processes that work beneath the state directory, and the profiles in it.
func (v *visited) left() (processes, profiles []string) {
	profiles, _ = filepath.Glob(filepath.Join(v.dir, "state", "browser", "*"))
	all, _ := filepath.Glob("/proc/[0-9]*/cwd")
	for _, link := range all {
		if cwd, err := os.Readlink(link); err == nil && strings.HasPrefix(cwd, filepath.Join(v.dir, "state")) {
			processes = append(processes, filepath.Base(filepath.Dir(link)))
		}
	}
	return processes, profiles
}

func (v *visited) nothingLeft(t *testing.T) {
	t.Helper()
	if processes, profiles := v.left(); len(processes)+len(profiles) > 0 {
		t.Errorf("left behind: processes %v, profiles %v", processes, profiles)
	}
}

// ended waits for a program and gives its exit code.
func ended(t *testing.T, cmd *exec.Cmd, limit time.Duration) int {
	t.Helper()
	start := time.Now()
	_ = cmd.Wait() // the code says it
	if took := time.Since(start); took > limit {
		t.Errorf("it took %s to end", took)
	}
	return cmd.ProcessState.ExitCode()
}

// TestBrowserOfAKilledProgram kills the program in the middle of a visit: its browser ends with it, and what that left on
// the disk goes with the next start.
func TestBrowserOfAKilledProgram(t *testing.T) {
	t.Parallel()
	v := newVisited(t)
	cmd := v.program(t, "run", v.write(t, "", "/hang"))
	begin(t, cmd)
	until(t, "the visit", func() bool { return v.hits("/hang") > 0 })
	if processes, profiles := v.left(); len(processes) < 4 || len(profiles) != 1 {
		t.Errorf("while it runs: processes %v, profiles %v: this test could not fail", processes, profiles)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	until(t, "the browser's end", func() bool { processes, _ := v.left(); return len(processes) == 0 })
	next := v.program(t, "run", v.write(t, "", "/"))
	out := begin(t, next)
	if code := ended(t, next, time.Minute); code != exitPassed {
		t.Errorf("the next run: exit code %d\n%s", code, out)
	}
	v.nothingLeft(t)
}

func TestBrowserOfAStoppedProgram(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"run"}, {"agent", "--listen", "127.0.0.1:0"}} {
		t.Run(args[0], func(t *testing.T) {
			t.Parallel()
			v := newVisited(t)
			cmd := v.program(t, append(args, v.write(t, "", "/hang"))...)
			begin(t, cmd)
			until(t, "the visit", func() bool { return v.hits("/hang") > 0 })
			_ = cmd.Process.Signal(syscall.SIGTERM)
			ended(t, cmd, 10*time.Second)
			v.nothingLeft(t)
		})
	}
}

// TestBrowsersOfTwoAgents has two agents share a state directory, and kills one of them.
func TestBrowsersOfTwoAgents(t *testing.T) {
	t.Parallel()
	v := newVisited(t)
	one := v.program(t, "agent", "--listen", "127.0.0.1:0", v.write(t, "browser: {runs: 2}\n", "/"))
	two := v.program(t, "agent", "--listen", "127.0.0.1:0", v.write(t, "browser: {runs: 2}\n", "/other"))
	begin(t, one)
	out := begin(t, two)
	until(t, "visits of both", func() bool { return v.hits("/") > 2 && v.hits("/other") > 2 })
	_ = one.Process.Kill()
	_ = one.Wait()
	seen := v.hits("/other")
	until(t, "more visits of the other", func() bool { return v.hits("/other") > seen+3 })
	_ = two.Process.Signal(syscall.SIGTERM)
	if code := ended(t, two, 10*time.Second); code != exitPassed {
		t.Errorf("exit code %d\n%s", code, out)
	}
	v.nothingLeft(t)
}

func TestRemoteBrowser(t *testing.T) {
	t.Parallel()
	v := newVisited(t)
	path, err := browser.Find()
	if err != nil {
		t.Skip(err)
	}
	profile := t.TempDir()
	remote := exec.Command(path, "--headless", "--no-sandbox", "--remote-debugging-port=0", "--user-data-dir="+profile, "about:blank")
	remote.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	begin(t, remote)
	end := func() {
		_ = syscall.Kill(-remote.Process.Pid, syscall.SIGKILL)
		_ = remote.Wait()
	}
	defer end()
	var port []byte
	until(t, "the browser's port", func() bool {
		port, _, _ = cut(os.ReadFile(filepath.Join(profile, "DevToolsActivePort")))
		return len(port) > 0
	})
	address := "http://127.0.0.1:" + string(port)
	config := "browser: {remote: " + address + "}\n"
	pages := func() int {
		response, err := http.Get(address + "/json/list")
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		return strings.Count(string(body), `"type": "page"`)
	}
	before := pages()
	run := v.program(t, "run", v.write(t, config, "/"))
	out := begin(t, run)
	if code := ended(t, run, time.Minute); code != exitPassed {
		t.Errorf("exit code %d\n%s", code, out)
	}
	run = v.program(t, "run", v.write(t, config, "/hang"))
	begin(t, run)
	until(t, "the visit", func() bool { return v.hits("/hang") > 0 })
	if got := pages(); got <= before {
		t.Errorf("%d pages in the middle of a visit: this test could not fail", got)
	}
	_ = run.Process.Kill()
	_ = run.Wait()
	until(t, "the end of our pages", func() bool { return pages() == before })

	end()
	run = v.program(t, "run", v.write(t, config+"connect_to: {\"a.example:443\": \"127.0.0.1:1\"}\n", "/"))
	out = begin(t, run)
	code := ended(t, run, time.Minute)
	for _, want := range []string{"connect to " + address + " (browser.remote in stepwatch.yml; start one there with --headless --remote-debugging-port): ", "connection refused"} {
		if code != exitNotRun || !strings.Contains(out.String(), want) {
			t.Errorf("without the browser: exit code %d, want %q in\n%s", code, want, out)
		}
	}
	lint := v.program(t, "lint", filepath.Join(v.dir, "visit.feature"))
	out = begin(t, lint)
	if code := ended(t, lint, time.Minute); code != exitPassed ||
		!strings.Contains(out.String(), "warning: tagged @browser: connect_to has no effect on the browser at "+address) {
		t.Errorf("lint: exit code %d\n%s", code, out)
	}
}

func cut(text []byte, err error) (line, rest []byte, more bool) {
	if err != nil {
		return nil, nil, false
	}
	return bytes.Cut(text, []byte("\n"))
}

// TestNoBrowser holds that only the scenarios that need a browser are unknown without one.
func TestNoBrowser(t *testing.T) {
	t.Parallel()
	v := newVisited(t)
	name := v.write(t, "browser: {path: /nonexistent/chromium}\n", "/")
	plain := filepath.Join(v.dir, "plain.feature")
	if err := os.WriteFile(plain, []byte("Feature: Plain\n  Scenario: Home\n    When I go to \""+v.url+"/\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	run := v.program(t, "run", name, plain)
	out := begin(t, run)
	code := ended(t, run, time.Minute)
	for _, want := range []string{"browser.path in stepwatch.yml: ", "1 passed"} {
		if code != exitNotRun || !strings.Contains(out.String(), want) {
			t.Errorf("exit code %d, want %q in\n%s", code, want, out)
		}
	}
	lint := v.program(t, "lint", name)
	out = begin(t, lint)
	if code := ended(t, lint, time.Minute); code != exitPassed || !strings.Contains(out.String(), "warning: tagged @browser: browser.path in stepwatch.yml: ") {
		t.Errorf("lint: exit code %d\n%s", code, out)
	}
}

// TestBrowserInItsSandbox runs as an ordinary user, for whom the browser keeps its sandbox. It is not parallel: a program that
// another test starts meanwhile would have the copy open, which can then not be run.
func TestBrowserInItsSandbox(t *testing.T) {
	v := newVisited(t)
	if os.Getuid() != 0 {
		t.Skip("needs root, to become another user")
	}
	const nobody = 65534
	var err error
	if v.dir, err = os.MkdirTemp("", "stepwatch-nobody-"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(v.dir) })
	name := v.write(t, "", "/")
	run := v.program(t, "run", name)
	self, err := os.ReadFile(run.Path)
	if err != nil {
		t.Fatal(err)
	}
	run.Path = filepath.Join(v.dir, "stepwatch")
	if err := os.WriteFile(run.Path, self, 0o755); err != nil { //nolint:gosec // another user runs it
		t.Fatal(err)
	}
	if err := os.Chown(v.dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	run.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	run.Env = append(os.Environ(), "HOME="+v.dir, "TMPDIR="+v.dir)
	out := begin(t, run)
	if code := ended(t, run, time.Minute); code != exitPassed {
		t.Errorf("exit code %d\n%s", code, out)
	}
	v.nothingLeft(t)
}

// TestProcessOne runs the agent as the first process of a namespace, which inherits what browsers leave behind.
func TestProcessOne(t *testing.T) {
	t.Parallel()
	v := newVisited(t)
	unshare, err := exec.LookPath("unshare")
	if err != nil || os.Getuid() != 0 {
		t.Skip("needs root and unshare")
	}
	cmd := v.program(t, "agent", "--listen", "127.0.0.1:0", v.write(t, "browser: {runs: 1}\n", "/"))
	named := filepath.Join(v.dir, "stepwatch")
	if err := os.Symlink(cmd.Path, named); err != nil {
		t.Fatal(err)
	}
	cmd.Args = append([]string{"unshare", "--pid", "--fork", "--mount-proc", "--kill-child", named}, cmd.Args[1:]...)
	cmd.Path = unshare
	out := begin(t, cmd)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(out)
		}
	})
	until(t, "visits", func() bool { return v.hits("/") > 3 })
	first := childOf(cmd.Process.Pid)
	if first == 0 {
		t.Fatalf("no first process\n%s", out)
	}
	until(t, "the burial of every process", func() bool { return zombies(first) == 0 })
	_ = syscall.Kill(first, syscall.SIGTERM)
	if code := ended(t, cmd, 10*time.Second); code != exitPassed {
		t.Errorf("exit code %d\n%s", code, out)
	}
	v.nothingLeft(t)
}

// stat gives the state and the parent of a process (proc(5)).
func stat(path string) (state string, parent int) {
	text, _ := os.ReadFile(path) // it may have ended
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 2 {
		return "", 0
	}
	parent, _ = strconv.Atoi(fields[1])
	return fields[0], parent
}

func childOf(pid int) int {
	all, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range all {
		if _, parent := stat(path); parent == pid {
			child, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			return child
		}
	}
	return 0
}

func zombies(parent int) int {
	n := 0
	all, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range all {
		if state, of := stat(path); of == parent && state == "Z" {
			n++
		}
	}
	return n
}
