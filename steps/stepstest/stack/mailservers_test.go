//go:build linux

package stack_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps/stepstest/stack"
)

// ability is what every mail server does, with the steps or the shipped feature that show it.
type ability struct {
	name    string
	steps   string
	shipped string                                  // file of features/mail; empty when there are steps
	during  func(t *testing.T, m *stack.Mailserver) // starts what else happens meanwhile; nil for nothing
	says    string                                  // of the failure that is right; empty when it passes
	only    string                                  // a part of the names of the servers that do it; empty for all
	but     string                                  // a part of the names of the servers that do not; empty for none
	unknown bool                                    // whether UNKNOWN is right, too
	notes   string                                  // of the steps that pass
}

// abilityLimit limits the time of one ability: the longest wait is a minute, for Cyrus' next login over POP3.
const abilityLimit = 120 * time.Second

// pausing is the server that demands a minute between two logins over POP3 with STLS.
const pausing = "OpenSMTPD 7.4 and Cyrus"

var abilities = []ability{
	{name: "submission", shipped: "submission"},
	{name: "round trip", shipped: "round-trip"},
	{name: "content", shipped: "content"},
	{name: "bounce", shipped: "bounce"},
	{name: "MX", steps: `
		I send a message from "alice" directly to the MX of "bob" with verified TLS
		it is accepted within 5s
		"bob" receives it over IMAP within 20s`},
	{name: "AUTH PLAIN", steps: `
		I send a message from "alice" to "bob" via 587 with AUTH PLAIN
		"bob" receives it over IMAP via 143 within 20s`},
	{name: "AUTH LOGIN", steps: `
		I send a message from "alice" to "bob" via 465 with AUTH LOGIN
		"bob" receives it over IMAP via 993 within 20s`},
	{name: "POP3", steps: `
		I send a message from "alice" to "bob" via 587
		"bob" receives it over POP3 within 20s`},
	{name: "POP3 with STLS", but: pausing, steps: `
		I send a message from "alice" to "bob" via 587
		"bob" receives it over POP3 via 110 within 20s`},
	{name: "POP3 before the server allows the next login", only: pausing, notes: "because the server allowed no earlier login (LOGIN-DELAY)", steps: `
		I send a message from "alice" to "bob" via 587
		"bob" receives it over POP3 within 20s
		I send a message from "alice" to "bob" via 587
		"bob" receives it over POP3 via 110 within 5s`},
	{name: "same message by IMAP and POP3", steps: `
		I send a message from "alice" to "bob" via 587
		"bob" receives it over IMAP within 20s
		"bob" receives it over POP3 within 20s
		it is the same message each time`},
	{name: "hops", steps: `
		I send a message from "alice" to "bob" via 587
		"bob" receives it over IMAP within 20s
		every hop used TLS
		no hop took longer than 5s
		the queue held it for at most 5s
		it went through "HOST"
		it did not go through "mx2"`},
	{name: "state of the message", steps: `
		I send a message from "alice" to "bob" via 587
		"bob" receives it over IMAP within 20s
		it is in the inbox
		it is not in the spam folder
		it arrived once
		it is unread`},
	{name: "folder by its full name", during: filing, steps: `
		I send a message from "alice" to "bob" via 587
		"bob" receives it in the folder "PREFIXLists" over IMAP within 20s`},
	{name: "folder by the name that mail programs show", during: filing, steps: `
		I send a message from "alice" to "bob" via 587
		"bob" receives it in the folder "Lists" over IMAP within 20s`},
	{name: "delivery confirmation", steps: `
		I send a message from "alice" to "bob" via 587
		| NOTIFY | SUCCESS |
		"alice" receives a delivery confirmation within 20s
		"bob" receives it over IMAP within 20s`},
	{name: "relaying", steps: `
		I try to send from "stepwatch@elsewhere.invalid" to "stepwatch@example.invalid" via "alice:25"
		relaying is refused`},
	{name: "foreign sender without a login", steps: `
		I try to send from "stepwatch@elsewhere.invalid" to "stepwatch@example.invalid" via "alice:25"
		it is refused at RCPT`},
	{name: "offers of TLS", steps: `
		STARTTLS is offered at "alice:25"
		STARTTLS is offered at "alice:587"
		AUTH is not offered before TLS at "alice:587"
		AUTH is offered after TLS at "alice:465"`},
	{name: "delivery in the log", steps: `
		I send a message from "alice" to "bob" via 587
		"bob" receives it over IMAP within 20s
		the log of "server" shows it delivered within 5s`},
	{name: "each login in the log", only: "Dovecot", says: "2 users used", steps: `
		I send a message from "alice" to "bob" via 587
		"bob" receives it over IMAP within 20s
		I read the mail log of "server"
		nobody used the host "server" in the last 5m`},
	{name: "logins in the log", says: "users used", unknown: true, steps: `
		I send a message from "alice" to "bob" via 587
		"bob" receives it over IMAP within 20s
		I read the mail log of "server"
		nobody used the host "server" in the last 5m`},
	{name: "refused logins in the log", says: "refused", unknown: true, steps: `
		I try to log in as "alice" with a wrong password via 587
		I read the mail log of "server"
		fewer than 1 logins were refused in the last 5m`},
	{name: "rejected mail in the log", says: "rejected", unknown: true, steps: `
		I try to send a message from "alice" to an unknown mailbox in the domain of "bob" via 587
		I read the mail log of "server"
		fewer than 1 messages were rejected in the last 5m`},
	{name: "bounced mail in the log", says: "bounced", unknown: true, steps: `
		I try to send a message from "alice" to "gone" via 587
		"alice" receives a bounce within 10s
		I read the mail log of "server"
		less than 1% bounced in the last 5m`},
	{name: "TLS in the log", steps: `
		I send a message from "alice" to "bob" via 587
		"bob" receives it over IMAP within 20s
		I read the mail log of "server"
		at least 100% of incoming mail connections used TLS in the last 5m`},
	{name: "mailbox without a limit", says: "sets no limit for the mailbox of bob", steps: `
		the mailbox of "bob" is less than 99 % full`},
}

