//go:build linux

package stack_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/smtp"
	"net/textproto"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps/stepstest/stack"
)

// amended writes a stepwatch.yml that is the stack's own with these lines added.
func amended(t *testing.T, config, lines string) string {
	t.Helper()
	content, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	return write(t, "stepwatch.yml", string(content)+lines)
}

// TestMXWithAnyCertificate has MX hosts whose certificates are wrong in each way: mail goes there in TLS and is delivered,
// what is wrong is told, and it fails the step that wants verified TLS.
func TestMXWithAnyCertificate(t *testing.T) {
	need(t)
	const step = `I send a message from "alice" directly to the MX of "bob"`
	own := altered(t, func(*stack.Config) {})
	for _, c := range []struct{ host, ip, note, reason string }{
		{stack.Mail, "127.0.0.1", "certificate verified", ""},
		{stack.WrongHost, "127.0.0.3", "certificate not verified: x509: certificate is valid for other.example.test, not mail.example.test", "certificate_host"},
		{stack.Expired, "127.0.0.2", "certificate not verified: its certificate is for expired.example.test, wanted mail.example.test (wrong host); it ended on", "certificate_host"},
	} {
		t.Run(c.host, func(t *testing.T) {
			logs(t, "postfix")
			config := amended(t, own, "connect_to: {\"mail.example.test:25\": \""+c.ip+":25\"}\n")
			out := passes(t, config, step, `it is accepted within 5s`, `"bob" receives it over IMAP within 10s`, "every hop used TLS")
			if !strings.Contains(out, "mail.example.test: TLS 1.3, "+c.note) {
				t.Errorf("wanted %q in:\n%s", c.note, out)
			}
			verified := step + " with verified TLS"
			if c.reason == "" {
				passes(t, config, verified)
			} else {
				check(t, config, verified, outcome{verified, c.reason, "transfer"})
			}
		})
	}
}

// TestMXByFamily sends to an MX host that has an address of either family, and to one that has none of IPv6.
func TestMXByFamily(t *testing.T) {
	s := need(t)
	logs(t, "postfix")
	bob := s.Config.Account(stack.Bob)
	content, err := os.ReadFile(altered(t, func(*stack.Config) {}))
	if err != nil {
		t.Fatal(err)
	}
	config := write(t, "stepwatch.yml", strings.Replace(string(content), "accounts:", "accounts:\n  both: {address: bob@"+stack.Both+", username: "+bob.Address+
		", password: {file: "+bob.PasswordFile+"}, imap: "+bob.IMAP+"}", 1))
	for family, client := range map[string]string{"IPv4": "localhost [127.0.0.1]", "IPv6": "[IPv6:::1]"} {
		passes(t, config, `I send a message from "alice" directly to the MX of "both" over `+family, `it is accepted within 5s`,
			`"both" receives it over IMAP within 10s`, `its header "Received" contains "`+client+`"`)
	}
	step := `I send a message from "alice" directly to the MX of "bob" over IPv6`
	check(t, config, step, outcome{step, "dns", "dns"})
}

