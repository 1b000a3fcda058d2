package agent

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/features"
	"github.com/stepwatch/stepwatch/steps"
)

// define adds a sentence that stands for others.
func define(t *testing.T, l *steps.Library, sentences ...[]string) *steps.Library {
	t.Helper()
	var own []*features.Sentence
	for i, s := range sentences {
		o := &features.Sentence{Path: "features/steps/own.feature", Line: 10 * (i + 1), Column: 3, Text: s[0]}
		for j, text := range s[1:] {
			o.Steps = append(o.Steps, features.Step{Keyword: "And", Text: text, Label: text, Path: o.Path, Line: o.Line + 1 + j, Column: 5})
		}
		own = append(own, o)
	}
	l, mistakes := l.Define(own)
	if len(mistakes) > 0 {
		t.Fatal(mistakes)
	}
	return l
}

// tree gives the steps of a result, a line each, those beneath others indented.
func tree(steps []result.StepResult, indent string) string {
	var b strings.Builder
	for _, s := range steps {
		fmt.Fprintf(&b, "%s%s: %s ran=%t %s %s\n", indent, s.Text, s.Status, s.Ran, s.Reason, s.Error)
		b.WriteString(tree(s.Steps, indent+"  "))
	}
	return b.String()
}

func TestInnerSteps(t *testing.T) {
	defer goleak.VerifyNone(t)
	l := library(
		does(`I panic`, func(context.Context, *steps.World, steps.Args) error { panic("no such luck") }),
		does(`I exit`, func(context.Context, *steps.World, steps.Args) error { runtime.Goexit(); return nil }),
		steps.Definition{Area: "test", Sentence: `I panic in preparing`, Func: func(context.Context, *steps.World, steps.Args) error { return nil },
			Prepare: func(context.Context, *steps.World, steps.Args) { panic("not prepared") }},
	)
	for text, want := range map[string]string{
		"I pass": "do \"it\" well: passed ran=true  \n  I pass: passed ran=true  \n  twice: passed ran=true  \n    I pass: passed ran=true  \n    I pass: passed ran=true  \n",
		`I fail with "<what>"`: "do \"it\" well: failed ran=true refused at `I fail with \"it\"` (features/steps/own.feature:11): send: it\n" +
			"  I fail with \"it\": failed ran=true refused send: it\n  twice: skipped ran=false  \n    I pass: skipped ran=false  \n    I fail with \"it\": skipped ran=false  \n",
		"I panic": "do \"it\" well: failed ran=true panic at `I panic` (features/steps/own.feature:11): the step's code panicked: no such luck\n" +
			"  I panic: failed ran=true panic the step's code panicked: no such luck\n  twice: skipped ran=false  \n    I pass: skipped ran=false  \n    I panic: skipped ran=false  \n",
		"I exit": "do \"it\" well: failed ran=true panic at `I exit` (features/steps/own.feature:11): the step's code ended its goroutine (runtime.Goexit)\n" +
			"  I exit: failed ran=true panic the step's code ended its goroutine (runtime.Goexit)\n  twice: skipped ran=false  \n    I pass: skipped ran=false  \n    I exit: skipped ran=false  \n",
		"I panic in preparing": "do \"it\" well: failed ran=false panic at `I panic in preparing` (features/steps/own.feature:11): the step's code panicked: not prepared\n" +
			"  I panic in preparing: failed ran=false panic the step's code panicked: not prepared\n  twice: skipped ran=false  \n    I pass: skipped ran=false  \n    I panic in preparing: skipped ran=false  \n",
		"I wait": "do \"it\" well: failed ran=true timeout at `I wait` (features/steps/own.feature:11): wait for nothing: no answer before the deadline\n" +
			"  I wait: failed ran=true timeout wait for nothing: no answer before the deadline\n  twice: skipped ran=false  \n    I pass: skipped ran=false  \n    I wait: skipped ran=false  \n",
	} {
		outer := `do "it" well`
		if strings.Contains(text, "<what>") {
			outer = `do "<what>" well`
		}
		own := define(t, l, []string{outer, text, "twice"}, []string{"twice", "I pass", strings.ReplaceAll(text, "<what>", "it")})
		s := scenario("inner", `do "it" well`)
		s.Policy.Timeout = 200 * time.Millisecond
		r := run(t, &Runner{}, s, own)
		if got := tree(r.Steps, ""); got != want {
			t.Errorf("%s: got\n%swant\n%s", text, got, want)
		}
		if r.Status != r.Steps[0].Status || r.Error != r.Steps[0].Error || r.Reason != r.Steps[0].Reason || r.Blame != r.Steps[0].Blame {
			t.Errorf("%s: the run's verdict %s %q is not its step's", text, r.Status, r.Error)
		}
	}
}

