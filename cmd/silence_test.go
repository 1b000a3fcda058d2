package cmd

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/agent/silence"
)

// silencedAgent is the part of an agent's API that the verbs silence and acknowledge use. It wants a login.
func silencedAgent(t *testing.T) (url string) {
	store, err := silence.NewStore(t.Context(), t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	book, err := silence.Open(t.Context(), store, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = book.Close() })
	known := []silence.Subject{{Identity: result.Identity{Feature: "Mail", Scenario: "Relay", Owner: "mail"}}, {Identity: result.Identity{Feature: "Web", Scenario: "Front page"}}}
	answer := func(w http.ResponseWriter, value any, err error) {
		w.Header().Set("Content-Type", "application/json")
		if err != nil {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusBadRequest)
			value = map[string]string{"detail": err.Error()}
		}
		if err := json.NewEncoder(w).Encode(value); err != nil {
			t.Error(err)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/silences", func(w http.ResponseWriter, r *http.Request) {
		var request silence.Request
		if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
			t.Error(err)
		}
		request.Login, _, _ = r.BasicAuth()
		added, err := book.Add(r.Context(), request, known)
		answer(w, added, err)
	})
	mux.HandleFunc("GET /api/silences", func(w http.ResponseWriter, r *http.Request) { // one a page
		var some []silence.Listed
		next := ""
		skip := r.FormValue("cursor") != ""
		for _, l := range book.List() {
			if wanted := r.URL.Query()["state"]; skip || len(wanted) > 0 && !strings.Contains(strings.Join(wanted, " "), string(l.State)) {
				skip = skip && l.ID != r.FormValue("cursor")
				continue
			}
			if len(some) == 1 {
				next = some[0].ID
				break
			}
			some = append(some, l)
		}
		answer(w, map[string]any{"silences": some, "next": next}, nil)
	})
	mux.HandleFunc("DELETE /api/silences/{id}", func(w http.ResponseWriter, r *http.Request) {
		ended, err := book.End(r.Context(), r.PathValue("id"), r.FormValue("author"))
		answer(w, ended, err)
	})
	acknowledged := ""
	mux.HandleFunc("GET /api/alerts", func(w http.ResponseWriter, _ *http.Request) {
		alert := func(id, scenario, example string) map[string]any {
			return map[string]any{"id": id, "state": "hard", "severity": "CRITICAL", "summary": "refused", "identity": map[string]string{"feature": "Mail", "scenario": scenario, "example": example}}
		}
		lack := map[string]any{"id": "f3", "state": "hard", "severity": "UNKNOWN", "summary": "no route"}
		relay := alert("a1", "Relay", "")
		if acknowledged != "" {
			relay["acknowledged"] = map[string]string{"author": "alice", "comment": acknowledged}
		}
		answer(w, map[string]any{"alerts": []any{relay, alert("b2", "Log in", "port=993"), alert("c3", "Log in", "port=995"), lack}}, nil)
	})
	mux.HandleFunc("POST /api/alerts/a1/acknowledgement", func(w http.ResponseWriter, r *http.Request) {
		var body struct{ Author, Comment string }
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil || body.Author != "alice" {
			answer(w, nil, errors.New("who?"))
			return
		}
		acknowledged = body.Comment
		answer(w, map[string]string{"id": "a1"}, nil)
	})
	mux.HandleFunc("DELETE /api/alerts/a1/acknowledgement", func(w http.ResponseWriter, _ *http.Request) {
		acknowledged = ""
		w.WriteHeader(http.StatusNoContent)
	})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "ops" || password != "secret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// TestSilenceVerbs runs the verbs one after the other against one agent.
