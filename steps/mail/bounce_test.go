package mail_test

import (
	"crypto/rand"
	"encoding/base64"
	"hash/crc32"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

const bounced = `
	When I send a message from "alice" to "bob" via 587
	Then "alice" receives a bounce within 2s`

func TestBounce(t *testing.T) {
	bed := fixture.NewMailbed(t, stepstest.MailOptions{})
	if err := bed.Break(stepstest.FaultBounce); err != nil {
		t.Fatal(err)
	}
	text := bounced + `
		And the bounce says "5.2.2"
		And the bounce says "quota exceeded"
		And the bounce says "<bob@demo.test>: the mailbox is full"
		And the bounce names the host "store.mail.demo.test"`
	outcome := bed.Run(t, 10*time.Second, text)
	fixture.Passed(t, outcome)
	if n := bed.Mailbox("alice"); n != 0 {
		t.Errorf("%d bounces left behind", n)
	}
	measured := map[string]float64{}
	for _, m := range outcome.Steps[1].Report.Measurements {
		measured[m.Name] = m.Value
	}
	if measured["mail_bounce_seconds"] <= 0 {
		t.Errorf("measured %v", measured)
	}
}

func TestBounceFaults(t *testing.T) {
	fixture.LeavesNothing(t)
	for _, test := range []struct {
		name   string
		faults []stepstest.Fault
		text   string
		step   int
		reason result.Reason
		blame  result.Blame
		want   string
	}{
		{
			name: "none comes", text: strings.ReplaceAll(bounced, "2s", "200ms"), step: 1,
			reason: result.ReasonNotReceived, blame: result.BlameQueue,
			want: `no report "failed" in alice's INBOX at mail\.demo\.test:993 after 0\.[23]\d\ds: mail\.demo\.test:587 accepted the message to bob@demo\.test as Q, no report on it came; looked again in 2 folders`,
		},
		{
			name: "another action", faults: []stepstest.Fault{stepstest.FaultBounce}, text: strings.ReplaceAll(bounced, "a bounce within 2s", "a delay notice within 200ms"), step: 1,
			reason: result.ReasonNotReceived, blame: result.BlameQueue,
			want: `no report "delayed" in alice's INBOX at mail\.demo\.test:993 after 0\.[23]\d\ds: mail\.demo\.test:587 accepted the message to bob@demo\.test as Q, ` +
				`the report that came says failed: 5\.2\.2 \(the mailbox is full\): 552 5\.2\.2 <bob@demo\.test> Quota exceeded \(mailbox for user is full\) \(said by store\.mail\.demo\.test, reported by mail\.demo\.test\); looked again in 2 folders`,
		},
		{
			name: "another status", faults: []stepstest.Fault{stepstest.FaultBounce}, text: bounced + "\n" + `And the bounce says "5.1.1"`, step: 2,
			reason: result.ReasonUnexpected, blame: result.BlameDelivery,
			want: `the bounce does not say "5\.1\.1": 5\.2\.2 \(the mailbox is full\): 552 5\.2\.2 <bob@demo\.test> Quota exceeded \(mailbox for user is full\) \(said by store\.mail\.demo\.test, reported by mail\.demo\.test\)`,
		},
		{
			name: "another host", faults: []stepstest.Fault{stepstest.FaultBounce}, text: bounced + "\n" + `And the bounce names the host "mx.test"`, step: 2,
			reason: result.ReasonUnexpected, blame: result.BlameDelivery,
			want: `the bounce was caused by "store\.mail\.demo\.test", wanted "mx\.test": 5\.2\.2 \(the mailbox is full\): .*`,
		},
		{
			name: "no bounce before", text: `Then the bounce says "5.1.1"`,
			reason: result.ReasonScenario, blame: result.BlameScenario,
			want: `no bounce was received before this step: begin with "… receives a bounce within …"`,
		},
		{
			name: "nothing sent", text: `Then "alice" receives a bounce within 1s`,
			reason: result.ReasonScenario, blame: result.BlameScenario,
			want: `nothing was sent from "alice" before this step: begin with "I send a message from "alice" to … via …"`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			bed := fixture.OpenMailbed(t, stepstest.MailOptions{})
			if err := bed.Break(test.faults...); err != nil {
				t.Fatal(err)
			}
			outcome := bed.Run(t, 5*time.Second, test.text)
			check(t, outcome, test.step, test.reason, test.blame, test.want)
			if n := bed.Mailbox("alice"); n != 0 {
				t.Errorf("%d messages in alice's mailbox", n)
			}
		})
	}
}

