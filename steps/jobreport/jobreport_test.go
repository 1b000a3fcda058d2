package jobreport

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func TestRuns(t *testing.T) {
	r := New("backup", noon)
	r.AddStart(noon, "a")
	r.AddStart(noon.Add(time.Minute), "b")
	r.AddEnd(noon.Add(3*time.Minute), "a", 0, "", false)
	if took, known := r.Success.Duration(); !known || took != 3*time.Minute {
		t.Errorf("a took %s, %t", took, known)
	}
	r.AddEnd(noon.Add(11*time.Minute), "b", 2, "no space", false)
	if took, known := r.Failure.Duration(); !known || took != 10*time.Minute || r.Last() != r.Failure || r.Failure.Outcome() != "exit status 2" {
		t.Errorf("b took %s, %t: %+v", took, known, r.Failure)
	}
	r.AddEnd(noon.Add(12*time.Minute), "c", 0, "", false)
	if _, known := r.Success.Duration(); known || r.Last() != r.Success || len(r.Running) != 0 {
		t.Errorf("the start of c was not reported: %+v", r)
	}
}

// TestClockPutBack holds that the order of the reports decides, not their times.
func TestClockPutBack(t *testing.T) {
	r := New("backup", noon)
	r.AddEnd(noon.Add(48*time.Hour), "", 0, "", false) // the clock was two days ahead
	r.AddStart(noon.Add(48*time.Hour), "x")
	r.AddEnd(noon.Add(time.Minute), "x", 1, "", false)
	if _, known := r.Failure.Duration(); known || r.Last() != r.Failure {
		t.Errorf("got %+v", r.Failure)
	}
	r.AddEnd(noon.Add(2*time.Minute), "", 0, "", false)
	if m := r.Moments(); len(m) != 1 || !m[0].Equal(noon.Add(2*time.Minute)) || r.Last() != r.Success {
		t.Errorf("got %v", m)
	}
}

func TestBounds(t *testing.T) {
	r := New("busy", noon)
	log := strings.Repeat("\x01", LogLimit)
	for i := range 3 * 24 * 60 * 2 {
		at := noon.Add(time.Duration(i) * 30 * time.Second)
		r.AddStart(at, fmt.Sprint(i))
		r.AddEnd(at, fmt.Sprint(i), i%2, log, false)
		r.AddStart(at, "lost"+fmt.Sprint(i))
	}
	if len(r.Running) > runningLimit || len(r.Successes) > momentsLimit || len(r.Successes) < 50*60-1 {
		t.Errorf("%d runs, %d moments", len(r.Running), len(r.Successes))
	}
	content, err := r.Encode()
	if err != nil || int64(len(content)) > fileLimit.Most {
		t.Errorf("%d bytes, %v", len(content), err)
	}
	if again, err := Decode("busy", content); err != nil || !reflect.DeepEqual(again.Successes, r.Successes) {
		t.Error(err)
	}
}

// TestMomentsAreExact holds that a window that begins and ends at whole minutes is judged as if every moment were kept.
func TestMomentsAreExact(t *testing.T) {
	r := New("busy", noon)
	for _, s := range []string{"06:29:59.9", "06:30:00", "06:30:01", "06:31:02"} {
		at, _ := time.Parse("2006-01-02 15:04:05", "2026-11-21 "+s)
		r.AddEnd(at, "", 0, "", false)
	}
	end := time.Date(2026, 11, 21, 6, 30, 0, 0, time.UTC)
	if !slices.ContainsFunc(r.Moments(), func(m time.Time) bool { return m.Equal(end) }) {
		t.Errorf("got %v", r.Moments())
	}
}

func TestLostRuns(t *testing.T) {
	r := New("backup", noon)
	r.AddStart(noon, "killed")
	r.AddStart(noon.Add(25*time.Hour), "next")
	if len(r.Running) != 2 {
		t.Fatal("the first run may still be in progress")
	}
	r.AddEnd(noon.Add(26*time.Hour), "next", 0, "", false)
	if len(r.Running) != 0 {
		t.Errorf("got %+v", r.Running)
	}
	r.AddStart(noon.Add(27*time.Hour), "")
	r.AddStart(noon.Add(28*time.Hour), "")
	if len(r.Running) != 1 {
		t.Errorf("a start without an id replaces the last one: %+v", r.Running)
	}
}

