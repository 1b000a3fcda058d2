package latest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/agent/latest"
	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/agent/state"
)

func run(scenario string, started time.Time) *result.Result {
	return &result.Result{Identity: result.Identity{Feature: "F", Scenario: scenario}, Run: scenario + started.String(), Started: started,
		Interval: time.Minute, Timeout: time.Minute, Status: result.Passed, Steps: []result.StepResult{{Label: "a", Status: result.Passed, Ran: true}}}
}

// TestResultsKeepTheLast holds that one result of each scenario is kept, without its evidence and without changing it.
func TestResultsKeepTheLast(t *testing.T) {
	var results latest.Results
	now := time.Now()
	first, second := run("S", now), run("S", now.Add(time.Minute))
	second.Steps[0].Steps = []result.StepResult{{Evidence: []result.Evidence{{Name: "page", Body: make([]byte, 1<<20)}}}}
	if got := results.Of(first.Identity); got != nil {
		t.Errorf("before the first run: %+v", got)
	}
	for _, r := range []*result.Result{first, second} {
		if alerts := results.Observe(r); len(alerts) > 0 {
			t.Errorf("it raised %v", alerts)
		}
	}
	got := results.Of(result.Identity{Feature: "F", Scenario: "S", File: "moved.feature"})
	if got == nil || got.Run != second.Run || got.Steps[0].Steps[0].Evidence != nil {
		t.Errorf("got %+v, want the second run without evidence", got)
	}
	if second.Steps[0].Steps[0].Evidence == nil {
		t.Error("the result itself was changed")
	}
}

// TestResultsForgetWhatIsGone holds that scenarios which reloads remove do not fill the memory.
func TestResultsForgetWhatIsGone(t *testing.T) {
	var results latest.Results
	old := time.Now().Add(-2 * time.Hour)
	for i := range 10_000 {
		results.Observe(run(fmt.Sprint("gone ", i), old))
		results.Observe(run("S", time.Now()))
	}
	kept := 0
	for i := range 10_000 {
		if results.Of(result.Identity{Feature: "F", Scenario: fmt.Sprint("gone ", i)}) != nil {
			kept++
		}
	}
	if kept > 100 || results.Of(result.Identity{Feature: "F", Scenario: "S"}) == nil {
		t.Errorf("%d of those that are gone are kept", kept)
	}
}

func TestHandler(t *testing.T) {
	var results latest.Results
	results.Observe(run("Login", time.Now()))
	a := state.Scenario{Identity: result.Identity{Feature: "F", Scenario: "Login"}, Tags: []string{"@mail"}}
	b := state.Scenario{Identity: result.Identity{Feature: "F", Scenario: "Home"}, Tags: []string{"@web"}, ExplainedBy: a.Identity.ID()}
	c := state.Scenario{Identity: result.Identity{Feature: "F", Scenario: "Far"}, Tags: []string{"@web"}, ExplainedBy: "uplink"}
	all := []state.Scenario{a, b, c}
	for i := range all {
		all[i].ID = all[i].Identity.ID()
	}
	server := httptest.NewServer(results.Handler(func() []state.Scenario { return all }))
	defer server.Close()
	for _, test := range []struct {
		query  url.Values
		status int
		want   string // names of scenarios with what explains them, or a part of the error
	}{
		{nil, 200, "Login+ Home<the failure of F: Login Far<a lack of the monitor (uplink)"},
		{url.Values{"name": {"Login"}}, 200, "Login+"},
		{url.Values{"name": {"F: Home", "Login"}}, 200, "Login+ Home<the failure of F: Login"},
		{url.Values{"id": {all[2].ID, "0123456789ab"}}, 200, "Far<a lack of the monitor (uplink) ?0123456789ab"},
		{url.Values{"tags": {"@web and not @mail"}, "name": {"Login", "Home"}}, 200, "Home<the failure of F: Login"},
		{url.Values{"tags": {"@nobody"}}, 404, `no scenario that the agent has loaded has tags that match "@nobody"`},
		{url.Values{"tags": {"@web and"}}, 400, "it ends where a tag is expected"},
		{url.Values{"name": {"Hom"}}, 404, `no scenario is called "Hom": did you mean "Home"?`},
		{url.Values{"title": {"Home"}}, 400, `the query has no "title": use id, name and tags`},
	} {
		response, err := http.Get(server.URL + "/?" + test.query.Encode())
		if err != nil {
			t.Fatal(err)
		}
		var answer struct {
			latest.Answer
			Detail string `json:"detail"`
		}
		if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		var got []string
		for _, s := range answer.Scenarios {
			name := s.Scenario.Identity.Scenario
			if s.Result != nil {
				name += "+"
			}
			if s.Explained != "" {
				name += "<" + s.Explained
			}
			got = append(got, name)
		}
		for _, id := range answer.Unknown {
			got = append(got, "?"+id)
		}
		if said := strings.Join(got, " "); response.StatusCode != test.status || said != test.want && (test.status == 200 || !strings.Contains(answer.Detail, test.want)) {
			t.Errorf("%v: status %d, %q %q, want %d %q", test.query, response.StatusCode, said, answer.Detail, test.status, test.want)
		}
	}
}

func BenchmarkObserve(b *testing.B) {
	var results latest.Results
	runs := make([]*result.Result, 1000)
	for i := range runs {
		runs[i] = run(fmt.Sprint(i), time.Now())
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		results.Observe(runs[i%len(runs)])
	}
}