// A bounce of an earlier run is not this run's, and is removed.
func TestBounceSweepsEarlierOnes(t *testing.T) {
	bed := fixture.NewMailbed(t, stepstest.MailOptions{})
	if err := bed.Break(stepstest.FaultBounce); err != nil {
		t.Fatal(err)
	}
	bed.Run(t, 5*time.Second, `When I send a message from "alice" to "bob" via 587`)
	if n := bed.Mailbox("alice"); n != 1 {
		t.Fatalf("%d bounces, want 1", n)
	}
	if err := bed.Break(stepstest.FaultDropMail); err != nil {
		t.Fatal(err)
	}
	outcome := bed.Run(t, 5*time.Second, strings.ReplaceAll(bounced, "2s", "100ms"))
	if outcome.Err() == nil || !strings.Contains(outcome.Err().Error(), "no report on it came") {
		t.Errorf("an earlier run's bounce was taken: %v", outcome.Err())
	}
	if n := bed.Mailbox("alice"); n != 0 {
		t.Errorf("%d bounces left", n)
	}
}

// A bounced message is not only missing: the failure has the bounce's reason and leg.
func TestBounceExplainsMissingMail(t *testing.T) {
	bed := fixture.NewMailbed(t, stepstest.MailOptions{})
	if err := bed.Break(stepstest.FaultBounce); err != nil {
		t.Fatal(err)
	}
	outcome := bed.Run(t, 5*time.Second, strings.ReplaceAll(roundTrip, "IMAP within 5s", "IMAP within 200ms"))
	check(t, outcome, 3, result.ReasonNotReceived, result.BlameDelivery,
		`the message to bob@demo\.test came back to alice@demo\.test: 5\.2\.2 \(the mailbox is full\): 552 5\.2\.2 <bob@demo\.test> Quota exceeded \(mailbox for user is full\) `+
			`\(said by store\.mail\.demo\.test, reported by mail\.demo\.test\); mail\.demo\.test:587 had accepted it as Q`)
	if outcome.Close != nil || bed.Mailbox("alice") != 0 {
		t.Errorf("%v, %d messages left", outcome.Close, bed.Mailbox("alice"))
	}
}

// A bounce ends the wait for its message long before the deadline, in every kind of mailbox.
func TestBounceEndsTheWait(t *testing.T) {
	fixture.LeavesNothing(t)
	for name, read := range map[string]string{
		"IMAP":                    `"bob" receives it over IMAP within 20s`,
		"POP3":                    `"bob" receives it over POP3 within 20s`,
		"folder":                  `"bob" receives it in the folder "Lists" over IMAP within 20s`,
		"a Maildir":               `it is in the Maildir "DIR" within 20s`,
		"the other's own mailbox": `"bob" receives it over IMAP at "mail.demo.test:143" within 20s`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bed := fixture.OpenMailbed(t, stepstest.MailOptions{})
			if err := bed.Break(stepstest.FaultBounce); err != nil {
				t.Fatal(err)
			}
			bed.SetDelay(1500 * time.Millisecond) // so the bounce comes during the watch
			if err := bed.Deliver("alice", []byte(unrelated), time.Now()); err != nil {
				t.Fatal(err)
			}
			outcome := bed.Run(t, 30*time.Second, `When I send a message from "alice" to "bob" via 587
				Then `+strings.ReplaceAll(read, "DIR", t.TempDir()))
			check(t, outcome, 1, result.ReasonNotReceived, result.BlameDelivery, `the message to bob@demo\.test came back to alice@demo\.test: 5\.2\.2 \(the mailbox is full\): 552 .*`)
			if took := outcome.Steps[1].Duration; took > 5*time.Second {
				t.Errorf("the wait took %s", took)
			}
			if outcome.Close != nil || bed.Mailbox("alice") != 1 {
				t.Errorf("%v, %d messages left, want the one of somebody else", outcome.Close, bed.Mailbox("alice"))
			}
		})
	}
}

