package httpserver

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// authority signs certificates for tests.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t testing.TB, name string) *authority {
	t.Helper()
	a := &authority{t: t}
	a.key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	a.cert, _ = x509.ParseCertificate(raw)
	a.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw})
	return a
}

// issue returns a certificate and its key in PEM form.
func (a *authority) issue(name string, until time.Time) (cert, key []byte) {
	a.t.Helper()
	k, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: until.Add(-48 * time.Hour), NotAfter: until,
		DNSNames: []string{name, "localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	raw, err := x509.CreateCertificate(rand.Reader, template, a.cert, &k.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	bytes, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		a.t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: bytes})
}

// client returns a client that shows a certificate of this authority, whichever ones the server asks for.
func (a *authority) client(name string, roots *authority) *http.Client {
	cert, key := a.issue(name, time.Now().Add(time.Hour))
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		a.t.Fatal(err)
	}
	c := roots.plainClient()
	c.Transport.(*http.Transport).TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	return c
}

// plainClient returns a client that trusts this authority.
func (a *authority) plainClient() *http.Client {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true, DisableKeepAlives: true}
	return &http.Client{Transport: transport, Timeout: 10 * time.Second}
}

func hash(t *testing.T, password string) string {
	t.Helper()
	h, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(h)
}

func write(t testing.TB, path string, content ...string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(strings.Join(content, "")), 0o600); err != nil {
		t.Fatal(err)
	}
}

// pages answers with who is logged in, and with what it was asked to change.
var pages = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	_, _ = fmt.Fprintf(w, "%s %s by %q over %s", r.Method, r.URL.Path, User(r.Context()), r.Proto)
})

// serve starts a server with a web configuration, and returns its address.
func serve(t *testing.T, web string, options Options) (*Server, string) {
	t.Helper()
	if options.Log == nil {
		options.Log = slog.New(slog.DiscardHandler)
	}
	if web != "" {
		var err error
		if options.Web, err = OpenWebConfig(web, options.Log); err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if options.Handler == nil {
		options.Handler = pages
	}
	options.Connections = 16
	s := New(l, options)
	go func() { _ = s.Serve() }()
	t.Cleanup(func() { _ = s.Close() })
	return s, strings.TrimSuffix(s.URL("/"), "/")
}

// lookAgain makes the server read its web configuration at the next request.
func (c *WebConfig) lookAgain() {
	c.mu.Lock()
	c.looked = time.Time{}
	c.mu.Unlock()
}

// ask returns the status and the answer to a request.
func ask(t *testing.T, client *http.Client, method, url, user, password string, headers ...string) (int, string) {
	t.Helper()
	request, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if user != "" {
		request.SetBasicAuth(user, password)
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			request.Host = headers[i+1]
		} else {
			request.Header.Set(headers[i], headers[i+1])
		}
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	return response.StatusCode, strings.TrimSpace(string(body))
}

func TestBasicLogin(t *testing.T) {
	web := filepath.Join(t.TempDir(), "web.yml")
	write(t, web, "basic_auth_users:\n  alice: ", hash(t, "wonder"), "\n")
	own := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "own "+r.URL.Path) })
	_, url := serve(t, web, Options{OwnSecret: map[string]http.Handler{"/ping/": own}})
	client := http.DefaultClient
	for _, c := range []struct {
		method, path, user, password string
		status                       int
		says                         string
	}{
		{"GET", "/", "", "", 401, "a login is needed"},
		{"GET", "/", "alice", "wonder", 200, `by "alice"`},
		{"GET", "/", "alice", "wrong", 401, "the name or the password is wrong"},
		{"GET", "/", "alice", "", 401, "the name or the password is wrong"},
		{"GET", "/", "bob", "wonder", 401, "the name or the password is wrong"},
		{"GET", "/", "bob", "wonder", 401, "the name or the password is wrong"}, // what is remembered of it
		{"POST", "/api/x", "", "", 401, `"detail":"a login is needed`},
		{"POST", "/api/x", "alice", "wonder", 200, "POST /api/x"},
		{"POST", "/ping/backup", "", "", 200, "own /ping/backup"},
		{"POST", "/ping/../api/x", "", "", 200, "own "},
		{"CONNECT", "/ping/../api/x", "", "", 200, "own "},
		{"POST", "/ping/..%2fapi/x", "", "", 200, "own "},
		{"POST", "//ping/../api/x", "", "", 401, ""},
		{"POST", "/pin%67/x", "", "", 200, "own /ping/x"},
	} {
		if status, body := ask(t, client, c.method, url+c.path, c.user, c.password); status != c.status || !strings.Contains(body, c.says) {
			t.Errorf("%s %s as %q %q: %d %s, want %d %s", c.method, c.path, c.user, c.password, status, body, c.status, c.says)
		}
	}
}

