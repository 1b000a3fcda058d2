//go:build linux

package stack

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Tree is a root directory with servers that cannot be installed beside those of the stack, and with everything that they
// need: nothing of the machine is in it. .ci/install unpacks it from Debian's packages. Those have run no script of their
// own in it, so it has no users and no services.
type Tree struct {
	Name   string   // of its directory in Trees
	Suites string   // of Debian, where its packages are
	Sets   []string // packages, as apt-get(8) takes them; those of two sets may conflict
	Files  []string // files of it that the stack needs
	Tests  string   // what cannot be tested without it
}

// Trees is where .ci/install unpacks the trees.
const Trees = "/var/cache/stepwatch"

// The trees. Bookworm has what its own release of Debian cannot have beside Postfix and Dovecot; OpenSMTPD is from the
// backports, because the one of the release completes no TLS handshake.
var (
	Bookworm = &Tree{
		Name:   "bookworm",
		Suites: "bookworm bookworm-backports",
		Sets: []string{
			"opensmtpd/bookworm-backports dash coreutils sed grep netbase",
			"courier-imap courier-pop",
			"cyrus-imapd cyrus-pop3d sasl2-bin",
			"exim4-daemon-light",
		},
		Files: []string{smtpdProgram, courierProgram, cyrusProgram, saslProgram, treeExim, "/bin/sh", "/etc/services"},
		Tests: "OpenSMTPD, Courier-IMAP, Cyrus IMAP and Exim",
	}
	Trixie = &Tree{
		Name:   "trixie",
		Suites: "trixie",
		Sets: []string{
			"dovecot-imapd dovecot-pop3d dovecot-lmtpd dovecot-sieve postfix dash coreutils netbase",
			"exim4-daemon-light",
		},
		Files: []string{dovecotProgram, "/usr/lib/dovecot/imap", "/usr/lib/dovecot/pop3", "/usr/lib/dovecot/lmtp", masterProgram, treeExim, "/bin/sh", "/etc/services"},
		Tests: "Dovecot 2.4, Postfix 3.10 and Exim 4.98",
	}
)

// dir is where the tree is.
func (t *Tree) dir() string { return filepath.Join(Trees, t.Name) }

// Usable returns why the tree cannot be used, or nil.
func (t *Tree) Usable() error {
	for _, file := range t.Files {
		if _, err := os.Stat(filepath.Join(t.dir(), file)); err != nil {
			return fmt.Errorf("no %s in %s: run .ci/install", strings.TrimPrefix(file, "/"), t.dir())
		}
	}
	return nil
}

// MissingTrees lists the trees that are not there, or not whole.
func MissingTrees() []*Tree {
	var missing []*Tree
	for _, t := range []*Tree{Bookworm, Trixie} {
		if t.Usable() != nil {
			missing = append(missing, t)
		}
	}
	return missing
}

// treeUsers are the users of the servers in trees. Each has a group of its name and number.
var treeUsers = []struct {
	name string
	id   int
}{
	{"root", 0}, {"mail", 8}, {"nobody", 65534}, {eximUser, eximUID}, {"opensmtpd", 5011}, {"opensmtpq", smtpqGID}, {"courier", courierUID}, {"cyrus", cyrusUID},
	{"sasl", 5015}, {"postfix", treePostfixUID}, {"postdrop", treePostdropGID}, {"dovecot", 5018}, {"dovenull", 5019}, {"vmail", MailUID},
}

// devices is what servers need of /dev. All of it is not theirs: each root directory has a /dev/log of its own.
var devices = []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"}

// mountRoot lays a directory that can be written over a tree and returns it: a server in it (see Server.root) finds its own
// files, the stack's directory by its usual path, and the stack's name server. The tree itself stays as it is.
func (s *Stack) mountRoot(name string, t *Tree) (root string, err error) {
	if err := t.Usable(); err != nil {
		return "", err
	}
	at := filepath.Join(RunDir, "roots", name)
	root, upper, work := filepath.Join(at, "root"), filepath.Join(at, "upper"), filepath.Join(at, "work")
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("furnish the root directory of %s: %w", name, err), unmountRoot(root))
		}
	}()
	var users, groups strings.Builder
	for _, user := range treeUsers {
		fmt.Fprintf(&users, "%s:x:%d:%[2]d::/var/empty:/usr/sbin/nologin\n", user.name, user.id)
		fmt.Fprintf(&groups, "%s:x:%d:\n", user.name, user.id)
	}
	for _, dir := range []string{root, work, upper + "/etc/ssl/certs", upper + "/proc", upper + "/dev", upper + "/run", upper + "/tmp", upper + "/var/empty", upper + s.Dir} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return "", err
		}
	}
	authorities, err := os.ReadFile(s.Config.CA)
	if err := errors.Join(err, os.Chmod(upper+"/tmp", 0o777|os.ModeSticky), os.Symlink("/run", upper+"/var/run")); err != nil {
		return "", err
	}
	for file, content := range map[string]string{
		"passwd": users.String(), "group": groups.String(),
		"resolv.conf":   "nameserver 127.0.0.1\noptions timeout:1 attempts:2\n",
		"nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n",
		"hosts":         "127.0.0.1 localhost\n",

		"ssl/certs/ca-certificates.crt": string(authorities),
	} {
		if err := os.WriteFile(filepath.Join(upper, "etc", file), []byte(content), 0o644); err != nil {
			return "", err
		}
	}
	for _, device := range devices {
		if err := os.WriteFile(upper+device, nil, 0o644); err != nil {
			return "", err
		}
	}
	if err := unix.Mount("overlay", root, "overlay", 0, "lowerdir="+t.dir()+",upperdir="+upper+",workdir="+work); err != nil {
		return "", fmt.Errorf("mount over %s: %w", t.dir(), err)
	}
	for _, path := range append([]string{"/proc", s.Dir}, devices...) {
		if err := unix.Mount(path, root+path, "", unix.MS_BIND, ""); err != nil {
			return "", fmt.Errorf("mount %s: %w", path, err)
		}
	}
	return root, nil
}

// unmountRoot undoes mountRoot, as far as it came. What a server still holds open stays until it ends.
func unmountRoot(root string) error {
	targets := mounts()
	var err error
	for i := len(targets) - 1; i >= 0; i-- { // what was mounted last goes first
		if targets[i] == root || strings.HasPrefix(targets[i], root+"/") {
			err = errors.Join(err, unix.Unmount(targets[i], unix.MNT_DETACH))
		}
	}
	return errors.Join(err, os.RemoveAll(filepath.Dir(root)))
}

// endWithin ends the processes that have this root directory or one below it: servers may start some in sessions of their own.
func endWithin(root string) error {
	links, err := filepath.Glob("/proc/[0-9]*/root")
	if err != nil {
		return err
	}
	for _, link := range links {
		if at, err := os.Readlink(link); err != nil || at != root && !strings.HasPrefix(at, root+"/") { // it may have ended, or have gone below
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(link)))
		if err != nil {
			return err
		}
		if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("end process %d in %s: %w", pid, root, err)
		}
	}
	return nil
}
