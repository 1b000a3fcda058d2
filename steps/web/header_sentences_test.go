package web_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps/browser"
	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

// beforeIt puts challenges before the one of each response, in the same field.
type beforeIt struct {
	http.ResponseWriter
	more string
}

func (b *beforeIt) WriteHeader(status int) {
	if own := b.Header().Get("WWW-Authenticate"); own != "" {
		b.Header().Set("WWW-Authenticate", b.more+", "+own)
	}
	b.ResponseWriter.WriteHeader(status)
}

// TestChallengesInOneField logs in with digest authentication, so that no password is sent, wherever the server offers it.
func TestChallengesInOneField(t *testing.T) {
	mux := http.NewServeMux()
	basic := 0
	for path, more := range map[string]string{"/basic": `Basic realm="x, y"`, "/negotiate": "Negotiate", "/several": `Newauth realm="a", type=1, NTLM`} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			if _, _, is := r.BasicAuth(); is {
				basic++
			}
			serveDigest(&beforeIt{w, more}, r)
		})
	}
	mux.HandleFunc("/sess", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", `Digest realm="x", nonce="n", algorithm=SHA3-256, NTLM`)
		w.WriteHeader(http.StatusUnauthorized)
	})
	mux.HandleFunc("/nothing", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
	s, _ := newAnswerSite(t, mux)
	s.secrets = stepstest.Secrets{"door": "open sesame"}
	const login = "I authenticate to \"http://www.answer.test/\" as \"alice\" with the secret \"door\"\n"
	for _, c := range []sentenceCase{
		{"basic first", login + "I go to \"http://www.answer.test/basic\"\nI should see \"welcome, request 1\"", ""},
		{"negotiate first", login + "I go to \"http://www.answer.test/negotiate\"\nI should see \"welcome, request 1\"", ""},
		{"unknown ones first", login + "I go to \"http://www.answer.test/several\"\nI should see \"welcome, request 1\"", ""},
		{"an algorithm that is unknown", login + `I go to "http://www.answer.test/sess"`, `auth web: GET http://www.answer.test/sess: the digest challenge requires the algorithm "SHA3-256", which is not supported: it responds with 401 and WWW-Authenticate "Digest realm=\"x\", nonce=\"n\", algorithm=SHA3-256, NTLM"`},
		{"no challenge", login + `I go to "http://www.answer.test/nothing"`, "auth web: GET http://www.answer.test/nothing: the server offers neither digest nor basic authentication: it responds with 401 and no WWW-Authenticate, which is required (RFC 9110 section 15.5.2)"},
	} {
		t.Run(c.name, func(t *testing.T) { fixture.Expect(t, s.run(t, c.text), c.want) })
	}
	if basic != 0 {
		t.Errorf("the password was sent %d times by basic authentication", basic)
	}
	s.runInBrowser(t, []sentenceCase{
		{"negotiate first", login + `I go to "http://www.answer.test/negotiate"`, `auth web: GET http://www.answer.test/negotiate: the browser did not log in, because it cannot answer the challenge; it reads one challenge from each field, and the server responds with 401 and WWW-Authenticate "Negotiate, Digest realm=\"vault\", nonce=\"n0nce\", opaque=\"op\", algorithm=SHA-256, qop=\"auth\""`},
	}, nil, browser.Options{})
}

