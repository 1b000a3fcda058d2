package mail

import (
	"testing"
	"time"
)

func TestPollGap(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		waited, answer time.Duration
		waits          int64
		want           time.Duration
	}{
		{0, ms / 3, 1, 2 * ms},
		{time.Second, ms / 3, 1, 4 * ms},
		{2 * time.Second, 50 * ms, 100, 8 * ms},
		{5 * time.Second, ms / 3, 1, 20 * ms},
		{time.Minute, ms / 3, 8, 20 * ms},
		{time.Minute, ms / 3, 40, 100 * ms},
		{time.Minute, 50 * ms, 1, 200 * ms},
		{4 * time.Minute, ms / 3, 1, 20 * ms},
		{time.Hour, ms / 3, 1, 300 * ms},
	} {
		if got := pollGap(c.waited, c.answer, c.waits); got != c.want {
			t.Errorf("waited %s, an answer takes %s, %d waits: got %s, want %s", c.waited, c.answer, c.waits, got, c.want)
		}
	}
}

// One slow answer changes the average little, and several slow answers change it.
func TestSmooth(t *testing.T) {
	average := smooth(0, 8*time.Millisecond)
	if average != 8*time.Millisecond {
		t.Errorf("the first: %s", average)
	}
	if average = smooth(average, 88*time.Millisecond); average != 18*time.Millisecond {
		t.Errorf("a slow one: %s", average)
	}
	for range 40 {
		average = smooth(average, 88*time.Millisecond)
	}
	if average < 80*time.Millisecond {
		t.Errorf("after forty slow ones: %s", average)
	}
}
