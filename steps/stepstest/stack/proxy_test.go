//go:build linux

package stack_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/stepwatch/stepwatch/steps/stepstest/stack"
)

// proxy starts the proxy, once for all tests, and gives a stepwatch.yml in which the mailboxes are behind it.
func proxy(t *testing.T) (config string) {
	t.Helper()
	s := need(t)
	logs(t, "proxy", "dovecot")
	if s.Proxy == nil {
		if err := s.StartProxy(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return altered(t, func(c *stack.Config) {
		for i := range c.Accounts {
			c.Accounts[i].IMAP = stack.Proxy
		}
	})
}

func TestSameMailboxThroughProxy(t *testing.T) {
	config, s := proxy(t), servers
	submit(t, stack.Mail, s.Config.Account(stack.Carol).Address, "Subject: proxied")
	eventually(t, waitLimit, "the message is in the mailbox", func() bool { return len(mailbox(t, stack.Carol)) == 1 })
	for _, host := range []string{stack.Store, stack.Proxy} {
		for _, port := range []string{"110", "995"} {
			if got := count(t, host, port, s.Config.Account(stack.Carol)); got != 1 {
				t.Errorf("%s:%s shows %d messages, want 1", host, port, got)
			}
		}
	}
	arrived(t, stack.Carol, "", "Subject: proxied")
	for _, port := range []string{"110", "995"} {
		passes(t, config, `I send a message from "alice" to "bob" via 587`, `"bob" receives it over POP3 via `+port+` within 20s`)
	}
	for _, port := range []string{"143", "993"} {
		passes(t, config, `I send a message from "alice" to "bob" via 587`, `"bob" receives it over IMAP via `+port+` within 20s`)
	}
}

func TestFaultsOfTheProxy(t *testing.T) {
	config, s := proxy(t), servers
	step, read := `I send a message from "alice" to "bob" via 587`, `"bob" receives it over IMAP via 993 within 5s`
	t.Run("proxy", func(t *testing.T) {
		stopped(s.Proxy).while(t, func() { check(t, config, step+"\n"+read, outcome{read, "connect", "access"}) })
		arrived(t, stack.Bob, "", "Subject: ") // what could not be read could not be removed either
		passes(t, config, step, read)
	})
	t.Run("password", func(t *testing.T) {
		wrong := write(t, "password", "not the password\n")
		config := altered(t, func(c *stack.Config) {
			c.Account(stack.Bob).IMAP, c.Account(stack.Bob).PasswordFile = stack.Proxy, wrong
		})
		check(t, config, step+"\n"+read, outcome{read, "auth", "access"})
		arrived(t, stack.Bob, "", "Subject: ")
		passes(t, altered(t, func(c *stack.Config) { c.Account(stack.Bob).IMAP = stack.Proxy }), step, read)
	})
	t.Run("store", func(t *testing.T) {
		// Postfix at Mail asks the store about logins, so what is sent takes the route, where the MX needs none.
		route(t)
		config := altered(t, func(c *stack.Config) {
			c.Account(stack.Alice).SMTP, c.Account(stack.Alice).PasswordFile = stack.MX1, ""
			c.Account(stack.Dave).IMAP = stack.Proxy
		})
		step, read := `I send a message from "alice" to "dave" via 25`, `"dave" receives it over IMAP via 993 within 5s`
		stopped(s.Dovecot).while(t, func() {
			check(t, config, step+"\n"+read, outcome{read, "deferred", "access"})
			if err := errors.Join(s.Store.Queued(t.Context()), s.Store.Discard(t.Context())); err != nil {
				t.Error(err)
			}
		})
		passes(t, config, step, read)
	})
}

// TestSameMessageThroughProxies reads one message in every way, through Dovecot's proxy and nginx', and finds out a proxy that
// leads nowhere.
func TestSameMessageThroughProxies(t *testing.T) {
	proxy(t)
	logs(t, "nginx")
	const feature = "../../../features/mail/proxies.feature"
	for _, host := range []string{stack.Proxy, stack.MailProxy} {
		config := altered(t, func(c *stack.Config) { c.Hosts["proxy"] = host })
		if code, out := execute(t, stepwatch, "run", "--config", config, feature); code != 0 {
			t.Errorf("%s: exit code %d:\n%s", host, code, out)
		}
		if left := mailbox(t, stack.Bob); len(left) > 0 {
			t.Errorf("%s: left behind: %q", host, left)
		}
	}
	unreadable(t, stack.Bob)
	config := altered(t, func(c *stack.Config) { c.Hosts["proxy"] = stack.Closed })
	code, out := execute(t, stepwatch, "run", "--config", config, feature)
	if code != 1 || !strings.Contains(out, stack.Closed+":993: connection refused") || !strings.Contains(out, stack.Closed+":143: connection refused") {
		t.Errorf("exit code %d:\n%s", code, out)
	}
}
