//go:build linux

package stack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/crypto/bcrypt"
)

// The hosts of the mail servers that Mailservers describes: one that takes mail and one that has the mailboxes on each.
const (
	CourierHost = "courier." + Domain
	CyrusHost   = "cyrus." + Domain
	Exim12Host  = "exim12." + Domain
	Exim13Host  = "exim13." + Domain
	PostfixHost = "postfix13." + Domain
)

const (
	smtpdProgram   = "/usr/sbin/smtpd"
	courierProgram = "/usr/sbin/couriertcpd"
	cyrusProgram   = "/usr/sbin/cyrmaster"
	saslProgram    = "/usr/sbin/saslpasswd2"
	dovecotProgram = "/usr/sbin/dovecot"
	masterProgram  = "/usr/lib/postfix/sbin/master"
	treeExim       = "/usr/sbin/exim4"

	smtpqGID        = 5012
	courierUID      = 5013
	cyrusUID        = 5014
	treePostfixUID  = 5016
	treePostdropGID = 5017
)

// Mailserver is a host with mail servers of another make or generation than those of Start, in a root directory of their
// own. They run between Start and Stop alone. The host is also a domain: of Alice and Bob there, and of Gone, an address
// that is taken and bounces.
type Mailserver struct {
	Name     string // of the makes and generations
	Host     string
	Tree     *Tree
	Accounts []Account // Alice and Bob
	Gone     string
	Prefix   string // of the names of folders beside INBOX, with its delimiter; empty for none

	stack    *Stack
	at       host
	dir      string   // beneath the stack's
	configs  []string // directories of etc/mailservers
	minPoll  int      // minutes that Cyrus demands between two logins over POP3 on port 110
	lmtp     string   // the socket where mail is handed over to the one with the mailboxes; empty where it is written into maildirs
	servers  []*Server
	syslog   *syslog // nil while nothing runs
	prepares []func(ctx context.Context, root string) error
}

// Mailserver describes those of a host; there being none is a mistake.
func (s *Stack) Mailserver(host string) *Mailserver {
	for _, m := range s.Mailservers() {
		if m.Host == host {
			return m
		}
	}
	panic("no mail servers at " + host)
}

// Mailservers describes them. Nothing of them is there before Start.
func (s *Stack) Mailservers() []*Mailserver {
	return []*Mailserver{s.courier(), s.cyrus(CyrusHost), s.cyrus(Exim12Host), s.dovecot24(PostfixHost), s.dovecot24(Exim13Host)}
}

func (s *Stack) mailserver(name, hostname string, tree *Tree) *Mailserver {
	at := s.find(hostname)[0]
	m := &Mailserver{Name: name, Host: hostname, Tree: tree, Gone: "gone@" + hostname, stack: s, at: at, dir: s.path(at.Label())}
	for _, account := range []string{Alice, Bob} {
		m.Accounts = append(m.Accounts, Account{Name: account, Address: account + "@" + hostname, SMTP: hostname, IMAP: hostname})
	}
	return m
}

// Usable returns why the servers cannot run, or nil.
func (m *Mailserver) Usable() error { return m.Tree.Usable() }

// Start makes the servers' configuration, with accounts whose mailboxes are empty, and starts them.
func (m *Mailserver) Start(ctx context.Context) error {
	root, err := m.stack.mountRoot(m.at.Label(), m.Tree)
	if err != nil {
		return err
	}
	m.stack.mailserving.Lock()
	m.stack.mailservers = append(m.stack.mailservers, m)
	m.stack.mailserving.Unlock()
	if m.syslog, err = startSyslog(root+"/dev/log", m.log(), m.at.Label()); err != nil {
		return err
	}
	if err := m.configure(); err != nil {
		return fmt.Errorf("configure %s: %w", m.Name, err)
	}
	for _, prepare := range m.prepares {
		if err := prepare(ctx, root); err != nil {
			return fmt.Errorf("prepare %s: %w", m.Name, err)
		}
	}
	for _, server := range m.servers {
		server.root = root
	}
	if err := m.writeConfig(); err != nil {
		return err
	}
	// The one that delivers connects to the one with the mailboxes.
	return together(m.servers, func(server *Server) error { return server.Start(ctx) })
}