func TestSilenceVerbs(t *testing.T) {
	t.Setenv("TZ", "UTC")
	agent := silencedAgent(t)
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	login := []string{"--agent", agent, "--user", "ops", "--password-file", password}
	ids := regexp.MustCompile(`\b[0-9a-f]{8}\b`)
	times := regexp.MustCompile(`\w{3} \d{4}-\d\d-\d\d \d\d:\d\d \w+`)
	last := "" // id in an output
	for _, test := range []struct {
		args string
		code int
		want string // both outputs, with ID and TIME
	}{
		{"silence --for 2h --reason upgrade --author alice --owner mail", 0, "silence ID: no alerts of 1 scenario until TIME\n"},
		{"silence --until 2036-01-01 --reason x --author alice --all", 3, "stepwatch: end is more than a year after the start: a scenario that nobody wants to hear of can be removed, or tagged @manual (the answer 400 of URL)\n"},
		{"silence --for 8d --reason x --author alice --all", 3, "stepwatch: end is more than seven days after the start: set long (--long) if that is meant (the answer 400 of URL)\n"},
		{"silence --for 8d --long --reason holidays --author bob --name Nobody", 0, "silence ID: no alerts of 0 scenarios until TIME\n" +
			"stepwatch: warning: it selects none of the 2 scenarios that are loaded: compare it with their names (GET /api/scenarios)\n"},
		{"silence list", 0, "ID        STATE   TIME                            AUTHOR             SCENARIOS    REASON\n" +
			"ID  active  until TIME  alice (login ops)  owner mail   upgrade\nID  active  until TIME  bob (login ops)    name Nobody  holidays\n"},
		{"silence end LAST --author carol", 0, "silence ID of bob has ended: holidays\n"},
		{"silence end LAST", 3, "stepwatch: end the silence ID: the silence has already ended (the answer 400 of URL)\n"},
		{"silence list --ended", 0, "ID        STATE   TIME                                     AUTHOR             SCENARIOS    REASON\n" +
			"ID  active  until TIME           alice (login ops)  owner mail   upgrade\nID  ended   ended TIME by carol  bob (login ops)    name Nobody  holidays\n"},
		{"silence --for soon --reason x --all", 3, "stepwatch: --for \"soon\" is not a duration above zero: write it as 30m, 2h or 3d\n"},
		{"silence --until soon --reason x --all", 3, "stepwatch: --until \"soon\" is not a time: write it as 18:00, \"2026-12-24 18:00\" or 2026-12-24T18:00:00+01:00\n"},
		{"silence --for 2h --until 18:00 --reason x --all", 3, "stepwatch: --for and --until both say when the silence ends: use one of them\n"},
		{"silence --for 2h --all", 3, "stepwatch: say why, for those who wonder about the silence: --reason \"the relay is being replaced\"\n"},
		{"silence --all --reason x", 3, "stepwatch: say for how long (--for 2h) or until when (--until 18:00)\n"},
		{"silence --for 2h --reason x", 3, "stepwatch: no scenario is selected: set name, feature, owner, severity, location, file or tags, or all for every scenario (the answer 400 of URL)\n"},
		{"silence end", 3, "stepwatch: end needs the id of a silence: list them with \"stepwatch silence list\"\n"},
		{"silence list --owner mail", 3, "stepwatch: --owner has no meaning for \"stepwatch silence list\": leave it out\n"},
		{"silence lists", 3, "stepwatch: \"lists\" is neither \"list\" nor \"end\": to silence a scenario, write --name \"lists\" --for 2h --reason \"…\"\n"},

		{"acknowledge Relay --comment replaced --author alice", 0, "acknowledged: a1 (Mail: Relay, hard: refused)\n"},
		{"acknowledge a1 --comment again --author alice", 0, "acknowledged: a1 (Mail: Relay, hard: refused)\nstepwatch: warning: alice had already acknowledged it: replaced\n"},
		{"acknowledge a1 --withdraw", 0, "nobody takes care of a1 (Mail: Relay, hard: refused) any more\n"},
		{"acknowledge Log_in --comment x", 3, "stepwatch: \"Log in\" means 2 alerts: name one by its id:\n  b2 (Mail: Log in (port=993), hard: refused)\n  c3 (Mail: Log in (port=995), hard: refused)\n"},
		{"acknowledge Logout --comment x", 3, "stepwatch: no open alert of URL has the id or the scenario \"Logout\"; these are open:\n  a1 (Mail: Relay, hard: refused)\n" +
			"  b2 (Mail: Log in (port=993), hard: refused)\n  c3 (Mail: Log in (port=995), hard: refused)\n  f3 (stepwatch itself, hard: no route)\n"},
		{"acknowledge a1", 3, "stepwatch: say what is done about the alert: --comment \"the relay is being replaced\"\n"},
		{"acknowledge a1 b2 --comment x", 3, "stepwatch: name one alert by its id, or by its scenario: got 2 arguments\n"},
	} {
		args := append(strings.Fields(strings.ReplaceAll(test.args, "LAST", last)), login...)
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], "_", " ")
		}
		var out, errs bytes.Buffer
		code := dispatch(t.Context(), &terminal{out: &out, err: &errs}, args)
		said := out.String() + errs.String()
		if id := ids.FindAllString(said, -1); len(id) > 0 {
			last = id[len(id)-1]
		}
		said = strings.ReplaceAll(ids.ReplaceAllString(times.ReplaceAllString(said, "TIME"), "ID"), agent, "URL")
		if code != test.code || said != test.want {
			t.Errorf("%s: got %d,\n%swant %d,\n%s", test.args, code, said, test.code, test.want)
		}
	}

	var out bytes.Buffer
	if code := dispatch(t.Context(), &terminal{out: &out, err: &out}, append([]string{"silence", "list", "--json"}, login...)); code != 0 {
		t.Error(out.String())
	}
	var listed struct{ Silences []silence.Listed }
	if err := json.Unmarshal(out.Bytes(), &listed); err != nil || len(listed.Silences) != 1 || listed.Silences[0].Author != "alice" {
		t.Errorf("got %s, %v", out.String(), err)
	}
	out.Reset()
	if code := dispatch(t.Context(), &terminal{out: &out, err: &out}, []string{"silence", "list", "--agent", agent}); code != 3 || !strings.Contains(out.String(), "wants a login") {
		t.Errorf("without a login: got %d, %s", code, out.String())
	}
}

