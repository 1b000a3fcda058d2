package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/stepwatch/stepwatch/"

// importRules says who may not import what, and why. A pattern that ends in "/..." holds for everything below.
var importRules = []struct {
	importer, imported string
	except             []string // files or importing folders that may
	why                string
}{
	{"features", module + "...", nil, "what was written is read without knowing what it means"},
	{"steps/...", module + "agent", nil, "a step knows its World, not who runs it"},
	{"steps/...", module + "agent/alert", nil, "a step reports, and does not judge over time"},
	{"steps/...", module + "agent/config", nil, "a step gets a Target, not a file format"},
	{"steps/...", module + "agent/vault", nil, "a step asks for a secret by name"},
	{"steps/...", module + "exporters", nil, "no step knows an exporter"},
	{"steps/...", module + "steps/stepstest/...", []string{"steps/stepstest"}, "test servers stay out of the sentences"},
	{"steps/...", module + "steps/builtin", nil, "the whole language is the program's; a test links what it needs"},
	{"agent", module + "exporters", nil, "the agent hands results to sinks, whatever they are"},
	{"agent", module + "agent/config", nil, "only cmd knows the file format"},
	{"agent", module + "agent/vault", nil, "only cmd knows where secrets come from"},
	{"agent/result", module + "...", nil, "the contract depends on nobody"},
	{"agent/recent", module + "agent", nil, "counters are those of whoever has them"},
	{"agent/target", module + "steps", nil, "a target is put into what was written, whatever that means"},
	{"agent/target", module + "agent", nil, "a target is put into what was written, whoever runs it"},
	{"agent/latest", module + "agent", nil, "last results are those of whoever has them, not of a schedule"},
	{"agent/latest", module + "steps", nil, "an answer is made of results and states only"},
	{"agent/evidence", module + "steps", nil, "evidence comes from results only"},
	{"agent/history", module + "agent", nil, "the history sees results and alerts only"},
	{"agent/history", module + "steps", nil, "the history sees results and alerts only"},
	{"agent/alert", module + "steps", nil, "rules see results only"},
	{"agent/alert", module + "agent", nil, "rules see results only"},
	{"agent/silence", module + "agent", nil, "it is asked about scenarios, and knows neither runs nor alerts"},
	{"agent/silence", module + "agent/alert", nil, "it is asked about scenarios, and knows neither runs nor alerts"},
	{"agent/silence", module + "agent/config", nil, "it takes rules, not a file format"},
	{"agent/silence", module + "steps", nil, "it is asked about scenarios, and knows neither runs nor alerts"},
	{"agent/apiclient", module + "...", nil, "a client knows addresses, logins and JSON, and no subject"},
	{"agent/state", module + "steps", nil, "states come from results only"},
	{"agent/state", module + "agent", nil, "states come from results only"},
	{"agent/state", module + "features", nil, "a tag that says something about alerts comes as a value"},
	{"exporters", module + "agent", nil, "exporters see results and alerts only"},
	{"exporters", module + "agent/config", nil, "exporters see results and alerts only"},
	{"exporters", module + "steps", nil, "exporters see results and alerts only"},
	{"exporters", module + "features", nil, "exporters see results and alerts only"},
	{"...", module + "cmd/...", nil, "nothing imports cmd"},
	{"...", "os/exec", []string{"steps/program", "steps/browser", "steps/stepstest/stack"}, "a monitor starts no programs but those that its user named"},
	{"...", "github.com/cucumber/godog/...", []string{"agent/cucumber"}, "godog stays in one package, behind an Executor"},
	{"agent/cucumber", module + "agent", nil, "what runs a scenario knows the Run that it is given, not who runs it when"},
	{"...", "github.com/chromedp/...", []string{"steps/browser"}, "the browser's protocol stays in one package"},
	{"...", "github.com/beevik/...", []string{"steps/timeserver"}, "what a time server sends is checked before the library reads it"},
	{"...", "github.com/jackc/...", []string{"steps/query"}, "the protocols of databases stay in one package"},
	{"...", "github.com/go-sql-driver/...", []string{"steps/query"}, "the protocols of databases stay in one package"},
	{"...", "github.com/prometheus/client_golang/...", []string{"exporters"}, "metrics are an exporter's business"},
	{"...", "github.com/prometheus/common/...", []string{"exporters", "steps/exposition"}, "steps read another exporter's page, and write none"},
	{"...", "github.com/prometheus/exporter-toolkit/...", []string{"cmd/httpserver"}, "the web configuration is the HTTP server's business"},
	{"agent/api", module + "agent", nil, "it shows what others keep, and runs nothing"},
	{"agent/api", module + "agent/config", nil, "only cmd knows the file format"},
	{"agent/api", module + "steps", nil, "it shows what others keep, and runs nothing"},
	{"agent/api", module + "exporters", nil, "the API is no exporter"},
	{"...", "github.com/getkin/kin-openapi/...", nil, "only the test of the API's description needs it"},
	{"cmd/httpserver", module + "agent", nil, "the server bounds and guards whatever pages it is given"},
	{"cmd/httpserver", module + "exporters", nil, "the server bounds and guards whatever pages it is given"},
	{"...", "github.com/emersion/...", []string{"steps"}, "mail is the steps' business"},
	{"...", "modernc.org/...", []string{"agent/database"}, "what SQLite needs to survive stays in one package"},
	{"agent/database", module + "agent/...", nil, "a file of tables knows nothing of what is in them"},
	{"...", "testing", []string{"exporters/exporterstest", "steps/stepstest/fixture"}, "tests are in _test.go files"},
}

