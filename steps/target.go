package steps

import "crypto/x509"

// Target is the observed system as the configuration describes it. All runs share it, and it never changes. SettingsOf
// returns the settings of one subject, such as databases or the web.
type Target struct {
	Accounts map[string]*Account
	Hosts    map[string]*Host

	// Roots returns the certificate authorities to trust; nil means those of the machine. It is a function because
	// reading the machine's store takes milliseconds, and a run without TLS does not need it.
	Roots func() (*x509.CertPool, error)

	// ConnectTo redirects connections for a "host:port" to another one, like curl's --connect-to. Names in certificates,
	// Host headers and reports stay the original ones.
	ConnectTo map[string]string

	// Resolver is the "host:port" of the DNS server to ask; empty means that of the machine.
	Resolver string

	// StateDir is the directory for state that outlives a run and a restart, such as the position in a log. It may not
	// exist yet: the writer creates it, accessible only to its owner. Several processes may use it at once.
	StateDir string

	settings store
}
