package silence

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stepwatch/stepwatch/agent/database"
	"github.com/stepwatch/stepwatch/agent/result"
)

// relay and site are scenarios of two owners.
var (
	relay = Subject{result.Identity{Feature: "Mail", Scenario: "Relay", Owner: "mail"}, []string{"@mail", "@owner:mail"}}
	site  = Subject{result.Identity{Feature: "Web", Scenario: "Front page", Owner: "web"}, []string{"@owner:web"}}
	known = []Subject{relay, site}
)

func newBook(t *testing.T, store Store) *Book {
	t.Helper()
	b, err := Open(t.Context(), store, nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func add(t *testing.T, b *Book, r Request) *Added {
	t.Helper()
	added, err := b.Add(t.Context(), r, known)
	if err != nil {
		t.Fatalf("%+v: %v", r, err)
	}
	return added
}

// quiet returns why and until when a scenario is quiet, in one line.
func quiet(b *Book, s Subject) string {
	why, until, quiet := b.Quiet(s.Identity, s.Tags, time.Now())
	if !quiet {
		return "heard"
	}
	return why + " until " + until.Format("15:04")
}

// TestBook follows silences through their lives.
func TestBook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // it is midnight
		b := newBook(t, nil)
		request := Request{Author: "alice", Reason: "upgrade", Duration: 7200, Matchers: Matchers{Owner: Values{"mail"}}}
		first := add(t, b, request)
		if first.Scenarios != 1 || first.State != Active || len(first.ID) != 8 {
			t.Errorf("got %+v", first)
		}
		if len(first.Warnings) != 1 || !strings.Contains(first.Warnings[0], "ends when the agent restarts: this agent has no state directory") {
			t.Errorf("without a store: %q", first.Warnings)
		}
		expect := func(wantRelay, wantSite string) {
			t.Helper()
			if got := quiet(b, relay) + ", " + quiet(b, site); got != wantRelay+", "+wantSite {
				t.Errorf("%s: got %s, want %s, %s", time.Now().Format("15:04:05"), got, wantRelay, wantSite)
			}
		}
		expect("silence "+first.ID+" of alice: upgrade until 02:00", "heard")

		// A pending one that ends later takes over when it has begun.
		request.Author, request.Start, request.Duration = "bob", time.Now().Add(time.Hour), 0
		request.End = time.Now().Add(3 * time.Hour)
		second := add(t, b, request)
		if second.State != Pending {
			t.Errorf("got %+v", second)
		}
		expect("silence "+first.ID+" of alice: upgrade until 02:00", "heard")
		time.Sleep(time.Hour)
		expect("silence "+second.ID+" of bob: upgrade until 03:00", "heard")
		time.Sleep(2*time.Hour - time.Nanosecond)
		expect("silence "+second.ID+" of bob: upgrade until 03:00", "heard")
		time.Sleep(time.Nanosecond)
		expect("heard", "heard")

		third := add(t, b, Request{Author: "carol", Reason: "all", Duration: 3600, Matchers: Matchers{All: true}})
		if third.Scenarios != 2 {
			t.Errorf("got %d scenarios", third.Scenarios)
		}
		expect("silence "+third.ID+" of carol: all until 04:00", "silence "+third.ID+" of carol: all until 04:00")
		time.Sleep(time.Minute)
		if ended, err := b.End(t.Context(), third.ID, "dave"); err != nil || len(ended.Warnings) > 0 {
			t.Error(ended, err) // a restart ends it, too
		}
		expect("heard", "heard")
		if _, err := b.End(t.Context(), third.ID, "dave"); !errors.Is(err, ErrEnded) {
			t.Errorf("ended twice: %v", err)
		}
		if _, err := b.End(t.Context(), first.ID, "dave"); !errors.Is(err, ErrEnded) {
			t.Errorf("ended by itself, and again: %v", err)
		}
		if _, err := b.End(t.Context(), "12345678", "dave"); !errors.Is(err, ErrUnknown) {
			t.Errorf("unknown: %v", err)
		}
		if _, _, in := b.Quiet(relay.Identity, relay.Tags, time.Now().Add(-time.Second)); in {
			t.Error("the clock is set back a second: an ended silence holds again")
		}
		got := ""
		for _, l := range b.List() {
			got += fmt.Sprintf("%s %s %s %s\n", l.Author, l.State, l.over().Format("15:04"), l.EndedBy)
		}
		if want := "carol ended 03:01 dave\nbob ended 03:00 \nalice ended 02:00 \n"; got != want {
			t.Errorf("got\n%swant\n%s", got, want)
		}

		// One that never began is kept no longer than the others.
		later := add(t, b, Request{Author: "erin", Reason: "x", Start: time.Now().Add(time.Hour), Duration: 60, Matchers: Matchers{All: true}})
		if ended, err := b.End(t.Context(), later.ID, "erin"); err != nil || ended.State != Ended || !ended.EndedAt.Before(ended.Start) {
			t.Errorf("got %+v, %v", ended, err)
		}

		time.Sleep(endedKept + time.Hour)
		add(t, b, Request{Author: "alice", Reason: "x", Duration: 60, Matchers: Matchers{All: true}})
		if all := b.List(); len(all) != 1 {
			t.Errorf("after a month: %+v", all)
		}
		if _, err := b.Get(first.ID); !errors.Is(err, ErrUnknown) {
			t.Error(err)
		}
	})
}

func TestRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now().UTC()
		at := func(d time.Duration) time.Time { return now.Add(d) }
		const day = 24 * time.Hour
		for _, test := range []struct {
			change func(*Request)
			want   string // the error, or the time of the silence
			warned string
		}{
			{func(*Request) {}, "0s to 1h0m0s", ""},
			{func(r *Request) { r.Duration, r.End = 0, at(time.Hour) }, "0s to 1h0m0s", ""},
			{func(r *Request) { r.Start = at(time.Hour) }, "1h0m0s to 2h0m0s", ""},
			{func(r *Request) { r.Start = at(-30 * time.Second) }, "0s to 1h0m0s", ""},
			{func(r *Request) { r.Start = at(-time.Hour); r.Duration = 7200 }, "0s to 2h0m0s", "it begins now, not at 1999-12-31T23:00:00Z, which is past: what was told is told"},
			{func(r *Request) { r.Matchers = Matchers{Owner: Values{"mial"}} }, "0s to 1h0m0s", "it selects none of the 2 scenarios that are loaded: compare it with their names (GET /api/scenarios)"},
			{func(r *Request) { r.Author = "" }, "author is empty: say who silences the scenarios", ""},
			{func(r *Request) { r.Reason = "\t" }, "reason is empty: say why the alerts are not wanted", ""},
			{func(r *Request) { r.Reason = "a\nb" }, "reason contains a line break or another control character: write it in one line", ""},
			{func(r *Request) { r.Duration = 0 }, "end is missing: say until when (end) or for how long (duration_seconds)", ""},
			{func(r *Request) { r.End = at(time.Hour) }, "end and duration_seconds are both set: set one of them", ""},
			{func(r *Request) { r.Duration = -1 }, "duration_seconds is -1: it must be more than zero", ""},
			{func(r *Request) { r.Duration = 1e-12 }, "end 2000-01-01T00:00:00Z is past, it is 2000-01-01T00:00:00Z now", ""},
			{func(r *Request) { r.Duration = 1e300 }, "end is more than a year after the start: a scenario that nobody wants to hear of can be removed, or tagged @manual", ""},
			{func(r *Request) { r.Duration, r.End = 0, at(-time.Minute) }, "end 1999-12-31T23:59:00Z is past, it is 2000-01-01T00:00:00Z now", ""},
			{func(r *Request) { r.Duration, r.Start, r.End = 0, at(2*time.Hour), at(time.Hour) }, "end 2000-01-01T01:00:00Z is not after the start, 2000-01-01T02:00:00Z", ""},
			{func(r *Request) { r.Duration = (8 * day).Seconds() }, "end is more than seven days after the start: set long (--long) if that is meant", ""},
			{func(r *Request) { r.Duration, r.Long = (8 * day).Seconds(), true }, "0s to 192h0m0s", ""},
			{func(r *Request) { r.Duration, r.Long = (367 * day).Seconds(), true }, "end is more than a year after the start: a scenario that nobody wants to hear of can be removed, or tagged @manual", ""},
			{func(r *Request) { r.Start = at(400 * day) }, "start 2001-02-04T00:00:00Z is more than a year ahead: is the year right? A recurring window belongs to maintenance in stepwatch.yml", ""},
			{func(r *Request) { r.Matchers = Matchers{} }, "no scenario is selected: set name, feature, owner, severity, location, file or tags, or all for every scenario", ""},
			{func(r *Request) { r.Matchers = Matchers{Tags: "("} }, `matchers.tags has a mistake: tag expression "(": a "(" is never closed`, ""},
		} {
			b := newBook(t, nil)
			r := Request{Author: "alice", Reason: "upgrade", Duration: 3600, Matchers: Matchers{Owner: Values{"mail"}}}
			test.change(&r)
			added, err := b.Add(t.Context(), r, known)
			var got, warned string
			if err != nil {
				got = err.Error()
				if field := (*FieldError)(nil); !errors.As(err, &field) {
					t.Errorf("%+v: the error is a %T", r, err)
				}
			} else {
				got = fmt.Sprintf("%s to %s", added.Start.Sub(now), added.End.Sub(now))
				warned = strings.Join(added.Warnings[:len(added.Warnings)-1], ", ") // without that there is no store
			}
			if got != test.want || warned != test.warned {
				t.Errorf("%+v:\ngot  %s, %s\nwant %s, %s", r, got, warned, test.want, test.warned)
			}
		}
	})
}