// TestContentArrives sends what mail programs send (an attachment, letters outside US-ASCII, both at once with headers)
// through Postfix, OpenDKIM, Sieve and Dovecot, and compares what arrived with it.
func TestContentArrives(t *testing.T) {
	need(t)
	logs(t, "postfix")
	config := altered(t, func(*stack.Config) {})
	dir := shared(t)
	for name, content := range map[string]string{
		"Rechnung – März.pdf": strings.Repeat("\x00\xff\n", 700_000),
		"content.feature": `Feature: Content
  Scenario: It arrives
    * the message has the attachment "Rechnung – März.pdf"
    * the message has the attachment "note.txt"
      """
      Grüße
      """
    * I send a message from "alice" to "bob" via 587
      """message/rfc822
      From: Jörg von der Überwachung <alice@example.test>
      Subject: Grüße aus der Überwachung, mit einer langen Zeile, die auf dem Weg gefaltet werden darf
      NOTIFY: FAILURE

      Schöne Grüße
      .
      From here on it is text.
      """
    * "bob" receives it over IMAP within 10s
    * it arrived unchanged
    * its attachment "Rechnung – März.pdf" arrived unchanged
    * its text arrived unchanged
    * its header "From" contains "Jörg von der Überwachung"
    * it passes DKIM
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if code, out := execute(t, stepwatch, "run", "--config", config, filepath.Join(dir, "content.feature")); code != 0 {
		t.Errorf("exit code %d:\n%s", code, out)
	}
}

// TestInternationalAddresses sends from and to an address with a local part outside US-ASCII, and to one with such a domain
// alone, which needs nothing of the servers.
func TestInternationalAddresses(t *testing.T) {
	s := need(t)
	logs(t, "postfix", "dovecot")
	bob := s.Config.Account(stack.Bob)
	content, err := os.ReadFile(altered(t, func(*stack.Config) {}))
	if err != nil {
		t.Fatal(err)
	}
	idn := "accounts:\n  kunde: {address: kunde@bücher.example.test, username: " + bob.Address + ", password: {file: " + bob.PasswordFile +
		"}, imap: " + bob.IMAP + "}\n  tagged: {address: jörg+tag@example.test}"
	config := write(t, "stepwatch.yml", strings.Replace(string(content), "accounts:", idn, 1))
	out := passes(t, config, `I send a message from "joerg" to "joerg" via 587`, `"joerg" receives it over IMAP within 10s`,
		`its header "From" is "`+stack.International+`"`, "it arrived unchanged", `I send a message from "joerg" to "bob" via 465`, `"joerg" receives a bounce within 10s`,
		`the bounce says "SMTPUTF8"`)
	if !strings.Contains(out, "250 2.0.0 Ok: queued as") {
		t.Errorf("not accepted:\n%s", out)
	}
	passes(t, config, `I send a message from "alice" to "kunde" via 587`, `"kunde" receives it over IMAP within 10s`, `its header "To" is "kunde@`+stack.IDN+`"`)
	if code, out := execute(t, stepwatch, "run", "--config", config, write(t, "tagged.feature", "Feature: F\n  Scenario: S\n    * I deliver a message to \"tagged\" over LMTP via \""+
		s.Dir+"/dovecot/lmtp\"\n")); code != 1 || !strings.Contains(out, "does not offer SMTPUTF8, which the address jörg+tag@example.test needs") {
		t.Errorf("exit code %d:\n%s", code, out)
	}
}

// TestTokens logs in with access tokens, which Dovecot verifies for IMAP and for Postfix.
func TestTokens(t *testing.T) {
	s := need(t)
	logs(t, "postfix", "dovecot")
	content, err := os.ReadFile(altered(t, func(*stack.Config) {}))
	if err != nil {
		t.Fatal(err)
	}
	with := func(tokens map[string]string) string {
		config := string(content)
		for name, token := range tokens {
			account := s.Config.Account(name)
			old := "password: {file: " + account.PasswordFile + "}\n"
			// The first is the account of that name; later ones are the same account under other names.
			config = strings.Replace(config, old, "token: {file: "+write(t, name+".token", token)+"}\n", 1)
		}
		return write(t, "stepwatch.yml", config)
	}
	token := func(name string, end time.Time) string {
		token, err := s.Token(s.Config.Account(name), end)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	soon, past := time.Now().Add(time.Hour), time.Now().Add(-time.Minute)
	good := map[string]string{stack.Alice: token(stack.Alice, soon), stack.Bob: token(stack.Bob, soon)}
	send, read := `I send a message from "alice" to "bob" via 587`, `"bob" receives it over IMAP within 10s`
	for _, mechanism := range []string{"", " with AUTH OAUTHBEARER", " with AUTH XOAUTH2"} {
		passes(t, with(good), send+mechanism, read)
	}
	for name, wrong := range map[string]string{
		"expired": token(stack.Alice, past), "somebody else's": good[stack.Bob], "altered": good[stack.Alice][:len(good[stack.Alice])-4] + "AAAA", "a password": s.Config.Account(stack.Alice).Password,
	} {
		t.Run(name, func(t *testing.T) {
			for _, mechanism := range []string{" with AUTH OAUTHBEARER", " with AUTH XOAUTH2"} {
				line := check(t, with(map[string]string{stack.Alice: wrong}), send+mechanism, outcome{send + mechanism, "auth", "submission"})
				if !strings.Contains(line, `is the access token of account "alice" still valid?`) || strings.Contains(line, wrong) {
					t.Error(line)
				}
			}
			ended := " It expired at " + past.UTC().Format("2006-01-02 15:04:05 MST")
			quota := `the mailbox of "alice" is less than 99 % full`
			line := check(t, with(map[string]string{stack.Alice: wrong}), quota, outcome{quota, "auth", "access"})
			if !strings.Contains(line, `is the access token of account "alice" still valid?`) || strings.Contains(line, wrong) || strings.Contains(line, ended) != (name == "expired") {
				t.Error(line)
			}
		})
	}
}

// penalize has Dovecot make those wait from whose address a wrong password came, as it does unless configured otherwise,
// for the rest of the test.
func penalize(t *testing.T, s *stack.Stack) {
	t.Helper()
	config := filepath.Join(s.Dir, "etc/dovecot.conf")
	kind, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	off := regexp.MustCompile(`(?s)auth_failure_delay = 0\nservice anvil \{.*?\n\}\n`)
	if !off.Match(kind) {
		t.Fatal("the penalty is not switched off in dovecot.conf")
	}
	// Without the penalty nobody listens at this socket; the auth process would try for five seconds to connect to what is left of it.
	socket := filepath.Join(s.Dir, "dovecot/anvil-auth-penalty")
	use := func(ctx context.Context, content []byte) {
		if err := errors.Join(s.Dovecot.Stop(), os.RemoveAll(socket), os.WriteFile(config, content, 0o644), s.Dovecot.Start(ctx)); err != nil {
			t.Fatal(err)
		}
	}
	use(t.Context(), off.ReplaceAll(kind, nil))
	t.Cleanup(func() { use(context.Background(), kind) })
}

// logIn says how long a login over SMTP takes that comes from this address. The reply that is wanted is 235 or 535.
func logIn(source, password string, want int, config *tls.Config) (took time.Duration, err error) {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}, Timeout: 5 * time.Second}
	conn, err := dialer.Dial("tcp", "127.0.0.1:587")
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return 0, err
	}
	client, err := smtp.NewClient(conn, stack.Mail)
	if err == nil {
		err = client.StartTLS(config)
	}
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	err = client.Auth(smtp.PlainAuth("", servers.Config.Account(stack.Alice).Address, password, stack.Mail))
	took = time.Since(begin)
	if reply := (*textproto.Error)(nil); want != 235 && errors.As(err, &reply) && reply.Code == want {
		return took, nil
	}
	if err == nil && want != 235 {
		err = errors.New("a wrong password is right")
	}
	return took, err
}

// TestWrongPasswordSpoilsNothing switches Dovecot's penalty on: after a scenario that tries a wrong password nobody waits
// for a login, neither those of the same address nor others.
func TestWrongPasswordSpoilsNothing(t *testing.T) {
	s := need(t)
	logs(t, "postfix", "dovecot")
	penalize(t, s)
	const wrong, slow, quick = "stepwatch: a wrong password", 2 * time.Second, time.Second
	right := s.Config.Account(stack.Alice).Password
	own, secure := altered(t, func(*stack.Config) {}), trusting(t, stack.Mail)
	enter := func(source, password string, reply int) time.Duration {
		t.Helper()
		took, err := logIn(source, password, reply, secure)
		if err != nil {
			t.Fatal(err)
		}
		return took
	}
	steps := []string{`I try to log in as "alice" with a wrong password via 587`, "it is refused at AUTH"}

	t.Run("the penalty is real", func(t *testing.T) {
		enter("127.0.0.66", wrong, 535)
		first, second := enter("127.0.0.66", right, 235), enter("127.0.0.66", right, 235)
		t.Logf("a good login takes %s after a wrong one, and then %s", first, second)
		if first < slow || second > quick {
			t.Errorf("logins took %s and %s, wanted more than %s and less than %s", first, second, slow, quick)
		}
	})
	t.Run("on loopback", func(t *testing.T) {
		var worst time.Duration
		var failed error
		var neighbour sync.WaitGroup
		neighbour.Go(func() {
			for end := time.Now().Add(3 * time.Second); time.Now().Before(end) && failed == nil; {
				var took time.Duration
				took, failed = logIn("127.0.0.1", right, 235, secure)
				worst = max(worst, took)
			}
		})
		passes(t, own, steps...)
		neighbour.Wait()
		if failed != nil {
			t.Fatal(failed)
		}
		after := enter(wrongSource, right, 235)
		t.Logf("the slowest login of a neighbour took %s; one from the wrong one's address afterwards %s", worst, after)
		if worst > quick || after > quick {
			t.Errorf("a neighbour's login took %s, one from the wrong one's address %s", worst, after)
		}
	})
	// The proxy stands for a network: everybody who comes through it has one address at the server, and stepwatch sees none
	// of loopback's IPv4.
	t.Run("from an address of all", func(t *testing.T) {
		const shared = "127.0.0.77"
		listener, err := net.Listen("tcp", "[::1]:0")
		if err != nil {
			t.Skip("no IPv6 on loopback: ", err)
		}
		forward(t, listener, shared, "127.0.0.1:587")
		config := amended(t, own, fmt.Sprintf("connect_to: {\"mail.example.test:587\": %q}\n", listener.Addr()))
		begin := time.Now()
		out := passes(t, config, steps...)
		took := time.Since(begin)
		after := enter(shared, right, 235)
		t.Logf("the run took %s with the good login behind it; a neighbour's login afterwards %s\n%s", took, after, out)
		if after > quick {
			t.Errorf("the next login from the same address took %s:\n%s", after, out)
		}
	})
}

// wrongSource is where stepwatch sends wrong passwords from to loopback.
const wrongSource = "127.0.0.2"

// forward passes connections on, from source, until the test ends.
func forward(t *testing.T, listener net.Listener, source, to string) {
	t.Helper()
	var all sync.WaitGroup
	t.Cleanup(func() {
		_ = listener.Close() // which ends the loop below
		all.Wait()
	})
	all.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}).Dial("tcp", to)
			if err != nil {
				_ = client.Close()
				continue
			}
			pass := func(to, from net.Conn) {
				_, _ = io.Copy(to, from) // either end may hang up
				_ = to.Close()
			}
			all.Go(func() { pass(server, client) })
			all.Go(func() { pass(client, server) })
		}
	})
}
