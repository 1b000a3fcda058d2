package cmd

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps"
)

// project writes files into a new directory, which becomes the working directory.
func project(t *testing.T, files map[string]string) {
	t.Helper()
	t.Chdir(t.TempDir())
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	for name, content := range files {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// said runs a verb and returns its exit code and what it writes, both outputs together.
func said(t *testing.T, args ...string) (int, string) {
	t.Helper()
	var out bytes.Buffer
	code := dispatch(t.Context(), &terminal{out: &out, err: &out}, args)
	return code, out.String()
}

// site answers every page with its path.
func site(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte("<title>t</title><p>at " + r.URL.Path + "</p><a href=/next>Next</a>"))
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// broken is a project of which most files have mistakes.
func broken(t *testing.T) {
	t.Helper()
	project(t, map[string]string{
		"features/good.feature":     "Feature: Good\n  Scenario: One\n    When I go to \"" + site(t) + "/\"\n",
		"features/syntax.feature":   "Feature: Syntax\n  Scenario: Two\n    When I go to \"http://127.0.0.1:1/\"\n  Given\n  Scenaro: Three\n",
		"features/binary.feature":   "\x00\x01\x02",
		"features/empty.feature":    "",
		"features/steps.feature":    "Feature: Nothing yet\n  Scenario: To be written\n  Scenario: Written\n    When I go to \"" + site(t) + "/\"\n",
		"features/undefd.feature":   "Feature: Undefined\n  Scenario: Four\n    When the moon is full\n",
		"features/latin.feature":    "Feature: M\xfcller\n  Scenario: a\n    Given b\n",
		"features/account.feature":  "Feature: Account\n  Scenario: Five\n    Given the account \"nobody\"\n",
		"features/notsoon.feature":  "Feature: Policy\n  @every:soon\n  Scenario: Six\n    When I go to \"" + site(t) + "/\"\n  Scenario: Seven\n    When I go to \"" + site(t) + "/\"\n",
		"features/dangling.feature": "Feature: Late\n  Scenario: Eight\n    When I go to \"" + site(t) + "/\"\n  @tag\n",
	})
}

// TestOneFilesMistakeNeverStopsAnother holds for run and check. In the agent see TestTheAgentRunsWhatIsRight.
func TestOneFilesMistakeNeverStopsAnother(t *testing.T) {
	broken(t)
	code, out := said(t, "run", "features", "features/absent.feature")
	if code != exitNotRun {
		t.Errorf("exit code %d, want %d", code, exitNotRun)
	}
	for _, want := range []string{"Good", "features/binary.feature", "features/empty.feature", "features/latin.feature", "features/absent.feature", "To be written", "3 passed", "the file has a mistake, so nothing of it runs: features/syntax.feature:"} {
		if !strings.Contains(out, want) {
			t.Errorf("run does not say %q:\n%s", want, out)
		}
	}
	code, out = said(t, "check", "features")
	if code != 3 || !strings.HasPrefix(out, "STEPWATCH UNKNOWN - ") || !strings.Contains(out, "syntax.feature") {
		t.Errorf("check: exit code %d: %s", code, out)
	}
	for _, verb := range []string{"run", "check", "agent"} {
		code, out = said(t, verb, "--strict", "features")
		if code != 3 || !strings.Contains(out, "because of --strict") || strings.Contains(out, "passed") {
			t.Errorf("%s --strict: exit code %d: %s", verb, code, out)
		}
	}
	if code, out := said(t, "lint", "features"); code != exitFailed || !strings.Contains(out, "features/undefd.feature:3:5: error:") {
		t.Errorf("lint: exit code %d: %s", code, out)
	}
}

func TestTheAgentRunsWhatIsRight(t *testing.T) {
	broken(t)
	if err := os.WriteFile("stepwatch.yml", []byte("defaults: {every: 100ms}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancelCause(t.Context())
	defer stop(nil)
	errs := &syncBuffer{}
	done := make(chan int, 1)
	go func() {
		done <- dispatch(ctx, &terminal{out: errs, err: errs}, []string{"agent", "--listen", "127.0.0.1:0", "features"})
	}()
	address := ""
	until(t, "the agent's address", func() bool {
		_, rest, found := strings.Cut(errs.String(), "metrics are at ")
		address, _, _ = strings.Cut(rest, "\n")
		return found && address != ""
	})
	for _, want := range []string{
		`stepwatch_scenario_state{feature="Good",scenario="One"} 0`,
		`stepwatch_scenario_state{feature="Syntax",scenario="Two"} 3`,
		`stepwatch_scenario_state{feature="features/binary.feature",scenario="(the whole file)"} 3`,
		`stepwatch_scenario_state{feature="features/empty.feature",scenario="(the whole file)"} 3`,
		`stepwatch_scenario_state{feature="Nothing yet",scenario="To be written"} 3`,
		`stepwatch_scenario_state{feature="Nothing yet",scenario="Written"} 0`,
		`stepwatch_scenario_state{feature="Undefined",scenario="Four"} 3`,
		`stepwatch_scenario_state{feature="Account",scenario="Five"} 3`,
		`stepwatch_scenario_state{feature="Policy",scenario="Six"} 3`,
		`stepwatch_scenario_state{feature="Policy",scenario="Seven"} 0`,
		`stepwatch_scenario_state{feature="features/dangling.feature",scenario="(the whole file)"} 3`,
		`stepwatch_load_mistakes{file="features/syntax.feature"} `,
		`stepwatch_load_mistakes{file="features/undefd.feature"} 1`,
	} {
		until(t, want, func() bool { return strings.Contains(get(t, address), want) })
	}
	if page := get(t, address); strings.Contains(page, `load_mistakes{file="features/good.feature"}`) {
		t.Error("a file without mistakes has some")
	}
	if !strings.Contains(errs.String(), "file=features/latin.feature line=1 rule=file") {
		t.Errorf("the log does not name the file:\n%s", errs.String())
	}
	stop(steps.ErrStopped)
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("the agent did not stop")
	}
}

// TestValidGherkinRuns holds that what Gherkin allows is no mistake.
func TestValidGherkinRuns(t *testing.T) {
	address := site(t)
	for name, text := range map[string]string{
		"tags":                  "@steps @jira:OPS-1 @a:b:c @browsers\nFeature: F\n  Role: editor\n  As a visitor\n\n  @evry:1m @timout:5s\n  Scenario: a\n    When I go to URL\n",
		"one name twice":        "Feature: F\n  Scenario: a\n    When I go to URL\n  Scenario: a\n    When I go to URL\n",
		"no names":              "Feature:\n  Scenario:\n    When I go to URL\n  Scenario:\n    When I go to URL\n",
		"an empty background":   "Feature: F\n  Background:\n  Scenario: a\n    When I go to URL\n",
		"an outline alone":      "Feature: F\n  Scenario Outline: a\n    When I go to URL\n",
		"an unfilled outline":   "Feature: F\n  Scenario Outline: a\n    When I go to URL\n    Then I should not see \"<b>\"\n",
		"empty examples":        "Feature: F\n  Scenario Outline: a\n    When I go to URL\n    Examples:\n  Scenario: b\n    When I go to URL\n",
		"examples without rows": "Feature: F\n  Scenario Outline: a\n    When I go to <u>\n    Examples:\n      | u |\n    @tag\n    Examples:\n      | u |\n      | URL |\n",
		"an empty rule":         "Feature: F\n  Rule: r\n  Rule: s\n    Background:\n      When I go to URL\n    Example: a\n      * I should not see \"zebra\"\n",
		"the file's form":       "\ufeff# comment\r\n# language: en\r\n\r\n@a\r\n@b # comment\r\nFeature: F  \r\n# comment\r\n  Scenario: a\t\r\n    # comment\r\n    When I go to URL  \r\n",
		"a keyword as a name":   "Feature: Feature: Scenario\n  Scenario: Given\n    When I go to URL\n",
		"one step twice":        "Feature: F\n  Scenario: a\n    When I go to URL\n    When I go to URL\n",
		"a long name":           "Feature: F\n  Scenario: " + strings.Repeat("long ", 2000) + "\n    When I go to URL\n",
	} {
		t.Run(name, func(t *testing.T) {
			project(t, map[string]string{"x.feature": strings.ReplaceAll(text, "URL", address)})
			if code, out := said(t, "lint", "x.feature"); code != exitPassed {
				t.Errorf("lint: exit code %d:\n%s", code, out)
			}
			if code, out := said(t, "run", "--strict", "x.feature"); code != exitPassed {
				t.Errorf("run: exit code %d:\n%s", code, out)
			}
		})
	}
}

func TestNearMissesOfOurTagsAreWarnings(t *testing.T) {
	for tag, want := range map[string]string{
		"@evry:1m": "@every:1m", "@timout:5s": "@timeout:5s", "@retry:2": "", "@jira:OPS-1": "", "@smoke": "", "@steps": "@step",
		"@brwoser": "@browser", "@bse:https://example.org/": "@base:https://example.org/", "@version:1.2": "", "@every=1m": "@every:1m",
	} {
		project(t, map[string]string{"x.feature": tag + "\nFeature: F\n  Scenario: a\n    When I go to \"http://127.0.0.1:1/\"\n"})
		code, out := said(t, "lint", "x.feature")
		if code != exitPassed || want == "" && !strings.Contains(out, " 0 warnings") || want != "" && (!strings.Contains(out, want) || !strings.Contains(out, "warning: ")) {
			t.Errorf("%s: exit code %d: %s", tag, code, out)
		}
	}
}

func TestRelativeAddressesResolveAgainstTheBase(t *testing.T) {
	one, two := site(t), site(t)
	const text = "\nFeature: F\n  Scenario: a\n    When I visit \"/people\"\n    Then I should see \"at /people\"\n    And I should be on BASE/people\n" +
		"    When I send GET to \"next\"\n    Then I should be on BASE/next\n    And no link of \"/people\" is broken\n"
	for _, c := range []struct{ name, tag, config, flag, base string }{
		{"nothing", "", "", "", ""},
		{"web.base", "", "web: {base: ONE/}", "", "ONE"},
		{"tag", "@base:ONE/", "", "", "ONE"},
		{"tag over web.base", "@base:TWO/", "web: {base: ONE/}", "", "TWO"},
		{"flag", "", "", "TWO", "TWO"},
		{"flag over all", "@base:ONE/", "web: {base: ONE/}", "TWO", "TWO"},
	} {
		t.Run(c.name, func(t *testing.T) {
			urls := strings.NewReplacer("ONE", one, "TWO", two, "BASE", strings.NewReplacer("ONE", one, "TWO", two).Replace(c.base))
			project(t, map[string]string{"x.feature": urls.Replace(c.tag + text), "stepwatch.yml": urls.Replace(c.config)})
			args := []string{"x.feature"}
			if c.flag != "" {
				args = []string{"--base", urls.Replace(c.flag), "x.feature"}
			}
			want := exitPassed
			if c.base == "" {
				want = exitFailed
			}
			code, out := said(t, append([]string{"lint"}, args...)...)
			if code != want || c.base == "" && !strings.Contains(out, `x.feature:4:5: error: "/people" is not a whole address, and no page is open yet`) {
				t.Errorf("lint: exit code %d: %s", code, out)
			}
			if code, out := said(t, append([]string{"run"}, args...)...); c.base != "" && code != exitPassed || c.base == "" && !strings.Contains(out, "set web.base") {
				t.Errorf("run: exit code %d: %s", code, out)
			}
		})
	}
	project(t, map[string]string{"x.feature": "Feature: F\n  Scenario: a\n    When I go to \"" + one + "\"\n    And I go to \"/people\"\n"})
	if code, out := said(t, "lint", "x.feature"); code != exitPassed {
		t.Errorf("relative to a page: exit code %d: %s", code, out)
	}
	if code, out := said(t, "lint", "--base", "example.org", "x.feature"); code != exitNotRun || !strings.Contains(out, "--base example.org must be the http or https address of a site") {
		t.Errorf("exit code %d: %s", code, out)
	}
	project(t, map[string]string{"x.feature": "@base:www.example.org\nFeature: F\n  Scenario: a\n    When I go to \"/\"\n", "stepwatch.yml": "web: {base: \"example.org\"}\n"})
	if code, out := said(t, "lint", "x.feature"); code != exitNotRun || !strings.Contains(out, "stepwatch.yml:1: web.base: must be the http or https address") {
		t.Errorf("exit code %d: %s", code, out)
	}
}

func TestReplacedRubyIsNamed(t *testing.T) {
	project(t, map[string]string{
		"features/x.feature":          "Feature: F\n  Scenario: a\n    When I go to \"http://127.0.0.1:1/\"\n",
		"features/steps/own_steps.rb": "When /^I choose \"([^\"]*)\"$/ do |what|\n  choose(what)\n  click_button 'Next'\nend\nWhen /^I follow \"(.*)\"$/ do |link|\nend\nWhen /^the moon is (.+)$/ do |x|\nend\n",
	})
	_, out := said(t, "lint", "features")
	if want := `own_steps.rb:1:1: warning: replaced: stepwatch does not run this definition, because its own sentence "I choose {text}" means these steps`; !strings.Contains(out, want) {
		t.Errorf("got %s, want %s", out, want)
	}
	if strings.Contains(out, "own_steps.rb:5") || !strings.Contains(out, "own_steps.rb:7:1: warning: stepwatch does not run Ruby, and no sentence means the same") {
		t.Errorf("got %s", out)
	}
}

func TestCompatReadsQuotesInEveryVerb(t *testing.T) {
	text := "Feature: F\n  Scenario: a\n    When I go to \"" + site(t) + "\"\n    Then I should not see \"x\" or \"y\"\n"
	project(t, map[string]string{"x.feature": text})
	if code, out := said(t, "lint", "x.feature"); code != exitFailed || !strings.Contains(out, "a text ends at its closing quote") {
		t.Errorf("exit code %d: %s", code, out)
	}
	if code, out := said(t, "lint", "--compat", "x.feature"); code != exitPassed {
		t.Errorf("exit code %d: %s", code, out)
	}
	if code, out := said(t, "check", "--compat", "x.feature"); code != 0 {
		t.Errorf("exit code %d: %s", code, out)
	}
	project(t, map[string]string{"x.feature": text, "stepwatch.yml": "web: {cucumber_nagios: true}\n"})
	if code, out := said(t, "run", "x.feature"); code != exitPassed {
		t.Errorf("exit code %d: %s", code, out)
	}
}

// TestLintReadsTheExporters holds that a mistake under exporters is found before the agent starts.
func TestLintReadsTheExporters(t *testing.T) {
	const text = "Feature: F\n  Scenario: a\n    When I run the plugin \"true\"\n"
	project(t, map[string]string{"x.feature": text, "stepwatch.yml": "exporters: {nonsense: {}}\n"})
	if code, out := said(t, "lint", "x.feature"); code != exitNotRun || !strings.Contains(out, `there is no exporter "nonsense"`) {
		t.Errorf("exit code %d: %s", code, out)
	}
	project(t, map[string]string{"x.feature": text, "stepwatch.yml": "exporters: {prometheus: {nonsense: 1}}\n"})
	if code, out := said(t, "lint", "x.feature"); code != exitNotRun || !strings.Contains(out, "nonsense") {
		t.Errorf("exit code %d: %s", code, out)
	}
}

// TestARubyDefinitionThatEveryProjectHasIsNotNamed holds for those whose first example needs no --compat.
func TestARubyDefinitionThatEveryProjectHasIsNotNamed(t *testing.T) {
	project(t, map[string]string{
		"features/x.feature":           "Feature: F\n  Scenario: a\n    When I go to \"http://127.0.0.1:1/\"\n",
		"features/steps/http_steps.rb": "Then /^the (.*) ?request should succeed/ do |_|\nend\nThen /^the (.*) ?request should fail/ do |_|\nend\nWhen /I fetch headers from \"(.*)\"/ do |u|\nend\n",
	})
	if code, out := said(t, "lint", "features"); code != exitPassed || !strings.Contains(out, " 0 warnings") {
		t.Errorf("exit code %d: %s", code, out)
	}
}
