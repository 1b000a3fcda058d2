package exposition

import (
	"fmt"
	"math"
	"strings"
	"testing"
)

const page = `# HELP mta_queue_length Messages.
# TYPE mta_queue_length gauge
mta_queue_length{queue="deferred",host="a"} 7
mta_queue_length{queue="active",host="a"} 2
mta_up 1
# TYPE mta_seconds histogram
mta_seconds_bucket{le="1"} 3
mta_seconds_bucket{le="+Inf"} 4
mta_seconds_sum 2.5
mta_seconds_count 4
mta_age NaN
`

func TestParse(t *testing.T) {
	samples, err := Parse([]byte(page))
	if err != nil {
		t.Fatal(err)
	}
	for selector, want := range map[string]string{
		`mta_up`:                             "[1]",
		`mta_queue_length`:                   "[7 2]",
		`mta_queue_length{queue="deferred"}`: "[7]",
		`mta_queue_length{ host = "a", queue="active" }`: "[2]",
		`mta_queue_length{queue="hold"}`:                 "[]",
		`mta_queue_length{shard=""}`:                     "[]",
		`mta_seconds_sum`:                                "[2.5]",
		`mta_seconds_count`:                              "[4]",
		`mta_seconds_bucket{le="1"}`:                     "[3]",
		`mta_age`:                                        "[NaN]",
		`up`:                                             "[]",
	} {
		s, err := ParseSelector(selector)
		if err != nil {
			t.Error(err)
			continue
		}
		values := []float64{}
		for _, sample := range s.Select(samples) {
			values = append(values, sample.Value)
		}
		if got := fmt.Sprint(values); got != want {
			t.Errorf("%s: got %s, want %s", selector, got, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                       "it has no sample",
		"# HELP a b\n":           "it has no sample",
		"<html>\n":               "text format parsing error in line 1: invalid metric name",
		"mta_up 1":               "its last line has no end, so some of it is missing",
		"mta_up one\n":           `text format parsing error in line 1: expected float as value, got "one"`,
		"mta_up{queue=\"defe\n1": "its last line has no end, so some of it is missing",
	} {
		if _, err := Parse([]byte(text)); err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
}

func TestParseSelectorRefuses(t *testing.T) {
	for _, text := range []string{"", " ", "mta_up 1", "mta_up 1 2", `mta_up{queue=deferred}`, `mta_up{queue="a"`, "mta_up # x", "mta_up 1\nmta_down", "5", `mta_up{queue=~"a.*"}`} {
		if s, err := ParseSelector(text); err == nil || !strings.Contains(err.Error(), "is not a sample: write it as") {
			t.Errorf("%q: got %+v, %v; want an error", text, s, err)
		}
	}
}

func TestNear(t *testing.T) {
	samples, err := Parse([]byte(page))
	if err != nil {
		t.Fatal(err)
	}
	for selector, want := range map[string]string{
		`mta_queue_length{queue="hold"}`: `[mta_queue_length{host="a",queue="deferred"} mta_queue_length{host="a",queue="active"}]`,
		`mta_queue_size`:                 "[mta_queue_length mta_age mta_seconds_bucket]",
		`nginx_up`:                       "[]",
	} {
		s, err := ParseSelector(selector)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(s.Near(samples)); got != want {
			t.Errorf("%s: got %s, want %s", selector, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(page))
	f.Fuzz(func(t *testing.T, text []byte) {
		samples, err := Parse(text)
		if err == nil && len(samples) == 0 {
			t.Error("got no sample and no error")
		}
		for _, s := range samples {
			selector := Selector{s.Name, s.Labels}
			if found := selector.Select(samples); len(found) == 0 {
				t.Errorf("%s is not found", s)
			}
		}
	})
}

func FuzzParseSelector(f *testing.F) {
	f.Add(`mta_queue_length{queue="deferred"}`)
	samples := []Sample{{Name: "a_length", Labels: map[string]string{"a": "b"}, Value: math.NaN()}}
	f.Fuzz(func(t *testing.T, text string) {
		if s, err := ParseSelector(text); err == nil && (s.Name == "" || len(s.Select(samples)) > 1 || len(s.Near(samples)) > 1) {
			t.Errorf("got %+v", s)
		}
	})
}
