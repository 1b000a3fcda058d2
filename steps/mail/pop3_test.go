package mail_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

const overPOP3 = `
	When I send a message from "alice" to "bob" via 587
	Then "bob" receives it over POP3 within 3s`

func TestPOP3Passes(t *testing.T) {
	bed := fixture.NewMailbed(t, stepstest.MailOptions{})
	if err := bed.Deliver("bob", []byte(unrelated), time.Now()); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"995":                overPOP3,
		"110":                strings.ReplaceAll(overPOP3, "POP3 within", "POP3 via 110 within"),
		"IMAP and then POP3": roundTrip + "\n" + `And "bob" receives it over POP3 via 110 within 3s`,
		"POP3 and then IMAP": overPOP3 + "\n" + `And "bob" receives it over IMAP via 143 within 3s`,
		"twice":              overPOP3 + "\n" + `And "bob" receives it over POP3 within 3s`,
		"both ports":         overPOP3 + "\n" + `And "bob" receives it over POP3 via 110 within 3s`,
	} {
		t.Run(name, func(t *testing.T) {
			fixture.Passed(t, bed.Run(t, 10*time.Second, text))
			if n := bed.Mailbox("bob"); n != 1 {
				t.Errorf("%d messages, want the one of somebody else", n)
			}
		})
	}
}

// An account without IMAP is read, and cleared of mail of earlier runs, only over POP3.
func TestPOP3Alone(t *testing.T) {
	bed := fixture.NewMailbed(t, stepstest.MailOptions{})
	bed.Target.Accounts["bob"].IMAP = ""
	bed.SetDelay(400 * time.Millisecond)
	outcome := bed.Run(t, 5*time.Second, strings.ReplaceAll(overPOP3, "3s", "100ms"))
	if outcome.Err() == nil {
		t.Fatal("it passed")
	}
	for deadline := time.Now().Add(5 * time.Second); bed.Mailbox("bob") == 0 && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	outcome = bed.Run(t, 5*time.Second, overPOP3)
	fixture.Passed(t, outcome)
	if n := bed.Mailbox("bob"); n != 0 {
		t.Errorf("%d messages left behind", n)
	}
	got := ""
	for _, p := range outcome.Steps[1].Report.Phases {
		got += p.Name + " "
	}
	if want := "mailbox_connect mailbox_tls mailbox_greeting mailbox_login "; got != want {
		t.Errorf("phases %s, want %s", got, want)
	}
}

