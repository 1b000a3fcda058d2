package mail_test

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

const roundTrip = `
	Given the accounts "alice" and "bob"
	When I send a message from "alice" to "bob" via 587
	Then it is accepted within 5s
	And "bob" receives it over IMAP within 5s`

func TestMailPasses(t *testing.T) {
	bed := fixture.NewMailbed(t, stepstest.MailOptions{})
	for name, text := range map[string]string{
		"587":          roundTrip,
		"465":          strings.ReplaceAll(roundTrip, "via 587", "via 465"),
		"25":           strings.ReplaceAll(roundTrip, "via 587", "via 25"),
		"PLAIN":        strings.ReplaceAll(roundTrip, "via 587", "via 587 with AUTH PLAIN"),
		"LOGIN":        strings.ReplaceAll(roundTrip, "via 587", "via 465 with AUTH LOGIN"),
		"LOGIN on 25":  strings.ReplaceAll(roundTrip, "via 587", "via 25 with AUTH login"),
		"143":          strings.ReplaceAll(roundTrip, "IMAP within", "IMAP via 143 within"),
		"993":          strings.ReplaceAll(roundTrip, "IMAP within", "IMAP via 993 within"),
		"both ways in": roundTrip + "\n" + `And "bob" receives it over IMAP via 143 within 5s`,
		"no reader":    `When I send a message from "alice" to "bob" via 587`,
		"to itself": `When I send a message from "bob" to "bob" via 587
			Then "bob" receives it over IMAP within 5s`,
		"two messages": `
			When I send a message from "alice" to "bob" via 587
			And I send a message from "alice" to "bob" via 587
			Then "bob" receives it over IMAP within 5s
			And it is accepted`,
		"two readers": `
			Given the account "alice"
			When I send a message from "alice" to "bob" via 587
			Then "bob" receives it over IMAP within 5s
			When I send a message from "bob" to "alice" via 465
			Then "alice" receives it over IMAP within 5s`,
	} {
		t.Run(name, func(t *testing.T) {
			fixture.Passed(t, bed.Run(t, 10*time.Second, text))
			if n := bed.Mailbox("alice") + bed.Mailbox("bob"); n != 0 {
				t.Errorf("%d messages left behind", n)
			}
		})
	}
}

// Each phase appears once, in the order of the dialogue, with the server's own words.
func TestMailPhases(t *testing.T) {
	bed := fixture.NewMailbed(t, stepstest.MailOptions{})
	outcome := bed.Run(t, 5*time.Second, roundTrip)
	fixture.Passed(t, outcome)
	got := ""
	for _, step := range outcome.Steps {
		for _, p := range step.Report.Phases {
			got += p.Name + ": " + p.Note + "\n"
		}
	}
	got = regexp.MustCompile(`[0-9A-F]{10}`).ReplaceAllString(got, "QUEUEID")
	got = regexp.MustCompile(`UIDVALIDITY \d+`).ReplaceAllString(got, "UIDVALIDITY n")
	got = regexp.MustCompile(`Hello \S+ PIPELINING.*`).ReplaceAllString(got, "Hello …")
	got = regexp.MustCompile(`\[CAPABILITY [^]]*\]`).ReplaceAllString(got, "[CAPABILITY …]")
	want := `connect: 
banner: 220 mail.demo.test ESMTP Service Ready
ehlo: 250 Hello …
starttls: 220 2.0.0 Ready to start TLS
tls: 
ehlo_tls: 250 Hello …
auth: 235 2.0.0 Authentication succeeded
mail: 250 2.0.0 Roger, accepting mail from <alice@demo.test>
rcpt: 250 2.0.0 I'll make sure <bob@demo.test> gets this
data: 354 Go ahead. End your data with <CR><LF>.<CR><LF>
body: 250 2.0.0 Ok: queued as QUEUEID; queue id QUEUEID
quit: 221 2.0.0 Bye
mailbox_connect: 
mailbox_tls: 
mailbox_greeting: * OK [CAPABILITY …] IMAP server ready
mailbox_login: OK
mailbox_select: 0 messages, UIDNEXT 1, UIDVALIDITY n
`
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	measured := map[string]float64{}
	for _, m := range outcome.Steps[3].Report.Measurements {
		measured[m.Name] = m.Value
	}
	took := outcome.Steps[3].Duration.Seconds()
	if lag, found := measured["mail_detection_lag_seconds"]; !found || lag <= 0 || lag > took {
		t.Errorf("detection lag is %v, the step took %v", lag, took)
	}
	if delivery, found := measured["mail_delivery_seconds"]; !found || delivery <= 0 || delivery > took+1 {
		t.Errorf("delivery took %v", delivery)
	}
	if measured["tls_certificate_not_after_timestamp_seconds"] == 0 {
		t.Error("the certificate's end was not measured")
	}
}

