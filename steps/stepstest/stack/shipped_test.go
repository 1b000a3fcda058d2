//go:build linux

package stack_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stepwatch/stepwatch/steps/stepstest/stack"
)

// TestShippedFeaturesFail breaks for each shipped feature of mail what it is there to watch. That it passes otherwise is in
// TestScenariosPass; here it passes once more when it is mended.
func TestShippedFeaturesFail(t *testing.T) {
	s := need(t)
	logs(t, "postfix", "dovecot")
	proxy(t)
	unreadable(t, stack.Bob) // proxies
	const report = "Subject: backup: ok"
	submit(t, stack.Mail, s.Config.Account(stack.Ops).Address, report)
	at := func(account, host string) func(c *stack.Config) {
		return func(c *stack.Config) { c.Account(account).SMTP = host }
	}
	rows := map[string]struct {
		broken fault
		config func(c *stack.Config) // what the accounts are like meanwhile, or nil
		step   string                // that fails
		why    string
	}{
		"backup-copy":    {configured(s.Postfix, "recipient_bcc_maps ="), nil, `"backup" receives a copy`, "reason not_received, blame delivery"},
		"content":        {nothing, at(stack.Alice, stack.WrongHost), `I send`, "reason certificate_host, blame submission"},
		"bounce":         {configured(s.Postfix, "default_transport = retry:4.4.1 the next host is down"), nil, `"alice" receives a bounce`, "reason not_received, blame queue"},
		"deliverability": {stopped(s.OpenDKIM), nil, "it passes DKIM", "reason unexpected, blame submission"},
		"mailboxes":      {nothing, func(c *stack.Config) { c.Account(stack.Bob).IMAP = stack.Closed }, `the folder "INBOX" of "bob" holds`, "reason connect, blame access"},
		"encrypted":      {func(context.Context) (func() error, error) { return s.BreakSealing() }, nil, "it is encrypted with OpenPGP", "reason unexpected, blame submission"},
		"migration":      {nothing, at("alice-new", stack.Closed), `I send a message from "alice-new"`, "reason connect, blame submission"},
		"nightly": {func(context.Context) (func() error, error) {
			for len(mailbox(t, stack.Ops)) > 0 {
				arrived(t, stack.Ops, "", report)
			}
			return func() error { submit(t, stack.Mail, s.Config.Account(stack.Ops).Address, report); return nil }, nil
		}, nil, `"ops" has received`, "reason not_received"},
		"proxies": {nothing, func(c *stack.Config) { c.Hosts["proxy"] = stack.Closed }, `"bob" receives it over IMAP at "proxy"`, "reason connect, blame access"},
		// The default transport of the stack refuses such addresses by itself, though not for relaying.
		"relay-and-mx": {configured(s.Postfix, "mynetworks = 0.0.0.0/0", "smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination",
			"default_transport = discard:"), nil, "relaying is refused", "reason unexpected, blame submission"},
		"round-trip": {func(context.Context) (func() error, error) { return s.BlockDelivery() }, nil, `"bob" receives it over IMAP`, "reason not_received, blame queue"},
		"smarthost":  {nothing, at(stack.Leaf, stack.Closed), `I send a message from "leaf"`, "reason connect, blame submission"},
		"submission": {nothing, at(stack.Alice, stack.WrongHost), `I send a message from "alice"`, "reason certificate_host, blame submission"},
	}
	shipped, err := filepath.Glob("../../../features/mail/*.feature")
	if err != nil || len(shipped) == 0 {
		t.Fatalf("%v: %q", err, shipped)
	}
	for _, path := range shipped {
		name := strings.TrimSuffix(filepath.Base(path), ".feature")
		t.Run(name, func(t *testing.T) {
			row, found := rows[name]
			if !found {
				t.Fatal("nothing is known that makes it fail: add it")
			}
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			hasty := write(t, name+".feature", strings.NewReplacer("within 60s", "within 2s", "within 120s", "within 2s").Replace(string(content)))
			config := filepath.Join(s.Dir, "stepwatch.yml")
			during := config
			if row.config != nil {
				during = altered(t, row.config)
			}
			row.broken.while(t, func() {
				code, out := execute(t, stepwatch, "run", "--config", during, hasty)
				if !failsSo(out, row.step, row.why) || code != 1 {
					t.Errorf("exit code %d, want 1, and of %q %q:\n%s", code, row.step, row.why, out)
				}
				if err := s.Postfix.Discard(t.Context()); err != nil {
					t.Error(err)
				}
			})
			if code, out := execute(t, stepwatch, "run", "--config", config, path); code != 0 {
				t.Errorf("mended: exit code %d:\n%s", code, out)
			}
			settle(t) // the next row may stop a server; see passes
		})
	}
	arrived(t, stack.Ops, "", report)
}

// failsSo says whether in the output of a run a step with this text failed, for this reason.
func failsSo(out, step, why string) bool {
	for i := strings.Index(out, step); i >= 0; {
		line, rest, _ := strings.Cut(out[i:], "\n")
		if end := strings.Index(rest, "reason "); strings.Contains(line, "✗") && end >= 0 {
			reason, _, _ := strings.Cut(rest[end:], "\n")
			if strings.Contains(reason, why) {
				return true
			}
		}
		next := strings.Index(out[i+1:], step)
		if next < 0 {
			return false
		}
		i += 1 + next
	}
	return false
}
