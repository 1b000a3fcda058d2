package config

import (
	"context"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/agent"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/browser"
	"github.com/stepwatch/stepwatch/steps/command"
	"github.com/stepwatch/stepwatch/steps/dnsclient"
	"github.com/stepwatch/stepwatch/steps/httpwire"
	"github.com/stepwatch/stepwatch/steps/mailhost"
	"github.com/stepwatch/stepwatch/steps/service"
	"github.com/stepwatch/stepwatch/steps/stepstest"
)

const complete = `
features: [features, /etc/stepwatch/features]
listen: 127.0.0.1:9000
name: eu-1
workers: 10
parallel: 8
parallel_at: {"mail.example.org:993": 2}
defaults: {every: 5m, timeout: 30s, retries: 2}
accounts:
  alice:
    address: alice@example.org
    password: {file: alice.password}
    smtp: mail.example.org
    imap: mail.example.org
hosts:
  mx1:
    address: mx1.example.org
    queue: {postfix: /etc/postfix}
    log: {file: mail.log}
    api: {url: "https://mx1.example.org/api", token: {file: alice.password}}
    ssh: {user: monitor, key: {file: alice.password}}
  mx2:
state: state
secrets:
  members: {file: alice.password}
tls:
  ca: [ca.pem]
resolver: 127.0.0.1:5353
dnssec: {anchors: [root.key]}
connect_to:
  "www.example.org:443": "127.0.0.1:8443"
web: {body_limit: 1 MB, download_limit: 2 GB, proxy: "http://proxy.example.org:3128", cucumber_nagios: true}
exporters:
  prometheus: {path: /metrics}
`

func TestParse(t *testing.T) {
	dir := t.TempDir()
	ca, err := stepstest.NewCA("Test Root")
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"alice.password": "secret\n", "ca.pem": string(ca.PEM()),
		"root.key": ". DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := Parse(filepath.Join(dir, "stepwatch.yml"), []byte(complete))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(c.Features, " "), dir+"/features /etc/stepwatch/features"; got != want {
		t.Errorf("features: got %q, want %q", got, want)
	}
	if want := (agent.Defaults{Every: 5 * time.Minute, Timeout: 30 * time.Second, Retries: 2}); c.Defaults != want {
		t.Errorf("defaults: got %+v, want %+v", c.Defaults, want)
	}
	if l := c.Limits; l.Workers != 10 || l.Parallel != 8 || len(l.At) != 1 || l.At["mail.example.org:993"] != 2 {
		t.Errorf("limits: got %+v", l)
	}
	alice := c.Target.Accounts["alice"]
	if alice == nil || alice.Username != "alice@example.org" || alice.SMTP != "mail.example.org" {
		t.Fatalf("alice: got %+v", alice)
	}
	s, err := c.Secrets.Secret(context.Background(), alice.Password)
	if err != nil || s.Reveal() != "secret" {
		t.Errorf("password: got %q, %v", s.Reveal(), err)
	}
	if s, err := c.Secrets.Secret(context.Background(), "members"); err != nil || s.Reveal() != "secret" {
		t.Errorf("a secret of its own: got %q, %v", s.Reveal(), err)
	}
	mx1, mx2 := c.Target.Hosts["mx1"], c.Target.Hosts["mx2"]
	if mx1 == nil || steps.PartOf[*mailhost.Queue](mx1).Postfix != "/etc/postfix" || steps.PartOf[*mailhost.Log](mx1).File != dir+"/mail.log" || steps.PartOf[*httpwire.API](mx1).URL != "https://mx1.example.org/api" {
		t.Errorf("mx1: got %+v", mx1)
	} else if s, err := c.Secrets.Secret(context.Background(), steps.PartOf[*httpwire.API](mx1).Token); err != nil || s.Reveal() != "secret" {
		t.Errorf("token of mx1: got %q, %v", s.Reveal(), err)
	}
	if login := steps.PartOf[*command.SSH](mx1); login == nil || *login != (command.SSH{User: "monitor", Port: 22, Key: steps.SettingSecret("hosts.mx1.ssh.key")}) {
		t.Errorf("ssh of mx1: got %+v", login)
	}
	if mx2 == nil || mx2.Address != "mx2" || steps.PartOf[*mailhost.Queue](mx2) != nil {
		t.Errorf("mx2: got %+v", mx2)
	}
	if want := dir + "/state"; c.Target.StateDir != want {
		t.Errorf("state: got %q, want %q", c.Target.StateDir, want)
	}
	if anchors := steps.SettingsOf[dnsclient.Anchors](c.Target); len(anchors) != 1 {
		t.Errorf("dnssec.anchors: got %v", anchors)
	}
	roots, err := c.Target.Roots()
	if err != nil {
		t.Fatal(err)
	}
	system, err := x509.SystemCertPool()
	if err != nil {
		t.Fatal(err)
	}
	if roots.Equal(system) {
		t.Error("the private root is not trusted")
	}
	web := steps.SettingsOf[httpwire.Web](c.Target)
	if web.BodyLimit != 1<<20 || web.DownloadLimit != 2<<30 || web.Proxy.Host != "proxy.example.org:3128" || !steps.SettingsOf[*browser.Browser](c.Target).Proxied() || !web.CucumberNagios || c.Target.ConnectTo["www.example.org:443"] != "127.0.0.1:8443" {
		t.Errorf("target: got %+v with %+v", c.Target, web)
	}
	var block struct {
		Path string `yaml:"path"`
	}
	if err := c.DecodeExporter("prometheus", &block); err != nil || block.Path != "/metrics" {
		t.Errorf("exporter: got %+v, %v", block, err)
	}
	var other struct{}
	if err := c.DecodeExporter("prometheus", &other); err == nil || !strings.Contains(err.Error(), "path") {
		t.Errorf("an exporter's unknown setting: got %v", err)
	}
}