func TestPOP3Faults(t *testing.T) {
	fixture.LeavesNothing(t)
	for _, test := range []struct {
		name   string
		faults []stepstest.Fault
		setup  func(*fixture.Mailbed)
		text   string
		step   int
		reason result.Reason
		blame  result.Blame
		want   string
	}{
		{
			name: "lost", faults: []stepstest.Fault{stepstest.FaultDropMail}, text: strings.ReplaceAll(overPOP3, "3s", "300ms"), step: 1,
			reason: result.ReasonNotReceived, blame: result.BlameQueue,
			want: `no message in bob's POP3 mailbox at mail\.demo\.test:995 after 0\.\d{3}s: mail\.demo\.test:587 accepted it as Q at \S+ UTC; looked again in one more session, and over IMAP in 2 folders: check the mail log; nothing came back to alice@demo\.test in 2 folders: ask the operator of mail\.demo\.test:587`,
		},
		{
			name: "lost, without IMAP", faults: []stepstest.Fault{stepstest.FaultDropMail}, text: strings.ReplaceAll(overPOP3, "3s", "300ms"), step: 1,
			setup:  func(b *fixture.Mailbed) { b.Target.Accounts["bob"].IMAP = "" },
			reason: result.ReasonNotReceived, blame: result.BlameQueue,
			want: `no message in bob's POP3 mailbox .*; looked again in one more session: POP3 only shows the INBOX, so check the folders and the mail log; nothing came back to .*`,
		},
		{
			name: "filed", faults: []stepstest.Fault{stepstest.FaultFile}, text: strings.ReplaceAll(overPOP3, "3s", "300ms"), step: 1,
			reason: result.ReasonNotReceived, blame: result.BlameFiltering,
			want: `the message is in bob's folder "Lists" at mail\.demo\.test:993, which POP3 does not show: a filter filed it there; it was sent from alice@demo\.test and accepted by mail\.demo\.test:587`,
		},
		{
			name: "junk", faults: []stepstest.Fault{stepstest.FaultJunk}, text: strings.ReplaceAll(overPOP3, "3s", "300ms"), step: 1,
			reason: result.ReasonNotReceived, blame: result.BlameFiltering,
			want: `the message is in bob's folder "Junk" at mail\.demo\.test:993, which POP3 does not show: a filter took it for spam; .*`,
		},
		{
			name: "wrong password", setup: func(b *fixture.Mailbed) { b.Target.Accounts["bob"].Password = "wrong" }, text: overPOP3, step: 1,
			reason: result.ReasonAuth, blame: result.BlameAccess,
			want: `mail\.demo\.test:995 refused the login of "bob@demo\.test": -ERR \[AUTH\] Authentication failed: is the password of account "bob" still right\?`,
		},
		{
			name: "no host", setup: func(b *fixture.Mailbed) { b.Target.Accounts["bob"].POP3 = "" }, text: overPOP3, step: 1,
			reason: result.ReasonConfig, blame: result.BlameScenario,
			want: `account "bob" has no pop3: set accounts\.bob\.pop3 in stepwatch\.yml`,
		},
		{
			name: "port closed", setup: func(b *fixture.Mailbed) {
				b.Target.ConnectTo["mail.demo.test:995"] = "127.0.0.1:1"
			}, text: overPOP3, step: 1,
			reason: result.ReasonConnect, blame: result.BlameAccess,
			want: `connect to mail\.demo\.test:995 \(at 127\.0\.0\.1:1\): connection refused: nothing listens on that port`,
		},
		{
			name: "nothing sent", text: `Then "bob" receives it over POP3 within 1s`,
			reason: result.ReasonScenario, blame: result.BlameScenario,
			want: `nothing was sent to "bob" before this step: .*`,
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
			check(t, bed.Run(t, 5*time.Second, test.text), test.step, test.reason, test.blame, test.want)
		})
	}
}

// Answers that no correct server sends.
func TestPOP3Scripts(t *testing.T) {
	for _, test := range []struct {
		name, port, script string
		limit              time.Duration
		reason             result.Reason
		want               string
	}{
		{
			name: "no STLS", port: "110", script: "S: +OK ready\nC: STLS\nS: -ERR unknown command",
			reason: result.ReasonTLS, want: `mail\.demo\.test:110 refused STLS: -ERR unknown command: nothing was sent, because a password must not be sent in clear text`,
		},
		{
			name: "words in clear behind STLS", port: "110", script: `
				S: +OK ready
				C: STLS
				S: +OK go on\r\n+OK injected`,
			reason: result.ReasonProtocol, want: `mail\.demo\.test:110 sent 14 bytes in clear text after its answer to STLS`,
		},
		{
			name: "no POP3 server", port: "110", script: "S: 220 mail.demo.test ESMTP",
			reason: result.ReasonProtocol, want: `mail\.demo\.test:110 answers the greeting with "220 mail\.demo\.test ESMTP": is that port a POP3 server's\?`,
		},
		{
			name: "in use", port: "995", script: "TLS\nS: +OK ready\nC: CAPA\nS: -ERR\nC: USER bob\nS: +OK\nC: PASS\nS: -ERR [IN-USE] locked by another session",
			reason: result.ReasonDeferred, want: `mail\.demo\.test:995 cannot do PASS now: -ERR \[IN-USE\] locked by another session`,
		},
		{
			name: "silent", port: "995", script: "TLS\nhang", limit: 900 * time.Millisecond,
			reason: result.ReasonTimeout, want: `the greeting at mail\.demo\.test:995: no answer before the deadline`,
		},
		{
			name: "gone", port: "995", script: "TLS\nS: +OK ready\nC: CAPA\nS: +OK\nS: USER\nS: .\nC: USER bob",
			reason: result.ReasonDisconnected, want: `USER bob at mail\.demo\.test:995: the server closed the connection`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			bed := scripted(t, map[string]string{test.port: test.script})
			bed.Target.Accounts["bob"].POP3 = "mail.demo.test"
			limit := 5 * time.Second
			if test.limit != 0 {
				limit = test.limit
			}
			outcome := bed.Run(t, limit, `Then "bob" receives it over POP3 via `+test.port+` within 1s`)
			check(t, outcome, 0, test.reason, result.BlameAccess, test.want)
		})
	}
}