func TestReadTime(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 12, 24, 17, 30, 0, 0, berlin)
	for text, want := range map[string]string{
		"18:00":                "2026-12-24T18:00:00+01:00",
		"17:30":                "2026-12-25T17:30:00+01:00",
		"2027-06-01 18:00":     "2027-06-01T18:00:00+02:00",
		"2027-06-01":           "2027-06-01T00:00:00+02:00",
		"2027-06-01T18:00:00Z": "2027-06-01T18:00:00Z",
		"6pm":                  `"6pm" is not a time: write it as 18:00, "2026-12-24 18:00" or 2026-12-24T18:00:00+01:00`,
	} {
		at, err := readTime(text, now)
		got := at.Format(time.RFC3339)
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
}

// TestMaintenanceRule holds that every format describes the rule of windows.
func TestMaintenanceRule(t *testing.T) {
	for _, rule := range lintRules {
		if rule.id == ruleMaintenance {
			return
		}
	}
	t.Error("no description: SARIF cannot show the findings")
}

// TestLintMaintenance notes windows that are probably not as they are meant.
func TestLintMaintenance(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"a.feature": "@owner:mail\nFeature: Mail\n  Scenario: Relay\n    When I go to \"http://127.0.0.1:1/\"\n",
		"stepwatch.yml": "maintenance:\n" +
			"  - {name: typo, scenarios: {owner: mial}, when: [{weekdays: sunday}]}\n" +
			"  - {name: old, scenarios: {owner: mail}, when: [{from: 2020-01-01, until: 2020-01-02}]}\n" +
			"  - {name: good, scenarios: {tags: \"@owner:mail\"}, when: [{weekdays: sunday, location: Europe/Berlin}]}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	for zone, more := range map[*time.Location]string{time.UTC: "", time.FixedZone("", 3600): `stepwatch.yml:2:1: note: the maintenance window "typo" is in UTC, and the clock of this machine is not: set location if that is not meant, or to UTC if it is` + "\n"} {
		local := time.Local
		time.Local = zone
		var out bytes.Buffer
		code := dispatch(t.Context(), &terminal{out: &out, err: &out}, []string{"lint", "a.feature"})
		time.Local = local
		want := fmt.Sprintf("stepwatch.yml:2:1: note: the maintenance window %q selects none of the scenarios read: compare its scenarios with their names, features and tags\n", "typo") + more +
			fmt.Sprintf("stepwatch.yml:3:1: note: the maintenance window %q is over and does not occur again: remove it\n", "old") + "1 scenario, 0 mistakes, 0 warnings\n"
		if out.String() != want || code != 0 {
			t.Errorf("%s: got %d\n%swant\n%s", zone, code, out.String(), want)
		}
	}
}
