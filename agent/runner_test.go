package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/stepwatch/stepwatch/agent/cucumber"
	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/features"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/stepstest"
)

// scenario makes a compiled scenario as features.Load would, without a file.
func scenario(name string, texts ...string) *features.Scenario {
	s := &features.Scenario{Path: "features/test.feature", Line: 3, Feature: "Test", Name: name, Label: name, Policy: features.Policy{Retries: -1}}
	for i, text := range texts {
		s.Steps = append(s.Steps, features.Step{Keyword: "When", Text: text, Label: text, Line: 4 + i, Column: 5})
	}
	return s
}

func does(sentence string, f func(context.Context, *steps.World, steps.Args) error) steps.Definition {
	return steps.Definition{Area: "test", Sentence: sentence, Func: f}
}

func library(extra ...steps.Definition) *steps.Library {
	return steps.NewLibrary(append([]steps.Definition{
		does(`I pass`, func(context.Context, *steps.World, steps.Args) error { return nil }),
		does(`I fail with {text}`, func(_ context.Context, _ *steps.World, a steps.Args) error {
			return steps.Fail(result.ReasonRefused, result.BlameSubmission, "send: %s", a.Text(0))
		}),
		does(`I wait`, func(ctx context.Context, _ *steps.World, _ steps.Args) error {
			<-ctx.Done()
			return steps.FailNet(ctx, ctx.Err(), result.BlameWeb, "wait for nothing")
		}),
	}, extra...)...)
}

func run(t *testing.T, r *Runner, s *features.Scenario, l *steps.Library) *result.Result {
	t.Helper()
	if r.Target == nil {
		r.Target = &steps.Target{}
	}
	return r.Run(context.Background(), NewPlan(s, l, Defaults{Timeout: time.Second}), Occasion{})
}

// outline gives a result's essence, a line a step.
func outline(r *result.Result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s %s: %s\n", r.State(), r.Status, r.Reason, r.Blame, r.Error)
	for _, s := range r.Steps {
		fmt.Fprintf(&b, "%s ran=%t %s %s %s\n", s.Status, s.Ran, s.Reason, s.Blame, s.Error)
	}
	return b.String()
}

func expect(t *testing.T, r *result.Result, want string) {
	t.Helper()
	if got := outline(r); got != want {
		t.Errorf("got:\n%swant:\n%s", got, want)
	}
}

func TestRunVerdicts(t *testing.T) {
	defer goleak.VerifyNone(t)
	l := library(
		does(`I panic`, func(context.Context, *steps.World, steps.Args) error { panic("no such luck") }),
		does(`I exit`, func(context.Context, *steps.World, steps.Args) error { runtime.Goexit(); return nil }),
		does(`I go wrong inside`, func(context.Context, *steps.World, steps.Args) error { return io.ErrUnexpectedEOF }),
		does(`I am late`, func(ctx context.Context, _ *steps.World, _ steps.Args) error { <-ctx.Done(); return nil }),
		does(`I have {word}`, func(context.Context, *steps.World, steps.Args) error { return nil }),
		does(`I {word} both`, func(context.Context, *steps.World, steps.Args) error { return nil }),
	)
	for name, test := range map[string]struct {
		steps []string
		want  string
	}{
		"passed": {[]string{"I pass", "I pass"}, "OK passed  : \npassed ran=true   \npassed ran=true   \n"},
		"failed": {[]string{"I pass", `I fail with "550 no"`, "I pass"},
			"CRITICAL failed refused submission: send: 550 no\npassed ran=true   \nfailed ran=true refused submission send: 550 no\nskipped ran=false   \n"},
		"panic": {[]string{"I panic", "I pass"},
			"UNKNOWN failed panic monitor: the step's code panicked: no such luck\nfailed ran=true panic monitor the step's code panicked: no such luck\nskipped ran=false   \n"},
		"goexit": {[]string{"I exit", "I pass"},
			"UNKNOWN failed panic monitor: the step's code ended its goroutine (runtime.Goexit)\nfailed ran=true panic monitor the step's code ended its goroutine (runtime.Goexit)\nskipped ran=false   \n"},
		"internal": {[]string{"I go wrong inside"},
			"UNKNOWN failed internal monitor: unexpected EOF\nfailed ran=true internal monitor unexpected EOF\n"},
		"deadline": {[]string{"I wait", "I pass"},
			"CRITICAL failed timeout web: wait for nothing: no answer before the deadline\nfailed ran=true timeout web wait for nothing: no answer before the deadline\nskipped ran=false   \n"},
		"late": {[]string{"I am late", "I pass"},
			"CRITICAL failed timeout target: the scenario used up its 100ms: raise @timeout to give it more time\nfailed ran=true timeout target the scenario used up its 100ms: raise @timeout to give it more time\nskipped ran=false   \n"},
		"undefined": {[]string{"I pas", "I pass"},
			"UNKNOWN undefined scenario scenario: no sentence matches \"I pas\": did you mean \"I pass\"?\nundefined ran=false scenario scenario no sentence matches \"I pas\": did you mean \"I pass\"?\nskipped ran=false   \n"},
		"ambiguous": {[]string{"I have both"},
			"UNKNOWN ambiguous scenario scenario: \"I have both\" matches 2 sentences: I have {word} | I {word} both\nambiguous ran=false scenario scenario \"I have both\" matches 2 sentences: I have {word} | I {word} both\n"},
		"nothing": {nil, "UNKNOWN failed internal monitor: 0 of 0 steps ran and none failed, but the run as a whole did (the executor said passed: false)\n"},
	} {
		t.Run(name, func(t *testing.T) {
			s := scenario(name, test.steps...)
			s.Policy.Timeout = 100 * time.Millisecond
			expect(t, run(t, &Runner{}, s, l), test.want)
		})
	}
}

