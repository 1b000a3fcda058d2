package mail_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

func TestSASL(t *testing.T) {
	bed := fixture.NewMailbed(t, stepstest.MailOptions{})
	for mechanism, refused := range map[string]string{
		"PLAIN": `is the password of account "alice" still right\?`, "LOGIN": `is the password of account "alice" still right\?`,
		"CRAM-MD5":    `is the password of account "alice" still right\?`,
		"SCRAM-SHA-1": `is the password of account "alice" still right\?`, "scram-sha-256": `is the password of account "alice" still right\?`,
		"XOAUTH2":     `is the access token of account "alice" still valid\?`,
		"OAUTHBEARER": `is the access token of account "alice" still valid\?`,
	} {
		t.Run(mechanism, func(t *testing.T) {
			text := `When I send a message from "alice" to "bob" via 587 with AUTH ` + mechanism
			bed.Target.Accounts["alice"].Password = "alice"
			fixture.Passed(t, bed.Run(t, 10*time.Second, text+"\n"+`Then "bob" receives it over IMAP within 5s`))
			bed.Target.Accounts["alice"].Password = "wrong"
			outcome := bed.Run(t, 10*time.Second, text)
			detail := ""
			if strings.Contains(mechanism, "OAUTH") {
				detail = ` \(\{"status":"invalid_token"\}\)`
			}
			fixture.FailedAs(t, outcome, `auth submission: mail\.demo\.test:587 refused AUTH `+strings.ToUpper(mechanism)+
				` as "alice@demo\.test": 535 5\.7\.8 Authentication failed`+detail+`: `+refused)
			for _, evidence := range outcome.Steps[0].Report.Evidence {
				if strings.Contains(string(evidence.Body), "nonsense") {
					t.Errorf("the password is in the evidence: %s", evidence.Body)
				}
			}
		})
	}
}

// An account with an access token needs no extra words in the sentence, for sending or for reading.
func TestToken(t *testing.T) {
	bed := fixture.NewMailbed(t, stepstest.MailOptions{})
	bed.Target.Accounts["alice"].Token, bed.Target.Accounts["bob"].Token = true, true
	outcome := bed.Run(t, 10*time.Second, roundTrip)
	fixture.Passed(t, outcome)
	if n := bed.Mailbox("bob"); n != 0 {
		t.Errorf("%d messages left behind", n)
	}
	fixture.FailedAs(t, bed.Run(t, 5*time.Second, `When I send a message from "alice" to "bob" via 587
		Then "bob" receives it over POP3 within 1s`),
		`config scenario: account "bob" has an access token, but POP3 needs a password: set accounts\.bob\.password in stepwatch\.yml instead`)
	// {"exp":1767323045}
	bed.Secrets["wrong"] = "e30.eyJleHAiOjE3NjczMjMwNDV9.c2ln"
	bed.Target.Accounts["bob"].Password = "wrong"
	outcome = bed.Run(t, 10*time.Second, roundTrip)
	outcome.Close = nil // nobody can open the mailbox, so the message stays in it
	fixture.FailedAs(t, outcome,
		`auth access: mail\.demo\.test:993 refused the login of "bob@demo\.test": NO \[AUTHENTICATIONFAILED\] .*: is the access token of account "bob" still valid\? It expired at 2026-01-02 03:04:05 UTC`)
	bed.Target.Accounts["alice"].Password = "wrong"
	fixture.FailedAs(t, bed.Run(t, 5*time.Second, roundTrip), `auth submission: mail\.demo\.test:587 refused AUTH OAUTHBEARER as "alice@demo\.test": 535 5\.7\.8 .*: is the access token of account "alice" still valid\? It expired at 2026-01-02 03:04:05 UTC`)
}

