package httpserver

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/exporter-toolkit/web"
	"go.yaml.in/yaml/v2"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/time/rate"

	"github.com/stepwatch/stepwatch/steps/regex"
)

// lookEvery is how often the web configuration file and the files that it names are read again, at most, when requests come.
const lookEvery = time.Second

// fileMost is how many bytes each of these files may have: they are read with the lock held that every request needs.
const fileMost = 1 << 20

// WebConfig is a web configuration file as the exporters of Prometheus know it. It is read again when requests come. A file
// that cannot be used, or that takes away a protection which the server had at its start, changes nothing: the last good one
// stays, and the log and Err say so. A nil WebConfig has neither TLS nor a login.
type WebConfig struct {
	path      string
	log       *slog.Logger
	passwords *passwords

	mu     sync.Mutex
	first  *settings // of the start
	now    *settings
	looked time.Time
	err    error
}

// settings are what a file says. They are never changed.
type settings struct {
	web.Config
	users    map[string]string // the bcrypt hash, by name
	tls      *tls.Config       // nil: no TLS
	limiter  *rate.Limiter     // nil: none
	seen     [sha256.Size]byte // of all files
	warnings []string
}

// OpenWebConfig reads a web configuration file, with the files that it names. Errors say what is wrong in it.
func OpenWebConfig(path string, log *slog.Logger) (*WebConfig, error) {
	s, err := readSettings(path)
	if err != nil {
		return nil, fmt.Errorf("read the web configuration %s: %w", path, err)
	}
	return &WebConfig{path: path, log: log, passwords: newPasswords(), first: s, now: s, looked: time.Now()}, nil
}

