//go:build linux

package stack

import "slices"

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

// Clone is a copy to alter.
func (c Config) Clone() Config {
	c.Accounts = slices.Clone(c.Accounts)
	return c
}

// WriteConfig writes c as a stepwatch.yml.
func (s *Stack) WriteConfig(path string, c Config) error {
	return s.render("etc/stepwatch.yml", path, c)
}
