package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/stepwatch/stepwatch/agent/cucumber"
	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/features"
	"github.com/stepwatch/stepwatch/steps"
)

// corpus has a definition for everything that a step can do.
func corpus(release <-chan struct{}) *steps.Library {
	block := does(`I read:`, func(_ context.Context, w *steps.World, a steps.Args) error {
		w.Note(a.DocString.Content + fmt.Sprint(a.Table))
		return nil
	})
	block.DocString, block.Table = steps.Required, steps.Optional
	prepared := does(`I am prepared`, func(context.Context, *steps.World, steps.Args) error { return nil })
	prepared.Prepare = func(_ context.Context, w *steps.World, _ steps.Args) {
		w.Cleanup("undo", func(context.Context) error { return errors.New("left") })
	}
	unprepared := does(`I cannot be prepared`, func(context.Context, *steps.World, steps.Args) error { return nil })
	unprepared.Prepare = func(context.Context, *steps.World, steps.Args) { panic("not ready") }
	return library(block, prepared, unprepared,
		does(`I report {word}`, func(_ context.Context, w *steps.World, a steps.Args) error {
			w.Phase("connect", time.Millisecond, "220 ready")
			w.Measure("queue_length", "How many.", 3, result.Label{Name: "name", Value: "active"})
			w.Attach("transcript", "text/plain", []byte("220"))
			w.Note("noted")
			if a.Text(0) == "badly" {
				return steps.Fail(result.ReasonProtocol, result.BlameQueue, "it reports badly")
			}
			return nil
		}),
		does(`I leave {word} for later`, func(_ context.Context, w *steps.World, a steps.Args) error {
			w.After(func(context.Context) {
				w.Note("later")
				if a.Text(0) == "panic" {
					panic("later")
				}
			})
			return nil
		}),
		does(`I panic`, func(context.Context, *steps.World, steps.Args) error { panic("no luck") }),
		does(`I panic with nothing`, func(context.Context, *steps.World, steps.Args) error { panic(nil) }), //nolint:govet // on purpose
		does(`I exit`, func(context.Context, *steps.World, steps.Args) error { runtime.Goexit(); return nil }),
		does(`I am pending`, func(context.Context, *steps.World, steps.Args) error { return &otherStatus{result.Pending} }),
		does(`I am skipped`, func(context.Context, *steps.World, steps.Args) error { return &otherStatus{result.Skipped} }),
		does(`I go wrong inside`, func(context.Context, *steps.World, steps.Args) error { return io.ErrUnexpectedEOF }),
		does(`I am late`, func(ctx context.Context, _ *steps.World, _ steps.Args) error { <-ctx.Done(); return nil }),
		does(`I hang`, func(context.Context, *steps.World, steps.Args) error { <-release; return nil }),
		does(`I have {word}`, func(context.Context, *steps.World, steps.Args) error { return nil }),
		does(`I {word} both`, func(context.Context, *steps.World, steps.Args) error { return nil }),
	)
}

// otherStatus is an error with a status of its own.
type otherStatus struct{ status result.Status }

func (o *otherStatus) Error() string         { return "it is " + string(o.status) }
func (o *otherStatus) Status() result.Status { return o.status }