func TestInnerStepsReportAndCount(t *testing.T) {
	slow := does(`I take {duration}`, func(ctx context.Context, w *steps.World, a steps.Args) error {
		d, err := a.Duration(0)
		time.Sleep(d)
		w.Phase("rest", d, "")
		w.Measure("rested_seconds", "Rest.", d.Seconds(), result.Label{Name: "hop", Value: "queue"})
		w.After(func(context.Context) { time.Sleep(time.Hour) }) // no part of any step's time
		w.Attach("page", "text/plain", []byte("x"))
		if d > time.Minute {
			return steps.Fail(result.ReasonSlow, result.BlameWeb, "too long")
		}
		return err
	})
	synctest.Test(t, func(t *testing.T) {
		l := define(t, library(slow), []string{"rest", "I take 2s", "rest more", "I pass"}, []string{"rest more", "I take 3s"}, []string{"rest long", "I take 2m"})
		s := scenario("inner", "rest", "rest long")
		s.Policy.Timeout = 24 * time.Hour
		o := &recordingObserver{}
		r := &Runner{Target: &steps.Target{}}
		res := r.Run(t.Context(), NewPlan(s, l, Defaults{}), Occasion{Observer: o})
		rest := res.Steps[0]
		if rest.Duration != 5*time.Second || res.Duration != 125*time.Second || rest.Steps[0].Duration != 2*time.Second || rest.Steps[1].Duration != 3*time.Second {
			t.Errorf("got %s of %s, and %s and %s beneath it, want 5s of 2m5s, 2s and 3s", rest.Duration, res.Duration, rest.Steps[0].Duration, rest.Steps[1].Duration)
		}
		if got, want := fmt.Sprint(rest.Measurements), "[{rested_seconds Rest. 2 [{hop queue} {inner_step I take 2s}]} {rested_seconds Rest. 3 [{hop queue} {inner_step rest more › I take 3s}]}]"; got != want {
			t.Errorf("got the measurements\n%s\nwant\n%s", got, want)
		}
		if len(rest.Phases) != 2 || len(rest.Evidence) != 0 || len(res.Steps[1].Evidence) != 1 {
			t.Errorf("got %d phases and %d and %d pieces of evidence, want 2, 0 and 1", len(rest.Phases), len(rest.Evidence), len(res.Steps[1].Evidence))
		}
		if path, inner, found := res.Steps[1].Inner(); !found || inner.Text != "I take 2m" || fmt.Sprint(path) != "[I take 2m]" {
			t.Errorf("got %v %q %t for the step that failed", path, inner.Text, found)
		}
		want := "start 0, start 1 I take 2s, end 1 I take 2s passed, start 1 rest more, start 2 I take 3s, end 2 I take 3s passed, end 1 rest more passed, " +
			"start 1 I pass, end 1 I pass passed, end 0 passed, start 1, start 1 I take 2m, end 1 I take 2m failed, end 1 failed"
		if got := strings.Join(o.events, ", "); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	})
}

