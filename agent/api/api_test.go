package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"

	"github.com/stepwatch/stepwatch/agent/history"
	"github.com/stepwatch/stepwatch/agent/latest"
	"github.com/stepwatch/stepwatch/agent/recent"
	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/agent/silence"
	"github.com/stepwatch/stepwatch/agent/state"
)

// broken is a history that cannot be read.
type broken struct{ err error }

func (b broken) Runs(context.Context, history.Query) ([]history.Run, bool, error) {
	return nil, false, b.err
}

func (b broken) Run(context.Context, string) (history.Run, error) { return history.Run{}, b.err }

func (b broken) Account(context.Context, time.Time, time.Time, []string) (history.Account, error) {
	return history.Account{}, b.err
}

func (b broken) Heartbeats(context.Context, int, ...string) (map[string][]history.Beat, error) {
	return nil, b.err
}

func (b broken) Uptime(context.Context, time.Time, time.Time, ...string) (map[string]history.Counts, history.Range, error) {
	return nil, history.Range{}, b.err
}

func (b broken) Percentiles(context.Context, string, time.Time, time.Time, time.Duration, []float64) ([]history.Series, time.Duration, error) {
	return nil, 0, b.err
}

func (b broken) Deployment(time.Time, string, string, string, string) error { return b.err }

func (b broken) Note(time.Time, string, string, string) error { return b.err }

// hostile is text that a server may send.
const hostile = "<script>alert(1)</script> \x1b[31m \u2028 \xff & \"quoted\""

// run returns a run of a scenario, failed or not.
func run(scenario, id string, started time.Time, failed bool) *result.Result {
	r := &result.Result{Identity: result.Identity{Feature: "Mail", Scenario: scenario, File: "mail.feature", Line: 3, Owner: "post"}, Run: id, Attempt: 1, Started: started,
		Duration: 1500 * time.Millisecond, Status: result.Passed, Interval: time.Minute,
		Steps: []result.StepResult{{Keyword: "When", Text: "I send mail", Line: 4, Status: result.Passed, Ran: true, Duration: time.Second,
			Phases:       []result.Phase{{Name: "connect", Duration: time.Millisecond, Note: "220 hello"}},
			Measurements: []result.Measurement{{Name: "queue_length", Value: 3, Labels: []result.Label{{Name: "queue", Value: "deferred"}}}}}}}
	if failed {
		r.Status, r.Reason, r.Blame = result.Failed, result.ReasonRefused, result.BlameSubmission
		r.Steps = append(r.Steps, result.StepResult{Keyword: "Then", Text: "it arrives", Line: 5, Status: result.Failed, Ran: true, Duration: time.Second,
			Reason: result.ReasonRefused, Blame: result.BlameSubmission, Error: "554 " + hostile, Steps: []result.StepResult{{Keyword: "*", Text: "inner", Status: result.Skipped}}})
	}
	return r
}

// id returns the id of a run, in the form of Result.Run.
func id(kind string, i int) string {
	return fmt.Sprintf("%s%c%s", kind, 'A'+i, strings.Repeat("A", 21))
}

// world is an agent for tests.
type world struct {
	tracker *state.Tracker
	book    *silence.Book
	history *history.History
	sources Sources
	handler http.Handler
}