// A sender's mailbox that does not answer does not shorten the wait.
func TestBounceWatchThatFails(t *testing.T) {
	bed := fixture.NewMailbed(t, stepstest.MailOptions{})
	bed.Target.Accounts["alice"].IMAP = "gone.demo.test"
	bed.Target.ConnectTo["gone.demo.test:993"] = "127.0.0.1:1"
	bed.SetDelay(1500 * time.Millisecond)
	fixture.Passed(t, bed.Run(t, 10*time.Second, roundTrip))
	if n := bed.Mailbox("bob"); n != 0 {
		t.Errorf("%d messages left behind", n)
	}
}

// A later run of the scenario removes a bounce that a killed run left in a mailbox that no step reads, and keeps that
// of another scenario.
func TestBounceIsSweptWithoutAStep(t *testing.T) {
	bed := fixture.NewMailbed(t, stepstest.MailOptions{})
	bed.Origin = t.Name()
	if err := bed.Break(stepstest.FaultBounce); err != nil {
		t.Fatal(err)
	}
	bed.Crash(t, `When I send a message from "alice" to "bob" via 587`)
	if n := bed.Mailbox("alice"); n != 1 {
		t.Fatalf("%d bounces, want 1", n)
	}
	if err := bed.Break(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		origin string
		sweeps bool // a run in eight does
		left   int
	}{{"another of " + t.Name(), true, 1}, {"a third of " + t.Name(), false, 1}, {t.Name(), true, 0}} {
		id := rand.Text()
		for (crc32.ChecksumIEEE([]byte(id))%8 == 0) != c.sweeps {
			id = rand.Text()
		}
		outcome, err := stepstest.Scenario{Target: bed.Target, Secrets: bed.Secrets, Origin: c.origin, ID: id}.Run(t.Context(), roundTrip)
		if err != nil {
			t.Fatal(err)
		}
		fixture.Passed(t, outcome)
		if n := bed.Mailbox("alice"); n != c.left {
			t.Errorf("%d bounces after a run of %s, want %d", n, c.origin, c.left)
		}
	}
}

// returning puts what report writes about each message into alice's mailbox, that long after the server accepted it. The
// server itself delivers nothing.
func returning(t *testing.T, bed *fixture.Mailbed, after time.Duration, report func(header, id string) string) {
	t.Helper()
	if err := bed.Break(stepstest.FaultDropMail); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for seen := 0; ; {
			select {
			case <-ended:
				return
			case <-time.After(2 * time.Millisecond):
			}
			for _, d := range bed.Deliveries()[seen:] {
				if time.Since(d.Accepted) < after {
					break
				}
				seen++
				header, _, _ := strings.Cut(string(d.Message), "\r\n\r\n")
				_, id, _ := strings.Cut(header, "Message-ID: ")
				id, _, _ = strings.Cut(id, "\r\n")
				message := strings.ReplaceAll(report(strings.ReplaceAll(header, "\r\n", "\n"), id), "\n", "\r\n")
				if err := bed.Deliver("alice", []byte(message), time.Now()); err != nil {
					t.Error(err)
				}
			}
		}
	}()
	t.Cleanup(func() {
		close(ended)
		<-done
	})
}