// TestNeverOpen takes the login away from the file in every way that a person or a half written file may, while the server
// runs. It must stay, and a new password must hold as soon as the file is whole.
func TestNeverOpen(t *testing.T) {
	web := filepath.Join(t.TempDir(), "web.yml")
	good := "basic_auth_users:\n  alice: " + hash(t, "wonder") + "\n"
	write(t, web, good)
	var log syncBuffer
	s, url := serve(t, web, Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	state := func(as string) {
		t.Helper()
		s.web.lookAgain()
		if status, body := ask(t, http.DefaultClient, "GET", url, "", ""); status != 401 {
			t.Errorf("%s: without a login %d %s", as, status, body)
		}
		if status, body := ask(t, http.DefaultClient, "GET", url, "alice", "wonder"); status != 200 {
			t.Errorf("%s: with the login %d %s", as, status, body)
		}
	}
	state("good")
	for i := range len(good) { // as a file that is being written
		write(t, web, good[:i])
		s.web.lookAgain()
		if status, body := ask(t, http.DefaultClient, "GET", url, "", ""); status != 401 {
			t.Fatalf("with the first %d bytes %q: without a login %d %s", i, good[:i], status, body)
		}
	}
	for _, bad := range []string{"", "# nothing\n", "basic_auth_users: {}\n", "http_server_config: {http2: true}\n", "a: [", "basic_auth_users: 7\n", "basic_auth_users: {alice: plain}\n"} {
		write(t, web, bad)
		state(fmt.Sprintf("%q", bad))
		if err := s.web.Err(); err == nil {
			t.Errorf("%q: no error is kept", bad)
		}
	}
	if err := os.Remove(web); err != nil {
		t.Fatal(err)
	}
	state("no file")
	if !strings.Contains(log.String(), "goes on with the last good one") || !strings.Contains(log.String(), "does not exist") {
		t.Errorf("the log does not say so:\n%s", log.String())
	}
	write(t, web, "basic_auth_users:\n  bob: ", hash(t, "builder"), "\n")
	s.web.lookAgain()
	if status, _ := ask(t, http.DefaultClient, "GET", url, "bob", "builder"); status != 200 {
		t.Errorf("the new user: %d", status)
	}
	if status, _ := ask(t, http.DefaultClient, "GET", url, "alice", "wonder"); status != 401 {
		t.Errorf("the former user: %d", status)
	}
	if err := s.web.Err(); err != nil {
		t.Error(err)
	}
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	ca, other := newAuthority(t, "ours"), newAuthority(t, "others")
	cert, key := ca.issue("stepwatch.example", time.Now().Add(time.Hour))
	at := func(name string) string { return filepath.Join(dir, name) }
	write(t, at("cert.pem"), string(cert))
	write(t, at("key.pem"), string(key))
	write(t, at("ca.pem"), string(ca.pem))
	tlsPart := "tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n"

	t.Run("server", func(t *testing.T) {
		write(t, at("web.yml"), tlsPart)
		s, url := serve(t, at("web.yml"), Options{})
		if status, body := ask(t, ca.plainClient(), "GET", url, "", ""); status != 200 || !strings.Contains(body, "HTTP/2.0") {
			t.Errorf("%d %s", status, body)
		}
		// A certificate that is being renewed: first one file of the pair, then the other.
		newCert, newKey := ca.issue("renewed.example", time.Now().Add(time.Hour))
		serial := func() string {
			t.Helper()
			s.web.lookAgain()
			response, err := ca.plainClient().Get(url)
			if err != nil {
				t.Fatal(err)
			}
			_ = response.Body.Close()
			return response.TLS.PeerCertificates[0].Subject.CommonName
		}
		write(t, at("cert.pem"), string(newCert))
		if got := serial(); got != "stepwatch.example" {
			t.Errorf("with half of the new pair: %s", got)
		}
		if err := s.web.Err(); err == nil || !strings.Contains(err.Error(), "must be a pair") {
			t.Errorf("the mistake: %v", err)
		}
		write(t, at("key.pem"), string(newKey))
		if got := serial(); got != "renewed.example" {
			t.Errorf("with the new pair: %s", got)
		}
		write(t, at("web.yml"), "")
		if got := serial(); got != "renewed.example" {
			t.Errorf("with an empty file: %s", got)
		}
	})

	for _, c := range []struct {
		kind, more        string
		none, ours, alien bool // whether such a client gets an answer
	}{
		{"NoClientCert", "", true, true, true},
		{"VerifyClientCertIfGiven", "  client_ca_file: ca.pem\n", true, true, false},
		{"VerifyClientCertIfGiven", "  client_ca_file: ca.pem\n  client_allowed_sans: [prometheus.example]\n", true, true, false},
		{"VerifyClientCertIfGiven", "  client_ca_file: ca.pem\n  client_allowed_sans: [somebody.example]\n", true, false, false},
		{"RequireAndVerifyClientCert", "  client_ca_file: ca.pem\n", false, true, false},
		{"RequireAnyClientCert", "", false, true, true},
	} {
		t.Run(c.kind, func(t *testing.T) {
			write(t, at("mtls.yml"), tlsPart, "  client_auth_type: ", c.kind, "\n", c.more)
			_, url := serve(t, at("mtls.yml"), Options{})
			for who, client := range map[string]struct {
				*http.Client
				may bool
			}{"none": {ca.plainClient(), c.none}, "ours": {ca.client("prometheus.example", ca), c.ours}, "alien": {other.client("alien.example", ca), c.alien}} {
				status, body := ask(t, client.Client, "GET", url, "", "")
				if (status == 200) != client.may {
					t.Errorf("%s: %d %s, want an answer: %t", who, status, body, client.may)
				}
				login := who == "ours" && strings.Contains(c.more, "client_ca_file")
				if got := strings.Contains(body, `by "prometheus.example"`); status == 200 && got != login {
					t.Errorf("%s: logged in: %t, want %t: %s", who, got, login, body)
				}
			}
		})
	}
}

// TestWebConfigMistakes reads wrong files. Each mistake is named with what to do, and without a secret.
func TestWebConfigMistakes(t *testing.T) {
	dir := t.TempDir()
	ca := newAuthority(t, "ours")
	cert, key := ca.issue("a.example", time.Now().Add(time.Hour))
	_, otherKey := ca.issue("b.example", time.Now().Add(time.Hour))
	old, oldKey := ca.issue("old.example", time.Now().Add(-time.Hour))
	for name, content := range map[string][]byte{"cert": cert, "key": key, "other": otherKey, "old": old, "oldkey": oldKey, "ca": ca.pem, "empty": nil, "text": []byte("hello")} {
		write(t, filepath.Join(dir, name), string(content))
	}
	pair := func(cert, key string) string { return "tls_server_config: {cert_file: " + cert + ", key_file: " + key }
	for _, c := range []struct{ content, want string }{
		{"basic_auth_user: {}", `line 1: the setting "basic_auth_user" is not known; there are tls_server_config, http_server_config, rate_limit and basic_auth_users`},
		{"tls_server_config:\n  certfile: x", `line 2: the setting "certfile" is not known; there are cert_file, key_file,`},
		{"basic_auth_users: secretpassword", "line 1: a text cannot be the value of this setting"},
		{"basic_auth_users: [a]", "line 1: a list cannot be the value of this setting"},
		{"basic_auth_users: {alice: secretpassword}", "the value for \"alice\" is not a bcrypt hash: write the output of `htpasswd -nBC 10 alice`"},
		{"basic_auth_users: {alice: $2y$10$abcdefghijklmnopqrstuv}", "is not a bcrypt hash"},
		{"basic_auth_users: {alice: $2y$17$" + strings.Repeat("a", 53) + "}", "has the cost 17, the limit is 14"},
		{"a: [", "is not YAML"},
		{"rate_limit: {interval: 1s}", "rate_limit.burst must be at least 1"},
		{"http_server_config: {headers: {X-Custom: a}}", `"X-Custom"`},
		{pair("none", "key") + "}", "none does not exist"},
		{pair("cert", "none") + "}", "none does not exist"},
		{pair("cert", "other") + "}", "must be a pair"},
		{pair("empty", "key") + "}", "cert_file has no certificate in PEM form"},
		{pair("text", "key") + "}", "cert_file has no certificate in PEM form"},
		{pair("cert", "text") + "}", "key_file has no private key in PEM form"},
		{pair("cert", "cert") + "}", "key_file has no private key in PEM form"},
		{"tls_server_config: {cert_file: cert}", "missing one of key or key_file"},
		{pair("cert", "key") + ", client_auth_type: RequireAndVerifyClientCert}", "client_auth_type RequireAndVerifyClientCert needs client_ca_file"},
		{pair("cert", "key") + ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: text}", "has no certificate in PEM form"},
		{pair("cert", "key") + ", client_auth_type: Sometimes}", "Sometimes"},
		{pair("cert", "key") + ", min_version: SSL3}", "unknown TLS version: SSL3"},
	} {
		path := filepath.Join(dir, "web.yml")
		write(t, path, c.content)
		_, err := OpenWebConfig(path, slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "secretpassword") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s\ngot  %v\nwant %s", c.content, err, c.want)
		}
	}
	for _, c := range []struct{ content, want string }{
		{pair("old", "oldkey") + "}", "expired at"},
		{"basic_auth_users: {alice: " + hash(t, "a") + "}", "plain text"},
		{pair("cert", "key") + ", client_auth_type: RequireAnyClientCert}", "not a login"},
		{pair("cert", "key") + "}\nbasic_auth_users: {alice: " + hash(t, "a") + "}", ""},
		{"", ""},
	} {
		path := filepath.Join(dir, "web.yml")
		write(t, path, c.content)
		warnings, err := CheckWebConfig(path)
		if got := strings.Join(warnings, "; "); err != nil || !strings.Contains(got, c.want) || (got == "") != (c.want == "") {
			t.Errorf("%s\ngot  %s, %v\nwant %s", c.content, got, err, c.want)
		}
	}
}