// TestMailservers has each mail server do what every mail server does.
func TestMailservers(t *testing.T) {
	s := need(t)
	before := mounts(t)
	t.Cleanup(func() {
		if after := mounts(t); after != before {
			t.Errorf("mounts before:\n%s\nafter:\n%s", before, after)
		}
	})
	for _, m := range s.Mailservers() {
		t.Run(m.Name, func(t *testing.T) {
			t.Parallel()
			begin(t, m)
			for _, a := range abilities {
				if !strings.Contains(m.Name, a.only) || a.but != "" && strings.Contains(m.Name, a.but) {
					continue
				}
				t.Run(a.name, func(t *testing.T) { able(t, m, a) })
			}
			t.Run("wrong password of a mailbox", func(t *testing.T) { wrongPassword(t, m) })
			if strings.Contains(m.Name, "OpenSMTPD") { // which can hold mail back; TestMailThatArrivesLate has Postfix and Dovecot
				t.Run("late mail", func(t *testing.T) { late(t, m) })
			}
		})
	}
}

// begin starts mail servers for the rest of the test, or skips it and says why.
func begin(t *testing.T, m *stack.Mailserver) {
	t.Helper()
	if err := m.Usable(); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() {
		if err := m.Stop(); err != nil {
			t.Error(err)
		}
	})
	for _, log := range m.Logs() {
		logs(t, filepath.Base(log))
	}
	if err := m.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func able(t *testing.T, m *stack.Mailserver, a ability) {
	var feature strings.Builder
	if a.shipped != "" {
		content := readLog(t, "../../../features/mail/"+a.shipped+".feature")
		feature.WriteString(strings.ReplaceAll(content, "within 60s", "within 10s"))
	} else {
		fmt.Fprintf(&feature, "@timeout:100s\nFeature: %s\n  Scenario: %[1]s\n", a.name)
		for line := range strings.Lines(strings.TrimSpace(a.steps)) {
			if line = strings.TrimSpace(line); !strings.HasPrefix(line, "|") { // a row belongs to the step above
				line = "* " + line
			}
			fmt.Fprintf(&feature, "    %s\n", line)
		}
	}
	path := write(t, "ability.feature", strings.NewReplacer("HOST", m.Host, "PREFIX", m.Prefix).Replace(feature.String()))
	if a.during != nil {
		a.during(t, m)
	}
	code, out := executeWithin(t, abilityLimit, 0, stepwatch, "run", "-v", "--config", m.ConfigFile(), path)
	const unknown = 3
	if passed := code == 0; passed != (a.says == "") || !strings.Contains(out, a.says) && !(a.unknown && code == unknown) {
		t.Errorf("exit code %d, wanted %q:\n%s", code, a.says, out)
	}
	if !strings.Contains(out, a.notes) {
		t.Errorf("the steps do not say %q:\n%s", a.notes, out)
	}
	left, err := m.Messages()
	if err != nil {
		t.Error(err)
	}
	if len(left) > 0 { // what comes after the end of its run is removed by the next one
		executeWithin(t, abilityLimit, 0, stepwatch, "run", "--config", m.ConfigFile(), path)
	}
	for _, message := range left {
		switch _, err := os.Stat(message); {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			t.Error(err)
		default:
			t.Errorf("left behind: %s:\n%s", message, readLog(t, message))
		}
	}
	if left, err = m.Messages(); err != nil {
		t.Error(err)
	}
	for _, message := range left { // not to be found by the next
		if err := os.Remove(message); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
	}
}

