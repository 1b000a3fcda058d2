// Package exporterstest contains the test suite that every exporter must pass, and results to test exporters with.
//
// It checks the contract of exporters.Exporter for any destination: Export may be called from many goroutines, accepts
// any result, does not change it, and returns. The exporter's own tests check what reaches the destination.
package exporterstest

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/exporters"
)

// Run tests the exporter that open returns. open is called once for each subtest, and cleans up the destination with
// t.Cleanup.
func Run(t *testing.T, open func(t *testing.T, host exporters.Host) exporters.Exporter) {
	t.Run("every result is accepted and not changed", func(t *testing.T) {
		e := start(t, open, exporters.Host{})
		for name, r := range Odd() {
			e.Export(r)
			if fresh := Odd()[name]; !same(r, fresh) {
				t.Errorf("%s: Export changed the result\n got %+v\nwant %+v", name, r, fresh)
			}
		}
		serve(t, e)
	})
	t.Run("many goroutines export at once", func(t *testing.T) {
		e := start(t, open, exporters.Host{Stats: Stats})
		shared := Typical()
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for range 3 {
					e.Export(shared)
					for _, r := range Odd() {
						e.Export(r)
					}
				}
			})
		}
		for range 5 {
			serve(t, e)
		}
		all.Wait()
		if !same(shared, Typical()) {
			t.Errorf("Export changed the result that goroutines share\n got %+v\nwant %+v", shared, Typical())
		}
	})
	t.Run("closing twice is closing once", func(t *testing.T) {
		e := start(t, open, exporters.Host{})
		e.Export(Typical())
		closer, ok := e.(exporters.Closer)
		if !ok {
			t.Skip("the exporter has nothing to close")
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := closer.Close(ctx); err != nil {
			t.Errorf("first Close: %v", err)
		}
		e.Export(Typical())
		if err := closer.Close(ctx); err != nil {
			t.Errorf("second Close: want nil, got %v", err)
		}
	})
	t.Run("closing ends when its context does", func(t *testing.T) {
		e := start(t, open, exporters.Host{})
		for range 100 {
			e.Export(Typical())
		}
		closer, ok := e.(exporters.Closer)
		if !ok {
			t.Skip("the exporter has nothing to close")
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = closer.Close(ctx) // it may report lost results
		}()
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Fatal("Close with an ended context did not return within 10s")
		}
	})
}

// start opens the exporter, and checks at the end of the test that it left no goroutines.
func start(t *testing.T, open func(*testing.T, exporters.Host) exporters.Exporter, host exporters.Host) exporters.Exporter {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	e := open(t, host)
	if e == nil {
		t.Fatal("no exporter")
	}
	if closer, ok := e.(exporters.Closer); ok {
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			if err := closer.Close(ctx); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
	return e
}

// serve requests the page of an exporter, if it has one, and checks that the status is 200.
func serve(t *testing.T, e exporters.Exporter) {
	t.Helper()
	endpoint, ok := e.(exporters.Endpoint)
	if !ok {
		return
	}
	if !strings.HasPrefix(endpoint.Path(), "/") {
		t.Errorf("Path: want it to begin with a slash, got %q", endpoint.Path())
	}
	w := httptest.NewRecorder()
	endpoint.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, endpoint.Path(), nil))
	if w.Code != 200 {
		t.Errorf("GET %s: want status 200, got %d:\n%s", endpoint.Path(), w.Code, w.Body)
	}
}

// same compares results. Unlike with ==, a measurement of NaN equals itself.
func same(a, b *result.Result) bool {
	return reflect.DeepEqual(a, b) || fmt.Sprintf("%#v", a) == fmt.Sprintf("%#v", b)
}

// epoch is the time of the results.
var epoch = time.Date(2026, 3, 1, 6, 30, 0, 0, time.UTC)

