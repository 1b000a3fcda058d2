package main

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"

	_ "github.com/stepwatch/stepwatch/steps/builtin"
	"github.com/stepwatch/stepwatch/steps/limit"
)

var updateLimits = flag.Bool("update-limits", false, "write the table of docs/limits.md")

// The table of docs/limits.md is between these lines.
const (
	limitsBegin = "<!-- The table is written by: make docs -->\n"
	limitsEnd   = "<!-- end of the table -->\n"
)

// TestLimitsTable holds the table of docs/limits.md to the limits that the packages define.
func TestLimitsTable(t *testing.T) {
	const path = "../../docs/limits.md"
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, found := strings.Cut(string(content), limitsBegin)
	table, foot, ended := strings.Cut(rest, limitsEnd)
	if !found || !ended {
		t.Fatalf("%s has no lines %q and %q around its table", path, limitsBegin, limitsEnd)
	}
	want := limitsTable()
	if *updateLimits {
		if err := os.WriteFile(path, []byte(head+limitsBegin+want+limitsEnd+foot), 0o644); err != nil { //nolint:gosec // a document
			t.Fatal(err)
		}
		return
	}
	if table != want {
		t.Errorf("%s: the table differs from what the packages define: run make docs, and read the difference", path)
	}
}

func limitsTable() string {
	var table strings.Builder
	table.WriteString("| of | limit | default | setting | what the failure says |\n|---|---|---|---|---|\n")
	for _, l := range limit.All() {
		setting := "none"
		if l.Setting != "" {
			setting = "`" + l.Setting + "`"
		}
		fmt.Fprintf(&table, "| %s | %s of %s | %d | %s | `%s` |\n", l.Subject, l.Unit, l.What, l.Most, setting, l.Exceeded())
	}
	return table.String()
}

// TestEveryLimitIsHeld demands that a test of the package that defines a limit mentions it: the one that shows what happens
// when it is met.
func TestEveryLimitIsHeld(t *testing.T) {
	found := 0
	for _, folder := range []string{"steps", "agent"} {
		for path, text := range sources(t, folder) {
			file, err := parser.ParseFile(token.NewFileSet(), path, text, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, decl := range file.Decls {
				group, ok := decl.(*ast.GenDecl)
				if !ok || group.Tok != token.VAR {
					continue
				}
				for _, spec := range group.Specs {
					value := spec.(*ast.ValueSpec)
					for i, v := range value.Values {
						if call, ok := v.(*ast.CallExpr); !ok || i >= len(value.Names) || !isDefine(call.Fun) {
							continue
						}
						found++
						if !testsMention(t, filepath.Dir(path), value.Names[i].Name) {
							t.Errorf("%s: no test of the package mentions %s: show what happens when this limit is met", path, value.Names[i].Name)
						}
					}
				}
			}
		}
	}
	if all := len(limit.All()); found != all {
		t.Errorf("%d limits are package variables, %d are defined", found, all)
	}
}

// isDefine reports whether a call is that of limit.Define, from outside or inside its package.
func isDefine(called ast.Expr) bool {
	if name, ok := called.(*ast.Ident); ok {
		return name.Name == "Define"
	}
	selected, ok := called.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	of, ok := selected.X.(*ast.Ident)
	return ok && of.Name == "limit" && selected.Sel.Name == "Define"
}

func testsMention(t *testing.T, folder, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("../..", folder, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(content), name) {
			return true
		}
	}
	return false
}