// TestMistakes holds the message of each mistake, whole.
// TestRelativePathsHoldForOtherPrograms checks that the state directory, which the browser gets, does not depend on the
// working directory.
func TestRelativePathsHoldForOtherPrograms(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	const source = "features: [features]\nstate: state\n"
	for path, at := range map[string]string{"stepwatch.yml": dir, "etc/stepwatch.yml": dir + "/etc", dir + "/stepwatch.yml": dir} {
		c, err := Parse(path, []byte(source))
		if err != nil {
			t.Fatal(err)
		}
		if got, want := c.Target.StateDir, at+"/state"; got != want {
			t.Errorf("%s: state %q, want %q", path, got, want)
		}
		if got, want := c.Features[0], filepath.Join(filepath.Dir(path), "features"); got != want {
			t.Errorf("%s: features %q, want %q as they were written", path, got, want)
		}
	}
	t.Setenv("STATE_DIRECTORY", "var/state:other")
	c, err := Parse("stepwatch.yml", nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.Target.StateDir, dir+"/var/state"; got != want {
		t.Errorf("STATE_DIRECTORY: state %q, want %q", got, want)
	}
}

func TestMistakes(t *testing.T) {
	for source, want := range map[string]string{
		"listn: x":                            "stepwatch.yml:1:1: unknown field \"listn\"",
		"workers: many":                       "stepwatch.yml:1:10: workers is a text, want a whole number",
		"parallel: -1":                        "stepwatch.yml:1: parallel: is -1: it must be at least 1",
		"parallel_at: {\"a:1\": 0}":           "stepwatch.yml:1: parallel_at.a:1: is 0: it must be at least 1",
		"parallel_at: {a: 2}":                 "stepwatch.yml:1: parallel_at.a: \"a\" is not a host and port: write it as \"mail.example.org:993\"",
		"workers: -1":                         "stepwatch.yml:1: workers: is -1: it must be at least 1",
		"listen: 9469":                        "stepwatch.yml:1: listen: \"9469\" is not a host and port: write it as host:port",
		"\ndefaults:\n  every: soon":          "stepwatch.yml:3: defaults.every: \"soon\" is not a duration above zero: write it as 30s or 5m",
		"flapping: {low: 40}":                 "stepwatch.yml:1: flapping: low is 40 and high is 30: low must be less, or a scenario would begin and end to flap with each run",
		"flapping: {high: 130}":               "stepwatch.yml:1: flapping.high: is 130: it must be a percentage above 0, at most 100",
		"uplink: {references: [ns1]}":         "stepwatch.yml:1: uplink.references[0]: \"ns1\" is not a host and port: write it as \"192.0.2.53:53\"",
		"defaults: {retries: -1}":             "stepwatch.yml:1: defaults.retries: is -1: it must be at least 0",
		"web: {body_limit: 10 parsecs}":       "stepwatch.yml:1: web.body_limit: \"10 parsecs\" is not a size: write it as \"512 KB\" or \"10 MB\"",
		"resolver: dns.example.org":           "stepwatch.yml:1: resolver: \"dns.example.org\" is not a host and port: write it as host:port",
		"connect_to: {a: \"b:1\"}":            "stepwatch.yml:1: connect_to: \"a\" is not a host and port: write it as host:port",
		"tls: {ca: [missing.pem]}":            "stepwatch.yml:1: tls.ca[0]: open missing.pem: no such file or directory",
		"tls: {clients: [{hosts: [a.test]}]}": "stepwatch.yml:1: tls.clients[0]: needs hosts and certificate",
		"tls: {clients: [{hosts: [a.test], certificate: missing.pem}]}":                      "stepwatch.yml:1: tls.clients[0].certificate: open missing.pem: no such file or directory",
		"tls: {clients: [{hosts: [\"https://a.test\"], certificate: config_test.go}]}":       "stepwatch.yml:1: tls.clients[0].certificate: tls: failed to find any PEM data in certificate input\nstepwatch.yml:1: tls.clients[0].hosts: \"https://a.test\" is not a host name: write it as www.example.org or *.example.org",
		"web: {proxy: \"http://a:secret@proxy.test:3128\"}":                                  "stepwatch.yml:1: web.proxy: must be an http URL without a login: write it as http://proxy.example.org:3128",
		"web: {proxy_login: {username: a, password: {env: P}}}":                              "stepwatch.yml:1: web.proxy_login: needs web.proxy, which is not set",
		"web: {proxy: \"http://proxy.test:3128\", proxy_login: {username: a}}":               "stepwatch.yml:1: web.proxy_login: needs a username without a colon, and a password: write it as {username: stepwatch, password: {file: proxy.password}}",
		"web: {proxy: \"http://proxy.test:3128\", proxy_login: {username: a, password: {}}}": "stepwatch.yml:1: web.proxy_login.password: sets 0 sources for the secret: set one of file, env, credential and command",
		"tls: {ca: [config_test.go]}":                                                        "stepwatch.yml:1: tls.ca[0]: config_test.go contains no PEM certificate",
		"accounts:\n  a:\n    address: a@b.c\n    password: {env: P}\n    token: {env: T}":   "stepwatch.yml:5: accounts.a.token: cannot be combined with password: an account logs in with one of them",
		"accounts:\n  a:\n    address: nobody":                                               "stepwatch.yml:3: accounts.a.address: is \"nobody\": write it as name@example.org",
		"accounts:\n  a: {address: a@b, password: x}":                                        "stepwatch.yml:2:31: accounts.a.password is a text, want a mapping",
		"features: !!str 5":                     "stepwatch.yml:1:9: cannot be read: the YAML library fails on it; if it has a tag such as !!str, remove that",
		"tls: {ca: !!int 5}":                    "stepwatch.yml:1:4: cannot be read: the YAML library fails on it; if it has a tag such as !!str, remove that",
		"web: [1]":                              "stepwatch.yml:1:6: web is a list, want a mapping",
		"hosts: {a: 1}":                         "stepwatch.yml:1:12: hosts.a is a whole number, want a mapping",
		"connect_to: {a: {b: c}}":               "stepwatch.yml:1:17: connect_to.a is a mapping, want a text: put a text with a colon in quotes",
		"uplink: {references: [192.0.2.53:53]}": "stepwatch.yml:1:33: uplink.references[0] is a mapping, want a text: put a text with a colon in quotes",
		"probe: {targets: [a.test:443]}":        "stepwatch.yml:1:25: probe.targets[0] is a mapping, want a text: put a text with a colon in quotes",
		"tls: {ca: [C:a.pem]}":                  "stepwatch.yml:1:13: tls.ca[0] is a mapping, want a text: put a text with a colon in quotes",
		"maintenance: [{name: a, when: [{weekdays: [saturday:sunday]}]}]":  "stepwatch.yml:1:52: maintenance[0].when[0].weekdays[0] is a mapping, want a text: put a text with a colon in quotes",
		"maintenance: [{name: a, when: [{days_of_month: [1:7]}]}]":         "stepwatch.yml:1:50: maintenance[0].when[0].days_of_month[0] is a mapping, want a text: put a text with a colon in quotes",
		"accounts: {a: {address: a@b, password: {command: [fetch, a:b]}}}": "stepwatch.yml:1:59: accounts.a.password.command[1] is a mapping, want a text: put a text with a colon in quotes",
		"web: {proxy: a.test:3128}":                                        "stepwatch.yml:1: web.proxy: must be an http URL without a login: write it as http://proxy.example.org:3128",
		"accounts:\n  a: {address: a@b, password: {}}":                     "stepwatch.yml:2: accounts.a.password: sets 0 sources for the secret: set one of file, env, credential and command",
		"accounts:\n  a: {address: a@b, password: {file: x, env: y}}":      "stepwatch.yml:2: accounts.a.password: sets 2 sources for the secret: set one of file, env, credential and command",
		"hosts:\n  a:\n    queue: {showq: s, exim: e}":                     "stepwatch.yml:3: hosts.a.queue: needs exactly one of postfix, showq, exim, exim_spool, opensmtpd or api",
		"hosts:\n  a:\n    queue: {api: true}":                             "stepwatch.yml:3: hosts.a.queue.api: needs hosts.a.api",
		"hosts: {a: {ssh: {port: 70000}}}":                                 "stepwatch.yml:1: hosts.a.ssh.port: 70000 is not a port\nstepwatch.yml:1: hosts.a.ssh.user: is missing: who logs in\nstepwatch.yml:1: hosts.a.ssh: needs a key or a password",
		"databases: {a: {user: u, name: n}}":                               "stepwatch.yml:1: databases.a: needs exactly one of postgresql or mysql: host, host:port or the path of a socket",
		"databases: {a: {postgresql: h, name: n}}":                         "stepwatch.yml:1: databases.a.user: is missing: a user who may read and nothing else",
		"databases: {a: {postgresql: h, user: u}}":                         "stepwatch.yml:1: databases.a.name: is missing: the name that the database has on its server",
		"databases: {a: {mysql: \"u@h\", user: u}}":                        "stepwatch.yml:1: databases.a: \"u@h\" is not a host name or IP address",
		"hosts: {a: {amqp: {port: 70000}}}":                                "stepwatch.yml:1: hosts.a.amqp.port: 70000 is not a port",
		"hosts: {a: {log: {}}}":                                            "stepwatch.yml:1: hosts.a.log: needs exactly one of file or journal",
		"hosts: {a: {address: \"https://a\"}}":                             "stepwatch.yml:1: hosts.a.address: \"https://a\" is not a host name or IP address",
		"hosts: {a: {api: {url: mail.example.org/api}}}":                   "stepwatch.yml:1: hosts.a.api.url: \"mail.example.org/api\" is not a URL: write it as https://mail.example.org/api",
		"secrets: {x: }":                      "stepwatch.yml:1: secrets.x: sets 0 sources for the secret: set one of file, env, credential and command",
		"a: [":                                "stepwatch.yml:1:4: sequence end token ']' not found",
		"dnssec: {anchors: [missing]}":        "stepwatch.yml:1: dnssec.anchors[0]: open missing: no such file or directory",
		"dnssec: {anchors: [config_test.go]}": "stepwatch.yml:1: dnssec.anchors[0]: config_test.go: read trust anchors: dns: not a TTL: \"config\" at line: 1:14",
	} {
		_, err := Parse("stepwatch.yml", []byte(source))
		if err == nil {
			t.Errorf("%q: no error, want %q", source, want)
		} else if err.Error() != want {
			t.Errorf("%q:\ngot  %q\nwant %q", source, err, want)
		}
	}
}

func TestAMistakeNeverShowsThePassword(t *testing.T) {
	_, err := Parse("stepwatch.yml", []byte("accounts:\n  a: {address: a@b, password: hunter2}"))
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v", err)
	}
}

