package steps

import (
	"testing"
	"time"
)

func TestPollGap(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct{ waited, answer, want time.Duration }{
		{0, ms / 3, 2 * ms},
		{time.Second, ms / 3, 4 * ms},
		{2 * time.Second, 50 * ms, 8 * ms},
		{5 * time.Second, ms / 3, 20 * ms},
		{time.Minute, ms / 3, 25 * ms},
		{time.Minute, 50 * ms, 200 * ms},
		{5 * time.Minute, ms / 3, 25 * ms},
		{time.Hour, ms / 3, 300 * ms},
	} {
		if got := pollGap(c.waited, c.answer); got != c.want {
			t.Errorf("waited %s, an answer takes %s: got %s, want %s", c.waited, c.answer, got, c.want)
		}
	}
}

// One slow answer changes the average little, and a server that became slow is known after some.
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
