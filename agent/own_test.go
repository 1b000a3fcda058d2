package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/cucumber/godog"
	"go.uber.org/goleak"

	"github.com/stepwatch/stepwatch/agent/cucumber"
	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/features"
	"github.com/stepwatch/stepwatch/steps"
)

// ownPlans compiles scenarios with own steps. text follows "Feature: Own".
func ownPlans(t *testing.T, text string, glue ...cucumber.Glue) ([]*Plan, *cucumber.Own) {
	t.Helper()
	own, err := cucumber.Load(glue...)
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := features.Load([]string{"own.feature"}, features.Options{FS: fstest.MapFS{"own.feature": {Data: []byte("Feature: Own\n" + text)}}})
	if err != nil {
		t.Fatal(err)
	}
	l, problems := library().With(own.Definitions()...).Define(loaded.Sentences)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	var plans []*Plan
	for _, s := range loaded.Scenarios() {
		plans = append(plans, NewPlan(s, l, Defaults{Timeout: 5 * time.Second}))
	}
	return plans, own
}

// ownRunOf runs the one scenario that the steps make.
func ownRunOf(t *testing.T, r *Runner, timeout time.Duration, text string, glue ...cucumber.Glue) *result.Result {
	t.Helper()
	plans, own := ownPlans(t, "Scenario: One\n"+text, glue...)
	r.Target, r.Own = &steps.Target{}, own
	if timeout > 0 {
		plans[0].Timeout = timeout
	}
	return r.Run(context.Background(), plans[0], Occasion{})
}

type ownKey string

var placeLine = regexp.MustCompile(`own_test\.go:\d+`)

