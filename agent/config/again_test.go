package config_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stepwatch/stepwatch/agent/config"
	"github.com/stepwatch/stepwatch/steps/stepstest"
)

// TestAgain reads a configuration once more, as a running agent does.
func TestAgain(t *testing.T) {
	t.Chdir(t.TempDir())
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	again := func(before *config.Config) *config.Config {
		t.Helper()
		c, err := config.Again("", before)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	none := config.Default()
	if c := again(none); c.Path != "" || len(c.Differing(none)) > 0 {
		t.Errorf("without a file: %q, %q", c.Path, c.Differing(none))
	}
	authority, err := stepstest.NewCA("test")
	if err != nil {
		t.Fatal(err)
	}
	write("ca.pem", string(authority.PEM()))
	write("stepwatch.yml", "name: one\nstate: here\nlisten: 127.0.0.1:1\nworkers: 5\ntls: {ca: [ca.pem]}\n")
	first := again(config.Default())
	if got := first.Differing(none); !slices.Equal(got, []string{"listen", "name", "state", "tls", "workers"}) {
		t.Errorf("a first file: %q differ", got)
	}
	if first, err = config.Load(""); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(first.Files, "ca.pem") {
		t.Errorf("the files are %q", first.Files)
	}
	roots := func(c *config.Config) any {
		pool, err := c.Target.Roots()
		if err != nil {
			t.Fatal(err)
		}
		return pool
	}
	write("stepwatch.yml", "name: two\nstate: there\nlisten: 127.0.0.1:2\nworkers: 6\ntls: {ca: [ca.pem]}\n")
	second := again(first)
	if second.Name != "one" || second.Listen != "127.0.0.1:1" || second.Target.StateDir != first.Target.StateDir || second.Limits.Workers != 6 {
		t.Errorf("got %q, %q, %q and %d workers", second.Name, second.Listen, second.Target.StateDir, second.Limits.Workers)
	}
	if !slices.Equal(second.Kept, []string{"listen", "name", "state"}) || !slices.Equal(second.Differing(first), []string{"listen", "name", "state", "workers"}) {
		t.Errorf("kept are %q, %q differ", second.Kept, second.Differing(first))
	}
	if roots(second) != roots(first) {
		t.Error("the same authorities are another pool, so what was verified with them is forgotten")
	}
	other, err := stepstest.NewCA("other")
	if err != nil {
		t.Fatal(err)
	}
	write("ca.pem", string(other.PEM()))
	if roots(again(second)) == roots(second) {
		t.Error("a new file of authorities is not read")
	}
	if err := os.Remove("stepwatch.yml"); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Again("", second); err == nil || !strings.Contains(err.Error(), "stepwatch.yml") {
		t.Errorf("a file that is gone is read as if it said nothing: %v", err)
	}
}
