//go:build linux

package stack

import (
	"strings"

	"github.com/miekg/dns"
)

// Far is a domain that the route of StartRoute leads to: its mail goes through three hosts before it is in a mailbox.
const Far = "far." + Domain

// The hosts. Mail is the good one; each of the others has one fault, so that a test points an account or a URL at it
// and changes nothing that another test relies on. All but Closed serve SMTP, submission, IMAP and the web on the usual
// ports.
const (
	Mail       = "mail." + Domain
	Expired    = "expired." + Domain    // its certificate ended a day ago
	WrongHost  = "wronghost." + Domain  // its certificate is for other names
	UnknownCA  = "unknown-ca." + Domain // nobody trusts its certificate's issuer
	Greylist   = "greylist." + Domain   // refuses every recipient for now
	Holding    = "holding." + Domain    // accepts mail and keeps it until Release
	Closed     = "closed." + Domain     // nothing listens
	Dropping   = "dropping." + Domain   // on port 25 alone: hangs up within a message, as Postfix never does
	AfterDot   = "afterdot." + Domain   // on port 25 alone: hangs up behind a message, with no answer to it
	Stalling   = "stalling." + Domain   // on port 25 alone: agrees to a message and reads nothing of it
	SlowBanner = "slow." + Domain       // on ports 25 and 587: greets after BannerDelay
	New        = "new." + Domain        // as good as Mail: where accounts move to
	Changing   = "changing." + Domain   // good until a test changes its certificate, see Secured
)

// The hosts of the route. The first three have no mailboxes and the last has no submission; none has a website. The first is
// a stranger to the others, so that these judge what it hands over.
const (
	Relay = "relay.sender.test" // takes submissions, with a login alone
	MX1   = "mx1." + Domain     // takes mail for accounts of Far
	MX2   = "mx2." + Domain     // the same, for when MX1 is down
	Store = "store." + Domain   // takes mail from the MX hosts alone; has the mailboxes
)

// Exim takes mail on port 25 alone, once StartExim was called.
const Exim = "exim." + Domain

// Proxy hands IMAP and POP3 on to Store, once StartProxy was called.
const Proxy = "proxy." + Domain

// Dual has an address of either family, once StartSites was called.
const Dual = "dual." + Documented

// MailProxy is nginx' mail proxy, which hands IMAP and POP3 on to Mail.
const MailProxy = "mail-proxy." + Domain

// host is a name of the zone and the servers behind it.
type host struct {
	Name   string
	IP     string
	Chain  string // file with its key and certificate; empty when nothing listens
	Policy string // what Postfix' access(5) answers to every recipient; empty for the usual
	Staple string // file with the OCSP response that nginx sends; empty for none
	Only   string // the one server of Start that listens there, when it is not all of them
}

// hosts lists the hosts. chain gives the file of a certificate: "good" is for all names of hosts with another fault.
func hosts(chain func(name string) string) []host {
	return []host{
		{Name: Mail, IP: "127.0.0.1", Chain: chain("good")},
		{Name: Expired, IP: "127.0.0.2", Chain: chain("expired")},
		{Name: WrongHost, IP: "127.0.0.3", Chain: chain("other")},
		{Name: UnknownCA, IP: "127.0.0.4", Chain: chain("unknown-ca")},
		{Name: Greylist, IP: "127.0.0.5", Chain: chain("good"), Policy: "450 4.7.1 Greylisted, try again later"},
		{Name: Holding, IP: "127.0.0.6", Chain: chain("good"), Policy: "hold"},
		{Name: Closed, IP: "127.0.0.7"},
		{Name: New, IP: "127.0.0.8", Chain: chain("good")},
		{Name: Dropping, IP: "127.0.0.9"},
		{Name: AfterDot, IP: "127.0.0.11"},
		{Name: Stalling, IP: "127.0.0.12"},
		{Name: SlowBanner, IP: "127.0.0.10", Chain: chain("good"), Only: "none"},
		{Name: Changing, IP: "127.0.0.13", Chain: chain("changing"), Staple: chain("staple")},
		{Name: Relay, IP: "127.0.1.1", Chain: chain("good"), Only: "none"},
		{Name: MX1, IP: "127.0.2.1", Chain: chain("good"), Only: "none"},
		{Name: MX2, IP: "127.0.2.2", Chain: chain("good"), Only: "none"},
		{Name: Store, IP: "127.0.3.1", Chain: chain("good"), Only: "dovecot"},
		{Name: Exim, IP: "127.0.6.1", Chain: chain("good"), Only: "none"},
		{Name: Proxy, IP: "127.0.4.1", Chain: chain("good"), Only: "none"},
		{Name: Primary, IP: "127.0.7.1"},
		{Name: Secondary, IP: "127.0.7.2"},
		{Name: Resolver, IP: "127.0.7.3", Chain: chain("good"), Only: "none"},
		{Name: CourierHost, IP: "127.0.9.1", Chain: chain("good"), Only: "none"},
		{Name: CyrusHost, IP: "127.0.9.2", Chain: chain("good"), Only: "none"},
		{Name: PostfixHost, IP: "127.0.9.3", Chain: chain("good"), Only: "none"},
		{Name: Exim13Host, IP: "127.0.9.4", Chain: chain("good"), Only: "none"},
		{Name: Exim12Host, IP: "127.0.9.5", Chain: chain("good"), Only: "none"},
		{Name: MailProxy, IP: "127.0.4.2", Chain: chain("good"), Only: "none"},
	}
}

// On says whether a server of Start listens there.
func (h host) On(server string) bool { return h.Chain != "" && (h.Only == "" || h.Only == server) }

// Good says whether the host has no fault.
func (h host) Good() bool { return h.Name == Mail }

// Changing says whether a test changes the host's certificate.
func (h host) Changing() bool { return h.Name == Changing }

// Label is the host's name without the domain.
func (h host) Label() string { return strings.TrimSuffix(h.Name, "."+Domain) }

// Reverse is the owner of the host's PTR record.
func (h host) Reverse() string {
	name, err := dns.ReverseAddr(h.IP)
	if err != nil {
		panic(err) // hosts has no address but good ones
	}
	return name
}
