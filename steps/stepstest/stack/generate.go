//go:build linux

package stack

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"text/template"
	"time"
)

//go:embed etc
var templates embed.FS

// longestSocket is the path of the longest unix socket beneath Dir, which the kernel limits to 107 bytes (unix(7)).
const longestSocket = "/dovecot/token-login/imap-urlauth"

func generate(dir string) (*Stack, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if limit := 107 - len(longestSocket); len(dir) > limit {
		return nil, fmt.Errorf("directory %q is too long for unix sockets below it: at most %d bytes", dir, limit)
	}
	if err := traversable(dir); err != nil {
		return nil, err
	}
	s := &Stack{Dir: dir}
	if err := s.makeDirectories(); err != nil {
		return nil, err
	}
	signing, err := s.makeKeys()
	if err != nil {
		return nil, err
	}
	s.Config = Config{Gone: "gone@" + Domain, CA: s.path("ca.pem"), Hosts: map[string]string{"mail": Mail, "old": Mail, "new": New, "proxy": Proxy}}
	for _, a := range accounts() {
		a.PasswordFile = s.path(a.Name + ".password")
		if err := os.WriteFile(a.PasswordFile, []byte(a.Password+"\n"), 0o600); err != nil {
			return nil, err
		}
		s.Config.Accounts = append(s.Config.Accounts, a)
	}
	mailboxes := s.Config.Accounts
	s.Config.Accounts = append(mailboxes[:len(mailboxes):len(mailboxes)], moving(s.Config)...)
	if err := s.renderAll(signing, mailboxes); err != nil {
		return nil, err
	}
	if err := s.WriteConfig(s.path("stepwatch.yml"), s.Config); err != nil {
		return nil, err
	}
	if err := s.writeTokenKey(); err != nil {
		return nil, err
	}
	if err := age(s.path("etc/postfix")); err != nil {
		return nil, err
	}
	if err := s.own(); err != nil {
		return nil, err
	}
	s.define()
	return s, nil
}

// age backdates a Postfix' configuration: a new file it takes for one that is still being written, and waits for it to
// become two seconds old.
func age(dir string) error {
	past := time.Now().Add(-time.Minute)
	return errors.Join(os.Chtimes(filepath.Join(dir, "main.cf"), past, past), os.Chtimes(filepath.Join(dir, "master.cf"), past, past))
}

// traversable says which directory on the way to dir the servers' own users could not pass.
func traversable(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for d := dir; ; d = filepath.Dir(d) {
		info, err := os.Stat(d)
		if err != nil {
			return err
		}
		if info.Mode()&0o001 == 0 {
			return fmt.Errorf("directory %q is closed to the servers' users: chmod o+x it", d)
		}
		if d == filepath.Dir(d) {
			return nil
		}
	}
}

func (s *Stack) makeDirectories() error {
	for _, name := range []string{"log", "keys", "issuers", "mail", "postfix/queue/pid", "postfix/data", "dovecot/state", "opendkim", "nginx"} {
		if err := os.MkdirAll(s.path(name), 0o755); err != nil {
			return err
		}
	}
	return makeOwnQueue(s.path("postfix/queue"))
}

// makeOwnQueue makes the queue of a Postfix that the machine has installed.
func makeOwnQueue(dir string) error {
	postfix, _, err := lookup("postfix")
	if err != nil {
		return err
	}
	group, err := user.LookupGroup("postdrop")
	if err != nil {
		return err
	}
	postdrop, err := strconv.Atoi(group.Gid)
	if err != nil {
		return err
	}
	return makeQueue(dir, postfix, postdrop)
}

