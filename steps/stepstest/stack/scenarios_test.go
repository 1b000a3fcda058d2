//go:build linux

package stack_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/stepwatch/stepwatch/steps/stepstest/stack"
)

const mail = `Feature: Mail
  Scenario Outline: From submission to inbox
    When I send a message from "alice" to "bob" via <port>
    Then it is accepted within 5s
    And "bob" receives it over IMAP via <mailbox> within 20s

    Examples:
      | port | mailbox |
      | 587  | 143     |
      | 465  | 993     |
      | 25   | 993     |

  Scenario Outline: Both mechanisms
    When I send a message from "alice" to "carol" via <port> with AUTH <mechanism>
    Then "carol" receives it over IMAP within 20s

    Examples:
      | port | mechanism |
      | 587  | PLAIN     |
      | 465  | LOGIN     |
`

const web = `Feature: Web
  Scenario: A visitor finds the contact page
    When I go to "https://example.test/"
    And I follow "Contact"
    Then I should see "alice@example.test"
    And the page should load within 2s

  Scenario: Plain HTTP leads to HTTPS
    When I go to "http://www.example.test/contact.html"
    Then I should be on "https://example.test/contact.html"
`

// mailbox lists the messages that Dovecot has for an account.
func mailbox(t *testing.T, account string) []string {
	t.Helper()
	var messages []string
	for _, folder := range []string{"new", "cur"} {
		found, err := filepath.Glob(filepath.Join(servers.Dir, "mail", account, "Maildir", folder, "*"))
		if err != nil {
			t.Fatal(err)
		}
		messages = append(messages, found...)
	}
	return messages
}

func TestScenariosPass(t *testing.T) {
	s := need(t)
	logs(t, "postfix", "dovecot", "nginx")
	proxy(t)                                                                          // proxies.feature needs it
	submit(t, stack.Mail, s.Config.Account(stack.Ops).Address, "Subject: backup: ok") // and nightly.feature this
	config := filepath.Join(s.Dir, "stepwatch.yml")
	for name, path := range map[string]string{
		"mail":         write(t, "mail.feature", mail),
		"web":          write(t, "web.feature", web),
		"shipped mail": "../../../features/mail",
		"shipped tls":  "../../../features/tls",
	} {
		t.Run(name, func(t *testing.T) {
			if code, out := execute(t, stepwatch, "run", "--config", config, path); code != 0 {
				t.Errorf("exit code %d:\n%s", code, out)
			}
		})
	}
	arrived(t, stack.Ops, "", "Subject: backup: ok")
}

// statusLine is what a failing check prints: state, step with its error, reason, blame.
var statusLine = regexp.MustCompile(`^STEPWATCH (\w+) - (.*) \((\w+), blame (\w+)\) \| `)

// outcome is a failure as an operator sees it.
type outcome struct{ step, reason, blame string }

// check runs a scenario of these steps and wants it to fail so. It returns the status line.
func check(t *testing.T, config string, steps string, want outcome) string {
	t.Helper()
	return checkWithin(t, 20*time.Second, config, steps, want)
}

// checkWithin is check with the time that the whole run may take.
func checkWithin(t *testing.T, limit time.Duration, config string, steps string, want outcome) string {
	t.Helper()
	feature := fmt.Sprintf("Feature: Fault\n  @timeout:%s\n  Scenario: Fault\n", limit)
	for line := range strings.SplitSeq(steps, "\n") {
		if !strings.HasPrefix(line, "|") { // a row of a table belongs to the step above
			line = "* " + line
		}
		feature += "    " + line + "\n"
	}
	code, out := execute(t, stepwatch, "check", "--config", config, write(t, "fault.feature", feature))
	m := statusLine.FindStringSubmatch(out)
	if code != 2 || m == nil {
		t.Fatalf("exit code %d, want 2 (CRITICAL) with reason and blame:\n%s", code, out)
	}
	if got := (outcome{m[2][:min(len(m[2]), len("* "+want.step))], m[3], m[4]}); got != (outcome{"* " + want.step, want.reason, want.blame}) {
		t.Errorf("got %+v, want %+v:\n%s", got, want, out)
	}
	t.Log(m[2])
	for _, a := range servers.Config.Accounts {
		if strings.Contains(out, a.Password) {
			t.Error("a password is in the output")
		}
	}
	return m[2]
}

