package mail_test

import (
	"context"
	"errors"
	"github.com/stepwatch/stepwatch/steps/builtin"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

const unrelated = "From: carol@elsewhere.test\r\nSubject: lunch?\r\n\r\nAt noon.\r\n"

// Other people's mail stays, and does not confuse the search.
func TestMailLeavesOthersAlone(t *testing.T) {
	bed := fixture.NewMailbed(t, stepstest.MailOptions{})
	for range 200 {
		if err := bed.Deliver("bob", []byte(unrelated), time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	fixture.Passed(t, bed.Run(t, 5*time.Second, roundTrip))
	bed.SetDelay(100 * time.Millisecond)
	time.AfterFunc(50*time.Millisecond, func() { _ = bed.Deliver("bob", []byte(unrelated), time.Now()) })
	fixture.Passed(t, bed.Run(t, 5*time.Second, roundTrip))
	if n := bed.Mailbox("bob"); n != 201 {
		t.Errorf("%d messages, want 201", n)
	}
	if err := bed.Break(stepstest.FaultDropMail); err != nil {
		t.Fatal(err)
	}
	bed.SetDelay(0)
	bed.OnceAccepted(t, func() { _ = bed.Deliver("bob", []byte(unrelated), time.Now()) })
	outcome := bed.Run(t, 10*time.Second, strings.ReplaceAll(roundTrip, "IMAP within 5s", "IMAP within 300ms"))
	if err := outcome.Err(); err == nil || !strings.Contains(err.Error(), ", one other message came meanwhile; looked again in 2 folders: ") {
		t.Error(err)
	}
}

// A message that arrives twice is removed twice, even if the second copy comes by another way.
func TestMailRemovesDuplicates(t *testing.T) {
	bed := fixture.NewMailbed(t, stepstest.MailOptions{})
	if err := bed.Break(stepstest.FaultDuplicate); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{roundTrip, `When I send a message from "alice" to "bob" via 587`} {
		fixture.Passed(t, bed.Run(t, 5*time.Second, text))
		if n := bed.Mailbox("bob"); n != 0 {
			t.Errorf("%d messages left behind", n)
		}
	}
}

// The next run of the same scenario removes what a run could not remove, and no other scenario does.
func TestMailSweepsWhatEarlierRunsLeft(t *testing.T) {
	bed := fixture.NewMailbed(t, stepstest.MailOptions{})
	bed.SetDelay(2300 * time.Millisecond) // beyond the wait and the cleanup's last look
	outcome := bed.Run(t, 5*time.Second, strings.ReplaceAll(roundTrip, "IMAP within 5s", "IMAP within 100ms"))
	if outcome.Err() == nil || outcome.Close == nil {
		t.Fatalf("it passed: %v", outcome.Close)
	}
	deadline := time.Now().Add(5 * time.Second)
	for bed.Mailbox("bob") == 0 && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	bed.SetDelay(0)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	other, err := stepstest.Scenario{Target: bed.Target, Secrets: bed.Secrets, Origin: "another scenario"}.Run(ctx, roundTrip)
	if err != nil {
		t.Fatal(err)
	}
	fixture.Passed(t, other)
	if n := bed.Mailbox("bob"); n != 1 {
		t.Errorf("%d messages after another scenario's run, want 1", n)
	}
	fixture.Passed(t, bed.Run(t, 5*time.Second, roundTrip))
	if n := bed.Mailbox("bob"); n != 0 {
		t.Errorf("%d messages after the next run, want 0", n)
	}
}

// Without UIDPLUS the message gets the flag \Deleted, other people's deleted mail stays, and the run reports it.
func TestMailWithoutUIDPlus(t *testing.T) {
	bed := fixture.NewMailbed(t, stepstest.MailOptions{WithoutUIDPlus: true})
	outcome := bed.Run(t, 5*time.Second, roundTrip)
	if outcome.Err() != nil {
		t.Fatal(outcome.Err())
	}
	const want = "1 test message of this scenario stays in bob's INBOX at mail.demo.test:993, flagged as deleted: no run can remove it, because the server has neither UIDPLUS (RFC 4315) " +
		"nor MOVE (RFC 6851), and EXPUNGE would also remove what others have deleted: compact the folder with a mail program"
	if outcome.Close == nil || !strings.HasSuffix(outcome.Close.Error(), want) {
		t.Errorf("got %v\nwant %s", outcome.Close, want)
	}
}

// At the end of a run the messages of an earlier run are gone, in whatever folder and whenever they come.
func TestMailCleanupRemovesWhatEarlierRunsLeft(t *testing.T) {
	const submission = `When I send a message from "alice" to "bob" via 587`
	for name, c := range map[string]struct {
		fault stepstest.Fault
		delay time.Duration // until it arrives
		next  string
	}{
		"in the INBOX":                {"", 0, roundTrip},
		"in the INBOX, not read":      {"", 0, submission},
		"in the spam folder":          {stepstest.FaultJunk, 0, roundTrip},
		"in another folder":           {stepstest.FaultFile, 0, roundTrip},
		"in another, not read":        {stepstest.FaultFile, 0, submission},
		"on its way":                  {"", 100 * time.Millisecond, roundTrip},
		"on its way, not read either": {"", 100 * time.Millisecond, submission},
	} {
		t.Run(name, func(t *testing.T) {
			bed := fixture.NewMailbed(t, stepstest.MailOptions{})
			bed.Origin = t.Name() // like a process that has not run it yet
			if err := bed.Break(c.fault); err != nil {
				t.Fatal(err)
			}
			bed.SetDelay(c.delay)
			bed.Crash(t, submission)
			if n := bed.Mailbox("bob"); c.delay == 0 && n != 1 {
				t.Fatalf("the killed run left %d messages", n)
			}
			if err := bed.Break(); err != nil {
				t.Fatal(err)
			}
			bed.SetDelay(2 * c.delay) // so the next run's own message comes last
			fixture.Passed(t, bed.Run(t, 5*time.Second, c.next))
			if n := bed.Mailbox("bob"); n != 0 {
				t.Errorf("%d messages after the next run, want 0", n)
			}
		})
	}
}

// A run that ended between the flag and EXPUNGE left a message that its owner no longer sees.
func TestMailSweepsWhatIsFlaggedAsDeleted(t *testing.T) {
	bed := fixture.NewMailbed(t, stepstest.MailOptions{})
	bed.Crash(t, `When I send a message from "alice" to "bob" via 587`)
	bed.Flag(t, "bob")
	fixture.Passed(t, bed.Run(t, 5*time.Second, roundTrip))
	if n := bed.Mailbox("bob"); n != 0 {
		t.Errorf("%d messages after the next run, want 0", n)
	}
}

// A wait of a second notices the mail within a few milliseconds of its arrival.
func TestMailIsNoticedAtOnce(t *testing.T) {
	bed := fixture.NewMailbed(t, stepstest.MailOptions{})
	bed.SetDelay(time.Second)
	// A busy machine delays a run now and then, and never makes one faster.
	least := time.Hour
	for runs := 0; runs < 5 && least > 20*time.Millisecond; runs++ {
		outcome := bed.Run(t, 20*time.Second, roundTrip)
		fixture.Passed(t, outcome)
		d := bed.Deliveries()[runs]
		least = min(least, outcome.Steps[3].Duration-d.Stored.Sub(d.Accepted))
	}
	if least > 20*time.Millisecond {
		t.Errorf("noticed %s after the arrival", least)
	}
}

// A request to stop blames nobody and still removes the mail.
func TestMailStops(t *testing.T) {
	bed := fixture.NewMailbed(t, stepstest.MailOptions{})
	bed.SetDelay(300 * time.Millisecond)
	ctx, cancel := context.WithCancelCause(context.Background())
	time.AfterFunc(150*time.Millisecond, func() { cancel(steps.ErrStopped) })
	outcome, err := stepstest.Scenario{Target: bed.Target, Secrets: bed.Secrets}.Run(ctx, roundTrip)
	if err != nil {
		t.Fatal(err)
	}
	var failure *steps.Failure
	if !errors.As(outcome.Err(), &failure) || failure.Reason != result.ReasonCanceled || failure.Blame != result.BlameMonitor {
		t.Errorf("it ended with %v", outcome.Err())
	}
	if outcome.Close != nil || bed.Mailbox("bob") != 0 {
		t.Errorf("%v, %d messages left behind", outcome.Close, bed.Mailbox("bob"))
	}
}

// A connection that broke after the mail was seen is reopened to remove it.
func TestMailReconnectsToRemove(t *testing.T) {
	bed := fixture.NewMailbed(t, stepstest.MailOptions{})
	library := steps.NewLibrary(append(definitions(), steps.Definition{Area: "test", Sentence: "the mail server hangs up",
		Func: func(context.Context, *steps.World, steps.Args) error { return bed.Break(stepstest.FaultIMAPBye) }})...)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	outcome, err := stepstest.Scenario{Library: library, Target: bed.Target, Secrets: bed.Secrets}.Run(ctx, roundTrip+"\nThen the mail server hangs up")
	if err != nil {
		t.Fatal(err)
	}
	fixture.Passed(t, outcome)
	if n := bed.Mailbox("bob"); n != 0 {
		t.Errorf("%d messages left behind", n)
	}
}

func definitions() []steps.Definition {
	var list []steps.Definition
	for _, d := range builtin.Library().Definitions() {
		list = append(list, steps.Definition{Area: d.Area, Sentence: d.Sentence, Pattern: d.Pattern, Func: d.Func, Prepare: d.Prepare})
	}
	return list
}