func newWorld(t testing.TB) *world {
	t.Helper()
	book, err := silence.Open(t.Context(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := history.Open(t.Context(), history.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = kept.Close(context.Background()) })
	w := &world{tracker: state.Open(t.Context(), state.Options{}), book: book, history: kept}
	t.Cleanup(func() { _ = w.tracker.Close() })
	var declared []state.Declaration
	results := new(latest.Results)
	at := time.Now().Add(-time.Hour)
	for i, name := range []string{"a message arrives", "a message is refused", "it never ran"} {
		declared = append(declared, state.Declaration{Identity: run(name, "", at, false).Identity, Tags: []string{"@mail", fmt.Sprintf("@number:%d", i+1)}, Interval: time.Minute})
	}
	w.tracker.Declare(declared, true)
	for i := range 5 {
		for _, r := range []*result.Result{run("a message arrives", id("GOOD", i), at.Add(time.Duration(i)*time.Minute), false),
			run("a message is refused", id("FAIL", i), at.Add(time.Duration(i)*time.Minute), true)} {
			w.tracker.Observe(r)
			results.Observe(r)
			w.history.Export(r)
		}
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) { // the history writes a little later
		if runs, _, err := kept.Runs(t.Context(), history.Query{}); err == nil && len(runs) == 10 {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("%d runs are kept: %v", len(runs), err)
		}
	}
	w.sources = Sources{Scenarios: w.tracker, Latest: results, Alerts: w.tracker, Silences: book, History: w.history, Log: slog.New(slog.DiscardHandler),
		Agent: func() Agent {
			a := Agent{Name: "eu-1", Version: "1.0", Started: at, Reload: &Reload{At: at, Success: false, Mistakes: []string{"x.feature:1: y"}},
				History: &Storage{Path: "/var/lib/stepwatch/history.db", Bytes: 4096, LastWrite: at}, Troubles: []string{"the disk is full"},
				Recent: &recent.Counts{Window: state.Seconds(time.Minute), Due: 2, Dropped: map[string]uint64{"history": 2}}}
			a.Take(result.Stats{Workers: 4, Dropped: map[string]uint64{"history": 2}, Scenarios: []result.ScenarioStats{{Missed: 1, Late: 2}, {Missed: 3, Late: 4}}})
			return a
		}}
	w.handler = New(w.sources)
	return w
}

func (w *world) id(name string) string { return run(name, "", time.Time{}, false).Identity.ID() }

// ask sends a request, and returns its status and its answer.
func (w *world) ask(method, path, body string, headers ...string) (int, http.Header, string) {
	var content io.Reader
	if body != "" {
		content = strings.NewReader(body)
	}
	r := httptest.NewRequest(method, path, content)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	recorder := httptest.NewRecorder()
	w.handler.ServeHTTP(recorder, r)
	return recorder.Code, recorder.Header(), recorder.Body.String()
}

// described reads the description.
func described(t *testing.T) (*openapi3.T, routers.Router) {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(Description)
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Fatal(err)
	}
	router, err := gorillamux.NewRouter(doc)
	if err != nil {
		t.Fatal(err)
	}
	return doc, router
}

// TestDescribedRoutes holds that each route is described and each description has a route, with the same query parameters.
func TestDescribedRoutes(t *testing.T) {
	doc, _ := described(t)
	var has, says []string
	for _, route := range routes() {
		query := slices.Clone(route.query)
		slices.Sort(query)
		has = append(has, fmt.Sprintf("%s %s %v", route.method, route.path, query))
	}
	for path, item := range doc.Paths.Map() {
		for method, operation := range item.Operations() {
			query := []string{}
			for _, p := range slices.Concat(item.Parameters, operation.Parameters) {
				if p.Value.In == "query" {
					query = append(query, p.Value.Name)
				}
			}
			slices.Sort(query)
			if path != "/api/openapi.yaml" {
				says = append(says, fmt.Sprintf("%s %s %v", method, path, query))
			}
		}
	}
	slices.Sort(has)
	slices.Sort(says)
	if !slices.Equal(has, says) {
		t.Errorf("the routes\n%s\nare not those of openapi.yaml\n%s", strings.Join(has, "\n"), strings.Join(says, "\n"))
	}
}

