package mail_test

import (
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

func TestCopyIsMissing(t *testing.T) {
	bed := fixture.NewMailbed(t, stepstest.MailOptions{})
	outcome := bed.Run(t, 5*time.Second, `
		When I send a message from "alice" to "bob" via 587
		Then "alice" receives a copy over IMAP within 200ms`)
	check(t, outcome, 1, result.ReasonNotReceived, result.BlameDelivery, `no message in alice's INBOX at mail\.demo\.test:993 after 0\.\d{3}s: .*`)
	if n := bed.Mailbox("bob"); n != 0 {
		t.Errorf("%d messages left behind", n)
	}
}

func TestCopyArrives(t *testing.T) {
	bed := fixture.NewMailbed(t, stepstest.MailOptions{})
	fixture.Passed(t, bed.Run(t, 5*time.Second, `
		When I send a message from "alice" to "bob" via 587
		Then "bob" receives a copy over IMAP within 2s`))
	if n := bed.Mailbox("bob"); n != 0 {
		t.Errorf("%d messages left behind", n)
	}
}