// Typical returns a run of a mail scenario in which the last but one step failed.
func Typical() *result.Result {
	return &result.Result{
		Identity: result.Identity{
			Feature: "Mail for example.org", Scenario: "From submission to inbox",
			File: "features/mail/submission.feature", Line: 9, Owner: "mail", Severity: "page", Location: "eu",
		},
		Run: "01JNA8Z3V5YQ8X4T2N6W1R7K9P", Attempt: 1,
		Due: epoch, Started: epoch.Add(1500 * time.Microsecond), Delay: 1500 * time.Microsecond, Prepare: 12 * time.Millisecond,
		Duration: 60*time.Second + 512*time.Millisecond, Status: result.Failed,
		Reason: result.ReasonNotReceived, Blame: result.BlameDelivery, Error: `wait for the message to "bob": want it within 60s, got nothing`,
		Budget: result.Budget{Warn: 5 * time.Second, Crit: 90 * time.Second}, Interval: time.Minute,
		Steps: []result.StepResult{
			{
				Keyword: "When", Text: `I send a message from "alice" to "bob" via 587`, Label: `I send a message from "alice" to "bob" via 587`, Line: 10,
				Status: result.Passed, Ran: true, Duration: 512 * time.Millisecond,
				Phases: []result.Phase{
					{Name: "connect", Duration: 2 * time.Millisecond}, {Name: "tls", Duration: 10 * time.Millisecond},
					{Name: "data", Duration: 500 * time.Millisecond, Note: "250 2.0.0 Ok: queued as 4F3C1A"},
				},
				Measurements: []result.Measurement{{Name: "smtp_status_code", Help: "Reply code of the last SMTP command.", Value: 250}},
			},
			{
				Keyword: "Then", Text: `"bob" receives it over IMAP within 60s`, Label: `"bob" receives it over IMAP within 60s`, Line: 11,
				Status: result.Failed, Ran: true, Duration: 60 * time.Second, Reason: result.ReasonNotReceived, Blame: result.BlameDelivery,
				Error:    `wait for the message to "bob": want it within 60s, got nothing`,
				Evidence: []result.Evidence{{Name: "imap transcript", MediaType: "text/plain; charset=utf-8", Body: []byte("* BYE\r\n")}},
			},
			{
				Keyword: "And", Text: "it passes SPF, DKIM and DMARC", Label: "it passes SPF, DKIM and DMARC", Line: 12,
				Status: result.Skipped,
			},
		},
	}
}

// Passing returns a run of a row of a web scenario outline in which all steps passed.
func Passing() *result.Result {
	return &result.Result{
		Identity: result.Identity{Feature: "The website", Scenario: "<page> is there", Example: "page=Contact", File: "features/web/pages.feature", Line: 14},
		Run:      "01JNA8Z3V5YQ8X4T2N6W1R7K9Q", Attempt: 1, Due: epoch, Started: epoch,
		Duration: 83*time.Millisecond + 21*time.Microsecond, Status: result.Passed, Interval: 5 * time.Minute,
		Steps: []result.StepResult{
			{
				Keyword: "When", Text: `I follow "Contact"`, Label: `I follow "<page>"`, Line: 7, Status: result.Passed, Ran: true, Duration: 83 * time.Millisecond,
				Phases:       []result.Phase{{Name: "connect", Duration: 3 * time.Millisecond}, {Name: "processing", Duration: 80 * time.Millisecond}},
				Measurements: []result.Measurement{{Name: "http_status_code", Help: "Status of the last answer.", Value: 200}},
			},
			{Keyword: "Then", Text: `I should see "B50F BE3B 409A"`, Label: `I should see "B50F BE3B 409A"`, Line: 8, Status: result.Passed, Ran: true, Duration: 21 * time.Microsecond},
		},
	}
}

// Stats returns the statistics of an agent that has loaded Typical and Passing, and one scenario that has not run yet.
func Stats() result.Stats {
	return result.Stats{
		Scenarios: []result.ScenarioStats{
			{Identity: Typical().Identity, Interval: time.Minute, Missed: 2, Late: 1},
			{Identity: Passing().Identity, Interval: 5 * time.Minute},
			{Identity: result.Identity{Feature: "The website", Scenario: "Visitors can log in", File: "features/web/login.feature", Line: 3, Owner: "web"}, Interval: time.Hour},
		},
		Dropped: map[string]uint64{"prometheus": 0, "history": 3},
		Running: 1, Waiting: 2, Workers: 16, Abandoned: 1,
	}
}

// Stale returns the statement that Typical's scenario has no state, because its due run could not start in time.
func Stale() *result.Result {
	r := Typical()
	for i := range r.Steps {
		s := &r.Steps[i]
		*s = result.StepResult{Keyword: s.Keyword, Text: s.Text, Label: s.Label, Line: s.Line, Status: result.Skipped}
	}
	return &result.Result{Identity: r.Identity, Stale: true, Attempt: 1, Due: r.Due.Add(time.Minute), Started: r.Due.Add(3 * time.Minute),
		Status: result.Skipped, Reason: result.ReasonNotRun, Blame: result.BlameTarget, Interval: time.Minute, Steps: r.Steps,
		Error: "no result for 2m0s: it waits for one of the 4 places for runs at mail.example.org:993, taken by others that get no answer there"}
}

