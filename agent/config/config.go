// Package config is the format of stepwatch.yml: strict decoding, defaults, validation. It fills values of other
// packages and names no exporter and no step.
//
// Unknown settings, wrong types and missing values are errors with file, line and column. Paths in the file are relative
// to the file. No password ever stands in it, only where to find one.
package config

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"github.com/stepwatch/stepwatch/agent"
	"github.com/stepwatch/stepwatch/agent/evidence"
	"github.com/stepwatch/stepwatch/agent/vault"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/browser"
	"github.com/stepwatch/stepwatch/steps/dnsclient"
)

// DefaultPath is where the configuration is looked for when no path is given.
const DefaultPath = "stepwatch.yml"

// Config is the file, checked and with its defaults.
type Config struct {
	Path     string   // as it was opened; empty for the built-in default
	Features []string // files and directories, made relative to the working directory
	Listen   string   // "host:port" of the agent's HTTP server

	// Sentences are more files and directories of which only the sentences count that they define (@step).
	Sentences []string

	Name     string // of this agent, for telling its test mail from another's
	Workers  int
	Defaults agent.Defaults
	Target   *steps.Target
	Secrets  steps.Secrets
	Evidence evidence.Limits // of what failed runs leave to look at

	exporters map[string]ast.Node
	source    []byte
}

// file is the shape of stepwatch.yml.
type file struct {
	Features  []string                 `yaml:"features"`
	Sentences []string                 `yaml:"sentences"`
	Listen    string                   `yaml:"listen"`
	Name      string                   `yaml:"name"`
	Workers   int                      `yaml:"workers"`
	Defaults  defaults                 `yaml:"defaults"`
	Accounts  map[string]account       `yaml:"accounts"`
	Hosts     map[string]*host         `yaml:"hosts"`
	Databases map[string]*database     `yaml:"databases"`
	State     string                   `yaml:"state"`
	Secrets   map[string]*vault.Source `yaml:"secrets"`
	TLS       tlsSection               `yaml:"tls"`
	Resolver  string                   `yaml:"resolver"`
	DNSSEC    dnssecSection            `yaml:"dnssec"`
	ConnectTo map[string]string        `yaml:"connect_to"`
	Web       web                      `yaml:"web"`
	SSH       sshSection               `yaml:"ssh"`
	Browser   browserSection           `yaml:"browser"`
	Evidence  evidenceSection          `yaml:"evidence"`
	Exporters map[string]ast.Node      `yaml:"exporters"`
}

type defaults struct {
	Every   string `yaml:"every"`
	Timeout string `yaml:"timeout"`
	Retries int    `yaml:"retries"`
}

type account struct {
	Address  string        `yaml:"address"`
	Username string        `yaml:"username"`
	Password *vault.Source `yaml:"password"`
	Token    *vault.Source `yaml:"token"`
	SMTP     string        `yaml:"smtp"`
	IMAP     string        `yaml:"imap"`
	POP3     string        `yaml:"pop3"`
	Maildir  string        `yaml:"maildir"`

	AuthservID string `yaml:"authserv_id"`
}

type host struct {
	Address string `yaml:"address"`
	Queue   *queue `yaml:"queue"`
	Log     *log   `yaml:"log"`
	API     *api   `yaml:"api"`
	AMQP    *amqp  `yaml:"amqp"`
	SSH     *ssh   `yaml:"ssh"`
}

type amqp struct {
	User     string        `yaml:"user"`
	Password *vault.Source `yaml:"password"`
	Vhost    string        `yaml:"vhost"`
	Port     int           `yaml:"port"`
	TLS      bool          `yaml:"tls"`
}

type database struct {
	PostgreSQL string        `yaml:"postgresql"`
	MySQL      string        `yaml:"mysql"`
	Name       string        `yaml:"name"`
	User       string        `yaml:"user"`
	Password   *vault.Source `yaml:"password"`
	TLS        *bool         `yaml:"tls"`
}

type queue struct {
	Postfix   string `yaml:"postfix"`
	Showq     string `yaml:"showq"`
	Exim      string `yaml:"exim"`
	EximSpool string `yaml:"exim_spool"`
	API       bool   `yaml:"api"`
}