// TestTheBeginningOfWhatCannotRun holds that the steps before a mistake are run where that is asked for, and that the whole
// is never taken for passed.
func TestTheBeginningOfWhatCannotRun(t *testing.T) {
	defer goleak.VerifyNone(t)
	const undefined = "undefined ran=false scenario scenario no sentence matches \"I pas\": did you mean \"I pass\"?\n"
	for name, test := range map[string]struct {
		steps []string
		want  string
	}{
		"passed": {[]string{"I pass", "I pas", "I pass", "I pas"},
			"UNKNOWN undefined scenario scenario: no sentence matches \"I pas\": did you mean \"I pass\"?\npassed ran=true   \n" + undefined + "skipped ran=false   \n" + undefined},
		"failed": {[]string{`I fail with "550 no"`, "I pass", "I pas"},
			"CRITICAL failed refused submission: send: 550 no\nfailed ran=true refused submission send: 550 no\nskipped ran=false   \n" + undefined},
		"first": {[]string{"I pas", "I pass"}, "UNKNOWN undefined scenario scenario: no sentence matches \"I pas\": did you mean \"I pass\"?\n" + undefined + "skipped ran=false   \n"},
	} {
		t.Run(name, func(t *testing.T) {
			plan := NewPlan(scenario(name, test.steps...), library(), Defaults{Timeout: time.Second})
			expect(t, (&Runner{Target: &steps.Target{}}).Run(t.Context(), plan, Occasion{Begin: true}), test.want)
		})
	}
}

func TestAbandonedStepIsNamedCountedAndNotStartedTwice(t *testing.T) {
	defer goleak.VerifyNone(t)
	release := make(chan struct{})
	l := library(does(`I ignore my deadline`, func(_ context.Context, w *steps.World, _ steps.Args) error {
		<-release
		w.Phase("late", time.Second, "") // must reach nobody
		return nil
	}))
	s := scenario("stuck", "I pass", "I ignore my deadline", "I pass")
	s.Policy.Timeout = 20 * time.Millisecond
	r := &Runner{Target: &steps.Target{}, Grace: 10 * time.Millisecond}
	p := NewPlan(s, l, Defaults{})
	want := "ignored its deadline and was abandoned: still running after the scenario's 20ms; this is a bug in the code of the step"
	expect(t, r.Run(context.Background(), p, Occasion{}), "UNKNOWN failed abandoned monitor: "+want+"\npassed ran=true   \nfailed ran=true abandoned monitor "+want+"\nskipped ran=false   \n")
	if got := r.Abandoned(); got != 1 {
		t.Errorf("abandoned steps: got %d, want 1", got)
	}
	again := r.Run(context.Background(), p, Occasion{})
	if again.State() != result.Unknown || !strings.Contains(again.Error, "has not returned yet") {
		t.Errorf("a second run beside the stuck one: %s", outline(again))
	}
	close(release)
	for deadline := time.Now().Add(5 * time.Second); r.Abandoned() > 0; {
		if time.Now().After(deadline) {
			t.Fatal("the step returned and is still counted as abandoned")
		}
		runtime.Gosched()
	}
	expect(t, r.Run(context.Background(), NewPlan(scenario("next", "I pass"), l, Defaults{Timeout: time.Second}), Occasion{}), "OK passed  : \npassed ran=true   \n")
}