// TestFeedsInZones dates items with names of zones, 23 hours ago.
func TestFeedsInZones(t *testing.T) {
	mux := http.NewServeMux()
	at := time.Now().Add(-23 * time.Hour).UTC()
	for zone, offset := range map[string]int{"EST": -5, "MST": -7, "CEST": 2, "JST": 9, "UT": 0, "IST": 0, "XYZ": 0} {
		dated := at.Add(time.Duration(offset)*time.Hour).Format("Mon, 02 Jan 2006 15:04:05 ") + zone
		mux.HandleFunc("/"+zone, answering("application/rss+xml", `<rss version="2.0"><channel><item><title>News</title><pubDate>`+dated+`</pubDate></item></channel></rss>`))
	}
	mux.HandleFunc("/beside", answering("application/atom+xml", `<feed><entry><updated>`+at.Format(time.RFC3339)+`</updated></entry><entry><updated>yesterday</updated></entry></feed>`))
	s, _ := newAnswerSite(t, mux)
	for _, zone := range []string{"EST", "MST", "CEST", "JST", "UT"} {
		to := "I go to http://www.answer.test/" + zone + "\n"
		fixture.Expect(t, s.run(t, to+"the feed should have an item younger than 1 day"), "")
		if err := s.run(t, to+"the feed should have an item younger than 22 hours").Err(); err == nil || !strings.Contains(err.Error(), "is dated "+at.Format(time.RFC3339)) {
			t.Errorf("an item of 23 hours in %s: %v", zone, err)
		}
	}
	for zone, want := range map[string]string{"IST": "its zone IST is ambiguous: India (+0530), Ireland (+0100) or Israel (+0200)", "XYZ": `its zone "XYZ" is unknown`} {
		err := s.run(t, "I go to http://www.answer.test/"+zone+"\nthe feed should have at least 1 items\nthe feed should have an item younger than 26 hours").Err()
		if err == nil || !strings.Contains(err.Error(), "has an item whose age is unknown: pubDate: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("an item in %s: %v", zone, err)
		}
	}
	// IST is 1 to 5.5 hours ahead of UTC: the item is between 24 and 28.5 hours old.
	fixture.Expect(t, s.run(t, "I go to http://www.answer.test/IST\nthe feed should have an item younger than 3 days"), "")
	if err := s.run(t, "I go to http://www.answer.test/IST\nthe feed should have an item younger than 2 hours").Err(); err == nil || !strings.Contains(err.Error(), "by what its zone may mean, wanted one younger than 2 hours") {
		t.Errorf("an item that is old in every meaning of IST: %v", err)
	}
	fixture.Expect(t, s.run(t, "I go to http://www.answer.test/beside\nthe feed should have an item younger than 1 day"), "")
}

// TestOddHeadersAreNoted names what was read as browsers read it.
func TestOddHeadersAreNoted(t *testing.T) {
	server := newRawServer(t)
	s := server.site("www.raw.test")
	server.answers["/"] = coded("none", seen)
	server.answers["/length"] = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: many\r\n\r\n" + seen
	for path, want := range map[string]string{
		"/":       `the Content-Encoding "none" is not a list of known codings (RFC 9110 section 8.4), so the body was read as it is, as browsers do`,
		"/length": `the Content-Length "many" is not a length (RFC 9110 section 8.6), so the body ends with the connection`,
	} {
		o := s.run(t, "I go to http://www.raw.test"+path+"\nI should see \"seen by a visitor\"")
		fixture.Expect(t, o, "")
		if got := o.Steps[0].Report.Note; got != want {
			t.Errorf("%s: the note is %q, wanted %q", path, got, want)
		}
	}
	fixture.Expect(t, s.run(t, "I go to http://www.raw.test/\nthe page should be compressed"), `unexpected web: expect http://www.raw.test/ (200 OK) to be compressed: its Content-Encoding is "none"`)
}