type log struct {
	File    string   `yaml:"file"`
	Journal []string `yaml:"journal"`
}

type api struct {
	URL   string        `yaml:"url"`
	Token *vault.Source `yaml:"token"`
}

type ssh struct {
	User     string        `yaml:"user"`
	Port     int           `yaml:"port"`
	Password *vault.Source `yaml:"password"`
	Key      *vault.Source `yaml:"key"`
}

type sshSection struct {
	KnownHosts []string `yaml:"known_hosts"`
}

type tlsSection struct {
	CA      []string    `yaml:"ca"`
	Clients []tlsClient `yaml:"clients"`
}

type tlsClient struct {
	Hosts       []string `yaml:"hosts"`
	Certificate string   `yaml:"certificate"`
	Key         string   `yaml:"key"`
}

type dnssecSection struct {
	Anchors []string `yaml:"anchors"`
}

type web struct {
	BodyLimit      string `yaml:"body_limit"`
	DownloadLimit  string `yaml:"download_limit"`
	Proxy          string `yaml:"proxy"`
	ProxyLogin     *login `yaml:"proxy_login"`
	Wait           string `yaml:"wait"`
	CucumberNagios bool   `yaml:"cucumber_nagios"`
}

type login struct {
	Username string        `yaml:"username"`
	Password *vault.Source `yaml:"password"`
}

type browserSection struct {
	Path   string `yaml:"path"`
	Remote string `yaml:"remote"`
	Tabs   int    `yaml:"tabs"`
	Runs   int    `yaml:"runs"`
	Memory string `yaml:"memory"`
	Proxy  string `yaml:"proxy"`
}

type evidenceSection struct {
	Keep int    `yaml:"keep"`
	Age  string `yaml:"age"`
	Size string `yaml:"size"`
}

// Default is the configuration without a file.
func Default() *Config {
	c, err := build("", &file{}, nil)
	if err != nil {
		panic("config: the built-in default is invalid: " + err.Error())
	}
	return c
}

