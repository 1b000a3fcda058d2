package mail_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

// A copy in a folder for refused mail is no delivery by a filter: the message is deferred.
func TestACopyOfRefusedMailIsDeferred(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		step int
	}{
		"INBOX": {strings.ReplaceAll(roundTrip, "IMAP within 5s", "IMAP within 200ms"), 3},
		"folder": {`When I send a message from "alice" to "bob" via 587
			Then "bob" receives it in the folder "Lists" over IMAP within 200ms`, 1},
	} {
		t.Run(name, func(t *testing.T) {
			bed := fixture.NewMailbed(t, stepstest.MailOptions{})
			if err := bed.Break(stepstest.FaultRejects); err != nil {
				t.Fatal(err)
			}
			outcome := bed.Run(t, 10*time.Second, c.text)
			check(t, outcome, c.step, result.ReasonDeferred, result.BlameFiltering,
				`no message in bob's INBOX at mail\.demo\.test:993: the receiving server refused the message and keeps a copy in the folder "Rejects"; the sending server may still try again: `+
					`it was sent from alice@demo\.test and accepted by mail\.demo\.test:587 as Q; nothing came back to alice@demo\.test in 2 folders`)
			if n := bed.Mailbox("bob"); n != 0 {
				t.Errorf("%d messages left", n)
			}
		})
	}
}
