package features

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// FuzzLoad holds for any bytes, as Gherkin and as Markdown, that Load gives scenarios whose sources compile to them, or problems
// with their places.
func FuzzLoad(f *testing.F) {
	if archive, err := os.ReadFile("testdata/mistakes.txtar"); err == nil {
		sections := strings.Split(string(archive), "\n-- ")
		for i := 1; i < len(sections); i += 2 {
			_, text, _ := strings.Cut(sections[i], " --\n")
			f.Add(text)
		}
	}
	more, _ := filepath.Glob("../../shared/gherkin-testdata/*/*.feature*") // where it is missing there are fewer seeds
	for _, path := range more {
		if content, err := os.ReadFile(path); err == nil && len(content) < 10000 && !strings.HasSuffix(path, ".ndjson") {
			f.Add(string(content))
		}
	}
	f.Add(selectable)
	f.Add(definitions)
	f.Add(inMarkdown)
	f.Add("Feature: F\n  @step\n  Scenario:\n    When a\n") // a sentence without a name
	f.Fuzz(func(t *testing.T, text string) {
		fuzzed(t, "x.feature", text)
		fuzzed(t, "x.feature.md", text)
	})
}

func fuzzed(t *testing.T, name, text string) {
	start := time.Now()
	defer func() {
		if d := time.Since(start); d > 3*time.Second && len(text) < 10000 {
			t.Errorf("%d bytes take %s", len(text), d)
		}
	}()
	set, err := Load([]string{name}, Options{FS: files(map[string]string{name: text})})
	scenarios := set.Scenarios()
	if err == nil && len(scenarios) == 0 && len(set.Sentences) == 0 {
		t.Fatal("neither scenarios nor sentences nor an error")
	}
	for _, s := range set.Sentences {
		if len(s.Steps) == 0 || strings.TrimSpace(s.Text) == "" || s.Line < 1 || s.Column < 1 {
			t.Errorf("sentence %+v", s)
		}
	}
	lines := strings.Count(text, "\n") + 1
	if err != nil {
		_, _ = Load([]string{fmt.Sprintf("%s:%d", name, 1+len(text)%lines)}, Options{FS: files(map[string]string{name: text})})
		for _, p := range err.(*Error).Problems {
			if p.Message == "" || p.Line > lines+1 || (p.Line == 0) != (p.Column == 0) {
				t.Errorf("problem %+v in a file of %d lines", p, lines)
			}
			if strings.Contains(p.Message, "cannot be run as it is written") || strings.Contains(p.Message, "cannot be parsed") {
				t.Errorf("problem %q", p)
			}
		}
	}
	seen := map[[3]string]bool{}
	for _, s := range scenarios {
		if len(s.Steps) == 0 && len(s.Mistakes) == 0 || s.Feature == "" || s.Label == "" {
			t.Errorf("scenario %+v", s)
		}
		id := [3]string{s.Feature, s.Label, s.Example}
		if seen[id] {
			t.Errorf("%q is there twice", id)
		}
		seen[id] = true
		if got, want := ofSource(t, s).untyped(), ofScenario(s); !reflect.DeepEqual(got, want) {
			t.Errorf("source %q compiles to\n%+v\nwant\n%+v", s.Source(), got, want)
		}
	}
}