// Load reads the file at path. With an empty path it reads DefaultPath, and gives the defaults when there is no such
// file. Errors name file, line, column and the remedy, and never hold a secret.
func Load(path string) (*Config, error) {
	optional := path == ""
	if optional {
		path = DefaultPath
	}
	source, err := os.ReadFile(path)
	if optional && errors.Is(err, fs.ErrNotExist) {
		return Default(), nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	return Parse(path, source)
}

// Parse reads a configuration from memory; path is for messages and for what is relative to it.
func Parse(path string, source []byte) (*Config, error) {
	var f file
	if len(bytes.TrimSpace(source)) > 0 {
		if err := yaml.UnmarshalWithOptions(source, &f, yaml.Strict()); err != nil {
			return nil, syntaxError(path, err)
		}
	}
	return build(path, &f, source)
}

// syntaxError gives the place and the message without the library's picture of the surrounding lines, which could hold
// something that was meant to be secret.
func syntaxError(path string, err error) error {
	var y yaml.Error
	if errors.As(err, &y) && y.GetToken() != nil {
		at := y.GetToken().Position
		return fmt.Errorf("%s:%d:%d: %s", path, at.Line, at.Column, inYAML(y.GetMessage()))
	}
	return fmt.Errorf("%s: %w", path, err)
}

var wrongType = regexp.MustCompile(`^cannot unmarshal (\w+) into Go struct field \w+\.(\w+) of type (\S+)$`)

// inYAML words a message about Go's types for somebody who writes YAML.
func inYAML(message string) string {
	m := wrongType.FindStringSubmatch(message)
	if m == nil {
		return message
	}
	kinds := map[string]string{"string": "a text", "int": "a whole number", "uint64": "a whole number", "int64": "a whole number", "float64": "a number",
		"bool": "true or false", "[]string": "a list of texts", "sequence": "a list", "map": "a mapping"}
	kind := func(name string) string {
		if k, known := kinds[name]; known {
			return k
		}
		return "something else"
	}
	return fmt.Sprintf("%s is %s, wanted %s", strings.ToLower(m[2]), kind(m[1]), kind(m[3]))
}

// invalid collects what is wrong with the values of a file that reads well.
type invalid struct {
	path   string
	source []byte
	errs   []error
}

// add reports the setting at a YAML path such as "accounts.alice.smtp", with its line when the file has it.
func (v *invalid) add(setting, format string, args ...any) {
	place := v.path
	if line := lineOf(v.source, setting); line > 0 {
		place = fmt.Sprintf("%s:%d", v.path, line)
	}
	v.errs = append(v.errs, fmt.Errorf("%s: %s: %s", place, setting, fmt.Sprintf(format, args...)))
}

// lineOf finds the line of a setting, or of the nearest one above it that the file has; 0 when none is found.
func lineOf(source []byte, setting string) int {
	for setting != "" {
		if p, err := yaml.PathString("$." + setting); err == nil {
			if node, err := p.ReadNode(bytes.NewReader(source)); err == nil && node != nil && node.GetToken() != nil {
				return node.GetToken().Position.Line
			}
		}
		cut := strings.LastIndexByte(setting, '.')
		setting = setting[:max(cut, 0)]
	}
	return 0
}

func build(path string, f *file, source []byte) (*Config, error) {
	v := &invalid{path: path, source: source}
	dir := filepath.Dir(path)
	c := &Config{Path: path, Listen: f.Listen, Name: f.Name, Workers: f.Workers, exporters: f.Exporters, source: source,
		Target: &steps.Target{ConnectTo: f.ConnectTo, Resolver: f.Resolver, CucumberNagios: f.Web.CucumberNagios},
	}
	secrets := vault.New(dir)
	c.Secrets = secrets
	if c.Listen == "" {
		c.Listen = "127.0.0.1:9469"
	}
	v.hostPort("listen", c.Listen)
	if f.Resolver != "" {
		v.hostPort("resolver", f.Resolver)
	}
	for from, to := range f.ConnectTo {
		v.hostPort("connect_to", from)
		v.hostPort("connect_to", to)
	}
	if c.Name == "" {
		c.Name, _ = os.Hostname() // no host name is no reason not to start: the name only tells agents apart
	}
	if f.Workers < 0 {
		v.add("workers", "is %d: at least 1 run must be possible at once", f.Workers)
	}
	c.Defaults = agent.Defaults{
		Every:   v.duration("defaults.every", f.Defaults.Every, time.Minute),
		Timeout: v.duration("defaults.timeout", f.Defaults.Timeout, time.Minute),
		Retries: f.Defaults.Retries,
	}
	if f.Defaults.Retries < 0 {
		v.add("defaults.retries", "is %d: it cannot be less than 0", f.Defaults.Retries)
	}
	for _, p := range f.Features {
		c.Features = append(c.Features, within(dir, p))
	}
	for _, p := range f.Sentences {
		c.Sentences = append(c.Sentences, within(dir, p))
	}
	c.Target.Patience = v.duration("web.wait", f.Web.Wait, steps.DefaultPatience)
	c.Target.BodyLimit = v.size("web.body_limit", f.Web.BodyLimit)
	c.Target.DownloadLimit = v.size("web.download_limit", f.Web.DownloadLimit)
	for name, source := range f.Secrets {
		if source == nil {
			source = &vault.Source{}
		}
		if err := secrets.Add(name, *source); err != nil {
			v.add("secrets."+name, "%v", err)
		}
	}
	c.accounts(dir, f, secrets, v)
	c.hosts(f, dir, secrets, v)
	for _, file := range f.SSH.KnownHosts {
		c.Target.KnownHosts = append(c.Target.KnownHosts, within(dir, file))
	}
	c.databases(f, secrets, v)
	c.Target.StateDir = stateDir(dir, f.State)
	var roots [][]byte
	c.Target.Anchors = anchors(dir, f.DNSSEC.Anchors, v)
	if len(f.TLS.CA) > 0 {
		roots = c.certificates(dir, f.TLS.CA, v)
		c.Target.Roots = pool(roots)
	}
	c.clients(dir, f.TLS.Clients, v)
	if f.Web.Proxy != "" {
		proxy, err := url.Parse(f.Web.Proxy)
		if err != nil || proxy.Scheme != "http" || proxy.Host == "" || proxy.User != nil {
			v.add("web.proxy", "it is no http URL without a login: write it as http://proxy.example.org:3128")
		}
		c.Target.Proxy = proxy
		if f.Browser.Remote == "" {
			f.Browser.Proxy = cmp.Or(f.Browser.Proxy, f.Web.Proxy)
		}
	}
	c.proxyLogin(f.Web.ProxyLogin, secrets, v)
	c.browser(f, dir, roots, v)
	c.evidence(f, v)
	sort.Slice(v.errs, func(i, j int) bool { return v.errs[i].Error() < v.errs[j].Error() })
	if err := errors.Join(v.errs...); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Config) accounts(dir string, f *file, secrets *vault.Vault, v *invalid) {
	c.Target.Accounts = make(map[string]*steps.Account, len(f.Accounts))
	for name, a := range f.Accounts {
		setting := "accounts." + name
		account := &steps.Account{Name: name, Address: a.Address, Username: a.Username, SMTP: a.SMTP, IMAP: a.IMAP, POP3: a.POP3}
		account.AuthservID = a.AuthservID
		if a.Maildir != "" {
			account.Maildir = within(dir, a.Maildir)
		}
		if at := strings.LastIndexByte(a.Address, '@'); at < 1 || at == len(a.Address)-1 || strings.ContainsAny(a.Address, " \r\n<>") {
			v.add(setting+".address", "is %q: write it as name@example.org", a.Address)
		}
		if account.Username == "" {
			account.Username = a.Address
		}
		credential := a.Password
		if a.Token != nil {
			credential, account.Token = a.Token, true
			if a.Password != nil {
				v.add(setting+".token", "stands beside a password: an account logs in with one of the two")
			}
		}
		if credential != nil {
			account.Password = setting + ".password"
			if account.Token {
				account.Password = setting + ".token"
			}
			if err := secrets.Add(account.Password, *credential); err != nil {
				v.add(account.Password, "%v", err)
			}
		}
		c.Target.Accounts[name] = account
	}
}

func (c *Config) hosts(f *file, dir string, secrets *vault.Vault, v *invalid) {
	c.Target.Hosts = make(map[string]*steps.Host, len(f.Hosts))
	for name, h := range f.Hosts {
		setting := "hosts." + name
		if h == nil {
			h = &host{}
		}
		known := &steps.Host{Name: name, Address: h.Address}
		if known.Address == "" {
			known.Address = name
		}
		if strings.ContainsAny(known.Address, " /\r\n") {
			v.add(setting+".address", "%q is no host name or IP address", known.Address)
		}
		if h.API != nil {
			known.API = &steps.API{URL: h.API.URL}
			if u, err := url.Parse(h.API.URL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
				v.add(setting+".api.url", "%q is no URL: write it as https://mail.example.org/api", h.API.URL)
			}
			if h.API.Token != nil {
				known.API.Token = setting + ".api.token"
				if err := secrets.Add(known.API.Token, *h.API.Token); err != nil {
					v.add(known.API.Token, "%v", err)
				}
			}
		}
		if q := h.Queue; q != nil {
			known.Queue = &steps.Queue{Postfix: q.Postfix, Showq: q.Showq, Exim: q.Exim, EximSpool: q.EximSpool, API: q.API}
			if count(q.Postfix != "", q.Showq != "", q.Exim != "", q.EximSpool != "", q.API) != 1 {
				v.add(setting+".queue", "needs exactly one of postfix, showq, exim, exim_spool or api")
			}
			if q.API && h.API == nil {
				v.add(setting+".queue.api", "needs %s.api beside it", setting)
			}
		}
		if l := h.Log; l != nil {
			known.Log = &steps.Log{Journal: l.Journal}
			if l.File != "" {
				known.Log.File = within(dir, l.File)
			}
			if count(l.File != "", len(l.Journal) > 0) != 1 {
				v.add(setting+".log", "needs exactly one of file or journal")
			}
		}
		known.SSH = sshOf(h.SSH, setting+".ssh", secrets, v)
		known.Broker = brokerOf(h.AMQP, setting+".amqp", secrets, v)
		c.Target.Hosts[name] = known
	}
}

// sshOf reads how stepwatch logs in to a host, or nil.
func sshOf(s *ssh, setting string, secrets *vault.Vault, v *invalid) *steps.SSH {
	if s == nil {
		return nil
	}
	known := &steps.SSH{User: s.User, Port: cmp.Or(s.Port, 22)}
	if s.User == "" {
		v.add(setting+".user", "is missing: who logs in")
	}
	if known.Port < 1 || known.Port > 65535 {
		v.add(setting+".port", "%d is no port", s.Port)
	}
	if count(s.Password != nil, s.Key != nil) == 0 {
		v.add(setting, "needs a key or a password")
	}
	for _, secret := range []struct {
		name   string
		source *vault.Source
		into   *string
	}{{"password", s.Password, &known.Password}, {"key", s.Key, &known.Key}} {
		if secret.source == nil {
			continue
		}
		*secret.into = setting + "." + secret.name
		if err := secrets.Add(*secret.into, *secret.source); err != nil {
			v.add(*secret.into, "%v", err)
		}
	}
	return known
}

func brokerOf(b *amqp, setting string, secrets *vault.Vault, v *invalid) *steps.Broker {
	if b == nil {
		return nil
	}
	known := &steps.Broker{TLS: b.TLS, User: b.User, Vhost: b.Vhost}
	if b.Port < 0 || b.Port > 65535 {
		v.add(setting+".port", "%d is no port", b.Port)
	} else if b.Port > 0 {
		known.Port = strconv.Itoa(b.Port)
	}
	if b.Password != nil {
		known.Password = setting + ".password"
		if err := secrets.Add(known.Password, *b.Password); err != nil {
			v.add(known.Password, "%v", err)
		}
	}
	return known
}

func (c *Config) databases(f *file, secrets *vault.Vault, v *invalid) {
	c.Target.Databases = make(map[string]*steps.Database, len(f.Databases))
	for name, d := range f.Databases {
		setting := "databases." + name
		if d == nil {
			d = &database{}
		}
		known := &steps.Database{Name: name, MySQL: d.MySQL != "", Database: d.Name, User: d.User}
		port := "5432"
		if known.MySQL {
			port = "3306"
		}
		if count(d.PostgreSQL != "", d.MySQL != "") != 1 {
			v.add(setting, "needs exactly one of postgresql or mysql: host, host:port or the path of a socket")
		}
		known.Address = d.PostgreSQL + d.MySQL
		known.TLS = !strings.HasPrefix(known.Address, "/")
		if known.TLS {
			host, _, err := net.SplitHostPort(known.Address)
			if err != nil {
				host = strings.Trim(known.Address, "[]")
				known.Address = net.JoinHostPort(host, port)
			}
			if strings.ContainsAny(host, " /\r\n@") {
				v.add(setting, "%q is no host name or IP address", host)
			}
			ip := net.ParseIP(host)
			known.TLS = host != "localhost" && !(ip != nil && ip.IsLoopback())
		}
		if d.TLS != nil {
			known.TLS = *d.TLS
		}
		if d.User == "" {
			v.add(setting+".user", "is missing: a user who may read and nothing else")
		}
		if d.Name == "" && !known.MySQL {
			v.add(setting+".name", "is missing: the name that the database has on its server")
		}
		if d.Password != nil {
			known.Password = setting + ".password"
			if err := secrets.Add(known.Password, *d.Password); err != nil {
				v.add(known.Password, "%v", err)
			}
		}
		c.Target.Databases[name] = known
	}
}

func count(conditions ...bool) (n int) {
	for _, c := range conditions {
		if c {
			n++
		}
	}
	return n
}

// stateDir is the configured directory, the one that systemd gives to the unit (systemd.exec(5), StateDirectory=), or the
// one of the XDG Base Directory Specification.
func stateDir(dir, configured string) string {
	if configured != "" {
		return within(dir, configured)
	}
	if given := os.Getenv("STATE_DIRECTORY"); given != "" {
		first, _, _ := strings.Cut(given, ":")
		return first
	}
	if state := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(state) {
		return filepath.Join(state, "stepwatch")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return filepath.Join(os.TempDir(), fmt.Sprintf("stepwatch-%d", os.Getuid()))
	}
	return filepath.Join(home, ".local", "state", "stepwatch")
}

// anchors reads the files of trust anchors. They take the place of the root's.
func anchors(dir string, files []string, v *invalid) dnsclient.Anchors {
	var all dnsclient.Anchors
	for i, name := range files {
		path := within(dir, name)
		text, err := os.ReadFile(path)
		var read dnsclient.Anchors
		if err == nil {
			if read, err = dnsclient.ParseAnchors(string(text)); err != nil {
				err = fmt.Errorf("%s: %w", path, err)
			}
		}
		if err != nil {
			v.add(fmt.Sprintf("dnssec.anchors[%d]", i), "%v", err)
			continue
		}
		all = append(all, read...)
	}
	return all
}

// certificates reads the files of certificate authorities.
func (c *Config) certificates(dir string, files []string, v *invalid) [][]byte {
	var pems [][]byte
	for i, name := range files {
		path := within(dir, name)
		pem, err := os.ReadFile(path)
		if err == nil && !x509.NewCertPool().AppendCertsFromPEM(pem) {
			err = fmt.Errorf("%s holds no certificate in PEM", path)
		}
		if err != nil {
			v.add(fmt.Sprintf("tls.ca[%d]", i), "%v", err)
			continue
		}
		pems = append(pems, pem)
	}
	return pems
}

// clients reads where the client certificates are, and sees that they can be used.
func (c *Config) clients(dir string, clients []tlsClient, v *invalid) {
	for i, client := range clients {
		setting := fmt.Sprintf("tls.clients[%d]", i)
		if len(client.Hosts) == 0 || client.Certificate == "" {
			v.add(setting, "needs hosts and certificate")
			continue
		}
		for _, host := range client.Hosts {
			if name := strings.TrimPrefix(host, "*."); name == "" || strings.ContainsAny(name, "*/: ") {
				v.add(setting+".hosts", "%q is no host name: write it as www.example.org or *.example.org", host)
			}
		}
		known := &steps.ClientCertificate{Hosts: client.Hosts, Certificate: within(dir, client.Certificate)}
		if client.Key != "" {
			known.Key = within(dir, client.Key)
		}
		if _, err := known.Load(); err != nil {
			v.add(setting+".certificate", "%v", err)
		}
		c.Target.ClientCertificates = append(c.Target.ClientCertificates, known)
	}
}

// pool trusts the machine's certificate authorities and the files'. It is made when first used, because reading the
// machine's store takes milliseconds that a run without TLS must not pay.
func pool(pems [][]byte) func() (*x509.CertPool, error) {
	return sync.OnceValues(func() (*x509.CertPool, error) {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool() // a machine without a store still trusts the files
		}
		for _, pem := range pems {
			pool.AppendCertsFromPEM(pem)
		}
		return pool, nil
	})
}