// altered writes a stepwatch.yml that differs from the stack's own.
func altered(t *testing.T, alter func(c *stack.Config)) string {
	t.Helper()
	c := servers.Config.Clone()
	alter(&c)
	path := filepath.Join(shared(t), "stepwatch.yml")
	if err := servers.WriteConfig(path, c); err != nil {
		t.Fatal(err)
	}
	return path
}

const (
	alice = 0
	bob   = 1
	carol = 2
)

const (
	send    = `I send a message from "alice" to "bob" via %d`
	receive = `"bob" receives it over IMAP via %d within %s`
)

// TestFaultsOfHosts points an account or a URL at a host that has one fault.
func TestFaultsOfHosts(t *testing.T) {
	s := need(t)
	unreadable(t, stack.Bob)
	for _, c := range []struct {
		name   string
		host   string
		reason string
		blame  string // of sending, when it is not submission
	}{
		{"expired certificate", stack.Expired, "certificate_expired", ""},
		{"certificate for another name", stack.WrongHost, "certificate_host", ""},
		{"unknown CA", stack.UnknownCA, "certificate_authority", ""},
		{"closed ports", stack.Closed, "connect", ""},
		{"unknown host", "absent." + stack.Domain, "dns", "dns"},
	} {
		blame := func(usual string) string {
			if c.blame != "" {
				return c.blame
			}
			return usual
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			smtp := altered(t, func(config *stack.Config) { config.Accounts[alice].SMTP = c.host })
			imap := altered(t, func(config *stack.Config) { config.Accounts[bob].IMAP = c.host })
			for _, port := range []int{587, 465} {
				step := fmt.Sprintf(send, port)
				check(t, smtp, step, outcome{step, c.reason, blame("submission")})
			}
			for _, port := range []int{143, 993} {
				step := fmt.Sprintf(receive, port, "5s")
				check(t, imap, fmt.Sprintf(send, 587)+"\n"+step, outcome{step, c.reason, blame("access")})
			}
			visit := `I go to "https://` + c.host + `/"`
			check(t, filepath.Join(s.Dir, "stepwatch.yml"), visit, outcome{visit, c.reason, blame("web")})
		})
	}
}

func TestWrongPassword(t *testing.T) {
	need(t)
	unreadable(t, stack.Bob)
	wrong := write(t, "password", "not the password\n")
	step := fmt.Sprintf(send, 587)
	check(t, altered(t, func(c *stack.Config) { c.Accounts[alice].PasswordFile = wrong }), step, outcome{step, "auth", "submission"})
	read := fmt.Sprintf(receive, 993, "5s")
	check(t, altered(t, func(c *stack.Config) { c.Accounts[bob].PasswordFile = wrong }), step+"\n"+read, outcome{read, "auth", "access"})
}

func TestGreylisting(t *testing.T) {
	need(t)
	for _, port := range []int{587, 465, 25} {
		step := fmt.Sprintf(send, port)
		line := check(t, altered(t, func(c *stack.Config) { c.Accounts[alice].SMTP = stack.Greylist }), step, outcome{step, "deferred", "submission"})
		if !strings.Contains(line, "450 4.7.1") || !strings.Contains(line, "Greylisted") {
			t.Errorf("what the server said is missing: %s", line)
		}
	}
}

func TestWebServerThatFails(t *testing.T) {
	s := need(t)
	config := filepath.Join(s.Dir, "stepwatch.yml")
	for path, reason := range map[string]string{"broken": "http_status", "loop": "redirect"} {
		step := `I go to "https://example.test/` + path + `"`
		check(t, config, step, outcome{step, reason, "web"})
	}
}

