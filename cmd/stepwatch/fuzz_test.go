package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// unfuzzed are the packages without a fuzz target, and why they need none. Every other package has one for what it reads of
// the outside: "make fuzz" runs them.
var unfuzzed = map[string]string{
	"agent":                   "it runs plans; what they read is read by steps",
	"agent/alert":             "rules see results only",
	"agent/collector":         "it reads the runtime's own figures",
	"agent/cucumber":          "it passes on what package features has read",
	"agent/cucumber/hidepath": "it changes one variable of the environment",
	"agent/database":          "SQLite reads the file",
	"agent/evidence":          "it writes files, and reads the names of those in its own directory",
	"agent/recent":            "it counts",
	"agent/result":            "the contract",
	"agent/vault":             "a secret is taken as it is, without a format",
	"bench":                   "it measures on loopback",
	"cmd":                     "it wires; requests to the agent are read by net/http",
	"cmd/stepwatch":           "main",
	"cmd/supervisor":          "it reads what its own worker says of a crash, and the kernel's list of processes",
	"exporters/exporterstest": "a test suite",

	"steps/browser":                  "the browser reads pages, and its answers come through the library of its protocol",
	"steps/builtin":                  "it links the rooms",
	"steps/command":                  "output is compared as it is, with regular expressions that take linear time",
	"steps/disk":                     "the kernel's figures",
	"steps/dns":                      "answers are read by steps/dnsclient, records by steps/maildns",
	"steps/fileset":                  "names of files, and what the kernel says of them",
	"steps/host":                     "files and output are read by the packages below it: archive, dump, procfs, systemd, fail2ban",
	"steps/job":                      "steps/jobreport reads the files",
	"steps/lack":                     "the kernel's figures; answers of name servers are read by net",
	"steps/limit":                    "it counts",
	"steps/lifeline":                 "it binds a connection and reads nothing",
	"steps/lookup":                   "steps/dnsclient reads the answers",
	"steps/mailhost":                 "steps/maillog and steps/mailqueue read for it",
	"steps/mailserver":               "steps/maillog and steps/mailqueue read for it",
	"steps/overlap":                  "it compares sentences of the program",
	"steps/quoted":                   "FuzzQuotes of steps covers it",
	"steps/regex":                    "it compiles what an operator wrote",
	"steps/scratch":                  "the files of a scenario itself",
	"steps/service":                  "steps/amqp, query, jsonpath and exposition read for it",
	"steps/statedir":                 "it reads files as they are, without a format",
	"steps/stepstest":                "servers for tests",
	"steps/stepstest/disguise":       "for tests",
	"steps/stepstest/fixture":        "for tests",
	"steps/stepstest/mutation":       "it fuzzes",
	"steps/stepstest/nameserver":     "a server for tests",
	"steps/stepstest/stack":          "servers for tests",
	"steps/stepstest/stack/stackctl": "servers for tests",
	"steps/suggest":                  "it compares sentences; what an operator wrote is read by package features",
}

// TestFuzzed checks that every package has a fuzz target or is in unfuzzed.
func TestFuzzed(t *testing.T) {
	packages := make(map[string]bool)
	goFiles(t, func(path string, _ *ast.File) { packages[filepath.ToSlash(filepath.Dir(path))] = true })
	for _, folder := range slices.Sorted(maps.Keys(packages)) {
		why, none := unfuzzed[folder]
		switch targets := fuzzTargets(t, folder); {
		case len(targets) == 0 && !none:
			t.Errorf("%s has no fuzz target: add one for what it reads of the outside, or say in unfuzzed why it reads nothing", folder)
		case len(targets) > 0 && none:
			t.Errorf("%s has the fuzz targets %q: take it out of unfuzzed", folder, targets)
		case none && why == "":
			t.Errorf("unfuzzed does not say why %s has no fuzz target", folder)
		}
	}
	for _, folder := range slices.Sorted(maps.Keys(unfuzzed)) {
		if !packages[folder] {
			t.Errorf("there is no package %s: take it out of unfuzzed", folder)
		}
	}
}

// fuzzTargets returns the names of the fuzz targets of a package.
func fuzzTargets(t *testing.T, folder string) (all []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("../..", folder, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			if f, is := d.(*ast.FuncDecl); is && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Fuzz") {
				all = append(all, f.Name.Name)
			}
		}
	}
	return all
}
