//go:build linux

package stack

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
)

// Package is a Debian package that the stack uses.
type Package struct {
	Name  string // as apt knows it
	File  string // a file of it that the stack needs
	Tests string // what cannot be tested without it
}

// Packages lists what the stack uses, everything that they need apart.
var Packages = []Package{
	{"postfix", "/usr/lib/postfix/sbin/master", everything},
	{"dovecot-imapd", "/usr/lib/dovecot/imap", everything},
	{"dovecot-lmtpd", "/usr/lib/dovecot/lmtp", everything},
	{"dovecot-pop3d", "/usr/lib/dovecot/pop3", everything},
	{"dovecot-sieve", "/usr/lib/dovecot/modules/lib90_sieve_plugin.so", everything},
	{"opendkim", "/usr/sbin/opendkim", everything},
	{"gnupg", "/usr/bin/gpg", everything},
	{"nginx", "/usr/sbin/nginx", everything},
	{"libnginx-mod-mail", "/usr/lib/nginx/modules/ngx_mail_module.so", everything},
	{"libfaketime", "/usr/share/doc/libfaketime/copyright", "a clock that is wrong"}, // the library itself is elsewhere on each architecture
	{"knot", knotProgram, "real DNS servers"},
	{"unbound", unboundProgram, "real DNS servers"},
	{"bind9-dnsutils", "/usr/bin/dig", "real DNS servers"},
	{"prometheus", prometheusProgram, "a scrape by Prometheus"},
	{"nagios4-core", nagiosProgram, "a plugin run by Nagios"},
	{"prometheus-blackbox-exporter", BlackboxProgram, "the times of certificates as blackbox_exporter has them"},
	{"monitoring-plugins-basic", "/usr/lib/nagios/plugins/check_dummy", "Nagios plugins"},
	{"chromium-headless-shell", "/usr/lib/chromium/chromium-headless-shell", "a browser"},
	{"libnss3-tools", "/usr/bin/certutil", "a browser that trusts a private root"},
	{"logrotate", "/usr/sbin/logrotate", "a log that is rotated while it is read"},
	{"rsyslog", "/usr/sbin/rsyslogd", "a log written by syslog"},
	{"systemd-journal-remote", "/lib/systemd/systemd-journal-remote", "a journal"},
	{"fail2ban", fail2banProgram, "bans by fail2ban"},
	{"apache2", apacheProgram, "Apache"},
	{"varnish", varnishProgram, "a cache before a website"},
	{"slapd", slapdProgram, certificates + "OpenLDAP"},
	{"vsftpd", vsftpdProgram, certificates + "vsftpd"},
	{"prosody", prosodyProgram, certificates + "Prosody"},
	{"postgresql", "/usr/share/doc/postgresql/copyright", certificates + "PostgreSQL"}, // the program's path has the version
	{"mariadb-server", mariadbProgram, certificates + "MariaDB"},
	{"dovecot-managesieved", "/usr/lib/dovecot/managesieve-login", certificates + "ManageSieve and LMTP"},
	{"rabbitmq-server", "/usr/lib/rabbitmq/bin/rabbitmq-server", "queues of RabbitMQ"},
	{"nftables", NftProgram, "ports behind a firewall"},
	{"openssh-server", "/usr/sbin/sshd", "logins over SSH"},
	{"bzip2", "/bin/bzip2", "archives by bzip2"},
	{"xz-utils", "/usr/bin/xz", "archives by xz"},
	{"lz4", "/usr/bin/lz4", "archives by lz4"},
}

const (
	everything   = "real servers" // what cannot be tested without a package that the whole stack needs
	certificates = "certificates of "

	knotProgram       = "/usr/sbin/knotd"
	unboundProgram    = "/usr/sbin/unbound"
	prometheusProgram = "/usr/bin/prometheus"
	nagiosProgram     = "/usr/sbin/nagios4"
	fail2banProgram   = "/usr/bin/fail2ban-server"
	apacheProgram     = "/usr/sbin/apache2"
	varnishProgram    = "/usr/sbin/varnishd"
	slapdProgram      = "/usr/sbin/slapd"
	vsftpdProgram     = "/usr/sbin/vsftpd"
	prosodyProgram    = "/usr/bin/prosody"
	mariadbProgram    = "/usr/sbin/mariadbd"

	// BlackboxProgram is where Debian has blackbox_exporter.
	BlackboxProgram = "/usr/bin/prometheus-blackbox-exporter"

	// NftProgram is where Debian has nft, which sets a firewall's rules.
	NftProgram = "/usr/sbin/nft"
)

// Missing lists the packages that are not installed.
func Missing() []Package {
	var missing []Package
	for _, p := range Packages {
		if _, err := os.Stat(p.File); err != nil {
			missing = append(missing, p)
		}
	}
	return missing
}

// Usable says why the stack cannot run here, or nil. What only some tests need, those ask for themselves.
func Usable() error {
	if os.Geteuid() != 0 {
		return errors.New("the real servers need root")
	}
	var names []string
	for _, p := range Missing() {
		if p.Tests == everything {
			names = append(names, p.Name)
		}
	}
	if len(names) > 0 {
		return fmt.Errorf("the real servers need the Debian packages %s: run .ci/install", strings.Join(names, " "))
	}
	if Inside() {
		return nil
	}
	if !slices.Contains(mounts(), "/") {
		return errors.New("the real servers need mounts of their own, which a change of root directory (chroot) stands against")
	}
	trial := exec.Command("/bin/true")
	trial.SysProcAttr = &syscall.SysProcAttr{Cloneflags: namespaces}
	if err := trial.Run(); err != nil {
		return fmt.Errorf("the real servers need namespaces of their own, which root of a container may not make: %w", err)
	}
	return nil
}

// mounts lists where something is mounted.
func mounts() []string {
	table, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil
	}
	var targets []string
	for line := range strings.Lines(string(table)) {
		if fields := strings.Fields(line); len(fields) > 1 {
			targets = append(targets, fields[1])
		}
	}
	return targets
}