// TestBookIsBounded holds that silences do not grow without end.
func TestBookIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook(t, nil)
		r := Request{Author: "alice", Reason: "x", Duration: 60, Matchers: Matchers{All: true}}
		for range 2 {
			for range currentMost {
				add(t, b, r)
			}
			if _, err := b.Add(t.Context(), r, known); !errors.Is(err, ErrFull) {
				t.Fatalf("got %v", err)
			}
			time.Sleep(time.Hour)
		}
		add(t, b, r)
		if all := b.List(); len(all) != endedMost+1 {
			t.Errorf("got %d", len(all))
		}
	})
}

func openStore(t *testing.T, dir string) *FileStore {
	t.Helper()
	store, err := NewStore(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

// TestBookSurvivesARestart opens the file again without closing it first, as after kill -9.
func TestBookSurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	b := newBook(t, openStore(t, dir))
	kept := add(t, b, Request{Author: "alice", Login: "ops", Reason: "upgrade", Duration: 3600, Matchers: Matchers{Tags: "@mail", Name: Values{"Relay"}}})
	ended := add(t, b, Request{Author: "bob", Reason: "x", Duration: 3600, Matchers: Matchers{All: true}})
	if _, err := b.End(t.Context(), ended.ID, "carol"); err != nil || len(kept.Warnings)+len(ended.Warnings) > 0 {
		t.Fatal(err, kept.Warnings)
	}
	want, _ := json.Marshal(b.List())
	again := newBook(t, openStore(t, dir))
	if got, _ := json.Marshal(again.List()); string(got) != string(want) || len(again.List()) != 2 {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := quiet(again, relay); !strings.Contains(got, kept.ID) || quiet(again, site) != "heard" {
		t.Errorf("got %s, %s", got, quiet(again, site))
	}
}

// TestUnreadableSilence holds that one silence that cannot be read is named, and does not take the others with it.
func TestUnreadableSilence(t *testing.T) {
	dir := t.TempDir()
	store := openStore(t, dir)
	good := Silence{ID: "00000001", Author: "alice", Reason: "x", End: time.Now().Add(time.Hour), Matchers: Matchers{All: true}}
	if err := store.Put(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	if err := store.damage(t.Context(), "00000002"); err != nil {
		t.Fatal(err)
	}
	b, err := Open(t.Context(), store, nil)
	if err == nil || !strings.Contains(err.Error(), "read the silences: read the silence 00000002: ") || !strings.Contains(quiet(b, relay), "00000001") {
		t.Errorf("got %v, %s", err, quiet(b, relay))
	}
}

// TestOtherVersion holds that a silence whose matchers this version does not accept is named while it holds, and then removed.
func TestOtherVersion(t *testing.T) {
	store := openStore(t, t.TempDir())
	other := Silence{ID: "00000001", Author: "alice", Reason: "x", End: time.Now().Add(time.Hour), Matchers: Matchers{Tags: "@a nand @b"}}
	over := Silence{ID: "00000002", Author: "bob", Reason: "x", End: time.Now().Add(-time.Hour), Matchers: Matchers{Tags: "@a nand @b"}}
	if err := store.Put(t.Context(), other, over); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	if b, err := Open(t.Context(), store, slog.New(slog.NewTextHandler(&log, nil))); err != nil || len(b.List()) > 0 || quiet(b, relay) != "heard" {
		t.Errorf("got %+v, %v", b.List(), err)
	}
	if said := log.String(); !strings.Contains(said, "a kept silence cannot be used: make it again") || !strings.Contains(said, "00000001") || strings.Contains(said, "00000002") {
		t.Error(said)
	}
	if kept, err := store.Load(t.Context()); err != nil || len(kept) != 1 || kept[0].ID != "00000001" {
		t.Errorf("kept %+v, %v", kept, err)
	}
}

// damaged is a store that finds its file damaged once, and begins a new one.
type damaged struct {
	Store
	fresh Store
}

func (d *damaged) Put(ctx context.Context, all ...Silence) error {
	if d.Store != d.fresh {
		d.Store = d.fresh
		return fmt.Errorf("write: %w", &database.DamagedError{Path: File})
	}
	return d.Store.Put(ctx, all...)
}

// TestDamagedFile holds that a new file in the place of a damaged one gets all silences.
func TestDamagedFile(t *testing.T) {
	dir := t.TempDir()
	store := &damaged{fresh: openStore(t, dir)}
	store.Store = openStore(t, t.TempDir())
	r := Request{Author: "alice", Reason: "x", Duration: 3600, Matchers: Matchers{All: true}}
	b := newBook(t, store.Store)
	first := add(t, b, r)
	b.store = store
	second := add(t, b, r)
	if err := b.Trouble(); err != nil {
		t.Errorf("there is room again: %v", err)
	}
	if len(second.Warnings) > 0 {
		t.Errorf("warned: %q", second.Warnings)
	}
	again := newBook(t, openStore(t, dir))
	for _, id := range []string{first.ID, second.ID} {
		if _, err := again.Get(id); err != nil {
			t.Errorf("%s is lost: %v", id, err)
		}
	}
}

// full is a store on a full disk.
type full struct {
	Store
	is atomic.Bool
}

func (f *full) Put(ctx context.Context, all ...Silence) error {
	if f.is.Load() {
		return errors.New("no space left on device")
	}
	return f.Store.Put(ctx, all...)
}

// TestFullDisk holds that a silence holds although it cannot be stored, says so, and is stored later.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	store := &full{Store: openStore(t, dir)}
	store.is.Store(true)
	b := newBook(t, store)
	r := Request{Author: "alice", Reason: "the disk is full", Duration: 3600, Matchers: Matchers{Owner: Values{"mail"}}}
	first := add(t, b, r)
	if len(first.Warnings) != 1 || first.Warnings[0] != "it could not be stored, so it ends when the agent restarts: no space left on device" || !strings.Contains(quiet(b, relay), first.ID) {
		t.Errorf("got %q, %s", first.Warnings, quiet(b, relay))
	}
	if err := b.Trouble(); err == nil || err.Error() != "1 changes of silences could not be stored, so a restart of the agent undoes them: no space left on device" {
		t.Errorf("got %v", err)
	}
	store.is.Store(false)
	second := add(t, b, r)
	store.is.Store(true)
	ended, err := b.End(t.Context(), second.ID, "alice")
	if err != nil || len(ended.Warnings) != 1 || !strings.Contains(ended.Warnings[0], "this could not be stored") {
		t.Errorf("got %+v, %v", ended, err)
	}
	again := newBook(t, openStore(t, dir))
	if all := again.List(); len(all) != 2 || all[0].State != Active || all[1].State != Active {
		t.Errorf("got %+v", all)
	}
}

// TestFullDiskForAWhile holds that a silence is stored once there is room, without being asked.
func TestFullDiskForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := openStore(t, t.TempDir())
		store := &full{Store: disk}
		store.is.Store(true)
		b := newBook(t, store)
		added := add(t, b, Request{Author: "alice", Reason: "x", Duration: 36000, Matchers: Matchers{All: true}})
		time.Sleep(10 * time.Minute)
		if kept, err := disk.Load(t.Context()); err != nil || len(kept) > 0 {
			t.Errorf("got %+v, %v", kept, err)
		}
		store.is.Store(false)
		time.Sleep(time.Minute + time.Second)
		if kept, err := disk.Load(t.Context()); err != nil || len(kept) != 1 || kept[0].ID != added.ID {
			t.Errorf("got %+v, %v", kept, err)
		}
		store.is.Store(true)
		add(t, b, Request{Author: "alice", Reason: "x", Duration: 36000, Matchers: Matchers{All: true}})
		if err := b.Close(); err == nil || err.Error() != "no space left on device" {
			t.Errorf("closed with a silence that is not stored: %v", err)
		}
		time.Sleep(time.Hour) // nobody tries again
	})
}

func BenchmarkQuiet(b *testing.B) {
	book, _ := Open(b.Context(), nil, nil)
	for i := range 100 {
		if _, err := book.Add(b.Context(), Request{Author: "alice", Reason: "x", Duration: 1e5, Matchers: Matchers{Name: Values{fmt.Sprintf("Relay %d*", i)}}}, known); err != nil {
			b.Fatal(err)
		}
	}
	now := time.Now()
	for b.Loop() {
		book.Quiet(relay.Identity, relay.Tags, now)
	}
}
