package mailserver

import (
	"context"
	"fmt"
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
			"When the log is another host's, only logins to an address of this host count. Dovecot's lines have that address (lip), Postfix's do not. " +
			"stepwatch's own accounts count too: no other scenario may use the old host.",
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
	uses, crowded := r.Uses(d, local...)
	w.Measure("mail_log_users", "Number of users of the host.", float64(len(uses)))
	if len(uses) > 0 {
		return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "%d users used %q in the last %s, the last of them %s: move them, or correct the host in their programs",
			len(uses), host.Name, a.Text(1), users(uses, 5))
	}
	if crowded {
		return steps.Fail(result.ReasonUnexpected, result.BlameMonitor, "the result is unknown: %s has too many users to list", r.Source)
	}
	return nil
}

// users names the first few: "alice@example.org from 192.0.2.7 at 2026-01-02 15:04:05".
func users(uses []maillog.Use, most int) string {
	var parts []string
	for _, u := range uses[:min(most, len(uses))] {
		parts = append(parts, fmt.Sprintf("%s from %s at %s", wording.OneLine(u.User, 100), u.Client, logTime(u.Last)))
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
