package limit

import (
	"errors"
	"strings"
	"testing"
)

func TestErrorSaysLimitValueAndSetting(t *testing.T) {
	line := Limit{Subject: "IMAP", What: "a line of the answer", Unit: "bytes", Most: 10}
	if err := line.Check(10); err != nil {
		t.Error(err)
	}
	for err, want := range map[error]string{
		line.Check(11):              "a line of the answer has 11 bytes, the limit is 10",
		line.Exceeded():             "a line of the answer has more than 10 bytes, the limit",
		line.With(5).Check(6):       "a line of the answer has 6 bytes, the limit is 5",
		RunMemory.Check(64<<20 + 1): "what the run has read has 67108865 bytes, the limit is 67108864; limits.memory in stepwatch.yml raises it",
	} {
		if err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestMemoryOfARun(t *testing.T) {
	m := NewMemory(100, nil)
	if err := m.Take(100); err != nil {
		t.Fatal(err)
	}
	m.Free(50)
	if err := m.Take(51); err == nil || !strings.Contains(err.Error(), "101 bytes, the limit is 100") {
		t.Error(err)
	}
	m.Close()
	if m.Used() != 0 {
		t.Error(m.Used())
	}
	var none *Memory
	if err := none.Take(1 << 40); err != nil {
		t.Error(err)
	}
	none.Free(1)
	none.Close()
}

// Greedy runs use up the memory of all; a modest run still gets what it needs, and what ends is free again.
func TestMemoryOfAllRuns(t *testing.T) {
	all := NewPool(10 << 20)
	greedy, late, modest := NewMemory(0, all), NewMemory(0, all), NewMemory(0, all)
	if err := greedy.Take(9 << 20); err != nil {
		t.Fatal(err)
	}
	shared := (*PoolError)(nil)
	if err := late.Take(2 << 20); !errors.As(err, &shared) || shared.Limit != 10<<20 {
		t.Error(err)
	}
	if err := modest.Take(guaranteed); err != nil {
		t.Error(err)
	}
	for _, m := range []*Memory{greedy, late, modest} {
		m.Close()
	}
	if all.Used() != 0 {
		t.Error(all.Used())
	}
}

// TestLimitOfAllRunsIsFoundOutWhenNeeded holds that a small use asks nobody for the limit of all runs.
func TestLimitOfAllRunsIsFoundOutWhenNeeded(t *testing.T) {
	asked := 0
	all := NewLazyPool(4<<20, func() int64 { asked++; return 6 << 20 })
	m := NewMemory(0, all)
	if err := m.Take(4 << 20); err != nil || asked != 0 {
		t.Errorf("got %v, asked %d times", err, asked)
	}
	if err := m.Take(2 << 20); err != nil || asked != 1 {
		t.Errorf("got %v, asked %d times", err, asked)
	}
	shared := (*PoolError)(nil)
	if err := m.Take(1); !errors.As(err, &shared) || shared.Limit != 6<<20 || asked != 1 {
		t.Errorf("got %v, asked %d times", err, asked)
	}
	if err := NewMemory(0, NewLazyPool(4<<20, func() int64 { return 0 })).Take(4 << 20); err != nil {
		t.Error(err)
	}
}