// wrongPassword tries a password that is not Bob's, by which his mailbox is at fault and not the way there. Courier answers
// it after seven seconds.
func wrongPassword(t *testing.T, m *stack.Mailserver) {
	c := m.Config()
	c.Account(stack.Bob).PasswordFile = write(t, "password", "not the password\n")
	config := filepath.Join(shared(t), "stepwatch.yml")
	if err := servers.WriteConfig(config, c); err != nil {
		t.Fatal(err)
	}
	for _, protocol := range []string{"IMAP", "POP3"} {
		read := `"bob" receives it over ` + protocol + ` within 15s`
		line := check(t, config, `I try to send a message from "alice" to "bob" via 587`+"\nit is not refused\n"+read, outcome{read, "auth", "access"})
		if !strings.Contains(line, `password of account "bob"`) {
			t.Errorf("what to mend is missing: %s", line)
		}
	}
	passes(t, m.ConfigFile(), `I send a message from "alice" to "bob" via 587`, `"bob" receives it over IMAP within 20s`) // sweeps the others
}

// late holds a message back for longer than most arrive in. It is noticed soon after, though Courier and Cyrus announce IDLE
// and look for new messages once a minute.
func late(t *testing.T, m *stack.Mailserver) {
	const held, soon = 6 * time.Second, time.Second
	must(t, m.Smtpctl(), "pause", "mda")
	resumed := make(chan string, 1)
	go func() {
		time.Sleep(held)
		_, out := execute(t, m.Smtpctl(), "resume", "mda")
		resumed <- out
	}()
	out := passes(t, m.ConfigFile(), `I send a message from "alice" to "bob" via 587`, `"bob" receives it over IMAP within 20s`)
	<-resumed
	took := regexp.MustCompile(`receives it over IMAP within 20s +([0-9.]+) s`).FindStringSubmatch(out)
	if took == nil {
		t.Fatalf("no time of the step:\n%s", out)
	}
	if seconds, err := time.ParseDuration(took[1] + "s"); err != nil || seconds < held/2 || seconds > held+soon { // sending is a part of the hold
		t.Errorf("it took %s, and the mail was held for %s:\n%s", seconds, held, out)
	}
}

