//go:build unix

package mail_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

// cpuTime returns the CPU time that this process has used so far.
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
	bed := fixture.NewMailbed(b, stepstest.MailOptions{})
	var sent, received time.Duration
	before := cpuTime(b)
	for b.Loop() {
		outcome := bed.Run(b, 10*time.Second, roundTrip)
		fixture.Passed(b, outcome)
		sent += outcome.Steps[1].Duration
		received += outcome.Steps[3].Duration
	}
	b.ReportMetric(float64((cpuTime(b)-before).Microseconds())/1000/float64(b.N), "cpu-ms/op")
	b.ReportMetric(float64(sent.Microseconds())/1000/float64(b.N), "ms/send")
	b.ReportMetric(float64(received.Microseconds())/1000/float64(b.N), "ms/receive")
}
