package cmd

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stepwatch/stepwatch/features"
)

const allWrongConfig = `
accounts:
  alice: {address: alice@example.org, smtp: mail.example.org}
  bob: {address: bob@example.org, imap: mail.example.org}
hosts:
  mx1: {address: mx1.example.org}
secrets:
  members: {env: MEMBERS}
`

// allWrong has a line for each mistake. What mends it stands in mistakes.
const allWrong = `@every:5m
Feature: Everything wrong

  Background:
    Given the accounts "alice" and "bob"

  @ownr:web @timeout:2parsecs
  Scenario: Login
    When I go to “https://www.example.org/”
    And I folow "Log in"
    And I fill in "Password" with the secret "membres"
    And I press "Log in"
      | really |
    Then I should see "Welcome" within 99999999999999999999h
    And I go to "https://alice:hunter2@www.example.org/private"
    Then the table "Prices" should have the rows:
    And port 25 of "mx1" is opne

  @timeout:30s @every:1m
  Scenario: Mail
    Given the message has the attachment "invoice.pdf"
    When I send a message from "alcie" to "bob" via 587
    Then "bob" receives it over IMAP within 60s
    When I ask the API of "mx2" for "/health"
    Then I look up the A of "example.org" at "192.0.2.53" over IPv7

  Scenario Outline: Pages
    When I go to "<adress>"
    Then I should see "<text>"
    And I should see "<more>"

    Examples:
      | address                  | text    | note |
      | https://www.example.org/ | Contact | home |

  Szenario: Sprache
    When I go to "https://www.example.org/"

  Scenario: Mail
    When I go to "htp://www.example.org/"
`

// mistakes are those of allWrong by place, each with the edit that its message asks for.
var mistakes = []struct {
	said     string // without the path; only the beginning where the message goes on
	old, new string
}{
	{`7:3: warning: @ownr:web is not a policy tag: did you mean @owner:web?`, "@ownr:web", "@owner:web"},
	{`7:13: error: @timeout:2parsecs: "2parsecs" is not a duration, as in @timeout:90s`, "@timeout:2parsecs", "@timeout:90s"},
	{`9:5: error: “https://www.example.org/” is in typographic quotes: write "https://www.example.org/"`, "“https://www.example.org/”", `"https://www.example.org/"`},
	{`10:5: error: no sentence matches "I folow \"Log in\"": did you mean "I follow {text}"?`, "folow", "follow"},
	{`11:5: error: no secret "membres" in stepwatch.yml (it has members): add it under secrets`, "membres", "members"},
	{`12:5: error: "I press {text}" takes no table: remove it, or move it below the step that it belongs to`, "      | really |\n", "\n"},
	{`14:5: error: "99999999999999999999h" is not a duration: write it as "60s" or "5 minutes"`, "99999999999999999999h", "60s"},
	{`15:5: warning: a URL contains a password, which everybody can read: move it to secrets in stepwatch.yml, and write "I authenticate to`, "alice:hunter2@", ""},
	{`16:5: error: "the table {text} should have the rows:" needs a table: write its rows below the step, as in the example of "stepwatch steps"`,
		"    And port 25 of", "    | Article |\n    | Tea |\n    And port 25 of"},
	{`17:5: error: no sentence matches "port 25 of \"mx1\" is opne": did you mean "port {port} of {server} is open"?`, "opne", "open"},
	{`21:5: error: the file "invoice.pdf" does not exist: a path is relative to the feature file`, `attachment "invoice.pdf"`, `attachment "there.pdf"`},
	{`22:5: error: no account "alcie" in stepwatch.yml (it has alice, bob): add it under accounts`, "alcie", "alice"},
	{`23:5: error: @timeout:30s ends the run before this step has waited 1m0s: raise @timeout above 1m0s, or lower the waits`, "within 60s\n    When I ask", "within 20s\n    When I ask"},
	{`24:5: error: no host "mx2" in stepwatch.yml (it has mx1): add it under hosts`, "mx2", "mx1"},
	{`25:5: error: no sentence matches "I look up the A of \"example.org\" at \"192.0.2.53\" over IPv7": did you mean "I look up the {record} of {name} at {server} over {way}"?`, "IPv7", "IPv6"},
	{`28:5: error: <adress> is not filled in: did you mean <address>?`, "<adress>", "<address>"},
	{`30:5: warning: <more> is not filled in: add a column "more" to the Examples: at line 32`, "<more>", "<text>"},
	{`33:46: warning: nothing uses the column "note": write <note> where its values belong, or remove it`, "Scenario Outline: Pages", "Scenario Outline: Page <note>"},
	{`36:3: error: "Szenario:" is not a keyword: did you mean "Scenario:"?`, "Szenario:", "Scenario:"},
	{`39:3: warning: another scenario of the feature is also called "Mail": the results of this one are those of "Mail (2)"`, "Scenario: Mail\n    When I go", "Scenario: Typo\n    When I go"},
	{`40:5: error: "htp://www.example.org/" is not the address of a page: write it as "https://www.example.org/"`, "htp:", "https:"},
}