// The received message, including the headers and the text of the step.
func TestMailMessage(t *testing.T) {
	bed := fixture.NewMailbed(t, stepstest.MailOptions{})
	fixture.Passed(t, bed.Run(t, 5*time.Second, `
		When I send a message from "alice" to "bob" via 587
			| Subject  | Grüße aus der Überwachung |
			| Reply-To | ops@demo.test |
			"""
			.a dot at the start
			.
			Ende.
			"""
		Then "bob" receives it over IMAP within 5s`))
	got := string(bed.Deliveries()[0].Message)
	for pattern, replacement := range map[string]string{
		`Date: .* [+-]\d{4}\r\n`:             "Date: now\r\n",
		`(Received: from ).*\r\n`:            "${1}…\r\n",
		`[A-Z2-7]{26}`:                       "RUN",
		`(X-Stepwatch-Origin: )[0-9a-f]{32}`: "${1}ORIGIN",
	} {
		got = regexp.MustCompile(pattern).ReplaceAllString(got, replacement)
	}
	want := strings.ReplaceAll(`Return-Path: <alice@demo.test>
Received: from …
Date: now
From: alice@demo.test
To: bob@demo.test
Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe_aus_der_=C3=9Cberwachung?=
Message-ID: <RUN.1@demo.test>
Auto-Submitted: auto-generated
X-Stepwatch-Run: RUN
X-Stepwatch-Origin: ORIGIN
X-Stepwatch-Message: 1
Reply-To: ops@demo.test
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 7bit

.a dot at the start
.
Ende.
`, "\n", "\r\n")
	if got != want {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
}

// Every fault ends in time, has its reason and blame, and leaves nothing behind.
func TestMailFaults(t *testing.T) {
	fixture.LeavesNothing(t)
	const noReader = `When I send a message from "alice" to "bob" via 587`
	const untilReceived = `
		When I send a message from "alice" to "bob" via 587
		Then "bob" receives it over IMAP within 300ms`
	for _, test := range []struct {
		name     string
		faults   []stepstest.Fault
		setup    func(*fixture.Mailbed)
		limit    time.Duration
		accepted time.Duration // the scenario's time is over this long after its message was accepted; 0 means that only limit counts
		text     string
		step     int // the failing step
		reason   result.Reason
		blame    result.Blame
		want     string // pattern of the whole message
		left     int    // messages in bob's mailbox afterwards
		close    string // pattern of what the World could not undo; empty means nothing
	}{
		{
			name: "never arrives", faults: []stepstest.Fault{stepstest.FaultDropMail}, text: untilReceived, step: 1,
			reason: result.ReasonNotReceived, blame: result.BlameQueue,
			want: `no message in bob's INBOX at mail\.demo\.test:993 after 0\.[3-9]\d\ds: mail\.demo\.test:587 accepted it as Q at \d\d:\d\d:\d\d\.\d\d\d UTC, ` +
				`nothing else came meanwhile; looked again in 2 folders: look for Q in the mail log and the queue there; submission 0\.\d{3}s → in transit for \d\.\d+s; nothing came back to alice@demo\.test in 2 folders: ask the operator of mail\.demo\.test:587`,
			close: `remove the test mail of bob: message 1 \(Q\) had not arrived in bob's INBOX at mail\.demo\.test:993 when the run ended: a later run removes it`,
		},
		{
			name: "never arrives, and nobody can be asked", faults: []stepstest.Fault{stepstest.FaultDropMail}, setup: func(b *fixture.Mailbed) { b.Target.Accounts["alice"].IMAP = "" },
			text: untilReceived, step: 1, reason: result.ReasonNotReceived, blame: result.BlameTarget,
			want:  `no message in bob's INBOX .*; whether it came back is unknown: no account can read alice@demo\.test over IMAP: ask the operator of mail\.demo\.test:587`,
			close: `remove the test mail of bob: message 1 \(Q\) had not arrived .*`,
		},
		{
			name: "arrives late", setup: func(b *fixture.Mailbed) { b.SetDelay(600 * time.Millisecond) }, text: untilReceived, step: 1,
			reason: result.ReasonNotReceived, blame: result.BlameQueue,
			want: `no message in bob's INBOX at mail\.demo\.test:993 after 0\.[3-9]\d\ds: mail\.demo\.test:587 accepted it as Q at \S+ UTC, ` +
				`nothing else came meanwhile; looked again in 2 folders: look for Q in the mail log and the queue there; submission 0\.\d{3}s → in transit for \d\.\d+s; nothing came back to alice@demo\.test in 2 folders: ask the operator of mail\.demo\.test:587`,
		},
		{
			name: "the scenario's time is over first", faults: []stepstest.Fault{stepstest.FaultDropMail}, limit: 20 * time.Second, accepted: 300 * time.Millisecond,
			text: strings.ReplaceAll(untilReceived, "300ms", "5s"), step: 1,
			reason: result.ReasonNotReceived, blame: result.BlameTarget,
			want:  `no message in bob's INBOX at mail\.demo\.test:993 after (?:0\.[2-9]|[1-4]\.\d)\d\ds: mail\.demo\.test:587 accepted it as Q at \S+ UTC, nothing else came meanwhile; whether it is there all the same is unknown, because a second look failed: no time was left: look for Q in the mail log and the queue there; submission 0\.\d{3}s → in transit for \d\.\d+s; whether it came back is unknown: no time was left to look: ask the operator of mail\.demo\.test:587`,
			close: `remove the test mail of bob: message 1 \(Q\) had not arrived .*`,
		},
		{
			name: "filed as spam", faults: []stepstest.Fault{stepstest.FaultJunk}, text: untilReceived, step: 1,
			reason: result.ReasonNotReceived, blame: result.BlameFiltering,
			want: `the message is in bob's folder "Junk" at mail\.demo\.test:993, not in the INBOX: a filter took it for spam; it was sent from alice@demo\.test and accepted by mail\.demo\.test:587`,
		},
		{
			name: "AUTH refused", faults: []stepstest.Fault{stepstest.FaultAuthRefused}, text: noReader,
			reason: result.ReasonAuth, blame: result.BlameSubmission,
			want: `mail\.demo\.test:587 refused AUTH PLAIN as .*`,
		},
		{
			name: "greylisting", faults: []stepstest.Fault{stepstest.FaultGreylist}, text: roundTrip, step: 1,
			reason: result.ReasonDeferred, blame: result.BlameSubmission,
			want: `mail\.demo\.test:587 deferred RCPT TO:<bob@demo\.test>: 450 4\.2\.0 <bob@demo\.test>: greylisted ` +
				`\(temporary: the same message may pass later; greylisting, a limit, or a service behind that server is down\)`,
		},
		{
			name: "recipient rejected", faults: []stepstest.Fault{stepstest.FaultRejectRecipient}, text: noReader,
			reason: result.ReasonRefused, blame: result.BlameSubmission,
			want: `mail\.demo\.test:587 refused RCPT TO:<bob@demo\.test>: 550 5\.1\.1 <bob@demo\.test>: user unknown \(it has no such mailbox\)`,
		},
		{
			name: "message rejected", faults: []stepstest.Fault{stepstest.FaultRejectMessage}, text: noReader,
			reason: result.ReasonRefused, blame: result.BlameSubmission,
			want: `mail\.demo\.test:587 refused the message: 554 5\.7\.1 message looks like spam \(its policy forbids it: relaying, the sender, or a content filter\)`,
		},
		{
			name: "connection dropped in DATA", faults: []stepstest.Fault{stepstest.FaultDropInData}, text: noReader,
			reason: result.ReasonDisconnected, blame: result.BlameSubmission,
			want:  `no answer to the message from mail\.demo\.test:587, which may have taken it: the server closed the connection`,
			close: `remove the test mail of bob: message 1 had not arrived .*`,
		},
		{
			name: "connection dropped after the dot", faults: []stepstest.Fault{stepstest.FaultDropAfterDot}, text: roundTrip, step: 1,
			reason: result.ReasonDisconnected, blame: result.BlameSubmission,
			want: `no answer to the message from mail\.demo\.test:587, which may have taken it: the server closed the connection`,
		},
		{
			name: "silent after the greeting", faults: []stepstest.Fault{stepstest.FaultSMTPSilent}, limit: 300 * time.Millisecond, text: noReader,
			reason: result.ReasonTimeout, blame: result.BlameSubmission,
			want: `EHLO at mail\.demo\.test:587: no answer before the deadline`,
		},
		{
			name: "wrong password", setup: func(b *fixture.Mailbed) { b.Target.Accounts["alice"].Password = "wrong" }, text: noReader,
			reason: result.ReasonAuth, blame: result.BlameSubmission,
			want: `mail\.demo\.test:587 refused AUTH PLAIN as "alice@demo\.test": 535 5\.7\.8 Authentication failed: is the password of account "alice" still right\?`,
		},
		{
			name: "port closed", setup: func(b *fixture.Mailbed) { b.Target.ConnectTo = map[string]string{"mail.demo.test:587": "127.0.0.1:1"} }, text: noReader,
			reason: result.ReasonConnect, blame: result.BlameSubmission,
			want: `connect to mail\.demo\.test:587 \(at 127\.0\.0\.1:1\): connection refused: nothing listens on that port`,
		},
		{
			name: "certificate expired", faults: []stepstest.Fault{stepstest.FaultCertExpired}, text: noReader,
			reason: result.ReasonCertExpired, blame: result.BlameSubmission,
			want: `TLS handshake with mail\.demo\.test: the certificate of "mail\.demo\.test" is valid from \S+ to \S+ \S+ UTC only`,
		},
		{
			name: "certificate of another host", faults: []stepstest.Fault{stepstest.FaultCertWrongHost}, text: strings.ReplaceAll(noReader, "587", "465"),
			reason: result.ReasonCertHost, blame: result.BlameSubmission,
			want: `TLS handshake with mail\.demo\.test: x509: certificate is valid for other\.demo\.test, not mail\.demo\.test`,
		},
		{
			name: "certificate of an unknown CA", faults: []stepstest.Fault{stepstest.FaultCertUnknownCA}, text: noReader,
			reason: result.ReasonCertAuthority, blame: result.BlameSubmission,
			want: `TLS handshake with mail\.demo\.test: no trusted root signed the certificate \(issuer "CN=unknown CA"\); add a private CA's root under tls\.ca in stepwatch\.yml`,
		},
		{
			name: "IMAP: wrong password", setup: func(b *fixture.Mailbed) { b.Target.Accounts["bob"].Password = "wrong" }, text: untilReceived, step: 1,
			reason: result.ReasonAuth, blame: result.BlameAccess,
			want:  `mail\.demo\.test:993 refused the login of "bob@demo\.test": NO \[AUTHENTICATIONFAILED\] Authentication failed: is the password of account "bob" still right\?`,
			left:  1,
			close: `remove the test mail of bob: message 1 \(Q\) stays in bob's INBOX at mail\.demo\.test:993, which cannot be opened: a later run removes it`,
		},
		{
			name: "IMAP: BYE", faults: []stepstest.Fault{stepstest.FaultIMAPBye}, text: untilReceived, step: 1,
			reason: result.ReasonDisconnected, blame: result.BlameAccess,
			want: `mail\.demo\.test:993 ended the connection in NOOP: BYE Server shutting down\.`,
		},
		{
			name: "IMAP: turned away", faults: []stepstest.Fault{stepstest.FaultIMAPTurnAway}, text: untilReceived, step: 1,
			reason: result.ReasonDisconnected, blame: result.BlameAccess,
			want:  `mail\.demo\.test:993 rejected the connection: BYE Too many connections, try later`,
			left:  1,
			close: `remove the test mail of bob: message 1 \(Q\) may stay in .*`,
		},
		{
			name: "IMAP: silent", faults: []stepstest.Fault{stepstest.FaultIMAPSilent}, limit: 3 * time.Second, text: untilReceived, step: 1,
			reason: result.ReasonTimeout, blame: result.BlameAccess,
			want:  `LOGIN at mail\.demo\.test:993: no answer before the deadline`,
			left:  1,
			close: `remove the test mail of bob: message 1 \(Q\) may stay in bob's INBOX at mail\.demo\.test:993 until a later run removes it: LOGIN at .*: no answer before the deadline`,
		},
		{
			name: "IMAP: certificate expired", faults: []stepstest.Fault{stepstest.FaultCertExpired}, text: strings.ReplaceAll(untilReceived, "587", "587"), step: 0,
			reason: result.ReasonCertExpired, blame: result.BlameSubmission,
			want: `TLS handshake with mail\.demo\.test: the certificate of .*`,
		},
		{
			name: "accepted too late", faults: nil, text: noReader + "\nThen it is accepted within 0.001ms", step: 1,
			reason: result.ReasonSlow, blame: result.BlameSubmission,
			want: `mail\.demo\.test:587 accepted the message after 0\.\d{3}s, wanted within 1µs: the phases of the step that sent it show what took so long`,
		},
		{
			name: "nothing was sent", text: `Then "bob" receives it over IMAP within 1s`,
			reason: result.ReasonScenario, blame: result.BlameScenario,
			want: `nothing was sent to "bob" before this step: begin with "I send a message from … to "bob" via …"`,
		},
		{
			name: "nothing to accept", text: `Then it is accepted`,
			reason: result.ReasonScenario, blame: result.BlameScenario,
			want: `nothing was sent before this step: begin with "I send a message from …"`,
		},
		{
			name: "unknown account", text: `Given the accounts "alice" and "carol"`,
			reason: result.ReasonConfig, blame: result.BlameScenario,
			want: `no account "carol" in stepwatch\.yml \(it has alice, bob\): add it under accounts`,
		},
		{
			name: "unknown mechanism", text: `When I send a message from "alice" to "bob" via 587 with AUTH GSSAPI`,
			reason: result.ReasonScenario, blame: result.BlameScenario,
			want: `AUTH GSSAPI is unknown: write PLAIN, LOGIN, CRAM-MD5, SCRAM-SHA-1, SCRAM-SHA-256, XOAUTH2 or OAUTHBEARER`,
		},
		{
			name: "a line break in an address", setup: func(b *fixture.Mailbed) { b.Target.Accounts["bob"].Address = "bob@demo.test>\r\nRSET" }, text: noReader,
			reason: result.ReasonConfig, blame: result.BlameScenario,
			want: `account "bob": "bob@demo\.test>\\r\\nRSET" is not a mail address: set accounts\.bob\.address in stepwatch\.yml to one like alice@example\.org`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			bed := fixture.OpenMailbed(t, stepstest.MailOptions{})
			if test.setup != nil {
				test.setup(bed)
			}
			if err := bed.Break(test.faults...); err != nil {
				t.Fatal(err)
			}
			limit := 5 * time.Second
			if test.limit != 0 {
				limit = test.limit
			}
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			if test.accepted != 0 {
				within, over := context.WithCancelCause(ctx)
				bed.OnceAccepted(t, func() { time.AfterFunc(test.accepted, func() { over(context.DeadlineExceeded) }) })
				ctx = within
			}
			outcome := bed.RunIn(ctx, t, test.text)
			check(t, outcome, test.step, test.reason, test.blame, test.want)
			left := ""
			if outcome.Close != nil {
				left = queueID.ReplaceAllString(outcome.Close.Error(), "Q")
			}
			if !regexp.MustCompile("^(?:" + test.close + ")$").MatchString(left) {
				t.Errorf("left behind %q\nwant %q", left, test.close)
			}
			if n := bed.Mailbox("bob"); n != test.left {
				t.Errorf("%d messages in the mailbox, want %d", n, test.left)
			}
		})
	}
}

