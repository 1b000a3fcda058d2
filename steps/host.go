package steps

import (
	"maps"
	"slices"
	"strings"

	"github.com/stepwatch/stepwatch/agent/result"
)

// Host is one machine as features call it: where it is, and how what it keeps can be read. What a host does not have is
// nil, and a sentence that needs it says which setting is missing.
type Host struct {
	Name    string // as features call it
	Address string // host name or IP address; the name when the configuration gives none
	Queue   *Queue
	Log     *Log
	API     *API
	Broker  *Broker
	SSH     *SSH
}

// Queue says where a mail queue is read. Exactly one field is set.
type Queue struct {
	Postfix   string // configuration directory of a Postfix instance on this machine, "/etc/postfix"
	Showq     string // path of a Postfix' showq socket, "/var/spool/postfix/public/showq"
	Exim      string // path or name of an Exim on this machine, "exim4"
	EximSpool string // directory of an Exim's spool, "/var/spool/exim4"
	API       bool   // the host's API answers for it
}

// Log says where a mail server's log is read. Exactly one field is set.
type Log struct {
	File    string   // path of the file that is written now; rotated ones are found beside it
	Journal []string // systemd units, "postfix@-.service", read with journalctl
}

// API is an HTTP API of a host.
type API struct {
	URL   string // its root, "https://mail.example.org/api"
	Token string // name of the secret that goes as "Authorization: Bearer"; empty sends none
}

// SSH says how stepwatch logs in to a host.
type SSH struct {
	User     string
	Port     int
	Password string // name of the secret; empty offers none
	Key      string // name of the secret that is a private key; empty offers none
}

// Host returns the host that a feature calls name. The error lists the names there are.
func (t *Target) Host(name string) (*Host, error) {
	if h, found := t.Hosts[name]; found {
		return h, nil
	}
	known := "it has none"
	if len(t.Hosts) > 0 {
		known = "it has " + strings.Join(slices.Sorted(maps.Keys(t.Hosts)), ", ")
	}
	return nil, Fail(result.ReasonConfig, result.BlameScenario, "no host %q in stepwatch.yml (%s): add it under hosts", name, known)
}

// missing is the error for a sentence that needs a setting which the host does not have.
func (h *Host) missing(setting string) error {
	return Fail(result.ReasonConfig, result.BlameScenario, "host %q has no %s: set hosts.%s.%s in stepwatch.yml", h.Name, setting, h.Name, setting)
}

// AddressOf gives where to connect for a name in a sentence: the address of the host of that name, or the name itself.
func (t *Target) AddressOf(name string) string {
	if h, found := t.Hosts[name]; found {
		return h.Address
	}
	return name
}
