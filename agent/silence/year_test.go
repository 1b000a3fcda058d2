package silence

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
)

// TestYear lives through two years with people who silence and end silences, maintenance windows, reloads of them, restarts and
// kills. At every moment what the Book says must be what was asked of it, and the end that it promises must hold.
func TestYear(t *testing.T) {
	for seed := range uint64(1) { // more of them take long
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { liveThrough(t, rand.New(rand.NewPCG(seed, 15)), 2*365*24*time.Hour) })
		})
	}
}

// made is a silence as the test remembers it.
type made struct {
	id         string
	start, end time.Time
	selects    func(Subject) bool
}

func liveThrough(t *testing.T, random *rand.Rand, length time.Duration) {
	dir := t.TempDir()
	var subjects []Subject
	for i := range 12 {
		s := Subject{Identity: result.Identity{Feature: fmt.Sprintf("Feature %d", i%3), Scenario: fmt.Sprintf("Scenario %d", i), Owner: []string{"mail", "web", "dns"}[i%3]}}
		if i%4 == 0 {
			s.Tags = []string{"@slow"}
		}
		subjects = append(subjects, s)
	}
	selections := []struct {
		m       Matchers
		selects func(Subject) bool
	}{
		{Matchers{All: true}, func(Subject) bool { return true }},
		{Matchers{Owner: Values{"mail", "dns"}}, func(s Subject) bool { return s.Identity.Owner != "web" }},
		{Matchers{Name: Values{"Scenario 1*"}}, func(s Subject) bool { return strings.HasPrefix(s.Identity.Scenario, "Scenario 1") }},
		{Matchers{Tags: "@slow", Feature: Values{"Feature 0"}}, func(s Subject) bool { return len(s.Tags) > 0 && s.Identity.Feature == "Feature 0" }},
	}
	berlin := clockOf(t, "Europe/Berlin", "2000-01-01 00:00").Location()
	nights := WhenSpec{Times: daily("22:30", "04:00"), Weekdays: Values{"saturday"}, Location: "Europe/Berlin"}
	lasts := WhenSpec{DaysOfMonth: Values{"-1"}, Location: "Europe/Berlin"}
	specs := []WindowSpec{{"nights", selections[1].m, []WhenSpec{nights}}, {"lasts", selections[2].m, []WhenSpec{lasts}}}
	oracles := []*oracle{newOracle(nights), newOracle(lasts)}
	windowSelects := []func(Subject) bool{selections[1].selects, selections[2].selects}
	windowed := true

	store := openStore(t, dir)
	open := []*FileStore{store}
	b := newBook(t, store)
	reload := func() {
		b.SetWindows(nil)
		if windowed {
			b.SetWindows(NewWindows(specs, time.Now(), func(setting, format string, args ...any) { t.Errorf(setting+format, args...) }))
		}
	}
	reload()
	var all []made
	counts := make(map[string]int)
	ctx := t.Context()
	for end := time.Now().Add(length); time.Now().Before(end); time.Sleep(time.Duration(1+random.IntN(60)) * time.Minute) {
		now := time.Now()
		switch n := random.IntN(400); {
		case n < 6:
			choice := selections[random.IntN(len(selections))]
			start := now.Add(time.Duration(random.IntN(3)*random.IntN(50)) * time.Hour)
			length := time.Duration(1+random.IntN(1500)) * time.Minute
			r := Request{Author: "alice", Reason: "work", Start: start, Duration: length.Seconds(), Matchers: choice.m}
			added, err := b.Add(ctx, r, subjects)
			if err != nil || len(added.Warnings) > 0 {
				t.Fatal(err, added)
			}
			all = append(all, made{added.ID, start, start.Add(length), choice.selects})
			counts["silences"]++
		case n < 10 && len(all) > 2:
			m := &all[len(all)-1-random.IntN(3)]
			_, err := b.End(ctx, m.id, "bob")
			over := !now.Before(m.end)
			if over != (errors.Is(err, ErrEnded) || errors.Is(err, ErrUnknown)) || !over && err != nil {
				t.Fatalf("end %s: %v", m.id, err)
			}
			if !over {
				m.end = now
				counts["ended"]++
			}
		case n < 12: // killed, or stopped
			if n == 10 {
				_ = open[len(open)-1].Close()
			}
			store := openStore(t, dir)
			open = append(open, store)
			b = newBook(t, store)
			reload()
			counts["restarts"]++
		case n == 12:
			windowed = !windowed
			reload()
			counts["reloads"]++
		}
		at := now.In(berlin)
		near := offset(at.Add(-24*time.Hour)) != offset(at.Add(24*time.Hour))
		for _, s := range subjects {
			bySilence, byWindow := false, false
			for _, m := range all {
				bySilence = bySilence || !now.Before(m.start) && now.Before(m.end) && m.selects(s)
			}
			for i, o := range oracles {
				byWindow = byWindow || windowed && o.holds(at) && windowSelects[i](s)
			}
			why, until, quiet := b.Quiet(s.Identity, s.Tags, now)
			if want := bySilence || byWindow; quiet != want && !(quiet && near) {
				t.Fatalf("%s: %s: got %v (%s), want %v: silence %v, window %v", at, s.Identity, quiet, why, want, bySilence, byWindow)
			}
			if !quiet {
				continue
			}
			counts[strings.Fields(why)[0]]++
			if _, _, still := b.Quiet(s.Identity, s.Tags, until.Add(-1)); !until.After(now) || !still {
				t.Fatalf("%s: %s: %s until %s does not hold until then", at, s.Identity, why, until)
			}
		}
	}
	for _, store := range open {
		_ = store.Close()
	}
	if counts["silence"] < 1000 || counts["maintenance"] < 1000 || counts["restarts"] < 50 || counts["ended"] < 5 || counts["reloads"] < 20 {
		t.Errorf("that proves little: %v", counts)
	}
	t.Log(counts)
}
