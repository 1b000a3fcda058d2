package web_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

// apiSite responds like the API of an application: it shows what it was sent.
func apiSite(t *testing.T) *site {
	t.Helper()
	s := newSite(t)
	s.secrets = stepstest.Secrets{"api": "k3y/öf", "members": "s3same & co", "broken": "a\nb", "quoted": `q"5<\z` + strings.Repeat("v", 40)}
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = fmt.Fprintf(w, "<title>Home</title><p>[%s] [%s] [%s]</p><a href=/show>On</a>", r.Header.Get("Accept-Language"), r.Header.Get("X-Api-Key"), r.Header.Get("Cookie"))
	})
	mux.HandleFunc("/show", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Method", r.Method)
		_, _ = fmt.Fprintf(w, "%s %s [%s] %s [%s] [%s]", r.Method, r.URL, r.Header.Get("Content-Type"), body, r.Header.Get("Accept-Language"), r.Header.Get("X-Api-Key"))
	})
	mux.HandleFunc("PUT /orders/1", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.Copy(w, r.Body)
	})
	mux.HandleFunc("DELETE /orders/1", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("OPTIONS /orders/1", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Allow", "PUT, DELETE, OPTIONS") })
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, _ *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "id", Value: "4711", Path: "/", HttpOnly: true})
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<title>In</title><a href=/show>On</a>")
	})
	mux.HandleFunc("POST /moved", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://www.other.test/show", http.StatusFound)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	for _, name := range []string{"api.example.test:80", "cdn.example.test:80"} {
		s.target.ConnectTo[name] = server.Listener.Addr().String()
	}
	return s
}

