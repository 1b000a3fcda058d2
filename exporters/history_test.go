package exporters

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
)

// TestHistory holds that the page says how the history works, and nothing of what never happened.
func TestHistory(t *testing.T) {
	for _, c := range []struct {
		history *result.HistoryStats
		want    []string
	}{
		{nil, nil},
		{&result.HistoryStats{Bytes: 4096}, []string{"stepwatch_history_bytes 4096", "stepwatch_history_failing 0"}},
		{&result.HistoryStats{Bytes: 4096, LastWrite: time.UnixMilli(1500), Dropped: 3, Errors: 2, Problem: "the disk is full", Aside: "/x"},
			[]string{"stepwatch_history_bytes 4096", "stepwatch_history_damaged 1", "stepwatch_history_dropped_total 3", "stepwatch_history_errors_total 2",
				"stepwatch_history_failing 1", "stepwatch_history_last_write_timestamp_seconds 1.5"}},
	} {
		f := newFamilies(nil)
		var got []string
		if c.history != nil {
			f.addHistory(func(f *family, labels string, value float64) {
				got = append(got, f.name+labels+" "+strconv.FormatFloat(value, 'g', -1, 64))
			}, c.history)
		}
		slices.Sort(got)
		if strings.Join(got, "\n") != strings.Join(c.want, "\n") {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}
