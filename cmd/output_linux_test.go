package cmd

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestLostOutput holds that no verb succeeds when its output is lost.
func TestLostOutput(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<p>Welcome") }))
	t.Cleanup(server.Close)
	feature := filepath.Join(t.TempDir(), "good.feature")
	if err := os.WriteFile(feature, []byte("Feature: Good\n  Scenario: One\n    When I go to \""+server.URL+"\"\n    Then I should see \"Welcome\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"run", feature}, {"run", "--help"}, {"check", feature}, {"check", "/nonexistent.feature"}, {"steps"}, {"steps", "--format", "json"},
		{"steps", "--format", "markdown"}, {"lint", feature}, {"lint", "--format", "sarif", feature}, {"version"}, {"help"}, {"demo", "--once"},
	} {
		for name, want := range map[string]string{"full": "no space left on device", "pipe": "broken pipe"} {
			t.Run(strings.Join(args[:min(3, len(args))], " ")+" "+name, func(t *testing.T) {
				t.Parallel()
				cmd := own(t, args...)
				cmd.Args[0] = "stepwatch"
				var errs bytes.Buffer
				cmd.Stderr = &errs
				out, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
				if name == "pipe" {
					var reader *os.File
					if reader, out, err = os.Pipe(); err == nil {
						err = reader.Close()
					}
				}
				if err != nil {
					t.Fatal(err)
				}
				defer out.Close()
				cmd.Stdout = out
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				if code := ended(t, cmd, 20*time.Second); code != 3 || !strings.Contains(errs.String(), want) {
					t.Errorf("exit code %d, wanted 3 and %q in\n%s", code, want, &errs)
				}
			})
		}
	}
}

// TestAgentWithoutReaderOfItsLog holds that an agent goes on when what reads its log has ended.
func TestAgentWithoutReaderOfItsLog(t *testing.T) {
	t.Parallel()
	visits := make(chan struct{}, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
		visits <- struct{}{}
	}))
	t.Cleanup(server.Close)
	feature := filepath.Join(t.TempDir(), "bad.feature")
	if err := os.WriteFile(feature, []byte("@every:1s\nFeature: Bad\n  Scenario: One\n    When I go to \""+server.URL+"\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := own(t, "agent", "--listen", "127.0.0.1:0", feature)
	cmd.Args[0], cmd.Stderr = "stepwatch", writer
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = writer.Close(), reader.Close()
	for range 4 {
		select {
		case <-visits:
		case <-time.After(20 * time.Second):
			t.Fatal("the agent ended")
		}
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	if code := ended(t, cmd, 10*time.Second); code != exitPassed {
		t.Errorf("exit code %d", code)
	}
}
