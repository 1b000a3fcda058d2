package mail_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

// Mail that came after its run had given up is late, not lost: the next run counts it, with its own delay.
func TestLateMailIsMeasured(t *testing.T) {
	bed := fixture.NewMailbed(t, stepstest.MailOptions{})
	fixture.Passed(t, bed.Run(t, 5*time.Second, roundTrip))
	message := bed.Deliveries()[0].Message
	message = bytes.Replace(message, []byte("X-Stepwatch-Run: "), []byte("X-Stepwatch-Run: EARLIER"), 1)
	for _, delay := range []time.Duration{0, 90 * time.Second, 300 * time.Second} {
		if err := bed.Deliver("bob", message, time.Now().Add(delay)); err != nil {
			t.Fatal(err)
		}
	}
	outcome := bed.Run(t, 5*time.Second, roundTrip)
	fixture.Passed(t, outcome)
	measured := map[string]float64{}
	for _, m := range outcome.Steps[3].Report.Measurements {
		measured[m.Name] = m.Value
	}
	if got := measured["mail_late_delivery_seconds"]; measured["mail_late_messages"] != 2 || got < 299 || got > 303 {
		t.Errorf("measured %v", measured)
	}
	if n := bed.Mailbox("bob"); n != 0 {
		t.Errorf("%d messages left behind", n)
	}
}
