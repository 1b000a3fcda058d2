package collector

import (
	"runtime"
	"runtime/metrics"
	"testing"
)

func TestPercentage(t *testing.T) {
	const mb = 1 << 20
	for _, c := range []struct {
		growth, inUse uint64
		percent       int
	}{
		{Once, 0, 800}, // so the first collection is at 32 MB
		{Agent, 0, 300},
		{Agent, 2 * mb, 300},
		{Agent, 8 * mb, 150},
		{Agent, 24 * mb, 50},
		{Agent, 512 * mb, 50},
	} {
		if got := percentage(c.growth, c.inUse); got != c.percent {
			t.Errorf("growth %d MB, in use %d MB: got %d %%, want %d %%", c.growth/mb, c.inUse/mb, got, c.percent)
		}
	}
}

// TestPace checks that each collection sets the percentage for what it has found in use.
func TestPace(t *testing.T) {
	t.Setenv("GOGC", "")
	Pace(Agent)
	after := make(chan struct{}, 100)
	afterEach(func() { after <- struct{}{} })
	percent := func() uint64 {
		t.Helper()
		s := []metrics.Sample{{Name: "/gc/gogc:percent"}}
		metrics.Read(s)
		return s[0].Value.Uint64()
	}
	if got := percent(); got != 300 {
		t.Errorf("a small heap may grow by %d %%", got)
	}
	large := make([]byte, 64<<20)
	for round := 0; percent() != share; round++ { // Pace's cleanup of a collection may come after ours
		if round == 10 {
			t.Fatalf("with %d MB in use the heap may grow by %d %%", len(large)>>20, percent())
		}
		runtime.GC()
		<-after
	}
	runtime.KeepAlive(large)
	for round := 0; percent() != 300; round++ {
		if round == 10 {
			t.Fatalf("the heap is small again and may grow by %d %%", percent())
		}
		runtime.GC()
		<-after
	}
}

// TestPaceOfTheUser checks that GOGC in the environment takes precedence.
func TestPaceOfTheUser(t *testing.T) {
	t.Setenv("GOGC", "73")
	before := growth.Load()
	Pace(Once)
	if growth.Load() != before {
		t.Error("Pace ignores GOGC")
	}
}
