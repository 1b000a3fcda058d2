package cmd

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/stepwatch/stepwatch/steps"
)

// saver gives a function that saves a file beneath a directory as editors do.
func saver(t *testing.T, dir string) func(name, content string) {
	return func(name, content string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path+"~", []byte(content), 0o600), os.Rename(path+"~", path)); err != nil {
			t.Fatal(err)
		}
	}
}

// watching runs "run --watch". next waits for one more run, and for the words that it brings; end stops it.
func watching(t *testing.T, args ...string) (out, errs *syncBuffer, next func(b *syncBuffer, words string), end func()) {
	t.Helper()
	t.Setenv("XDG_STATE_HOME", t.TempDir()) // where the evidence goes
	ctx, stop := context.WithCancelCause(context.Background())
	out, errs = &syncBuffer{}, &syncBuffer{}
	code := make(chan int, 1)
	go func() {
		code <- dispatch(ctx, &terminal{out: out, err: errs}, append([]string{"run", "--watch"}, args...))
	}()
	runs := 0
	next = func(b *syncBuffer, words string) {
		t.Helper()
		runs++
		until(t, words, func() bool {
			return strings.Count(out.String(), "Press Ctrl-C to stop.") == runs && strings.Contains(b.String(), words)
		})
		b.mu.Lock()
		b.b.Reset()
		b.mu.Unlock()
		if b == out {
			runs = 0
		}
	}
	return out, errs, next, func() {
		stop(steps.ErrStopped)
		if got := <-code; got != exitPassed {
			t.Errorf("exit code %d:\n%s%s", got, out, errs)
		}
	}
}

// TestRunWatches saves what a run comes of, right and wrong, and looks at what runs.
func TestRunWatches(t *testing.T) {
	defer goleak.VerifyNone(t)
	dir := t.TempDir()
	save := saver(t, dir)
	feature := func(step string) string { return "Feature: Files\n  Scenario: Seen\n    Then " + step + "\n" }
	there := feature(`there is no file "` + filepath.Join(dir, "*.txt") + `"`)
	save("features/web/seen.feature", there)

	out, errs, next, end := watching(t, "--config", filepath.Join(dir, "stepwatch.yml"), filepath.Join(dir, "features/web/seen.feature:2"))
	next(errs, "no such file or directory") // the configuration that was named is not there yet
	save("stepwatch.yml", "name: here\n")
	next(out, "1 scenario: 1 passed")
	save("features/web/seen.feature", feature(`there is no file "`+filepath.Join(dir, "features/web/*.feature")+`"`))
	next(out, "1 scenario: 1 failed")
	save("features/web/seen.feature", "Feature: Files\n  Scenaro: Seen\n")
	next(errs, `"Scenaro:" is not a keyword`)
	save("features/web/seen.feature", feature("nothing is left"))
	next(out, "1 undefined")
	save("features/steps/own.feature", "Feature: Own\n  @step\n  Scenario: nothing is left\n    Then there is no file \"/nothing\"\n")
	next(out, "1 scenario: 1 passed")
	end()
}

// TestRunWatchesWhatTheConfigurationNames holds that nothing is lost sight of while it is wrong or away.
func TestRunWatchesWhatTheConfigurationNames(t *testing.T) {
	defer goleak.VerifyNone(t)
	dir := t.TempDir()
	t.Chdir(dir)
	save := saver(t, dir)
	const sound, broken = "Feature: Files\n  Scenario: Seen\n    Then nothing is left\n", "Feature: Files\n  Scenaro: Seen\n"
	const own = "Feature: Own\n  @step\n  Scenario: nothing is left\n    Then there is no file \"/nothing\"\n"
	const configuration = "features: [features]\nsentences: [shared]\n"
	save("stepwatch.yml", configuration)
	save("features/seen.feature", sound)
	save("shared/own.feature", own)

	out, errs, next, end := watching(t)
	next(out, "1 scenario: 1 passed")
	save("features/seen.feature", broken)
	next(errs, `"Scenaro:" is not a keyword`)
	save("features/seen.feature", sound)
	next(out, "1 scenario: 1 passed")
	save("shared/own.feature", strings.Replace(own, "Scenario", "Scenaro", 1))
	next(errs, `"Scenaro:" is not a keyword`)
	save("shared/own.feature", own)
	next(out, "1 scenario: 1 passed")
	save("stepwatch.yml", "features: [")
	next(errs, "stepwatch.yml:")
	save("stepwatch.yml", configuration)
	next(out, "1 scenario: 1 passed")
	if err := os.Rename("features", "away"); err != nil {
		t.Fatal(err)
	}
	next(errs, "features: no such file or directory")
	if err := os.Rename("away", "features"); err != nil {
		t.Fatal(err)
	}
	next(out, "1 scenario: 1 passed")
	end()

	save("features/.git/seen.feature", broken) // which no run reads
	if err := os.Symlink("features", "link"); err != nil {
		t.Fatal(err)
	}
	save("features/.more.feature", broken)
	for _, dir := range []string{"features", "link"} {
		if seen, _ := (&watched{deep: []string{dir}, flat: []string{dir}}).look(); len(seen) != 1 {
			t.Errorf("%s: %v are watched, want seen.feature alone", dir, seen)
		}
	}
}