// CheckWebConfig reads a web configuration file and the files that it names, and returns what is allowed and probably not
// meant. The error says what is wrong.
func CheckWebConfig(path string) (warnings []string, err error) {
	c, err := OpenWebConfig(path, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	return c.Warnings(), nil
}

// Warnings lists what is allowed and probably not meant, such as a certificate that has expired.
func (c *WebConfig) Warnings() []string {
	if c == nil {
		return nil
	}
	return c.current().warnings
}

// Err says why the file as it is now is not used; nil if it is used.
func (c *WebConfig) Err() error {
	if c == nil {
		return nil
	}
	c.current()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// TLS reports whether the server speaks TLS.
func (c *WebConfig) TLS() bool { return c != nil && c.first.tls != nil }

func (c *WebConfig) http2() bool { return c.first.HTTPConfig.HTTP2 }

// hasLogin reports whether anybody can log in.
func (c *WebConfig) hasLogin() bool { return c != nil && c.current().login() }

func (s *settings) login() bool {
	return len(s.users) > 0 || s.tls != nil && s.tls.ClientAuth >= tls.VerifyClientCertIfGiven
}

// current returns what holds now.
func (c *WebConfig) current() *settings {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.looked) < lookEvery {
		return c.now
	}
	c.looked = time.Now()
	if content, err := readFile(c.path); err == nil {
		if seen, err := fingerprint(content, &c.now.Config); err == nil && seen == c.now.seen {
			c.settle(nil)
			return c.now
		}
	}
	next, err := readSettings(c.path)
	if err == nil {
		err = c.first.loses(next)
	}
	if err == nil {
		c.now = next
		c.log.Info("the web configuration was read again", "file", c.path)
	}
	c.settle(err)
	return c.now
}

// settle keeps whether the file can be used, and logs each change of that. The lock is held.
func (c *WebConfig) settle(err error) {
	if err != nil && (c.err == nil || c.err.Error() != err.Error()) {
		c.log.Error("the web configuration has a mistake: the server goes on with the last good one", "file", c.path, "mistake", err.Error())
	}
	if err == nil && c.err != nil {
		c.log.Info("the web configuration can be used again", "file", c.path)
	}
	c.err = err
}

// loses says which protection of the start another file takes away, or what a server that runs cannot change. A file that is
// being written may be empty, or end anywhere, and still be a valid one.
func (s *settings) loses(next *settings) error {
	switch {
	case s.tls != nil && next.tls == nil:
		return errors.New("it has no tls_server_config any more: restart stepwatch to serve without TLS")
	case s.tls == nil && next.tls != nil:
		return errors.New("it has a tls_server_config now: restart stepwatch to serve with TLS")
	case s.tls != nil && s.HTTPConfig.HTTP2 != next.HTTPConfig.HTTP2:
		return errors.New("it switches http2: restart stepwatch for that")
	case len(s.users) > 0 && len(next.users) == 0:
		return errors.New("it has no basic_auth_users any more: restart stepwatch to serve without this login")
	case s.tls != nil && s.tls.ClientAuth > next.tls.ClientAuth:
		return errors.New("its client_auth_type asks for less than at the start: restart stepwatch to ask for less")
	case len(s.TLSConfig.ClientAllowedSans) > 0 && len(next.TLSConfig.ClientAllowedSans) == 0:
		return errors.New("it has no client_allowed_sans any more: restart stepwatch to admit every certificate of the authority")
	}
	return nil
}

// readSettings reads and checks a file.
func readSettings(path string) (*settings, error) {
	content, err := readFile(path)
	if err != nil {
		return nil, err
	}
	s := &settings{Config: web.Config{TLSConfig: web.TLSConfig{MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS13}, HTTPConfig: web.HTTPConfig{HTTP2: true}}}
	if err := yaml.UnmarshalStrict(content, &s.Config); err != nil {
		return nil, worded(err)
	}
	s.TLSConfig.SetDirectory(filepath.Dir(path))
	if s.seen, err = fingerprint(content, &s.Config); err != nil {
		return nil, err
	}
	if err := s.readUsers(); err != nil {
		return nil, err
	}
	if s.TLSConfig.IsEnabled() {
		if err := s.readTLS(); err != nil {
			return nil, err
		}
	}
	if err := web.Validate(path); err != nil { // what is left: the header fields
		return nil, worded(err)
	}
	if limit := s.RateLimiterConfig; limit.Interval > 0 {
		if limit.Burst < 1 {
			return nil, errors.New("rate_limit.burst must be at least 1, or every request is refused")
		}
		s.limiter = rate.NewLimiter(rate.Every(limit.Interval), limit.Burst)
	}
	if len(s.users) > 0 && s.tls == nil {
		s.warnings = append(s.warnings, "it has basic_auth_users and no tls_server_config: passwords are sent as plain text")
	}
	return s, nil
}

func (s *settings) readUsers() error {
	s.users = make(map[string]string, len(s.Users))
	for _, name := range slices.Sorted(maps.Keys(s.Users)) {
		hash := string(s.Users[name])
		cost, err := bcrypt.Cost([]byte(hash))
		if err != nil || len(hash) != bcryptLength {
			return fmt.Errorf("basic_auth_users: the value for %q is not a bcrypt hash: write the output of `htpasswd -nBC 10 %s` after the colon", name, name)
		}
		if cost > bcryptCostMax {
			return fmt.Errorf("basic_auth_users: the hash for %q has the cost %d, the limit is %d: each check would take a second or more", name, cost, bcryptCostMax)
		}
		s.users[name] = hash
	}
	return nil
}

// readTLS reads the certificates. The toolkit reads them in every handshake, so one that is being renewed ends handshakes.
func (s *settings) readTLS() error {
	c := &s.TLSConfig
	config, err := web.ConfigToTLSConfig(c)
	if err != nil {
		return fmt.Errorf("tls_server_config: %w", worded(err))
	}
	certificate, err := config.GetCertificate(nil)
	if err != nil {
		return fmt.Errorf("tls_server_config: %w", worded(err))
	}
	config.GetCertificate, config.Certificates = nil, []tls.Certificate{*certificate}
	where := cmp.Or(c.TLSCertPath, "cert")
	if leaf := certificate.Leaf; leaf != nil {
		switch now := time.Now(); {
		case now.After(leaf.NotAfter):
			s.warnings = append(s.warnings, fmt.Sprintf("the certificate in %s expired at %s: clients refuse it", where, leaf.NotAfter.UTC().Format(time.RFC3339)))
		case now.Before(leaf.NotBefore):
			s.warnings = append(s.warnings, fmt.Sprintf("the certificate in %s is valid from %s on: clients refuse it", where, leaf.NotBefore.UTC().Format(time.RFC3339)))
		}
	}
	if config.ClientAuth >= tls.VerifyClientCertIfGiven {
		// Without authorities of ours, crypto/tls asks those of the system, which everybody can get a certificate from.
		if config.ClientCAs == nil {
			return fmt.Errorf("tls_server_config: client_auth_type %s needs client_ca_file, the authority that signs the certificates of the clients", c.ClientAuth)
		}
		if config.ClientCAs.Equal(x509.NewCertPool()) {
			return fmt.Errorf("tls_server_config: %s has no certificate in PEM form", cmp.Or(c.ClientCAs, "client_ca"))
		}
	}
	if config.ClientAuth == tls.RequestClientCert || config.ClientAuth == tls.RequireAnyClientCert {
		s.warnings = append(s.warnings, fmt.Sprintf("client_auth_type %s does not verify the certificates of the clients, so they are not a login", c.ClientAuth))
	}
	if check := config.VerifyPeerCertificate; check != nil {
		config.VerifyPeerCertificate = func(raw [][]byte, chains [][]*x509.Certificate) error { //nolint:gosec // sessions are not resumed
			if len(raw) == 0 { // VerifyClientCertIfGiven, and none was given
				return nil
			}
			return check(raw, chains)
		}
	}
	// A resumed session is not checked against client_allowed_sans.
	config.SessionTicketsDisabled = config.ClientAuth != tls.NoClientCert
	config.NextProtos = []string{"http/1.1"}
	if s.HTTPConfig.HTTP2 {
		config.NextProtos = []string{"h2", "http/1.1"}
	}
	s.tls = config
	return nil
}

// readFile reads the web configuration or a file that it names. A device or a pipe would never end.
func readFile(name string) ([]byte, error) {
	switch is, err := os.Stat(name); {
	case err != nil:
		return nil, plain(err)
	case !is.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a file", name)
	case is.Size() > fileMost:
		return nil, fmt.Errorf("%s has %d bytes, more than 1 MiB: that is no web configuration, certificate or key", name, is.Size())
	}
	content, err := os.ReadFile(name) //nolint:gosec // the user named it
	if err != nil {
		return nil, plain(err)
	}
	return content, nil
}

// fingerprint identifies a web configuration with this content, and the files that it names, which it reads. It must be asked
// before they are used: then a change meanwhile is noticed. Their content is compared, not their times: a ConfigMap of
// Kubernetes changes by a link, and two changes may have the same time.
func fingerprint(content []byte, c *web.Config) (sum [sha256.Size]byte, err error) {
	h := sha256.New()
	one := sha256.Sum256(content)
	h.Write(one[:])
	for _, name := range []string{c.TLSConfig.TLSCertPath, c.TLSConfig.TLSKeyPath, c.TLSConfig.ClientCAs} {
		if name == "" {
			continue
		}
		content, err := readFile(name)
		if err != nil {
			return sum, err
		}
		one := sha256.Sum256(content)
		h.Write(one[:])
	}
	return [sha256.Size]byte(h.Sum(nil)), nil
}

// plain returns an error about a file in words that say what to do.
func plain(err error) error {
	var at *os.PathError
	if !errors.As(err, &at) {
		return err
	}
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("the file %s does not exist", at.Path)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("the user of stepwatch may not read %s", at.Path)
	default:
		return fmt.Errorf("read %s: %w", at.Path, at.Err)
	}
}