// TestDescribedOperations sends requests of every operation, good and bad ones. The good requests and every answer must be as
// openapi.yaml describes them.
func TestDescribedOperations(t *testing.T) {
	_, router := described(t)
	w := newWorld(t)
	openAlert := w.tracker.Alerts()[0].ID
	active, err := w.book.Add(t.Context(), silence.Request{Author: "anna", Reason: "upgrade", Duration: 3600, Matchers: silence.Matchers{All: true}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	w.book.SetWindows(silence.NewWindows([]silence.WindowSpec{
		{Name: "nightly", Scenarios: silence.Matchers{Name: silence.Values{"a message*"}}, When: []silence.WhenSpec{{Times: []silence.TimesSpec{{Start: "02:00", End: "04:00"}}}}},
		{Name: "the move", Scenarios: silence.Matchers{Tags: "@mail"}, When: []silence.WhenSpec{{From: "2020-01-01 10:00", Until: "2020-01-01 11:00"}}},
	}, time.Now(), func(setting, format string, args ...any) { t.Errorf(setting+" "+format, args...) }))
	good, bad := w.id("a message arrives"), w.id("a message is refused")
	done := make(map[string]bool)
	for _, c := range []struct {
		method, path, body string
		status             int
		says               string // in the answer
	}{
		{"GET", "/api/scenarios", "", 200, `"next_run"`},
		{"GET", "/api/scenarios?name=a+message*&state=CRITICAL&state=UNKNOWN&feature=Mail&owner=post&tag=@mail", "", 200, "a message is refused"},
		{"GET", "/api/scenarios?limit=1", "", 200, `"next":"` + good},
		{"GET", "/api/scenarios?limit=1&cursor=" + good, "", 200, `"next":"` + bad},
		{"GET", "/api/scenarios?cursor=" + w.id("it never ran"), "", 200, `"scenarios":[]`},
		{"GET", "/api/scenarios?name=nothing", "", 200, `"scenarios":[]`},
		{"GET", "/api/scenarios?nmae=x", "", 400, `there is no query parameter \"nmae\": there are name, feature, owner, tag, state, limit, cursor`},
		{"GET", "/api/scenarios?state=critical", "", 400, `state is \"critical\": there are OK, WARNING`},
		{"GET", "/api/scenarios?limit=0", "", 400, "from 1 to 5000"},
		{"GET", "/api/scenarios?limit=5001", "", 400, "from 1 to 5000"},
		{"GET", "/api/scenarios?limit=1&limit=2", "", 400, "limit is given 2 times"},
		{"GET", "/api/scenarios?cursor=x", "", 400, "list from the beginning"},
		{"GET", "/api/scenarios?name=%ff", "", 400, "UTF-8"},
		{"GET", "/api/scenarios?name=%zz", "", 400, "cannot be read"},
		{"GET", "/api/scenarios?name=" + strings.Repeat("x", 501), "", 400, "at most 500 bytes"},
		{"GET", "/api/results", "", 200, `"text":"I send mail","label":`},
		{"GET", "/api/results?id=" + good + "&id=0123456789ab", "", 200, `"unknown":["0123456789ab"]`},
		{"GET", "/api/results?name=Mail:+a+message+is+refused&tags=@mail+and+not+@slow", "", 200, `"reason":"refused"`},
		{"GET", "/api/results?id=" + w.id("it never ran"), "", 200, `"last_summary"`},
		{"GET", "/api/results?name=a+message", "", 404, `of those that the agent has on a schedule, no scenario is called \"a message\": did you mean`},
		{"GET", "/api/results?tags=@nobody", "", 404, `no scenario that the agent has on a schedule has tags that match \"@nobody\"`},
		{"GET", "/api/results?tags=@mail+and", "", 400, "it ends where a tag is expected"},
		{"GET", "/api/results?tags=@a&tags=@b", "", 400, "give it once"},
		{"GET", "/api/scenarios/" + good, "", 200, `"last_run_id":"` + id("GOOD", 4)},
		{"GET", "/api/scenarios/" + w.id("it never ran"), "", 200, `"state":"UNKNOWN"`},
		{"GET", "/api/scenarios/ffffffffffff", "", 404, "GET /api/scenarios lists"},
		{"GET", "/api/scenarios/%00%1b%5b", "", 404, "there is no scenario"},
		{"GET", "/api/scenarios/" + good + "?x=1", "", 400, "and none at all here"},
		{"GET", "/api/scenarios/" + bad + "/runs?since=24h&failed=true&limit=2", "", 200, `"next":`},
		{"GET", "/api/scenarios/" + good + "/runs?failed=false", "", 200, `"run":"` + id("GOOD", 0)},
		{"GET", "/api/scenarios/" + good + "/runs?failed=true", "", 200, `"runs":[]`},
		{"GET", "/api/scenarios/" + good + "/runs?since=2020-01-01T00:00:00Z&until=2020-01-02T00:00:00%2B01:00", "", 200, `"runs":[]`},
		{"GET", "/api/scenarios/" + good + "/runs?since=1h&until=2h", "", 400, "until is not after since"},
		{"GET", "/api/scenarios/" + good + "/runs?since=yesterday", "", 400, "RFC 3339"},
		{"GET", "/api/scenarios/" + good + "/runs?failed=yes", "", 400, "write true or false"},
		{"GET", "/api/scenarios/" + good + "/runs?cursor=x", "", 400, "send next of the answer before"},
		{"GET", "/api/scenarios/ffffffffffff/runs", "", 404, "there is no scenario"},
		{"GET", "/api/runs/" + id("FAIL", 3), "", 200, `"value":"deferred"`},
		{"GET", "/api/runs/" + id("GOOD", 3), "", 200, `"steps":[{`},
		{"GET", "/api/runs/none", "", 404, "single runs are kept for a time only"},
		{"GET", "/api/scenarios/" + bad + "/heartbeats?limit=2", "", 200, `"state":"CRITICAL"}]}`},
		{"GET", "/api/scenarios/" + w.id("it never ran") + "/heartbeats", "", 200, `"heartbeats":[]`},
		{"GET", "/api/scenarios/" + bad + "/heartbeats?limit=201", "", 400, "from 1 to 200"},
		{"GET", "/api/scenarios/ffffffffffff/heartbeats", "", 404, "there is no scenario"},
		{"GET", "/api/scenarios/" + good + "/uptime", "", 200, `"runs":{"ok":5,"warning":0,"critical":0,"unknown":0},"uptime":1}`},
		{"GET", "/api/scenarios/" + bad + "/uptime?since=2h&until=1m", "", 200, `"critical":5,"unknown":0},"uptime":0}`},
		{"GET", "/api/scenarios/" + w.id("it never ran") + "/uptime", "", 200, `"uptime":null}`},
		{"GET", "/api/scenarios/" + good + "/uptime?since=1h&until=2h", "", 400, "until is not after since"},
		{"GET", "/api/scenarios/" + good + "/durations?since=2h&bucket=1h&quantile=0.5&quantile=0.99&step=I+send+mail", "", 200, `"step":"I send mail"`},
		{"GET", "/api/scenarios/" + good + "/durations?step=I+send+nothing", "", 200, `"series":[]`},
		{"GET", "/api/scenarios/" + good + "/durations?since=1970-01-01T00:00:00Z&until=2200-01-01T00:00:00Z&bucket=1s", "", 200, `"max_seconds":1`},
		{"GET", "/api/scenarios/" + good + "/durations?bucket=0s", "", 400, "such as 15m"},
		{"GET", "/api/scenarios/" + good + "/durations?quantile=NaN", "", 400, "from 0 to 1"},
		{"GET", "/api/scenarios/" + good + "/durations?quantile=95", "", 400, "from 0 to 1"},
		{"GET", "/api/history?since=2h", "", 200, `"reason":"refused"`},
		{"GET", "/api/history?since=2h&scenario=" + good, "", 200, `"failures":[]`},
		{"GET", "/api/history?scenario=ffffffffffff", "", 404, "there is no scenario"},
		{"GET", "/api/history?since=1m&until=2m", "", 400, "until is not after since"},
		{"POST", "/api/deployments", `{"what":"webmail 2.4.1","author":"ci","link":"https://ci.example.org/1","text":"with the new editor"}`, 202, `"kind":"deployment"`},
		{"POST", "/api/deployments", `{"author":"ci"}`, 400, `"field":"what"`},
		{"POST", "/api/deployments", `{"what":"webmail"}`, 400, `"field":"author"`},
		{"POST", "/api/deployments", `{"what":"webmail","author":"ci","link":"javascript:alert(1)"}`, 400, `"field":"link"`},
		{"POST", "/api/deployments", `{"what":"webmail","author":"ci","at":"2199-01-01T00:00:00Z"}`, 400, "has not come yet"},
		{"POST", "/api/deployments", `{"what":"webmail","author":"ci","at":"1900-01-01T00:00:00Z"}`, 400, "is the year right"},
		{"POST", "/api/deployments", `{"what":"two\nlines","author":"ci"}`, 400, "write it in one line"},
		{"POST", "/api/notes", `{"text":"the rack was moved","author":"anna","scenario_id":"` + good + `"}`, 202, `"scenario_id":"` + good},
		{"POST", "/api/notes", `{"text":"the rack was moved","author":"anna","at":"` + time.Now().Add(-time.Minute).Format(time.RFC3339) + `"}`, 202, `"kind":"note"`},
		{"POST", "/api/notes", `{"text":"x","author":"anna","scenario_id":"ffffffffffff"}`, 404, "there is no scenario"},
		{"POST", "/api/notes", `{"author":"anna"}`, 400, `"field":"text"`},
		{"GET", "/api/maintenance", "", 200, `"name":"nightly"`},
		{"GET", "/api/alerts", "", 200, openAlert},
		{"GET", "/api/alerts?state=soft", "", 200, `"alerts":[]`},
		{"GET", "/api/alerts?state=resolved", "", 400, "soft or hard"},
		{"GET", "/api/alerts?limit=1&cursor=" + openAlert, "", 200, `"alerts":[]`},
		{"GET", "/api/alerts?cursor=x", "", 400, "not open any more"},
		{"POST", "/api/alerts/" + openAlert + "/acknowledgement", `{"author":"anna","comment":"on it"}`, 200, `"comment":"on it"`},
		{"GET", "/api/alerts", "", 200, `"author":"anna"`},
		{"GET", "/api/scenarios/" + bad, "", 200, `"author":"anna"`},
		{"POST", "/api/alerts/" + openAlert + "/acknowledgement", `{"comment":"on it"}`, 400, `"field":"author"`},
		{"POST", "/api/alerts/" + openAlert + "/acknowledgement", `{"author":"anna"}`, 400, `"field":"comment"`},
		{"POST", "/api/alerts/none/acknowledgement", `{"author":"anna","comment":"on it"}`, 404, "no open alert"},
		{"DELETE", "/api/alerts/" + openAlert + "/acknowledgement", "", 204, ""},
		{"DELETE", "/api/alerts/none/acknowledgement", "", 404, "no open alert"},
		{"GET", "/api/silences", "", 200, active.ID},
		{"GET", "/api/silences?state=ended", "", 200, `"silences":[]`},
		{"GET", "/api/silences?state=over", "", 400, "active, pending and ended"},
		{"GET", "/api/silences?limit=1&cursor=" + active.ID, "", 200, `"silences":[]`},
		{"POST", "/api/silences", `{"author":"anna","reason":"rack","duration_seconds":60,"matchers":{"name":"a message*"}}`, 201, `"scenarios":2`},
		{"POST", "/api/silences", `{"author":"anna","reason":"rack","end":"2199-01-01T00:00:00Z","matchers":{"all":true}}`, 400, `"field":"end"`},
		{"POST", "/api/silences", `{"reason":"rack","duration_seconds":60,"matchers":{"all":true}}`, 400, `"field":"author"`},
		{"POST", "/api/silences", `{"author":"anna","reason":"rack","duration_seconds":60,"matchers":{}}`, 400, "no scenario is selected"},
		{"POST", "/api/silences", `{"author":"anna","reason":"rack","duration_seconds":60,"matchers":{"nmae":"x"}}`, 400, `there is no field \"nmae\"`},
		{"POST", "/api/silences", `{"author":"anna","raeson":"rack"}`, 400, `there is no field \"raeson\"`},
		{"POST", "/api/silences", `{"author":7}`, 400, `the field \"author\" cannot be a JSON number`},
		{"POST", "/api/silences", `{"end":"tomorrow"}`, 400, `\"tomorrow\" is not a time`},
		{"POST", "/api/silences", `{"author":`, 400, "not JSON"},
		{"POST", "/api/silences", `{"login":"root"}`, 400, `there is no field \"login\"`},
		{"POST", "/api/silences", `{} {}`, 400, "send one object"},
		{"POST", "/api/silences", `[]`, 400, "cannot be a JSON array"},
		{"POST", "/api/silences", "{\"author\":\"\xff\"}", 400, "not valid UTF-8"},
		{"POST", "/api/silences", `{"author":"` + strings.Repeat("x", bodyMost) + `"}`, 413, "the limit"},
		{"GET", "/api/silences/" + active.ID, "", 200, `"state":"active"`},
		{"GET", "/api/silences/none", "", 404, "there is no silence with this id"},
		{"DELETE", "/api/silences/" + active.ID, "", 400, `"field":"author"`},
		{"DELETE", "/api/silences/" + active.ID + "?author=bob", "", 200, `"ended_by":"bob"`},
		{"DELETE", "/api/silences/" + active.ID + "?author=bob", "", 409, "already ended"},
		{"DELETE", "/api/silences/none?author=bob", "", 404, "there is no silence"},
		{"GET", "/api/agent", "", 200, `"missed":4`},
		{"GET", "/api/openapi.yaml", "", 200, "openapi: 3.1"},
	} {
		status, header, body := w.ask(c.method, c.path, c.body)
		if status != c.status || !strings.Contains(body, c.says) && c.says != `"next_run"` {
			t.Errorf("%s %s %.80s: %d %s\nwant %d %s", c.method, c.path, c.body, status, body, c.status, c.says)
			continue
		}
		request := httptest.NewRequest(c.method, c.path, strings.NewReader(c.body))
		if c.body != "" {
			request.Header.Set("Content-Type", "application/json")
		}
		route, parameters, err := router.FindRoute(request)
		if err != nil {
			t.Errorf("%s %s is not described: %v", c.method, c.path, err)
			continue
		}
		input := &openapi3filter.RequestValidationInput{Request: request, PathParams: parameters, Route: route,
			Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true}}
		if status < 300 {
			done[route.Operation.OperationID] = true
			if err := openapi3filter.ValidateRequest(t.Context(), input); err != nil {
				t.Errorf("%s %s: the request is not as described: %v", c.method, c.path, err)
			}
		}
		response := &openapi3filter.ResponseValidationInput{RequestValidationInput: input, Status: status, Header: header, Options: input.Options}
		response.SetBodyBytes([]byte(body))
		if err := openapi3filter.ValidateResponse(t.Context(), response); err != nil {
			t.Errorf("%s %s: the answer is not as described: %v\n%s", c.method, c.path, err, body)
		}
		if cache := header.Get("Cache-Control"); cache != "no-store" && c.path != "/api/openapi.yaml" {
			t.Errorf("%s %s: Cache-Control %q", c.method, c.path, cache)
		}
		if strings.ContainsAny(body, "<>\x1b\u2028") && c.path != "/api/openapi.yaml" {
			t.Errorf("%s %s: the answer has characters that HTML or a terminal takes for its own: %q", c.method, c.path, body)
		}
	}
	for path, item := range func() map[string]*openapi3.PathItem { doc, _ := described(t); return doc.Paths.Map() }() {
		for method, operation := range item.Operations() {
			if !done[operation.OperationID] {
				t.Errorf("%s %s: no good request was sent", method, path)
			}
		}
	}
}

// TestAnswersAreClosed holds that the test above would notice a field that is not described.
func TestAnswersAreClosed(t *testing.T) {
	_, router := described(t)
	w := newWorld(t)
	for _, path := range []string{"/api/scenarios", "/api/scenarios/" + w.id("a message arrives"), "/api/runs/" + id("FAIL", 3), "/api/alerts", "/api/agent", "/api/results", "/api/history", "/api/scenarios/" + w.id("a message arrives") + "/uptime"} {
		_, header, body := w.ask("GET", path, "")
		request := httptest.NewRequest("GET", path, nil)
		route, parameters, err := router.FindRoute(request)
		if err != nil {
			t.Fatal(err)
		}
		input := &openapi3filter.ResponseValidationInput{RequestValidationInput: &openapi3filter.RequestValidationInput{Request: request, PathParams: parameters, Route: route}, Status: 200, Header: header}
		input.SetBodyBytes([]byte(strings.Replace(body, "{", `{"undescribed":1,`, 1)))
		if err := openapi3filter.ValidateResponse(t.Context(), input); err == nil {
			t.Errorf("%s: a field that is not described was not noticed", path)
		}
		for _, inner := range []string{`"scenarios":[{`, `"alerts":[{`, `"steps":[{`, `"failures":[{`, `"runs":{`} {
			changed := strings.Replace(body, inner, inner+`"undescribed":1,`, 1)
			if changed == body {
				continue
			}
			input.SetBodyBytes([]byte(changed))
			if err := openapi3filter.ValidateResponse(t.Context(), input); err == nil {
				t.Errorf("%s: a field within %s that is not described was not noticed", path, inner)
			}
		}
	}
}

func TestOtherRequests(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		method, path, body, header, value string
		status                            int
		says                              string
	}{
		{"PUT", "/api/silences", "{}", "", "", 405, "use GET, HEAD, POST"},
		{"POST", "/api/scenarios", "{}", "", "", 405, "use GET, HEAD"},
		{"GET", "/api/alerts/x/acknowledgement", "", "", "", 405, "use DELETE, POST"},
		{"HEAD", "/api/scenarios", "", "", "", 200, ""},
		{"GET", "/api/", "", "", "", 404, "the API has no /api/"},
		{"GET", "/api/v1/query", "", "", "", 404, "GET /api/openapi.yaml describes"},
		{"GET", "/api/scenarios/", "", "", "", 404, "the API has no"},
		{"POST", "/api/silences", "{}", "Content-Type", "text/plain", 415, "curl --json does"},
		{"POST", "/api/silences", "a=b", "Content-Type", "application/x-www-form-urlencoded", 415, "application/json"},
		{"POST", "/api/silences", "", "Content-Type", "application/json", 400, "the body is empty"},
	} {
		status, header, body := w.ask(c.method, c.path, c.body, c.header, c.value)
		if status != c.status || !strings.Contains(body, c.says) {
			t.Errorf("%s %s: %d %s\nwant %d %s", c.method, c.path, status, body, c.status, c.says)
		}
		if status >= 400 && header.Get("Content-Type") != "application/problem+json" || status == 405 && header.Get("Allow") == "" {
			t.Errorf("%s %s: %v", c.method, c.path, header)
		}
	}
}

