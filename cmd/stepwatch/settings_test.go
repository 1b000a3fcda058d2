package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stepwatch/stepwatch/steps"
)

// TestEverySettingIsDocumented holds that each setting of a subject says what it means, and stands in the example of
// docs/configuration.md, in its block.
func TestEverySettingIsDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(page), "```yaml\n")
	example, _, _ = strings.Cut(example, "```")
	all := steps.Settings()
	if len(all) < 40 {
		t.Errorf("only %d settings are registered: %v", len(all), all)
	}
	for _, s := range all {
		path := strings.Split(strings.NewReplacer(".NAME", "", "[]", "").Replace(s.Path), ".")
		text := example
		for depth, name := range path[:len(path)-1] {
			indent := strings.Repeat("  ", depth)
			if depth > 0 && path[0] == "hosts" {
				indent += "  " // beneath the host's name
			}
			text = beneath(text, indent, name)
		}
		if name := path[len(path)-1]; !regexp.MustCompile(`\b` + name + `: `).MatchString(text) {
			t.Errorf("docs/configuration.md does not show %s:\n%s", s.Path, text)
		}
		if s.Doc == "" {
			t.Errorf("the setting %s does not say what it means", s.Path)
		}
	}
}

// beneath is the setting of this name with all that stands beneath it.
func beneath(text, indent, name string) string {
	at := regexp.MustCompile(`(?m)^` + indent + `(?:# )?` + name + `:.*\n`).FindStringIndex(text)
	if at == nil {
		return ""
	}
	rest := text[at[1]:]
	if next := regexp.MustCompile(fmt.Sprintf(`(?m)^ {0,%d}[^\s#]`, len(indent))).FindStringIndex(rest); next != nil {
		rest = rest[:next[0]]
	}
	return text[at[0]:at[1]] + rest
}
