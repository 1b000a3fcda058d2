package mail_test

import (
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

func TestFolderContents(t *testing.T) {
	bed := fixture.NewMailbed(t, stepstest.MailOptions{Prefix: "INBOX/"})
	const few, young = `Then the folder "Inbox" of "bob" holds fewer than 3 messages`, `Then the oldest message in the folder "INBOX" of "bob" is younger than 2 hours`
	empty := bed.Run(t, 5*time.Second, few+"\n"+young+"\n"+`Then the folder "Junk" of "bob" holds fewer than 1 messages`)
	fixture.Passed(t, empty)
	for _, age := range []time.Duration{time.Hour, 90 * time.Minute} {
		if err := bed.Deliver("bob", []byte(unrelated), time.Now().Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	outcome := bed.Run(t, 5*time.Second, few+"\n"+young)
	fixture.Passed(t, outcome)
	measured := map[string]float64{}
	for _, step := range append(empty.Steps, outcome.Steps...) {
		for _, m := range step.Report.Measurements {
			measured[m.Name] = m.Value
		}
	}
	if age := measured["mail_folder_oldest_age_seconds"]; measured["mail_folder_messages"] != 2 || age < 5399 || age > 5460 {
		t.Errorf("measured %v", measured)
	}
	if err := bed.Deliver("bob", []byte(unrelated), time.Now().Add(-50*time.Hour)); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		few:   `bob's INBOX at mail\.demo\.test:993 holds 3 messages, wanted fewer than 3`,
		young: `the oldest of 3 messages in bob's INBOX at mail\.demo\.test:993 came at \d\d:\d\d:\d\d UTC on \d+ \w+ \d{4}, 2 days ago, wanted younger than 2 hours`,
		`Then the folder "Lists" of "bob" holds fewer than 3 messages`: `bob has no folder "Lists" at mail\.demo\.test:993: it has INBOX, INBOX/Junk`,
	} {
		reason, blame := result.ReasonUnexpected, result.BlameTarget
		switch text {
		case few:
		case young:
			reason = result.ReasonSlow
		default:
			reason, blame = result.ReasonNotFound, result.BlameAccess
		}
		check(t, bed.Run(t, 5*time.Second, text), 0, reason, blame, want)
	}
	if n := bed.Mailbox("bob"); n != 3 {
		t.Errorf("%d messages, wanted 3: nothing may change", n)
	}
}
