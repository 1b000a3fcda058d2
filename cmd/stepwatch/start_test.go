package main

import (
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"go/types"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestNothingIsCompiledAtStart holds that no package compiles a regular expression when the program starts, whatever it then
// does: there are more than a hundred, and "stepwatch check" of a page needs none of most subjects.
func TestNothingIsCompiledAtStart(t *testing.T) {
	fset := token.NewFileSet()
	goFiles(t, func(path string, _ *ast.File) {
		if strings.HasPrefix(path, "steps/stepstest/") && path != "steps/stepstest/saslserver.go" {
			return // not in the program, or only its demo
		}
		file, err := parser.ParseFile(fset, filepath.Join("../..", path), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			variables, ok := decl.(*ast.GenDecl)
			if f, is := decl.(*ast.FuncDecl); !ok && (!is || f.Recv != nil || f.Name.Name != "init") {
				continue
			}
			if ok && variables.Tok != token.VAR {
				continue
			}
			ast.Inspect(decl, func(n ast.Node) bool {
				if _, later := n.(*ast.FuncLit); later {
					return false
				}
				if call, is := n.(*ast.CallExpr); is {
					if name := types.ExprString(call.Fun); strings.HasPrefix(name, "regexp.MustCompile") || strings.HasPrefix(name, "regexp.Compile") {
						t.Errorf("%s: this expression is compiled at every start: use regex.Lazy", fset.Position(call.Pos()))
					}
				}
				return true
			})
		}
	})
}

// TestEveryExpressionCompiles compiles what the program compiles on first use, so that no run finds a mistake.
func TestEveryExpressionCompiles(t *testing.T) {
	fset := token.NewFileSet()
	packages := make(map[string][]*ast.File)
	goFiles(t, func(path string, _ *ast.File) {
		file, err := parser.ParseFile(fset, filepath.Join("../..", path), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		folder := filepath.ToSlash(filepath.Dir(path))
		packages[folder] = append(packages[folder], file)
	})
	count := 0
	for folder, files := range packages {
		// The constants of the package are all that is wanted, so what it imports may be missing.
		info := types.Info{Types: make(map[ast.Expr]types.TypeAndValue)}
		_, _ = (&types.Config{Error: func(error) {}, Importer: nil}).Check(folder, fset, files, &info)
		for _, file := range files {
			ast.Inspect(file, func(n ast.Node) bool {
				call, is := n.(*ast.CallExpr)
				if !is || types.ExprString(call.Fun) != "regex.Lazy" {
					return true
				}
				count++
				value := info.Types[call.Args[0]].Value
				if value == nil || value.Kind() != constant.String {
					t.Errorf("%s: the expression is not a constant", fset.Position(call.Pos()))
				} else if _, err := regexp.Compile(constant.StringVal(value)); err != nil {
					t.Errorf("%s: %v", fset.Position(call.Pos()), err)
				}
				return true
			})
		}
	}
	if count < 100 {
		t.Errorf("only %d expressions are known", count)
	}
}
