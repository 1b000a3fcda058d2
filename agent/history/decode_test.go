package history

import (
	"bytes"
	"fmt"
	"math"
	mathrand "math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// records returns runs of every kind with their shapes, as they come from a journal.
func records(t testing.TB) (runs []record, known shapes) {
	t.Helper()
	all := make(map[uint64]*shape)
	known = func(id uint64) (*shape, error) {
		if s := all[id]; s != nil {
			return s, nil
		}
		return nil, fmt.Errorf("no shape %d", id)
	}
	var journal []byte
	before := int64(0)
	for i, res := range kinds() {
		s := newShape(res.Steps, false)
		s.id = uint64(i + 1)
		all[s.id] = s
		var err error
		if journal, before, err = appendRun(journal, res, res.State(), 1, s.id, false, before); err != nil {
			t.Fatal(err)
		}
	}
	r := newReader(journal, "runs")
	for at := int64(0); len(r.rest) > 0; {
		var one record
		at, _ = r.record(at, known, nil, &one)
		runs = append(runs, one)
	}
	if r.err != nil {
		t.Fatal(r.err)
	}
	sortRuns(runs)
	return runs, known
}

// TestBlock holds that a block has what was put into it, and that each damage of it is an error with its place or another content, but
// never a panic.
func TestBlock(t *testing.T) {
	runs, known := records(t)
	block := appendBlock(nil, runs)
	got, err := readBlock(block, "block 7", 1, known, detailsToo)
	if err != nil || len(got) != len(runs) {
		t.Fatalf("%d runs, %v", len(got), err)
	}
	for i := range runs {
		a, b := runs[i], got[i]
		if len(a.times)+len(b.times) == 0 {
			a.times, b.times = nil, nil
		}
		if len(a.values)+len(b.values) == 0 {
			a.values, b.values = nil, nil
		}
		if len(a.id)+len(b.id) == 0 {
			a.id, b.id = nil, nil
		}
		if !reflect.DeepEqual(a, b) {
			t.Errorf("got  %+v\nwant %+v", b, a)
		}
	}
	for n := range block {
		if _, err := readBlock(block[:n], "block 7", 1, known, detailsToo); err == nil {
			t.Errorf("the first %d of %d bytes are a block", n, len(block))
		} else if !strings.HasPrefix(err.Error(), "block 7: ") || !strings.Contains(err.Error(), "at byte ") {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func FuzzBlock(f *testing.F) {
	runs, known := records(f)
	f.Add(appendBlock(nil, runs))
	f.Add(appendBlock(nil, runs[:1]))
	f.Add(appendBlock(nil, slices.Repeat(runs[2:4], 30)))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, how := range []depth{statesOnly, numbersToo, detailsToo} {
			if _, err := readBlock(b, "a block", 1, known, how); err != nil && !strings.Contains(err.Error(), "a block: ") {
				t.Errorf("no place: %v", err)
			}
		}
	})
}

func FuzzJournal(f *testing.F) {
	_, known := records(f)
	var journal []byte
	before := int64(0)
	for i, res := range kinds() {
		journal, before, _ = appendRun(journal, res, res.State(), 1, uint64(i+1), false, before)
	}
	f.Add(journal)
	f.Fuzz(func(t *testing.T, b []byte) {
		r := newReader(b, "row 1")
		var one record
		for at := int64(0); len(r.rest) > 0; {
			at, _ = r.record(at, known, nil, &one)
		}
		if r.err != nil && !strings.HasPrefix(r.err.Error(), "row 1: ") {
			t.Errorf("no place: %v", r.err)
		}
	})
}

func someDay() day {
	d := make(day)
	random := mathrand.New(mathrand.NewPCG(5, 6))
	for _, n := range []int{0, 3, 23} {
		h := d.hour(n)
		h.counts = Counts{OK: 57, Critical: 3}
		for series := range uint64(5) {
			for range 60 {
				h.sketch(series*7 + 1).add(uint64(1000 * math.Exp(random.NormFloat64())))
			}
		}
	}
	d.hour(5).counts.Unknown = 1 << 40
	d.hour(3).sketch(1).addBucket(880, 1<<31)
	return d
}

func TestDay(t *testing.T) {
	want := someDay()
	for _, over := range []bool{false, true} {
		got := make(day)
		if err := readDay(want.append(nil, over), "day", got.hour); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %v, %v", got, err)
		}
	}
	open := want.append(nil, false)
	packed, err := packDay(open)
	if err != nil || !bytes.Equal(packed, want.append(nil, true)) {
		t.Errorf("%d bytes, %v", len(packed), err)
	}
}

func FuzzDay(f *testing.F) {
	f.Add(someDay().append(nil, false))
	f.Add(someDay().append(nil, true))
	f.Fuzz(func(t *testing.T, b []byte) {
		d := make(day)
		if err := readDay(b, "a day", d.hour); err != nil && !strings.HasPrefix(err.Error(), "a day: ") {
			t.Errorf("no place: %v", err)
		} else if err == nil {
			again := make(day)
			if err := readDay(d.append(nil, false), "a day", again.hour); err != nil || !reflect.DeepEqual(d, again) {
				t.Errorf("it becomes another day: %v", err)
			}
		}
	})
}

// TestSketch compares quantiles with those of the durations themselves, for several distributions, sorted and not, and after merging.
func TestSketch(t *testing.T) {
	random := mathrand.New(mathrand.NewPCG(7, 8))
	for name, next := range map[string]func() float64{
		"normal":     func() float64 { return 50e3 + 10e3*random.NormFloat64() },
		"lognormal":  func() float64 { return 20e3 * math.Exp(random.NormFloat64()) },
		"two peaks":  func() float64 { return []float64{900, 5e6}[random.IntN(2)] * (1 + 0.01*random.Float64()) },
		"one value":  func() float64 { return 1234 },
		"very short": func() float64 { return float64(random.IntN(4)) },
		"hours":      func() float64 { return 3600e6 * random.Float64() },
	} {
		for _, n := range []int{1, 2, 60, 5000} {
			var whole, half sketch
			var exact []uint64
			for i := range n {
				v := uint64(max(0, next()))
				exact = append(exact, v)
				if i%2 == 0 {
					whole.add(v)
				} else {
					half.add(v)
				}
			}
			whole.merge(&half)
			slices.Sort(exact)
			for _, q := range []float64{0, 0.01, 0.5, 0.9, 0.99, 1} {
				want := float64(max(1, exact[max(0, int(math.Ceil(q*float64(n)))-1)]))
				d, ok := whole.quantile(q)
				if got := float64(d.Nanoseconds()) / 1e3; !ok || math.Abs(got-want) > sketchError*1.01*want+1 {
					t.Errorf("%s, %d durations: p%v is %v, want %v", name, n, 100*q, got, want)
				}
			}
			if whole.count() != uint64(n) {
				t.Errorf("%s: %d durations of %d", name, whole.count(), n)
			}
			var again sketch
			r := newReader(whole.append(nil), "sketch")
			if r.sketch(&again); r.end() != nil || !reflect.DeepEqual(again, whole) {
				t.Errorf("%s: read %+v, %v; wrote %+v", name, again, r.err, whole)
			}
		}
	}
	if _, ok := new(sketch).quantile(0.5); ok {
		t.Error("no durations have a median")
	}
}
