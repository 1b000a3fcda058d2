package web_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/browser"
	"github.com/stepwatch/stepwatch/steps/httpwire"
	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

// TestWebEvidence searches the evidence of a failure for secrets in every encoding, and for the parts that it must
// have.
func TestWebEvidence(t *testing.T) {
	const secret, typed, served = `s3 <"é&/same~*`, "typ3d pass", "s3rved-pw"
	mux := http.NewServeMux()
	page := func(path string, body func(r *http.Request) string) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.Header().Set("X-Debug", r.URL.RawQuery)
			http.SetCookie(w, &http.Cookie{Name: "id", Value: "s3cr3tc00kie", Path: "/"})
			_, _ = io.WriteString(w, body(r))
		})
	}
	page("/login", func(*http.Request) string {
		return `<form action=/members><label>PIN <input type=password name=pin></label><label>Word <input type=password name=word value="` + served + `"></label>
			<button>Buy</button></form>`
	})
	page("/members", func(r *http.Request) string {
		pin := r.FormValue("pin")
		script, _ := json.Marshal(pin)
		return `<h1>Members</h1><p>` + html.EscapeString(pin) + `</p><input value="` + html.EscapeString(pin) + `"><input type=password value=` + served + `>
			<script>console.error("wrong: " + ` + string(script) + ` + " at " + location.href); alert(` + string(script) + `)</script><p>` + html.EscapeString(r.FormValue("word")) + `</p>`
	})
	page("/last", func(*http.Request) string { return "<p>Last" })
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	target := (&steps.Target{ConnectTo: map[string]string{"www.example.test:80": server.Listener.Addr().String()}}).Set(httpwire.Web{Patience: 50 * time.Millisecond})
	var forms []string
	for _, s := range []string{secret, typed, served} {
		quoted, _ := json.Marshal(s)
		forms = append(forms, s, url.QueryEscape(s), url.PathEscape(s), html.EscapeString(s), strings.Trim(string(quoted), `"`), base64.StdEncoding.EncodeToString([]byte(s)),
			strings.NewReplacer("&", "&amp;", "<", "&lt;", `"`, "&quot;").Replace(s))
	}
	forms = append(forms, "s3cr3tc00kie", "s3%20%3C", "s3+%3C", "c2Fu")
	look := func(t *testing.T, inBrowser bool, want []string) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		o, err := stepstest.Scenario{Target: target, Secrets: stepstest.Secrets{"members": secret}, Browser: inBrowser}.Run(ctx, `I go to "http://al:c2FuZHk@www.example.test/login"
			I fill in "PIN" with the secret "members"
			I fill in "Word" with "`+typed+`"
			I press "Buy"
			I should see "nothing"`)
		if err != nil {
			t.Fatal(err)
		}
		if o.Err() == nil || len(o.Steps) != 5 {
			t.Fatalf("%d steps ran: %v", len(o.Steps), o.Err())
		}
		var names []string
		for _, e := range o.Steps[4].Report.Evidence {
			names = append(names, e.Name)
			if e.Name == "screenshot" {
				continue // TestPicture looks at it
			}
			for _, form := range forms {
				if strings.Contains(string(e.Body), form) {
					t.Errorf("%s holds %q: %s", e.Name, form, e.Body)
				}
			}
			needs := map[string][]string{"requests": {`"url":"http://www.example.test/login"`, `"url":"http://www.example.test/members?pin=[hidden]`, `"status":200`},
				"page": {"<h1>Members</h1>", "[hidden]"}, "console": {"error: wrong: [hidden] at http://www.example.test/members?pin=[hidden]", "dialog, alert: [hidden]"}, "response header": {"X-Debug: pin=[hidden]"}}
			if !inBrowser { // which does not report cookies
				needs["requests"] = append(needs["requests"], `{"name":"Set-Cookie","value":"[hidden]"}`)
			}
			for _, need := range needs[e.Name] {
				if !strings.Contains(string(e.Body), need) {
					t.Errorf("%s lacks %q: %s", e.Name, need, e.Body)
				}
			}
			if e.Name == "requests" && !json.Valid(e.Body) {
				t.Errorf("no JSON: %s", e.Body)
			}
		}
		slices.Sort(names)
		if fmt.Sprint(names) != fmt.Sprint(want) {
			t.Errorf("kept %q, want %q", names, want)
		}
	}
	t.Run("http", func(t *testing.T) { look(t, false, []string{"page", "requests", "response header"}) })
	t.Run("browser", func(t *testing.T) {
		if _, err := browser.Find(); err != nil {
			t.Skip(err)
		}
		target.Set(fixture.StartedBrowser(t, browser.Options{MapHosts: target.ConnectTo}))
		look(t, true, []string{"console", "page", "requests", "response header", "screenshot"})
	})
	t.Run("no answer", func(t *testing.T) {
		target.ConnectTo["www.example.test:80"] = "127.0.0.1:1"
		o, err := stepstest.Run(t.Context(), nil, `I go to "http://al:c2FuZHk@www.example.test/login"`, target)
		if err != nil || o.Err() == nil {
			t.Fatal(err, o.Err())
		}
		e := o.Steps[0].Report.Evidence
		if len(e) != 1 || !strings.Contains(string(e[0].Body), "connection refused") || strings.Contains(string(e[0].Body), "c2Fu") {
			t.Errorf("kept %s", e)
		}
	})
}
