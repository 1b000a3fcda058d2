package cmd

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// failing writes a feature that fails with evidence, and a configuration with its own state directory.
func failing(t *testing.T) (dir, feature string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<p>Welcome") }))
	t.Cleanup(server.Close)
	dir = filepath.Join(t.TempDir(), "dir")
	feature = filepath.Join(dir, "bad.feature")
	text := "@every:1s\nFeature: Bad\n  Scenario: One\n    When I go to \"" + server.URL + "\"\n    Then I should see \"Farewell\"\n"
	for _, err := range []error{os.Mkdir(dir, 0o700), os.WriteFile(feature, []byte(text), 0o600), os.WriteFile(filepath.Join(dir, "stepwatch.yml"), []byte("state: state\n"), 0o600)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir, feature
}

// TestStateOfOthers holds that no verb uses a state directory that others may change, and says what to do.
func TestStateOfOthers(t *testing.T) {
	t.Parallel()
	dir, feature := failing(t)
	state := filepath.Join(dir, "state")
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	for _, err := range []error{os.Mkdir(state, 0o700), os.Chmod(state, 0o777), os.Mkdir(elsewhere, 0o700), os.Symlink(elsewhere, filepath.Join(state, "evidence"))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"run"}, {"agent", "--listen", "127.0.0.1:0"}} {
		cmd := own(t, append(args, feature)...)
		cmd.Args[0], cmd.Dir = "stepwatch", dir
		out := begin(t, cmd)
		want := "stepwatch: the state directory is not safe: " + state + ": other users may write it (mode drwxrwxrwx): chmod go-w " + state + "; or set state in stepwatch.yml to another directory\n"
		if code := ended(t, cmd, 20*time.Second); code != exitNotRun || !strings.Contains(out.String(), want) {
			t.Errorf("%s: exit code %d, want 3 and %s in\n%s", args[0], code, want, out)
		}
	}
	if left, _ := os.ReadDir(elsewhere); len(left) > 0 {
		t.Errorf("written through the link: %v", left)
	}
}

// TestEvidenceDoesNotFollowLinks holds that evidence in a directory that others share stays in it.
func TestEvidenceDoesNotFollowLinks(t *testing.T) {
	t.Parallel()
	dir, feature := failing(t)
	run := func() string {
		cmd := own(t, "run", "--evidence", "shared", feature)
		cmd.Args[0], cmd.Dir = "stepwatch", dir
		out := begin(t, cmd)
		if code := ended(t, cmd, 20*time.Second); code != exitFailed {
			t.Errorf("exit code %d\n%s", code, out)
		}
		return out.String()
	}
	if out := run(); !strings.Contains(out, "evidence: shared/bad-one-") {
		t.Fatalf("no evidence\n%s", out)
	}
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	made, err := filepath.Glob(filepath.Join(dir, "shared", "*"))
	if err != nil || len(made) != 1 {
		t.Fatal(made, err)
	}
	for _, err := range []error{os.Mkdir(elsewhere, 0o700), os.RemoveAll(made[0]), os.Symlink(elsewhere, made[0]), os.Chmod(filepath.Join(dir, "shared"), 0o777)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if out := run(); !strings.Contains(out, "save the evidence: ") {
		t.Errorf("the link is not refused:\n%s", out)
	}
	if left, _ := os.ReadDir(elsewhere); len(left) > 0 {
		t.Errorf("written through the link: %v", left)
	}
}

// TestTwoAgentsAreNoticed has two agents use one state directory.
func TestTwoAgentsAreNoticed(t *testing.T) {
	t.Parallel()
	dir, feature := failing(t)
	for i, want := range []bool{false, true} {
		cmd := own(t, "agent", "--listen", "127.0.0.1:0", feature)
		cmd.Args[0], cmd.Dir = "stepwatch", dir
		out := begin(t, cmd)
		defer func() {
			_ = cmd.Process.Signal(syscall.SIGTERM)
			ended(t, cmd, 20*time.Second)
		}()
		until(t, "the agent", func() bool { return strings.Contains(out.String(), "stepwatch watches") })
		if got := strings.Contains(out.String(), "another agent uses the same state directory"); got != want {
			t.Errorf("agent %d: another one noticed: %t, want %t\n%s", i+1, got, want, out)
		}
	}
}