func (c *Config) proxyLogin(l *login, secrets *vault.Vault, v *invalid) {
	const setting = "web.proxy_login"
	switch {
	case l == nil:
		return
	case c.Target.Proxy == nil:
		v.add(setting, "is for web.proxy, and there is none")
	case l.Username == "" || strings.Contains(l.Username, ":") || l.Password == nil:
		v.add(setting, "needs a username without a colon, and a password: write it as {username: stepwatch, password: {file: proxy.password}}")
	default:
		c.Target.ProxyLogin = &steps.ProxyLogin{Username: l.Username, Password: setting + ".password"}
		if err := secrets.Add(c.Target.ProxyLogin.Password, *l.Password); err != nil {
			v.add(c.Target.ProxyLogin.Password, "%v", err)
		}
	}
}

// browser makes the browser of the scenarios tagged @browser. It starts when the first of them runs.
func (c *Config) browser(f *file, dir string, roots [][]byte, v *invalid) {
	b := f.Browser
	o := browser.Options{Remote: b.Remote, Dir: filepath.Join(c.Target.StateDir, "browser"), Roots: roots, MapHosts: f.ConnectTo,
		Proxy: b.Proxy, Tabs: b.Tabs, Runs: b.Runs, Memory: v.size("browser.memory", b.Memory)}
	if b.Path != "" {
		o.Path = b.Path
		if strings.ContainsRune(b.Path, filepath.Separator) {
			o.Path = within(dir, b.Path)
		}
	}
	if b.Path != "" && b.Remote != "" {
		v.add("browser", "names both path and remote: give one of them")
	}
	for setting, value := range map[string]string{"remote": b.Remote, "proxy": b.Proxy} {
		if u, err := url.Parse(value); value != "" && (err != nil || u.Host == "") {
			v.add("browser."+setting, "%q is no URL: write it as http://127.0.0.1:9222", value)
		}
	}
	if b.Tabs < 0 || b.Runs < 0 {
		v.add("browser", "tabs and runs cannot be less than 0")
	}
	c.Target.Browser = browser.New(o)
}

