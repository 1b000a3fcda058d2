package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stepwatch/stepwatch/steps/limit"
)

// A file that exceeds a limit is a mistake with its place, before the YAML library reads it. valuesLimit is in odd_test.go.
func TestFileLimits(t *testing.T) {
	lines := func(line string, n int64) string { return strings.Repeat(line+"\n", int(n)) }
	for name, c := range map[string]struct {
		source, want string
		limit        limit.Limit
	}{
		"large":             {lines("# "+strings.Repeat("x", 1000), bytesLimit.Most/1000), "x.yml:1:1: the file has more than 1048576 bytes, the limit", bytesLimit},
		"long":              {lines("", linesLimit.Most) + "#", "x.yml:20001:1: the file has more than 20000 lines, the limit", linesLimit},
		"as long as may be": {lines("", linesLimit.Most), "", limit.Limit{}},
		"flow":              {"\n\na: " + strings.Repeat("[", 100), "x.yml:3:1: a line has 101 levels of nested lists and mappings, the limit is 100", nestedLimit},
		"compact":           {strings.Repeat("- ", 101), "x.yml:1:1: a line has 101 levels of nested lists and mappings, the limit is 100", nestedLimit},
		"closed":            {"# " + strings.Repeat("[a] ", 500), "", limit.Limit{}},
	} {
		_, err := Parse("x.yml", []byte(c.source))
		exceeded := (*limit.Error)(nil)
		switch m := (*mistake)(nil); {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want != "" && (err == nil || err.Error() != c.want || !errors.As(err, &m) || !errors.As(m.err, &exceeded) || exceeded.Limit != c.limit):
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	path := filepath.Join(t.TempDir(), "stepwatch.yml")
	if err := os.WriteFile(path, make([]byte, 3*bytesLimit.Most), 0o600); err != nil {
		t.Fatal(err)
	}
	if read, err := readFile(path); err != nil || int64(len(read)) != bytesLimit.Most+1 {
		t.Errorf("%d bytes, %v", len(read), err)
	}
}
