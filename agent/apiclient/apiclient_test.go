package apiclient_test

import (
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/stepwatch/stepwatch/agent/apiclient"
)

// file writes a file and returns its path.
func file(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// agent answers like an agent with a login.
func agent(w http.ResponseWriter, r *http.Request) {
	problem := func(status int, body string) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}
	user, password, _ := r.BasicAuth()
	switch {
	case r.URL.Path == "/api/hang":
		<-r.Context().Done()
	case r.URL.Path == "/api/html":
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<p>Welcome")
	case r.URL.Path == "/api/cut":
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"name": "`)
	case r.URL.Path == "/api/large":
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, "%q", strings.Repeat("x", 2000))
	case r.URL.Path == "/api/moved":
		http.Redirect(w, r, "http://elsewhere.example/", http.StatusFound)
	case r.URL.Path == "/api/missing":
		http.NotFound(w, r)
	case r.URL.Path == "/api/nothing":
		w.WriteHeader(http.StatusTeapot)
	case r.URL.Path == "/api/terminal":
		problem(400, `{"title":"Bad Request","detail":"the reason \u001b[31m is\nempty"}`)
	case r.URL.Path == "/api/open":
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		fmt.Fprintf(w, `{"name": %q}`, r.Method+" "+r.URL.RequestURI())
	case user == "":
		problem(401, `{"detail": "a login is needed here: use curl -u NAME"}`)
	case user != "alice" || password != "secret word":
		problem(401, `{"title": "Unauthorized"}`)
	case r.Method != http.MethodGet:
		problem(403, `{"title": "Forbidden", "detail": "alice may only read"}`)
	default:
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"name": %q}`, user)
	}
}

type named struct {
	Name string `json:"name"`
}

func TestClient(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(agent))
	defer server.Close()
	secret, wrong := file(t, "secret", "secret word\n"), file(t, "wrong", "guessed")
	host := strings.TrimPrefix(server.URL, "http://")
	name, _, _ := net.SplitHostPort(host)
	netrc := file(t, "netrc", "machine other.example\nlogin bob password x\nmachine "+name+" login alice password no-blank\n")
	for _, test := range []struct {
		name, method, path string
		options            apiclient.Options
		want               string // the name in the answer, or the error
	}{
		{"no login", "GET", "/api/open", apiclient.Options{}, "GET /api/open"},
		{"query", "GET", "/api/open?a=b", apiclient.Options{}, "GET /api/open?a=b"},
		{"login", "GET", "/api", apiclient.Options{User: "alice", PasswordFile: secret}, "alice"},
		{"login wanted", "GET", "/api", apiclient.Options{}, "the agent at URL wants a login: use --user NAME --password-file FILE, or --netrc FILE"},
		{"wrong password", "GET", "/api", apiclient.Options{User: "alice", PasswordFile: wrong},
			`the agent at URL refuses the login of "alice": Unauthorized: compare the name and the password with basic_auth_users in its web configuration file`},
		{"wrong password in netrc", "GET", "/api", apiclient.Options{Netrc: netrc},
			`the agent at URL refuses the login of "alice": Unauthorized: compare the name and the password with basic_auth_users in its web configuration file`},
		{"not allowed", "DELETE", "/api", apiclient.Options{User: "alice", PasswordFile: secret}, "alice may only read (the answer 403 of URL)"},
		{"not an agent", "GET", "/api/html", apiclient.Options{}, "ask the agent at URL (GET /api/html): the answer is text/html and not JSON"},
		{"no such resource", "GET", "/api/missing", apiclient.Options{}, "404 page not found (the answer 404 of URL)"},
		{"no reason", "GET", "/api/nothing", apiclient.Options{}, "URL answers GET /api/nothing with status 418 (I'm a teapot)"},
		{"cut", "GET", "/api/cut", apiclient.Options{}, "ask the agent at URL (GET /api/cut): the answer is no JSON: is a stepwatch agent there?"},
		{"large", "GET", "/api/large", apiclient.Options{Limit: 1000}, "ask the agent at URL (GET /api/large): the answer has more than 1000 bytes"},
		{"redirect", "GET", "/api/moved", apiclient.Options{}, "URL answers GET /api/moved with a redirect (302), which is not followed: name the agent's own address with --agent"},
		{"hangs", "GET", "/api/hang", apiclient.Options{Timeout: 50 * time.Millisecond},
			"ask the agent at URL (GET /api/hang): no answer within 50ms: the agent hangs, or a firewall drops the connection"},
		{"control characters", "POST", "/api/terminal", apiclient.Options{}, "the reason  [31m is empty (the answer 400 of URL)"},
		{"TLS expected", "GET", "/api/open", apiclient.Options{URL: "https://" + host},
			"ask the agent at https://" + host + " (GET /api/open): it speaks no TLS: write http://, or set --web.config.file of the agent"},
		{"nothing listens", "GET", "/api/open", apiclient.Options{URL: "http://127.0.0.1:1"},
			"ask the agent at http://127.0.0.1:1 (GET /api/open): nothing listens there: start the agent, or name its address (listen in stepwatch.yml) with --agent URL"},
	} {
		if test.options.URL == "" {
			test.options.URL = server.URL + "/"
		}
		c, err := apiclient.New(test.options)
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		var body any
		if test.method == "POST" {
			body = named{"x"}
		}
		path, query, _ := strings.Cut(test.path, "?")
		values, _ := url.ParseQuery(query)
		var got named
		err = c.Do(t.Context(), test.method, path, values, body, &got)
		answer := got.Name
		if err != nil {
			answer = strings.ReplaceAll(err.Error(), server.URL, "URL")
			if typed := (*apiclient.Error)(nil); !errors.As(err, &typed) {
				t.Errorf("%s: the error is a %T", test.name, err)
			}
		}
		if answer != test.want {
			t.Errorf("%s: got\n%s\nwant\n%s", test.name, answer, test.want)
		}
		if strings.Contains(answer, "secret word") {
			t.Errorf("%s: the password is in %s", test.name, answer)
		}
		c.Close()
	}
}

func TestTLS(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(agent))
	server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	server.Config.ErrorLog = nil
	server.StartTLS()
	defer server.Close()
	ca := file(t, "ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	get := func(o apiclient.Options) string {
		t.Helper()
		c, err := apiclient.New(o)
		if err != nil {
			return err.Error()
		}
		defer c.Close()
		var got named
		if err := c.Get(t.Context(), "/api/open", nil, &got); err != nil {
			return err.Error()
		}
		return got.Name
	}
	if got := get(apiclient.Options{URL: server.URL, CA: ca}); got != "GET /api/open" {
		t.Error(got)
	}
	if got := get(apiclient.Options{URL: server.URL}); !strings.HasSuffix(got, "no known authority has signed its certificate: name the file of the authority with --ca FILE") {
		t.Error(got)
	}
	port := server.URL[strings.LastIndex(server.URL, ":"):]
	if got := get(apiclient.Options{URL: "https://localhost" + port, CA: ca}); !strings.HasSuffix(got, "its certificate is for another name: ask it by a name that the certificate has") {
		t.Error(got)
	}
	if got := get(apiclient.Options{URL: "http://127.0.0.1" + port}); !strings.Contains(got, "https") {
		t.Errorf("HTTP to a server of HTTPS: %s", got)
	}
}

func TestOptions(t *testing.T) {
	secret := file(t, "secret", "x\n")
	for _, test := range []struct {
		options apiclient.Options
		want    string // of the error, or the address
	}{
		{apiclient.Options{}, "http://127.0.0.1:9469"},
		{apiclient.Options{URL: "https://monitor.example.org/stepwatch/"}, "https://monitor.example.org/stepwatch"},
		{apiclient.Options{URL: "monitor:9469"}, `"monitor:9469" is not the address of an agent: write it as http://127.0.0.1:9469 or https://monitor.example.org:9469`},
		{apiclient.Options{URL: "http://alice:topsecret@localhost"}, "contains a login"},
		{apiclient.Options{URL: "http://alice:top%secret@localhost"}, "contains a login"},
		{apiclient.Options{URL: "http://localhost/?x=y"}, "leave out what follows the path"},
		{apiclient.Options{User: "alice"}, "--user alice has no password: name a file with it (--password-file)"},
		{apiclient.Options{PasswordFile: secret}, "--password-file needs --user"},
		{apiclient.Options{User: "alice", PasswordFile: "/nonexistent/file"}, "read the password: open /nonexistent/file: no such file or directory"},
		{apiclient.Options{User: "alice", PasswordFile: file(t, "empty", "\n")}, "has no password: it is empty"},
		{apiclient.Options{User: "a:b", PasswordFile: secret}, "has no colon"},
		{apiclient.Options{User: "alice", PasswordFile: secret, Netrc: secret}, "two logins"},
		{apiclient.Options{URL: "http://192.0.2.1", User: "alice", PasswordFile: secret}, "in clear text"},
		{apiclient.Options{URL: "http://localhost", User: "alice", PasswordFile: secret}, "http://localhost"},
		{apiclient.Options{URL: "https://192.0.2.1", User: "alice", PasswordFile: secret}, "https://192.0.2.1"},
		{apiclient.Options{Netrc: file(t, "netrc", "machine other login a password b")}, "has no login for 127.0.0.1: add"},
		{apiclient.Options{Netrc: file(t, "netrc", "machine 127.0.0.1 login a\nmachine other password b")}, "has no login and password for 127.0.0.1"},
		{apiclient.Options{Netrc: file(t, "netrc", "default login a password b")}, "http://127.0.0.1:9469"},
		{apiclient.Options{CA: secret}, "has no certificate in PEM"},
		{apiclient.Options{Key: secret}, "--key needs --cert"},
		{apiclient.Options{Certificate: secret}, "read the client certificate"},
	} {
		var got string
		c, err := apiclient.New(test.options)
		if err != nil {
			got = err.Error()
		} else {
			got = c.URL()
		}
		if !strings.Contains(got, test.want) || err == nil && got != test.want {
			t.Errorf("%+v: got %s, want %s", test.options, got, test.want)
		}
		if strings.Contains(got, "topsecret") || strings.Contains(got, "top%secret") {
			t.Errorf("a password is in %s", got)
		}
	}
}