func TestRateLimitAndHeaders(t *testing.T) {
	web := filepath.Join(t.TempDir(), "web.yml")
	write(t, web, "rate_limit: {interval: 1h, burst: 2}\nhttp_server_config:\n  headers: {X-Frame-Options: deny}\n")
	_, url := serve(t, web, Options{})
	for i, want := range []int{200, 200, 429, 429} {
		if status, body := ask(t, http.DefaultClient, "GET", url, "", ""); status != want {
			t.Errorf("request %d: %d %s", i+1, status, body)
		}
	}
}

// TestSeenIsWhatWasRead holds that the content by which a change is noticed is the one that was read, while the file is replaced
// all the time. Otherwise the half of a file that is being written may hold for good.
func TestSeenIsWhatWasRead(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "web.yml")
	texts := map[string]string{"anna": "basic_auth_users: {anna: " + hash(t, "a") + "}\n", "bob": "basic_auth_users: {bob: " + hash(t, "b") + "}\n"}
	seen := make(map[string][32]byte)
	for user, text := range texts {
		write(t, path, text)
		s, err := readSettings(path)
		if err != nil {
			t.Fatal(err)
		}
		seen[user] = s.seen
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			for _, text := range texts {
				write(t, path+".new", text)
				_ = os.Rename(path+".new", path)
			}
		}
	}()
	for range 3000 {
		s, err := readSettings(path)
		if err != nil {
			t.Error(err)
			break
		}
		for user := range s.users {
			if s.seen != seen[user] {
				t.Fatalf("the settings of %s were read, and another file is taken for seen", user)
			}
		}
	}
	stop()
	<-done
}

// TestOddFiles holds that what is not a file of a sensible size does not stop the server: it would read it with every request.
func TestOddFiles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "web.yml")
	good := "basic_auth_users: {anna: " + hash(t, "secret") + "}\n"
	write(t, path, good)
	server, address := serve(t, path, Options{})
	for name, make := range map[string]func() error{
		"is not a file":          func() error { return syscall.Mkfifo(path, 0o600) },
		"more than 1 MiB":        func() error { return os.WriteFile(path, []byte(good+strings.Repeat("#", fileMost)), 0o600) },
		"is not a file, as /dev": func() error { return os.Symlink("/dev/zero", path) },
	} {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := make(); err != nil {
			t.Fatal(err)
		}
		server.web.lookAgain()
		if status, _ := ask(t, &http.Client{Timeout: 5 * time.Second}, "GET", address, "anna", "secret"); status != 200 {
			t.Errorf("%s: %d", name, status)
		}
		said, _, _ := strings.Cut(name, ",")
		if err := server.web.Err(); err == nil || !strings.Contains(err.Error(), said) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
