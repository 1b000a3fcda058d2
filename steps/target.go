package steps

import (
	"crypto/x509"
	"fmt"
	"net/url"
	"sort"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps/browser"
	"github.com/stepwatch/stepwatch/steps/dnsclient"
)

// Target is the system under observation as the configuration describes it. It is shared by all runs and never changed.
type Target struct {
	Accounts  map[string]*Account
	Hosts     map[string]*Host
	Databases map[string]*Database

	// Roots gives the certificate authorities to trust; nil means the machine's own. It is a function because reading
	// the machine's store takes milliseconds that a run without TLS must not pay.
	Roots func() (*x509.CertPool, error)

	// ClientCertificates are shown to web servers that ask for one. The first for a host counts.
	ClientCertificates []*ClientCertificate

	// ConnectTo sends connections for a "host:port" to another one, as curl's --connect-to does. Names in certificates,
	// Host headers and reports stay those of the original.
	ConnectTo map[string]string

	// Resolver is the "host:port" of the DNS server to ask; empty means the machine's own.
	Resolver string

	// Proxy is what websites are visited through over HTTP, an http URL; nil means none. A browser has its own.
	Proxy *url.URL

	// ProxyLogin is how we log in at Proxy, and a browser that has the same; nil when it asks for no login.
	ProxyLogin *ProxyLogin

	// Browser is what scenarios tagged @browser visit with; nil when there is none.
	Browser *browser.Browser

	// Patience is how long a step in a browser waits for something to come up on the page; zero means DefaultPatience.
	Patience time.Duration

	// Anchors are the trust anchors of DNSSEC; nil means those of the root.
	Anchors dnsclient.Anchors

	// BodyLimit caps what is read of one web page, in bytes after decompression; zero means DefaultBodyLimit.
	BodyLimit int64

	// DownloadLimit caps what is read of one file that is downloaded, in bytes; zero means DefaultDownloadLimit.
	DownloadLimit int64

	// StateDir is the directory for what must outlive a run and a restart, such as how far a log was read. It may not exist
	// yet: who writes makes it, for its owner alone. Several processes may use it at once.
	StateDir string

	// KnownHosts are the files with the keys of SSH servers; none means those of ssh itself.
	KnownHosts []string

	// CucumberNagios gives "I should see" its old meaning: a regular expression over the page's source.
	CucumberNagios bool
}

// DefaultBodyLimit is how much of a page is read unless configured otherwise: 10 MiB.
const DefaultBodyLimit = 10 << 20

// ProxyLogin is a name and password for a proxy (RFC 9110 section 11.7), sent by basic authentication (RFC 7617).
type ProxyLogin struct {
	Username string
	Password string // name of the secret, for Secrets; never the password itself
}

// Account is one user of the mail system: how mail is submitted for it and where its mailbox is.
type Account struct {
	Name     string // as features call it
	Address  string // RFC 5321 mailbox, "alice@example.org"
	Username string // for SMTP and IMAP
	Password string // name of the secret, for Secrets; never the password itself
	Token    bool   // that secret is an OAuth access token (RFC 6750), which is no password
	SMTP     string // host that takes its mail
	IMAP     string // host of its mailbox
	POP3     string // host that gives its mailbox out over POP3
	Maildir  string // directory of its mailbox on this machine

	// AuthservID is how the server that receives its mail names itself in Authentication-Results (RFC 8601 section 2.5);
	// names beneath it count too. Empty means the organisation of IMAP; "none" that the server writes no name.
	AuthservID string
}

// Account returns the account that a feature calls name. The error lists the names there are.
func (t *Target) Account(name string) (*Account, error) {
	if a, found := t.Accounts[name]; found {
		return a, nil
	}
	names := make([]string, 0, len(t.Accounts))
	for n := range t.Accounts {
		names = append(names, n)
	}
	sort.Strings(names)
	known := "it has none"
	if len(names) > 0 {
		known = "it has " + strings.Join(names, ", ")
	}
	return nil, Fail(result.ReasonConfig, result.BlameScenario,
		"no account %q in stepwatch.yml (%s): add it under accounts", name, known)
}

func (a *Account) require(setting, value string) (string, error) {
	if value == "" {
		return "", Fail(result.ReasonConfig, result.BlameScenario, "account %q has no %s: set accounts.%s.%s in stepwatch.yml",
			a.Name, setting, a.Name, setting)
	}
	return value, nil
}

// String names the account without any secret.
func (a *Account) String() string { return fmt.Sprintf("%s <%s>", a.Name, a.Address) }
