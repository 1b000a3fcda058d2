package maillog

import "strings"

// Subject is a set of questions that a log answers.
type Subject uint8

// The subjects.
const (
	SubjectLogins     Subject = 1 << iota // who used a mailbox, or sent after a login
	SubjectRefusals                       // whose login was refused
	SubjectDeliveries                     // which messages were delivered, deferred and bounced
	SubjectRejections                     // which messages of clients were refused
	SubjectIncoming                       // which connections of clients were encrypted
	SubjectOutgoing                       // which deliveries were encrypted
)

// subjects are all of them, with their names in stored counts.
var subjects = []struct {
	Subject
	name string
}{
	{SubjectLogins, "logins"}, {SubjectRefusals, "refusals"}, {SubjectDeliveries, "deliveries"}, {SubjectRejections, "rejections"},
	{SubjectIncoming, "incoming"}, {SubjectOutgoing, "outgoing"},
}

// name returns the name of a single subject.
func (s Subject) name() string {
	for _, each := range subjects {
		if each.Subject == s {
			return each.name
		}
	}
	return ""
}

const (
	subjectsOfMTA       = SubjectLogins | SubjectRefusals | SubjectDeliveries | SubjectRejections | SubjectIncoming | SubjectOutgoing
	subjectsOfMailboxes = SubjectLogins | SubjectRefusals
)

// products are the servers, with the subjects that a log of them answers: all processes of a server write to one log.
var products = map[string]Subject{
	"postfix": subjectsOfMTA, "exim": subjectsOfMTA, "opensmtpd": subjectsOfMTA, "sendmail": subjectsOfMTA,
	"dovecot": subjectsOfMailboxes, "courier": subjectsOfMailboxes, "cyrus": subjectsOfMailboxes,
}

// product returns the server in the name of a daemon: "postfix" of "postfix/smtpd".
func product(daemon string) string {
	name, _, _ := strings.Cut(daemon, "/")
	return name
}

// marks are words that a line about a subject has, in any version: a line without one of each group is not about it.
var marks = []struct {
	Subject
	groups [][]string
}{
	{SubjectLogins, [][]string{{"login", "log in", "logged in", "logon", "auth", "sasl", "user=", "user:", "user <", "signed in", "session"}}},
	{SubjectRefusals, [][]string{{"login", "log in", "logon", "auth", "sasl", "password", "credential"},
		{"fail", "refus", "reject", "den", "invalid", "incorrect", "wrong", "bad", "abort", "unknown", "unable", "not ", "disallow", "5.7.8", "535"}}},
	{SubjectDeliveries, [][]string{{"status=", "to=", "deliver", "bounce", "defer", "sent", "return", "expire", "undeliver", "relay="}, {"@", "<", "status="}}},
	{SubjectRejections, [][]string{{"reject", "refus", "den", "block", "ban", " 42", " 43", " 45", " 50", " 52", " 53", " 55", "not allowed", "disallow"}, {"[", " from ", "client", "rip=", "ip="}}},
	{SubjectIncoming, [][]string{{"tls", "ssl", "encrypt", "cipher"}, {" from ", "client", "accept"}}},
	{SubjectOutgoing, [][]string{{"tls", "ssl", "encrypt", "cipher"}, {" to ", "server", "connect"}}},
}

// suspect returns which of the subjects an unknown text may be about.
func suspect(of Subject, text string) (may Subject) {
	text = strings.ToLower(text)
	for _, m := range marks {
		if m.Subject&of == 0 {
			continue
		}
		all := true
		for _, group := range m.groups {
			any := false
			for _, word := range group {
				any = any || strings.Contains(text, word)
			}
			all = all && any
		}
		if all {
			may |= m.Subject
		}
	}
	return may
}

// unknown marks the line as one in a wording that is not known.
func (e *Event) unknown(may Subject) {
	*e = Event{Time: e.Time, Program: e.Program, Daemon: e.Daemon, PID: e.PID, Count: e.Count, QueueID: e.QueueID, Kind: KindUnknown, May: may}
}

// beginsWith reports whether s begins with one of the texts.
func beginsWith(s string, texts []string) bool {
	for _, text := range texts {
		if strings.HasPrefix(s, text) {
			return true
		}
	}
	return false
}
