package httpserver

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzWhoMayChange holds that a request without a login changes something only if it comes from a loopback address, says of no
// proxy, is of no page of another site, and names this machine.
func FuzzWhoMayChange(f *testing.F) {
	f.Add("127.0.0.1:4000", "localhost:9469", "POST", "", "", "", "")
	f.Add("[::1]:4000", "[::1]:9469", "DELETE", "Via", "1.1 proxy", "https://evil.example", "cross-site")
	f.Add("[fe80::1%eth0]:1", "evil.example", "PUT", "Forwarded", "for=192.0.2.7;host=\"localhost\"", "null", "same-site")
	f.Add("127.0.0.1", "127.0.0.1.evil.example.", "RELOAD", "X-Forwarded-For", "127.0.0.1, 192.0.2.7", "", "none")
	f.Fuzz(func(t *testing.T, from, name, method, field, value, origin, site string) {
		r := httptest.NewRequest("POST", "/-/reload", nil)
		r.RemoteAddr, r.Host, r.Method = from, name, method
		for name, value := range map[string]string{field: value, "Origin": origin, "Sec-Fetch-Site": site} {
			if name != "" && value != "" {
				r.Header.Set(name, value)
			}
		}
		refused := (&localPersons{listenHost: "Monitor.Example", login: func() bool { return false }}).refusal(r, "change anything here")
		if refused != "" {
			w := httptest.NewRecorder()
			refuse(w, r, 403, refused)
			if w.Code != 403 || !strings.Contains(refused, ": ") {
				t.Errorf("%d, %q says not what to do", w.Code, refused)
			}
			return
		}
		peer, err := netip.ParseAddrPort(from)
		if err != nil {
			one, wrong := netip.ParseAddr(from) // without a port
			peer, err = netip.AddrPortFrom(one, 0), wrong
		}
		if err != nil || !peer.Addr().Unmap().IsLoopback() {
			t.Errorf("%q may change something without a login", from)
		}
		for _, said := range forwarding {
			if len(r.Header.Values(said)) > 0 {
				t.Errorf("what came through a proxy (%s) may change something", said)
			}
		}
		if method != "GET" && method != "HEAD" && method != "OPTIONS" && (site == "cross-site" || site == "same-site") {
			t.Errorf("a page of another site (%s) may change something", site)
		}
		if strings.Contains(name, "evil") {
			t.Errorf("the host %q may be that of somebody else", name)
		}
	})
}

// FuzzWebConfig reads web configuration files. What is wrong with one is said in one line, without a secret of it.
func FuzzWebConfig(f *testing.F) {
	f.Add("basic_auth_users: {anna: $2y$10$abcdefghijklmnopqrstuuDxy4VfUJrKIVUN7bTMtJ6d4kPQbWWm2}\n")
	f.Add("tls_server_config: {cert_file: cert.pem, key_file: key.pem, client_auth_type: RequireAndVerifyClientCert}\n")
	f.Add("rate_limit: {interval: 1s, burst: 0}\nhttp_server_config: {http2: false, headers: {X-Frame-Options: deny}}\n")
	f.Add("tls_server_config: {cert: hidden-secret, key: hidden-secret, min_version: TLS99}\nbasic_auth_users: [hidden-secret]\n")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "/") { // it names no files of this machine
			return
		}
		path := filepath.Join(t.TempDir(), "web.yml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := OpenWebConfig(path, slog.New(slog.DiscardHandler))
		if err != nil {
			if said := err.Error(); strings.ContainsAny(said, "\n\r") || utf8.ValidString(text) && !utf8.ValidString(said) || strings.Contains(said, "hidden-secret") {
				t.Errorf("%q: %q", text, said)
			}
			return
		}
		if c.hasLogin() {
			c.passwords.compare = func(_, _ []byte) error { return nil } // as if the password were right: the name is not
			if right, err := c.passwords.check(context.Background(), "192.0.2.7", c.now.users, "nobody", "wrong"); right || err != nil && len(c.now.users) == 0 {
				t.Errorf("%q: nobody may log in: %v", text, err)
			}
		}
	})
}