func TestTail(t *testing.T) {
	secret := "hunter2-hunter2-hunter2"
	hide := func(s string) string { return strings.ReplaceAll(s, secret, "[hidden]") }
	for _, c := range []struct{ name, written string }{
		{"short", "all of it\n"},
		{"long", strings.Repeat("line of the log\n", 10000) + "the end\n"},
		{"a secret across the limit", strings.Repeat("x", 50000) + secret + strings.Repeat("y", LogLimit-10)},
		{"not UTF-8", "\xff\xfe end"},
		{"a character across the limit", strings.Repeat("ü", LogLimit)},
	} {
		t.Run(c.name, func(t *testing.T) {
			var tail Tail
			for part := range slices.Chunk([]byte(c.written), 777) {
				_, _ = tail.Write(part)
			}
			text, cut := tail.Text(hide)
			if len(text) > LogLimit || cut != (len(c.written) > LogLimit) || strings.Contains(text, "hunter2") {
				t.Errorf("%d bytes, cut %t", len(text), cut)
			}
			if want := strings.TrimSpace(c.written[len(c.written)-4:]); !strings.HasSuffix(text, want) {
				t.Errorf("ends with %q, want %q", text[max(0, len(text)-20):], want)
			}
		})
	}
}

func newStore(t *testing.T) (*Store, string) {
	t.Helper()
	state := filepath.Join(t.TempDir(), "state")
	s, err := Open(state)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, state
}

func TestStore(t *testing.T) {
	s, state := newStore(t)
	if _, _, err := Read(state, "backup", noon); !errors.Is(err, ErrNone) {
		t.Errorf("nobody waits yet: %v", err)
	}
	r, damaged, err := s.Load("backup", noon)
	if err != nil || damaged != nil || !r.Since.Equal(noon) {
		t.Fatal(r, damaged, err)
	}
	r.AddEnd(noon.Add(time.Hour), "", 0, "done", false)
	if err := s.Save(r); err != nil {
		t.Fatal(err)
	}
	got, _, err := Read(state, "backup", noon)
	if err != nil || !reflect.DeepEqual(got, r) {
		t.Errorf("got %+v, %v", got, err)
	}
	if again, _, err := s.Load("backup", noon.Add(time.Hour)); err != nil || !again.Since.Equal(noon) {
		t.Errorf("since when stepwatch waits is forgotten: %+v, %v", again, err)
	}
	if _, err := os.Stat(filepath.Join(state, "absent")); err == nil {
		t.Error("a reader creates files")
	}
	if _, _, err := Read(filepath.Join(state, "absent"), "backup", noon); !errors.Is(err, ErrNone) {
		t.Errorf("got %v", err)
	}
}

// TestDamaged holds that a damaged file is never an empty record, stays, and is named.
func TestDamaged(t *testing.T) {
	whole := New("backup", noon)
	whole.AddEnd(noon, "", 0, "", false)
	content, _ := whole.Encode()
	for _, c := range []struct {
		name    string
		content string
		want    string
	}{
		{"empty", "", "the file is empty"},
		{"cut", string(content[:len(content)/2]), "not whole JSON"},
		{"zeros", strings.Repeat("\x00", 4096), "not whole JSON"},
		{"another job", strings.ReplaceAll(string(content), "backup", "other"), `it is about the job "other"`},
		{"more behind", string(content) + "{}", "something follows"},
		{"too large", strings.Repeat(" ", 300<<10), "more than"},
		{"no success", strings.ReplaceAll(string(content), `"successes":[`, `"others":[`), "not whole"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, state := newStore(t)
			path := filepath.Join(state, "jobs", "backup.job.json")
			if err := os.WriteFile(path, []byte(c.content), 0o600); err != nil {
				t.Fatal(err)
			}
			broken := (*DamagedError)(nil)
			if _, _, err := Read(state, "backup", noon); !errors.As(err, &broken) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("got %v", err)
			}
			r, damaged, err := s.Load("backup", noon)
			if err != nil || damaged == nil || !strings.Contains(damaged.Error(), r.SetAside) {
				t.Fatal(damaged, err)
			}
			if kept, err := os.ReadFile(r.SetAside); err != nil || string(kept) != c.content {
				t.Errorf("the damaged file is not kept: %v", err)
			}
			if _, _, err := Read(state, "backup", noon); err != nil {
				t.Error(err)
			}
		})
	}
	s, state := newStore(t)
	newer := strings.ReplaceAll(string(content), `"version":1`, `"version":2`)
	if err := os.WriteFile(filepath.Join(state, "jobs", "backup.job.json"), []byte(newer), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, damaged, err := s.Load("backup", noon); !errors.Is(err, ErrNewer) || damaged != nil {
		t.Errorf("a newer file must stay: %v, %v", damaged, err)
	}
}