// lint runs the verb on a text and gives what it says, a line each, without the path.
func lint(t *testing.T, text string) (code int, lines []string) {
	t.Helper()
	code, out := lintAs(t, "text", text)
	for line := range strings.Lines(out) {
		lines = append(lines, strings.TrimPrefix(strings.TrimSuffix(line, "\n"), "x.feature:"))
	}
	return code, lines
}

// lintAs runs the verb on a text, x.feature, and gives what it writes.
func lintAs(t *testing.T, format, text string) (code int, written string) {
	t.Helper()
	t.Chdir(t.TempDir())
	for name, content := range map[string]string{"stepwatch.yml": allWrongConfig, "x.feature": text, "there.pdf": "PDF"} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out, errOut bytes.Buffer
	code = lintVerb(t.Context(), &terminal{out: &out, err: &errOut}, []string{"--format", format, "x.feature"})
	if errOut.Len() > 0 {
		t.Fatal(errOut.String())
	}
	return code, out.String()
}

// TestLintNamesEveryMistake holds that all mistakes of one file are told at once, each with its place, and that what the
// message asks for takes it away and no other.
func TestLintNamesEveryMistake(t *testing.T) {
	code, lines := lint(t, allWrong)
	if want := fmt.Sprintf("4 scenarios, %d mistakes, 5 warnings", len(mistakes)-5); code != exitFailed || lines[len(lines)-1] != want {
		t.Errorf("exit code %d and %q, wanted %q", code, lines[len(lines)-1], want)
	}
	for i, line := range lines[:len(lines)-1] {
		if i >= len(mistakes) || !strings.HasPrefix(line, mistakes[i].said) {
			t.Errorf("finding %d: %s", i, line)
		}
	}
	if t.Failed() {
		return
	}
	mended := allWrong
	for i, m := range mistakes {
		if n := strings.Count(allWrong, m.old); n != 1 {
			t.Fatalf("%q is there %d times", m.old, n)
		}
		mended = strings.Replace(mended, m.old, m.new, 1)
		_, left := lint(t, strings.Replace(allWrong, m.old, m.new, 1))
		if drafts := slices.Index(left, ""); drafts >= 0 { // of the missing sentences, when the file can be read
			left = append(left[:drafts], left[len(left)-1])
		}
		if len(left) != len(lines)-1 {
			t.Errorf("%q for %q leaves of %d findings %d:\n%s", m.new, m.old, len(lines)-1, len(left)-1, strings.Join(left, "\n"))
		}
		for _, line := range left {
			if _, what, _ := strings.Cut(m.said, ": "); strings.Contains(line, what) {
				t.Errorf("finding %d is still there: %s", i, line)
			}
		}
	}
	if code, lines := lint(t, mended); code != exitPassed || len(lines) != 1 {
		t.Errorf("all mended: exit code %d and\n%s", code, strings.Join(lines, "\n"))
	}
}

