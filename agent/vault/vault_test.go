package vault

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSecret(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	absolute := write("password", "from a file\n")
	write("empty", "\n")
	write("large", strings.Repeat("x", sizeLimit+1))
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	t.Setenv("STEPWATCH_TEST_SECRET", "from the environment")
	for _, test := range []struct {
		source Source
		want   string
		err    string
	}{
		{Source{File: "password"}, "from a file", ""},
		{Source{File: absolute}, "from a file", ""},
		{Source{Env: "STEPWATCH_TEST_SECRET"}, "from the environment", ""},
		{Source{Credential: "password"}, "from a file", ""},
		{Source{Credential: "../" + filepath.Base(dir) + "/password"}, "from a file", ""},
		{Source{Command: []string{"printf", "from a command\r\n"}}, "from a command", ""},
		{Source{File: "missing"}, "", "read the secret it: open " + filepath.Join(dir, "missing") + ": no such file or directory"},
		{Source{File: "empty"}, "", "read the secret it: it is empty"},
		{Source{File: "large"}, "", "read the secret it: " + filepath.Join(dir, "large") + " is larger than 65536 bytes: it is not a password"},
		{Source{Env: "STEPWATCH_TEST_MISSING"}, "", "read the secret it: the environment has no STEPWATCH_TEST_MISSING"},
		{Source{Command: []string{"sh", "-c", "echo hunter2 >&2; exit 3"}}, "", "read the secret it: run sh: exit status 3"},
	} {
		v := New(dir)
		if err := v.Add("it", test.source); err != nil {
			t.Fatal(err)
		}
		s, err := v.Secret(context.Background(), "it")
		if got := fmt.Sprint(err); s.Reveal() != test.want || (test.err != "" && got != test.err) || (test.err == "" && err != nil) {
			t.Errorf("%+v: got %q and %v, want %q and %q", test.source, s.Reveal(), err, test.want, test.err)
		}
	}
	if _, err := New(dir).Secret(context.Background(), "other"); err == nil {
		t.Error("got an unknown secret without an error")
	}
}

func TestCommandEndsWithItsContext(t *testing.T) {
	v := New("")
	if err := v.Add("slow", Source{Command: []string{"sleep", "60"}}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := v.Secret(ctx, "slow"); err == nil {
		t.Error("no error")
	}
}

// TestValues holds that all secrets that can be read are returned, to be hidden.
func TestValues(t *testing.T) {
	t.Setenv("STEPWATCH_TEST_SECRET", "from the environment")
	v := New(t.TempDir())
	for name, source := range map[string]Source{"a": {Env: "STEPWATCH_TEST_SECRET"}, "b": {File: "missing"}, "c": {Command: []string{"printf", "from a command"}}} {
		if err := v.Add(name, source); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Join(v.Values(context.Background()), ", "); got != "from the environment, from a command" {
		t.Errorf("got %s", got)
	}
}
