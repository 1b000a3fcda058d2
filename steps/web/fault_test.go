package web_test

import (
	"bufio"
	"context"
	"errors"
	"github.com/stepwatch/stepwatch/steps/builtin"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/features"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/httpwire"
	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

func newWebsite(t *testing.T, options stepstest.WebsiteOptions) (*stepstest.Website, *steps.Target) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	site, err := stepstest.NewWebsite(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := site.Close(); err != nil {
			t.Errorf("close the website: %v", err)
		}
		goleak.VerifyNone(t, before)
	})
	return site, &steps.Target{ConnectTo: site.ConnectTo(), Roots: site.CA.Roots}
}

func TestWebsite(t *testing.T) {
	_, target := newWebsite(t, stepstest.WebsiteOptions{})
	for _, text := range []string{
		`When I go to "http://www.demo.test/"
		And I follow "Contact"
		Then I should see "B50F BE3B 409A"
		And I should see "Contact us"
		And the request should succeed`,
		`When I go to "http://www.demo.test/members"
		Then I should be on "/login"
		When I fill in "User name" with "demo"
		And I fill in "Password" with "open sesame"
		And I press "Log in"
		Then I should be on "/members"
		And I should see "Hello demo"`,
		`When I go to "https://www.demo.test/login"
		And I fill in "User name" with "demo"
		And I fill in "Password" with "wrong"
		And I press "Log in"
		Then I should see an error message
		And I should see "Wrong name or password"`,
		`When I go to "http://www.demo.test/secure"
		Then I should be on "https://www.demo.test/secure"
		And I should see "A secure connection"
		And I follow "Home"
		And I should be on "https://www.demo.test/"`,
		`When I try to go to "http://www.demo.test/nothing"
		Then the response status should be 404`,
	} {
		o, err := stepstest.Run(t.Context(), nil, text, target)
		if err != nil {
			t.Fatal(err)
		}
		if o.Err() != nil {
			t.Errorf("%s: %v", o.Steps[len(o.Steps)-1].Text, o.Err())
		}
	}
}

// TestHTTP2 checks that the site is accessed with HTTP/2 and that the phases are also measured there.
func TestHTTP2(t *testing.T) {
	site, target := newWebsite(t, stepstest.WebsiteOptions{Wait: 30 * time.Millisecond})
	o, err := stepstest.Run(t.Context(), nil, `I go to "https://www.demo.test/"
		I follow "Contact"
		I should see "nothing"`, target)
	if err != nil {
		t.Fatal(err)
	}
	if header := string(o.Steps[2].Report.Evidence[0].Body); !strings.Contains(header, "HTTP/2.0 200") {
		t.Errorf("not HTTP/2: %s", header)
	}
	for i, want := range []string{"connect tls processing transfer", "processing transfer"} {
		var names []string
		for _, p := range o.Steps[i].Report.Phases {
			names = append(names, p.Name)
			if took := o.Steps[i].Duration; p.Name == "processing" && (p.Duration < 29*time.Millisecond || p.Duration > took) {
				t.Errorf("processing took %s of %s, the server waits 30ms", p.Duration, took)
			}
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("step %d has phases %s, want %s", i, got, want)
		}
	}
	if m := o.Steps[0].Report.Measurements[0]; m.Name != "tls_certificate_not_after_timestamp_seconds" || m.Value < float64(time.Now().Unix()) ||
		!slices.Equal(m.Labels, []result.Label{{Name: "host", Value: "www.demo.test"}}) {
		t.Errorf("first measurement is %s %v %v", m.Name, m.Value, m.Labels)
	}
	for _, broken := range []stepstest.WebFault{stepstest.ConnectionReset, stepstest.Silent, stepstest.EndlessBody} {
		site.SetBroken(broken)
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		o, err := stepstest.Run(ctx, nil, `I go to "https://www.demo.test/"`, target)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		want := map[stepstest.WebFault]string{
			stepstest.ConnectionReset: "protocol web: GET https://www.demo.test/: the server ended the HTTP/2 stream \\(INTERNAL_ERROR, RFC 9113 section 7\\)",
			stepstest.Silent:          "timeout web: GET https://www.demo.test/: no answer before the deadline",
			stepstest.EndlessBody:     `timeout web: GET https://www.demo.test/: the page was not complete before the deadline, got \d+ bytes`,
		}[broken]
		if got := fixture.Verdict(o); !regexp.MustCompile("^" + want + "$").MatchString(got) {
			t.Errorf("%s: got  %s\nwant %s", broken, got, want)
		}
	}
}

