package mail_test

import (
	"context"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

const everyWay = `
	When I send a message from "alice" to "bob" via 587
	Then "bob" receives it over IMAP at "proxy" within 3s
	And "bob" receives it over IMAP at "mail.demo.test:143" within 3s
	And "bob" receives it over POP3 at "proxy:110" within 3s
	And "bob" receives it over POP3 within 3s
	And it is the same message each time`

func TestSameMessage(t *testing.T) {
	bed := fixture.NewMailbed(t, stepstest.MailOptions{})
	bed.WithProxy()
	fixture.Passed(t, bed.Run(t, 20*time.Second, everyWay))
	if n := bed.Mailbox("bob"); n != 0 {
		t.Errorf("%d messages left behind", n)
	}
}

// The step detects a proxy that leads to another store, and neither store keeps the message.
func TestProxyToAnotherStore(t *testing.T) {
	bed := fixture.NewMailbed(t, stepstest.MailOptions{})
	other := fixture.NewMailbed(t, stepstest.MailOptions{CA: bed.CA()})
	bed.Target.ConnectTo = maps.Clone(bed.Target.ConnectTo)
	for _, port := range []string{"143", "110"} {
		bed.Target.ConnectTo["mail.demo.test:"+port] = other.ConnectTo()["mail.demo.test:"+port]
	}
	// Each message is delivered to both stores, as during a move with double delivery.
	library := steps.NewLibrary(append(definitions(), steps.Definition{Area: "test", Sentence: "it is delivered elsewhere too",
		Func: func(context.Context, *steps.World, steps.Args) error {
			if err := other.Deliver("bob", []byte(unrelated), time.Now()); err != nil {
				return err
			}
			return other.Deliver("bob", bed.Deliveries()[len(bed.Deliveries())-1].Message, time.Now())
		}})...)
	for _, c := range []struct{ at, want string }{
		{"IMAP at \"mail.demo.test:143\"", `the message is UIDVALIDITY \d+, UID 1 in bob's INBOX at mail\.demo\.test:993 and UIDVALIDITY \d+, UID 2 in bob's INBOX at mail\.demo\.test:143: ` +
			`these are different copies, or mail programs will load the mailbox again when they change servers`},
		{"POP3 at \"mail.demo.test:110\"", ``},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		outcome, err := stepstest.Scenario{Library: library, Target: bed.Target, Secrets: bed.Secrets}.Run(ctx, `
			When I send a message from "alice" to "bob" via 587
			Then "bob" receives it over IMAP within 3s
			And it is delivered elsewhere too
			And "bob" receives it over `+c.at+` within 3s
			And it is the same message each time`)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		if c.want == "" {
			fixture.Passed(t, outcome) // IMAP and POP3 name messages differently
		} else {
			check(t, outcome, 4, result.ReasonUnexpected, result.BlameAccess, c.want)
		}
		if n, m := bed.Mailbox("bob"), other.Mailbox("bob"); n != 0 || m == 0 {
			t.Errorf("%d and %d messages left behind, want none and somebody else's", n, m)
		}
	}
	if n := other.Mailbox("bob"); n != 2 {
		t.Errorf("%d messages in the other store, want the 2 of somebody else", n)
	}
}

func TestHostFaults(t *testing.T) {
	fixture.LeavesNothing(t)
	for _, test := range []struct {
		name   string
		text   string
		step   int
		reason result.Reason
		blame  result.Blame
		want   string
	}{
		{"lost", `When I send a message from "alice" to "bob" via 587
			Then "bob" receives it over IMAP at "proxy" within 200ms`, 1, result.ReasonNotReceived, result.BlameQueue, `no message in bob's INBOX at mail\.demo\.test:993 after .*`},
		{"no port", `Then "bob" receives it over IMAP at "proxy:imap" within 1s`, 0, result.ReasonScenario, result.BlameScenario,
			`"imap" is not a port: write the host as "proxy\.example\.org" or "proxy\.example\.org:143"`},
		{"no port of POP3", `Then "bob" receives it over POP3 at "proxy:0" within 1s`, 0, result.ReasonScenario, result.BlameScenario,
			`"0" is not a port: .*`},
		{"nothing received", `Then it is the same message each time`, 0, result.ReasonScenario, result.BlameScenario, `no message was received before this step: .*`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			bed := fixture.OpenMailbed(t, stepstest.MailOptions{})
			bed.WithProxy()
			if err := bed.Break(stepstest.FaultDropMail); err != nil {
				t.Fatal(err)
			}
			check(t, bed.Run(t, 5*time.Second, test.text), test.step, test.reason, test.blame, test.want)
		})
	}
	t.Run("one way only", func(t *testing.T) {
		t.Parallel()
		bed := fixture.OpenMailbed(t, stepstest.MailOptions{})
		check(t, bed.Run(t, 5*time.Second, roundTrip+"\nAnd it is the same message each time"), 4, result.ReasonScenario, result.BlameScenario,
			`the message was received in one way only, bob's INBOX at mail\.demo\.test:993: receive it in another way before this step`)
	})
}

// The owner of an account that is read only over POP3 learns of mail that had not come when the run ended, and mail
// that came after the wait is removed.
func TestPOP3AloneMissing(t *testing.T) {
	bed := fixture.NewMailbed(t, stepstest.MailOptions{})
	bed.Target.Accounts["bob"].IMAP = ""
	if err := bed.Break(stepstest.FaultDropMail); err != nil {
		t.Fatal(err)
	}
	outcome := bed.Run(t, 5*time.Second, strings.ReplaceAll(overPOP3, "3s", "100ms"))
	const want = "had not arrived in bob's POP3 mailbox at mail.demo.test:995 when the run ended: a later run removes it"
	if outcome.Close == nil || !strings.HasSuffix(outcome.Close.Error(), want) {
		t.Errorf("got %v, want %s", outcome.Close, want)
	}
	if err := bed.Break(); err != nil {
		t.Fatal(err)
	}
	bed.SetDelay(700 * time.Millisecond)
	outcome = bed.Run(t, 5*time.Second, strings.ReplaceAll(overPOP3, "3s", "100ms"))
	if outcome.Err() == nil || outcome.Close != nil || bed.Mailbox("bob") != 0 {
		t.Errorf("%v, %v, %d messages left", outcome.Err(), outcome.Close, bed.Mailbox("bob"))
	}
}
