package features

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	gherkin "github.com/cucumber/gherkin/go/v42"
	messages "github.com/cucumber/messages/go/v34"
)

// testData is the Gherkin project's own test data, which lies beside the repository.
func testData(t *testing.T, kind string) []string {
	t.Helper()
	dir := filepath.Join("..", "..", "shared", "gherkin-testdata", kind)
	files, err := filepath.Glob(filepath.Join(dir, "*.feature"))
	if err != nil {
		t.Fatal(err)
	}
	markdown, err := filepath.Glob(filepath.Join(dir, "*.feature.md"))
	if err != nil {
		t.Fatal(err)
	}
	files = append(files, markdown...)
	if len(files) == 0 {
		t.Skipf("the Gherkin project's test data is not in %s", dir)
	}
	return files
}

// refused are the good files of which a part is refused on purpose: Gherkin allows what runs nothing, stepwatch does not.
// The value is what Load must say, without the path.
var refused = map[string]string{
	"empty.feature":                `the file contains no feature: it must begin with "Feature:"`,
	"incomplete_feature_1.feature": `1:1: feature "Just a description" contains no scenario, so nothing of it would run`,
	"incomplete_feature_2.feature": `1:1: feature "Empty feature" contains no scenario, so nothing of it would run`,
	"incomplete_feature_3.feature": `the file contains no feature: it must begin with "Feature:"`,
	"tags.feature.md": `30:4: scenario "comments" has no steps, so it would run nothing: a step is an item of a list, such as "* Given …"
34:4: scenario "hash in tags" has no steps, so it would run nothing: a step is an item of a list, such as "* Given …"
41:5: scenario "joined tags" has no steps, so it would run nothing: a step is an item of a list, such as "* Given …"`,
	"spaces_in_language.feature": `2:1: feature "STUFFING" contains no scenario, so nothing of it would run`,
}

// TestGoodData loads each good file of the Gherkin project and compares it with the pickles listed for it.
func TestGoodData(t *testing.T) {
	for _, path := range testData(t, "good") {
		name := filepath.Base(path)
		t.Run(name, func(t *testing.T) {
			set, err := Load([]string{path}, Options{})
			message := ""
			if err != nil {
				message = strings.ReplaceAll(strings.ReplaceAll(err.Error(), path+": ", ""), path+":", "")
			}
			want := listed(t, path)
			if message != refused[name] {
				t.Errorf("Load says\n%s\nwant\n%s", message, refused[name])
			}
			if _, partly := refused[name]; partly {
				// Load keeps nothing of the file, so what the parser makes of the whole is compared.
				content, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				text := string(content)
				if isMarkdown(path) {
					text, _, _ = fromMarkdown(path, text)
				}
				ast, _, err := parse(text)
				if err != nil {
					t.Fatal(err)
				}
				got := []compiled{}
				for _, p := range pickles(ast, path) {
					got = append(got, ofPickle(p))
				}
				compare(t, got, want)
				return
			}
			got := []compiled{}
			for _, s := range set.Scenarios() {
				got = append(got, ofSource(t, s))
				if steps := ofScenario(s); !reflect.DeepEqual(steps, got[len(got)-1].untyped()) {
					t.Errorf("the scenario is\n%+v\nand its source\n%s", steps, s.Source())
				}
			}
			compare(t, got, want)
		})
	}
}

