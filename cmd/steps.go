package cmd

import (
	"context"
	"errors"
	"fmt"
	"github.com/stepwatch/stepwatch/steps/builtin"
	"io"
	"os"
	"slices"
	"strings"
	"unicode"

	"github.com/stepwatch/stepwatch/agent/config"
	"github.com/stepwatch/stepwatch/agent/cucumber"
	"github.com/stepwatch/stepwatch/features"
	"github.com/stepwatch/stepwatch/steps"
)

func init() {
	registerVerb(verb{name: "steps", args: "[WORD]", summary: "list the sentences for scenarios", place: 50, run: stepsVerb})
}

// sentence is the entry of a definition in the catalogue.
type sentence struct {
	Area       string         `json:"area"`
	Sentence   string         `json:"sentence"`
	Parameters []string       `json:"parameters,omitempty"` // their kinds, in order
	Table      steps.Presence `json:"table,omitempty"`      // whether one may or must be below the step
	DocString  steps.Presence `json:"doc_string,omitempty"` // same
	Waits      bool           `json:"waits,omitempty"`      // up to the duration after "within"
	Also       []string       `json:"also,omitempty"`
	Does       string         `json:"does"`
	Measures   string         `json:"measures,omitempty"`
	Example    string         `json:"example,omitempty"`
	File       string         `json:"file,omitempty"` // where an operator defined it
	Line       int            `json:"line,omitempty"`
}

func stepsVerb(_ context.Context, t *terminal, args []string) int {
	f := flagSet("steps")
	format := f.String("format", "text", "text, markdown or json")
	configured := f.StringP("config", "c", "", "the configuration (default: stepwatch.yml, if it exists)")
	paths := f.StringArray("features", nil, "a file or directory of features that define your own sentences (default: features of stepwatch.yml, or the directory features)")
	if code, done := parse(t, f, "[WORD]…", args, exitNotRun); done {
		return code
	}
	library, err := catalogue(t, *configured, *paths)
	if err != nil {
		return notRun(t, err)
	}
	var found []sentence
	for _, d := range library.Definitions() {
		s := sentence{d.Area, d.Sentence, d.Parameters(), d.Table, d.DocString, d.Waits, d.Also, d.Does, d.Measures, d.Example, d.File, d.Line}
		if s.mentions(f.Args()) {
			found = append(found, s)
		}
	}
	if len(found) == 0 {
		return notRun(t, fmt.Errorf("no sentence contains %q: \"stepwatch steps\" lists all sentences", strings.Join(f.Args(), " ")))
	}
	switch *format {
	case "text":
		catalogueText(t, found)
	case "markdown":
		catalogueMarkdown(t.out, found)
	case "json":
		if err := indented(t.out, found); err != nil {
			return notRun(t, fmt.Errorf("write the catalogue: %w", err))
		}
	default:
		return notRun(t, fmt.Errorf("--format %q: choose text, markdown or json", *format))
	}
	return exitPassed
}

// catalogue returns the library with the operator's sentences. It reports mistakes in them and still lists everything else.
func catalogue(t *terminal, configured string, paths []string) (*steps.Library, error) {
	c, err := config.Load(configured)
	if err != nil {
		return nil, err
	}
	own, err := cucumber.Load(t.glue...)
	if err != nil {
		return nil, err
	}
	library := builtin.Library().With(own.Definitions()...)
	if len(paths) == 0 {
		paths = c.Features
	}
	if info, err := os.Stat("features"); len(paths) == 0 && err == nil && info.IsDir() {
		paths = []string{"features"}
	}
	if len(paths) == 0 && len(c.Sentences) == 0 {
		return library, nil
	}
	loaded, err := features.Load(append(paths, c.Sentences...), features.Options{})
	library, mistakes := library.Define(loaded.Sentences)
	if problems := (*features.Error)(nil); errors.As(err, &problems) {
		mistakes = append(problems.Problems, mistakes...)
	}
	for _, m := range mistakes {
		fmt.Fprintln(t.err, "stepwatch:", m)
	}
	return library, nil
}

// mentions reports whether the entry contains every word, ignoring case.
func (s sentence) mentions(words []string) bool {
	all := strings.ToLower(strings.Join(append([]string{s.Area, s.Sentence, s.Does, s.Measures, s.Example}, s.Also...), " "))
	for _, w := range words {
		if !strings.Contains(all, strings.ToLower(w)) {
			return false
		}
	}
	return true
}