func TestWebFaults(t *testing.T) {
	other, err := stepstest.NewCA("Another CA")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		options stepstest.WebsiteOptions
		broken  stepstest.WebFault
		change  func(*steps.Target)
		address string
		want    string // a regular expression
	}{
		{name: "status 500", broken: stepstest.Status500, want: "http_status web: GET http://www.demo.test/: status 500 Internal Server Error, wanted 2xx or 3xx \\(`I try to go to \"http://www.demo.test/\"` accepts any status\\)"},
		{name: "redirect loop", broken: stepstest.RedirectLoop, want: "redirect web: redirect loop: GET http://www.demo.test/there → GET http://www.demo.test/back → GET http://www.demo.test/there"},
		{name: "body without end, deadline", broken: stepstest.EndlessBody, want: `timeout web: GET http://www.demo.test/: the page was not complete before the deadline, got \d+ bytes`},
		{name: "body without end, cap", broken: stepstest.EndlessBody, change: func(target *steps.Target) { target.Set(httpwire.Web{BodyLimit: 100}) },
			want: "too_large web: GET http://www.demo.test/: the page has more than 100 bytes, the limit; web.body_limit in stepwatch.yml raises it"},
		{name: "silent", broken: stepstest.Silent, want: "timeout web: GET http://www.demo.test/: no answer before the deadline"},
		{name: "reset", broken: stepstest.ConnectionReset, want: "disconnected web: GET http://www.demo.test/: the server closed the connection"},
		{name: "port closed", change: func(target *steps.Target) { target.ConnectTo["www.demo.test:80"] = "127.0.0.1:1" },
			want: `connect web: connect to www.demo.test:80 \(at 127.0.0.1:1\): connection refused: nothing listens on that port`},
		{name: "no such name", address: "http://nosuchhost.demo.test/", change: func(target *steps.Target) { target.Resolver = "127.0.0.1:1" },
			want: `dns dns: connect to nosuchhost.demo.test:80: "nosuchhost.demo.test" does not resolve: .*`},
		{name: "certificate expired", address: "https://www.demo.test/", options: stepstest.WebsiteOptions{Cert: &stepstest.CertOptions{Expired: true}},
			want: `certificate_expired web: TLS handshake with www.demo.test: the certificate of "www.demo.test" is valid from .* to .* only`},
		{name: "certificate for another host", address: "https://www.demo.test/", options: stepstest.WebsiteOptions{Cert: &stepstest.CertOptions{Name: "mail.demo.test"}},
			want: `certificate_host web: TLS handshake with www.demo.test: x509: certificate is valid for mail.demo.test, not www.demo.test`},
		{name: "unknown CA", address: "https://www.demo.test/", change: func(target *steps.Target) { target.Roots = other.Roots },
			want: `certificate_authority web: TLS handshake with www.demo.test: no trusted root signed the certificate \(issuer "CN=Demo Root CA"\); add a private CA's root under tls.ca in stepwatch.yml`},
		{name: "unknown CA, another host and expired", address: "https://www.demo.test/", options: stepstest.WebsiteOptions{Cert: &stepstest.CertOptions{Name: "mail.demo.test", Expired: true}},
			change: func(target *steps.Target) { target.Roots = other.Roots },
			want: `certificate_authority web: TLS handshake with www.demo.test: its certificate leads to the root "Demo Root CA", which is not trusted here: ` +
				`add a private CA's root under tls.ca in stepwatch.yml \(unknown authority\); it is for mail.demo.test, wanted www.demo.test \(wrong host\); it ended on .* ago \(expired\)`},
		{name: "another host and expired", address: "https://www.demo.test/", options: stepstest.WebsiteOptions{Cert: &stepstest.CertOptions{Name: "mail.demo.test", Expired: true}},
			want: `certificate_host web: TLS handshake with www.demo.test: its certificate is for mail.demo.test, wanted www.demo.test \(wrong host\); it ended on .* ago \(expired\)`},
		{name: "no TLS there", address: "https://www.demo.test/", change: func(target *steps.Target) {
			target.ConnectTo["www.demo.test:443"] = target.ConnectTo["www.demo.test:80"]
		},
			want: `tls web: TLS handshake with www.demo.test: the server's answer is not TLS`},
		{name: "TLS where none is expected", change: func(target *steps.Target) {
			target.ConnectTo["www.demo.test:80"] = target.ConnectTo["www.demo.test:443"]
		},
			want: "http_status web: GET http://www.demo.test/: status 400 Bad Request, wanted 2xx or 3xx .*"},
	} {
		t.Run(c.name, func(t *testing.T) {
			site, target := newWebsite(t, c.options)
			site.SetBroken(c.broken)
			if c.change != nil {
				c.change(target)
			}
			if c.address == "" {
				c.address = "http://www.demo.test/"
			}
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			start := time.Now()
			o, err := stepstest.Run(ctx, nil, "I go to "+c.address, target)
			if err != nil {
				t.Fatal(err)
			}
			if got := fixture.Verdict(o); !regexp.MustCompile("^" + c.want + "$").MatchString(got) {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if took := time.Since(start); took > 2*time.Second {
				t.Errorf("took %s, the deadline was 300ms", took)
			}
			// The fault does not affect the next run.
			site.SetBroken(stepstest.Healthy)
			again := &steps.Target{ConnectTo: site.ConnectTo()}
			if o, err := stepstest.Run(t.Context(), nil, "I go to http://www.demo.test/", again); err != nil || o.Err() != nil {
				t.Errorf("the next run: %v, %v", err, o)
			}
		})
	}
}