func TestStepThatGoesOnWhenStopped(t *testing.T) {
	defer goleak.VerifyNone(t)
	release := make(chan struct{})
	defer close(release)
	ctx, stop := context.WithCancelCause(context.Background())
	l := library(does(`I hang`, func(context.Context, *steps.World, steps.Args) error {
		stop(steps.ErrStopped) // while the step runs, on the slowest machine too
		<-release
		return nil
	}))
	res := (&Runner{Target: &steps.Target{}, Grace: 5 * time.Millisecond}).Run(ctx, NewPlan(scenario("hangs", "I hang"), l, Defaults{Timeout: time.Minute}), Occasion{})
	const want = "ignored its deadline and was abandoned: still running after stepwatch was told to stop; this is a bug in the code of the step"
	if res.Error != want || res.Reason != result.ReasonAbandoned {
		t.Errorf("got %s %q, want %q", res.Reason, res.Error, want)
	}
}

func TestStoppedRunBlamesNobody(t *testing.T) {
	ctx, stop := context.WithCancelCause(context.Background())
	l := library()
	r := &Runner{Target: &steps.Target{}}
	time.AfterFunc(10*time.Millisecond, func() { stop(steps.ErrStopped) })
	res := r.Run(ctx, NewPlan(scenario("stopped", "I wait"), l, Defaults{Timeout: time.Minute}), Occasion{})
	if res.Reason != result.ReasonCanceled || res.State() != result.Unknown {
		t.Errorf("got %s", outline(res))
	}
	// A step that tells what it has not seen until then knows no better.
	l = library(does(`I look`, func(ctx context.Context, _ *steps.World, _ steps.Args) error {
		<-ctx.Done()
		return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "the page does not show it")
	}))
	ctx, stop = context.WithCancelCause(context.Background())
	time.AfterFunc(10*time.Millisecond, func() { stop(steps.ErrStopped) })
	res = r.Run(ctx, NewPlan(scenario("stopped", "I look"), l, Defaults{Timeout: time.Minute}), Occasion{})
	if res.Reason != result.ReasonCanceled || res.State() != result.Unknown || res.Error != "stepwatch was told to stop" {
		t.Errorf("got %s", outline(res))
	}
}

type password string

func (p password) Secret(context.Context, string) (steps.Secret, error) {
	return steps.NewSecret(string(p)), nil
}

func TestSecretsAreInNothingThatARunKeeps(t *testing.T) {
	const secret = "correct horse"
	l := library(does(`I leak`, func(ctx context.Context, w *steps.World, _ steps.Args) error {
		s, err := w.Secret(ctx, "it")
		if err != nil {
			return err
		}
		w.Phase("auth", time.Second, "535 "+s.Reveal())
		w.Attach("transcript", "text/plain", []byte("PASS "+s.Reveal()))
		w.Cleanup("logout", func(context.Context) error { return errors.New("bye " + s.Reveal()) })
		return steps.Fail(result.ReasonAuth, result.BlameAccess, "log in with %s (%v)", s.Reveal(), s)
	}))
	res := run(t, &Runner{Secrets: password(secret)}, scenario("leak", "I leak"), l)
	if text := fmt.Sprintf("%+v", *res); strings.Contains(text, secret) {
		t.Errorf("the result holds the secret: %s", text)
	}
	if got, want := res.Cleanup, "logout: bye [hidden]"; got != want {
		t.Errorf("clean-up: got %q, want %q", got, want)
	}
}