// Stop stops the servers, and removes everything of them but the logs. Stopping servers that do not run is no error.
func (m *Mailserver) Stop() error {
	m.stack.mailserving.Lock()
	m.stack.mailservers = slices.DeleteFunc(m.stack.mailservers, func(other *Mailserver) bool { return other == m })
	m.stack.mailserving.Unlock()
	err := together(m.servers, (*Server).Stop)
	if m.syslog != nil {
		err = errors.Join(err, m.syslog.close())
		m.syslog = nil
	}
	return errors.Join(err, endWithin(m.root()), unmountRoot(m.root()), os.RemoveAll(m.dir))
}

// ConfigFile is a stepwatch.yml of Config, with the log of these servers as that of the host "server".
func (m *Mailserver) ConfigFile() string { return m.dir + "/stepwatch.yml" }

// Smtpctl is a program that does what smtpctl(8) does, where OpenSMTPD takes the mail.
func (m *Mailserver) Smtpctl() string { return m.dir + "/smtpctl" }

// Messages lists the files of the messages in all folders of the mailboxes.
func (m *Mailserver) Messages() ([]string, error) {
	var messages []string
	for _, pattern := range []string{
		m.dir + "/mail/*/Maildir/[nc][eu][wr]/*", m.dir + "/mail/*/Maildir/.*/[nc][eu][wr]/*",
		m.root() + "/var/spool/cyrus/mail/domain/*/*/*/user/*/[0-9]*.", m.root() + "/var/spool/cyrus/mail/domain/*/*/*/user/*/*/[0-9]*.",
	} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return nil, err
		}
		messages = append(messages, found...)
	}
	return messages, nil
}

// root is their root directory.
func (m *Mailserver) root() string { return filepath.Join(RunDir, "roots", m.at.Label(), "root") }

// writeConfig writes ConfigFile.
func (m *Mailserver) writeConfig() error {
	if err := m.stack.WriteConfig(m.ConfigFile(), m.Config()); err != nil {
		return err
	}
	content, err := os.ReadFile(m.ConfigFile())
	if err != nil {
		return err
	}
	server := fmt.Sprintf("hosts:\n  server: {address: %s, log: {file: %s}}\n", m.Host, m.log())
	return os.WriteFile(m.ConfigFile(), []byte(strings.Replace(string(content), "hosts:\n", server, 1)+"state: "+m.dir+"/readings\n"), 0o644)
}

// log is the file of their syslog.
func (m *Mailserver) log() string { return m.stack.path("log/" + m.at.Label()) }

// Config is the stack's, with the accounts of these servers in the place of those of their names.
func (m *Mailserver) Config() Config {
	c := m.stack.Config.Clone()
	for _, account := range m.Accounts {
		*c.Account(account.Name) = account
	}
	c.Gone = m.Gone
	return c
}

// Halt stops one of the servers, by the last part of its name.
func (m *Mailserver) Halt(name string) error {
	for _, server := range m.servers {
		if strings.HasSuffix(server.Name, "-"+name) {
			return server.Stop()
		}
	}
	return fmt.Errorf("halt %s: %s has none", name, m.Name)
}

// Logs lists the files that the servers log to: what they give to syslog, and what they print.
func (m *Mailserver) Logs() []string {
	logs := []string{m.log()}
	for _, server := range m.servers {
		logs = append(logs, server.Log)
	}
	return logs
}