// TestBadData loads each bad file and expects a problem at each place that the Gherkin project lists, in plain words.
func TestBadData(t *testing.T) {
	// The parser lists each line behind a mistake, too; Load leaves out what is its consequence.
	consequences := map[string][]string{"repeated_step_docstring.feature": {"9:1", "10:1"}}
	for _, path := range testData(t, "bad") {
		name := filepath.Base(path)
		t.Run(name, func(t *testing.T) {
			var want []string
			for _, line := range jsonLines(t, path+".errors.ndjson") {
				var envelope messages.Envelope
				if err := json.Unmarshal(line, &envelope); err != nil {
					t.Fatal(err)
				}
				l := envelope.ParseError.Source.Location
				place := fmt.Sprintf("%d:%d", l.Line, max(1, l.Column))
				if !slices.Contains(consequences[name], place) {
					want = append(want, place)
				}
			}
			set, err := Load([]string{path}, Options{})
			problems, ok := err.(*Error)
			if !ok {
				t.Fatalf("Load gives %v", err)
			}
			if len(set.Features) > 0 {
				t.Errorf("Load gives features of a bad file: %v", set.Features)
			}
			var got []string
			for _, p := range problems.Problems {
				got = append(got, fmt.Sprintf("%d:%d", p.Line, p.Column))
				if p.Path != path || strings.Contains(p.Message, "#") || p.Message == "" {
					t.Errorf("problem %q", p)
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("problems at %v, want %v:\n%v", got, want, err)
			}
		})
	}
}

// TestDialects loads a feature in every language, with every keyword of it.
func TestDialects(t *testing.T) {
	all := dialects()
	if len(all) != 80 {
		t.Errorf("the parser has %d languages, not 80: has the table become another kind?", len(all))
	}
	for _, d := range all {
		t.Run(d.Language, func(t *testing.T) {
			for i, feature := range d.FeatureKeywords() {
				pick := func(keywords []string) string { return keywords[i%len(keywords)] }
				var b strings.Builder
				fmt.Fprintf(&b, "# language: %s\n%s: F\n%s:\n%s0\n", d.Language, feature, pick(d.BackgroundKeywords()), d.Keywords["given"][1])
				names, steps := 0, 0
				for _, k := range slices.Concat(d.ScenarioKeywords(), d.ScenarioOutlineKeywords()) {
					names++
					fmt.Fprintf(&b, "%s: %d\n", k, names)
					for _, k := range d.StepKeywords() {
						fmt.Fprintf(&b, "%s<a>\n", k)
					}
					for _, k := range d.ExamplesKeywords() {
						fmt.Fprintf(&b, "%s:\n|a|\n|1|\n", k)
						steps++
					}
				}
				fmt.Fprintf(&b, "%s: R\n%s: last\n%s<a>\n", pick(d.RuleKeywords()), pick(d.ScenarioKeywords()), pick(d.Keywords["then"]))
				set, err := Load([]string{"f.feature"}, Options{FS: fstest.MapFS{"f.feature": {Data: []byte(b.String())}}})
				if err != nil {
					t.Fatalf("%v\n%s", err, b.String())
				}
				if len(set.Warnings) > 0 {
					t.Errorf("warnings: %v", set.Warnings)
				}
				scenarios := set.Scenarios()
				if len(scenarios) != steps+1 || set.Features[0].Language != d.Language {
					t.Fatalf("%d scenarios in %q, want %d:\n%s", len(scenarios), set.Features[0].Language, steps+1, b.String())
				}
				want := []string{strings.TrimSpace(d.Keywords["given"][1]) + "|0"}
				for _, k := range d.StepKeywords() {
					want = append(want, strings.TrimSpace(k)+"|1")
				}
				var got []string
				for _, s := range scenarios[0].Steps {
					got = append(got, s.Keyword+"|"+s.Text)
				}
				if !slices.Equal(got, want) {
					t.Errorf("steps %q, want %q", got, want)
				}
			}
		})
	}
}

// compiled is a pickle without its ids and places.
type compiled struct {
	Name  string
	Tags  []string
	Steps []compiledStep
}

type compiledStep struct {
	Type, Text, MediaType, Content string
	HasDocString                   bool
	Table                          [][]string
}

// untyped leaves out what a Scenario does not keep.
func (c compiled) untyped() compiled {
	c.Steps = slices.Clone(c.Steps)
	for i := range c.Steps {
		c.Steps[i].Type = ""
	}
	return c
}

func ofPickle(p *messages.Pickle) compiled {
	c := compiled{Name: p.Name}
	for _, t := range p.Tags {
		c.Tags = append(c.Tags, t.Name)
	}
	for _, s := range p.Steps {
		step := compiledStep{Type: string(s.Type), Text: s.Text}
		if s.Argument != nil && s.Argument.DocString != nil {
			step.HasDocString, step.MediaType, step.Content = true, strings.TrimSpace(s.Argument.DocString.MediaType), s.Argument.DocString.Content
		}
		if s.Argument != nil && s.Argument.DataTable != nil {
			for _, row := range s.Argument.DataTable.Rows {
				cells := []string{}
				for _, cell := range row.Cells {
					cells = append(cells, cell.Value)
				}
				step.Table = append(step.Table, cells)
			}
		}
		c.Steps = append(c.Steps, step)
	}
	return c
}

// ofSource compiles a scenario's source as godog does.
func ofSource(t *testing.T, s *Scenario) compiled {
	t.Helper()
	ast, err := gherkin.ParseGherkinDocument(bytes.NewReader(s.Source()), new(messages.Incrementing).NewId)
	if err != nil {
		t.Fatalf("source of %q: %v\n%s", s.Name, err, s.Source())
	}
	all := pickles(ast, s.Path)
	if len(all) != 1 {
		t.Fatalf("source of %q compiles to %d scenarios\n%s", s.Name, len(all), s.Source())
	}
	return ofPickle(all[0])
}

func ofScenario(s *Scenario) compiled {
	c := compiled{Name: s.Name}
	for _, t := range s.Tags {
		c.Tags = append(c.Tags, t.String())
	}
	for _, s := range s.Steps {
		step := compiledStep{Text: s.Text, Table: s.Table}
		if s.DocString != nil {
			step.HasDocString, step.MediaType, step.Content = true, s.DocString.MediaType, s.DocString.Content
		}
		c.Steps = append(c.Steps, step)
	}
	return c
}

// listed reads the pickles that the Gherkin project lists for a file.
func listed(t *testing.T, path string) []compiled {
	t.Helper()
	all := []compiled{}
	for _, line := range jsonLines(t, path+".pickles.ndjson") {
		var envelope messages.Envelope
		if err := json.Unmarshal(line, &envelope); err != nil {
			t.Fatal(err)
		}
		all = append(all, ofPickle(envelope.Pickle))
	}
	return all
}

func jsonLines(t *testing.T, path string) [][]byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var lines [][]byte
	scanner := bufio.NewScanner(bytes.NewReader(content))
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		lines = append(lines, slices.Clone(scanner.Bytes()))
	}
	return lines
}

func compare(t *testing.T, got, want []compiled) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%d scenarios, want %d", len(got), len(want))
	}
	for i := range min(len(got), len(want)) {
		if !reflect.DeepEqual(got[i], want[i]) {
			g, _ := json.MarshalIndent(got[i], "", " ")
			w, _ := json.MarshalIndent(want[i], "", " ")
			t.Errorf("scenario %d is\n%s\nwant\n%s", i, g, w)
		}
	}
}