// Reports as servers write them that have no multipart/report.
var plainReports = map[string]struct {
	report func(header, id string) string
	blame  result.Blame
	said   string
}{
	"qmail's text": {func(header, _ string) string {
		return "Date: 21 Nov 2026 09:42:14 -0000\nFrom: MAILER-DAEMON@q.test\nTo: alice@demo.test\nSubject: failure notice\n\nHi. This is the qmail-send program at q.test.\nI'm afraid I wasn't able to deliver your message.\n\n" +
			"<bob@demo.test>:\nRemote host said: 550 5.1.1 user unknown\n\n--- Below this line is a copy of the message.\n\nReturn-Path: <alice@demo.test>\n" + header + "\n\ntext\n"
	}, result.BlameDelivery, `5\.1\.1 .*: 550 5\.1\.1 user unknown`},
	"old Exim's text, by what it says alone": {func(header, _ string) string {
		return "From: Delivery <delivery@x.test>\nTo: alice@demo.test\nSubject: about your mail\n\nA message that you sent could not be delivered to one or more of its\nrecipients.\n\n  bob@demo.test\n    mailbox is full: retry timeout exceeded\n\n" +
			"------ This is a copy of the message, including all the headers. ------\n\n" + header + "\n\ntext\n"
	}, result.BlameDelivery, `no status: mailbox is full: retry timeout exceeded`},
	"a text without the message": {func(_, id string) string {
		return "Return-Path: <>\nFrom: x@x.test\nTo: alice@demo.test\nSubject: problem\n\nThe message " + id + " to <bob@demo.test> could not be delivered:\n550 5.7.1 blocked\n"
	}, result.BlameFiltering, `5\.7\.1 .*: 550 5\.7\.1 blocked`},
	"OpenSMTPD's multipart/mixed": {func(header, _ string) string {
		return "Subject: Delivery status notification: failed\nFrom: Mailer Daemon <MAILER-DAEMON@o.test>\nTo: alice@demo.test\nMIME-Version: 1.0\nContent-Type: multipart/mixed;boundary=\"1/o.test\"\n\n--1/o.test\nContent-Type: text/plain\n\n" +
			"bob@demo.test: 550 5.1.1 unknown\n\n--1/o.test\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; o.test\n\nFinal-Recipient: rfc822; bob@demo.test\nAction: failed\nStatus: 5.0.0\n\n--1/o.test\nContent-Type: text/rfc822-headers\n\n" +
			header + "\n\n--1/o.test--\n"
	}, result.BlameDelivery, `5\.1\.1 .*: 550 5\.1\.1 unknown \(reported by o\.test\)`},
	"HTML in base64": {func(header, _ string) string {
		return "Return-Path: <>\nFrom: postmaster@e.test\nSubject: Undeliverable: x\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=h\n\n--h\nContent-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: base64\n\n" +
			base64.StdEncoding.EncodeToString([]byte("<html><head><style>p{}</style></head><p>Delivery has failed to these recipients:</p><p>bob@demo.test<br>550 5.1.10 not found</p></html>")) +
			"\n--h\nContent-Type: message/rfc822\n\n" + header + "\n\ntext\n--h--\n"
	}, result.BlameDelivery, `5\.1\.10: 550 5\.1\.10 not found`},
}

// A report counts by what it holds, whether it comes at once or while a step waits, and is removed.
func TestReportsOfAnyFormAreFoundAndRemoved(t *testing.T) {
	fixture.LeavesNothing(t)
	for name, c := range plainReports {
		for when, after := range map[string]time.Duration{"at once": 0, "later": 2500 * time.Millisecond} {
			t.Run(name+", "+when, func(t *testing.T) {
				t.Parallel()
				bed := fixture.OpenMailbed(t, stepstest.MailOptions{})
				returning(t, bed, after, c.report)
				outcome := bed.Run(t, 20*time.Second, strings.ReplaceAll(roundTrip, "IMAP within 5s", "IMAP within 8s"))
				check(t, outcome, 3, result.ReasonNotReceived, c.blame, `the message to bob@demo\.test came back to alice@demo\.test: `+c.said+`.*`)
				if outcome.Close != nil || bed.Mailbox("alice") != 0 {
					t.Errorf("%v, %d messages left", outcome.Close, bed.Mailbox("alice"))
				}
			})
		}
		t.Run(name+", awaited", func(t *testing.T) {
			t.Parallel()
			bed := fixture.OpenMailbed(t, stepstest.MailOptions{})
			returning(t, bed, 0, c.report)
			fixture.Passed(t, bed.Run(t, 10*time.Second, bounced))
			if n := bed.Mailbox("alice"); n != 0 {
				t.Errorf("%d messages left", n)
			}
		})
	}
}

// An automatic answer from the empty path that quotes the message is no bounce: it neither ends a wait nor is removed.
func TestAnAutomaticAnswerIsNotABounce(t *testing.T) {
	bed := fixture.NewMailbed(t, stepstest.MailOptions{})
	returning(t, bed, 0, func(header, id string) string {
		return "Return-Path: <>\nFrom: bob@demo.test\nTo: alice@demo.test\nSubject: Auto: stepwatch test message\nAuto-Submitted: auto-replied (vacation)\nIn-Reply-To: " + id +
			"\n\nI am away, and mail is not delivered to anybody else.\n\n" + header + "\n"
	})
	outcome := bed.Run(t, 5*time.Second, strings.ReplaceAll(bounced, "2s", "300ms"))
	check(t, outcome, 1, result.ReasonNotReceived, result.BlameQueue, `no report "failed" in .* no report on it came; looked again in 2 folders`)
	if n := bed.Mailbox("alice"); n != 1 {
		t.Errorf("%d messages, want the answer", n)
	}
}

