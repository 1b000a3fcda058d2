package steps_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
)

// TestMeasureExpiryNamesTheHost checks that the earliest certificate of several hosts is shown with its own host, and
// that a report that is added again, as that of an inner step is, keeps its labels.
func TestMeasureExpiryNamesTheHost(t *testing.T) {
	w := steps.NewWorld(new(steps.Target), nil, "run", "scenario")
	for i, seconds := range []int64{300, 100, 200} {
		host := string(rune('a'+i)) + ".example.org"
		if err := w.Under("mx_", host, func() error { w.MeasureExpiry(host, time.Unix(seconds, 0)); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	report := w.TakeReport()
	w.AddReport(report)
	again := w.TakeReport()
	want := []result.Measurement{{Name: "tls_certificate_not_after_timestamp_seconds", Help: "Unix time of the end of the server's own certificate.",
		Value: 100, Labels: []result.Label{{Name: "host", Value: "b.example.org"}}}}
	for _, got := range [][]result.Measurement{report.Measurements, again.Measurements} {
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got  %v\nwant %v", got, want)
		}
	}
}
