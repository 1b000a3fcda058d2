package exposition

import (
	"errors"
	"strings"
	"testing"

	"github.com/stepwatch/stepwatch/steps/limit"
)

// TestLimits parses pages just at the limits, and just above them.
func TestLimits(t *testing.T) {
	labels := func(n int64) string { return "m{" + strings.Repeat(`a="b",`, int(n)) + "} 1\n" }
	for text, want := range map[string]limit.Limit{
		strings.Repeat("m 1\n", int(samplesLimit.Most)+1): samplesLimit,
		labels(labelsLimit.Most + 1):                      labelsLimit,
	} {
		over := (*limit.Error)(nil)
		if _, err := Parse([]byte(text)); !errors.As(err, &over) || over.Limit != want {
			t.Errorf("%v, want the limit of %s", err, want.Unit)
		}
	}
	for text, want := range map[string]int64{
		strings.Repeat("# HELP m\n\nm 1\n", int(samplesLimit.Most)): samplesLimit.Most * 1000,
		labels(labelsLimit.Most):                                    1000 + labelsLimit.Most*120,
	} {
		if size, err := Size([]byte(text)); err != nil || size != want {
			t.Errorf("%d, %v, want %d", size, err, want)
		}
	}
}
