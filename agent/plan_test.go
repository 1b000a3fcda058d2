package agent

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"
	"time"
	"unsafe"

	"github.com/stepwatch/stepwatch/features"
	"github.com/stepwatch/stepwatch/steps/builtin"
)

// pages returns the plans of so many scenarios of two steps each, a thousand in a file, as an agent loads them.
func pages(tb testing.TB, scenarios int) []*Plan {
	tb.Helper()
	files := fstest.MapFS{}
	for first := 0; first < scenarios; first += 1000 {
		var text strings.Builder
		fmt.Fprintf(&text, "@every:1m\nFeature: Pages from %d\n", first)
		for i := first; i < min(first+1000, scenarios); i++ {
			fmt.Fprintf(&text, "  Scenario: Page %d\n    When I go to \"http://127.0.0.1:8080/%d\"\n    Then I should see \"All is well\"\n", i, i)
		}
		files[fmt.Sprintf("pages/%06d.feature", first)] = &fstest.MapFile{Data: []byte(text.String())}
	}
	loaded, err := features.Load([]string{"pages"}, features.Options{FS: files})
	if err != nil {
		tb.Fatal(err)
	}
	library := builtin.Library()
	plans := make([]*Plan, 0, scenarios)
	for _, s := range loaded.Scenarios() {
		plan := NewPlan(s, library, Defaults{Timeout: time.Minute})
		for _, p := range plan.Problems {
			tb.Fatal(p)
		}
		plans = append(plans, plan)
	}
	return plans
}

// BenchmarkPlansAtRest reports what a plan of two steps holds while it does not run, with its scenario.
func BenchmarkPlansAtRest(b *testing.B) {
	const scenarios = 10000
	pages(b, 1) // what all plans share
	inUse := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	var before, after uint64
	for b.Loop() {
		before = inUse()
		plans := pages(b, scenarios)
		after = inUse()
		runtime.KeepAlive(plans)
	}
	b.ReportMetric(float64(after-before)/scenarios, "bytes/plan")
}

// TestPlansShare checks that a plan refers to its scenario and to what other plans hold, and copies nothing of it.
func TestPlansShare(t *testing.T) {
	plans := pages(t, 2)
	for _, p := range plans {
		for i, b := range p.Steps() {
			if b.Step != &p.Scenario.Steps[i] {
				t.Errorf("%s: step %d is a copy", p.Identity, i)
			}
			if unsafe.StringData(p.StepText(i)) != unsafe.StringData(p.Scenario.Steps[i].Text) {
				t.Errorf("%s: the text of step %d is a copy", p.Identity, i)
			}
		}
		if p.script.made != nil {
			t.Errorf("%s: the script for godog is made", p.Identity)
		}
	}
	one, other := plans[0].Steps()[1].Args.Text(0), plans[1].Steps()[1].Args.Text(0)
	if one != "All is well" || unsafe.StringData(one) != unsafe.StringData(other) {
		t.Errorf("the value %q of two scenarios is in memory twice", one)
	}
}

// TestPlanHidesPasswords checks that the text and the label of a step have no password, and the step itself keeps it.
func TestPlanHidesPasswords(t *testing.T) {
	s := scenario("hidden", "I pass", `I fail with "http://alice:wonderland@www.example.org/"`)
	res := run(t, &Runner{}, s, library())
	const hidden = `I fail with "http://alice:[hidden]@www.example.org/"`
	if got := res.Steps[1]; got.Text != hidden || got.Label != hidden || res.Steps[0].Text != "I pass" {
		t.Errorf("got %q, labelled %q", got.Text, got.Label)
	}
	if !strings.Contains(s.Steps[1].Text, "wonderland") {
		t.Errorf("the scenario itself has %q", s.Steps[1].Text)
	}
}