func catalogueText(t *terminal, found []sentence) {
	p := &pretty{colour: t.colour}
	area := ""
	for _, s := range found {
		if s.Area != area {
			if area != "" {
				fmt.Fprintln(t.out)
			}
			area = s.Area
			fmt.Fprintln(t.out, p.paint(bold, strings.ToUpper(area)))
		}
		fmt.Fprintf(t.out, "\n  %s\n", p.paint(green, s.Sentence))
		fmt.Fprintln(t.out, wrap(s.Does, "      ", 100))
		for _, also := range s.Also {
			fmt.Fprintln(t.out, p.paint(grey, "      Also: "+also))
		}
		if s.Measures != "" {
			fmt.Fprintln(t.out, p.paint(grey, wrap("Measures: "+s.Measures, "      ", 100)))
		}
		if s.Example != "" {
			fmt.Fprintln(t.out, p.paint(grey, "      Example: "+strings.ReplaceAll(s.Example, "\n", "\n      ")))
		}
		if s.File != "" {
			fmt.Fprintln(t.out, p.paint(grey, fmt.Sprintf("      Defined: %s:%d", s.File, s.Line)))
		}
	}
}

// catalogueMarkdown writes the page docs/steps.md.
func catalogueMarkdown(w io.Writer, found []sentence) {
	fmt.Fprint(w, "# The sentences\n\n`stepwatch steps --format markdown` generates this page. "+
		"Matching ignores the keyword (Given, When, Then, And, But, *).\n\n")
	contents(w, found)
	placeholders(w, found)
	area := ""
	for _, s := range found {
		if s.Area != area {
			area = s.Area
			fmt.Fprintf(w, "\n## %s\n", steps.AreaOf(area).Title)
		}
		fmt.Fprintf(w, "\n### %s\n\n%s\n", quotedCode([]string{s.Sentence}), s.Does)
		if len(s.Also) > 0 {
			fmt.Fprintf(w, "\nAlso: %s\n", quotedCode(s.Also))
		}
		if s.Measures != "" {
			fmt.Fprintf(w, "\nMeasures: %s\n", s.Measures)
		}
		if s.Example != "" {
			fmt.Fprintf(w, "\n```gherkin\n%s\n```\n", s.Example)
		}
		if s.File != "" {
			fmt.Fprintf(w, "\nDefined in `%s`, line %d.\n", s.File, s.Line)
		}
	}
}

// contents writes the table of contents: the areas, each with the number of its sentences.
func contents(w io.Writer, found []sentence) {
	count := make(map[string]int)
	var areas []string
	for _, s := range found {
		if count[s.Area]++; count[s.Area] == 1 {
			areas = append(areas, s.Area)
		}
	}
	fmt.Fprint(w, "| Area | Sentences |\n|---|---:|\n")
	for _, area := range areas {
		title := steps.AreaOf(area).Title
		fmt.Fprintf(w, "| [%s](#%s) | %d |\n", strings.ReplaceAll(title, "|", `\|`), anchor(title), count[area])
	}
}

// anchor returns the fragment that GitHub gives to a heading: lower case, hyphens for blanks, no punctuation.
func anchor(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
			return unicode.ToLower(r)
		}
		return -1
	}, heading)
}

// placeholders writes the legend of the placeholders that the sentences contain.
func placeholders(w io.Writer, found []sentence) {
	begun := false
	for _, k := range steps.Kinds() {
		if !slices.ContainsFunc(found, func(s sentence) bool { return slices.Contains(s.Parameters, k.Name) }) {
			continue
		}
		if !begun {
			begun = true
			fmt.Fprint(w, "\n## Placeholders\n\nA sentence contains placeholders in braces. A step has a value in their place.\n\n"+
				"| Placeholder | Meaning | Pattern (RE2) | Example |\n|---|---|---|---|\n")
		}
		pattern, example := "", ""
		if !anyText[k.Pattern] {
			pattern = tableCode(k.Pattern)
		}
		switch {
		case k.Sample != "":
			example = tableCode(k.Quote + k.Sample + k.Quote)
		case k.Quote != "":
			example = tableCode(k.Quote + "…" + k.Quote)
		}
		fmt.Fprintf(w, "| `{%s}` | %s | %s | %s |\n", k.Name, strings.ReplaceAll(k.Means, "|", `\|`), pattern, example)
	}
}

// anyText has the patterns that match nearly any text, which tell a reader nothing.
var anyText = map[string]bool{`.*`: true, `.+`: true, `[^"]+`: true, `[^"]*`: true, "[^`]*": true, `[^/]*`: true, `\S*?`: true}

// tableCode returns text as Markdown code in a cell of a table.
func tableCode(text string) string {
	return strings.ReplaceAll(quotedCode([]string{text}), "|", `\|`)
}

// quotedCode lists texts as Markdown code; some of them hold a backtick.
func quotedCode(texts []string) string {
	quoted := make([]string, len(texts))
	for i, text := range texts {
		quoted[i] = "`" + text + "`"
		if strings.Contains(text, "`") {
			quoted[i] = "`` " + text + " ``"
		}
	}
	return strings.Join(quoted, ", ")
}

// wrap breaks text at blanks so that no line is longer than width, where that is possible.
func wrap(text, indent string, width int) string {
	var b strings.Builder
	column := 0
	for i, word := range strings.Fields(text) {
		switch {
		case i == 0:
			b.WriteString(indent)
			column = len(indent)
		case column+1+len(word) > width:
			b.WriteString("\n" + indent)
			column = len(indent)
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += len(word)
	}
	return b.String()
}