// speak handles each connection with serve.
func speak(t *testing.T, serve func(net.Conn)) *steps.Target {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) }) // after the server ended
	address := fixture.Connections(t, serve)
	return &steps.Target{ConnectTo: map[string]string{"www.demo.test:80": address}}
}

func readRequest(conn net.Conn) {
	request, err := http.ReadRequest(bufio.NewReader(conn))
	if err == nil {
		_, _ = io.Copy(io.Discard, request.Body)
	}
}

func TestWebProtocolFaults(t *testing.T) {
	for _, c := range []struct{ name, answer, want string }{
		{"not HTTP", "220 mail.demo.test ESMTP\r\n", `protocol web: GET http://www.demo.test/: the response is malformed: it does not begin with HTTP/ (RFC 9112 section 4): "220 mail.demo.test ESMTP"`},
		{"header without end", "HTTP/1.1 200 OK\r\n" + strings.Repeat("X-Filler: "+strings.Repeat("x", 1000)+"\r\n", 1100), "too_large web: GET http://www.demo.test/: the header of the response has more than 1048576 bytes, the limit"},
		{"header cut off", "HTTP/1.1 200 OK\r\nContent-Ty", "disconnected web: GET http://www.demo.test/: the server closed the connection"},
		{"no answer", "", "disconnected web: GET http://www.demo.test/: the server closed the connection"},
		{"bad chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "protocol web: GET http://www.demo.test/: read the page (0 bytes): the response is malformed: the size of a chunk is \"zz\" (RFC 9112 section 7.1)"},
		{"status 99", "HTTP/1.1 099 What\r\n\r\n", `protocol web: GET http://www.demo.test/: the response is malformed: its status code is below 100 (RFC 9110 section 15): "099 What"`},
		{"early answers", "HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "<nil>"},
		{"until closed", "HTTP/1.0 200 OK\r\n\r\nold", "<nil>"},
		{"no phrase", "HTTP/1.1 418\r\nContent-Length: 0\r\n\r\n", "http_status web: GET http://www.demo.test/: status 418 I'm a teapot, wanted 2xx or 3xx (`I try to go to \"http://www.demo.test/\"` accepts any status)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			target := speak(t, func(conn net.Conn) {
				readRequest(conn)
				_, _ = io.WriteString(conn, c.answer)
			})
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			o, err := stepstest.Run(ctx, nil, "I go to http://www.demo.test/", target)
			if err != nil {
				t.Fatal(err)
			}
			if got := fixture.Verdict(o); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// TestStaleConnection checks that a connection closed by the server in the meantime is replaced by a new one.
func TestStaleConnection(t *testing.T) {
	target := speak(t, func(conn net.Conn) {
		readRequest(conn)
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") // closes it without Connection: close
	})
	o, err := stepstest.Run(t.Context(), nil, "I go to http://www.demo.test/\nI go to /a\nI go to /b\nI should see \"ok\"", target)
	if err != nil || o.Err() != nil {
		t.Errorf("%v, %v", err, o.Err())
	}
}

// TestRefusedUpload checks that the response of a server that does not read a large body is received.
func TestRefusedUpload(t *testing.T) {
	before := goleak.IgnoreCurrent()
	defer goleak.VerifyNone(t, before)
	answered := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			conn, buffer, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			_, _ = buffer.WriteString("HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\n\r\nlarge")
			_ = buffer.Flush()
			<-answered
			_ = conn.Close()
			return
		}
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<form method=post><textarea name=t>"+strings.Repeat("x", 8<<20)+"</textarea><button>Send</button></form>")
	}))
	defer server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second) // reading 8 MB takes most of 5 under the race detector
	defer cancel()
	o, err := stepstest.Run(ctx, nil, "I go to "+server.URL+"\nI press \"Send\"", &steps.Target{})
	close(answered)
	if err != nil {
		t.Fatal(err)
	}
	if got := fixture.Verdict(o); !strings.HasPrefix(got, "http_status web: POST "+server.URL+"/: status 413 Too Large") {
		t.Errorf("got %s", got)
	}
}

