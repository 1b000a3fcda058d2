package command_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/stepstest"
)

// TestHalfASecret lets programs print more than is kept, so that half of a password is at the end of what is kept, and one
// whose password goes on in a second line.
func TestHalfASecret(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "plugin")
	for name, script := range map[string]string{
		"cut":       "yes x | head -c 65532; printf 'hunter2!hunter2!'; yes x | head -c 65532 >&2; printf 'hunter2!hunter2!' >&2; exit 2",
		"two lines": `printf 'hunt\ner2!\n'; exit 2`,
		"stderr":    `printf 'hunt\ner2!\n' >&2; exit 2`,
	} {
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		for _, step := range []string{"When I run the plugin %q", "When I run `%s`\nThen the exit status should be 0"} {
			text := "Given the environment variable \"A\" holds the secret \"it\"\n" + fmt.Sprintf(step, path)
			outcome, err := stepstest.Scenario{Target: &steps.Target{}, Secrets: stepstest.Secrets{"it": "hunter2!"}, Dir: dir}.Run(t.Context(), text)
			if err != nil {
				t.Fatal(err)
			}
			var all strings.Builder
			for _, s := range outcome.Steps {
				all.WriteString(s.Told + "\n" + s.Report.Note + "\n")
				for _, e := range s.Report.Evidence {
					all.Write(e.Body)
				}
			}
			if outcome.Err() == nil || !strings.Contains(all.String(), steps.Hidden) {
				t.Errorf("%s, %s: nothing is hidden: %.300s", name, step, all.String())
			}
			if i := strings.Index(all.String(), "hun"); i >= 0 {
				t.Errorf("%s, %s: half of the password is left: …%s…", name, step, all.String()[max(0, i-100):i+10])
			}
		}
	}
}