// TestSecretsOfLaterSteps runs a scenario whose first step reports what only its second step reads: in the first run it is
// redacted when it is known, and in the second, which fails before that, because the first run has read it.
func TestSecretsOfLaterSteps(t *testing.T) {
	fails := false
	l := library(does(`I look`, func(_ context.Context, w *steps.World, _ steps.Args) error {
		w.Note("it says hunter2!")
		w.Phase("look", time.Millisecond, "hunter2!")
		w.Attach("page", "text/plain", []byte("hunter2!"))
		if fails {
			return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "it says hunter2!")
		}
		return nil
	}), does(`I log in`, func(ctx context.Context, w *steps.World, _ steps.Args) error {
		_, err := w.Secret(ctx, "password")
		return err
	}))
	r := &Runner{Target: &steps.Target{}, Secrets: stepstest.Secrets{"password": "hunter2!"}}
	plan := NewPlan(scenario("look", "I look", "I log in"), l, Defaults{Timeout: time.Second})
	for _, fails = range []bool{false, true} {
		res := r.Run(context.Background(), plan, Occasion{})
		if text := fmt.Sprintf("%+v", *res) + string(bytes.Join(evidenceOf(res), nil)); strings.Contains(text, "hunter2!") || strings.Count(text, steps.Hidden) < 2 {
			t.Errorf("the result holds the secret, or nothing is hidden: %s", text)
		}
	}
}

func evidenceOf(res *result.Result) (bodies [][]byte) {
	for _, s := range res.Steps {
		for _, e := range s.Evidence {
			bodies = append(bodies, e.Body)
		}
	}
	return bodies
}

func TestPasswordInAURLIsShownNowhere(t *testing.T) {
	l := library(does(`I go to {url}`, func(_ context.Context, w *steps.World, a steps.Args) error {
		if a.Text(0) != "http://alice:hunter2@example.org:8080/" {
			t.Errorf("the step got %q", a.Text(0))
		}
		return nil
	}))
	s := scenario("userinfo", `I go to "http://alice:hunter2@example.org:8080/"`)
	res := run(t, &Runner{}, s, l)
	if text := fmt.Sprintf("%+v", *res); strings.Contains(text, "hunter2") {
		t.Errorf("the result shows the password: %s", text)
	}
	if got, want := res.Steps[0].Text, `I go to "http://alice:[hidden]@example.org:8080/"`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestStepTimeIsTheStepsOwn(t *testing.T) {
	l := steps.NewLibrary(
		steps.Definition{Area: "test", Sentence: "I work",
			Prepare: func(context.Context, *steps.World, steps.Args) { time.Sleep(50 * time.Millisecond) },
			Func: func(_ context.Context, w *steps.World, _ steps.Args) error {
				w.Cleanup("tidy", func(context.Context) error { time.Sleep(50 * time.Millisecond); return nil })
				time.Sleep(20 * time.Millisecond)
				return nil
			}})
	synctest.Test(t, func(t *testing.T) {
		res := run(t, &Runner{}, scenario("timing", "I work", "I work"), l)
		for _, s := range res.Steps {
			if s.Duration != 20*time.Millisecond {
				t.Errorf("a step that works for 20 ms took %s", s.Duration)
			}
		}
		if res.Prepare != 100*time.Millisecond || res.Duration != 40*time.Millisecond {
			t.Errorf("two preparations of 50 ms took %s, two steps of 20 ms %s", res.Prepare, res.Duration)
		}
	})
}

// TestUntimedWorkIsNotTimed holds that what a step does after its outcome is known is not in its duration, nor in that of the next.
func TestUntimedWorkIsNotTimed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r Runner
		res := run(t, &r, scenario("untimed", "I look", "I look", "I fail"), library(
			does("I look", func(_ context.Context, w *steps.World, _ steps.Args) error {
				time.Sleep(time.Millisecond)
				w.Untimed(func() { time.Sleep(50 * time.Millisecond) })
				time.Sleep(time.Millisecond)
				return nil
			}),
			does("I fail", func(_ context.Context, w *steps.World, _ steps.Args) (err error) {
				time.Sleep(time.Millisecond)
				w.Untimed(func() {
					time.Sleep(time.Second)
					err = steps.FailScenario("no")
				})
				return err
			})))
		for i, want := range []time.Duration{2 * time.Millisecond, 2 * time.Millisecond, time.Millisecond} {
			if s := res.Steps[i]; s.Duration != want {
				t.Errorf("step %d took %s, want %s", i, s.Duration, want)
			}
		}
	})
}

// TestAfterIsReportedButNotTimed holds that what a step leaves for after its time is reported with the step, is not in its
// duration, and fails it when it panics.
func TestAfterIsReportedButNotTimed(t *testing.T) {
	synctest.Test(t, afterIsReportedButNotTimed)
}

