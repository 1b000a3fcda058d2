package mail_test

import (
	"crypto/rand"
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
			want: `no report "failed" in alice's INBOX at mail\.demo\.test:993 after 0\.[23]\d\ds: mail\.demo\.test:587 accepted the message to bob@demo\.test as Q, no report on it came`,
		},
		{
			name: "another action", faults: []stepstest.Fault{stepstest.FaultBounce}, text: strings.ReplaceAll(bounced, "a bounce within 2s", "a delay notice within 200ms"), step: 1,
			reason: result.ReasonNotReceived, blame: result.BlameQueue,
			want: `no report "delayed" in alice's INBOX at mail\.demo\.test:993 after 0\.[23]\d\ds: mail\.demo\.test:587 accepted the message to bob@demo\.test as Q, ` +
				`the report that came says failed: 5\.2\.2 \(the mailbox is full\): 552 5\.2\.2 <bob@demo\.test> Quota exceeded \(mailbox for user is full\) \(said by store\.mail\.demo\.test, reported by mail\.demo\.test\)`,
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
