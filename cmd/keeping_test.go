package cmd

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stepwatch/stepwatch/agent/config"
)

// TestKeepingTroubles holds that the agent can say that its silences are lost: the alerts that they withheld are told.
func TestKeepingTroubles(t *testing.T) {
	dir := t.TempDir()
	settings := filepath.Join(dir, "stepwatch.yml")
	if err := os.WriteFile(settings, []byte("state: state\nhistory: off\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(settings)
	if err != nil {
		t.Fatal(err)
	}
	said := func() string {
		k, err := openKeeping(t.Context(), &set{config: c}, true, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer k.close(slog.New(slog.DiscardHandler))
		return strings.Join(k.troubles(), "\n")
	}
	if got := said(); got != "" {
		t.Errorf("got %q", got)
	}
	if err := os.WriteFile(filepath.Join(dir, "state", "silences.db"), []byte(strings.Repeat("x", 5000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := said(); !strings.Contains(got, "the file of the silences was damaged and begun anew, so silences may be missing") {
		t.Errorf("got %q", got)
	}
}