func TestNoFileGivesTheDefaults(t *testing.T) {
	t.Chdir(t.TempDir())
	c, err := Load("")
	if err != nil || c.Listen != "127.0.0.1:9469" || c.Defaults.Every != time.Minute {
		t.Errorf("got %+v, %v", c, err)
	}
	if _, err := Load("named.yml"); err == nil || !strings.Contains(err.Error(), "named.yml") {
		t.Errorf("a file that was asked for by name: got %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(complete))
	f.Fuzz(func(t *testing.T, source []byte) {
		c, err := Parse("stepwatch.yml", source)
		if (c == nil) == (err == nil) {
			t.Errorf("got %v and %v", c, err)
		}
	})
}

func TestDatabases(t *testing.T) {
	c, err := Parse("stepwatch.yml", []byte("databases:\n"+
		"  a: {postgresql: db.example.test, name: n, user: u, password: {env: X}}\n"+
		"  b: {mysql: \"127.0.0.1:3307\", user: u}\n"+
		"  c: {postgresql: /run/postgresql, name: n, user: u}\n"+
		"  d: {postgresql: \"::1\", name: n, user: u, tls: true}\n"))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]service.Database{
		"a": {Name: "a", Address: "db.example.test:5432", Database: "n", User: "u", Password: steps.SettingSecret("databases.a.password"), TLS: true},
		"b": {Name: "b", MySQL: true, Address: "127.0.0.1:3307", User: "u"},
		"c": {Name: "c", Address: "/run/postgresql", Database: "n", User: "u"},
		"d": {Name: "d", Address: "[::1]:5432", Database: "n", User: "u", TLS: true},
	} {
		if got := *steps.SettingsOf[service.Databases](c.Target)[name]; got != want {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
	}
}