// What the decoder says, without the values, which may be secrets, and without the names of types in Go.
var (
	unknownField = regex.Lazy(`line (\d+): field (\S+) not found in type web\.(\w+)`)
	wrongType    = regex.Lazy("line (\\d+): cannot unmarshal !!(\\w+)")
	syntaxAt     = regex.Lazy(`^yaml: line (\d+): (.+)`)
)

// blocks are the settings of the file, by the name of their type.
var blocks = map[string]string{
	"Config":            "tls_server_config, http_server_config, rate_limit and basic_auth_users",
	"TLSConfig":         "cert_file, key_file, client_ca_file, client_auth_type, client_allowed_sans, min_version and others",
	"HTTPConfig":        "http2 and headers",
	"RateLimiterConfig": "interval and burst",
}

// worded returns a mistake in the file in our words.
func worded(err error) error {
	text := err.Error()
	if m := unknownField.FindStringSubmatch(text); m != nil {
		return fmt.Errorf("line %s: the setting %q is not known; there are %s", m[1], m[2], blocks[m[3]])
	}
	if m := wrongType.FindStringSubmatch(text); m != nil {
		kind := map[string]string{"str": "a text", "int": "a number", "float": "a number", "seq": "a list", "map": "a block", "bool": "true or false"}[m[2]]
		return fmt.Errorf("line %s: %s cannot be the value of this setting", m[1], cmp.Or(kind, m[2]))
	}
	if m := syntaxAt.FindStringSubmatch(text); m != nil {
		return fmt.Errorf("line %s is not YAML: %s", m[1], m[2])
	}
	switch {
	case strings.Contains(text, "private key does not match public key"):
		return errors.New("the key does not belong to the certificate: key_file and cert_file must be a pair")
	case strings.Contains(text, "failed to find any PEM data in certificate"), strings.Contains(text, "failed to find \"CERTIFICATE\" PEM block"):
		return errors.New("cert_file has no certificate in PEM form")
	case strings.Contains(text, "failed to find any PEM data in key"), strings.Contains(text, "failed to find PEM block with type ending in \"PRIVATE KEY\""),
		strings.Contains(text, "found a certificate rather than a key"):
		return errors.New("key_file has no private key in PEM form; one that is protected by a passphrase cannot be used")
	case strings.Contains(text, "failed to parse private key"):
		return errors.New("the private key in key_file cannot be read; one that is protected by a passphrase cannot be used")
	}
	return errors.New(strings.ReplaceAll(text, "\n", " "))
}