func TestMailThatNeverArrives(t *testing.T) {
	s := need(t)
	logs(t, "postfix")
	emptyQueue(t)
	config := altered(t, func(c *stack.Config) { c.Accounts[alice].SMTP = stack.Holding })
	read := fmt.Sprintf(receive, 993, "2s")
	check(t, config, fmt.Sprintf(send, 587)+"\nit is accepted\n"+read, outcome{read, "not_received", "queue"})
	queue, err := s.Postfix.Queue(t.Context())
	if err != nil || !strings.Contains(queue, `"queue_name": "hold"`) {
		t.Errorf("the queue holds no mail: %v %s", err, queue)
	}
}

// emptyQueue sees to it that what a test keeps from arriving does not arrive in the next one.
func emptyQueue(t *testing.T) {
	t.Cleanup(func() {
		if err := servers.Postfix.Discard(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// TestMailThatArrivesLate holds mail back for a second: the step's time says how long it really took.
func TestMailThatArrivesLate(t *testing.T) {
	s := need(t)
	for name, c := range map[string]struct {
		host string
		hold func() (release func() error, err error)
	}{
		"in the queue of the relay": {stack.Holding, func() (func() error, error) {
			return func() error { return s.Postfix.Release(context.Background()) }, nil
		}},
		"before the mailbox": {stack.Mail, s.BlockDelivery},
	} {
		t.Run(name, func(t *testing.T) {
			logs(t, "postfix")
			release, err := c.hold()
			if err != nil {
				t.Fatal(err)
			}
			emptyQueue(t)
			const late = time.Second
			released := make(chan error, 1)
			go func() {
				err := s.Postfix.Queued(t.Context())
				<-time.After(late)
				released <- errors.Join(err, release())
			}()
			config := altered(t, func(config *stack.Config) { config.Accounts[alice].SMTP = c.host })
			feature := write(t, "late.feature", "Feature: Late\n  Scenario: Late\n    * "+fmt.Sprintf(send, 587)+"\n    * "+fmt.Sprintf(receive, 993, "15s")+"\n")
			code, out := execute(t, stepwatch, "check", "--config", config, feature)
			if err := <-released; err != nil {
				t.Fatal(err)
			}
			m := regexp.MustCompile(`receives it over IMAP via 993 within 15s'?=([0-9.]+)s`).FindStringSubmatch(out)
			if code != 0 || m == nil {
				t.Fatalf("exit code %d:\n%s", code, out)
			}
			if took, err := time.ParseDuration(m[1] + "s"); err != nil || took < late*9/10 {
				t.Errorf("the step took %s, and the mail was held for %s:\n%s", took, late, out)
			}
		})
	}
}

func TestKick(t *testing.T) {
	s := need(t)
	logs(t, "dovecot")
	emptyQueue(t)
	config := altered(t, func(c *stack.Config) { c.Accounts[alice].SMTP = stack.Holding })
	kicked := make(chan error, 1)
	go func() {
		err := s.Postfix.Queued(t.Context()) // by then the step waits for the message
		if err == nil {
			err = s.Kick(t.Context(), s.Config.Accounts[bob].Address)
		}
		kicked <- err
	}()
	read := fmt.Sprintf(receive, 993, "10s")
	check(t, config, fmt.Sprintf(send, 587)+"\n"+read, outcome{read, "disconnected", "access"})
	if err := <-kicked; err != nil {
		t.Error(err)
	}
}

// TestServersThatAreDown stops each server in turn.
func TestServersThatAreDown(t *testing.T) {
	s := need(t)
	config := filepath.Join(s.Dir, "stepwatch.yml")
	submit, read, visit := fmt.Sprintf(send, 587), fmt.Sprintf(receive, 993, "5s"), `I go to "https://example.test/"`
	for _, c := range []struct {
		server *stack.Server
		steps  string
		want   outcome
	}{
		{s.Postfix.Server, submit + "\n" + read, outcome{submit, "connect", "submission"}},
		{s.Nginx, visit, outcome{visit, "connect", "web"}},
	} {
		t.Run(c.server.Name, func(t *testing.T) {
			down(t, c.server)
			check(t, config, c.steps, c.want)
		})
	}
	t.Run("dovecot", func(t *testing.T) {
		down(t, s.Dovecot)
		// Postfix asks Dovecot about logins, so submission goes first.
		check(t, config, submit+"\n"+read, outcome{submit, "disconnected", "submission"})
	})
	t.Run("opendkim", func(t *testing.T) {
		down(t, s.OpenDKIM)
		// Mail goes out unsigned, as milter_default_action says.
		feature := write(t, "unsigned.feature", "Feature: F\n  Scenario: S\n    * "+submit+"\n    * "+read+"\n")
		if code, out := execute(t, stepwatch, "run", "--config", config, feature); code != 0 {
			t.Errorf("exit code %d:\n%s", code, out)
		}
	})
	t.Run("name server", func(t *testing.T) {
		s.NameServer.Refuse(dns.RcodeServerFailure)
		defer s.NameServer.Refuse(dns.RcodeSuccess)
		check(t, config, submit, outcome{submit, "dns", "dns"})
		check(t, config, visit, outcome{visit, "dns", "dns"})
	})
}

// down stops a server for the rest of the test.
func down(t *testing.T, server *stack.Server) {
	t.Helper()
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Start(context.Background()); err != nil {
			t.Fatal(err)
		}
	})
}

// TestMailIsSigned reads what OpenDKIM added from a message that another client than stepwatch sent.
func TestMailIsSigned(t *testing.T) {
	s := need(t)
	logs(t, "postfix")
	to := s.Config.Account(stack.Carol)
	submit(t, stack.Mail, to.Address, "Subject: signed")
	content := arrived(t, to.Name, "", "Subject: signed")
	if !regexp.MustCompile(`(?m)^DKIM-Signature: .*d=example\.test; s=mail;`).MatchString(content) {
		t.Errorf("no signature:\n%s", content)
	}
}

// TestMigration points the new host's settings at a host that is not there yet: its rows fail, and no other.
func TestMigration(t *testing.T) {
	need(t)
	config := altered(t, func(c *stack.Config) { c.Account("alice-new").SMTP = stack.Closed })
	code, out := execute(t, stepwatch, "run", "--config", config, "../../../features/mail/migration.feature")
	if code != 1 || !strings.Contains(out, "9 scenarios: 7 passed, 2 failed") || !strings.Contains(out, stack.Closed+":465: connection refused") {
		t.Errorf("exit code %d:\n%s", code, out)
	}
}

func TestDroppedConnection(t *testing.T) {
	need(t)
	step := fmt.Sprintf(send, 25)
	config := altered(t, func(c *stack.Config) { c.Account(stack.Alice).SMTP = stack.Dropping })
	line := check(t, config, step, outcome{step, "disconnected", "submission"})
	if !strings.Contains(line, stack.Dropping+":25") {
		t.Errorf("the host is missing: %s", line)
	}
}

// TestSlowBanner has the time that the greeting took stand where an operator looks for it. The server counts its delay from
// the connection's first packet, and the phase begins when the client knows of the connection, so the phase may be a little
// shorter than the delay. It is never longer than the whole run.
func TestSlowBanner(t *testing.T) {
	need(t)
	config := altered(t, func(c *stack.Config) { c.Account(stack.Alice).SMTP = stack.SlowBanner })
	for _, port := range []int{25, 587} {
		start := time.Now()
		out := passes(t, config, fmt.Sprintf(send, port), fmt.Sprintf(receive, 993, "10s"))
		whole := time.Since(start)
		m := regexp.MustCompile(`banner +([0-9.]+ ?m?s)`).FindStringSubmatch(out)
		if m == nil {
			t.Fatalf("no phase banner:\n%s", out)
		}
		if took, err := time.ParseDuration(strings.ReplaceAll(m[1], " ", "")); err != nil || took < stack.BannerDelay*9/10 || took > whole {
			t.Errorf("the banner took %s, %v, want about %s of the run's %s:\n%s", took, err, stack.BannerDelay, whole, out)
		}
	}
}
