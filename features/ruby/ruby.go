// Package ruby finds the step definitions in Ruby files of Cucumber. It does not run or parse Ruby: it finds lines that begin
// a definition or a hook in the usual style.
package ruby

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/stepwatch/stepwatch/steps/regex"
)

// Definition is one step definition, or a hook.
type Definition struct {
	Line    int
	Hook    string // "Before"; empty for a step definition
	Pattern string // regular expression as in the file, or a text; empty for a hook
	Text    bool   // Pattern is a text
}

var (
	step = regex.Lazy(`^\s*(?:Given|When|Then|And|But)\b\s*\(?\s*(?:/((?:\\.|[^/\\])+)/[a-z]*|%r\{(.+)\}[a-z]*|"((?:\\.|[^"\\])*)"|'((?:\\.|[^'\\])*)')\s*\)?\s*(?:do\b|\{)`)
	hook = regex.Lazy(`^\s*(Before|After|Around|AfterStep|BeforeStep|Transform)\b.*(?:do\b|\{)`)
)

// Parse finds the definitions in the text of a file.
func Parse(text string) []Definition {
	var found []Definition
	line := 0
	for l := range strings.Lines(text) {
		line++
		if m := step.FindStringSubmatch(l); m != nil {
			pattern := m[1] + m[2]
			isText := pattern == ""
			found = append(found, Definition{Line: line, Pattern: pattern + m[3] + m[4], Text: isText})
		} else if m := hook.FindStringSubmatch(l); m != nil {
			found = append(found, Definition{Line: line, Hook: m[1]})
		}
	}
	return found
}

// group matches an innermost group of a regular expression, with its repetition.
var group = regex.Lazy(`\((\?:)?((?:\\.|\[[^\]]*\]|[^()\\\[])*)\)([?*+]?)`)

// Sentence returns the pattern as the name of a scenario tagged @step: without anchors, with a placeholder for each group. For
// a complex pattern the result is only a draft.
func (d Definition) Sentence() string {
	if d.Text {
		return d.Pattern
	}
	text := strings.TrimSuffix(strings.TrimPrefix(d.Pattern, "^"), "$")
	used := make(map[string]int)
	text = group.ReplaceAllStringFunc(text, func(whole string) string {
		m := group.FindStringSubmatch(whole)
		first, _, _ := strings.Cut(m[2], "|")
		switch {
		case m[1] != "" && m[3] == "?":
			return "[" + m[2] + "]"
		case m[1] != "":
			return first
		}
		kind, placeholder := "text", "<%s>"
		if strings.Trim(strings.ReplaceAll(m[2], `\d`, ""), "+*") == "" {
			kind, placeholder = "number", "<%s:int>"
		}
		if strings.HasPrefix(m[2], `\w`) {
			kind, placeholder = "word", "<%s:word>"
		}
		if used[kind]++; used[kind] > 1 {
			kind = fmt.Sprintf("%s %d", kind, used[kind])
		}
		return fmt.Sprintf(placeholder, kind)
	})
	return escaped.ReplaceAllString(text, "$1")
}

var escaped = regex.Lazy(`\\([^a-zA-Z0-9])`)

// Beside finds the Ruby files that Cucumber loads with a feature: those in "steps", "step_definitions" and "support" in its
// directory and its parents up to "features".
func Beside(feature string) ([]string, error) {
	var files []string
	for dir := filepath.Dir(feature); ; dir = filepath.Dir(dir) {
		for _, sub := range []string{"steps", "step_definitions", "support"} {
			err := filepath.WalkDir(filepath.Join(dir, sub), func(path string, entry fs.DirEntry, err error) error {
				if err == nil && entry.Type().IsRegular() && strings.HasSuffix(path, ".rb") {
					files = append(files, path)
				}
				return ignoreMissing(err)
			})
			if err != nil {
				return nil, err
			}
		}
		if base := filepath.Base(dir); base == "features" || !slices.Contains(strings.Split(filepath.ToSlash(dir), "/"), "features") {
			return files, nil
		}
	}
}

func ignoreMissing(err error) error {
	if os.IsNotExist(err) {
		return nil
	}
	return err
}