// serverTLS returns the configuration of TLS, which asks for the present one in every handshake.
func (c *WebConfig) serverTLS() *tls.Config {
	first := c.first.tls.Clone()
	first.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.current().tls, nil }
	return first
}

// limited adds the configured fields to the header, and refuses more requests than rate_limit allows.
func (c *WebConfig) limited(next http.Handler) http.Handler {
	if c == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := c.current()
		if s.limiter != nil && !s.limiter.Allow() {
			w.Header().Set("Retry-After", "1")
			refuse(w, r, http.StatusTooManyRequests, "there are more requests than rate_limit of the web configuration allows: ask again later")
			return
		}
		for name, value := range s.HTTPConfig.Header {
			w.Header().Set(name, value)
		}
		next.ServeHTTP(w, r)
	})
}

// protect passes on who is logged in, or everybody if there are no users. The context has the name (User).
func (c *WebConfig) protect(next http.Handler) http.Handler {
	if c == nil {
		return next
	}
	return c.limited(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := c.current()
		name := ""
		if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
			name = nameOf(r.TLS.VerifiedChains[0][0])
		}
		if len(s.users) > 0 {
			user, password, given := r.BasicAuth()
			if !given {
				w.Header().Set("WWW-Authenticate", `Basic realm="stepwatch", charset="UTF-8"`)
				refuse(w, r, http.StatusUnauthorized, "a login is needed here: send a name and password of basic_auth_users (curl -u NAME)")
				return
			}
			right, err := c.passwords.check(r.Context(), host(r.RemoteAddr), s.users, user, password)
			if err != nil {
				w.Header().Set("Retry-After", "10")
				refuse(w, r, http.StatusTooManyRequests, err.Error())
				return
			}
			if !right {
				w.Header().Set("WWW-Authenticate", `Basic realm="stepwatch", charset="UTF-8"`)
				refuse(w, r, http.StatusUnauthorized, "the name or the password is wrong")
				return
			}
			name = user
		}
		if name != "" {
			r = r.WithContext(context.WithValue(r.Context(), userKey{}, name))
		}
		next.ServeHTTP(w, r)
	}))
}

// nameOf returns the name in a client's certificate.
func nameOf(c *x509.Certificate) string {
	for _, names := range [][]string{{c.Subject.CommonName}, c.EmailAddresses, c.DNSNames} {
		if len(names) > 0 && names[0] != "" {
			return names[0]
		}
	}
	return "certificate " + string(bytes.ToUpper(fmt.Appendf(nil, "%x", c.SerialNumber)))
}
