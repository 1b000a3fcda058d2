package httpserver

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestWhoMayChange(t *testing.T) {
	for _, c := range []struct {
		name, method, from, host, user string
		headers                        map[string]string
		says                           string // empty: it may
	}{
		{name: "local", from: "127.0.0.1:4000", host: "127.0.0.1:9469"},
		{name: "local by name", from: "127.0.0.1:4000", host: "localhost:9469"},
		{name: "local by name without a port", from: "127.0.0.1:4000", host: "LOCALHOST."},
		{name: "local IPv6", from: "[::1]:4000", host: "[::1]:9469"},
		{name: "local IPv4 in IPv6", from: "[::ffff:127.0.0.1]:4000", host: "127.0.0.1:9469"},
		{name: "local, other loopback", from: "127.8.8.8:4000", host: "127.8.8.8"},
		{name: "local by the configured name", from: "127.0.0.1:4000", host: "monitor.example:9469"},
		{name: "rebinding", from: "127.0.0.1:4000", host: "evil.example:9469", says: `the Host of a request that may change anything here must be localhost or an IP address, and it is "evil.example:9469"`},
		{name: "rebinding, like an address", from: "127.0.0.1:4000", host: "127.0.0.1.evil.example", says: "the Host"},
		{name: "rebinding, like localhost", from: "127.0.0.1:4000", host: "localhost.evil.example", says: "the Host"},
		{name: "no host", from: "127.0.0.1:4000", host: "", says: "the Host"},
		{name: "another machine", from: "192.0.2.7:4000", host: "192.0.2.1:9469", says: "only persons on the machine of the agent may change anything here, and this request came from 192.0.2.7: configure a login"},
		{name: "another machine that says localhost", from: "192.0.2.7:4000", host: "localhost", says: "came from 192.0.2.7"},
		{name: "a scoped address", from: "[fe80::1%eth0]:4000", host: "localhost", says: "came from"},
		{name: "no address", from: "@", host: "localhost", says: "came from"},
		{name: "another machine with a login", from: "192.0.2.7:4000", host: "monitor.example", user: "alice"},
		{name: "through a proxy", from: "127.0.0.1:4000", host: "127.0.0.1", headers: map[string]string{"X-Forwarded-For": "192.0.2.7"}, says: "came through a proxy (it has X-Forwarded-For)"},
		{name: "through a proxy, forged", from: "127.0.0.1:4000", host: "127.0.0.1", headers: map[string]string{"X-Forwarded-For": "127.0.0.1"}, says: "came through a proxy"},
		{name: "through a proxy, RFC 7239", from: "127.0.0.1:4000", host: "127.0.0.1", headers: map[string]string{"Forwarded": "for=192.0.2.7"}, says: "(it has Forwarded)"},
		{name: "through a proxy, RFC 9110", from: "127.0.0.1:4000", host: "127.0.0.1", headers: map[string]string{"Via": "1.1 proxy"}, says: "(it has Via)"},
		{name: "through a proxy, empty field", from: "127.0.0.1:4000", host: "127.0.0.1", headers: map[string]string{"X-Real-Ip": ""}, says: "(it has X-Real-Ip)"},
		{name: "through a proxy with a login", from: "127.0.0.1:4000", host: "127.0.0.1", user: "alice", headers: map[string]string{"X-Forwarded-For": "192.0.2.7"}},
		{name: "a page of another site", from: "127.0.0.1:4000", host: "127.0.0.1:9469", headers: map[string]string{"Origin": "https://evil.example"}, says: "a page of another site may not"},
		{name: "a page of another site, logged in", from: "192.0.2.7:4000", host: "monitor.example", user: "alice", headers: map[string]string{"Sec-Fetch-Site": "cross-site"}, says: "a page of another site may not"},
		{name: "a page of a sibling", from: "127.0.0.1:4000", host: "127.0.0.1:9469", headers: map[string]string{"Sec-Fetch-Site": "same-site"}, says: "a page of another site may not"},
		{name: "a page without an origin", from: "127.0.0.1:4000", host: "127.0.0.1:9469", headers: map[string]string{"Origin": "null"}, says: "a page of another site may not"},
		{name: "our page", from: "127.0.0.1:4000", host: "127.0.0.1:9469", headers: map[string]string{"Origin": "http://127.0.0.1:9469", "Sec-Fetch-Site": "same-origin"}},
		{name: "reading", method: "GET", from: "192.0.2.7:4000", host: "evil.example", headers: map[string]string{"Sec-Fetch-Site": "cross-site"}},
		{name: "reading the head", method: "HEAD", from: "192.0.2.7:4000", host: "evil.example"},
		{name: "deleting", method: "DELETE", from: "192.0.2.7:4000", host: "monitor.example", says: "only persons on the machine"},
		{name: "a method of their own", method: "RELOAD", from: "192.0.2.7:4000", host: "monitor.example", says: "only persons on the machine"},
	} {
		t.Run(c.name, func(t *testing.T) {
			method := "POST"
			if c.method != "" {
				method = c.method
			}
			r := httptest.NewRequest(method, "/api/silences", nil)
			r.RemoteAddr, r.Host = c.from, c.host
			for name, value := range c.headers {
				r.Header.Set(name, value)
			}
			if c.user != "" {
				r = r.WithContext(context.WithValue(r.Context(), userKey{}, c.user))
			}
			w := httptest.NewRecorder()
			l := &localPersons{listenHost: "Monitor.Example", login: func() bool { return false }}
			l.guard(pages).ServeHTTP(w, r)
			want := 200
			if c.says != "" {
				want = 403
			}
			if w.Code != want || !strings.Contains(strings.ReplaceAll(w.Body.String(), `\"`, `"`), c.says) {
				t.Errorf("%d %s\nwant %d %s", w.Code, w.Body, want, c.says)
			}
		})
	}
}

// TestOldProtocol holds that a request as a proxy sends it without a word about itself is not that of a local person.
func TestOldProtocol(t *testing.T) {
	r := httptest.NewRequest("POST", "/-/reload", nil)
	r.RemoteAddr, r.Host, r.Proto, r.ProtoMinor = "127.0.0.1:1", "127.0.0.1", "HTTP/1.0", 0
	w := httptest.NewRecorder()
	l := &localPersons{login: func() bool { return true }}
	l.guard(pages).ServeHTTP(w, r)
	if w.Code != 403 || !strings.Contains(w.Body.String(), "HTTP/1.0 seems to come through a proxy: log in") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestProfiles(t *testing.T) {
	for _, c := range []struct {
		on     bool
		from   string
		status int
	}{{false, "127.0.0.1:1", 404}, {true, "127.0.0.1:1", 200}, {true, "192.0.2.7:1", 403}} {
		next := profilesOf(c.on)
		r := httptest.NewRequest("GET", "/debug/pprof/", nil)
		r.RemoteAddr, r.Host = c.from, "127.0.0.1"
		w := httptest.NewRecorder()
		next.ServeHTTP(w, r)
		if w.Code != c.status {
			t.Errorf("%t from %s: %d, want %d", c.on, c.from, w.Code, c.status)
		}
	}
}
