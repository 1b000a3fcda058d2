package cmd

import (
	"cmp"
	"context"
	"fmt"
	"runtime/debug"
)

func init() {
	registerVerb(verb{name: "version", summary: "print the version", place: 70, run: versionVerb})
}

func versionVerb(_ context.Context, t *terminal, _ []string) int {
	fmt.Fprintln(t.out, "stepwatch", version())
	return exitPassed
}

// version returns the version of stepwatch from the build information of this binary.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "(devel)"
	}
	version := info.Main.Version
	if info.Main.Path != module {
		for _, d := range info.Deps {
			if d.Path == module {
				if d.Replace != nil {
					d = d.Replace // its version is empty for a directory
				}
				version = fmt.Sprintf("%s with own steps of %s %s", cmp.Or(d.Version, "(devel)"), info.Main.Path, cmp.Or(version, "(devel)"))
			}
		}
	}
	return cmp.Or(version, "(devel)")
}

const module = "github.com/stepwatch/stepwatch"