var queueID = regexp.MustCompile(`\b[0-9A-F]{10}\b`)

// check checks that the scenario failed in this step, for this reason, with this message.
func check(t testing.TB, outcome *stepstest.Outcome, step int, reason result.Reason, blame result.Blame, want string) {
	t.Helper()
	if got := len(outcome.Steps) - 1; got != step {
		t.Errorf("step %d is the last that ran, want %d", got, step)
	}
	err := outcome.Err()
	if err == nil {
		t.Fatal("it passed")
	}
	var failure *steps.Failure
	if !errors.As(err, &failure) {
		t.Fatalf("%v is no Failure", err)
	}
	if failure.Reason != reason || failure.Blame != blame {
		t.Errorf("reason %s, blame %s, want %s, %s", failure.Reason, failure.Blame, reason, blame)
	}
	message := queueID.ReplaceAllString(err.Error(), "Q")
	if !regexp.MustCompile("^(?:" + want + ")$").MatchString(message) {
		t.Errorf("message\n%s\nwant\n%s", message, want)
	}
	for _, e := range outcome.Steps[len(outcome.Steps)-1].Report.Evidence {
		for _, secret := range []string{"wonderland", `b"u`, "nonsense", "d29uZGVybGFuZA", "bm9uc2Vuc2"} {
			if strings.Contains(string(e.Body), secret) {
				t.Errorf("%s holds a secret:\n%s", e.Name, e.Body)
			}
		}
	}
}