func TestPresence(t *testing.T) {
	s, state := newStore(t)
	at := func(minutes float64) time.Time { return noon.Add(time.Duration(minutes * float64(time.Minute))) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(s.Begin(noon))
	must(s.Present(at(1)))
	must(s.Begin(at(1.2))) // a quick restart: a client that tries again loses nothing
	must(s.Present(at(2)))
	must(s.Begin(at(60)))
	for m := 61.0; m <= 200; m++ {
		must(s.Present(at(m)))
	}
	must(s.Present(at(260))) // the machine was suspended
	must(s.Present(at(261)))
	if _, _, err := s.Load("backup", noon); err != nil {
		t.Fatal(err)
	}
	_, p, err := Read(state, "backup", at(262))
	must(err)
	if gap, missed := p.Missed(at(30), at(40)); !missed || !gap.From.Equal(at(2)) || !gap.To.Equal(at(60)) {
		t.Errorf("got %v, %t", gap, missed)
	}
	if gap, missed := p.Missed(at(210), at(220)); !missed || !gap.To.Equal(at(260)) {
		t.Errorf("suspended: got %v, %t", gap, missed)
	}
	for _, span := range [][2]float64{{0, 1.9}, {60, 199}, {260, 262}} {
		if gap, missed := p.Missed(at(span[0]), at(span[1])); missed {
			t.Errorf("%v: got %v", span, gap)
		}
	}
	for i := range 3 * presenceLimit { // an agent that is ended again and again
		must(s.Begin(at(float64(300 + 2*i))))
	}
	if content, err := os.ReadFile(filepath.Join(state, "jobs", presenceFile)); err != nil || int64(len(content)) > presenceSize.Most {
		t.Errorf("%d bytes, %v", len(content), err)
	}
	must(s.Present(at(2000)))
	_, p, err = Read(state, "backup", at(2090)) // nobody has listened since 2000
	must(err)
	if _, missed := p.Missed(at(2080), at(2085)); !missed {
		t.Error("an agent that has ended is not noticed")
	}
}

func TestCheckName(t *testing.T) {
	for _, name := range []string{"", ".", "..", "../etc/passwd", "a/b", "-x", ".hidden", "ä", strings.Repeat("x", 65), "a b", "a\x00"} {
		if CheckName(name) == nil {
			t.Errorf("%q is a name", name)
		}
	}
}

// FuzzDecode holds that a file is a record that can be judged and written again, or an error.
func FuzzDecode(f *testing.F) {
	r := New("backup", noon)
	r.AddStart(noon, "a")
	r.AddEnd(noon.Add(time.Minute), "a", 0, "log", false)
	r.AddEnd(noon.Add(time.Minute), "b", 3, "log", true)
	r.AddStart(noon, "c")
	content, _ := r.Encode()
	f.Add(content)
	f.Add([]byte(`{"version":1,"job":"backup","waiting_since":"2026-11-21T12:00:00Z","number":0}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		r, err := Decode("backup", content)
		if err != nil {
			return
		}
		r.AddStart(noon, "x")
		r.AddEnd(noon.Add(time.Hour), "x", 1, "", false)
		r.AddEnd(noon.Add(time.Hour), "", 0, "", false)
		if r.Last() != r.Success || len(r.Moments()) == 0 {
			t.Errorf("%+v", r)
		}
		again, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Decode("backup", again); err != nil {
			t.Errorf("%v: %s", err, again)
		}
	})
}
