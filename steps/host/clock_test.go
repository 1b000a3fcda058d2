package host_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

func newTimeServer(t *testing.T, change func(n int, r *stepstest.TimeReply) bool) string {
	t.Helper()
	s, err := stepstest.NewTimeServer(change)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s.Address()
}

func clockTarget(address string) *steps.Target {
	return &steps.Target{Hosts: map[string]*steps.Host{"ntp1": {Name: "ntp1", Address: "ntp1.test"}},
		ConnectTo: map[string]string{"ntp1.test:123": address, "pool.ntp.org:123": address, "ntp1:123": address}}
}

func TestClock(t *testing.T) {
	const step = `the clock of this machine is within 1s of "ntp1"`
	for _, c := range []struct {
		name   string
		change func(n int, r *stepstest.TimeReply) bool
		step   string
		want   string
	}{
		{"right", nil, step, `passed`},
		{"20 minutes behind", func(_ int, r *stepstest.TimeReply) bool { r.Shift(20 * time.Minute); return true }, step,
			`unexpected target: the clock of this machine is 20m 0s behind the clock of "ntp1" \(stratum 2\), within ±[\d.]+ms, wanted within 1s: .*`},
		{"2 seconds ahead", func(_ int, r *stepstest.TimeReply) bool { r.Shift(-2 * time.Second); return true }, step,
			`unexpected target: the clock of this machine is 2.00s ahead of the clock of "ntp1" \(stratum 2\), .*`},
		{"uncertain", func(_ int, r *stepstest.TimeReply) bool { r.RootDispersion = 3 * time.Second; return true }, step,
			`unexpected monitor: it is not known whether the clock of this machine is within 1s of "ntp1": it is .*, within ±3.00s, so the answer decides nothing: allow 3.00\ds, or ask a server that is nearer`},
		{"unsynchronised", func(_ int, r *stepstest.TimeReply) bool { r.Leap = 3; return true }, step,
			`unexpected target: ask "ntp1" for the time \(at 127.0.0.1:\d+\): it does not know the time itself: its clock is not synchronised \(leap indicator 3\): check what synchronises it .*`},
		{"kiss of death", func(_ int, r *stepstest.TimeReply) bool { r.Stratum, r.RefID = 0, "DENY"; return true }, step,
			`refused target: ask "ntp1" for the time \(at 127.0.0.1:\d+\): it refuses to say the time \(kiss of death "DENY", RFC 5905 section 7.4\): it does not answer this address`},
		{"forged", func(_ int, r *stepstest.TimeReply) bool { r.Origin = 7; return true }, step, `protocol target: .*somebody forges answers.*`},
		{"silent", func(int, *stepstest.TimeReply) bool { return false }, step,
			`timeout target: ask "ntp1" for the time \(at 127.0.0.1:\d+\): no answer: does it run an NTP server, .*`},
		{"no server", nil, `the clock of this machine is within 1s of "a b"`, `scenario scenario: "a b" is not an NTP server: .*`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			target := clockTarget(newTimeServer(t, c.change))
			got, _ := fixture.Judged(t, stepstest.Scenario{Target: target}, c.step)
			if !regexp.MustCompile(`^` + c.want + `$`).MatchString(got) {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestClockMeasurements(t *testing.T) {
	target := clockTarget(newTimeServer(t, func(_ int, r *stepstest.TimeReply) bool { r.Shift(-20 * time.Minute); return true }))
	outcome, err := stepstest.Run(t.Context(), nil, `the clock of this machine is within 1s of "ntp1"`, target)
	if err != nil {
		t.Fatal(err)
	}
	values := make(map[string]float64)
	for _, m := range outcome.Steps[0].Report.Measurements {
		values[m.Name] = m.Value
	}
	if off := values["clock_offset_seconds"]; off < 1199 || off > 1201 || values["ntp_stratum"] != 2 || values["clock_uncertainty_seconds"] <= 0 {
		t.Errorf("got %v", values)
	}
	if took := outcome.Steps[0].Duration; took > 200*time.Millisecond {
		t.Errorf("the pause between two questions counts: %s", took)
	}
}

// chrony returns the program of the Debian package chrony, which .ci/install unpacks, and the library that tells a program a
// wrong time.
func chrony(t *testing.T) (program, faketime string) {
	t.Helper()
	for _, path := range []string{"/usr/sbin/chronyd", "/var/cache/stepwatch/chrony/usr/sbin/chronyd"} {
		if _, err := os.Stat(path); err == nil {
			program = path
		}
	}
	found, _ := filepath.Glob("/usr/lib/*/faketime/libfaketime.so.1") // the pattern is a good one
	if program == "" || len(found) == 0 || os.Getuid() != 0 {
		t.Skip("needs root, chronyd and libfaketime: run .ci/install")
	}
	return program, found[0]
}

// TestChrony asks a real server, whose clock is right, and then one whose clock is 20 minutes wrong.
func TestChrony(t *testing.T) {
	program, faketime := chrony(t)
	for _, c := range []struct{ name, shift, want string }{
		{"right", "+0", `passed`},
		{"20 minutes behind", "+1200", `unexpected target: the clock of this machine is 20m 0s behind the clock of "ntp1" \(stratum 3\), .*`},
		{"20 minutes ahead", "-1200", `unexpected target: the clock of this machine is 20m 0s ahead of the clock of "ntp1" \(stratum 3\), .*`},
	} {
		t.Run(c.name, func(t *testing.T) {
			target := clockTarget(startChrony(t, program, faketime, c.shift))
			got, _ := fixture.Judged(t, stepstest.Scenario{Target: target}, `the clock of this machine is within 1s of "ntp1"`)
			if !regexp.MustCompile(`^` + c.want + `$`).MatchString(got) {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// startChrony starts chronyd with a clock that is wrong by so many seconds. It controls no clock (-x).
func startChrony(t *testing.T, program, faketime, shift string) (address string) {
	t.Helper()
	free, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = free.LocalAddr().String()
	_, port, _ := net.SplitHostPort(address)
	_ = free.Close()
	dir := t.TempDir()
	config := filepath.Join(dir, "chrony.conf")
	text := "port " + port + "\nbindaddress 127.0.0.1\nlocal stratum 3\nallow 127.0.0.1\ncmdport 0\nbindcmdaddress /\nuser root\npidfile " + filepath.Join(dir, "pid") + "\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	server := exec.Command(program, "-d", "-x", "-f", config)
	server.Env = append(os.Environ(), "LD_PRELOAD="+faketime, "FAKETIME="+shift)
	var log strings.Builder
	server.Stderr = &log
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait() // it was killed
		if t.Failed() {
			t.Log(log.String())
		}
	})
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if got, _ := fixture.Judged(t, stepstest.Scenario{Target: clockTarget(address)}, `the clock of this machine is within 100 days of "ntp1"`); got == "passed" {
			return address
		}
	}
	t.Fatalf("chronyd does not answer: %s", log.String())
	return ""
}

// TestClockFeature breaks what the shipped feature watches.
func TestClockFeature(t *testing.T) {
	content, err := os.ReadFile("../../features/hosts/clock.feature")
	if err != nil {
		t.Fatal(err)
	}
	steps := regexp.MustCompile(`(?m)^    Then (.*)$`).FindAllStringSubmatch(string(content), -1)
	if len(steps) != 2 {
		t.Fatalf("got %q", steps)
	}
	for _, step := range steps {
		right := clockTarget(newTimeServer(t, nil))
		if got, _ := fixture.Judged(t, stepstest.Scenario{Target: right}, step[1]); got != "passed" {
			t.Errorf("%s: %s", step[1], got)
		}
		wrong := clockTarget(newTimeServer(t, func(_ int, r *stepstest.TimeReply) bool { r.Shift(3 * time.Second); return true }))
		if got, _ := fixture.Judged(t, stepstest.Scenario{Target: wrong}, step[1]); !strings.HasPrefix(got, string(result.ReasonUnexpected)+" target") {
			t.Errorf("%s: %s", step[1], got)
		}
	}
}