// A report that returns nothing of the message may be about a message of somebody else to the same recipient: it is
// named, and neither taken nor removed.
func TestAReportThatNamesNoMessageIsNamed(t *testing.T) {
	bed := fixture.NewMailbed(t, stepstest.MailOptions{})
	returning(t, bed, 0, func(string, string) string {
		return "Return-Path: <>\nFrom: MAILER-DAEMON@q.test\nSubject: failure notice\n\nHi. This is the qmail-send program at q.test.\n\n<bob@demo.test>:\n550 5.1.1 user unknown\n"
	})
	outcome := bed.Run(t, 5*time.Second, strings.ReplaceAll(bounced, "2s", "300ms"))
	check(t, outcome, 1, result.ReasonNotReceived, result.BlameQueue,
		`no report "failed" in .* no report on it came; a report about <bob@demo\.test> came that names no message, so whose message it is about is unknown: 5\.1\.1 .*: 550 5\.1\.1 user unknown; looked again in 2 folders`)
	if n := bed.Mailbox("alice"); n != 1 {
		t.Errorf("%d messages, want the report", n)
	}
}

// A bounce that names no host accuses none.
func TestABounceWithoutAHostNamesNone(t *testing.T) {
	bed := fixture.NewMailbed(t, stepstest.MailOptions{})
	returning(t, bed, 0, func(header, _ string) string {
		return "Return-Path: <>\nFrom: MAILER-DAEMON@g.test\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\n\n--b\nContent-Type: text/plain\n\nIt did not work.\n--b\nContent-Type: message/delivery-status\n\n" +
			"Reporting-MTA: dns; g.test\n\nFinal-Recipient: rfc822; bob@demo.test\nAction: failed\nStatus: 5.1.1 (mailbox unknown)\n\n--b\nContent-Type: message/rfc822\n\n" + header + "\n--b--\n"
	})
	outcome := bed.Run(t, 5*time.Second, bounced+`
		And the bounce says "5.1.1"
		And the bounce says "mailbox unknown"
		And the bounce names the host "mx.test"`)
	check(t, outcome, 4, result.ReasonUnexpected, result.BlameDelivery,
		`the bounce names no host that refused the message, wanted "mx\.test": 5\.1\.1 \(it has no such mailbox\): mailbox unknown \(reported by g\.test\)`)
}

// A server that takes mail for an unknown mailbox bounces it. The bounce does not stay with the sender, and where it may
// come later the run says so.
func TestBouncesOfUnknownMailboxesAreSweptOrNamed(t *testing.T) {
	fixture.LeavesNothing(t)
	const try = `When I try to send a message from "alice" to an unknown mailbox in the domain of "bob" via 587
		Then it is refused`
	for name, c := range map[string]struct {
		after time.Duration
		read  bool
		left  int
		says  string
	}{
		"at once":               {0, true, 0, "a bounce of it may come to alice@demo.test, where this run removes it, or the next one that tries the same"},
		"a second later":        {time.Second, true, 0, "where this run removes it, or the next one"},
		"where nobody can look": {0, false, 1, "a bounce of it may come to alice@demo.test, whose mailbox no account reads over IMAP, so it stays there"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bed := fixture.OpenMailbed(t, stepstest.MailOptions{})
			returning(t, bed, c.after, plainReports["qmail's text"].report)
			if err := bed.Break(stepstest.FaultDropMail, stepstest.FaultOpenRelay); err != nil {
				t.Fatal(err)
			}
			if !c.read {
				bed.Target.Accounts["alice"].IMAP = ""
			}
			outcome := bed.Run(t, 10*time.Second, try)
			if err := outcome.Err(); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("it says %v, want %q", err, c.says)
			}
			if outcome.Close != nil {
				t.Error(outcome.Close)
			}
			if !c.read {
				time.Sleep(100 * time.Millisecond)
			}
			if n := bed.Mailbox("alice"); n != c.left {
				t.Errorf("%d messages left, want %d", n, c.left)
			}
		})
	}
	t.Run("after the end of the run", func(t *testing.T) {
		t.Parallel()
		bed := fixture.OpenMailbed(t, stepstest.MailOptions{})
		returning(t, bed, 3*time.Second, plainReports["qmail's text"].report)
		if err := bed.Break(stepstest.FaultDropMail, stepstest.FaultOpenRelay); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			_ = bed.Run(t, 10*time.Second, try)
		}
		if n := bed.Mailbox("alice"); n != 0 && len(bed.Deliveries()) == 2 {
			t.Errorf("%d messages left of the first run", n)
		}
	})
}
