package agent

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"net/http"
	"regexp"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/timeserver"
)

// TestWrongClock holds that a failure which a wrong clock of this machine certainly explains is UNKNOWN, that every other one
// keeps its state, and that nothing is said without proof.
func TestWrongClock(t *testing.T) {
	const behind, ahead = 20 * time.Minute, -20 * time.Minute // of this machine: the server's clock is shifted
	certificate := func(from, to time.Duration) func(*steps.World) error {
		return func(*steps.World) error {
			now := time.Now()
			err := x509.CertificateInvalidError{Reason: x509.Expired, Cert: &x509.Certificate{Subject: pkix.Name{CommonName: "www.test"}, NotBefore: now.Add(from), NotAfter: now.Add(to)}}
			return steps.FailNet(t.Context(), err, result.BlameWeb, "TLS handshake with www.test")
		}
	}
	fails := func(reason result.Reason, blame result.Blame, with ...any) func(*steps.World) error {
		return func(w *steps.World) error {
			for _, state := range with {
				switch s := state.(type) {
				case timeserver.Code:
					*steps.State[timeserver.Code](w) = s
				case timeserver.Seen:
					*steps.State[timeserver.Seen](w) = s
				}
			}
			return steps.Fail(reason, blame, "it failed")
		}
	}
	code := timeserver.Code{Name: `the code of the secret "members-totp"`, Period: 30 * time.Second}
	date := func(by time.Duration) timeserver.Seen {
		return timeserver.Seen{Host: "www.test", Date: time.Now().Add(by).UTC().Format(http.TimeFormat), At: time.Now()}
	}
	const lacking = `UNKNOWN lack monitor: .*: the clock of this machine is 20m 0s (behind|ahead), according to ntp.test: check the synchronisation of its time \(chronyc tracking, timedatectl\)`
	const remarked = `; the clock of this machine is 20m 0s (behind|ahead), according to ntp.test: check .*`
	for _, c := range []struct {
		name  string
		shift time.Duration // of the NTP server
		mode  string        // "": it answers; "none": there is none in the configuration; "silent"
		do    func(*steps.World) error
		want  string
		asked bool
	}{
		{"not yet valid, and our clock is behind", behind, "", certificate(10*time.Minute, time.Hour), lacking, true},
		{"expired, and our clock is ahead", ahead, "", certificate(-time.Hour, -10*time.Minute), lacking, true},
		{"expired long ago, and our clock is ahead", ahead, "", certificate(-time.Hour*2000, -1000*time.Hour), `CRITICAL certificate_expired web: .*` + remarked, true},
		{"expired, and our clock is behind", behind, "", certificate(-time.Hour, -10*time.Minute), `CRITICAL certificate_expired web: .*` + remarked, true},
		{"expired, and our clock is right", 0, "", certificate(-time.Hour, -10*time.Minute), `CRITICAL certificate_expired web: [^;]*`, true},
		{"expired, and nobody tells the time", 0, "silent", certificate(-time.Hour, -10*time.Minute), `CRITICAL certificate_expired web: [^;]*`, true},
		{"expired, and there is no time server", 0, "none", certificate(-time.Hour, -10*time.Minute), `CRITICAL certificate_expired web: [^;]*`, false},
		{"a code is refused, and our clock is behind", behind, "", fails(result.ReasonAuth, result.BlameWeb, code), lacking, true},
		{"a page after a code, and our clock is ahead", ahead, "", fails(result.ReasonUnexpected, result.BlameWeb, code), lacking, true},
		{"a code is refused, and our clock is a minute behind", time.Minute, "", fails(result.ReasonAuth, result.BlameWeb, code),
			`CRITICAL auth web: it failed; the clock of this machine is 1m 0s behind, according to ntp.test: .*`, true},
		{"a code is refused, and our clock is right", 0, "", fails(result.ReasonAuth, result.BlameWeb, code), `CRITICAL auth web: it failed`, true},
		{"a password is refused, and our clock is behind", behind, "", fails(result.ReasonAuth, result.BlameAccess), `CRITICAL auth access: it failed` + remarked, true},
		{"a page without a code", behind, "", fails(result.ReasonUnexpected, result.BlameWeb), `CRITICAL unexpected web: it failed`, false},
		{"the server's clock is wrong", 0, "", fails(result.ReasonAuth, result.BlameWeb, code, date(-20*time.Minute)),
			`CRITICAL auth web: it failed; the clock of www.test is 20m \ds behind, by the Date of its answer; that of this machine is right, according to ntp.test`, true},
		{"both clocks agree with each other", 0, "", fails(result.ReasonAuth, result.BlameWeb, code, date(-2*time.Second)), `CRITICAL auth web: it failed`, true},
		{"one of two clocks is wrong", 0, "none", fails(result.ReasonAuth, result.BlameWeb, code, date(20*time.Minute)),
			`CRITICAL auth web: it failed; by the Date of its answer, the clock of www.test is (20m 0s|19m 5\ds) later than that of this machine, so one of them is wrong \(.*clock.server in stepwatch.yml would tell which\)`, false},
		{"and the time server is silent", 0, "silent", fails(result.ReasonAuth, result.BlameWeb, code, date(20*time.Minute)),
			`CRITICAL auth web: it failed; by the Date of its answer, the clock of www.test is .* \(ntp.test did not say which\)`, true},
		{"a Date that is none", 0, "none", fails(result.ReasonAuth, result.BlameWeb, timeserver.Seen{Host: "www.test", Date: "yesterday", At: time.Now()}), `CRITICAL auth web: it failed`, false},
		{"the monitor's own fault", behind, "", fails(result.ReasonAuth, result.BlameScenario), `UNKNOWN auth scenario: it failed`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			forgetClock()
			server, err := stepstest.NewTimeServer(func(_ int, r *stepstest.TimeReply) bool { r.Shift(c.shift); return c.mode != "silent" })
			if err != nil {
				t.Fatal(err)
			}
			defer server.Close()
			target := &steps.Target{ConnectTo: map[string]string{"ntp.test:123": server.Address()}}
			if c.mode != "none" {
				target.Set(timeserver.Reference("ntp.test"))
			}
			l := library(does(`I do it`, func(_ context.Context, w *steps.World, _ steps.Args) error { return c.do(w) }))
			r := run(t, &Runner{Target: target}, scenario("One", "I do it"), l)
			got := r.State().String() + " " + string(r.Reason) + " " + string(r.Blame) + ": " + r.Error
			if !regexp.MustCompile(`^` + c.want + `$`).MatchString(got) {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if asked := server.Asked.Load() > 0; asked != c.asked {
				t.Errorf("the time server was asked: %t, want %t", asked, c.asked)
			}
			if lack := r.Lack != nil && r.Lack.Kind == "clock"; lack != (r.Reason == result.ReasonLack) {
				t.Errorf("got %+v", r.Lack)
			}
		})
	}
}

