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

// TestRunWatches saves what a run comes of as editors do, right and wrong, and looks at what runs.
func TestRunWatches(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir()) // where the evidence goes
	defer goleak.VerifyNone(t)
	dir := t.TempDir()
	save := func(name, content string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path+"~", []byte(content), 0o600), os.Rename(path+"~", path)); err != nil {
			t.Fatal(err)
		}
	}
	feature := func(step string) string { return "Feature: Files\n  Scenario: Seen\n    Then " + step + "\n" }
	there := feature(`there is no file "` + filepath.Join(dir, "*.txt") + `"`)
	save("seen.feature", there)

	ctx, stop := context.WithCancelCause(context.Background())
	defer stop(nil)
	var out, errs syncBuffer
	code := make(chan int, 1)
	go func() {
		code <- dispatch(ctx, &terminal{out: &out, err: &errs}, []string{"run", "--watch", "--config", filepath.Join(dir, "stepwatch.yml"), filepath.Join(dir, "seen.feature:2")})
	}()
	runs := 0
	// next waits for one more run, and for the words that it brings.
	next := func(b *syncBuffer, words string) {
		t.Helper()
		runs++
		until(t, words, func() bool {
			return strings.Count(out.String(), "Ctrl-C ends it.") == runs && strings.Contains(b.String(), words)
		})
		b.mu.Lock()
		b.b.Reset()
		b.mu.Unlock()
		if b == &out {
			runs = 0
		}
	}
	next(&errs, "no such file or directory") // the configuration that was named is not there yet
	save("stepwatch.yml", "name: here\n")
	next(&out, "1 scenario: 1 passed")
	save("seen.feature", feature(`there is no file "`+filepath.Join(dir, "*.feature")+`"`))
	next(&out, "1 scenario: 1 failed")
	save("seen.feature", "Feature: Files\n  Scenaro: Seen\n")
	next(&errs, `"Scenaro:" is no keyword`)
	save("seen.feature", feature("nothing is left"))
	next(&out, "1 undefined")
	save("steps/own.feature", "Feature: Own\n  @step\n  Scenario: nothing is left\n    Then there is no file \"/nothing\"\n")
	next(&out, "1 scenario: 1 passed")
	stop(steps.ErrStopped)
	if got := <-code; got != exitPassed {
		t.Errorf("exit code %d:\n%s%s", got, &out, &errs)
	}
}