// TestAbsentSources holds that what an agent does not have is never an empty list.
func TestAbsentSources(t *testing.T) {
	w := &world{handler: New(Sources{Log: slog.New(slog.DiscardHandler), NoHistory: "history is off in stepwatch.yml"})}
	for _, route := range routes() {
		path := strings.NewReplacer("{id}", "x", "{run}", "x").Replace(route.path)
		body := ""
		if route.method == "POST" {
			body = "{}"
		}
		if status, _, said := w.ask(route.method, path, body); status != 503 {
			t.Errorf("%s %s: %d %s", route.method, path, status, said)
		}
	}
	if _, _, said := w.ask("GET", "/api/runs/x", ""); !strings.Contains(said, "history is off in stepwatch.yml") {
		t.Error(said)
	}
}

// TestBrokenHistory holds that a history that cannot be read is not an empty one, and that its words stay in the log.
func TestBrokenHistory(t *testing.T) {
	w := newWorld(t)
	w.sources.History = broken{errors.New("database disk image is malformed")}
	var log bytes.Buffer
	w.sources.Log = slog.New(slog.NewTextHandler(&log, nil))
	w.handler = New(w.sources)
	status, _, body := w.ask("GET", "/api/scenarios/"+w.id("a message arrives")+"/runs", "")
	if status != 500 || strings.Contains(body, "malformed") || !strings.Contains(log.String(), "malformed") {
		t.Errorf("%d %s\n%s", status, body, log.String())
	}
	w.sources.History = broken{context.DeadlineExceeded}
	w.handler = New(w.sources)
	if status, _, body := w.ask("GET", "/api/runs/"+id("GOOD", 1), ""); status != 503 || !strings.Contains(body, "ask for less at once") {
		t.Errorf("%d %s", status, body)
	}
}