func afterIsReportedButNotTimed(t *testing.T) {
	var r Runner
	res := run(t, &r, scenario("after", "I note", "I pass"), library(does("I note", func(_ context.Context, w *steps.World, _ steps.Args) error {
		time.Sleep(time.Millisecond)
		w.After(func(context.Context) {
			time.Sleep(50 * time.Millisecond)
			w.Note("first")
			w.Measure("hop_seconds", "A hop.", 3, result.Label{Name: "hop", Value: "queue"})
		})
		w.After(func(context.Context) { w.Note("which way it took") })
		return nil
	})))
	s := res.Steps[0]
	if s.Status != result.Passed || s.Duration != time.Millisecond || s.Note != "which way it took" || len(s.Measurements) != 1 {
		t.Errorf("got %+v", s)
	}
	if next := res.Steps[1]; next.Note != "" || len(next.Measurements) != 0 {
		t.Errorf("the next step has %+v", next)
	}

	res = run(t, &r, scenario("panic", "I note"), library(does("I note", func(_ context.Context, w *steps.World, _ steps.Args) error {
		time.Sleep(time.Millisecond)
		w.After(func(context.Context) {
			time.Sleep(50 * time.Millisecond)
			panic("oops")
		})
		return nil
	})))
	if s := res.Steps[0]; s.Reason != result.ReasonPanic || s.Blame != result.BlameMonitor || s.Duration != time.Millisecond {
		t.Errorf("got %+v", s)
	}
}

// TestGodogContract holds what package cucumber relies on, for the day that godog is upgraded.
func TestGodogContract(t *testing.T) {
	defer goleak.VerifyNone(t)
	var mu sync.Mutex
	var calls []string
	note := func(_ context.Context, _ *steps.World, a steps.Args) error {
		mu.Lock()
		defer mu.Unlock()
		calls = append(calls, strings.Join(a.Captured, "+"))
		return nil
	}
	block := does(`I note a block:`, func(_ context.Context, _ *steps.World, a steps.Args) error {
		calls = append(calls, a.DocString.Content, fmt.Sprint(a.Table))
		return nil
	})
	block.DocString, block.Table = steps.Required, steps.Optional
	l := library(does(`I note {text} and {text}`, note), block)
	s := scenario("contract", `I note "a" and "b"`, "I note a block:", `I note "c" and "d"`, `I fail with "x"`, `I note "e" and "f"`)
	s.Steps[1].DocString, s.Steps[1].Table = &features.DocString{Content: "text"}, [][]string{{"cell"}}
	res := run(t, &Runner{}, s, l)
	if got, want := strings.Join(calls, " "), "a+b text [[cell]] c+d"; got != want {
		t.Errorf("calls: got %q, want %q", got, want)
	}
	if res.Steps[3].Status != result.Failed || res.Steps[4].Status != result.Skipped {
		t.Errorf("got:\n%s", outline(res))
	}

	t.Run("a scenario that godog does not see is no pass", func(t *testing.T) {
		plan := NewPlan(scenario("unseen", "I pass"), l, Defaults{Timeout: time.Second})
		plan.script.once.Do(func() {
			plan.script.made = cucumber.NewScript(plan.Scenario, []byte("Feature: Test\nScenaro: typo\nWhen I pass\n"), []string{"I pass"})
		})
		res := (&Runner{Target: &steps.Target{}}).Run(t.Context(), plan, Occasion{})
		if res.State() != result.Unknown || res.Reason != result.ReasonInternal {
			t.Errorf("got:\n%s", outline(res))
		}
	})
	t.Run("runs beside each other do not mix", func(t *testing.T) {
		r := &Runner{Target: &steps.Target{}}
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				text := fmt.Sprintf("%d", i)
				p := NewPlan(scenario("mix "+text, "I pass", fmt.Sprintf("I fail with %q", text)), l, Defaults{Timeout: 10 * time.Second})
				for range 50 {
					if res := r.Run(context.Background(), p, Occasion{}); res.Error != "send: "+text {
						t.Errorf("run %s got %q", text, res.Error)
						return
					}
				}
			})
		}
		all.Wait()
	})
}

type recordingObserver struct{ events []string }

func (o *recordingObserver) StepStarting(i int) {
	o.events = append(o.events, fmt.Sprintf("start %d", i))
}
func (o *recordingObserver) StepEnded(i int, s result.StepResult) {
	o.events = append(o.events, fmt.Sprintf("end %d %s", i, s.Status))
}

