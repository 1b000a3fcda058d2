package state

import (
	"fmt"

	"github.com/stepwatch/stepwatch/agent/result"
)

// window is how many results flap detection looks at, as in Nagios ("Detection and Handling of State Flapping").
const window = 21

// The weights of the oldest and of the newest change of state in the window. The documentation of Nagios speaks of 0.8 and 1.2;
// Nagios Core 4.4.6 computes with these (TestFlappingAsNagios).
const (
	weightOldest = 0.75
	weightNewest = 1.25
)

// history holds the last results of a scenario. The zero value says that they were all OK, as Nagios assumes.
type history struct {
	states [window]uint8
	next   int // where the next one goes, which is the place of the oldest
	bad    int // how many are not OK
	seen   int // how many there were, up to window
}

// push adds a result.
func (h *history) push(s result.State) {
	if h.states[h.next] != 0 {
		h.bad--
	}
	if s != result.OK {
		h.bad++
	}
	h.states[h.next] = uint8(s) //nolint:gosec // one of four
	h.next = (h.next + 1) % window
	h.seen = min(h.seen+1, window)
}

// forgive removes the last results as far as they were not OK.
func (h *history) forgive() {
	for h.seen > 0 && h.at(0) != result.OK {
		h.next = (h.next - 1 + window) % window
		h.states[h.next] = 0
		h.bad--
		h.seen--
	}
}

// at returns the result that came so many before the last one.
func (h *history) at(ago int) result.State {
	return result.State(h.states[(h.next-1-ago+2*window)%window])
}

// notOK returns how many of the last results were not OK.
func (h *history) notOK(of int) (n int) {
	for ago := range min(of, window) {
		if h.at(ago) != result.OK {
			n++
		}
	}
	return n
}

// worst returns the worst result.
func (h *history) worst() result.State {
	worst := result.OK
	for _, s := range h.states {
		worst = worst.Worse(result.State(s))
	}
	return worst
}

// change returns how much the state changed in the window, in percent: 100 if it changed with every result. Later changes
// weigh more.
func (h *history) change() float64 {
	if h.bad == 0 {
		return 0
	}
	sum := 0.0
	for i := 1; i < window; i++ { // the change from the i-th oldest result to the next
		if h.at(window-i) != h.at(window-1-i) {
			sum += weightOldest + (weightNewest-weightOldest)*float64(i-1)/(window-2)
		}
	}
	return sum * 100 / (window - 1)
}

// letters are the states in the text of a history.
const letters = "OWCU"

// MarshalText returns the results as letters, the oldest first.
func (h history) MarshalText() ([]byte, error) {
	text := make([]byte, 0, window)
	for ago := h.seen - 1; ago >= 0; ago-- {
		text = append(text, letters[h.at(ago)])
	}
	return text, nil
}

// UnmarshalText reads what MarshalText returned.
func (h *history) UnmarshalText(text []byte) error {
	*h = history{}
	for _, letter := range text {
		s := -1
		for i := range letters {
			if letters[i] == letter {
				s = i
			}
		}
		if s < 0 {
			return fmt.Errorf("read the last results: want letters of %s, got %q", letters, text)
		}
		h.push(result.State(s))
	}
	return nil
}
