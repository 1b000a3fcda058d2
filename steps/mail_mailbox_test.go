package steps_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/stepstest"
)

const unrelated = "From: carol@elsewhere.test\r\nSubject: lunch?\r\n\r\nAt noon.\r\n"

// Mail of other people stays, and does not confuse the search.
func TestMailLeavesOthersAlone(t *testing.T) {
	bed := newMailbed(t, stepstest.MailOptions{})
	for range 200 {
		if err := bed.Deliver("bob", []byte(unrelated), time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	passed(t, bed.run(t, 5*time.Second, roundTrip))
	bed.SetDelay(100 * time.Millisecond)
	time.AfterFunc(50*time.Millisecond, func() { _ = bed.Deliver("bob", []byte(unrelated), time.Now()) })
	passed(t, bed.run(t, 5*time.Second, roundTrip))
	if n := bed.Mailbox("bob"); n != 201 {
		t.Errorf("%d messages, want 201", n)
	}
	if err := bed.Break(stepstest.FaultDropMail); err != nil {
		t.Fatal(err)
	}
	bed.SetDelay(0)
	time.AfterFunc(100*time.Millisecond, func() { _ = bed.Deliver("bob", []byte(unrelated), time.Now()) })
	outcome := bed.run(t, 5*time.Second, strings.ReplaceAll(roundTrip, "IMAP within 5s", "IMAP within 300ms"))
	if err := outcome.Err(); err == nil || !strings.Contains(err.Error(), ", one other message came meanwhile: ") {
		t.Error(err)
	}
}

// A message that arrives twice is removed twice, also when the second copy comes by another way.
func TestMailRemovesDuplicates(t *testing.T) {
	bed := newMailbed(t, stepstest.MailOptions{})
	if err := bed.Break(stepstest.FaultDuplicate); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{roundTrip, `When I send a message from "alice" to "bob" via 587`} {
		passed(t, bed.run(t, 5*time.Second, text))
		if n := bed.Mailbox("bob"); n != 0 {
			t.Errorf("%d messages left behind", n)
		}
	}
}

// What a run could not remove the next one of the same scenario does, and no other scenario.
func TestMailSweepsWhatEarlierRunsLeft(t *testing.T) {
	bed := newMailbed(t, stepstest.MailOptions{})
	bed.SetDelay(2300 * time.Millisecond) // beyond the wait and the cleanup's last look
	outcome := bed.run(t, 5*time.Second, strings.ReplaceAll(roundTrip, "IMAP within 5s", "IMAP within 100ms"))
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
	other, err := stepstest.Scenario{Target: bed.target, Secrets: bed.secrets, Origin: "another scenario"}.Run(ctx, roundTrip)
	if err != nil {
		t.Fatal(err)
	}
	passed(t, other)
	if n := bed.Mailbox("bob"); n != 1 {
		t.Errorf("%d messages after another scenario's run, want 1", n)
	}
	passed(t, bed.run(t, 5*time.Second, roundTrip))
	if n := bed.Mailbox("bob"); n != 0 {
		t.Errorf("%d messages after the next run, want 0", n)
	}
}

// Without UIDPLUS the message is flagged, other people's deleted mail stays, and the run says so.
func TestMailWithoutUIDPlus(t *testing.T) {
	bed := newMailbed(t, stepstest.MailOptions{WithoutUIDPlus: true})
	outcome := bed.run(t, 5*time.Second, roundTrip)
	if outcome.Err() != nil {
		t.Fatal(outcome.Err())
	}
	const want = "flagged as deleted only: the server lacks UIDPLUS (RFC 4315), and EXPUNGE would also remove what others have deleted"
	if outcome.Close == nil || !strings.HasSuffix(outcome.Close.Error(), want) {
		t.Errorf("got %v\nwant %s", outcome.Close, want)
	}
}

// A wait that is long enough to idle notices the mail as quickly as the server announces it.
func TestMailIdles(t *testing.T) {
	if testing.Short() {
		t.Skip("takes six seconds")
	}
	bed := newMailbed(t, stepstest.MailOptions{})
	bed.SetDelay(5400 * time.Millisecond)
	outcome := bed.run(t, 20*time.Second, strings.ReplaceAll(roundTrip, "IMAP within 5s", "IMAP within 15s"))
	passed(t, outcome)
	d := bed.Deliveries()[0]
	if late := outcome.Steps[3].Duration - d.Stored.Sub(d.Accepted); late > 200*time.Millisecond {
		t.Errorf("noticed %s after the arrival", late)
	}
}

// Being told to stop blames nobody and still removes the mail.
func TestMailStops(t *testing.T) {
	bed := newMailbed(t, stepstest.MailOptions{})
	bed.SetDelay(300 * time.Millisecond)
	ctx, cancel := context.WithCancelCause(context.Background())
	time.AfterFunc(150*time.Millisecond, func() { cancel(steps.ErrStopped) })
	outcome, err := stepstest.Scenario{Target: bed.target, Secrets: bed.secrets}.Run(ctx, roundTrip)
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

// A connection that broke after the mail was seen is opened again to remove it.
func TestMailReconnectsToRemove(t *testing.T) {
	bed := newMailbed(t, stepstest.MailOptions{})
	library := steps.NewLibrary(append(definitions(), steps.Definition{Area: "test", Sentence: "the mail server hangs up",
		Func: func(context.Context, *steps.World, steps.Args) error { return bed.Break(stepstest.FaultIMAPBye) }})...)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	outcome, err := stepstest.Scenario{Library: library, Target: bed.target, Secrets: bed.secrets}.Run(ctx, roundTrip+"\nThen the mail server hangs up")
	if err != nil {
		t.Fatal(err)
	}
	passed(t, outcome)
	if n := bed.Mailbox("bob"); n != 0 {
		t.Errorf("%d messages left behind", n)
	}
}

func definitions() []steps.Definition {
	var list []steps.Definition
	for _, d := range steps.Builtin().Definitions() {
		list = append(list, steps.Definition{Area: d.Area, Sentence: d.Sentence, Pattern: d.Pattern, Func: d.Func, Prepare: d.Prepare})
	}
	return list
}
