package mail_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

type refusal struct {
	name, text string
	fault      stepstest.Fault // of a server that accepts what it should refuse
	want       string          // the reason, the blame and the message with the fault
}

// refusals are scenarios that pass against a correct server, and the failure of each with the fault.
var refusals = []refusal{
	{"relay", `When I try to send from "x@elsewhere.test" to "y@elsewhere.test" via "mail.demo.test:25"
		Then it is refused
		And relaying is refused
		And it is refused with 554
		And it is refused with 5.7.1
		And it is refused at RCPT
		And it is refused at rcpt with 554`, stepstest.FaultOpenRelay,
		`unexpected submission: mail\.demo\.test:25 accepted the message from <x@elsewhere\.test> to <y@elsewhere\.test> \(250 2\.0\.0 Ok: queued as \w+\), wanted it refused: ` +
			`it accepts mail from strangers to an address of no account, so unless that is in its own domain it is an open relay, and the message is on its way and cannot be removed`},
	{"unknown mailbox", `When I try to send a message from "alice" to the address "nobody@demo.test" via 587
		Then it is refused at RCPT with 550
		And it is refused with 5.1.1`, stepstest.FaultOpenRelay,
		`unexpected submission: mail\.demo\.test:587 accepted the message from <alice@demo\.test> to <nobody@demo\.test> \(250 .*\), wanted it refused at RCPT with 550: a bounce of it may come to alice@demo\.test, .*`},
	{"unknown mailbox by account", `When I try to send a message from "alice" to an unknown mailbox in the domain of "bob" via 587
		Then it is refused at RCPT with 550`, stepstest.FaultOpenRelay,
		`unexpected submission: mail\.demo\.test:587 accepted the message from <alice@demo\.test> to <no-such-mailbox-[0-9a-f]{12}@demo\.test> \(250 .*\), wanted it refused at RCPT with 550: a bounce of it may come to alice@demo\.test, .*`},
	{"forged account", `When I try to send a message from "alice" as "bob" to "bob" via 587
		Then it is refused with 5.7.1`, stepstest.FaultForgedSender,
		`unexpected submission: mail\.demo\.test:587 accepted the message from <bob@demo\.test> to <bob@demo\.test> \(250 .*\), wanted it refused with 5\.7\.1: anybody with a login there can send in another's name`},
	{"forged sender", `When I try to send a message from "alice" as "bob@demo.test" to "bob" via 587
		Then it is refused with 553`, stepstest.FaultForgedSender,
		`unexpected submission: mail\.demo\.test:587 accepted the message from <bob@demo\.test> to <bob@demo\.test> \(250 .*\), wanted it refused with 553: anybody with a login there can send in another's name`},
	{"no login", `When I try to send a message from "alice" to "bob" via 465 without logging in
		Then it is refused at MAIL with 530`, stepstest.FaultOpenRelay,
		`unexpected submission: mail\.demo\.test:465 accepted .*, wanted it refused at MAIL with 530: it accepts mail without a login`},
	{"wrong password", `When I try to log in as "alice" with a wrong password via 587
		Then it is refused at AUTH
		And it is refused with 535`, stepstest.FaultAnyPassword,
		`unexpected submission: mail\.demo\.test:587 accepted the login as "alice@demo\.test" with a wrong password \(235\), wanted it refused at AUTH: anybody can log in there`},
	{"too big", `When I try to send a message of 11 MB from "alice" to "bob" via 587
		Then it is refused at MAIL with 552`, "", ``},
	{"spam", `When I try to send a message from "alice" to "bob" via 587
		Then it is refused at message with 554`, "-" + stepstest.FaultRejectMessage,
		`unexpected submission: mail\.demo\.test:587 accepted the message from <alice@demo\.test> to <bob@demo\.test> \(250 .*\), wanted it refused at message with 554`},
	{"deferred", `When I try to send a message from "alice" to "bob" via 587
		Then it is refused at RCPT with 450`, "-" + stepstest.FaultGreylist,
		`unexpected submission: .* wanted it refused at RCPT with 450`},
}

