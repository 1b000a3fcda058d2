package cmd

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestHangupReloads sends SIGHUP to the process that a service manager knows, which is the supervisor: the agent reloads, goes on
// and ends by SIGTERM as always. Where SIGHUP is ignored, as by nohup, it stays ignored. Another verb ends.
func TestHangupReloads(t *testing.T) {
	t.Parallel()
	start := func(t *testing.T, ignored bool) (*exec.Cmd, *syncBuffer, func(name, content string)) {
		dir := t.TempDir()
		save := saver(t, dir)
		save("stepwatch.yml", "features: [a.feature]\nstate: state\n")
		save("a.feature", visits("127.0.0.1:1", 2, "x"))
		args := []string{"agent", "--watch=false", "--listen", "127.0.0.1:0", "--config", filepath.Join(dir, "stepwatch.yml")}
		cmd := own(t, args...)
		if ignored {
			path, err := exec.LookPath("bash")
			if err != nil {
				t.Skip(err)
			}
			cmd.Args = append([]string{"bash", "-c", `trap "" HUP; exec -a stepwatch "$0" "$@"`, cmd.Path}, args...)
			cmd.Path = path
		} else {
			cmd.Args[0] = "stepwatch"
		}
		out := begin(t, cmd)
		until(t, "the agent", func() bool { return strings.Contains(out.String(), "metrics are at") })
		return cmd, out, save
	}
	t.Run("agent", func(t *testing.T) {
		t.Parallel()
		cmd, out, save := start(t, false)
		save("a.feature", visits("127.0.0.1:1", 3, "x"))
		for i := 1; i <= 3; i++ {
			if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
			until(t, "a reload", func() bool { return strings.Count(out.String(), "because=SIGHUP") == i })
		}
		if !strings.Contains(out.String(), "1 scenario added, 0 changed, 2 unchanged") {
			t.Errorf("got\n%s", out)
		}
		worker := childOf(cmd.Process.Pid)
		if err := syscall.Kill(worker, syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		until(t, "a reload by the worker", func() bool { return strings.Count(out.String(), "because=SIGHUP") == 4 })
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if code := ended(t, cmd, 20*time.Second); code != exitPassed {
			t.Errorf("exit code %d\n%s", code, out)
		}
	})
	t.Run("ignored", func(t *testing.T) {
		t.Parallel()
		cmd, out, _ := start(t, true)
		_ = cmd.Process.Signal(syscall.SIGHUP)
		time.Sleep(500 * time.Millisecond)
		if strings.Contains(out.String(), "SIGHUP") {
			t.Errorf("an ignored signal reloads:\n%s", out)
		}
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if code := ended(t, cmd, 20*time.Second); code != exitPassed {
			t.Errorf("exit code %d\n%s", code, out)
		}
	})
}

// TestBrowserOverReloads holds that the browser goes on as long as its settings are the same, and that otherwise another one takes
// its place while the old one ends.
func TestBrowserOverReloads(t *testing.T) {
	t.Parallel()
	v := newVisited(t)
	feature := v.write(t, "", "/")
	cmd := v.program(t, "agent", "--watch=false", "--listen", "127.0.0.1:0", "--config", "stepwatch.yml", feature)
	out := begin(t, cmd)
	profile := func() string {
		_, profiles := v.left()
		return strings.Join(profiles, " ")
	}
	visits := func() {
		t.Helper()
		before := v.hits("/")
		until(t, "visits", func() bool { return v.hits("/") > before+1 })
	}
	reload := func(n int) {
		t.Helper()
		_ = cmd.Process.Signal(syscall.SIGHUP)
		until(t, "a reload", func() bool { return strings.Count(out.String(), "because=SIGHUP") == n })
		visits()
	}
	visits()
	first := profile()
	if err := os.WriteFile(filepath.Join(v.dir, "stepwatch.yml"), []byte("state: state\nworkers: 20\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	reload(1)
	if now := profile(); now != first {
		t.Errorf("the browser of %s was replaced by that of %s", first, now)
	}
	if err := os.WriteFile(filepath.Join(v.dir, "stepwatch.yml"), []byte("state: state\nbrowser: {runs: 400}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	reload(2)
	until(t, "the end of the old browser", func() bool { now := profile(); return now != "" && !strings.Contains(now, first) })
	_ = cmd.Process.Signal(syscall.SIGTERM)
	if code := ended(t, cmd, 30*time.Second); code != exitPassed {
		t.Errorf("exit code %d\n%s", code, out)
	}
	v.nothingLeft(t)
	if strings.Contains(out.String(), "alert ") {
		t.Errorf("a reload raised an alert:\n%s", out)
	}
}