func forgetClock() {
	clocks.mu.Lock()
	defer clocks.mu.Unlock()
	clocks.server, clocks.at, clocks.answer = "", time.Time{}, nil
}

// TestTimeServerIsAskedSeldom holds that many failures are one question.
func TestTimeServerIsAskedSeldom(t *testing.T) {
	forgetClock()
	server, err := stepstest.NewTimeServer(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	target := (&steps.Target{ConnectTo: map[string]string{"ntp.test:123": server.Address()}}).Set(timeserver.Reference("ntp.test"))
	l := library(does(`I do it`, func(context.Context, *steps.World, steps.Args) error {
		return steps.Fail(result.ReasonAuth, result.BlameWeb, "it failed")
	}))
	for range 20 {
		run(t, &Runner{Target: target}, scenario("One", "I do it"), l)
	}
	if n := server.Asked.Load(); n != 1 {
		t.Errorf("it was asked %d times", n)
	}
	clocks.mu.Lock()
	clocks.at = clocks.at.Add(-time.Hour) // the clock was set, or the answer is old
	clocks.mu.Unlock()
	run(t, &Runner{Target: target}, scenario("One", "I do it"), l)
	if n := server.Asked.Load(); n != 2 {
		t.Errorf("it was asked %d times", n)
	}
}
