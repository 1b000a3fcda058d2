package mailserver

import (
	"context"
	"net/netip"
	"strings"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/maillog"
	"github.com/stepwatch/stepwatch/steps/wording"
)

func init() {
	steps.Register(steps.Definition{
		Area: "log", Sentence: `nobody used the host {host} in the last {duration}`,
		Does: "Judges the last log read: fails when somebody logged in to a mailbox there, or submitted a message after a login. The failure names the user. " +
			"When the log is another host's, only logins to an address of this host count. Dovecot's lines have that address (lip), Postfix's do not: " +
			"the result is then UNKNOWN if somebody sent after a login. It is UNKNOWN too when the log has no line of a server for mailboxes though mail is delivered to mailboxes there, " +
			"or when nothing was written to it for a day. stepwatch's own accounts count too: no other scenario may use the old host.",
		Measures: "mail_log_users, the number of users.",
		Example:  `Then nobody used the host "old" in the last 24 hours`,
		Func:     nobodyUsed,
	})
}

func nobodyUsed(ctx context.Context, w *steps.World, a steps.Args) error {
	host, err := w.Target().Host(a.Text(0))
	if err != nil {
		return err
	}
	r, d, err := judged(w, a.Text(1))
	if err != nil {
		return err
	}
	var local []string
	if host != steps.State[mailLog](w).host {
		if local, err = addressesOf(ctx, w, host); err != nil {
			return err
		}
	}
	uses, elsewhere, crowded := r.Uses(d, local...)
	w.Measure("mail_log_users", "Number of users of the host.", float64(len(uses)))
	if len(uses) > 0 {
		return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "%d users used %q in the last %s, the last of them %s: move them, or correct the host in their programs",
			len(uses), host.Name, a.Text(1), users(uses, 5))
	}
	_, unknown := unread(r, maillog.SubjectLogins, d, a.Text(1))
	switch {
	case crowded:
		return steps.Fail(result.ReasonUnexpected, result.BlameMonitor, "the result is unknown: %s has too many users to list", r.Source)
	case unknown != nil:
		return unknown
	case elsewhere > 0:
		return steps.Fail(result.ReasonUnexpected, result.BlameMonitor, "the result is unknown: %s logged in according to %s, and their lines do not have the address that they connected to: "+
			"set the log of %q itself, or let its server write a log of its own", counted(elsewhere, "user", "users"), r.Source, host.Name)
	case !r.HasMailboxServer() && r.Mailboxes(maillog.Kept) > 0:
		return steps.Fail(result.ReasonUnexpected, result.BlameMonitor, "the result is unknown: mail is delivered to mailboxes there, and %s has no line of the server that people read them with (Dovecot, Courier, Cyrus): "+
			"read its log too, as that of another host", r.Source)
	}
	return answers(r, maillog.SubjectLogins, d)
}

// users names the first few: "alice@example.org from 192.0.2.7 at 2026-01-02 15:04:05".
func users(uses []maillog.Use, most int) string {
	var parts []string
	for _, u := range uses[:min(most, len(uses))] {
		user := wording.OneLine(u.User, 100)
		if user == "" {
			user = "somebody whom the log does not name"
		}
		if u.Client != "" {
			user += " from " + u.Client
		}
		parts = append(parts, user+" at "+logTime(u.Last))
	}
	return strings.Join(parts, ", ")
}

// addressesOf returns the IP addresses of a host.
func addressesOf(ctx context.Context, w *steps.World, host *steps.Host) ([]string, error) {
	if ip, err := netip.ParseAddr(host.Address); err == nil {
		return []string{ip.Unmap().String()}, nil
	}
	addresses, err := steps.Route{}.LookUp(ctx, w.Resolver(), host.Address)
	if err != nil {
		return nil, steps.FailNet(ctx, err, result.BlameDNS, "look up the host "+host.Address)
	}
	return addresses, nil
}
