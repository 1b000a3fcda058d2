package evidence_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/agent/evidence"
	"github.com/stepwatch/stepwatch/agent/result"
)

func failed(scenario string, number int, at time.Time, bytes int) *result.Result {
	return &result.Result{Identity: result.Identity{Feature: "Site/..", Scenario: scenario, File: "a.feature"}, Run: fmt.Sprintf("RUN%d", number), Started: at, Status: result.Failed,
		Steps: []result.StepResult{{Keyword: "When", Text: "I go", Status: result.Passed}, {Keyword: "Then", Text: "I see", Status: result.Failed, Error: "not there",
			Evidence: []result.Evidence{{Name: "page", MediaType: "text/html; charset=utf-8", Body: make([]byte, bytes)}, {Name: "../x", MediaType: "image/jpeg", Body: []byte("j")},
				{Name: "page", MediaType: "text/html", Body: []byte("second")}}}}}
}

func runs(t *testing.T, dir string) (names []string) {
	t.Helper()
	found, err := filepath.Glob(dir + "/*/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range found {
		names = append(names, path[strings.LastIndex(path, "-")+1:])
	}
	return names
}

func TestSave(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "evidence")
	s := evidence.New(dir, evidence.Limits{}, nil)
	paths, err := s.Save(failed("Ünder /../ cover", 1, time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC), 3))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, path := range paths {
		relative, _ := filepath.Rel(dir, path)
		names = append(names, relative)
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
	const run = "site-nder-cover-HASH/20260102T030405.006Z-RUN1/"
	got := strings.Join(names, " ")
	got = strings.ReplaceAll(got, strings.TrimPrefix(filepath.Base(filepath.Dir(filepath.Dir(paths[0]))), "site-nder-cover-"), "HASH")
	if want := run + "step2-page.html " + run + "step2-x.jpg " + run + "2-step2-page.html"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for at := filepath.Dir(paths[0]); len(at) >= len(dir); at = filepath.Dir(at) {
		if info, err := os.Stat(at); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", at, info, err)
		}
	}
	if body, _ := os.ReadFile(filepath.Join(filepath.Dir(paths[0]), "failure.txt")); !strings.Contains(string(body), "2. Then I see: failed\n   not there") {
		t.Errorf("failure.txt: %s", body)
	}
	if paths, err := s.Save(&result.Result{}); err != nil || paths != nil {
		t.Errorf("a run without evidence: %q, %v", paths, err)
	}
	blocked := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := evidence.New(blocked, evidence.Limits{}, nil).Save(failed("x", 1, time.Now(), 1)); err == nil {
		t.Error("saved below a file")
	}
}

func TestLimits(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		name   string
		limits evidence.Limits
		want   string
	}{
		{"no limits", evidence.Limits{}, "[RUN1 RUN2 RUN3 RUN4 RUN5]"},
		{"count", evidence.Limits{Keep: 2}, "[RUN2 RUN3 RUN4 RUN5]"},
		{"age", evidence.Limits{Age: 3*time.Hour + time.Minute}, "[RUN3 RUN4 RUN5]"},
		{"size", evidence.Limits{Size: 25_000}, "[RUN4 RUN5]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			save := func(s *evidence.Store) {
				for i := range 5 {
					name := "a"
					if i > 2 {
						name = "b"
					}
					if _, err := s.Save(failed(name, i+1, now.Add(time.Duration(i-5)*time.Hour), 10_000)); err != nil {
						t.Fatal(err)
					}
				}
			}
			dir := t.TempDir()
			save(evidence.New(dir, c.limits, nil))
			if got := fmt.Sprint(runs(t, dir)); got != c.want {
				t.Errorf("while saving: kept %s, want %s", got, c.want)
			}
			dir = t.TempDir()
			save(evidence.New(dir, evidence.Limits{}, nil))
			foreign := filepath.Join(dir, "notes", "mine")
			old, young := filepath.Join(dir, "notes", "20260102T030405.006Z-A.unfinished"), filepath.Join(dir, "notes", "20260102T030405.006Z-B.unfinished")
			for _, path := range []string{foreign, old, young} {
				if err := os.MkdirAll(path, 0o700); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Chtimes(old, now.Add(-time.Hour), now.Add(-time.Hour)); err != nil {
				t.Fatal(err)
			}
			if err := evidence.New(dir, c.limits, nil).Sweep(t.Context(), now); err != nil {
				t.Fatal(err)
			}
			for path, left := range map[string]bool{foreign: true, old: false, young: true} {
				if _, err := os.Stat(path); (err == nil) != left {
					t.Errorf("%s: %v", path, err)
				}
			}
			_ = os.RemoveAll(filepath.Join(dir, "notes"))
			if got := fmt.Sprint(runs(t, dir)); got != c.want {
				t.Errorf("when swept: kept %s, want %s", got, c.want)
			}
		})
	}
}

// TestSavedWhileSwept checks that the limits also apply to runs saved during a sweep.
func TestSavedWhileSwept(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	for i := range 500 { // they are read after those of the scenario
		if err := os.MkdirAll(filepath.Join(dir, fmt.Sprintf("z%d", i)), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	s := evidence.New(dir, evidence.Limits{Keep: 3}, nil)
	for round := range 20 {
		var both sync.WaitGroup
		both.Go(func() {
			if err := s.Sweep(t.Context(), now); err != nil {
				t.Error(err)
			}
		})
		for i := range 4 {
			number := 4*round + i
			if _, err := s.Save(failed("a", number, now.Add(time.Duration(number)*time.Second), 10)); err != nil {
				t.Error(err)
			}
		}
		both.Wait()
		last := 4*round + 3
		if got, want := fmt.Sprint(runs(t, dir)), fmt.Sprintf("[RUN%d RUN%d RUN%d]", last-2, last-1, last); got != want {
			t.Fatalf("kept %s, want %s", got, want)
		}
	}
}

// TestSweepEnds checks that a sweep that is stopped removes nothing and forgets nothing.
func TestSweepEnds(t *testing.T) {
	dir := t.TempDir()
	s := evidence.New(dir, evidence.Limits{Keep: 1, Age: time.Hour}, nil)
	if _, err := s.Save(failed("a", 1, time.Now(), 10)); err != nil {
		t.Fatal(err)
	}
	why := errors.New("the agent ends")
	ended, end := context.WithCancelCause(t.Context())
	end(why)
	later := time.Now().Add(2 * time.Hour)
	if err := s.Sweep(ended, later); !errors.Is(err, why) || len(runs(t, dir)) != 1 {
		t.Errorf("%v, %s left", err, runs(t, dir))
	}
	if _, err := s.Save(failed("a", 2, time.Now(), 10)); err != nil || len(runs(t, dir)) != 1 {
		t.Errorf("%v, %s left", err, runs(t, dir))
	}
	if err := s.Sweep(t.Context(), later); err != nil || len(runs(t, dir)) != 0 {
		t.Errorf("%v, %s left", err, runs(t, dir))
	}
}