// makeQueue makes the tree of /etc/postfix/postfix-files in dir, which exists. "postfix check" would make it too, in two hundred shell
// commands.
func makeQueue(dir string, postfix, postdrop int) error {
	for _, d := range []struct {
		name string
		mode fs.FileMode
		gid  int
	}{
		{"active", 0o700, 0}, {"bounce", 0o700, 0}, {"corrupt", 0o700, 0}, {"defer", 0o700, 0}, {"deferred", 0o700, 0},
		{"flush", 0o700, 0}, {"hold", 0o700, 0}, {"incoming", 0o700, 0}, {"private", 0o700, 0}, {"saved", 0o700, 0},
		{"trace", 0o700, 0}, {"maildrop", 0o730, postdrop}, {"public", 0o710, postdrop},
	} {
		path := filepath.Join(dir, d.name)
		if err := errors.Join(os.MkdirAll(path, d.mode), os.Chown(path, postfix, d.gid), os.Chmod(path, d.mode)); err != nil {
			return err
		}
	}
	return nil
}

// makeKeys writes the CA, a certificate for each kind of host and the key for DKIM, and returns the strings of its record.
func (s *Stack) makeKeys() (signing []string, err error) {
	ca, err := newAuthority("stepwatch test CA", nil)
	if err != nil {
		return nil, err
	}
	stranger, err := newAuthority("unknown CA", nil)
	if err != nil {
		return nil, err
	}
	var (
		chain = func(name string) string { return s.path("keys/" + name + ".pem") }
		soon  = time.Now().AddDate(0, 1, 0)
	)
	s.hosts = hosts(chain)
	for _, c := range []struct {
		name  string
		ca    *authority
		end   time.Time
		names []string
	}{
		{"good", ca, soon, s.namesWith(chain("good"))},
		{"expired", ca, time.Now().AddDate(0, 0, -1), []string{Expired}},
		{"other", ca, soon, []string{"other." + Domain}},
		{"unknown-ca", stranger, soon, []string{UnknownCA}},
	} {
		content, err := c.ca.issue(c.end, c.names...)
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(chain(c.name), content, 0o600); err != nil {
			return nil, err
		}
	}
	if err := s.certifyChanging(ca); err != nil {
		return nil, err
	}
	if err := os.WriteFile(s.path("ca.pem"), ca.pem(), 0o644); err != nil {
		return nil, err
	}
	private, signing, err := newSigningKey()
	if err != nil {
		return nil, err
	}
	return signing, os.WriteFile(s.path("opendkim/key.pem"), private, 0o600)
}

// namesWith lists what a certificate has to be good for.
func (s *Stack) namesWith(chain string) []string {
	names := []string{Domain, "www." + Domain, "mta-sts." + Domain, Documented, "www." + Documented, Dual}
	for _, h := range s.hosts {
		if h.Chain == chain {
			names = append(names, h.Name)
		}
	}
	return names
}

// renderAll writes the configuration of every server that Start starts.
func (s *Stack) renderAll(signing []string, mailboxes []Account) error {
	data := struct {
		Dir, Domain, Documented, Host, Selector string
		SigningRecord                           []string
		MailUID                                 int
		Accounts                                []Account
		Copied, Backup                          string
		Far, MX1, MX2, Relay                    string
		Bob, International, IDN, Both           string
		Hosts                                   []host
		MailProxy                               string // its address
	}{s.Dir, Domain, Documented, Mail, selector, signing, MailUID, mailboxes,
		s.Config.Account(Copied).Address, s.Config.Account(Backup).Address, Far, MX1, MX2, Relay,
		s.Config.Account(Bob).Address, International, IDN, Both, s.hosts, s.find(MailProxy)[0].IP}
	return fs.WalkDir(templates, "etc", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir():
			return os.MkdirAll(s.path(name), 0o755)
		case later[name] || strings.HasPrefix(name, "etc/route/"), strings.HasPrefix(name, "etc/dns/"), strings.HasPrefix(name, "etc/sites/"), strings.HasPrefix(name, "etc/secured/"), strings.HasPrefix(name, "etc/mailservers/"):
			return nil
		}
		return s.render(name, s.path(name), data)
	})
}

// sealer is the program that encrypts the mail of Sealed.
const sealer = "etc/sieve/seal"

// BreakSealing keeps the program that encrypts the mail of Sealed from running, until mend is called. Dovecot then stores
// the mail as it came.
func (s *Stack) BreakSealing() (mend func() error, err error) {
	return func() error { return os.Chmod(s.path(sealer), 0o755) }, os.Chmod(s.path(sealer), 0o644) //nolint:gosec // a program
}

