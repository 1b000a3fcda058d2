package features

import (
	"flag"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

var update = flag.Bool("update", false, "write the messages in testdata/mistakes.txtar anew")

// said gives everything that Load says of one file: problems first, then the mistakes of single scenarios, then warnings.
func said(name, content string) string {
	set, err := Load([]string{name}, Options{FS: fstest.MapFS{name: {Data: []byte(content)}}})
	var b strings.Builder
	if err != nil {
		b.WriteString(err.Error() + "\n")
	}
	for _, f := range slices.Concat(set.Features, set.Broken) {
		for _, s := range f.Scenarios {
			for _, m := range s.Mistakes {
				b.WriteString("alone: " + m.Error() + "\n")
			}
		}
	}
	for _, w := range set.Warnings {
		b.WriteString("warning: " + w.Error() + "\n")
	}
	return b.String()
}

func TestMistakes(t *testing.T) {
	const golden = "testdata/mistakes.txtar"
	archive, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	// A section begins with "-- name --"; each file is followed by what is said of it.
	sections := strings.Split(string(archive), "\n-- ")
	for i := 1; i+1 < len(sections); i += 2 {
		name, file, _ := strings.Cut(sections[i]+"\n", " --\n")
		of, want, _ := strings.Cut(sections[i+1]+"\n", " --\n")
		if of+".feature" != name {
			t.Fatalf("%s: %q is not followed by its messages", golden, name)
		}
		got := said("x.feature", file)
		if *update {
			sections[i+1] = strings.TrimSuffix(of+" --\n"+got, "\n")
		} else if strings.TrimSuffix(got, "\n") != strings.TrimRight(want, "\n") {
			t.Errorf("%s:\n%s\ngot:\n%s\nwant:\n%s", of, file, got, want)
		}
	}
	if *update {
		if err := os.WriteFile(golden, []byte(strings.Join(sections, "\n-- ")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