// TestStopped checks that a stopped run blames nobody, whatever it was doing.
func TestStopped(t *testing.T) {
	site, target := newWebsite(t, stepstest.WebsiteOptions{})
	for _, broken := range []stepstest.WebFault{stepstest.Silent, stepstest.EndlessBody} {
		site.SetBroken(broken)
		ctx, cancel := context.WithCancelCause(t.Context())
		timer := time.AfterFunc(50*time.Millisecond, func() { cancel(steps.ErrStopped) })
		o, err := stepstest.Run(ctx, nil, "I go to http://www.demo.test/", target)
		timer.Stop()
		cancel(nil)
		if err != nil {
			t.Fatal(err)
		}
		failure := (*steps.Failure)(nil)
		if !errors.As(o.Err(), &failure) || failure.Reason != result.ReasonCanceled || failure.Blame != result.BlameMonitor {
			t.Errorf("%s: got %v", broken, o.Err())
		}
	}
}

// TestClosedWhileWorking closes the World during a step, as happens to an abandoned one.
func TestClosedWhileWorking(t *testing.T) {
	site, target := newWebsite(t, stepstest.WebsiteOptions{})
	site.SetBroken(stepstest.Silent)
	bound, err := builtin.Library().Bind(features.Step{Text: "I go to http://www.demo.test/"})
	if err != nil {
		t.Fatal(err)
	}
	w := steps.NewWorld(target, nil, "run", "origin")
	done := make(chan error)
	go func() { done <- bound.Definition.Func(t.Context(), w, bound.Args) }()
	for site.Requests() == 0 {
		time.Sleep(time.Millisecond)
	}
	if err := w.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-done; err == nil {
		t.Error("a step on a closed connection passed")
	}
}

// TestOldSentences checks that steps from old projects still match exactly one sentence.
func TestOldSentences(t *testing.T) {
	library := builtin.Library().Compat()
	for _, text := range []string{
		`I go to "http://www.example.org/"`, `I go to http://www.example.org/`, `I visit "http://www.example.org"`, `I press "Go"`, `I follow "a "quoted" link"`,
		`I fill in "q" with "x"`, `I select "a" from "b"`, `I check "a"`, `I uncheck "a"`, `I choose "a"`, `I submit the form named "f"`,
		`I attach the file at "/tmp/a" to "b"`, `I attach the file at "/tmp/a" to "b" `, `I should see "x"`, `I should not see "x"`,
		`I should see an error message`, `I should see a notice message`, `the request should succeed`, `the login request should succeed`,
		`the request should fail`, `the request should fail miserably`, `I fetch headers from "http://www.example.org"`,
		`the "Server" header should be "x"`, `the response should contain the "Server" header`, `the "Server" header should contain "x"`,
		`the "Server" header should not contain "x"`, `I am benchmarking`, `the elapsed time should be less than 5 seconds`,
		`the elapsed time should be less than 1 second`, `I am HTTP digest authenticated with the following credentials:`,
	} {
		if _, err := library.Bind(features.Step{Text: text}); err != nil {
			t.Error(err)
		}
	}
}
