package command

import (
	_ "embed"
	"strings"
	"sync"
)

//go:embed cucumber-nagios.txt
var cucumberNagios string

// plainPattern removes escapes without a meaning from a regular expression of Ruby.
var plainPattern = strings.NewReplacer(`\"`, `"`, `\/`, `/`)

var cucumberNagiosExamples = sync.OnceValue(func() map[string]string {
	examples := make(map[string]string)
	for line := range strings.Lines(cucumberNagios) {
		if pattern, example, found := strings.Cut(strings.TrimSuffix(line, "\n"), "\t"); found && pattern != "-" {
			if pattern = plainPattern.Replace(pattern); examples[pattern] == "" { // only the first needs no --compat
				examples[pattern] = example
			}
		}
	}
	return examples
})

// CucumberNagiosExample returns a step that matches a step definition of cucumber-nagios, cuken or Aruba. pattern is
// the regular expression as written in their Ruby files, of which every project has copies. shipped is false for any
// other.
func CucumberNagiosExample(pattern string) (example string, shipped bool) {
	example, shipped = cucumberNagiosExamples()[plainPattern.Replace(pattern)]
	return example, shipped
}