// ownGlue has a step of every kind.
func ownGlue(sc *godog.ScenarioContext) {
	sum := 0 // of one scenario
	sc.Step(`^I add (\d+)$`, func(ctx context.Context, n int) context.Context {
		sum += n
		steps.WorldFrom(ctx).Measure("own_sum", "The sum so far.", float64(sum))
		return context.WithValue(ctx, ownKey("sum"), sum)
	})
	sc.Step(`^the sum is (-?[\d.]+)$`, func(ctx context.Context, want float64) error {
		if got := ctx.Value(ownKey("sum")); got != int(want) {
			return fmt.Errorf("the sum is %v,\n\twant %v", got, want)
		}
		return nil
	})
	sc.Step(`^the text:$`, func(doc *godog.DocString) error { return equal(doc.MediaType+" "+doc.Content, "text/x letters") })
	sc.Step(`^the letters:$`, func(text string) error { return equal(text, "letters") })
	sc.Step(`^the cells of "([^"]*)":$`, func(name string, table *godog.Table) error {
		return equal(name+" "+table.Rows[1].Cells[0].Value, "prices 3.20")
	})
	sc.Step(`^the form:$`, func(doc *godog.DocString, table *godog.Table) error {
		return equal(doc.Content+" "+table.Rows[0].Cells[0].Value, "letters Tea")
	})
	sc.Step(`^the form of (\w+):$`, func(name string, table *godog.Table, text string) error {
		return equal(name+" "+table.Rows[0].Cells[0].Value+" "+text, "alice Tea letters")
	})
	sc.Step(`^it refuses$`, func() error { return steps.Fail(result.ReasonRefused, result.BlameQueue, "no") })
	sc.Step(`^it connects to (\S+)$`, func(ctx context.Context, address string) error {
		_, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		return err
	})
	sc.Step(`^it is pending$`, func() error { return godog.ErrPending })
	sc.Step(`^it is skipped$`, func() error { return godog.ErrSkip })
	sc.Step(`^it is skipped today$`, func(ctx context.Context) { godog.T(ctx).SkipNow() })
	sc.Step(`^it asserts$`, func(ctx context.Context) { godog.T(ctx).Errorf("not equal:\n1\n2"); godog.T(ctx).FailNow() })
	sc.Step(`^it asserts softly$`, func(ctx context.Context) { godog.T(ctx).Errorf("not equal") })
	sc.Step(`^it panics$`, func() { panic("no luck") })
	sc.Step(`^it exits$`, runtime.Goexit)
	sc.Step(`^it waits$`, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
	sc.Step(`^it forgets the context$`, func() context.Context { return context.WithValue(context.Background(), ownKey("sum"), 1) })
	sc.Step(`^it does several$`, func() godog.Steps { return godog.Steps{"I add 1", "I pass", "the sum is 4"} })
	sc.Given(`^a (\w+)$`, func(string) error { return nil })
	sc.Then(`^a (.*)$`, func(what string) error { return errors.New("then " + what) })
}

func equal(got, want string) error {
	if got != want {
		return fmt.Errorf("got %q, want %q", got, want)
	}
	return nil
}

func TestOwnSteps(t *testing.T) {
	defer goleak.VerifyNone(t)
	for name, test := range map[string]struct{ steps, want string }{
		"contexts and values": {"When I add 1\nAnd I pass\nAnd I add 2\nThen the sum is 3\n", "OK passed  : \n" + strings.Repeat("passed ran=true   \n", 4)},
		"doc strings":         {"Then the text:\n\"\"\"text/x\nletters\n\"\"\"\nAnd the letters:\n\"\"\"\nletters\n\"\"\"\n", "OK passed  : \npassed ran=true   \npassed ran=true   \n"},
		"tables":              {"Then the cells of \"prices\":\n|Tea|\n|3.20|\n", "OK passed  : \npassed ran=true   \n"},
		"both":                {"Then the form:\n|Tea|\n\"\"\"\nletters\n\"\"\"\nAnd the form of alice:\n\"\"\"\nletters\n\"\"\"\n|Tea|\n", "OK passed  : \npassed ran=true   \npassed ran=true   \n"},
		"keywords":            {"Given a thing\nThen a thing\n", "CRITICAL failed unexpected target: then thing\npassed ran=true   \nfailed ran=true unexpected target then thing\n"},
		"plain error":         {"When I add 1\nThen the sum is 3\n", "CRITICAL failed unexpected target: the sum is 1, want 3\npassed ran=true   \nfailed ran=true unexpected target the sum is 1, want 3\n"},
		"own reason":          {"Then it refuses\nAnd I pass\n", "CRITICAL failed refused queue: no\nfailed ran=true refused queue no\nskipped ran=false   \n"},
		"network":             {"Then it connects to 127.0.0.1:1\n", "CRITICAL failed connect target: dial tcp 127.0.0.1:1: connect: connection refused\nfailed ran=true connect target dial tcp 127.0.0.1:1: connect: connection refused\n"},
		"pending":             {"Then it is pending\n", "UNKNOWN pending scenario scenario: step implementation is pending\npending ran=true scenario scenario step implementation is pending\n"},
		"skipped":             {"Then it is skipped\nAnd I pass\n", "UNKNOWN skipped scenario scenario: skipped by its own code, with all following steps\nskipped ran=true scenario scenario skipped by its own code, with all following steps\nskipped ran=false   \n"},
		"skipped by T":        {"Then it is skipped today\n", "UNKNOWN skipped scenario scenario: skipped by its own code, with all following steps\nskipped ran=true scenario scenario skipped by its own code, with all following steps\n"},
		"assertion":           {"Then it asserts\nAnd I pass\n", "CRITICAL failed unexpected target: not equal: 1 2\nfailed ran=true unexpected target not equal: 1 2\nskipped ran=false   \n"},
		"soft assertion":      {"Then it asserts softly\nAnd I add 1\n", "CRITICAL failed unexpected target: not equal\nfailed ran=true unexpected target not equal\nskipped ran=false   \n"},
		"panic":               {"Then it panics\nAnd I pass\n", "UNKNOWN failed panic monitor: the step's code panicked: no luck\nfailed ran=true panic monitor the step's code panicked: no luck\nskipped ran=false   \n"},
		"goexit":              {"Then it exits\nAnd I pass\n", "UNKNOWN failed panic monitor: the step's code ended its goroutine (runtime.Goexit)\nfailed ran=true panic monitor the step's code ended its goroutine (runtime.Goexit)\nskipped ran=false   \n"},
		"deadline":            {"Then it waits\nAnd I pass\n", "CRITICAL failed timeout target: the scenario used up its 150ms: raise @timeout to give it more time\nfailed ran=true timeout target the scenario used up its 150ms: raise @timeout to give it more time\nskipped ran=false   \n"},
		"deadline regained":   {"When it forgets the context\nThen the sum is 1\nAnd I wait\n", "CRITICAL failed timeout web: wait for nothing: no answer before the deadline\npassed ran=true   \npassed ran=true   \nfailed ran=true timeout web wait for nothing: no answer before the deadline\n"},
		"several":             {"When I add 3\nAnd it does several\nAnd the sum is 4\n", "OK passed  : \n" + strings.Repeat("passed ran=true   \n", 3)},
		"several, one fails":  {"When I add 1\nAnd it does several\n", "CRITICAL failed unexpected target: the sum is 4: the sum is 2, want 4\npassed ran=true   \nfailed ran=true unexpected target the sum is 4: the sum is 2, want 4\n"},
	} {
		t.Run(name, func(t *testing.T) {
			expect(t, ownRunOf(t, &Runner{}, 150*time.Millisecond, test.steps, ownGlue), test.want)
		})
	}
}

func TestOwnStepMeasuresAndLeavesEvidence(t *testing.T) {
	r := ownRunOf(t, &Runner{}, 0, "When I add 2\nAnd I add 3\nThen it asserts\n", ownGlue)
	if got := fmt.Sprint(r.Steps[1].Measurements); got != "[{own_sum The sum so far. 5 []}]" {
		t.Errorf("measured %s", got)
	}
	if e := r.Steps[2].Evidence; len(e) != 1 || e[0].Name != "error" || string(e[0].Body) != "not equal:\n1\n2" {
		t.Errorf("evidence %v", e)
	}
	if took := r.Steps[0].Duration; took <= 0 || took > time.Second {
		t.Errorf("the step took %s", took)
	}
}

// TestOwnStepsInASentence has a sentence made of others use own ones, and what they leave in the context.
func TestOwnStepsInASentence(t *testing.T) {
	plans, own := ownPlans(t, `  @step
  Scenario: I add <n:int> twice
    When I add <n>
    And I pass
    And I add <n>
    Then the sum is <n>
  Scenario: One
    When I add 0
    And I add 0 twice
    Then the sum is 0
    When I add 3 twice
`, ownGlue)
	r := &Runner{Target: &steps.Target{}, Own: own}
	expect(t, r.Run(context.Background(), plans[0], Occasion{}), "CRITICAL failed unexpected target: at `the sum is 3` (own.feature:7): the sum is 6, want 3\n"+
		strings.Repeat("passed ran=true   \n", 3)+"failed ran=true unexpected target at `the sum is 3` (own.feature:7): the sum is 6, want 3\n")
}

// TestBuiltinStepsThatAFunctionGives holds that those are prepared which may be late, and that the others are refused.
func TestBuiltinStepsThatAFunctionGives(t *testing.T) {
	prepared := 0
	nothing := func(context.Context, *steps.World, steps.Args) error { return nil }
	prepare := func(context.Context, *steps.World, steps.Args) { prepared++ }
	own, err := cucumber.Load(func(sc *godog.ScenarioContext) {
		sc.Step(`^late$`, func() godog.Steps { return godog.Steps{"a page opens", "a page opens"} })
		sc.Step(`^early$`, func() godog.Steps { return godog.Steps{"a mailbox opens"} })
		sc.Step(`^others$`, func() godog.Steps { return godog.Steps{"it opens"} })
	})
	if err != nil {
		t.Fatal(err)
	}
	l := define(t, library(steps.Definition{Area: "test", Sentence: "a page opens", Func: nothing, Prepare: prepare, Late: true},
		steps.Definition{Area: "test", Sentence: "a mailbox opens", Func: nothing, Prepare: prepare}).With(own.Definitions()...), []string{"it opens", "I pass"})
	for step, want := range map[string]string{
		"late":   "",
		"early":  `"a mailbox opens" cannot be in godog.Steps because it begins before the first step of the scenario: write it into the scenario`,
		"others": `"it opens" cannot be in godog.Steps because it is made of other sentences: write it into the scenario`,
	} {
		r := (&Runner{Target: &steps.Target{}, Own: own}).Run(t.Context(), NewPlan(scenario(step, step), l, Defaults{Timeout: time.Second}), Occasion{})
		if r.Error != want || (want == "") != (r.State() == result.OK) {
			t.Errorf("%s: got %s %q, want %q", step, r.State(), r.Error, want)
		}
	}
	if prepared != 2 {
		t.Errorf("prepared %d times, want 2", prepared)
	}
}

// TestOwnHooksAreGodogs runs the same code in godog alone and here, and compares what it saw.
func TestOwnHooksAreGodogs(t *testing.T) {
	const text = `  Background:
    Given I note "background"
  Scenario: passes
    When I note "a"
    Then I note "b"
  Scenario: fails
    When I note "a"
    Then I fail
    And I note "never"
  Scenario: fails before
    When I note "a"
  Scenario: fails before a step
    When I note "bad"
    And I note "never"
  Scenario: fails after a step
    When I note "good"
    And I note "never"
  Scenario: skips
    When I skip
    And I note "never"
`
	var events []string
	note := func(format string, args ...any) { events = append(events, fmt.Sprintf(format, args...)) }
	seen := func(ctx context.Context) string { s, _ := ctx.Value(ownKey("seen")).(string); return s }
	with := func(ctx context.Context, more string) context.Context {
		return context.WithValue(ctx, ownKey("seen"), seen(ctx)+more)
	}
	glue := func(sc *godog.ScenarioContext) {
		for _, n := range []string{"1", "2"} {
			sc.Before(func(ctx context.Context, s *godog.Scenario) (context.Context, error) {
				note("before%s %s %s", n, s.Name, seen(ctx))
				if s.Name == "fails before" && n == "1" {
					return ctx, errors.New("not ready")
				}
				return with(ctx, "B"+n), nil
			})
			sc.After(func(ctx context.Context, s *godog.Scenario, err error) (context.Context, error) {
				note("after%s %s %s %v %v", n, s.Name, seen(ctx), err, ctx.Err())
				return with(ctx, "A"+n), nil
			})
			sc.StepContext().Before(func(ctx context.Context, s *godog.Step) (context.Context, error) {
				note("before step%s %s %s", n, s.Text, seen(ctx))
				if s.Text == `I note "bad"` && n == "2" {
					return ctx, errors.New("bad step")
				}
				return with(ctx, "b"+n), nil
			})
			sc.StepContext().After(func(ctx context.Context, s *godog.Step, status godog.StepResultStatus, err error) (context.Context, error) {
				note("after step%s %s %s %s %v", n, s.Text, seen(ctx), status, err)
				if s.Text == `I note "good"` && n == "1" {
					return ctx, errors.New("too good")
				}
				return with(ctx, "a"+n), nil
			})
		}
		sc.Step(`^I note "(.*)"$`, func(ctx context.Context, what string) (context.Context, error) {
			note("step %s %s", what, seen(ctx))
			return with(ctx, "s"), nil
		})
		sc.Step(`^I fail$`, func() error { return errors.New("it failed") })
		sc.Step(`^I skip$`, func() error { return fmt.Errorf("%w: not today", godog.ErrSkip) })
	}
	godog.TestSuite{ScenarioInitializer: glue, Options: &godog.Options{Format: "progress", Output: io.Discard, Strict: true, Concurrency: 1,
		FeatureContents: []godog.Feature{{Name: "own.feature", Contents: []byte("Feature: Own\n" + text)}}}}.Run()
	want := events
	events = nil
	plans, own := ownPlans(t, text, glue)
	r := &Runner{Target: &steps.Target{}, Own: own}
	var verdicts strings.Builder
	for _, p := range plans {
		res := r.Run(context.Background(), p, Occasion{})
		fmt.Fprintf(&verdicts, "%s: %s %s: %s\n", p.Scenario.Name, res.State(), res.Status, res.Error)
	}
	got := strings.ReplaceAll(strings.Join(events, "\n"), "I skip skipped: not today", "I skip not today")
	if w := strings.Join(want, "\n"); got != w {
		t.Errorf("got:\n%s\nwant, as godog alone does it:\n%s", got, w)
	}
	if len(want) < 50 {
		t.Errorf("godog alone did only this:\n%s", strings.Join(want, "\n"))
	}
	if got, want := verdicts.String(), `passes: OK passed: 
fails: CRITICAL failed: it failed
fails before: CRITICAL failed: before scenario hook failed: not ready
fails before a step: CRITICAL failed: before step hook failed: bad step
fails after a step: CRITICAL failed: a hook after the step failed: too good
skips: UNKNOWN skipped: skipped: not today
`; got != want {
		t.Errorf("got:\n%swant:\n%s", got, want)
	}
}

// TestOwnHooksThatGoWrong has hooks fail, panic, exit and hang.
func TestOwnHooksThatGoWrong(t *testing.T) {
	defer goleak.VerifyNone(t)
	type world = context.Context
	failing := func(ctx world) (world, error) { return ctx, errors.New("no way") }
	panicking := func(world) (world, error) { panic("no luck") }
	exiting := func(ctx world) (world, error) { runtime.Goexit(); return ctx, nil }
	before := func(do func(world) (world, error)) cucumber.Glue {
		return func(sc *godog.ScenarioContext) {
			sc.Before(func(ctx world, _ *godog.Scenario) (world, error) { return do(ctx) })
		}
	}
	after := func(do func(world) (world, error)) cucumber.Glue {
		return func(sc *godog.ScenarioContext) {
			sc.After(func(ctx world, _ *godog.Scenario, _ error) (world, error) { return do(ctx) })
		}
	}
	beforeStep := func(do func(world) (world, error)) cucumber.Glue {
		return func(sc *godog.ScenarioContext) {
			sc.StepContext().Before(func(ctx world, _ *godog.Step) (world, error) { return do(ctx) })
		}
	}
	afterStep := func(do func(world) (world, error)) cucumber.Glue {
		return func(sc *godog.ScenarioContext) {
			sc.StepContext().After(func(ctx world, _ *godog.Step, _ godog.StepResultStatus, _ error) (world, error) { return do(ctx) })
		}
	}
	onRun := 0
	const passes, fails = "When I pass\nAnd I pass\n", "When I pass\nAnd I fail with \"550\"\n"
	for name, test := range map[string]struct {
		glue        cucumber.Glue
		steps, want string
	}{
		"before fails":       {before(failing), passes, "CRITICAL failed unexpected target: before scenario hook failed: no way|failed false|skipped false"},
		"before panics":      {before(panicking), passes, "UNKNOWN failed panic monitor: a hook before it panicked: no luck|failed false|skipped false"},
		"before exits":       {before(exiting), passes, "UNKNOWN failed panic monitor: a hook before it ended its goroutine (runtime.Goexit)|failed false|skipped false"},
		"before step panics": {beforeStep(panicking), passes, "UNKNOWN failed panic monitor: a hook before it panicked: no luck|failed false|skipped false"},
		"after fails":        {after(failing), passes, "CRITICAL failed unexpected target: a hook after the scenario failed: no way|passed true|failed true"},
		"after fails too":    {after(failing), fails, "CRITICAL failed refused submission: send: 550; and a hook after the scenario failed: no way|passed true|failed true"},
		"after panics":       {after(panicking), passes, "UNKNOWN failed panic monitor: a hook after it panicked: no luck|passed true|failed true"},
		"after panics too":   {after(panicking), fails, "CRITICAL failed refused submission: send: 550; and a hook after it panicked: no luck|passed true|failed true"},
		"after exits":        {after(exiting), passes, "UNKNOWN failed panic monitor: a hook after it ended its goroutine (runtime.Goexit)|passed true|failed true"},
		"after step fails":   {afterStep(failing), passes, "CRITICAL failed unexpected target: a hook after the step failed: no way|failed true|skipped false"},
		"after step panics":  {afterStep(panicking), passes, "UNKNOWN failed panic monitor: a hook after it panicked: no luck|failed true|skipped false"},
		"registration panics": {func(*godog.ScenarioContext) {
			if onRun++; onRun > 1 {
				panic("no luck")
			}
		}, passes, "UNKNOWN failed panic monitor: the code that registers own steps and hooks panicked: no luck|failed false|skipped false"},
	} {
		t.Run(name, func(t *testing.T) {
			r := ownRunOf(t, &Runner{}, 0, test.steps, test.glue)
			got := fmt.Sprintf("%s %s %s %s: %s", r.State(), r.Status, r.Reason, r.Blame, r.Error)
			for _, s := range r.Steps {
				got += fmt.Sprintf("|%s %t", s.Status, s.Ran)
			}
			if got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
			if panics := r.Reason == result.ReasonPanic && !strings.Contains(name, "exits"); panics && !slices.ContainsFunc(r.Steps, func(s result.StepResult) bool { return len(s.Evidence) == 1 }) {
				t.Error("no stack is kept")
			}
		})
	}
}

func TestOwnCodeThatHangs(t *testing.T) {
	defer goleak.VerifyNone(t)
	release := make(chan struct{})
	hang := func(ctx context.Context) (context.Context, error) { <-release; return ctx, nil }
	quick := func() *Runner { return &Runner{Grace: 10 * time.Millisecond, CleanupTimeout: 20 * time.Millisecond} }
	var runners []*Runner
	for name, test := range map[string]struct {
		glue        cucumber.Glue
		steps, want string
	}{
		"step": {func(sc *godog.ScenarioContext) { sc.Step(`^I hang$`, hang) }, "When I pass\nAnd I hang\n",
			"ignored its deadline and was abandoned: still running after the scenario's 30ms; this is a bug in the code of the step"},
		"before": {func(sc *godog.ScenarioContext) {
			sc.Before(func(ctx context.Context, _ *godog.Scenario) (context.Context, error) { return hang(ctx) })
		}, "When I pass\n", "a hook before the step ignored its deadline and was abandoned: still running after the scenario's 30ms; this is a bug in the code of the hook"},
		"after": {func(sc *godog.ScenarioContext) {
			sc.After(func(ctx context.Context, _ *godog.Scenario, _ error) (context.Context, error) { return hang(ctx) })
		}, "When I pass\n", "a hook after the step ignored its deadline and was abandoned: still running after the scenario's 30ms; this is a bug in the code of the hook"},
		"after a failure": {func(sc *godog.ScenarioContext) {
			sc.After(func(ctx context.Context, _ *godog.Scenario, _ error) (context.Context, error) { return hang(ctx) })
		}, "When I fail with \"550\"\n", "send: 550; and a hook after it ignored its deadline and was abandoned"},
	} {
		r := quick()
		runners = append(runners, r)
		if got := ownRunOf(t, r, 30*time.Millisecond, test.steps, test.glue).Error; got != test.want {
			t.Errorf("%s: got %s, want %s", name, got, test.want)
		}
		if r.Abandoned() != 1 {
			t.Errorf("%s: %d are counted as left behind", name, r.Abandoned())
		}
	}
	close(release)
	for _, r := range runners {
		for deadline := time.Now().Add(5 * time.Second); r.Abandoned() > 0 && time.Now().Before(deadline); {
			runtime.Gosched()
		}
	}
}

// TestOwnHooksAfterTheDeadline: what a hook puts back it puts back after the run's time is up, too, and the result waits.
func TestOwnHooksAfterTheDeadline(t *testing.T) {
	defer goleak.VerifyNone(t)
	var order []string
	r := ownRunOf(t, &Runner{Grace: 200 * time.Millisecond}, 30*time.Millisecond, "When it waits\n", ownGlue, func(sc *godog.ScenarioContext) {
		sc.After(func(ctx context.Context, _ *godog.Scenario, err error) (context.Context, error) {
			select {
			case <-ctx.Done():
				order = append(order, "cut short")
			case <-time.After(300 * time.Millisecond): // more than the grace
				order = append(order, "put back after: "+err.Error())
			}
			return ctx, nil
		})
	})
	order = append(order, r.Error)
	const want = "the scenario used up its 30ms: raise @timeout to give it more time"
	if got := strings.Join(order, "|"); got != "put back after: "+want+"|"+want {
		t.Error(got)
	}
}

func TestOwnRunsAtOnce(t *testing.T) {
	plans, own := ownPlans(t, "Scenario Outline: Sum\nWhen I add <n>\nAnd I add <n>\nThen the sum is <sum>\nExamples:\n|n|sum|\n|1|2|\n|2|4|\n|3|6|\n|4|8|\n", ownGlue)
	r := &Runner{Target: &steps.Target{}, Own: own}
	var group sync.WaitGroup
	for _, p := range plans {
		group.Go(func() {
			for range 20 {
				if res := r.Run(context.Background(), p, Occasion{}); res.State() != result.OK {
					t.Error(outline(res))
				}
			}
		})
	}
	group.Wait()
}

func TestOwnProblems(t *testing.T) {
	plans, _ := ownPlans(t, `Scenario: One
    When I add 99999999999999999999
    And the text:
    And the letters:
      | x |
    And it refuses
      """
      x
      """
    And I pass
    * a thing
    And the total is 3
    And the text:
      """
      x
      """
      | x |
    And the cells of "x":
      """
      x
      """
      | x |
    And the form:
      | x |
`, ownGlue, func(sc *godog.ScenarioContext) { sc.Step(`^I (pass)$`, func(string) {}) })
	var got []string
	for _, p := range plans[0].Problems {
		got = append(got, p.Error())
	}
	want := []string{
		`own.feature:3:5: "99999999999999999999" is not a valid int for the function of the step: value out of range (own_test.go:LINE)`,
		`own.feature:4:5: the step has 0 arguments, but its function takes 1 (own_test.go:LINE)`,
		`own.feature:5:5: argument 1 is a table, but the function of the step takes a text (own_test.go:LINE)`,
		`own.feature:7:5: the step has a doc string below it, but its function takes none (own_test.go:LINE)`,
		`own.feature:11:5: "I pass" matches 2 sentences: I pass | ^I (pass)$ (agent/own_test.go:LINE)`,
		`own.feature:12:5: "a thing" matches 2 sentences: a {word} (agent/own_test.go:LINE) | a {words} (agent/own_test.go:LINE)`,
		`own.feature:13:5: no sentence matches "the total is 3": see "stepwatch steps"`,
		`own.feature:14:5: the step has a table below it, but its function takes none (own_test.go:LINE)`,
		`own.feature:19:5: the step has a doc string below it, but its function takes none (own_test.go:LINE)`,
		`own.feature:24:5: the step has 1 arguments, but its function takes 2 (own_test.go:LINE)`,
	}
	for i := range got {
		got[i] = placeLine.ReplaceAllString(got[i], "own_test.go:LINE")
	}
	if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
		t.Errorf("got:\n%s\nwant:\n%s", g, w)
	}
}