func TestRequests(t *testing.T) {
	s := apiSite(t)
	const api = "http://api.example.test"
	doc := func(kind, text string) string { return "\n\"\"\"" + kind + "\n" + text + "\n\"\"\"\n" }
	for _, c := range []sentenceCase{
		{"JSON by its kind", "I send POST to " + api + "/show" + doc("json", "[1]") + `I should see "POST /show [application/json] [1]"`, ""},
		{"XML by its kind", "I send POST to " + api + "/show" + doc("xml", "<a/>") + `I should see "POST /show [application/xml] <a/>"`, ""},
		{"a media type", "I send PATCH to " + api + "/show" + doc("text/csv", "1,2") + `I should see "PATCH /show [text/csv] 1,2"`, ""},
		{"JSON that is recognised", "I send PUT to " + api + "/show" + doc("", `{"a": 1}`) + `I should see 'PUT /show [application/json] {"a": 1}'`, ""},
		{"a form", "I send POST to " + api + "/show\n| name | Ann & Bob |\n| password | the secret \"members\" |\n" + `I should see "POST /show [application/x-www-form-urlencoded] name=Ann+%26+Bob&password=s3same+%26+co"`, ""},
		{"JSON with secrets", "I send POST to " + api + "/show" + doc("json", `{"a": the secret "members", "b": ["the secret \"quoted\"", "of the secret \"members\""]}`) +
			`I should see '{"a": "s3same \u0026 co", "b": ["q\"5\u003c\\z` + strings.Repeat("v", 40) + `", "of the secret \"members\""]}'`, ""},
		{"JSON with a secret that is recognised", "I send POST to " + api + "/show" + doc("", `[the secret "api"]`) + `I should see '[application/json] ["k3y/öf"]'`, ""},
		{"JSON with no such secret", "I send POST to " + api + "/show" + doc("", `[the secret "x"]`), `config scenario: no secret "x": add it under secrets in stepwatch.yml`},
		{"XML with a secret", "I send POST to " + api + "/show" + doc("xml", "<a> the secret \"members\"\n</a>") + `I should see "[application/xml] <a>s3same &amp; co</a>"`, ""},
		{"a secret alone", "I send POST to " + api + `/show as "text/plain"` + doc("", `the secret "members"`) + `I should see "[text/plain] s3same & co ["`, ""},
		{"text about a secret", "I send POST to " + api + `/show as "text/plain"` + doc("", `see the secret "members"`) + `I should see "[text/plain] see the secret \"members\""`, ""},
		{"HEAD", "I send HEAD to " + api + "/show\nthe \"X-Method\" header should be \"HEAD\"\nthe response status should be 200", ""},
		{"OPTIONS", "I send OPTIONS to " + api + "/orders/1\nthe \"Allow\" header should contain \"DELETE\"", ""},
		{"another site's redirect", "I send POST to " + api + "/moved\nthe response status should be 302", ""},
		{"nothing says what", "I send POST to " + api + "/show" + doc("", "hello"), "scenario scenario: the media type of the body is unknown: add `as \"text/plain\"` to the step"},
		{"a body for GET", "I send GET to " + api + "/show" + doc("json", "1"), "scenario scenario: a GET request has no body: remove the one below the step"},
		{"no body", "I send POST to " + api + `/show as "text/plain"`, `scenario scenario: there is no body to send as text/plain: write it below the step, between two lines of """`},
		{"a form as something", "I send POST to " + api + `/show as "text/plain"` + "\n| a | b |", "scenario scenario: a table is sent as application/x-www-form-urlencoded: remove `as \"text/plain\"`"},
		{"a row too long", "I send POST to " + api + "/show\n| a | b | c |", "scenario scenario: row 1 of the table has 3 cells; write a field's name and its value, as in | name | Ann |"},
		{"a form with no such secret", "I send POST to " + api + "/show\n| a | the secret \"x\" |", `config scenario: no secret "x": add it under secrets in stepwatch.yml`},
		{"a header twice", "I set the request header \"accept-language\" to \"fr\"\nI set the request header \"Accept-Language\" to \"de\"\nI send GET to " + api + "/show\nI should see \"[de] []\"", ""},
		{"no header name", `I set the request header "a b" to "c"`, `scenario scenario: "a b" is not the name of a header field`},
		{"Content-Length", `I set the request header "Content-Length" to "1"`, `scenario scenario: the header "Content-Length" cannot be set: it belongs to the connection`},
		{"Authorization in plain text", `I set the request header "Authorization" to "Bearer x"`, "scenario scenario: the header \"Authorization\" contains credentials: write `I set the request header \"Authorization\" for \"https://www.example.org/\" to the secret \"…\"`, or `I authenticate`"},
		{"a secret of two lines", `I set the request header "X-Api-Key" for "http://api.example.test/" to the secret "broken"`, `config scenario: the secret "broken" contains characters that are not allowed in a header field, such as line breaks`},
		{"a secret for no server", `I set the request header "X-Api-Key" for "api" to the secret "api"`, `scenario scenario: "api" is not the address of a server: write it as "https://www.example.org/"`},
	} {
		t.Run(c.name, func(t *testing.T) { fixture.Expect(t, s.run(t, c.text), c.want) })
	}
	s.runBoth(t, []sentenceCase{
		{"as what the step says", "I send PUT to " + api + "/show as \"application/json; charset=utf-8\"" + doc("", "{broken") + `I should see "PUT /show [application/json; charset=utf-8] {broken"`, ""},
		{"no media type", "I send POST to " + api + `/show as "json"` + doc("", "1"), `scenario scenario: "json" is not a media type: write it as "application/json"`},
		{"Host", `I set the request header "host" to "c"`, `scenario scenario: the header "Host" cannot be set: connect_to in stepwatch.yml connects a name to another address`},
		{"no such secret", `I set the request header "X-Api-Key" for "http://api.example.test/" to the secret "x"`, `config scenario: no secret "x": add it under secrets in stepwatch.yml`},
		{"tried as what the step says", "I try to send DELETE to " + api + "/login as \"text/plain\"" + doc("", "x") + "the response status should be 405", ""},
		{"tried as nothing", "I try to send POST to " + api + `/show as "json"` + doc("", "1"), `scenario scenario: "json" is not a media type: write it as "application/json"`},
		{"tried with a body too many", "I try to send GET to " + api + "/show" + doc("json", "1"), "scenario scenario: a GET request has no body: remove the one below the step"},
		{"answer", "I send PUT to " + api + "/orders/1" + doc("json", `{"amount": 2}`) + "the JSON at \"$.amount\" should be \"2\"\nthe response status should be 200\nI should be on /orders/1\nI should see \"amount\"", ""},
		{"answer without a body", "I send DELETE to " + api + "/orders/1\nthe response status should be 204", ""},
		{"not allowed", "I send DELETE to " + api + "/login", "http_status web: DELETE http://api.example.test/login: status 405 Method Not Allowed, wanted 2xx or 3xx (`I try to send …` accepts any status)"},
		{"not allowed, tried", "I try to send DELETE to " + api + "/login\nthe response status should be 405", ""},
		{"cookie of the answer", "I send POST to " + api + "/login\nI should see \"On\"\nI go to " + api + "/\nI should see \"[id=4711]\"\nthe cookie \"id\" should be HttpOnly", ""},
		{"page on the way", "I go to " + api + "/\nI send POST to /login\nI should be on /login\nI go to /\nI follow \"On\"\nI should be on /show", ""},
		{"text that is not there", "I send GET to " + api + "/show\nI should see \"nothing\"", `unexpected web: see "nothing" on http://api.example.test/show (200 OK): the page does not show it; it begins with "GET /show [] [] []"`},
		{"action on an answer", "I send POST to " + api + "/login\nI follow \"On\"", ""},
		{"headers", "I set the request header \"Accept-Language\" to \"de\"\nI set the request header \"X-Api-Key\" for \"" + api + "/\" to the secret \"api\"\nI go to " + api + "/\nI should see \"[de] [k3y/öf]\"\n" +
			"I go to http://cdn.example.test/\nI should see \"[de] []\"\nI send GET to " + api + "/show\nI should see \"[de] [k3y/öf]\"", ""},
	}, map[string]string{
		"action on an answer": "scenario scenario: follow \"On\": http://api.example.test/login (200 OK) is the response to a request outside the browser, which shows another page: write `I go to` before this step",
	})
}