// TestLogin holds that a login is the author if none is given, and is kept beside one that is given.
func TestLogin(t *testing.T) {
	w := newWorld(t)
	w.sources.User = func(context.Context) string { return "anna" }
	w.handler = New(w.sources)
	for body, author := range map[string]string{`{"reason":"rack","duration_seconds":60,"matchers":{"all":true}}`: "anna", `{"author":"night shift","reason":"rack","duration_seconds":60,"matchers":{"all":true}}`: "night shift"} {
		status, header, said := w.ask("POST", "/api/silences", body)
		var made silence.Silence
		if err := json.Unmarshal([]byte(said), &made); err != nil || status != 201 || made.Author != author || made.Login != "anna" || header.Get("Location") != "/api/silences/"+made.ID {
			t.Errorf("%d %s %v", status, said, header)
		}
		if status, _, said := w.ask("DELETE", header.Get("Location"), ""); status != 200 || !strings.Contains(said, `"ended_by":"anna"`) {
			t.Errorf("%d %s", status, said)
		}
	}
}

// TestEvents holds that what clients add is in the history a moment later, with the login as its author if none is given, and that
// what the history has not taken is not answered with success.
func TestEvents(t *testing.T) {
	w := newWorld(t)
	w.sources.User = func(context.Context) string { return "anna" }
	w.handler = New(w.sources)
	if status, _, said := w.ask("POST", "/api/deployments", `{"what":"webmail 2.4.1"}`); status != 202 {
		t.Errorf("%d %s", status, said)
	}
	if status, _, said := w.ask("POST", "/api/notes", `{"text":"rolled back","author":"night shift","scenario_id":"`+w.id("a message arrives")+`"}`); status != 202 {
		t.Errorf("%d %s", status, said)
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		_, _, said := w.ask("GET", "/api/history", "")
		var account history.Account
		if err := json.Unmarshal([]byte(said), &account); err != nil {
			t.Fatal(err, said)
		}
		var got []string
		for _, e := range account.Events {
			got = append(got, e.Kind+" "+e.Title+" "+e.Author+" "+e.Identity.Scenario)
		}
		if want := []string{"deployment webmail 2.4.1 anna ", "note rolled back night shift (login anna) a message arrives"}; slices.Equal(got, want) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("got %q", got)
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := w.history.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if status, _, said := w.ask("POST", "/api/notes", `{"text":"too late"}`); status != 503 || !strings.Contains(said, "the history is not open") {
		t.Errorf("%d %s", status, said)
	}
}

// TestPagesOfLists follows the cursors through every list.
func TestPagesOfLists(t *testing.T) {
	w := newWorld(t)
	for range 4 {
		if _, err := w.book.Add(t.Context(), silence.Request{Author: "anna", Reason: "x", Duration: 60, Matchers: silence.Matchers{All: true}}, nil); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]int{"/api/scenarios": 3, "/api/silences": 4, "/api/alerts": 1, "/api/scenarios/" + w.id("a message arrives") + "/runs": 5} {
		key := path[strings.LastIndexByte(path, '/')+1:]
		seen, cursor := make(map[string]bool), ""
		for range 10 {
			_, _, body := w.ask("GET", path+"?limit=1&cursor="+strings.ReplaceAll(cursor, "+", "%2B"), "")
			var page map[string]json.RawMessage
			var elements []struct{ ID string }
			if err := json.Unmarshal([]byte(body), &page); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(page[key], &elements); err != nil {
				t.Fatal(err, body)
			}
			for _, e := range elements {
				if seen[e.ID] {
					t.Errorf("%s: %s came twice", path, e.ID)
				}
				seen[e.ID] = true
			}
			cursor = ""
			if len(page["next"]) > 0 {
				_ = json.Unmarshal(page["next"], &cursor)
			}
			if cursor == "" {
				break
			}
		}
		if len(seen) != want {
			t.Errorf("%s: %d elements, want %d", path, len(seen), want)
		}
	}
}

// many returns a world with a thousand scenarios.
func many(t testing.TB) *world {
	w := newWorld(t)
	var declared []state.Declaration
	for i := range 1000 {
		r := run(fmt.Sprintf("scenario number %d of a site", i), fmt.Sprint(i), time.Now(), i%10 == 0)
		declared = append(declared, state.Declaration{Identity: r.Identity, Tags: []string{"@mail", "@every:1m"}, Interval: time.Minute})
		defer w.tracker.Observe(r)
	}
	w.tracker.Declare(declared, true)
	return w
}

func BenchmarkThousandScenarios(b *testing.B) {
	w := many(b)
	var size int
	for b.Loop() {
		_, _, body := w.ask("GET", "/api/scenarios", "")
		size = len(body)
	}
	b.ReportMetric(float64(size), "bytes")
}

func FuzzRequest(f *testing.F) {
	w := newWorld(f)
	for _, seed := range []struct{ path, body string }{{"scenarios?name=a*&limit=2", ""}, {"silences", `{"author":"a","reason":"b","duration_seconds":1,"matchers":{"tags":"@a and not @b"}}`},
		{"scenarios/x/runs?since=24h&until=2020-01-01T00:00:00Z", "{}"}, {"alerts/x/acknowledgement", `{"comment":"x"}`}} {
		f.Add(seed.path, seed.body)
	}
	f.Fuzz(func(t *testing.T, path, body string) {
		for _, method := range []string{"GET", "POST", "DELETE"} {
			r, err := http.NewRequest(method, "http://localhost/api/"+path, strings.NewReader(body))
			if err != nil {
				return
			}
			r.Header.Set("Content-Type", "application/json")
			recorder := httptest.NewRecorder()
			w.handler.ServeHTTP(recorder, r)
			if recorder.Code == 500 {
				t.Errorf("%s %q %q: %s", method, path, body, recorder.Body)
			}
			if media := recorder.Header().Get("Content-Type"); strings.HasSuffix(media, "json") && !json.Valid(recorder.Body.Bytes()) {
				t.Errorf("%s %q %q: not JSON: %s", method, path, body, recorder.Body)
			}
		}
	})
}
