package web_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stepwatch/stepwatch/steps/browser"
	"github.com/stepwatch/stepwatch/steps/stepstest"
)

func TestLoginSentences(t *testing.T) {
	mux := http.NewServeMux()
	basic := func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "alice" || password != "open sesame" {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = fmt.Fprint(w, "<p>welcome by basic</p>")
	}
	mux.HandleFunc("/basic", basic)
	mux.HandleFunc("/digest", serveDigest)
	mux.HandleFunc("/both", func(w http.ResponseWriter, r *http.Request) { serveDigest(&alsoBasic{w}, r) })
	mux.HandleFunc("/negotiate", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", "Negotiate")
		w.WriteHeader(http.StatusUnauthorized)
	})
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer t0k3n-of-api" {
			w.Header().Set("WWW-Authenticate", "Bearer")
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = fmt.Fprint(w, "<p>welcome by token</p>")
	})
	mux.HandleFunc("/show", func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "<p>sent %d logins</p>", len(r.Header.Values("Authorization")))
	})
	mux.HandleFunc("/away", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://www.answer.test/show", http.StatusFound)
	})
	s, root := newAnswerSite(t, mux)

	as := func(secret string) string {
		return `I authenticate to "http://www.answer.test/" as "alice" with the secret "` + secret + "\"\n"
	}
	const token = `I authenticate to "http://www.answer.test/" with the secret token "api"` + "\n"
	at := func(path string) string { return `I go to "http://www.answer.test` + path + `"` + "\n" }
	refused := func(path string) string {
		return "auth web: GET http://www.answer.test" + path + ": the credentials were refused with 401 Unauthorized"
	}
	unasked := "http_status web: GET http://www.answer.test/basic: status 401 Unauthorized, wanted 2xx or 3xx (`I try to go to \"http://www.answer.test/basic\"` accepts any status)"
	cases := []sentenceCase{
		{"basic", as("door") + at("/basic") + at("/basic") + `I should see "welcome by basic"`, ""},
		{"basic, wrong", as("wrong") + at("/basic"), refused("/basic")},
		{"basic, without", at("/basic"), unasked},
		{"basic for another server", `I authenticate to "https://www.answer.test/" as "alice" with the secret "door"` + "\n" + at("/basic"), unasked},
		{"basic, any status", as("wrong") + `I try to go to "http://www.answer.test/basic"` + "\nthe response status should be 401", ""},
		{"basic is not sent unasked", as("door") + at("/show") + `I should see "sent 0 logins"`, ""},
		{"digest", as("door") + at("/digest") + at("/digest") + `I should see "welcome, request 2"`, ""},
		{"digest, wrong", as("wrong") + at("/digest"), refused("/digest")},
		{"digest before basic", as("door") + at("/both") + `I should see "welcome, request 1"`, ""},
		{"neither", as("door") + at("/negotiate"), `auth web: GET http://www.answer.test/negotiate: the server offers neither digest nor basic authentication: it responds with 401 and WWW-Authenticate "Negotiate"`},
		{"token", token + at("/token") + `I should see "welcome by token"`, ""},
		{"token, wrong", `I authenticate to "http://www.answer.test/" with the secret token "old"` + "\n" + at("/token"), refused("/token")},
		{"token for another server", token + at("/away") + `I should see "sent 0 logins"`, ""},
		{"no secret", as("none"), `config scenario: no secret "none": add it under secrets in stepwatch.yml`},
		{"no server", `I authenticate to "/intranet" as "alice" with the secret "door"`, `scenario scenario: "/intranet" is not the address of a server: write it as "https://www.example.org/"`},
		{"no name", `I authenticate to "http://www.answer.test/" as "a:b" with the secret "door"`, `scenario scenario: "a:b" is not a valid HTTP user name: it is empty or contains a colon`},
		{"no token", `I authenticate to "http://www.answer.test/" with the secret token "door"`, `config scenario: the secret "door" contains characters that are not allowed in a token (RFC 6750 section 2.1), such as white space`},
	}
	s.secrets = stepstest.Secrets{"door": "open sesame", "wrong": "close sesame", "api": "t0k3n-of-api", "old": "t0k3n-of-old"}
	s.runOnBoth(t, cases, nil, browser.Options{Roots: [][]byte{root}})
	for _, text := range []string{as("wrong") + at("/basic"), as("wrong") + at("/digest"), token + at("/token") + `I should see "nothing"`} {
		o := s.run(t, text)
		kept := o.Err().Error()
		for _, step := range o.Steps {
			for _, e := range step.Report.Evidence {
				kept += string(e.Body)
			}
		}
		for _, secret := range []string{"close sesame", "t0k3n", "YWxpY2U6Y2xvc2Ugc2VzYW1l"} {
			if strings.Contains(kept, secret) {
				t.Errorf("%s: keeps %q: %s", text, secret, kept)
			}
		}
	}
}

// alsoBasic adds a challenge for basic authentication to each response.
type alsoBasic struct{ http.ResponseWriter }

func (a *alsoBasic) WriteHeader(status int) {
	a.Header().Add("WWW-Authenticate", `Basic realm="x"`)
	a.ResponseWriter.WriteHeader(status)
}