func matches(pattern, path string) bool {
	if prefix, all := strings.CutSuffix(pattern, "..."); all {
		return strings.HasPrefix(path+"/", prefix)
	}
	return path == pattern
}

// goFiles visits every Go file of the module that is not a test, with its path from the root.
func goFiles(t *testing.T, visit func(path string, file *ast.File)) {
	t.Helper()
	const root = "../.."
	fset := token.NewFileSet()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != root {
			if strings.HasPrefix(d.Name(), ".") {
				return filepath.SkipDir
			}
			if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil {
				return filepath.SkipDir // a module of its own, as a user's is
			}
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(fset, path, nil, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, path)
		visit(filepath.ToSlash(relative), file)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestImportRules(t *testing.T) {
	used := make(map[int]bool)
	goFiles(t, func(path string, file *ast.File) {
		folder := filepath.ToSlash(filepath.Dir(path))
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			for i, rule := range importRules {
				if !matches(rule.importer, folder) || !matches(rule.imported, imported) {
					continue
				}
				allowed := strings.HasPrefix(folder+"/", "cmd/") && rule.importer == "..." && strings.HasPrefix(rule.imported, module)
				for _, except := range rule.except {
					if path == except || folder == except || strings.HasPrefix(folder, except+"/") {
						allowed, used[i] = true, true
					}
				}
				if !allowed {
					t.Errorf("%s imports %s: %s", path, imported, rule.why)
				}
			}
		}
	})
	for i, rule := range importRules {
		if len(rule.except) > 0 && !used[i] {
			t.Errorf("the exceptions %q to %q are not needed", rule.except, rule.why)
		}
	}
}

// writers are the packages that create files by their paths, and why nobody else may follow a link there.
var writers = map[string]string{
	"steps/statedir": "it checks who may change them",
	"steps/scratch":  "a new directory with a random name, for one run",
	"steps/browser":  "a new directory with a random name, in one that steps/statedir has checked",
}

// TestWriters holds that files are created in few places.
func TestWriters(t *testing.T) {
	creates := regexp.MustCompile(`\bos\.(Create|CreateTemp|Link|Mkdir|MkdirAll|MkdirTemp|OpenFile|Rename|Symlink|Truncate|WriteFile)\(`)
	used := make(map[string]bool)
	goFiles(t, func(path string, _ *ast.File) {
		folder := filepath.ToSlash(filepath.Dir(path))
		if strings.HasPrefix(folder, "steps/stepstest") || strings.HasPrefix(folder, "bench") {
			return
		}
		text, err := os.ReadFile(filepath.Join("../..", path))
		if err != nil {
			t.Fatal(err)
		}
		call := creates.Find(text)
		if _, may := writers[folder]; call != nil && !may {
			t.Errorf("%s calls %s): let steps/statedir do it", path, call)
		}
		used[folder] = used[folder] || call != nil
	})
	for folder := range writers {
		if !used[folder] {
			t.Errorf("%s creates no file: take it out of writers", folder)
		}
	}
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	documented := make(map[string]bool)
	goFiles(t, func(path string, file *ast.File) {
		folder := filepath.Dir(path)
		documented[folder] = documented[folder] || file.Doc != nil
	})
	for folder, is := range documented {
		if !is {
			t.Errorf("package %s has no package comment", folder)
		}
	}
}

// TestEveryConnectionEndsWithItsRun holds that each file of the steps that opens a connection also binds it to its context, or
// gives it to the run to close. A read that ignores its deadline would otherwise hold its scenario for ever.
func TestEveryConnectionEndsWithItsRun(t *testing.T) {
	elsewhere := map[string]string{ // where that is done
		"steps/service/database.go": "package query binds the connections of its Dial",
		"steps/lack/network.go":     "it asks the kernel for a route with a UDP socket, which sends nothing and is closed at once",
	}
	for path, text := range sources(t, "steps") {
		opens := strings.Contains(text, "net.Dialer{") || strings.Contains(text, "Dialer.DialContext") || strings.Contains(text, "net.Dial")
		binds := strings.Contains(text, "lifeline.Bind") || strings.Contains(text, "onnections.Hold(") || strings.Contains(text, "onnections().Hold(")
		_, excepted := elsewhere[path]
		switch {
		case opens && !binds && !excepted:
			t.Errorf("%s opens a connection and does not bind it: use World.Dial and lifeline.Bind, or World.Connections", path)
		case excepted && (!opens || binds):
			t.Errorf("%s needs no exception any more", path)
		}
	}
}

// sources returns the text of every Go file below a folder, without tests and test servers, by its path.
func sources(t *testing.T, folder string) map[string]string {
	t.Helper()
	const root = "../.."
	found := make(map[string]string)
	err := filepath.WalkDir(filepath.Join(root, folder), func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && entry.Name() == "stepstest" {
			return fs.SkipDir
		}
		if entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		relative, _ := filepath.Rel(root, path) // both are relative
		found[filepath.ToSlash(relative)] = string(text)
		return err
	})
	if err != nil || len(found) == 0 {
		t.Fatalf("%d files below %s: %v", len(found), folder, err)
	}
	return found
}