// filing moves the next message of Bob's inbox to the folder Lists, as the filter of a mail program does.
func filing(t *testing.T, m *stack.Mailserver) {
	t.Helper()
	moved := make(chan error, 1)
	go func() { moved <- file(t, m) }()
	t.Cleanup(func() {
		if err := <-moved; err != nil {
			t.Error(err)
		}
	})
}

func file(t *testing.T, m *stack.Mailserver) error {
	conn, err := (&tls.Dialer{Config: trusting(t, m.Host)}).DialContext(t.Context(), "tcp", m.Host+":993")
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return err
	}
	lines := bufio.NewScanner(conn)
	do := func(command string) (answer string, err error) {
		if _, err := fmt.Fprintf(conn, "a %s\r\n", command); err != nil {
			return "", err
		}
		for lines.Scan() {
			answer += lines.Text() + "\n"
			if strings.HasPrefix(lines.Text(), "a ") {
				return answer, nil
			}
		}
		return answer, fmt.Errorf("no answer to %s: %w", command, lines.Err())
	}
	bob := m.Accounts[1]
	for _, command := range []string{"LOGIN " + bob.Address + " " + bob.Password, "CREATE " + m.Prefix + "Lists"} { // which may be there
		if _, err := do(command); err != nil {
			return err
		}
	}
	for answer := ""; !strings.Contains(answer, " EXISTS") || strings.Contains(answer, "* 0 EXISTS"); time.Sleep(20 * time.Millisecond) {
		if answer, err = do("SELECT INBOX"); err != nil {
			return err
		}
	}
	for _, command := range []string{"COPY 1 " + m.Prefix + "Lists", `STORE 1 +FLAGS.SILENT (\Deleted)`, "EXPUNGE", "LOGOUT"} {
		answer, err := do(command)
		if err != nil || !strings.Contains(answer, "a OK") {
			return fmt.Errorf("%s: %w %s", command, err, answer)
		}
	}
	return nil
}

// TestOpenSMTPDQueue stops OpenSMTPD's deliveries, so that its queue holds two messages, and has smtpctl suspend one.
func TestOpenSMTPDQueue(t *testing.T) {
	m := need(t).Mailserver(stack.CourierHost)
	begin(t, m)
	config := write(t, "stepwatch.yml", fmt.Sprintf("%s\n", strings.Replace(readLog(t, m.ConfigFile()), "hosts:\n",
		fmt.Sprintf("hosts:\n  mx1: {queue: {opensmtpd: %s}}\n", m.Smtpctl()), 1)))
	read := `I read the mail queue of "mx1"`
	passes(t, config, read, `it holds fewer than 1 messages`, `nothing is on hold`)

	must(t, m.Smtpctl(), "pause", "mda")
	for _, to := range []string{"alice", "bob", "bob"} {
		passes(t, config, `I try to send a message from "alice" to "`+to+`" via 587`, `it is not refused`)
	}
	envelopes := strings.Split(strings.TrimSpace(must(t, m.Smtpctl(), "show", "queue")), "\n")
	id, _, _ := strings.Cut(envelopes[0], "|")
	must(t, m.Smtpctl(), "pause", "envelope", id)
	out := passes(t, config, read, `it holds fewer than 4 messages`, `the pending queue holds fewer than 3 messages`, `the suspended queue holds fewer than 2 messages`,
		`the oldest message is younger than 1 minute`, `fewer than 4 messages wait for "`+m.Host+`"`)
	for _, want := range []string{"3 messages: pending 2, suspended 1", "3 wait for " + m.Host, "the server warns: MDA paused"} {
		if !strings.Contains(out, want) {
			t.Errorf("want %q:\n%s", want, out)
		}
	}
	check(t, config, read+"\nnothing is on hold", outcome{"nothing is on hold", "unexpected", "queue"})

	must(t, m.Smtpctl(), "remove", "all")
	if err := m.Halt("opensmtpd"); err != nil {
		t.Fatal(err)
	}
	if line := check(t, config, read, outcome{read, "connect", "queue"}); !strings.Contains(line, "OpenSMTPD is down") {
		t.Errorf("a queue that nobody works at is said to be %s", line)
	}
}