// TestLintOfSentences holds what is said at a definition of passwords, and that no scenario uses it.
func TestLintOfSentences(t *testing.T) {
	code, lines := lint(t, `Feature: F
  @step
  Scenario: I enter
    When I go to "https://alice:hunter2@example.org/"
  @step
  Scenario: the headers:
    When I am HTTP digest authenticated with the following credentials:
      | username | password |
      | alice    | hunter2  |
  @step
  Scenario: nobody does this
    When I go back
  Scenario: S
    When I enter
    And the headers:
`)
	const want = `4:5: warning: a URL contains a password, which everybody can read: move it to secrets in stepwatch.yml, and write "I authenticate to … as … with the secret …" before this step
7:5: warning: the table contains a password, which everybody can read: move it to secrets in stepwatch.yml, and put its name into a column "secret"
11:3: note: none of the scenarios read uses the sentence "nobody does this"
1 scenario, 3 sentences of your own, 0 mistakes, 2 warnings`
	if got := strings.Join(lines, "\n"); code != exitPassed || got != want {
		t.Errorf("exit code %d, got\n%s\nwant\n%s", code, got, want)
	}
}

// TestLintHintsAtNoSentenceThatIsUsedWrongly holds that a step with a mistake counts as a use.
func TestLintHintsAtNoSentenceThatIsUsedWrongly(t *testing.T) {
	_, lines := lint(t, "Feature: F\n  @step @browser\n  Scenario: I enter\n    When I go back\n  Scenario: S\n    When I enter\n")
	const want = "6:5: error: \"I enter\" (x.feature:3) is tagged @browser: tag the scenario, too\n1 scenario, 1 sentence of your own, 1 mistake, 0 warnings"
	if got := strings.Join(lines, "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestShippedFeaturesReadWell holds that lint has nothing to say of the features that come with the program, but for what
// only their user's configuration can have.
func TestShippedFeaturesReadWell(t *testing.T) {
	paths, err := filepath.Glob("../features/*/*.feature")
	if err != nil || len(paths) == 0 {
		t.Fatal(paths, err)
	}
	load := loader{config: new(string), tags: new(string)}
	set, err := load.read(paths)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range set.findings() {
		// The demo runs more often than its longest wait, so that there is something to see.
		if f.Rule != "unknown" && f.Rule != "missing-file" && !(f.Rule == "time" && strings.Contains(f.Path, "/demo/")) {
			t.Error(f)
		}
	}
}

// TestLintForMachines holds what each format says of one finding, and that all say the same of all.
func TestLintForMachines(t *testing.T) {
	const text = "Feature: F\n  @größe @😀 @ownr:web\n  Scenario: S\n    When I go to \"https://alice:hunter2@example.org/\"\n    And I folow \"50%\"\n"
	for format, want := range map[string]string{
		"json": `[
  {
    "file": "x.feature",
    "line": 2,
    "column": 13,
    "end_column": 22,
    "severity": "warning",
    "rule": "tag",
    "message": "@ownr:web is not a policy tag: did you mean @owner:web?"
  },
`,
		"github": `::warning title=stepwatch tag,file=x.feature,line=2,col=13,endColumn=22::@ownr:web is not a policy tag: did you mean @owner:web?
::warning title=stepwatch password,file=x.feature,line=4,col=5,endColumn=54::a URL contains a password`,
		"sarif": `{
  "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
  "version": "2.1.0",
`,
	} {
		code, got := lintAs(t, format, text)
		if code != exitFailed || !strings.HasPrefix(got, want) {
			t.Errorf("%s: exit code %d and\n%s", format, code, got)
		}
		if strings.Contains(got, "hunter2") {
			t.Errorf("%s tells the password:\n%s", format, got)
		}
		if format == "github" && !strings.Contains(got, `::no sentence matches "I folow \"50%25\"": did you mean "I follow {text}"?`) {
			t.Errorf("github:\n%s", got)
		}
		// Nothing wrong is written as nothing, and not as null.
		code, got = lintAs(t, format, "Feature: F\n  Scenario: S\n    When I go to \"https://example.org/\"\n")
		if empty := map[string]string{"json": "[]\n", "github": ""}[format]; code != exitPassed || format != "sarif" && got != empty ||
			format == "sarif" && !strings.Contains(got, `"results": []`) {
			t.Errorf("%s of nothing: exit code %d and\n%s", format, code, got)
		}
	}
}

// readSARIF checks what SARIF 2.1.0 requires of a log, and gives its results.
func readSARIF(t *testing.T, text string) []sarifResult {
	t.Helper()
	var log sarifLog
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&log); err != nil {
		t.Fatal(err)
	}
	run := log.Runs[0]
	if log.Version != "2.1.0" || len(log.Runs) != 1 || run.Tool.Driver.Name != "stepwatch" || run.Tool.Driver.Version == "" || run.ColumnKind != "unicodeCodePoints" {
		t.Fatalf("%+v", log)
	}
	rules := run.Tool.Driver.Rules
	seen := map[features.Rule]bool{}
	for _, r := range rules {
		if seen[r.ID] || r.ID == "" || r.Summary.Text == "" || !slices.Contains([]severity{mistaken, warned, note}, r.Default.Level) {
			t.Errorf("rule %+v", r)
		}
		seen[r.ID] = true
	}
	prints := map[string]bool{}
	for _, r := range run.Results {
		if r.RuleIndex >= len(rules) || rules[r.RuleIndex].ID != r.RuleID || r.Message.Text == "" || r.Level != "error" && r.Level != "warning" {
			t.Errorf("result %+v", r)
		}
		at := r.Locations[0].Physical
		if at.Artifact.URI != "x.feature" || at.Artifact.Base != "SRCROOT" || at.Region.StartLine < 1 || at.Region.StartColumn < 1 || at.Region.EndColumn <= at.Region.StartColumn {
			t.Errorf("location %+v %+v", at, at.Region)
		}
		print := r.Fingerprints["primaryLocationLineHash"]
		if prints[print] || print == "" {
			t.Errorf("fingerprint %q is there twice or empty", print)
		}
		prints[print] = true
	}
	return run.Results
}

func TestLintSARIF(t *testing.T) {
	_, text := lintAs(t, "sarif", allWrong)
	results := readSARIF(t, text)
	if len(results) != len(mistakes) {
		t.Fatalf("%d results, wanted %d", len(results), len(mistakes))
	}
	for i, r := range results {
		at := r.Locations[0].Physical.Region
		if said := fmt.Sprintf("%d:%d: %s: %s", at.StartLine, at.StartColumn, r.Level, r.Message.Text); !strings.HasPrefix(said, mistakes[i].said) {
			t.Errorf("result %d: %s", i, said)
		}
	}
	// Lines that are put in above change where a finding is, and not which it is.
	_, text = lintAs(t, "sarif", "# one\n# two\n"+allWrong)
	for i, r := range readSARIF(t, text) {
		if r.Fingerprints["primaryLocationLineHash"] != results[i].Fingerprints["primaryLocationLineHash"] ||
			r.Locations[0].Physical.Region.StartLine != results[i].Locations[0].Physical.Region.StartLine+2 {
			t.Errorf("result %d: %+v, was %+v", i, r, results[i])
		}
	}
}

// TestArtifactsAreRelative holds that code hosts can find the files in their own copy.
func TestArtifactsAreRelative(t *testing.T) {
	t.Chdir(t.TempDir())
	working, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]sarifArtifact{
		"x.feature":                             {URI: "x.feature", Base: "SRCROOT"},
		"./a/../x.feature":                      {URI: "x.feature", Base: "SRCROOT"},
		filepath.Join(working, "a/ü b.feature"): {URI: "a/%C3%BC%20b.feature", Base: "SRCROOT"},
		"a:b.feature":                           {URI: "./a:b.feature", Base: "SRCROOT"},
		"/x.feature":                            {URI: "file:///x.feature"},
	} {
		if got := artifactAt(path); got != want {
			t.Errorf("%s: %+v, wanted %+v", path, got, want)
		}
	}
}
