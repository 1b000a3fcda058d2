package steps

import "crypto/x509"

// Target is the system under observation as the configuration describes it. It is shared by all runs and never changed.
// What it says of one subject alone, such as databases or the web, SettingsOf returns.
type Target struct {
	Accounts map[string]*Account
	Hosts    map[string]*Host

	// Roots gives the certificate authorities to trust; nil means the machine's own. It is a function because reading
	// the machine's store takes milliseconds that a run without TLS must not pay.
	Roots func() (*x509.CertPool, error)

	// ConnectTo sends connections for a "host:port" to another one, as curl's --connect-to does. Names in certificates,
	// Host headers and reports stay those of the original.
	ConnectTo map[string]string

	// Resolver is the "host:port" of the DNS server to ask; empty means the machine's own.
	Resolver string

	// StateDir is the directory for what must outlive a run and a restart, such as how far a log was read. It may not exist
	// yet: who writes makes it, for its owner alone. Several processes may use it at once.
	StateDir string

	settings store
}
