package mail

import (
	"context"
	"testing"
)

func TestArrivalIsReadOnceAndKeepsTheOrderOfHeaders(t *testing.T) {
	reads := 0
	a := &Arrival{Read: func(context.Context) ([]byte, error) {
		reads++
		return []byte("Received: last\r\nReceived: first\r\nSubject: x\r\nbroken\r\n\r\nbody"), nil
	}}
	for range 2 {
		h, err := a.headers(context.Background())
		if err != nil || len(h.Values("Received")) != 2 || h.Values("Received")[0] != "last" {
			t.Errorf("got %q, %v", h, err)
		}
	}
	if reads != 1 {
		t.Errorf("read %d times", reads)
	}
	if _, err := (&Session{}).received(); err == nil {
		t.Error("a message that was never received is given")
	}
}