// TestRedirectKeepsTheLogin holds that a server cannot send the login elsewhere.
func TestRedirectKeepsTheLogin(t *testing.T) {
	asked := false
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	defer elsewhere.Close()
	server := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	defer server.Close()
	c, err := apiclient.New(apiclient.Options{URL: server.URL, User: "alice", PasswordFile: file(t, "secret", "x")})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Post(t.Context(), "/api/silences", named{}, nil); err == nil || asked {
		t.Errorf("got %v, asked elsewhere: %v", err, asked)
	}
}

// FuzzAnswer holds that whatever a server answers is an answer or an error in one printable line.
func FuzzAnswer(f *testing.F) {
	f.Add(200, "application/json", `{"name": "x"}`)
	f.Add(400, "application/problem+json", `{"detail": "a\u001b[2Jb\nc"}`)
	f.Add(401, "text/plain; charset=utf-8", "no\x00\xff")
	f.Add(302, "", "")
	f.Fuzz(func(t *testing.T, status int, media, body string) {
		if status < 200 || status > 599 {
			return
		}
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", media)
			w.WriteHeader(status)
			fmt.Fprint(w, body)
		}))
		defer server.Close()
		c, err := apiclient.New(apiclient.Options{URL: server.URL})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		var into any
		err = c.Get(t.Context(), "/api", nil, &into)
		if err == nil {
			return
		}
		said := err.Error()
		if strings.ContainsFunc(said, unicode.IsControl) || !utf8.ValidString(said) || len(said) > 8000 {
			t.Errorf("%d %q %q: %q", status, media, body, said)
		}
	})
}