func TestInnerStepThatIgnoresItsDeadline(t *testing.T) {
	release := make(chan struct{})
	l := define(t, library(does(`I hang`, func(context.Context, *steps.World, steps.Args) error { <-release; return nil })),
		[]string{"outer", "I pass", "inner", "I pass"}, []string{"inner", "I pass", "I hang", "I pass"})
	s := scenario("hangs", "I pass", "outer", "I pass")
	s.Policy.Timeout = 50 * time.Millisecond
	r := &Runner{Grace: 20 * time.Millisecond}
	o := &recordingObserver{}
	res := r.Run(t.Context(), NewPlan(s, l, Defaults{}), Occasion{Observer: o})
	want := `I pass: passed ran=true  
outer: failed ran=true abandoned at ` + "`inner` (features/steps/own.feature:12): at `I hang` (features/steps/own.feature:22): " + `ignored its deadline and was abandoned: still running after the scenario's 50ms; this is a bug in the code of the step
  I pass: passed ran=true  
  inner: failed ran=true abandoned at ` + "`I hang` (features/steps/own.feature:22): " + `ignored its deadline and was abandoned: still running after the scenario's 50ms; this is a bug in the code of the step
    I pass: passed ran=true  
    I hang: failed ran=true abandoned ignored its deadline and was abandoned: still running after the scenario's 50ms; this is a bug in the code of the step
    I pass: skipped ran=false  
  I pass: skipped ran=false  
I pass: skipped ran=false  
`
	if got := tree(res.Steps, ""); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	told := "start 0, end 0 passed, start 1, start 1 I pass, end 1 I pass passed, start 1 inner, start 2 I pass, end 2 I pass passed, " +
		"start 2 I hang, end 2 I hang failed, end 1 inner failed, end 1 failed"
	if got := strings.Join(o.events, ", "); got != told {
		t.Errorf("the observer saw\n%s\nwant\n%s", got, told)
	}
	close(release)
	for start := time.Now(); r.Abandoned() > 0 && time.Since(start) < 5*time.Second; {
		time.Sleep(time.Millisecond)
	}
	goleak.VerifyNone(t)
}

func TestPlanOfInnerSteps(t *testing.T) {
	arrives := does(`it arrives within {duration}`, func(context.Context, *steps.World, steps.Args) error { return nil })
	arrives.Waits = true
	own := []*features.Sentence{
		{Path: "own.feature", Line: 1, Text: `mail comes within <limit:duration>`, Steps: []features.Step{{Text: "it arrives within <limit>"}, {Text: "it arrives within 2m"}}},
		{Path: "own.feature", Line: 5, Text: `see "<url>"`, Browser: true, Steps: []features.Step{{Text: `I fail with "<url>"`, Label: `I fail with "<url>"`}}},
	}
	l, mistakes := library(arrives).Define(own)
	if len(mistakes) > 0 {
		t.Fatal(mistakes)
	}
	p := NewPlan(scenario("mail", "mail comes within 5m"), l, Defaults{Timeout: time.Minute})
	if p.Timeout != 7*time.Minute+settleTime {
		t.Errorf("the run may take %s, want 7m30s", p.Timeout)
	}
	s := scenario("web", `see "https://al:secret@x/"`)
	p = NewPlan(s, l, Defaults{})
	if len(p.Problems) != 1 || p.Problems[0].Error() != `features/test.feature:4:5: "see \"<url>\"" (own.feature:5) is tagged @browser: tag the scenario, too` {
		t.Errorf("got %v, want that the scenario needs @browser", p.Problems)
	}
	s.Policy.Browser = true
	p = NewPlan(s, l, Defaults{})
	if got, want := p.Steps()[0].Inner[0].Step.Text, `I fail with "https://al:[hidden]@x/"`; got != want || len(p.Problems) > 0 {
		t.Errorf("got %q and %v, want %q", got, p.Problems, want)
	}
}
