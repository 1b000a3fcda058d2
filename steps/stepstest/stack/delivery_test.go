//go:build linux

package stack_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/smtp"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps/stepstest/stack"
)

// waitLimit is how long a message may take that nothing holds.
const waitLimit = 15 * time.Second

// trusting is a TLS configuration that knows the stack's CA.
func trusting(t *testing.T, host string) *tls.Config {
	t.Helper()
	ca, err := os.ReadFile(servers.Config.CA)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	return &tls.Config{ServerName: host, RootCAs: roots}
}

// dial opens an SMTP dialogue with another client than stepwatch, and logs in as an account unless it is nil.
func dial(t *testing.T, host, port string, as *stack.Account) *smtp.Client {
	t.Helper()
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(host, port), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	client, err := smtp.NewClient(conn, host)
	if err == nil {
		err = client.StartTLS(trusting(t, host))
	}
	if err == nil && as != nil {
		err = client.Auth(smtp.PlainAuth("", as.Address, as.Password, host))
	}
	if err != nil {
		conn.Close()
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

// submit sends a message with these header lines as Alice through host and port 587.
func submit(t *testing.T, host, to string, header ...string) {
	t.Helper()
	from := servers.Config.Account(stack.Alice)
	client := dial(t, host, "587", from)
	err := errors.Join(client.Mail(from.Address), client.Rcpt(to))
	if err != nil {
		t.Fatal(err)
	}
	body, err := client.Data()
	if err != nil {
		t.Fatal(err)
	}
	header = append(header, "From: "+from.Address, "To: "+to, "", "Hello", "")
	_, err = body.Write([]byte(strings.Join(header, "\r\n")))
	if err := errors.Join(err, body.Close(), client.Quit()); err != nil {
		t.Fatal(err)
	}
}

// arrived waits until an account has a message with text in it in a folder ("" is INBOX), and removes it again.
func arrived(t *testing.T, account, folder, text string) string {
	t.Helper()
	if folder != "" {
		folder = "." + folder
	}
	var content []byte
	eventually(t, waitLimit, "a message with "+text+" for "+account+" in "+folder, func() bool {
		paths, err := filepath.Glob(filepath.Join(servers.Dir, "mail", account, "Maildir", folder, "[nc][eu][wr]", "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			var err error
			if content, err = os.ReadFile(path); err == nil && bytes.Contains(content, []byte(text)) {
				return os.Remove(path) == nil
			}
		}
		return false
	})
	return string(content)
}

func TestFiling(t *testing.T) {
	s := need(t)
	logs(t, "postfix", "dovecot")
	for _, c := range []struct{ to, header, account, folder string }{
		{"bob", "Subject: filing 1", "bob", ""},
		{"bob+tag", "Subject: filing 2", "bob", ""},
		{"bob", "Subject: filing 3 [filtered]", "bob", "Filtered"},
		{"bob", "X-Spam-Flag: YES", "bob", "Junk"},
		{"copied", "Subject: filing 4", "copied", ""},
	} {
		submit(t, stack.Mail, c.to+"@"+stack.Domain, c.header)
		arrived(t, c.account, c.folder, c.header)
	}
	arrived(t, stack.Backup, "", "filing 4")

	sender := *s.Config.Account(stack.Copied)
	client := dial(t, stack.Mail, "587", &sender)
	if err := errors.Join(client.Mail(sender.Address), client.Rcpt("carol@"+stack.Domain)); err != nil {
		t.Fatal(err)
	}
	body, err := client.Data()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(body, "Subject: filing 5\r\n\r\nHello\r\n")
	if err := errors.Join(body.Close(), client.Quit()); err != nil {
		t.Fatal(err)
	}
	arrived(t, stack.Carol, "", "filing 5")
	arrived(t, stack.Backup, "", "filing 5")
}

// count asks for the number of messages of an account over POP3 (RFC 1939): with STLS on port 110, inside TLS on 995.
func count(t *testing.T, host, port string, a *stack.Account) int {
	t.Helper()
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(host, port), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if port == "995" {
		conn = tls.Client(conn, trusting(t, host))
	}
	text := textproto.NewConn(conn)
	answer := func() string {
		line, err := text.ReadLine()
		if err != nil || !strings.HasPrefix(line, "+OK") {
			t.Fatalf("%s:%s answers %q, want +OK: %v", host, port, line, err)
		}
		return line
	}
	say := func(line string) string {
		if err := text.PrintfLine("%s", line); err != nil {
			t.Fatal(err)
		}
		return answer()
	}
	answer()
	if port != "995" {
		say("STLS")
		text = textproto.NewConn(tls.Client(conn, trusting(t, host)))
	}
	say("USER " + a.Address)
	say("PASS " + a.Password)
	var n, size int
	if line := say("STAT"); !scan(line, &n, &size) {
		t.Fatalf("%s:%s answers %q to STAT", host, port, line)
	}
	say("QUIT")
	return n
}

func scan(line string, n, size *int) bool {
	_, err := fmt.Sscanf(line, "+OK %d %d", n, size)
	return err == nil
}

func TestPOP3(t *testing.T) {
	s := need(t)
	logs(t, "dovecot")
	if err := s.Empty(stack.Carol); err != nil { // what other tests left of theirs
		t.Fatal(err)
	}
	for i, port := range []string{"110", "995"} {
		if err := s.Fill(stack.Carol, 3, 500); err != nil {
			t.Fatal(err)
		}
		// Dovecot looks at a Maildir that changed within the second again only later.
		eventually(t, waitLimit, fmt.Sprintf("port %s has %d messages", port, 3*(i+1)), func() bool {
			return count(t, stack.Mail, port, s.Config.Account(stack.Carol)) == 3*(i+1)
		})
	}
	if err := s.Empty(stack.Carol); err != nil {
		t.Fatal(err)
	}
	eventually(t, waitLimit, "the mailbox is empty", func() bool { return count(t, stack.Mail, "995", s.Config.Account(stack.Carol)) == 0 })
}

// TestFullMailbox has mail accepted that Dovecot then refuses: Postfix returns it to the sender.
func TestFullMailbox(t *testing.T) {
	s := need(t)
	logs(t, "postfix", "dovecot")
	config := filepath.Join(s.Dir, "stepwatch.yml")
	if err := s.Fill(stack.Full, 20, 1<<10); err != nil {
		t.Fatal(err)
	}
	step, read := `I send a message from "alice" to "full" via 587`, `"full" receives it over IMAP within 2s`
	line := check(t, config, step+"\nit is accepted\n"+read, outcome{read, "not_received", "delivery"})
	start, long := time.Now(), `"full" receives it over IMAP within 15s`
	check(t, config, step+"\n"+long, outcome{long, "not_received", "delivery"})
	if took := time.Since(start); took > 6*time.Second {
		t.Errorf("the bounce ended the wait after %s", took)
	} else {
		t.Logf("the bounce ended a wait of 15s after %s", took.Round(time.Millisecond))
	}
	if !strings.Contains(line, "5.2.2") || !strings.Contains(line, "Quota exceeded") {
		t.Errorf("the bounce's own reason is missing: %s", line)
	}
	passes(t, config, step, `"alice" receives a bounce within 10s`, `the bounce says "Quota exceeded"`)
	if left := testMail(t); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	if err := s.Empty(stack.Full); err != nil {
		t.Fatal(err)
	}
	passes(t, config, step, read)
}

// passes runs a scenario of these steps and wants it to pass. A message can be read before Postfix is told that it is delivered,
// and would come once more if a server were stopped in between, so that is waited for.
func passes(t *testing.T, config string, steps ...string) string {
	t.Helper()
	feature := write(t, "mended.feature", "Feature: Mended\n  @timeout:30s\n  Scenario: Mended\n    * "+strings.Join(steps, "\n    * ")+"\n")
	code, out := execute(t, stepwatch, "run", "-v", "--config", config, feature)
	if code != 0 {
		t.Errorf("exit code %d:\n%s", code, out)
	} else if strings.Contains(out, "not cleaned up") {
		t.Log(out)
	}
	settle(t)
	return out
}

// TestLargeMailbox finds a message among ten thousand.
func TestLargeMailbox(t *testing.T) {
	s := need(t)
	logs(t, "dovecot")
	if err := s.Fill(stack.Carol, 10_000, 500); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Empty(stack.Carol); err != nil {
			t.Error(err)
		}
	}()
	passes(t, filepath.Join(s.Dir, "stepwatch.yml"), `I send a message from "alice" to "carol" via 587`, `"carol" receives it over IMAP within 5s`)
}

// TestMaildir sees Dovecot's delivery in the Maildir itself, and is told why not where it may not look.
func TestMaildir(t *testing.T) {
	s := need(t)
	logs(t, "postfix", "dovecot")
	dir := filepath.Join(s.Dir, "mail", stack.Bob, "Maildir")
	send := `I send a message from "alice" to "bob" via 587`
	passes(t, filepath.Join(s.Dir, "stepwatch.yml"), send, `it is in the Maildir "`+dir+`" within 10s`, `"bob" receives it over IMAP within 10s`)
	config := altered(t, func(c *stack.Config) { c.Account(stack.Bob).Maildir, c.Account(stack.Bob).IMAP = dir, "" })
	passes(t, config, send, `"bob" receives it in the Maildir within 10s`)
	if left := testMail(t); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}

	unblock := blocked(t)
	read := `"bob" receives it in the Maildir within 1s`
	check(t, config, send+"\n"+read, outcome{read, "not_received", "queue"})
	if err := s.Postfix.Discard(t.Context()); err != nil {
		t.Fatal(err)
	}
	unblock()

	// A monitor that is not root, without the right to look.
	password := write(t, "password", s.Config.Account(stack.Alice).Password+"\n")
	config = altered(t, func(c *stack.Config) {
		c.Account(stack.Alice).PasswordFile = password
		c.Account(stack.Bob).Maildir = dir
	})
	feature := write(t, "maildir.feature", "Feature: F\n  Scenario: S\n    * "+send+"\n    * "+read+"\n")
	code, out := executeAs(t, 65534, stepwatch, "check", "--config", config, feature)
	if want := `permission denied: permit stepwatch's user to read and change it`; code != 3 || !strings.Contains(out, want) {
		t.Errorf("exit code %d, want 3 (UNKNOWN) and %q:\n%s", code, want, out)
	}
	arrived(t, stack.Bob, "", "X-Stepwatch-Run: ")
}

// TestExpectedMail looks for a message that another program sent, among ten thousand of the same day.
func TestExpectedMail(t *testing.T) {
	s := need(t)
	logs(t, "dovecot")
	config := filepath.Join(s.Dir, "stepwatch.yml")
	table := "\n| Subject | ^disk report .* ok$ |"
	day := func(from, by time.Duration) string {
		now := time.Now().UTC()
		return `"ops" has received a message like this between ` + now.Add(from).Format("15:04") + " and " + now.Add(by).Format("15:04") + " in UTC" + table
	}
	lately := `"ops" has received a message like this in the last 1 hour` + table
	check(t, config, lately, outcome{`"ops" has`, "not_received", "target"})
	check(t, config, day(-2*time.Hour, -time.Hour), outcome{`"ops" has`, "not_received", "target"})
	submit(t, stack.Mail, s.Config.Account(stack.Ops).Address, "Subject: disk report of web1 ok")
	eventually(t, waitLimit, "it is there", func() bool { return len(mailbox(t, stack.Ops)) > 0 })
	if err := s.Fill(stack.Ops, 10_000, 500); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Empty(stack.Ops); err != nil {
			t.Error(err)
		}
	}()
	for range 2 { // without and with Dovecot's cache
		start := time.Now()
		passes(t, config, lately)
		t.Logf("among 10,000 messages it was found in %s", time.Since(start).Round(time.Millisecond))
	}
	passes(t, config, day(-time.Hour, time.Hour))
	check(t, config, day(-2*time.Hour, -time.Hour), outcome{`"ops" has`, "slow", "target"})
	arrived(t, stack.Ops, "", "Subject: disk report") // it stays
}
