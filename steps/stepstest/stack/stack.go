//go:build linux

package stack

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"text/template"
	"time"

	"github.com/miekg/dns"

	"github.com/stepwatch/stepwatch/steps/stepstest/nameserver"
)

const (
	// Domain is the zone of the stack.
	Domain = "example.test"

	// Documented is the domain of the shipped features (RFC 2606). The website answers to it too, so that they run unchanged.
	Documented = "example.org"

	selector = "mail" // of DKIM
	mailUID  = 5000   // owns the mailboxes; needs no entry in the machine's passwd
	address  = "127.0.0.1:53"
)

// Host is a name of the zone with the addresses' servers behind it: SMTP, submission, IMAP and the web, on their usual ports.
type Host struct {
	Name  string
	IP    string
	Does  string // what is special about it
	Chain string // file with its key and certificate; empty when nothing listens

	Policy string // what Postfix' access(5) answers to every recipient; empty for the usual
}

// The hosts. Mail is the good one; each of the others has one fault, so that a test points an account or a URL at it
// and changes nothing that another test relies on.
const (
	Mail      = "mail." + Domain
	Expired   = "expired." + Domain    // its certificate ended a day ago
	WrongHost = "wronghost." + Domain  // its certificate is for other names
	UnknownCA = "unknown-ca." + Domain // nobody trusts its certificate's issuer
	Greylist  = "greylist." + Domain   // refuses every recipient for now
	Holding   = "holding." + Domain    // accepts mail and keeps it until Release
	Closed    = "closed." + Domain     // nothing listens
)

// Listens says whether there are servers.
func (h Host) Listens() bool { return h.Chain != "" }

// Good says whether the host has no fault.
func (h Host) Good() bool { return h.Name == Mail }

// Label is the host's name without the domain.
func (h Host) Label() string { return strings.TrimSuffix(h.Name, "."+Domain) }

// Reverse is the owner of the host's PTR record.
func (h Host) Reverse() string {
	name, err := dns.ReverseAddr(netip.MustParseAddr(h.IP).String())
	if err != nil {
		panic(err) // an address that has been parsed
	}
	return name
}

// Account is a user of the mail system, as a stepwatch.yml describes it.
type Account struct {
	Name         string
	Address      string // also the user name
	Password     string
	PasswordFile string // holds Password
	SMTP         string // host that takes its mail
	IMAP         string // host of its mailbox
}

// Config is what a stepwatch.yml for the stack holds.
type Config struct {
	Accounts []Account
	CA       string // file with the root to trust
}

// Stack is a set of running servers.
type Stack struct {
	Dir        string // configuration, keys, queues, mailboxes, and the logs under log/
	Config     Config // fits the stack; a test alters a Clone
	Postfix    *Server
	Dovecot    *Server
	OpenDKIM   *Server
	Nginx      *Server
	NameServer *nameserver.Server
	Prometheus *Server // nil until StartPrometheus
	Nagios     *Server // nil until StartNagios

	hosts []Host
}

//go:embed etc
var templates embed.FS

// Start generates everything under dir, which should be empty, and starts the servers. dir is a short path, because
// sockets are in it. When a server does not come up the others are stopped again.
func Start(ctx context.Context, dir string) (*Stack, error) {
	if !Inside() {
		return nil, errors.New("start the stack: not in namespaces of its own; call Enter first")
	}
	s, err := generate(dir)
	if err != nil {
		return nil, fmt.Errorf("generate the stack: %w", err)
	}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Stack) start(ctx context.Context) error {
	zone, err := os.ReadFile(s.path("etc/zone"))
	if err != nil {
		return err
	}
	if s.NameServer, err = nameserver.Start(address, string(zone)); err != nil {
		return err
	}
	return together(s.servers(), func(server *Server) error { return server.Start(ctx) })
}

func (s *Stack) servers() []*Server {
	var servers []*Server
	for _, server := range []*Server{s.Nagios, s.Prometheus, s.Postfix, s.Dovecot, s.OpenDKIM, s.Nginx} {
		if server != nil {
			servers = append(servers, server)
		}
	}
	return servers
}

// Close stops every server. It leaves Dir, whose logs say what went on.
func (s *Stack) Close() error {
	err := together(s.servers(), (*Server).Stop)
	if s.NameServer != nil {
		err = errors.Join(err, s.NameServer.Close())
		s.NameServer = nil
	}
	return err
}

