//go:build linux

package stack

import (
	"maps"
	"slices"
)

// Account is a user of the mail system, as a stepwatch.yml describes it.
type Account struct {
	Name         string
	Address      string // also the user name
	Password     string
	PasswordFile string // holds Password; empty for none in stepwatch.yml
	SMTP         string // host that takes its mail
	IMAP         string // host of its mailbox; empty for none in stepwatch.yml
	Maildir      string // directory of its mailbox; empty for none in stepwatch.yml
	Quota        int    // bytes that its mailbox may hold; 0 for any number
}

// The accounts, as Config names them. Alice, Bob and Carol are like everybody; a message to name+tag reaches name.
const (
	Alice    = "alice"
	Bob      = "bob"
	Carol    = "carol"
	Copied   = "copied" // what it sends and what it gets is copied to Backup
	Backup   = "backup"
	Dave     = "dave"     // of the domain Far: by the route of StartRoute
	Erin     = "erin"     // of the domain Exim: by the server of StartExim
	Leaf     = "leaf"     // Alice on a machine that sends through a smarthost; a test points it at Exim
	Ops      = "ops"      // what machines report goes there
	Requests = "requests" // an application reads it
	Sealed   = "sealed"   // a filter encrypts what it gets
	Full     = "full"     // its mailbox holds 20 KiB: Fill fills it
	Joerg    = "joerg"    // its address has a letter outside US-ASCII (RFC 6531)
)

// International is the address of Joerg.
const International = "jörg@" + Domain

// IDN is a domain in A-labels (RFC 5890): mail to any of its addresses reaches Bob.
const IDN = "xn--bcher-kva." + Domain

// Both is a domain whose MX host has an address of either family: mail to any of its addresses reaches Bob.
const Both = "both." + Domain

// smallQuota is room for some messages of a test.
const smallQuota = 20 << 10

// accounts lists the accounts, without what only a running stack has.
func accounts() []Account {
	var all []Account
	for _, name := range []string{Alice, Bob, Carol, Copied, Backup, Dave, Erin, Ops, Requests, Sealed, Full, Joerg} {
		a := Account{Name: name, Address: name + "@" + Domain, Password: newPassword(), SMTP: Mail, IMAP: Mail}
		switch name {
		case Joerg:
			a.Address = International
		case Full:
			a.Quota = smallQuota
		case Erin:
			a.Address, a.SMTP, a.IMAP = name+"@"+Exim, Exim, Store
		case Dave:
			a.Address, a.SMTP, a.IMAP = name+"@"+Far, Relay, Store
		}
		all = append(all, a)
	}
	return all
}

// moving lists Alice once more, as who still uses the old host and who uses the new one, and as Leaf.
func moving(c Config) []Account {
	before, after, leaf := *c.Account(Alice), *c.Account(Alice), *c.Account(Alice)
	before.Name = Alice + "-old"
	after.Name, after.SMTP, after.IMAP = Alice+"-new", New, New
	leaf.Name, leaf.PasswordFile = Leaf, ""
	return []Account{before, after, leaf}
}

// Config is what a stepwatch.yml for the stack holds.
type Config struct {
	Accounts []Account
	Gone     string            // an address that is taken, and bounces
	Hosts    map[string]string // addresses by the names that features use
	CA       string            // file with the root to trust
}

// Clone is a copy to alter.
func (c Config) Clone() Config {
	c.Accounts = slices.Clone(c.Accounts)
	c.Hosts = maps.Clone(c.Hosts)
	return c
}

// Account is the account of that name, to alter; asking for one that there is not is a mistake.
func (c Config) Account(name string) *Account {
	for i := range c.Accounts {
		if c.Accounts[i].Name == name {
			return &c.Accounts[i]
		}
	}
	panic("no account " + name)
}

// WriteConfig writes c as a stepwatch.yml.
func (s *Stack) WriteConfig(path string, c Config) error {
	return s.render("etc/stepwatch.yml", path, c)
}