// TestExecutorsAgree runs a corpus through godog and directly. godog is the reference: every part of the result that is not a
// time or an id must be equal.
func TestExecutorsAgree(t *testing.T) {
	defer goleak.VerifyNone(t)
	release := make(chan struct{})
	defer close(release)
	l := define(t, corpus(release), []string{"I do several", "I pass", "I report well", "I am prepared"},
		[]string{"I do several badly", "I pass", "I report badly", "I pass"},
		[]string{"I do several deeply", "I do several", "I do several badly", "I pass"}, []string{"I hang below", "I pass", "I hang"})
	for name, texts := range map[string][]string{
		"passed":          {"I pass", "I pass"},
		"nothing":         nil,
		"failed":          {"I pass", `I fail with "550"`, "I pass"},
		"reports":         {"I report well", "I report badly", "I report well"},
		"twice":           {"I pass", "I report well", "I pass", "I report well"},
		"later":           {"I leave something for later", "I pass"},
		"later it panics": {"I leave panic for later", "I pass"},
		"panic":           {"I panic", "I pass"},
		"panic nil":       {"I panic with nothing", "I pass"},
		"goexit":          {"I pass", "I exit", "I pass"},
		"pending":         {"I pass", "I am pending", "I pass"},
		"skipped":         {"I am skipped", "I pass"},
		"internal":        {"I go wrong inside", "I pass"},
		"deadline":        {"I pass", "I wait", "I pass"},
		"late":            {"I am late", "I pass"},
		"hanging":         {"I pass", "I hang", "I pass"},
		"hanging below":   {"I pass", "I hang below", "I pass"},
		"undefined":       {"I pass", "I pas", "I pass"},
		"ambiguous":       {"I pass", "I have both"},
		"prepared":        {"I am prepared", "I pass"},
		"unprepared":      {"I pass", "I cannot be prepared", "I pass"},
		"several":         {"I do several", "I pass"},
		"several badly":   {"I pass", "I do several badly", "I pass"},
		"several deeply":  {"I do several deeply", "I pass"},
		"with a block":    {"I read:", "I pass"},
	} {
		t.Run(name, func(t *testing.T) {
			s := scenario(name, texts...)
			if texts != nil && texts[0] == "I read:" {
				s.Steps[0].DocString, s.Steps[0].Table = &features.DocString{Content: "text"}, [][]string{{"cell"}}
			}
			s.Policy.Timeout = 100 * time.Millisecond
			for _, begin := range []bool{false, true} {
				var got [2]string
				var seen [2]recordingObserver
				for i, direct := range []bool{false, true} {
					r := &Runner{Target: &steps.Target{}, Direct: direct, Grace: 10 * time.Millisecond}
					got[i] = whole(r.Run(t.Context(), NewPlan(s, l, Defaults{}), Occasion{Observer: &seen[i], Begin: begin}))
				}
				if got[0] != got[1] {
					t.Errorf("through godog:\n%s\ndirectly:\n%s", got[0], got[1])
				}
				if through, directly := strings.Join(seen[0].events, "\n"), strings.Join(seen[1].events, "\n"); through != directly {
					t.Errorf("events through godog:\n%s\ndirectly:\n%s", through, directly)
				}
			}
		})
	}
}

// whole returns everything of a result that is not a time, an id or a stack.
func whole(r *result.Result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s %s: %s; left %q\n", r.State(), r.Status, r.Reason, r.Blame, r.Error, r.Cleanup)
	var step func(s result.StepResult, indent string)
	step = func(s result.StepResult, indent string) {
		fmt.Fprintf(&b, "%s%s %q %q %s:%d %s ran=%t %s %s: %s; note %q measured %v\n", indent, s.Keyword, s.Text, s.Label, s.File, s.Line, s.Status, s.Ran,
			s.Reason, s.Blame, s.Error, s.Note, s.Measurements)
		for _, p := range s.Phases {
			fmt.Fprintf(&b, "%s  phase %s %s\n", indent, p.Name, p.Note)
		}
		for _, e := range s.Evidence {
			fmt.Fprintf(&b, "%s  evidence %s\n", indent, e.Name)
		}
		for _, inner := range s.Steps {
			step(inner, indent+"  ")
		}
	}
	for _, s := range r.Steps {
		step(s, "")
	}
	return b.String()
}

// TestOwnCodeRunsInGodog holds that the direct way is never taken where a team's own code takes part.
func TestOwnCodeRunsInGodog(t *testing.T) {
	plans, own := ownPlans(t, "Scenario: One\nWhen I add 1\nThen the sum is 1\n", ownGlue)
	r := &Runner{Target: &steps.Target{}, Own: own, Direct: true}
	if res := r.Run(t.Context(), plans[0], Occasion{}); res.State() != result.OK {
		t.Error(outline(res))
	}
	for _, e := range []struct {
		runner *Runner
		want   Executor
	}{{&Runner{Own: own, Direct: true}, suite{own}}, {&Runner{Direct: true}, direct{}}, {&Runner{Direct: true, Own: &cucumber.Own{}}, direct{}}, {&Runner{}, suite{}}} {
		if got := e.runner.executor(); got != e.want {
			t.Errorf("got %T, want %T", got, e.want)
		}
	}
}