// evidence reads how much is kept of what failed runs leave to look at.
func (c *Config) evidence(f *file, v *invalid) {
	e := f.Evidence
	c.Evidence = evidence.Limits{Keep: cmp.Or(e.Keep, 20), Age: 7 * 24 * time.Hour, Size: cmp.Or(v.size("evidence.size", e.Size), 500<<20)}
	if e.Keep < 0 {
		v.add("evidence.keep", "is %d: at least 1 run of a scenario is kept", e.Keep)
	}
	if e.Age != "" {
		age, err := steps.ParseDuration(e.Age)
		if err != nil || age <= 0 {
			v.add("evidence.age", "%q is no duration above zero: write it as 12h or 7d", e.Age)
		}
		c.Evidence.Age = age
	}
}

// EvidenceDir is where the evidence is kept.
func (c *Config) EvidenceDir() string { return filepath.Join(c.Target.StateDir, "evidence") }

func within(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

func (v *invalid) hostPort(setting, value string) {
	if _, port, err := net.SplitHostPort(value); err != nil || port == "" {
		v.add(setting, "%q is no host and port: write it as host:port", value)
	}
}

func (v *invalid) duration(setting, value string, otherwise time.Duration) time.Duration {
	if value == "" {
		return otherwise
	}
	d, err := time.ParseDuration(value)
	if err != nil || d <= 0 {
		v.add(setting, "%q is no duration above zero: write it as 30s or 5m", value)
	}
	return d
}

// size reads "512 KB" or "10 MB"; the units are powers of 1024. Empty gives 0.
func (v *invalid) size(setting, value string) int64 {
	if value == "" {
		return 0
	}
	var n int64
	var unit string
	if _, err := fmt.Sscanf(value, "%d %s", &n, &unit); err != nil {
		_, _ = fmt.Sscanf(value, "%d%s", &n, &unit) // judged below
	}
	scale, known := map[string]int64{"B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}[strings.ToUpper(unit)]
	if !known || n <= 0 || n > 1<<40/scale {
		v.add(setting, "%q is no size: write it as \"512 KB\" or \"10 MB\"", value)
		return 0
	}
	return n * scale
}

// Exporters lists the exporters that the file configures, sorted.
func (c *Config) Exporters() []string {
	names := make([]string, 0, len(c.exporters))
	for name := range c.exporters {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// DecodeExporter reads an exporter's own block into its configuration, strictly. An absent block leaves it as it is.
func (c *Config) DecodeExporter(name string, into any) error {
	node := c.exporters[name]
	if node == nil {
		return nil
	}
	if err := yaml.NodeToValue(node, into, yaml.Strict()); err != nil {
		return syntaxError(c.Path, err)
	}
	return nil
}