func TestOwnDefinitions(t *testing.T) {
	own, err := cucumber.Load(func(sc *godog.ScenarioContext) {
		sc.Step(`^the order "([^"]+)" of (\w+) has (\d+) lines for (.+) at (\d+\.\d\d)$`, func(string, string, int, string, float64) {})
		sc.Step(`^"(.*)"$`, func(context.Context, []byte) {})
		sc.Step(`unanchored (\d{2})`, func(int) {})
		sc.Step(`^the (first|last) order( again)?$`, orderAgain)
		sc.When(`^the rows:$`, func(*godog.Table) error { return nil })
		sc.Step(`^the colour is (red|green) or "(blue|white)"$`, func(string, string) {})
		sc.Step(`^the code is (\d+)$`, func(string) {})
		sc.Step(`^the letter to (\w+):$`, func(string, []byte) error { return nil })
		sc.Step(`^the form:$`, func(*godog.Table, *godog.DocString) error { return nil })
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range own.Definitions() {
		got = append(got, fmt.Sprint(d.Parameters(), d.Table, d.DocString, " ")+d.Area+": "+d.Sentence+": "+placeLine.ReplaceAllString(d.Does, "own_test.go:LINE"))
	}
	if g, w := strings.Join(got, "\n"), `[text text int text number] own steps: the order {text} of {word} has {int} lines for {words} at {number}: Runs an anonymous Go function.
[text] own steps: {text}: Runs an anonymous Go function.
[int] own steps: unanchored (\d{2}): Runs an anonymous Go function.
[text text] own steps: ^the (first|last) order( again)?$: Runs the Go function agent.orderAgain.
[]required own steps: the rows:: Runs an anonymous Go function. It needs a table below it. Only a step with When matches it, or a step with And or But after it.
[text text] own steps: ^the colour is (red|green) or "(blue|white)"$: Runs an anonymous Go function.
[text] own steps: the code is {int}: Runs an anonymous Go function.
[text]required own steps: the letter to {word}:: Runs an anonymous Go function. It needs a doc string below it.
[]requiredrequired own steps: the form:: Runs an anonymous Go function. It needs a table below it. It needs a doc string below it.`; g != w {
		t.Errorf("got:\n%s\nwant:\n%s", g, w)
	}
}

func orderAgain(string, string) error { return nil }

func TestOwnThatCannotBe(t *testing.T) {
	for want, glue := range map[string]cucumber.Glue{
		`the step "^it is (true|false)$" takes a bool as argument 1: godog supports`:               func(sc *godog.ScenarioContext) { sc.Step(`^it is (true|false)$`, func(bool) {}) },
		`the step "^within (.*)$" takes a time.Duration as argument 1: godog supports`:             func(sc *godog.ScenarioContext) { sc.Step(`^within (.*)$`, func(time.Duration) {}) },
		"register own steps: regexp: Compile(`^(`): error parsing regexp: missing closing ): `^(`": func(sc *godog.ScenarioContext) { sc.Step(`^(`, func() {}) },
		`register own steps: expected handler to be func, but got: int`:                            func(sc *godog.ScenarioContext) { sc.Step(`^x$`, 1) },
	} {
		if _, err := cucumber.Load(glue); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