// services is what every master.cf ends with.
const services = "etc/postfix/services"

// later has the templates that are rendered when more is known, or as a part of others.
var later = map[string]bool{services: true, "etc/exim.conf": true, "etc/proxy.conf": true, "etc/stepwatch.yml": true, "etc/prometheus.yml": true, "etc/nagios/nagios.cfg": true, "etc/nagios/objects.cfg": true}

func (s *Stack) render(name, to string, data any) error {
	t, err := template.ParseFS(templates, name, services)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := t.Option("missingkey=error").Execute(&out, data); err != nil {
		return err
	}
	mode := fs.FileMode(0o644)
	switch name {
	case "etc/dovecot.users":
		mode = 0o600
	case sealer:
		mode = 0o755
	}
	return os.WriteFile(to, out.Bytes(), mode)
}

// own gives the files to the users that their servers run as.
func (s *Stack) own() error {
	for _, f := range []struct{ name, user string }{
		{"postfix/data", "postfix"},
		{"opendkim", "opendkim"},
		{"opendkim/key.pem", "opendkim"},
		{"etc/dovecot.users", "dovecot"},
	} {
		uid, gid, err := lookup(f.user)
		if err != nil {
			return err
		}
		if err := os.Chown(s.path(f.name), uid, gid); err != nil {
			return err
		}
	}
	// Who delivers compiles the filter, and keeps the result beside it.
	return errors.Join(os.Chown(s.path("mail"), MailUID, MailUID), os.Chown(s.path("etc/sieve"), MailUID, MailUID))
}

func lookup(name string) (uid, gid int, err error) {
	u, err := user.Lookup(name)
	if err != nil {
		return 0, 0, err
	}
	if uid, err = strconv.Atoi(u.Uid); err != nil {
		return 0, 0, err
	}
	gid, err = strconv.Atoi(u.Gid)
	return uid, gid, err
}

func (s *Stack) server(name string, argv ...string) *Server {
	return &Server{Name: name, Log: s.path("log/" + name), argv: argv}
}

// postfix describes an instance of Postfix with a configuration directory of its own.
func (s *Stack) postfix(name, config string) *Postfix {
	return &Postfix{s.server(name, "/usr/lib/postfix/sbin/master", "-c", config, "-s"), config}
}

// define describes the servers that Start starts.
func (s *Stack) define() {
	server := s.server
	s.Postfix = s.postfix("postfix", s.path("etc/postfix"))
	s.Dovecot = server("dovecot", "/usr/sbin/dovecot", "-F", "-c", s.path("etc/dovecot.conf"))
	s.OpenDKIM = server("opendkim", "/usr/sbin/opendkim", "-f", "-x", s.path("etc/opendkim.conf"))
	s.Nginx = server("nginx", "/usr/sbin/nginx", "-c", s.path("etc/nginx.conf"), "-e", "stderr")
	// Each server opens all its ports before it serves any.
	s.Postfix.ready = append(s.Postfix.ready, listening("tcp", "127.0.0.1:25"), listening("tcp", "127.0.0.1:587"), listening("tcp", "127.0.0.1:465"))
	s.Dovecot.ready = append(s.Dovecot.ready, listening("tcp", "127.0.0.1:143"), listening("tcp", "127.0.0.1:993"))
	s.Dovecot.ready = append(s.Dovecot.ready, listening("tcp", "127.0.0.1:110"), listening("tcp", "127.0.0.1:995"))
	s.Nginx.ready = append(s.Nginx.ready, listening("tcp", "127.0.0.1:80"), listening("tcp", "127.0.0.1:443"))
	for _, port := range []string{"143", "993", "110", "995"} {
		s.Nginx.ready = append(s.Nginx.ready, listening("tcp", net.JoinHostPort(s.find(MailProxy)[0].IP, port)))
	}
	s.Dovecot.ready = append(s.Dovecot.ready, listening("unix", s.path("dovecot/lmtp")), listening("unix", s.path("dovecot/auth")))
	s.OpenDKIM.ready = append(s.OpenDKIM.ready, listening("unix", s.path("opendkim/milter")))
}