func TestRefusalsPassAndFail(t *testing.T) {
	bed := fixture.NewMailbed(t, stepstest.MailOptions{})
	for _, test := range refusals {
		t.Run(test.name, func(t *testing.T) {
			// A "-" marks the behaviour of a correct server.
			right, wrong := []stepstest.Fault(nil), []stepstest.Fault{test.fault}
			if fault, inverse := strings.CutPrefix(string(test.fault), "-"); inverse {
				right, wrong = []stepstest.Fault{stepstest.Fault(fault)}, nil
			}
			if err := bed.Break(right...); err != nil {
				t.Fatal(err)
			}
			fixture.Passed(t, bed.Run(t, 10*time.Second, test.text))
			if test.want != "" {
				if err := bed.Break(wrong...); err != nil {
					t.Fatal(err)
				}
				fixture.FailedAs(t, bed.Run(t, 10*time.Second, test.text), test.want)
			}
			if n := bed.Mailbox("alice") + bed.Mailbox("bob"); n != 0 {
				t.Errorf("%d messages left behind", n)
			}
		})
	}
}

func TestRefusalsAreJudged(t *testing.T) {
	bed := fixture.NewMailbed(t, stepstest.MailOptions{})
	const try, relay = `When I try to send a message from "alice" to "bob" via 587`, `When I try to send from "x@elsewhere.test" to "y@elsewhere.test" via "mail.demo.test:25"`
	for _, test := range []struct {
		name, text string
		fault      stepstest.Fault
		want       string
	}{
		{name: "accepted", text: try + "\nThen it is not refused\nAnd it is accepted\nAnd \"bob\" receives it over IMAP within 5s"},
		{name: "of a size", text: "When I try to send a message of 300 KB from \"alice\" to \"bob\" via 587\nThen it is accepted within 5s"},
		{name: "to an account's address", text: "When I try to send from \"alice@demo.test\" to \"BOB@demo.test\" via \"mail.demo.test:25\"\nThen it is accepted"},
		{name: "forgotten by the next message", text: relay + "\nThen it is refused\nWhen I send a message from \"alice\" to \"bob\" via 587\nThen it is accepted"},
		{name: "not accepted", text: relay + "\nThen it is accepted",
			want: `refused submission: mail\.demo\.test:25 refused RCPT TO:<y@elsewhere\.test>: 554 5\.7\.1 <y@elsewhere\.test>: relay access denied \(.*\)`},
		{name: "another code", text: relay + "\nThen it is refused with 550",
			want: `unexpected submission: mail\.demo\.test:25 refused the message from <x@elsewhere\.test> to <y@elsewhere\.test> at RCPT with 554 5\.7\.1 .*, wanted it refused with 550`},
		{name: "another verb", text: relay + "\nThen it is refused at MAIL with 554", want: `unexpected submission: .* at RCPT with 554 .*, wanted it refused at MAIL with 554`},
		{name: "deferred", text: try + "\nThen it is refused", fault: stepstest.FaultGreylist,
			want: `deferred submission: mail\.demo\.test:587 deferred the message from <alice@demo\.test> to <bob@demo\.test> at RCPT with 450 4\.2\.0 .*, wanted it refused permanently: if that answer is correct, write "it is refused with 450"`},
		{name: "relaying accepted", text: relay + "\nThen relaying is refused", fault: stepstest.FaultOpenRelay,
			want: `unexpected submission: mail\.demo\.test:25 accepted the message from <x@elsewhere\.test> to <y@elsewhere\.test> \(250 .*\), wanted it refused: .* open relay, .*`},
		{name: "refused, not for relaying", text: "When I try to send a message from \"alice\" to the address \"nobody@demo.test\" via 587\nThen relaying is refused",
			want: `unexpected scenario: mail\.demo\.test:587 refused the message from <alice@demo\.test> to <nobody@demo\.test> at RCPT with 550 5\.1\.1 .*, ` +
				`which does not mention relaying, and an open relay may answer the same: use a sender .*`},
		{name: "no such verb", text: relay + "\nThen it is refused at HELO", want: `scenario scenario: no server refuses at "HELO": write greeting, EHLO, .*`},
		{name: "nothing tried", text: "Then it is refused", want: `scenario scenario: nothing was tried before this step: .*`},
		{name: "no answer", text: try, fault: stepstest.FaultCertExpired, want: `certificate_expired submission: .*`},
		{name: "no host and port", text: `When I try to send from "x@elsewhere.test" to "y@elsewhere.test" via "mail.demo.test"`,
			want: `scenario scenario: "mail\.demo\.test" is not a host and port: write it as "mail\.example\.org:25"`},
		{name: "no address", text: `When I try to send from "x@elsewhere.test" to "y @elsewhere.test" via "mail.demo.test:25"`, want: `scenario scenario: "y @elsewhere\.test" is not a mail address: .*`},
		{name: "no size", text: `When I try to send a message of 2 GB from "alice" to "bob" via 587`, want: `scenario scenario: "2 GB" is not a size from 1 B to 1 GB`},
		{name: "too small a size", text: `When I try to send a message of 10 B from "alice" to "bob" via 587`, want: `scenario scenario: a message of 10 bytes is not possible: .*`},
		{name: "offers", text: `Then STARTTLS is offered at "mail.demo.test:25"
			And AUTH is not offered before TLS at "mail.demo.test:587"
			And AUTH is offered after TLS at "mail.demo.test:587"
			And AUTH is offered after TLS at "alice:465"`},
		{name: "AUTH after TLS", text: `Then AUTH is not offered after TLS at "mail.demo.test:25"`,
			want: `auth submission: mail\.demo\.test:25 offers AUTH inside TLS \(PLAIN LOGIN .*\): it must not be offered there`},
		{name: "STARTTLS inside TLS", text: `Then STARTTLS is offered at "mail.demo.test:465"`, want: `scenario scenario: port 465 is TLS from its first byte: .*`},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := bed.Break(test.fault); err != nil {
				t.Fatal(err)
			}
			outcome := bed.Run(t, 10*time.Second, test.text)
			if test.want == "" {
				fixture.Passed(t, outcome)
			} else {
				fixture.FailedAs(t, outcome, test.want)
			}
			if n := bed.Mailbox("alice") + bed.Mailbox("bob"); n != 0 {
				t.Errorf("%d messages left behind", n)
			}
		})
	}
}

