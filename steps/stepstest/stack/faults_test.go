//go:build linux

package stack_test

import (
	"context"
	"errors"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps/stepstest/stack"
)

// held keeps Alice's mail in the queue, and does something once it is there.
func held(then func(ctx context.Context) error) fault {
	return func(ctx context.Context) (func() error, error) {
		done := make(chan error, 1)
		go func() {
			err := servers.Postfix.Queued(ctx)
			if err == nil && then != nil {
				err = then(ctx)
			}
			done <- err
		}()
		return func() error { return errors.Join(<-done, servers.Postfix.Discard(context.WithoutCancel(ctx))) }, nil
	}
}

// TestFaults breaks one thing after the other that mail needs: the step that an operator expects fails, with the reason and the
// owner; mended, the same steps pass.
func TestFaults(t *testing.T) {
	s := route(t)
	logs(t, "postfix", "dovecot")
	var (
		alicesHost = func(host string) func(c *stack.Config) {
			return func(c *stack.Config) { c.Account(stack.Alice).SMTP = host }
		}
		bobAt = func(host string) func(c *stack.Config) {
			return func(c *stack.Config) { c.Account(stack.Bob).IMAP = host }
		}
		// Who hears of it must not be behind what is broken.
		overRelay = alicesHost(stack.Relay)
		toFar     = `I send a message from "alice" to "dave" via 587`
		send      = `I send a message from "alice" to "bob" via 587`
		direct    = `I send a message from "alice" to "bob" via 25`
		large     = `I try to send a message of 8 MB from "alice" to "bob" via 25`
		read      = `"bob" receives it over IMAP via 993 within 5s`
		soon      = `"bob" receives it over IMAP via 993 within 2s`
		farSoon   = `"dave" receives it over IMAP via 993 within 3s`
		full      = []string{`I send a message from "alice" to "full" via 587`, `"full" receives it over IMAP within 2s`}
		brief     = `the queue held it for at most 1s`
	)
	for _, c := range []struct {
		name   string
		broken fault
		config func(c *stack.Config) // what the accounts are like meanwhile, or nil
		steps  []string              // the last of those that run fails
		want   outcome               // of the step that begins so
		says   string
	}{
		{"dropped within the message", nothing, alicesHost(stack.Dropping), []string{direct, read},
			outcome{direct, "disconnected", "submission"}, stack.Dropping + ":25"},
		{"dropped behind the message", nothing, alicesHost(stack.AfterDot), []string{direct, read},
			outcome{direct, "disconnected", "submission"}, "which may have taken it"},
		{"greylisted at submission", nothing, alicesHost(stack.Greylist), []string{send, read},
			outcome{send, "deferred", "submission"}, "450 4.7.1"},
		{"greylisted on the way", greylisted(3 * time.Second), nil, []string{sendFar, readFar, brief},
			outcome{brief, "slow", "queue"}, "queue at " + stack.Relay + " took"},
		{"a late banner", nothing, alicesHost(stack.SlowBanner), []string{send, "it is accepted within 500ms", read},
			outcome{"it is accepted within 500ms", "slow", "submission"}, ""},
		{"a reader that stalls", nothing, alicesHost(stack.Stalling), []string{large, "it is accepted within 10s", read},
			outcome{large, "timeout", "submission"}, stack.Stalling + ":25"},
		{"an expired certificate at submission", nothing, alicesHost(stack.Expired), []string{send, read},
			outcome{send, "certificate_expired", "submission"}, ""},
		{"another's certificate at submission", nothing, alicesHost(stack.WrongHost), []string{send, read},
			outcome{send, "certificate_host", "submission"}, ""},
		{"an expired certificate at the mailbox", nothing, bobAt(stack.Expired), []string{send, read},
			outcome{read, "certificate_expired", "access"}, ""},
		{"another's certificate at the mailbox", nothing, bobAt(stack.WrongHost), []string{send, read},
			outcome{read, "certificate_host", "access"}, ""},
		{"TLS broken in the settings", configured(s.Relay, "smtpd_tls_mandatory_protocols = SSLv9"), nil, []string{sendFar, readFar},
			outcome{sendFar, "tls", "submission"}, "454 4.7.0"},
		{"IMAP says BYE", held(func(ctx context.Context) error { return s.Kick(ctx, s.Config.Account(stack.Bob).Address) }), alicesHost(stack.Holding), []string{send, read},
			outcome{read, "disconnected", "access"}, "BYE"},
		{"a full mailbox", func(context.Context) (func() error, error) {
			return func() error { return s.Empty(stack.Full) }, s.Fill(stack.Full, 20, 1<<10)
		}, nil, full, outcome{full[1], "not_received", "delivery"}, "Quota exceeded"},
		{"too big", configured(s.Relay, "message_size_limit = 500", "mailbox_size_limit = 500"), nil, []string{sendFar, readFar},
			outcome{sendFar, "refused", "submission"}, "552 5.3.4"},
		{"the milter is dead", stopped(s.OpenDKIM), nil, []string{send, read, "it passes DKIM"},
			outcome{"it passes DKIM", "unexpected", "submission"}, "the message is not signed"},
		{"held in the queue", held(nil), alicesHost(stack.Holding), []string{send, soon},
			outcome{soon, "not_received", "queue"}, " folders: ask the operator of " + stack.Holding + ":587"},
		{"the MX hosts are down, and nobody says so", stopped(s.MX.Server), nil, []string{sendFar, farSoon},
			outcome{farSoon, "not_received", "queue"}, "ask the operator of " + stack.Relay + ":587"},
		{"the MX hosts are down, and the relay says so", both(configured(s.Relay, "delay_warning_time = 1s"), stopped(s.MX.Server)), overRelay, []string{toFar, farSoon},
			outcome{farSoon, "not_received", "transfer"}, "waits in the queue of " + stack.Relay + ": 4.4.1"},
		{"no such user at the MX", configured(s.MX, "relay_recipient_maps = inline:{ { x = x } }"), overRelay, []string{toFar, farSoon},
			outcome{farSoon, "not_received", "delivery"}, "said by " + stack.MX1},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := filepath.Join(s.Dir, "stepwatch.yml")
			during := config
			if c.config != nil {
				during = altered(t, c.config)
			}
			c.broken.while(t, func() {
				limit := 20 * time.Second
				if c.want.reason == "timeout" {
					limit = 3 * time.Second
				}
				if line := checkWithin(t, limit, during, strings.Join(c.steps, "\n"), c.want); !strings.Contains(line, c.says) {
					t.Errorf("want %q in %s", c.says, line)
				}
				if err := errors.Join(s.Postfix.Discard(t.Context()), s.Relay.Discard(t.Context())); err != nil {
					t.Error(err)
				}
			})
			if c.want.blame == "access" && c.want.reason != "disconnected" { // who may not read the mailbox cannot remove what came either
				arrived(t, stack.Bob, "", "X-Stepwatch-Run: ")
			}
			if c.steps[0] == toFar { // only Relay knows the way
				config = during
			}
			passes(t, config, c.steps...)
		})
	}
}