// Odd returns unusual results that every exporter must accept, by a description. Each call returns new ones.
func Odd() map[string]*result.Result {
	with := func(change func(*result.Result)) *result.Result {
		r := Typical()
		change(r)
		return r
	}
	hostile := "a|b='c' \"d\";\\n\n\r\t\x00\x1b[31m\xff\xfe é 漢字 \u2028 <script> $(id) `id` {x=\"y\"} %s"
	step := func(status result.Status, ran bool) result.StepResult {
		return result.StepResult{Keyword: "When", Text: "I wait", Label: "I wait", Line: 4, Status: status, Ran: ran}
	}
	return map[string]*result.Result{
		"nothing at all":          {},
		"no run":                  Stale(),
		"no steps":                with(func(r *result.Result) { r.Steps = nil; r.Status = result.Passed }),
		"started by hand":         with(func(r *result.Result) { r.Due = time.Time{}; r.Interval = 0 }),
		"skipped":                 {Identity: result.Identity{Feature: "f", Scenario: "skipped"}, Status: result.Skipped, Steps: []result.StepResult{step(result.Skipped, false)}},
		"pending":                 {Identity: result.Identity{Feature: "f", Scenario: "pending"}, Status: result.Pending, Steps: []result.StepResult{step(result.Pending, true)}},
		"undefined":               {Identity: result.Identity{Feature: "f", Scenario: "undefined"}, Status: result.Undefined, Reason: result.ReasonScenario, Blame: result.BlameScenario, Steps: []result.StepResult{step(result.Undefined, false)}},
		"ambiguous":               {Identity: result.Identity{Feature: "f", Scenario: "ambiguous"}, Status: result.Ambiguous, Steps: []result.StepResult{step(result.Ambiguous, false)}},
		"a status from elsewhere": {Identity: result.Identity{Feature: "f", Scenario: hostile}, Status: "broken", Steps: []result.StepResult{step("broken", true)}},
		"steps of one name":       with(func(r *result.Result) { r.Steps = append(r.Steps, r.Steps...) }),
		"phases of one name":      with(func(r *result.Result) { r.Steps[0].Phases = append(r.Steps[0].Phases, r.Steps[0].Phases...) }),
		"measurements of one name": with(func(r *result.Result) {
			r.Steps[0].Measurements = append(r.Steps[0].Measurements, r.Steps[0].Measurements...)
		}),
		"measurements with wrong names": with(func(r *result.Result) {
			for _, name := range []string{"", "1", "a b", "a-b", hostile, "scenario_success", "step_duration_seconds_bucket", "scenario_runs", "build_info", strings.Repeat("a", 10000)} {
				r.Steps[0].Measurements = append(r.Steps[0].Measurements, result.Measurement{Name: name, Help: hostile, Value: 1})
			}
		}),
		"measurements with labels": with(func(r *result.Result) {
			for _, name := range []string{"hop", "hop", "", "0", "step", "__x", "le", hostile} {
				r.Steps[0].Measurements = append(r.Steps[0].Measurements,
					result.Measurement{Name: "mail_hop_seconds", Help: "A hop.", Value: 1, Labels: []result.Label{{Name: name, Value: hostile}}},
					result.Measurement{Name: "mail_hop_seconds", Help: "A hop.", Value: 2, Labels: []result.Label{{Name: "a", Value: ""}, {Name: name, Value: "x"}}})
			}
		}),
		"measurements with odd values": with(func(r *result.Result) {
			for i, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), math.Copysign(0, -1), math.MaxFloat64} {
				r.Steps[0].Measurements = append(r.Steps[0].Measurements, result.Measurement{Name: fmt.Sprintf("odd_%d", i), Value: v})
			}
		}),
		"a measurement with two HELP texts": with(func(r *result.Result) {
			r.Steps[1].Measurements = []result.Measurement{{Name: "smtp_status_code", Help: "Something else.", Value: 1}}
		}),
		"hostile texts": with(func(r *result.Result) {
			r.Identity = result.Identity{Feature: hostile, Scenario: hostile, Example: hostile, File: hostile, Owner: hostile, Severity: hostile, Location: hostile}
			r.Run, r.Error, r.Cleanup = hostile, hostile, hostile
			r.Steps[0].Note = hostile
			r.Reason, r.Blame = result.Reason(hostile), result.Blame(hostile)
			for i := range r.Steps {
				s := &r.Steps[i]
				s.Keyword, s.Text, s.Label, s.Error = hostile, hostile, hostile, hostile
				s.Phases = []result.Phase{{Name: hostile, Duration: 1, Note: hostile}}
			}
		}),
		"huge texts": with(func(r *result.Result) {
			huge := strings.Repeat("ü", 50_000)
			r.Identity.Scenario, r.Identity.Example, r.Run, r.Error = huge+"s", huge, huge, huge
			for i := range r.Steps {
				s := &r.Steps[i]
				s.Text, s.Label, s.Error = huge, huge+strings.Repeat("x", i), huge
			}
		}),
		"very many steps": with(func(r *result.Result) {
			r.Identity.Scenario = "very many steps"
			for i := range 2000 {
				s := r.Steps[0]
				s.Label = fmt.Sprintf("%s (%d)", s.Label, i)
				r.Steps = append(r.Steps, s)
			}
		}),
		"odd durations": with(func(r *result.Result) {
			r.Duration, r.Delay = -time.Second, -time.Second
			r.Steps[0].Duration, r.Steps[1].Duration = -1, math.MaxInt64
			r.Budget = result.Budget{Warn: -1, Crit: math.MaxInt64}
		}),
	}
}
