//go:build unix

package steps_test

import (
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps/stepstest"
)

// cpuTime is what this process has used so far.
func cpuTime(b *testing.B) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkMailRoundTrip is a whole scenario on a server in the same process: new connections, TLS, AUTH, send, receive,
// remove. Half of the CPU is the server's.
func BenchmarkMailRoundTrip(b *testing.B) {
	bed := newMailbed(b, stepstest.MailOptions{})
	var sent, received time.Duration
	before := cpuTime(b)
	for b.Loop() {
		outcome := bed.run(b, 10*time.Second, roundTrip)
		passed(b, outcome)
		sent += outcome.Steps[1].Duration
		received += outcome.Steps[3].Duration
	}
	b.ReportMetric(float64((cpuTime(b)-before).Microseconds())/1000/float64(b.N), "cpu-ms/op")
	b.ReportMetric(float64(sent.Microseconds())/1000/float64(b.N), "ms/send")
	b.ReportMetric(float64(received.Microseconds())/1000/float64(b.N), "ms/receive")
}

// BenchmarkMailTruth compares a step's duration with the server's own clocks, for delays of several lengths.
func BenchmarkMailTruth(b *testing.B) {
	for _, delay := range []time.Duration{5 * time.Millisecond, 50 * time.Millisecond, 500 * time.Millisecond} {
		b.Run(fmt.Sprint(delay), func(b *testing.B) {
			bed := newMailbed(b, stepstest.MailOptions{})
			bed.SetDelay(delay)
			var errs []time.Duration
			before := cpuTime(b)
			for b.Loop() {
				outcome := bed.run(b, 10*time.Second, roundTrip)
				passed(b, outcome)
				all := bed.Deliveries()
				d := all[len(all)-1]
				errs = append(errs, outcome.Steps[3].Duration-d.Stored.Sub(d.Accepted))
			}
			b.ReportMetric(float64((cpuTime(b)-before).Microseconds())/1000/float64(b.N), "cpu-ms/op")
			reportQuantiles(b, errs)
		})
	}
}

// reportQuantiles reports the median and the 99th percentile of the errors' sizes.
func reportQuantiles(b *testing.B, errs []time.Duration) {
	for i := range errs {
		errs[i] = errs[i].Abs()
	}
	slices.Sort(errs)
	at := func(q float64) float64 { return float64(errs[int(q*float64(len(errs)-1))].Microseconds()) / 1000 }
	b.ReportMetric(at(0.5), "ms-off/p50")
	b.ReportMetric(at(0.99), "ms-off/p99")
}