// Postfix refuses to relay with 454 by default, and that counts as a refusal.
func TestRelayRefusedByPostfixDefault(t *testing.T) {
	bed := scripted(t, map[string]string{"25": `
		S: 220 mail.demo.test ESMTP
		C: EHLO
		S: 250-mail.demo.test
		S: 250 AUTH PLAIN
		C: MAIL FROM:<x@elsewhere.test>
		S: 250 ok
		C: RCPT TO:<y@elsewhere.test>
		S: 454 4.7.1 <y@elsewhere.test>: Relay access denied
		C: QUIT
		S: 221 bye`})
	fixture.Passed(t, bed.Run(t, 5*time.Second, `
		When I try to send from "x@elsewhere.test" to "y@elsewhere.test" via "mail.demo.test:25"
		Then it is refused
		And it is refused at RCPT with 4.7.1`))
}

func TestAuthInClearIsFound(t *testing.T) {
	bed := scripted(t, map[string]string{"25": `
		S: 220 mail.demo.test ESMTP
		C: EHLO
		S: 250-mail.demo.test
		S: 250 AUTH PLAIN
		C: QUIT
		S: 221 bye`})
	fixture.FailedAs(t, bed.Run(t, 5*time.Second, `Then AUTH is not offered before TLS at "mail.demo.test:25"`),
		`auth submission: mail\.demo\.test:25 offers AUTH before TLS \(PLAIN\): it must not be offered there`)
}

func TestAuthWithoutAMechanismPasses(t *testing.T) {
	bed := scripted(t, map[string]string{"25": `
		S: 220 mail.demo.test ESMTP
		C: EHLO
		S: 250-mail.demo.test
		S: 250-AUTH
		S: 250 SIZE 0
		C: QUIT
		S: 221 bye`})
	fixture.Passed(t, bed.Run(t, 5*time.Second, `Then AUTH is not offered before TLS at "mail.demo.test:25"`))
}

// A wrong password must not be the last thing that the server sees from an address.
func TestWrongPasswordIsMadeGood(t *testing.T) {
	bed := fixture.NewMailbed(t, stepstest.MailOptions{})
	fixture.Passed(t, bed.Run(t, 10*time.Second, refusals[slices.IndexFunc(refusals, func(r refusal) bool { return r.name == "wrong password" })].text))
	want := []string{"127.0.0.2 alice@demo.test refused", "127.0.0.2 alice@demo.test accepted"}
	if got := bed.Logins(); !slices.Equal(got, want) {
		t.Errorf("the logins are %q, want %q", got, want)
	}
}