// together does the same to all servers at once.
func together(servers []*Server, do func(*Server) error) error {
	errs := make([]error, len(servers))
	var all sync.WaitGroup
	for i, server := range servers {
		all.Go(func() { errs[i] = do(server) })
	}
	all.Wait()
	return errors.Join(errs...)
}

func (s *Stack) path(name string) string { return filepath.Join(s.Dir, name) }

// longestSocket is the path of the longest unix socket beneath Dir, which the kernel limits to 107 bytes (unix(7)).
const longestSocket = "/dovecot/anvil-auth-penalty"

func generate(dir string) (*Stack, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if limit := 107 - len(longestSocket); len(dir) > limit {
		return nil, fmt.Errorf("directory %q is too long for unix sockets beneath it: at most %d bytes", dir, limit)
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
	s.Config = Config{CA: s.path("ca.pem")}
	for _, name := range []string{"alice", "bob", "carol"} {
		a := Account{Name: name, Address: name + "@" + Domain, Password: newPassword(),
			PasswordFile: s.path(name + ".password"), SMTP: Mail, IMAP: Mail}
		if err := os.WriteFile(a.PasswordFile, []byte(a.Password+"\n"), 0o600); err != nil {
			return nil, err
		}
		s.Config.Accounts = append(s.Config.Accounts, a)
	}
	if err := s.renderAll(signing); err != nil {
		return nil, err
	}
	if err := s.WriteConfig(s.path("stepwatch.yml"), s.Config); err != nil {
		return nil, err
	}
	// Postfix takes a new file for one that is still being written, and waits for it to become two seconds old.
	past := time.Now().Add(-time.Minute)
	if err := errors.Join(os.Chtimes(s.path("etc/postfix/main.cf"), past, past), os.Chtimes(s.path("etc/postfix/master.cf"), past, past)); err != nil {
		return nil, err
	}
	if err := s.own(); err != nil {
		return nil, err
	}
	s.define()
	return s, nil
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
	for _, name := range []string{"log", "keys", "mail", "postfix/queue/pid", "postfix/data", "dovecot/state", "opendkim", "nginx"} {
		if err := os.MkdirAll(s.path(name), 0o755); err != nil {
			return err
		}
	}
	return s.makeQueue()
}

// makeQueue makes the tree that "postfix check" makes by /etc/postfix/postfix-files in a hundred times the time.
func (s *Stack) makeQueue() error {
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
	for _, d := range []struct {
		name string
		mode fs.FileMode
		gid  int
	}{
		{"active", 0o700, 0}, {"bounce", 0o700, 0}, {"corrupt", 0o700, 0}, {"defer", 0o700, 0}, {"deferred", 0o700, 0},
		{"flush", 0o700, 0}, {"hold", 0o700, 0}, {"incoming", 0o700, 0}, {"private", 0o700, 0}, {"saved", 0o700, 0},
		{"trace", 0o700, 0}, {"maildrop", 0o730, postdrop}, {"public", 0o710, postdrop},
	} {
		path := s.path("postfix/queue/" + d.name)
		if err := errors.Join(os.MkdirAll(path, d.mode), os.Chown(path, postfix, d.gid), os.Chmod(path, d.mode)); err != nil {
			return err
		}
	}
	return nil
}

// makeKeys writes the CA, a certificate for each kind of host and the key for DKIM, and returns the strings of its record.
func (s *Stack) makeKeys() (signing []string, err error) {
	ca, err := newAuthority("stepwatch test CA")
	if err != nil {
		return nil, err
	}
	stranger, err := newAuthority("unknown CA")
	if err != nil {
		return nil, err
	}
	var (
		good  = s.path("keys/good.pem")
		soon  = time.Now().AddDate(0, 1, 0)
		chain = func(name string) string { return s.path("keys/" + name + ".pem") }
	)
	s.hosts = []Host{
		{Name: Mail, IP: "127.0.0.1", Does: "no fault", Chain: good},
		{Name: Expired, IP: "127.0.0.2", Does: "its certificate ended a day ago", Chain: chain("expired")},
		{Name: WrongHost, IP: "127.0.0.3", Does: "its certificate is for other names", Chain: chain("other")},
		{Name: UnknownCA, IP: "127.0.0.4", Does: "nobody trusts its certificate's issuer", Chain: chain("unknown-ca")},
		{Name: Greylist, IP: "127.0.0.5", Does: "refuses every recipient for now", Chain: good, Policy: "450 4.7.1 Greylisted, try again later"},
		{Name: Holding, IP: "127.0.0.6", Does: "accepts mail and keeps it", Chain: good, Policy: "hold"},
		{Name: Closed, IP: "127.0.0.7", Does: "nothing listens"},
	}
	for _, c := range []struct {
		file  string
		ca    *authority
		end   time.Time
		names []string
	}{
		{good, ca, soon, []string{Domain, "www." + Domain, Mail, Greylist, Holding, Documented, "www." + Documented}},
		{chain("expired"), ca, time.Now().AddDate(0, 0, -1), []string{Expired}},
		{chain("other"), ca, soon, []string{"other." + Domain}},
		{chain("unknown-ca"), stranger, soon, []string{UnknownCA}},
	} {
		content, err := c.ca.issue(c.end, c.names...)
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(c.file, content, 0o600); err != nil {
			return nil, err
		}
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

// renderAll writes the configuration of every server that Start starts.
func (s *Stack) renderAll(signing []string) error {
	data := struct {
		Dir, Domain, Documented, Host, Selector string
		SigningRecord                           []string
		MailUID                                 int
		Accounts                                []Account
		Hosts                                   []Host
	}{s.Dir, Domain, Documented, Mail, selector, signing, mailUID, s.Config.Accounts, s.hosts}
	return fs.WalkDir(templates, "etc", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir():
			return os.MkdirAll(s.path(name), 0o755)
		case later[name]:
			return nil
		}
		return s.render(name, s.path(name), data)
	})
}

// later has the templates that are rendered when more is known.
var later = map[string]bool{"etc/stepwatch.yml": true, "etc/prometheus.yml": true, "etc/nagios/nagios.cfg": true, "etc/nagios/objects.cfg": true}

func (s *Stack) render(name, to string, data any) error {
	t, err := template.ParseFS(templates, name)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := t.Option("missingkey=error").Execute(&out, data); err != nil {
		return err
	}
	mode := fs.FileMode(0o644)
	if name == "etc/dovecot.users" {
		mode = 0o600
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
	return os.Chown(s.path("mail"), mailUID, mailUID)
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

// define describes the servers that Start starts.
func (s *Stack) define() {
	server := func(name string, argv ...string) *Server {
		return &Server{Name: name, Log: s.path("log/" + name), argv: argv}
	}
	s.Postfix = server("postfix", "/usr/lib/postfix/sbin/master", "-c", s.path("etc/postfix"), "-s")
	s.Dovecot = server("dovecot", "/usr/sbin/dovecot", "-F", "-c", s.path("etc/dovecot.conf"))
	s.OpenDKIM = server("opendkim", "/usr/sbin/opendkim", "-f", "-x", s.path("etc/opendkim.conf"))
	s.Nginx = server("nginx", "/usr/sbin/nginx", "-c", s.path("etc/nginx.conf"), "-e", "stderr")
	// Each server opens all its ports before it serves any.
	s.Postfix.ready = append(s.Postfix.ready, listening("tcp", "127.0.0.1:25"), listening("tcp", "127.0.0.1:587"), listening("tcp", "127.0.0.1:465"))
	s.Dovecot.ready = append(s.Dovecot.ready, listening("tcp", "127.0.0.1:143"), listening("tcp", "127.0.0.1:993"))
	s.Nginx.ready = append(s.Nginx.ready, listening("tcp", "127.0.0.1:80"), listening("tcp", "127.0.0.1:443"))
	s.Dovecot.ready = append(s.Dovecot.ready, listening("unix", s.path("dovecot/lmtp")), listening("unix", s.path("dovecot/auth")))
	s.OpenDKIM.ready = append(s.OpenDKIM.ready, listening("unix", s.path("opendkim/milter")))
}

// Clone is a copy to alter.
func (c Config) Clone() Config {
	c.Accounts = append([]Account(nil), c.Accounts...)
	return c
}

// WriteConfig writes c as a stepwatch.yml.
func (s *Stack) WriteConfig(path string, c Config) error {
	return s.render("etc/stepwatch.yml", path, c)
}