// TestMissingMailIsTraced has the first server's own queue and log say where a message is that does not come.
func TestMissingMailIsTraced(t *testing.T) {
	s := route(t)
	logs(t, "relay")
	soon := `"dave" receives it over IMAP via 993 within 2500ms` // the relay tries each second, and the reason is gone meanwhile
	queue := "queue: {showq: " + filepath.Join(s.Dir, "route/relay/queue/public/showq") + "}"
	log := "log: {file: " + logOf("relay") + "}"
	text := readLog(t, filepath.Join(s.Dir, "stepwatch.yml"))
	for name, c := range map[string]struct{ sources, says string }{
		"queue":         {queue, `it is still in the queue of "relay" as `},
		"log":           {log, `according to the log of "relay" it was deferred: connect to mx`},
		"queue and log": {queue + ", " + log, "in the queue"},
	} {
		t.Run(name, func(t *testing.T) {
			config := write(t, "stepwatch.yml", strings.Replace(text, "hosts:\n", "hosts:\n  relay: {address: "+stack.Relay+", "+c.sources+"}\n", 1)+"\nstate: "+shared(t)+"\n")
			stopped(s.MX.Server).while(t, func() {
				line := check(t, config, sendFar+"\n"+soon, outcome{soon, "not_received", "transfer"})
				if !strings.Contains(line, c.says) || strings.Contains(line, "look for") || !regexp.MustCompile(`: connect to mx[12]\.example\.test\[127\.0\.2\.[12]\]:25: Connection refused.*: ask the operator of mx[12]\.example\.test`).MatchString(line) {
					t.Errorf("want %q and whom to ask in %s", c.says, line)
				}
				if err := s.Relay.Discard(t.Context()); err != nil {
					t.Error(err)
				}
			})
			passes(t, config, sendFar, strings.Replace(soon, "2500ms", "20s", 1))
		})
	}
}

// greylisted has the MX hosts keep everything off for that long.
func greylisted(delay time.Duration) fault {
	return func(context.Context) (func() error, error) {
		servers.Greylist(delay)
		return func() error { servers.Greylist(0); return nil }, nil
	}
}

// both is two faults at once.
func both(one, other fault) fault {
	return func(ctx context.Context) (func() error, error) {
		first, err := one(ctx)
		if err != nil {
			return first, err
		}
		second, err := other(ctx)
		return func() error { return errors.Join(second(), first()) }, err
	}
}