// configure gives the accounts new passwords, and renders everything in etc/mailservers that is for these servers.
func (m *Mailserver) configure() error {
	for _, dir := range []string{m.dir, m.dir + "/mail", m.dir + "/state"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	hashes := map[string]string{}
	for i := range m.Accounts {
		a := &m.Accounts[i]
		a.Password = newPassword()
		a.PasswordFile = m.dir + "/" + a.Name + ".password"
		hash, err := bcrypt.GenerateFromPassword([]byte(a.Password), bcrypt.MinCost)
		if err != nil {
			return err
		}
		hashes[a.Name] = string(hash)
		home := m.dir + "/mail/" + a.Name
		if err := errors.Join(os.WriteFile(a.PasswordFile, []byte(a.Password+"\n"), 0o600), os.MkdirAll(home, 0o700), os.Chown(home, MailUID, MailUID)); err != nil {
			return err
		}
	}
	chain, err := os.ReadFile(m.at.Chain)
	if err != nil {
		return err
	}
	if err := os.WriteFile(m.dir+"/chain.pem", chain, 0o600); err != nil {
		return err
	}
	data := struct {
		Dir, Name, IP, Gone, Absent, LMTP string
		MailUID, MinPoll                  int
		Accounts                          []Account
		Hashes                            map[string]string
	}{m.dir, m.Host, m.at.IP, m.Gone, "absent." + Domain, m.lmtp, MailUID, m.minPoll, m.Accounts, hashes}
	for _, config := range m.configs {
		files, err := templates.ReadDir("etc/mailservers/" + config)
		if err != nil {
			return err
		}
		for _, file := range files {
			if err := m.stack.render("etc/mailservers/"+config+"/"+file.Name(), m.dir+"/"+file.Name(), data); err != nil {
				return err
			}
		}
	}
	return nil
}

// serve adds a server that logs to a file of the host's and its own name. It is up when it listens on these ports.
func (m *Mailserver) serve(name string, ports []string, argv ...string) *Server {
	server := m.stack.server(m.at.Label()+"-"+name, argv...)
	for _, port := range ports {
		server.ready = append(server.ready, listening("tcp", m.at.IP+":"+port))
	}
	m.servers = append(m.servers, server)
	return server
}

var (
	transfer = []string{"25", "587", "465"}
	access   = []string{"143", "993", "110", "995"}
)

// courier is OpenSMTPD, which writes into the maildirs that Courier-IMAP reads.
func (s *Stack) courier() *Mailserver {
	m := s.mailserver("OpenSMTPD 7.4 and Courier-IMAP 5.0", CourierHost, Bookworm)
	m.Prefix = "INBOX."
	m.smtpd()
	m.configs = append(m.configs, "courier")
	m.serve("authdaemond", nil, "/usr/lib/courier/courier-authlib/authdaemond")
	for i, protocol := range []string{"imap", "imaps", "pop3", "pop3s"} {
		m.serve(protocol, access[i:i+1], "/bin/sh", m.dir+"/run", protocol)
	}
	m.prepares = append(m.prepares, func(ctx context.Context, root string) error {
		rc := root + "/etc/courier/authdaemonrc"
		settings, err := os.ReadFile(rc)
		if err != nil {
			return err
		}
		users, err := os.ReadFile(m.dir + "/userdb")
		if err != nil {
			return err
		}
		settings = bytes.Replace(settings, []byte(`authmodulelist="authpam"`), []byte(`authmodulelist="authuserdb"`), 1)
		if err := errors.Join(os.WriteFile(rc, settings, 0o644), os.WriteFile(root+"/etc/courier/userdb", users, 0o600),
			os.MkdirAll(root+"/run/courier/authdaemon", 0o755), m.give("courier.pem", courierUID)); err != nil {
			return err
		}
		for _, account := range m.Accounts {
			if _, err := m.run(ctx, root, vmail, "", "/usr/bin/maildirmake.courier", m.dir+"/mail/"+account.Name+"/Maildir"); err != nil {
				return err
			}
		}
		_, err = m.run(ctx, root, nil, "", "/usr/sbin/makeuserdb")
		return err
	})
	return m
}

// cyrus is Cyrus IMAP after OpenSMTPD or Exim, which hand over to it by LMTP.
func (s *Stack) cyrus(hostname string) *Mailserver {
	m := s.mailserver("OpenSMTPD 7.4 and Cyrus IMAP 3.6", hostname, Bookworm)
	m.Prefix = "INBOX."
	m.lmtp = m.dir + "/lmtp"
	if hostname == Exim12Host {
		m.Name = "Exim 4.96 and Cyrus IMAP 3.6"
		m.exim()
	} else {
		m.minPoll = 1
		m.smtpd()
	}
	m.configs = append(m.configs, "cyrus")
	server := m.serve("cyrus", access, cyrusProgram, "-D")
	server.ready = append(server.ready, listening("unix", m.lmtp))
	m.prepares = append(m.prepares, func(ctx context.Context, root string) error {
		if err := m.give("cyrus.pem", cyrusUID); err != nil {
			return err
		}
		for _, file := range []string{"imapd.conf", "cyrus.conf"} { // master(8) tells no other path to all programs
			if err := move(m.dir+"/"+file, root+"/etc/"+file, 0o644); err != nil {
				return err
			}
		}
		for _, dir := range []string{"/var/lib/cyrus", "/var/spool/cyrus/mail", "/run/cyrus/proc", "/run/cyrus/lock", "/run/cyrus/socket"} {
			if err := errors.Join(os.MkdirAll(root+dir, 0o755), os.Chown(root+dir, cyrusUID, cyrusUID)); err != nil {
				return err
			}
		}
		if err := os.Chown(root+"/run/cyrus", cyrusUID, cyrusUID); err != nil {
			return err
		}
		for _, account := range m.Accounts {
			if _, err := m.run(ctx, root, nil, account.Password, saslProgram, "-p", "-c", "-u", m.Host, account.Name); err != nil {
				return err
			}
		}
		return os.Chown(root+"/etc/sasldb2", cyrusUID, cyrusUID)
	})
	return m
}

// smtpd adds OpenSMTPD.
func (m *Mailserver) smtpd() {
	m.configs = append(m.configs, "opensmtpd")
	m.prepares = append(m.prepares, func(_ context.Context, root string) error { // as its package does when it is configured
		smtpctl := root + "/usr/sbin/smtpctl"
		return errors.Join(os.Chown(smtpctl, 0, smtpqGID), os.Chmod(smtpctl, 0o755|os.ModeSetgid),
			os.WriteFile(m.Smtpctl(), fmt.Appendf(nil, "#!/bin/sh\nexec chroot %s /usr/sbin/smtpctl \"$@\"\n", root), 0o755))
	})
	m.serve("opensmtpd", transfer, smtpdProgram, "-F", "-f", m.dir+"/smtpd.conf")
}

// dovecot24 is Dovecot 2.4 with the Postfix or the Exim of its release of Debian.
func (s *Stack) dovecot24(hostname string) *Mailserver {
	m := s.mailserver("", hostname, Trixie)
	m.lmtp = m.dir + "/dovecot/lmtp"
	dovecot := m.serve("dovecot", access, dovecotProgram, "-F", "-c", m.dir+"/dovecot.conf")
	dovecot.ready = append(dovecot.ready, listening("unix", m.lmtp), listening("unix", m.dir+"/dovecot/auth"))
	m.configs = append(m.configs, "dovecot24")
	if hostname == PostfixHost {
		m.Name = "Postfix 3.10 and Dovecot 2.4"
		m.configs = append(m.configs, "postfix")
		m.serve("postfix", transfer, masterProgram, "-c", m.dir, "-s")
		m.prepares = append(m.prepares, func(context.Context, string) error {
			return errors.Join(os.MkdirAll(m.dir+"/queue/pid", 0o755), makeQueue(m.dir+"/queue", treePostfixUID, treePostdropGID),
				os.MkdirAll(m.dir+"/state/postfix", 0o755), os.Chown(m.dir+"/state/postfix", treePostfixUID, treePostfixUID), age(m.dir))
		})
		return m
	}
	m.Name = "Exim 4.98 and Dovecot 2.4"
	m.exim()
	return m
}

// exim adds the Exim of the tree.
func (m *Mailserver) exim() {
	m.configs = append(m.configs, "exim")
	m.serve("exim", transfer, treeExim, "-bdf", "-q1s", "-C", m.dir+"/exim.conf")
	m.prepares = append(m.prepares, func(context.Context, string) error {
		return errors.Join(os.MkdirAll(m.dir+"/spool", 0o750), os.Chown(m.dir+"/spool", eximUID, eximUID), m.give("exim.pem", eximUID))
	})
}

// give copies key and certificate for a server that reads them as a user of its own.
func (m *Mailserver) give(name string, uid int) error {
	chain, err := os.ReadFile(m.at.Chain)
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(m.dir+"/"+name, chain, 0o600), os.Chown(m.dir+"/"+name, uid, uid))
}

// vmail is who the mailboxes belong to.
var vmail = &syscall.Credential{Uid: MailUID, Gid: MailUID}

// run runs a program of the tree to its end; its error holds what it printed.
func (m *Mailserver) run(ctx context.Context, root string, as *syscall.Credential, input string, argv ...string) (string, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.SysProcAttr, cmd.Stdin = "/", &syscall.SysProcAttr{Chroot: root, Credential: as}, strings.NewReader(input)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("run %s: %w: %s", filepath.Base(argv[0]), err, bytes.TrimSpace(out))
	}
	return string(out), nil
}

// move is os.Rename to another file system.
func move(from, to string, mode os.FileMode) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(to, content, mode), os.Remove(from))
}
