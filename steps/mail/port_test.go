package mail_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

// TestPortsOfOtherProtocols has steps name a port of another protocol: that is the scenario's mistake, and said at once,
// by the port where such a server says nothing first, and otherwise by its greeting.
func TestPortsOfOtherProtocols(t *testing.T) {
	const (
		send  = `When I send a message from "alice" to "carol" via PORT`
		login = `When I try to log in as "alice" with a wrong password via PORT`
		relay = `When I try to send from "x@elsewhere.test" to "y@elsewhere.test" via "mail.demo.test:PORT"`
		tls   = `Then STARTTLS is offered at "mail.demo.test:PORT"`
		imap  = "When I send a message from \"alice\" to \"bob\" via 25\nThen \"bob\" receives it over IMAP via PORT within 1s"
		pop3  = "When I send a message from \"alice\" to \"bob\" via 25\nThen \"bob\" receives it over POP3 via PORT within 1s"
	)
	for _, test := range []struct{ text, port, greeting, want string }{
		{send, "993", "", `mail\.demo\.test:993: port 993 is for IMAP inside TLS, not for SMTP, so nothing was asked there: write 25, 587 or 465`},
		{login, "993", "", `.*port 993 is for IMAP inside TLS, not for SMTP, .*`},
		{login, "995", "", `.*port 995 is for POP3 inside TLS, not for SMTP, .*`},
		{relay, "995", "", `.*port 995 is for POP3 inside TLS, not for SMTP, .*`},
		{tls, "993", "", `.*port 993 is for IMAP inside TLS, not for SMTP, .*`},
		{send, "443", "", `.*port 443 is for HTTPS, not for SMTP, .*`},
		{send, "80", "", `.*port 80 is for HTTP, not for SMTP, .*`},
		{send, "636", "", `.*port 636 is for LDAPS, not for SMTP, .*`},
		{login, "143", "* OK [CAPABILITY IMAP4rev1] ready", `mail\.demo\.test:143 is a server of IMAP, not of SMTP: it greets with "\* OK \[CAPABILITY IMAP4rev1\] ready": write 25, 587 or 465`},
		{login, "110", "+OK ready", `mail\.demo\.test:110 is a server of POP3, not of SMTP: .*`},
		{login, "4190", `"IMPLEMENTATION" "Dovecot Pigeonhole"`, `mail\.demo\.test:4190 is a server of ManageSieve, not of SMTP: .*`},
		{relay, "22", "SSH-2.0-OpenSSH_9.2p1", `mail\.demo\.test:22 is a server of SSH, not of SMTP: .*`},
		{tls, "143", "* PREAUTH hello", `mail\.demo\.test:143 is a server of IMAP, not of SMTP: .*`},
		{imap, "995", "", `mail\.demo\.test:995: port 995 is for POP3 inside TLS, not for IMAP, so nothing was asked there: write 143 or 993`},
		{imap, "465", "", `.*port 465 is for SMTP inside TLS, not for IMAP, .*`},
		{imap, "110", "+OK ready", `mail\.demo\.test:110 is a server of POP3, not of IMAP: .*: write 143 or 993`},
		{imap, "587", "220 mail.demo.test ESMTP", `mail\.demo\.test:587 is a server of SMTP, not of IMAP: .*`},
		{pop3, "993", "", `mail\.demo\.test:993: port 993 is for IMAP inside TLS, not for POP3, so nothing was asked there: write 110 or 995`},
		{pop3, "143", "* OK ready", `mail\.demo\.test:143 is a server of IMAP, not of POP3: .*: write 110 or 995`},
	} {
		step := strings.Count(test.text, "\n")
		t.Run(strings.Fields(test.text)[2]+" "+strings.Fields(test.text)[len(strings.Fields(test.text))-3]+" "+test.port, func(t *testing.T) {
			script := "hang"
			if test.greeting != "" {
				script = "S: " + test.greeting + "\nhang"
			}
			bed := scripted(t, map[string]string{test.port: script, "25": takesMail})
			bed.Target.Accounts["bob"].POP3 = "mail.demo.test"
			bed.Target.Accounts["bob"].IMAP = "mail.demo.test"
			start := time.Now()
			outcome := bed.Run(t, 8*time.Second, strings.ReplaceAll(test.text, "PORT", test.port))
			check(t, outcome, step, result.ReasonScenario, result.BlameScenario, test.want)
			if took := time.Since(start); took > 4*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}

// On a port of SMTP a server of another protocol is a fault of the host.
func TestOtherProtocolOnAPortOfSMTP(t *testing.T) {
	bed := scripted(t, map[string]string{"25": "S: * OK ready\nhang"})
	fixture.FailedAs(t, bed.Run(t, 5*time.Second, `When I send a message from "alice" to "carol" via 25`),
		`protocol submission: the greeting at mail\.demo\.test:25: the answer is not an SMTP reply: "\* OK ready" does not begin with a code: is an SMTP server on that port\?`)
}

func TestReportsThatNobodyAskedFor(t *testing.T) {
	for _, test := range []struct{ report, notify, want string }{
		{"delivery confirmation", "", `does not say NOTIFY \(RFC 3461 section 4\.1\): add the row \| NOTIFY \| SUCCESS \| .*`},
		{"delivery confirmation", "FAILURE,DELAY", `says NOTIFY=FAILURE,DELAY \(RFC 3461 section 4\.1\): add the row \| NOTIFY \| SUCCESS \| .*`},
		{"bounce", "NEVER", `says NOTIFY=NEVER \(.*\): add the row \| NOTIFY \| FAILURE \| .*`},
		{"bounce", "SUCCESS", `says NOTIFY=SUCCESS \(.*\): add the row \| NOTIFY \| FAILURE \| .*`},
		{"delay notice", "SUCCESS,FAILURE", `says NOTIFY=SUCCESS,FAILURE \(.*\): add the row \| NOTIFY \| DELAY \| .*`},
	} {
		t.Run(test.report+" "+test.notify, func(t *testing.T) {
			bed := fixture.NewMailbed(t, stepstest.MailOptions{DSN: true})
			text := `When I send a message from "alice" to "bob" via 587`
			if test.notify != "" {
				text += "\n| NOTIFY | " + test.notify + " |"
			}
			start := time.Now()
			outcome := bed.Run(t, 10*time.Second, text+"\nThen \"alice\" receives a "+test.report+" within 5s")
			check(t, outcome, 1, result.ReasonScenario, result.BlameScenario, `no server reports that on the message to bob@demo\.test, because its envelope `+test.want)
			if took := time.Since(start); took > 3*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}

// TestRelayingBeforeTheRecipient has servers refuse before they know the recipient, or for a time: that does not say whether
// they relay.
func TestRelayingBeforeTheRecipient(t *testing.T) {
	const text = `When I try to send from "x@elsewhere.test" to "y@REST.test" via "mail.demo.test:25"
		Then relaying is refused`
	for _, test := range []struct{ name, greeting, mail, rcpt, domain, want string }{
		{"sendmail cannot resolve the sender", "220 mail.demo.test ESMTP Sendmail 8.17", "451 4.1.8 Domain of sender address x@elsewhere.test does not resolve", "", "elsewhere",
			`unexpected scenario: whether mail\.demo\.test:25 relays is unknown: it refused the message from <x@elsewhere\.test> to <y@elsewhere\.test> at MAIL with 451 4\.1\.8 Domain of .* does not resolve, before it knew the recipient: use a sender .*`},
		{"refused at MAIL for good", "220 mail.demo.test ESMTP", "553 5.1.8 Domain of sender address does not exist", "", "elsewhere", `unexpected scenario: whether .* at MAIL with 553 .*`},
		{"a limit at MAIL", "220 mail.demo.test ESMTP", "452 4.3.1 try later", "", "elsewhere", `unexpected scenario: whether .* at MAIL with 452 .*`},
		{"turned away", "554 5.7.1 no mail from you", "", "", "elsewhere", `unexpected scenario: whether .* at greeting with 554 .*: run it from an address that the server talks to`},
		{"greylisting", "220 mail.demo.test ESMTP", "250 ok", "451 4.7.1 Greylisted", "elsewhere",
			`deferred scenario: whether mail\.demo\.test:25 relays is unknown: it deferred .* at RCPT with 451 4\.7\.1 Greylisted, which does not mention relaying, .*`},
		{"the sender's domain at RCPT", "220 mail.demo.test ESMTP", "250 ok", "450 4.1.8 <x@elsewhere.test>: Sender address rejected: Domain not found", "elsewhere", `deferred scenario: whether .* at RCPT with 450 .*`},
		{"OpenSMTPD", "220 mail.demo.test ESMTP OpenSMTPD", "250 ok", "550 Invalid recipient: <y@elsewhere.test>", "elsewhere", ""},
		{"OpenSMTPD, an account's domain", "220 mail.demo.test ESMTP OpenSMTPD", "250 ok", "550 Invalid recipient: <y@demo.test>", "demo", `unexpected scenario: .* an open relay may answer the same.*`},
		{"another server with the words of OpenSMTPD", "220 mail.demo.test ESMTP", "250 ok", "550 Invalid recipient: <y@elsewhere.test>", "elsewhere", `unexpected scenario: .* an open relay may answer the same.*`},
		{"Postfix defers", "220 mail.demo.test ESMTP", "250 ok", "454 4.7.1 <y@elsewhere.test>: Relay access denied", "elsewhere", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			script := "S: " + test.greeting + "\nC: "
			if strings.HasPrefix(test.greeting, "220") {
				script += "EHLO\nS: 250 mail.demo.test\nC: MAIL\nS: " + test.mail + "\nC: "
			}
			if test.rcpt != "" {
				script += "RCPT\nS: " + test.rcpt + "\nC: "
			}
			bed := scripted(t, map[string]string{"25": script + "QUIT\nS: 221 bye"})
			outcome := bed.Run(t, 5*time.Second, strings.ReplaceAll(text, "REST", test.domain))
			if test.want == "" {
				fixture.Passed(t, outcome)
				return
			}
			fixture.FailedAs(t, outcome, test.want)
		})
	}
}
