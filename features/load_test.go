package features

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"
)

// files makes a file system of texts.
func files(texts map[string]string) fstest.MapFS {
	m := fstest.MapFS{}
	for name, text := range texts {
		m[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return m
}

// load loads one text that has no problems.
func load(t *testing.T, text string) *Set {
	t.Helper()
	set, err := Load([]string{"x.feature"}, Options{FS: files(map[string]string{"x.feature": text})})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestLoad(t *testing.T) {
	set := load(t, `# language: de
@mail @every:1m
Funktionalität: Post
  Erste Zeile,
    zweite Zeile.

  Grundlage:
    Angenommen the accounts "alice"

  @timeout:90s @crit:20s
  Regel: Annahme
    Grundlage:
      Und the port 587

    @retries:2
    Szenariogrundriss: Senden an <wen>
      Wenn I send to <wen>:
        """json
        {"an": "<wen>"}
        """
      Und I send to <wen>:
        | an    | als   |
        | <wen> | Kopie |
      * it is accepted

      @warn:5s @owner:web
      Beispiele:
        | wen | anders |
        | bob | 1      |
`)
	bob := []Step{
		{Keyword: "Angenommen", Text: `the accounts "alice"`, Label: `the accounts "alice"`, Path: "x.feature", Type: "Context", Line: 8, Column: 5},
		{Keyword: "Und", Text: "the port 587", Label: "the port 587", Path: "x.feature", Type: "Context", Line: 13, Column: 7},
		{Keyword: "Wenn", Text: "I send to bob:", Values: [][2]int{{10, 13}}, Label: "I send to <wen>:", Path: "x.feature", Type: "Action", Line: 17, Column: 7, DocString: &DocString{MediaType: "json", Content: `{"an": "bob"}`}},
		{Keyword: "Und", Text: "I send to bob:", Values: [][2]int{{10, 13}}, Label: "I send to <wen>: (2)", Path: "x.feature", Type: "Action", Line: 21, Column: 7, Table: [][]string{{"an", "als"}, {"bob", "Kopie"}}},
		{Keyword: "*", Text: "it is accepted", Label: "it is accepted", Path: "x.feature", Type: "Unknown", Line: 24, Column: 7},
	}
	want := &Set{Features: []*Feature{{
		Path: "x.feature", Name: "Post", Description: "Erste Zeile,\nzweite Zeile.", Language: "de", Line: 3,
		Tags: []Tag{{"mail", "", 2}, {"every", "1m", 2}},
		Scenarios: []*Scenario{{
			Path: "x.feature", Line: 29, Feature: "Post", Rule: "Annahme", Name: "Senden an bob", Title: "Senden an <wen>", Label: "Senden an <wen>", Example: "wen=bob, anders=1",
			Tags: []Tag{{"mail", "", 2}, {"every", "1m", 2}, {"timeout", "90s", 10}, {"crit", "20s", 10}, {"retries", "2", 15}, {"warn", "5s", 26}, {"owner", "web", 26}},
			Policy: Policy{Every: time.Minute, Timeout: 90 * time.Second, Retries: 2, Warn: 5 * time.Second, Crit: 20 * time.Second,
				Owner: "web"},
			Steps: bob,
		}},
	}}, Warnings: []Problem{{"x.feature", 28, 17, "nothing uses the column \"anders\": write <anders> where its values belong, or remove it", RuleUnused}}}
	if !reflect.DeepEqual(set, want) {
		t.Errorf("Load gives\n%+v\nwant\n%+v", *set.Features[0].Scenarios[0], *want.Features[0].Scenarios[0])
	}
	const source = `@mail @every:1m @timeout:90s @crit:20s @retries:2 @warn:5s @owner:web
Feature: Post
Scenario: Senden an bob
Given the accounts "alice"
Given the port 587
When I send to bob:
"""json
{"an": "bob"}
"""
When I send to bob:
|an|als|
|bob|Kopie|
* it is accepted
`
	if got := set.Features[0].Scenarios[0].Source(); string(got) != source {
		t.Errorf("source\n%s\nwant\n%s", got, source)
	}
}

func TestPolicy(t *testing.T) {
	for tags, want := range map[string]Policy{
		"":                                    {Retries: -1},
		"@slow @jira":                         {Retries: -1},
		"@every:1m30s":                        {Retries: -1, Every: 90 * time.Second},
		"@every:250ms @timeout:1.5s":          {Retries: -1, Every: 250 * time.Millisecond, Timeout: 1500 * time.Millisecond},
		"@every:1d":                           {Retries: -1, Every: 24 * time.Hour},
		"@every:2d12h":                        {Retries: -1, Every: 60 * time.Hour},
		"@retries:0":                          {},
		"@parallel:8":                         {Retries: -1, Parallel: 8},
		"@warn:5s @crit:5s":                   {Retries: -1, Warn: 5 * time.Second, Crit: 5 * time.Second},
		"@browser @manual":                    {Retries: -1, Browser: true, Manual: true},
		"@severity:page:now @location:eu":     {Retries: -1, Severity: "page:now", Location: "eu"},
		"@owner:web\n  @owner:mail @every:2m": {Retries: -1, Owner: "mail", Every: 2 * time.Minute},
	} {
		if got := load(t, tags+"\nFeature: F\n Scenario: a\n  Given b\n").Scenarios()[0].Policy; got != want {
			t.Errorf("%q is %+v, want %+v", tags, got, want)
		}
	}
	inherited := load(t, "@every:1m @owner:web\nFeature: F\n @every:2m @manual\n Scenario: a\n  Given b\n Scenario: c\n  Given d\n").Scenarios()
	if got, want := inherited[0].Policy, (Policy{Retries: -1, Every: 2 * time.Minute, Owner: "web", Manual: true}); got != want {
		t.Errorf("the scenario's own tags give %+v, want %+v", got, want)
	}
	if got, want := inherited[1].Policy, (Policy{Retries: -1, Every: time.Minute, Owner: "web"}); got != want {
		t.Errorf("the feature's tags give %+v, want %+v", got, want)
	}
}

const selectable = `# comment

@feature
Feature: F
  Words.

  Background:
    Given a

  # comment
  @first
  Scenario: first
    Words.
    Given b
      """
      c

      """
    # comment
    Then d

  Scenario Outline: outline
    Given <e>
      | f |

    @these
    Examples: these
      Words.
      | e |
      | 1 |

    Examples: those
      | e |
      | 2 |
      # comment
      | 3 |

  @rule
  Rule: R
    Words.

    Background:
      Given g

    Scenario: ruled
      Given h

  Rule: S
    Scenario: last
      Given i
`

func TestSelection(t *testing.T) {
	all := "first 1 2 3 ruled last"
	outline := "1 2 3"
	// By line, from 1.
	want := []string{1: "", "", all, all, all, all, all, all, "", "",
		"first", "first", "first", "first", "first", "first", "first", "first", "first", "first", "",
		outline, outline, outline, "", "1", "1", "1", "1", "1", "",
		"2 3", "2 3", "2", "", "3", "",
		"ruled", "ruled", "ruled", "ruled", "ruled", "ruled", "", "ruled", "ruled", "", "last", "last", "last", "", ""}
	if lines := strings.Count(selectable, "\n"); len(want) != lines+3 {
		t.Fatalf("%d expectations for %d lines and one behind them", len(want)-1, lines)
	}
	system := files(map[string]string{"x.feature": selectable})
	names := func(set *Set) string {
		var all []string
		for _, s := range set.Scenarios() {
			if s.Example != "" {
				all = append(all, strings.TrimPrefix(s.Example, "e="))
			} else {
				all = append(all, s.Name)
			}
		}
		return strings.Join(all, " ")
	}
	for line, want := range want {
		if line == 0 {
			continue
		}
		set, err := Load([]string{fmt.Sprintf("x.feature:%d", line)}, Options{FS: system})
		if got := names(set); got != want {
			t.Errorf("line %d selects %q, want %q", line, got, want)
		}
		message := ""
		if want == "" {
			message = fmt.Sprintf("x.feature:%d:1: line %d has no scenario, step, row, rule or feature: scenarios begin at lines 12, 22, 45, 49", line, line)
		}
		if got := fmt.Sprint(err); got != message && !(err == nil && message == "") {
			t.Errorf("line %d: %s, want %q", line, got, message)
		}
	}
	for _, c := range []struct {
		paths []string
		tags  string
		want  string
	}{
		{[]string{"x.feature:36", "x.feature:34", "./x.feature:12"}, "", "first 2 3"},
		{[]string{"x.feature:36", "x.feature"}, "", all},
		{[]string{".", "x.feature:36"}, "", all},
		{[]string{"x.feature"}, "@these or @rule", "1 ruled"},
		{[]string{"x.feature"}, "@feature and not (@these or @rule)", "first 2 3 last"},
		{[]string{"x.feature:22"}, "@these", "1"},
	} {
		set, err := Load(c.paths, Options{FS: system, Tags: c.tags})
		if got := names(set); err != nil || got != c.want {
			t.Errorf("%q %q selects %q (%v), want %q", c.paths, c.tags, got, err, c.want)
		}
	}
}

func TestTagExpressions(t *testing.T) {
	system := files(map[string]string{"x.feature": "@every:1m @a(b)\nFeature: F\n Scenario: a\n  Given b\n"})
	for expression, want := range map[string]string{
		"":                      "",
		" ":                     "",
		"@every:1m":             "",
		"not @every:2m":         "",
		`@a\(b\) and @every:1m`: "",
		"(@x or (@every:1m))":   "",
		"@every:2m":             `no scenario has tags that match "@every:2m"`,
		"@every":                `no scenario has tags that match "@every"`,
		"smoke":                 `tag expression "smoke": "smoke" is neither a tag (@name) nor "and", "or" or "not"`,
		"@a AND @b":             `tag expression "@a AND @b": "AND" is neither a tag (@name) nor "and", "or" or "not"`,
		"~@a":                   `tag expression "~@a": "~@a" is neither a tag (@name) nor "and", "or" or "not"`,
		"@a && @b":              `tag expression "@a && @b": "&&" is neither a tag (@name) nor "and", "or" or "not"`,
		"@a @b":                 `tag expression "@a @b": "and" or "or" is missing between two tags`,
		"@a and":                `tag expression "@a and": it ends where a tag is expected`,
		"not":                   `tag expression "not": it ends where a tag is expected`,
		"or @a":                 `tag expression "or @a": a tag is missing where one is expected`,
		"()":                    `tag expression "()": a tag is missing where one is expected`,
		"(@a":                   `tag expression "(@a": a "(" is never closed`,
		"@a)":                   `tag expression "@a)": a ")" has no "(" before it`,
		`@a\b`:                  `tag expression "@a\\b": a backslash is only allowed before a blank, a parenthesis or another backslash`,
	} {
		_, err := Load([]string{"x.feature"}, Options{FS: system, Tags: expression})
		if got := fmt.Sprint(err); got != want && !(err == nil && want == "") {
			t.Errorf("%q: %s, want %q", expression, got, want)
		}
	}
}

func TestLabels(t *testing.T) {
	set, err := Load([]string{"."}, Options{FS: files(map[string]string{
		"a.feature": "Feature: Same\n Scenario: x\n  Given a\n  Given a\n  Given a (2)\n  Given a\n",
		"b.feature": `Feature: Same
 Scenario: x
  Given a
 Scenario: x <n>
  Given a
  Examples:
   |n|
   |1|
   |1|
 Scenario: x <n>
  Given a
  Examples:
   |n|
   |1|
   |2|
 Rule: One
  Scenario: x
   Given a
  Scenario: only <n>
   Given a
   Examples:
    |n|
    |1|
    |1|
 Rule: Two
  Scenario: x
   Given a
`,
		"c.feature": "Feature: Same (a.feature)\n Scenario: x\n  Given a\n",
		"d.feature": "Feature:\n Scenario:\n  Given a\n",
		"e.feature": "Feature: Own\n Scenario: x\n  Given a\n",
	})})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	seen := map[string]bool{}
	for _, s := range set.Scenarios() {
		id := strings.Join([]string{s.Feature, s.Label, s.Example}, " | ")
		if seen[id] {
			t.Errorf("%q is there twice", id)
		}
		seen[id] = true
		got = append(got, id)
	}
	want := []string{
		"Same (a.feature) (a.feature) | x | ",
		"Same (b.feature) | x | ",
		"Same (b.feature) | x <n> | n=1",
		"Same (b.feature) | x <n> | n=1 (2)",
		"Same (b.feature) | x <n> (2) | n=1",
		"Same (b.feature) | x <n> (2) | n=2",
		"Same (b.feature) | x (One) | ",
		"Same (b.feature) | only <n> | n=1",
		"Same (b.feature) | only <n> | n=1 (2)",
		"Same (b.feature) | x (Two) | ",
		"Same (a.feature) (c.feature) | x | ",
		"d.feature | (no name) | ",
		"Own | x | ",
	}
	if !slices.Equal(got, want) {
		t.Errorf("labels\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	var steps []string
	for _, s := range set.Features[0].Scenarios[0].Steps {
		steps = append(steps, s.Label)
	}
	if want := []string{"a", "a (2)", "a (2) (2)", "a (3)"}; !slices.Equal(steps, want) {
		t.Errorf("labels of steps %q, want %q", steps, want)
	}
	// A selection changes no label.
	selected, err := Load([]string{"a.feature", "b.feature:10", "c.feature"}, Options{FS: files(map[string]string{
		"a.feature": "Feature: Same\n Scenario: x\n  Given a\n", "b.feature": "Feature: Same\n Scenario: x\n  Given a\n Scenario: y\n  Given a\n\n\n Rule: R\n  Scenario: x\n   Given a\n",
		"c.feature": "Feature: C\n Scenario: x\n  Given a\n",
	})})
	if err != nil {
		t.Fatal(err)
	}
	if s := selected.Scenarios()[1]; s.Feature != "Same (b.feature)" || s.Label != "x (R)" {
		t.Errorf("the selected scenario is %q | %q", s.Feature, s.Label)
	}
}

// TestSource holds that what Gherkin cannot write in its place comes back all the same.
func TestSource(t *testing.T) {
	outline := func(cell string) string {
		return "Feature: F\n Scenario: <x>\n  Given <x>\n   \"\"\"<x>\n   <x>\n   \"\"\"\n  When <x> and <x>\n   | <x> | y<x> |\n Examples:\n  |x|\n  |" + cell + "|\n"
	}
	for _, text := range []string{
		outline(`a\nb`), outline(`\n`), outline(``), outline(`\n a \n`), outline(`\\`), outline(`\|`), outline(`\\n`), outline("\r"),
		outline(`"""`), outline(`\\"\\"\\"`), outline("```"), outline("\\\\`\\\\`\\\\`"), outline(`""""\\"\\"\\"""`), outline(`\n"""\n`),
		outline(`break>`), outline(`<break>\n`), outline(`<nothing>1>2>`), outline(`<x>`), outline(`# a`), outline(`@a`), outline(`Scenario: a`),
		outline(`\n  \| b \|\n`), outline("\u00a0"), outline(`a\n\nb\n`),
		"Feature: F\n Scenario: a <x> b\n  Given <x> c\n  Given c <x>\n  | <x> c | c <x> |\n Examples:\n |x|y|\n || |\n",
		"Feature: \t F \t\n Scenario: \t a\r\r\n  Given \t b\r\r\n  Then  \n",
		"Feature: F\n Scenario: a\n  Given b\n  ||\n  Given c\n  |\n  Given d\n  | \\\\n | \\\\ | \\a | \\| |\n",
		"Feature: F\n Scenario: a\n  Given b\n    \"\"\" type \n      c\n   d\n\te\n\n    \\\"\\\"\\\"\n    ```\n    \"\"\"\n  Given b\n  ```\n  \\\"\\\"\\\"\n  \"\"\"\n  \\`\\`\\`\n  ```\n",
		"Feature: F\n @a#b @c @# @d:\n Scenario: a\n  Given Given b\n  * When c\n  And * d\n",
	} {
		for _, s := range load(t, text).Scenarios() {
			source, scenario := ofSource(t, s), ofScenario(s)
			if got := source.untyped(); !reflect.DeepEqual(got, scenario) {
				t.Errorf("%q compiles to\n%+v\nand its source\n%q to\n%+v", text, scenario, s.Source(), got)
			}
		}
	}
}

// TestUnreadable has what the archive of mistakes cannot hold.
func TestUnreadable(t *testing.T) {
	const good = "Feature: F\n Scenario: a\n  Given b\n"
	long := strings.Repeat("x", maxLine)
	rows := strings.Repeat("|"+strings.Repeat("x", 50)+"|\n", 4000)
	nested := "Feature: F\n Scenario: a\n  Given <c0>\n Examples:\n |"
	var cells strings.Builder
	for i := range 60 {
		nested += fmt.Sprintf("c%d|", i)
		fmt.Fprintf(&cells, "<c%d><c%d>|", i+1, i+1)
	}
	for text, want := range map[string]string{
		"\ufeff" + good:                        "",
		strings.ReplaceAll(good, "\n", "\r\n"): "",
		"\xff\xfeF\x00e\x00":                   "x.feature:1:1: the file is UTF-16: save it as UTF-8\n",
		"F\x00e\x00":                           "x.feature:1:2: the file contains a zero byte: it is not a text file or is UTF-16; save it as UTF-8\n",
		good + "  Given caf\xe9 au":            "x.feature:4:12: the byte 0xe9 is not valid UTF-8: save the file as UTF-8\n",
		good + "# " + long:                     "x.feature:4:1: the line is longer than 60000 bytes: split it\n",
		"Feature: F\n Scenario: a\n  Given <b><b>\n Examples:\n |b|\n |" + long[:40000] + "|\n":                    "alone: x.feature:6:1: scenario \"a\" has a line of more than 60000 bytes after its placeholders are filled in\n",
		"Feature: F\n Scenario: a\n" + strings.Repeat("  Given <b><b><b><b>\n", 100) + " Examples:\n |b|\n" + rows: "x.feature:1:1: feature \"F\" compiles to more than 64 MiB of steps: split it or use fewer rows\n",
		nested + "\n |" + cells.String() + "\n":                                                                    "x.feature:1:1: feature \"F\" compiles to more than 64 MiB of steps: split it or use fewer rows\n",
		strings.Repeat("@a\n", 99) + good:                                                                          "",
		strings.Repeat("@a\n# comment\n\n", 101) + good:                                                            "x.feature:301:1: more than 100 consecutive lines of tags: write several tags on one line\n",
		good + "  \"\"\"\n" + strings.Repeat("@a\n", 1000) + "  \"\"\"\n":                                          "",
		good + "  \"\"\"\n" + strings.Repeat("a\n", maxDocLines) + "  \"\"\"\n":                                    "",
		good + "  \"\"\"\n" + strings.Repeat("a\n", maxDocLines+1) + "  \"\"\"\n":                                  "x.feature:4:1: the doc string has more than 2000 lines: shorten it or put the text into a file\n",
		good + strings.Repeat("#"+long[:1000]+"\n", 1046):                                                          "",
		good + strings.Repeat("#"+long[:1000]+"\n", 1047):                                                          "x.feature: cannot be read: it is larger than 1 MiB: split it into several features\n",
	} {
		start := time.Now()
		if got := said("x.feature", text); got != want {
			t.Errorf("%.100q: %s, want %s", text, got, want)
		}
		if d := time.Since(start); d > 30*time.Second {
			t.Errorf("%.100q takes %s", text, d)
		}
	}
}

func TestPaths(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return name
	}
	feature := func(name string) string { return "Feature: " + name + "\n Scenario: a\n  Given b\n" }
	write("set/b.feature", feature("b"))
	write("set/a/z.feature", feature("z"))
	write("set/a/notes.txt", "not a feature")
	write("set/.hidden/h.feature", feature("h"))
	write("set/a/.z.feature", "an editor's")
	write("set/x.feature:3", feature("colon"))
	write("none/notes.txt", "not a feature")
	for name, target := range map[string]string{"link": "set", "set/l.feature": "b.feature", "set/dangling.feature": "nowhere", "set/.#b.feature": "ann@host.12"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe.feature"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	for _, c := range []struct {
		paths []string
		want  []string
		err   string
	}{
		{[]string{"set/b.feature"}, []string{"set/b.feature"}, ""},
		{[]string{"set/b.feature:2", "set//b.feature"}, []string{"set/b.feature"}, ""},
		{[]string{"set/a", "set/b.feature"}, []string{"set/a/z.feature", "set/b.feature"}, ""},
		{[]string{"set/x.feature:3"}, []string{"set/x.feature:3"}, ""},
		{[]string{"set/x.feature:3:2"}, []string{"set/x.feature:3"}, ""},
		{[]string{"set/b.feature:2:5"}, nil, "set/b.feature:2:5: only a line can be selected: write set/b.feature:2"},
		{[]string{"set/a/.z.feature"}, nil, `set/a/.z.feature:1:1: "an editor's" comes before the feature: the file must begin with "Feature:", only tags and comments may come before it`},
		{[]string{"set/.hidden"}, []string{"set/.hidden/h.feature"}, ""},
		{[]string{"link"}, []string{"link/a/z.feature", "link/b.feature", "link/l.feature"}, "link/dangling.feature: no such file or directory"},
		{nil, nil, "no feature file or directory is given"},
		{[]string{"none"}, nil, "none: the directory contains no .feature file"},
		{[]string{"set/a:3"}, nil, "set/a: a line can be selected only in a file, but this is a directory"},
		{[]string{"nowhere", "nowhere:3", "set/b.feature:0", "set/b.feature:x"}, nil, `nowhere: no such file or directory
nowhere:3: no such file or directory
set/b.feature:0: no such file or directory
set/b.feature:x: no such file or directory`},
		{[]string{"pipe.feature"}, nil, "pipe.feature: cannot be read: it is not a regular file"},
		{[]string{"set/b.feature:9", "none/notes.txt", "set/a"}, []string{"set/a/z.feature"}, `none/notes.txt:1:1: "not a feature" comes before the feature: the file must begin with "Feature:", only tags and comments may come before it
set/b.feature:9:1: line 9 has no scenario, step, row, rule or feature: the scenario begins at line 2`},
	} {
		set, err := Load(c.paths, Options{})
		var got []string
		for _, f := range set.Features {
			got = append(got, f.Path)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%q loads %q, want %q", c.paths, got, c.want)
		}
		if got := fmt.Sprint(err); got != c.err && !(err == nil && c.err == "") {
			t.Errorf("%q: %s, want %q", c.paths, got, c.err)
		}
		if problems := (*Error)(nil); err != nil && (!errors.As(err, &problems) || len(problems.Unwrap()) == 0) {
			t.Errorf("%q: %T is no *Error with problems", c.paths, err)
		}
	}
}

func TestShipped(t *testing.T) {
	set, err := Load([]string{"."}, Options{FS: Shipped})
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range set.Warnings {
		t.Error(w)
	}
	for _, f := range set.Features {
		if !fs.ValidPath(f.Path) || strings.HasPrefix(f.Path, "testdata") {
			t.Errorf("%s is shipped", f.Path)
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	b.ReportAllocs()
	system := files(map[string]string{"x.feature": "Feature: F\n Scenario: a\n  When I go to \"http://127.0.0.1/\"\n  Then I should see \"b\"\n"})
	for b.Loop() {
		if _, err := Load([]string{"x.feature"}, Options{FS: system}); err != nil {
			b.Fatal(err)
		}
	}
}

// Texts that are the same get numbers in one step each: 40,000 of them took minutes.
func TestUniqueIsLinear(t *testing.T) {
	u := unique{"b (2)": 1}
	for i := range 40_000 {
		want := "a"
		if i > 0 {
			want = fmt.Sprintf("a (%d)", i+1)
		}
		if got := u.number("a"); got != want {
			t.Fatal(got, want)
		}
	}
	for _, want := range []string{"b", "b (3)", "b (4)"} {
		if got := u.number("b"); got != want {
			t.Error(got, want)
		}
	}
	if got := u.number("b (2)"); got != "b (2) (2)" {
		t.Error(got)
	}
}