// TestRequestSecrets searches all evidence for a secret that was sent in a header.
func TestRequestSecrets(t *testing.T) {
	s := apiSite(t)
	for _, text := range []string{
		"I set the request header \"X-Api-Key\" for \"http://api.example.test/\" to the secret \"api\"\nI send GET to http://api.example.test/show\nthe \"X-None\" header should be \"x\"",
		"I send POST to http://api.example.test/show\n| password | the secret \"members\" |\nthe \"X-None\" header should be \"x\"",
		"I send POST to http://api.example.test/show\n\"\"\"json\n[the secret \"members\"]\n\"\"\"\nthe \"X-None\" header should be \"x\"",
		"I send PUT to http://api.example.test/orders/1\n\"\"\"json\n[the secret \"quoted\"]\n\"\"\"\nthe JSON at \"$[0]\" should be \"x\"",
		"I send PUT to http://api.example.test/orders/1\n\"\"\"json\n[the secret \"quoted\"]\n\"\"\"\nI should see \"x\"",
		"I send PUT to http://api.example.test/orders/1\n\"\"\"json\n[\"a long way to go before a secret\", \"a long way\", the secret \"quoted\"]\n\"\"\"\nI should see \"x\"",
	} {
		o := s.run(t, text)
		if o.Err() == nil {
			t.Fatal("it passed")
		}
		kept := ""
		for _, step := range o.Steps {
			kept += step.Told + fmt.Sprint(step.Report.Phases, step.Report.Note)
			for _, e := range step.Report.Evidence {
				kept += string(e.Body)
			}
		}
		for _, secret := range []string{"k3y", "s3same", "vvv"} {
			if strings.Contains(kept, secret) {
				t.Errorf("%q is kept: %s", secret, kept)
			}
		}
	}
}