// A server without such a mechanism is named, and gets no token.
func TestTokenNotTaken(t *testing.T) {
	bed := scripted(t, map[string]string{"465": "TLS\nS: 220 hi\nC: EHLO\nS: 250-hi\nS: 250 AUTH PLAIN\nC: QUIT\nS: 221 bye",
		"993": "TLS\nS: * OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hi\nhang"})
	bed.Target.Accounts["alice"].Token, bed.Target.Accounts["bob"].Token = true, true
	fixture.FailedAs(t, bed.Run(t, 5*time.Second, `When I send a message from "alice" to "carol" via 465`),
		`auth submission: mail\.demo\.test:465 does not offer AUTH OAUTHBEARER or XOAUTH2: it offers PLAIN`)
	fixture.FailedAs(t, bed.Run(t, 5*time.Second, `Then the mailbox of "bob" is less than 90 % full`),
		`auth access: mail\.demo\.test:993 allows no login with an access token: it has no AUTH=OAUTHBEARER and no AUTH=XOAUTH2`)
}

// An access token of two thousand bytes does not fit into the command and follows it.
func TestSASLLongToken(t *testing.T) {
	token := strings.Repeat("t0ken", 400)
	bed := scripted(t, map[string]string{"465": hello("XOAUTH2") + `
		C: AUTH XOAUTH2` + "\r" + `
		S: 334
		C: dXNlcj1hbGljZQFhdXRoPUJlYXJlciB0MGtlb
		S: 235 2.7.0 ok
		C: MAIL FROM:<alice@demo.test>
		S: 550 5.7.1 no
		C: QUIT
		S: 221 bye`})
	bed.Secrets["alice"] = token
	fixture.FailedAs(t, bed.Run(t, 5*time.Second, `When I send a message from "alice" to "carol" via 465 with AUTH XOAUTH2`),
		`refused submission: mail\.demo\.test:465 refused MAIL FROM:<alice@demo\.test>: 550 5\.7\.1 no .*`)
}

// hello is a dialogue on port 465 until AUTH, with one mechanism.
func hello(mechanism string) string {
	return "TLS\nS: 220 mail.demo.test ESMTP\nC: EHLO\nS: 250-mail.demo.test\nS: 250 AUTH " + mechanism
}

func TestSASLHostileServer(t *testing.T) {
	for _, test := range []struct{ name, mechanism, script, want string }{ // with too_large for the limits, which the tests of limits name: scramLimit, authChallengesLimit
		{"iterations without end", "SCRAM-SHA-256", `
			C: AUTH SCRAM-SHA-256 
			S: 334 cj14LHM9YWJjZCxpPTk5OTk5OTk5OTk=
			C: *
			S: 501 cancelled
			C: QUIT
			S: 221 bye`, `the challenge of SCRAM has 9999999999 iterations, the limit is 600000`},
		{"another nonce", "SCRAM-SHA-1", `
			C: AUTH SCRAM-SHA-1 
			S: 334 cj14LHM9YWJjZCxpPTQwOTY=
			C: *
			S: 501 cancelled
			C: QUIT
			S: 221 bye`, `the server's challenge cannot be answered: SCRAM: .*`},
		{"no proof", "SCRAM-SHA-256", `
			C: AUTH SCRAM-SHA-256 
			S: 235 2.7.0 welcome, whoever you are
			C: QUIT
			S: 221 bye`, `the server's challenge cannot be answered: the server accepted the login but did not prove that it knows the password \(SCRAM\)`},
		{"an empty challenge", "CRAM-MD5", `
			C: AUTH CRAM-MD5
			S: 334
			C: *
			S: 501 cancelled
			C: QUIT
			S: 221 bye`, `the server's challenge cannot be answered: CRAM-MD5 has exactly one challenge, which is not empty`},
		{"questions without end", "OAUTHBEARER", `
			C: AUTH OAUTHBEARER 
			` + strings.Repeat("S: 334 e30=\nC: AQ==\n", 10) + "S: 334 e30=", `the login has more than 10 challenges, the limit`},
	} {
		t.Run(test.name, func(t *testing.T) {
			bed := scripted(t, map[string]string{"465": hello(test.mechanism) + test.script})
			reason := "auth"
			if strings.Contains(test.want, "limit") {
				reason = "too_large"
			}
			fixture.FailedAs(t, bed.Run(t, 5*time.Second, fmt.Sprintf(`When I send a message from "alice" to "carol" via 465 with AUTH %s`, test.mechanism)),
				reason+` submission: AUTH `+test.mechanism+` at mail\.demo\.test:465: `+test.want)
		})
	}
}