// TestCookiesBesideTheTab hands cookies from a browser to a request over HTTP and back.
func TestCookiesBesideTheTab(t *testing.T) {
	if _, err := browser.Find(); err != nil {
		t.Skip("not run in a browser:", err)
	}
	server := newRawServer(t, "www.raw.test", "api.raw.test")
	s := server.site("www.raw.test", "api.raw.test")
	odd := []string{`user={"id":7,"role":"member"}; Path=/; Domain=raw.test; Secure; SameSite=None`, "items[0]=a, b; Path=/", "nameless", "ü=Müller; Path=/", `q="a\"b"; Path=/`, "deep=1; Path=/api"}
	set := []string{"Content-Type: text/html"}
	for _, field := range odd {
		set = append(set, "Set-Cookie: "+field)
	}
	server.answers["/set"] = raw(seen, set...)
	server.answers["/api/set"] = raw("{}", "Content-Type: application/json", `Set-Cookie: back={"a":"b, c"}; Path=/`, "Set-Cookie: gone=1; Path=/; Max-Age=0", "Set-Cookie: user=; Path=/; Domain=raw.test; Max-Age=0; Secure")
	s.target.Set(fixture.StartedBrowser(t, browser.Options{MapHosts: s.target.ConnectTo, Roots: [][]byte{server.roots.PEM()}}))
	o := s.run(t, `I go to "https://www.raw.test/set"
		I send GET to "https://www.raw.test/api/set"
		I send GET to "https://api.raw.test/other"
		I go to "https://www.raw.test/show"`)
	fixture.Expect(t, o, "")
	for at, want := range map[string]string{
		"www.raw.test/api/set": `deep=1; user={"id":7,"role":"member"}; items[0]=a, b; nameless; ü=Müller; q="a\"b"`,
		"api.raw.test/other":   "",
		"www.raw.test/show":    `items[0]=a, b; nameless; ü=Müller; q="a\"b"; back={"a":"b, c"}`,
	} {
		if got := fmt.Sprint(server.sent(at, "Cookie")); got != "["+want+"]" {
			t.Errorf("%s got %s, wanted %s", at, got, want)
		}
	}
}

// TestSameSiteOfBothEngines comes to a site from itself, from elsewhere, by a form and in a frame, with cookies of each kind.
func TestSameSiteOfBothEngines(t *testing.T) {
	hosts := []string{"www.here.test", "shop.here.test", "www.there.test"}
	server := newRawServer(t, hosts...)
	s := server.site(hosts...)
	server.answers["www.here.test/set"] = raw(seen, "Content-Type: text/html", "Set-Cookie: strict=1; SameSite=Strict; Path=/; Domain=here.test", "Set-Cookie: lax=1; SameSite=Lax; Path=/; Domain=here.test",
		"Set-Cookie: none=1; SameSite=None; Secure; Path=/; Domain=here.test", "Set-Cookie: default=1; Path=/; Domain=here.test")
	const page = `<a href="https://www.here.test/link?%[1]s">Link</a><form method=post action="https://www.here.test/form?%[1]s"><button>Send</button></form><iframe src="https://www.here.test/frame?%[1]s"></iframe>`
	for _, from := range hosts {
		server.answers[from+"/page"] = raw(fmt.Sprintf(page, from), "Content-Type: text/html")
	}
	text := "I go to \"https://www.here.test/set\"\n"
	for _, from := range hosts {
		to := "I go to \"https://" + from + "/page\"\n"
		text += to + "I follow \"Link\"\n" + to + "I press \"Send\"\n"
	}
	want := map[string]string{}
	for _, from := range hosts[:2] {
		for _, what := range []string{"link", "form", "frame"} {
			want[what+"?"+from] = "strict=1; lax=1; none=1; default=1"
		}
	}
	want["link?www.there.test"] = "lax=1; none=1; default=1"
	want["form?www.there.test"] = "none=1; default=1" // set less than two minutes ago
	want["frame?www.there.test"] = "none=1"
	check := func(engine string) {
		server.forget()
		fixture.Expect(t, s.run(t, text), "")
		for at, cookies := range want {
			if got := server.sent("www.here.test/"+at, "Cookie"); len(got) == 0 || got[0] != cookies {
				t.Errorf("%s, /%s got %q, wanted %q", engine, at, got, cookies)
			}
		}
	}
	check("over HTTP")
	if _, err := browser.Find(); err != nil {
		t.Skip("not run in a browser:", err)
	}
	s.target.Set(fixture.StartedBrowser(t, browser.Options{MapHosts: s.target.ConnectTo, Roots: [][]byte{server.roots.PEM()}}))
	check("in a browser")
}