// A server may demand a pause between logins. Each login is planned: a run needs one, and it comes after the message was
// sent, so runs that follow each other pass.
func TestPOP3LoginsArePlanned(t *testing.T) {
	fixture.LeavesNothing(t)
	for name, options := range map[string]stepstest.MailOptions{
		"enforced":                {LoginDelay: 2 * time.Second, EnforceDelay: true},
		"enforced, not announced": {LoginDelay: 2 * time.Second, EnforceDelay: true, HideDelay: true},
		"announced, not enforced": {LoginDelay: 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bed := fixture.OpenMailbed(t, options)
			bed.Target.Accounts["bob"].IMAP = ""
			if err := bed.Deliver("bob", []byte(unrelated), time.Now()); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				outcome := bed.Run(t, 20*time.Second, strings.ReplaceAll(overPOP3, "3s", "8s")+`
					And every hop used TLS
					And "bob" receives it over POP3 within 8s`)
				if err := outcome.Err(); err != nil && !strings.Contains(err.Error(), "no Received header") {
					t.Error(err)
				}
				if outcome.Close != nil {
					t.Error(outcome.Close)
				}
			}
			logins := bed.POP3Logins()
			if !options.HideDelay && len(logins) != 3 {
				t.Errorf("%d logins for three runs: %+v", len(logins), logins)
			}
			if n := bed.Mailbox("bob"); n != 1 {
				t.Errorf("%d messages, want the one of somebody else", n)
			}
		})
	}
}

// A look after the deadline counts where the server allowed none before it, and what may be our own lag is held against
// nobody.
func TestPOP3OwnLagIsNotHeldAgainstTheServer(t *testing.T) {
	bed := fixture.NewMailbed(t, stepstest.MailOptions{LoginDelay: 4 * time.Second, EnforceDelay: true})
	bed.Target.Accounts["bob"].IMAP = ""
	bed.SetDelay(1200 * time.Millisecond) // the first look is after a third of a second, the second one after the deadline
	outcome := bed.Run(t, 20*time.Second, strings.ReplaceAll(overPOP3, "3s", "2s")+`
		And no hop took longer than 2s`)
	fixture.Passed(t, outcome)
	if took := outcome.Steps[1].Duration; took < 4*time.Second {
		t.Errorf("it took %s: the server allowed that?", took)
	}
	for _, login := range bed.POP3Logins() {
		if login.Refused {
			t.Errorf("refused: %+v", bed.POP3Logins())
		}
	}
}

// When the run ends before the server allows a look, nothing is proved.
func TestPOP3WithoutALookIsUnknown(t *testing.T) {
	bed := fixture.NewMailbed(t, stepstest.MailOptions{LoginDelay: time.Minute, EnforceDelay: true})
	bed.Target.Accounts["bob"].IMAP = ""
	if err := bed.Break(stepstest.FaultDropMail); err != nil {
		t.Fatal(err)
	}
	check(t, bed.Run(t, 3*time.Second, strings.ReplaceAll(overPOP3, "3s", "1s")), 1, result.ReasonScenario, result.BlameScenario,
		`whether the message came into bob's POP3 mailbox at mail\.demo\.test:995 is unknown: mail\.demo\.test:995 demands a pause of 1m0s between logins \(LOGIN-DELAY\), .*`)
}

// A server that gives new mail the unique id of older mail hides it from programs that remember ids. The second look ignores ids.
func TestPOP3FindsMailWithAnOldUniqueID(t *testing.T) {
	bed := fixture.NewMailbed(t, stepstest.MailOptions{IDsFromNewest: true})
	if err := bed.Deliver("bob", []byte(unrelated), time.Now()); err != nil {
		t.Fatal(err)
	}
	check(t, bed.Run(t, 10*time.Second, strings.ReplaceAll(overPOP3, "3s", "400ms")), 1, result.ReasonNotReceived, result.BlameAccess,
		`the message is in bob's POP3 mailbox at mail\.demo\.test:995, but was not seen there within 0\.\d+s: it came just then, or the server gives it the unique id of an earlier message \(RFC 1939 section 7\)`)
	if n := bed.Mailbox("bob"); n != 1 {
		t.Errorf("%d messages, want the one of somebody else", n)
	}
}
