package steps

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/stepwatch/stepwatch/agent/result"
)

func init() {
	RegisterSettings("accounts", func() Block { return new(accountSettings) })
	RegisterKind(Kind{Name: "account", Means: "a name under accounts in stepwatch.yml", Pattern: `[^"]+`, Quote: `"`,
		Sample: "name", Proposed: 7, Rule: RuleUnknown, Addresses: serversOf,
		Check: func(a Args, i int, known Known) error { _, err := known.Target.Account(a.Text(i)); return err }})
}

// Account is one user of the mail system: how mail is submitted for it and where its mailbox is.
type Account struct {
	Name     string // the name in features
	Address  string // RFC 5321 mailbox, "alice@example.org"
	Username string // for SMTP and IMAP
	Password string // name of the secret, for Secrets; never the password itself
	Token    bool   // the secret is an OAuth access token (RFC 6750), not a password
	SMTP     string // host for submission of its mail
	IMAP     string // host of its mailbox
	POP3     string // host of its mailbox over POP3
	Maildir  string // directory of its mailbox on this machine

	// AuthservID is the name of the server that receives its mail in Authentication-Results (RFC 8601 section 2.5).
	// Names under it count, too. Empty means the organisation of IMAP; "none" means that the server writes no name.
	AuthservID string
}

// Account returns the account with this name. The error lists the configured names.
func (t *Target) Account(name string) (*Account, error) {
	if a, found := t.Accounts[name]; found {
		return a, nil
	}
	names := make([]string, 0, len(t.Accounts))
	for n := range t.Accounts {
		names = append(names, n)
	}
	sort.Strings(names)
	known := "none is configured"
	if len(names) > 0 {
		known = "it has " + strings.Join(names, ", ")
	}
	return nil, Fail(result.ReasonConfig, result.BlameScenario,
		"no account %q in stepwatch.yml (%s): add it under accounts", name, known)
}

// serversOf returns the servers of an account.
func serversOf(name string, target *Target) (servers []string) {
	if a := target.Accounts[name]; a != nil {
		servers = slices.DeleteFunc([]string{a.SMTP, a.IMAP, a.POP3}, func(s string) bool { return s == "" })
	}
	return servers
}

// Require returns the value of a setting, or the failure of a step that needs this setting if the account lacks it.
func (a *Account) Require(setting, value string) (string, error) {
	if value == "" {
		return "", Fail(result.ReasonConfig, result.BlameScenario, "account %q has no %s: set accounts.%s.%s in stepwatch.yml",
			a.Name, setting, a.Name, setting)
	}
	return value, nil
}

// String returns the name and address, without any secret.
func (a *Account) String() string { return fmt.Sprintf("%s <%s>", a.Name, a.Address) }

// accountSettings is the block accounts of stepwatch.yml, by name.
type accountSettings map[string]oneAccountSettings

type oneAccountSettings struct {
	Address  string        `yaml:"address" doc:"name@example.org"`
	Username string        `yaml:"username" doc:"default: the address"`
	Password *SecretSource `yaml:"password" doc:"for SMTP, IMAP and POP3"`
	Token    *SecretSource `yaml:"token" doc:"an OAuth access token (RFC 6750) instead of a password, for SMTP and IMAP"`
	SMTP     string        `yaml:"smtp" doc:"host for submission of the account's mail"`
	IMAP     string        `yaml:"imap" doc:"host of its mailbox"`
	POP3     string        `yaml:"pop3" doc:"host of its mailbox over POP3"`
	Maildir  string        `yaml:"maildir" doc:"directory of its mailbox on this machine"`

	AuthservID string `yaml:"authserv_id" doc:"the server whose Authentication-Results count; default: the organisation of imap"`
}

// Validate implements Block.
func (all *accountSettings) Validate(env *Env) {
	env.Target.Accounts = make(map[string]*Account, len(*all))
	for name, a := range *all {
		known := &Account{Name: name, Address: a.Address, Username: cmp.Or(a.Username, a.Address), SMTP: a.SMTP, IMAP: a.IMAP,
			POP3: a.POP3, Maildir: env.File(a.Maildir), AuthservID: a.AuthservID}
		at := strings.LastIndexByte(a.Address, '@')
		if at < 1 || at == len(a.Address)-1 || strings.ContainsAny(a.Address, " \r\n<>") {
			env.Refuse(name+".address", "is %q: write it as name@example.org", a.Address)
		}
		if known.Token = a.Token != nil; known.Token {
			known.Password = env.Secret(name+".token", a.Token)
			if a.Password != nil {
				env.Refuse(name+".token", "cannot be combined with password: an account logs in with one of them")
			}
		} else {
			known.Password = env.Secret(name+".password", a.Password)
		}
		env.Target.Accounts[name] = known
	}
}