func (o *recordingObserver) InnerStarting(depth int, b *steps.Bound) {
	o.events = append(o.events, fmt.Sprintf("start %d %s", depth, b.Step.Text))
}
func (o *recordingObserver) InnerEnded(depth int, s result.StepResult) {
	o.events = append(o.events, fmt.Sprintf("end %d %s %s", depth, s.Text, s.Status))
}

func TestObserverSeesEachStepAsItHappens(t *testing.T) {
	o := &recordingObserver{}
	r := &Runner{Target: &steps.Target{}}
	r.Run(context.Background(), NewPlan(scenario("seen", "I pass", `I fail with "x"`, "I pass"), library(), Defaults{Timeout: time.Second}), Occasion{Observer: o})
	if got, want := strings.Join(o.events, ", "), "start 0, end 0 passed, start 1, end 1 failed"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestPlanTimeoutCoversTheWaitsThatStepsName(t *testing.T) {
	arrives := does(`it arrives within {duration}`, func(context.Context, *steps.World, steps.Args) error { return nil })
	arrives.Waits = true
	l := library(arrives, does(`it loads within {duration}`, arrives.Func))
	for _, test := range []struct {
		text  string
		every time.Duration
		tag   time.Duration
		want  time.Duration
	}{
		{"I pass", 0, 0, time.Minute},
		{"I pass", 5 * time.Second, 0, 5 * time.Second},
		{"I pass", 5 * time.Minute, 0, time.Minute},
		{"it loads within 5 minutes", 0, 0, time.Minute},
		{"it arrives within 10s", 0, 0, time.Minute},
		{"it arrives within 10s", 5 * time.Second, 0, 10*time.Second + settleTime},
		{"it arrives within 5 minutes", 0, 0, 5*time.Minute + settleTime},
		{"it arrives within 5 minutes", 0, 90 * time.Second, 90 * time.Second},
	} {
		s := scenario("t", test.text)
		s.Policy.Every, s.Policy.Timeout = test.every, test.tag
		if got := NewPlan(s, l, Defaults{Timeout: time.Minute}).Timeout; got != test.want {
			t.Errorf("%q, @every %s, @timeout %s: got %s, want %s", test.text, test.every, test.tag, got, test.want)
		}
	}
}

func BenchmarkRunner(b *testing.B) {
	p := NewPlan(scenario("bench", "I pass", "I pass"), library(), Defaults{Timeout: time.Minute})
	r := &Runner{Target: &steps.Target{}}
	b.ReportAllocs()
	for b.Loop() {
		if res := r.Run(context.Background(), p, Occasion{}); res.Status != result.Passed {
			b.Fatal(res.Error)
		}
	}
}

// TestAFailedStepKeepsItsVerdict holds that what a failed step does afterwards, such as keeping a picture, cannot take its
// verdict from it by taking too long.
func TestAFailedStepKeepsItsVerdict(t *testing.T) {
	release := make(chan struct{})
	l := library(does(`I fail and go on`, func(_ context.Context, w *steps.World, _ steps.Args) error {
		w.Note("what was seen")
		w.After(func(context.Context) { <-release })
		return steps.Fail(result.ReasonTimeout, result.BlameWeb, "no picture")
	}))
	r := &Runner{Grace: 10 * time.Millisecond}
	s := scenario("verdict", "I fail and go on", "I pass")
	s.Policy.Timeout = 50 * time.Millisecond
	res := run(t, r, s, l)
	expect(t, res, "CRITICAL failed timeout web: no picture\nfailed ran=true timeout web no picture\nskipped ran=false   \n")
	if res.Steps[0].Note != "what was seen" || r.Abandoned() != 1 {
		t.Errorf("note %q, %d abandoned", res.Steps[0].Note, r.Abandoned())
	}
	close(release)
	for r.Abandoned() > 0 {
		time.Sleep(time.Millisecond)
	}
}

// TestLongErrorsAreShortened holds that a server which is quoted in an error cannot fill the log.
func TestLongErrorsAreShortened(t *testing.T) {
	l := library(does("I quote", func(context.Context, *steps.World, steps.Args) error {
		return steps.Fail(result.ReasonProtocol, result.BlameWeb, "the server says %s: mend it", strings.Repeat("ä", 100_000))
	}))
	res := run(t, &Runner{}, scenario("quotes", "I quote"), l)
	if n := len(res.Error); n > errorMost || !strings.HasPrefix(res.Error, "the server says ää") || !strings.HasSuffix(res.Error, "ää: mend it") {
		t.Errorf("%d bytes: %.40q", n, res.Error)
	}
}
