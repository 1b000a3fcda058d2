//go:build linux

package host_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

func TestLoadAndMemory(t *testing.T) {
	fixture.JudgedAs(t, &steps.Target{}, map[string]string{
		"Then the load is below 10000 per core":               "passed",
		"Then the load is below 0.0000001 per core":           `unexpected target: the load of 5 minutes is \d+\.\d\d per core \(load average \S+ \S+ \S+ on \d+ cores\), wanted below 0.0000001 per core`,
		"Then the load is below 0 per core":                   "scenario scenario: a load of 0 is not a limit: give one above 0",
		"Then more than 0.5% of the memory is available":      "passed",
		"Then more than 99.999% of the memory is available":   `unexpected target: \d+\.\d% of the memory is available \(\S+ [KMG]B of \S+ [KMG]B\), wanted more than 99.999%`,
		"Then more than 101% of the memory is available":      "scenario scenario: .*",
		"Then less than 100% of the swap is used":             "passed",
		"Then the machine has been up for at least 1 ms":      "passed",
		"Then the machine has been up for at least 5000 days": `unexpected target: the machine has been up for .*, wanted at least 5000 days: it was rebooted at .*`,
	})
	_, outcome := fixture.Judged(t, stepstest.Scenario{Target: &steps.Target{}}, "Then the load is below 0.0000001 per core")
	if got := fixture.Measured(outcome, 0); !regexp.MustCompile(`^host_load\{1\} \d+\nhost_load\{5\} \d+\nhost_load\{15\} \d+\nhost_cores \d+\n$`).MatchString(got) {
		t.Errorf("measured\n%s", got)
	}
	_, outcome = fixture.Judged(t, stepstest.Scenario{Target: &steps.Target{}}, "Then more than 0% of the memory is available")
	if got := fixture.Measured(outcome, 0); !regexp.MustCompile(`^host_memory_available_bytes \d{6,}\nhost_memory_available_ratio [01]\n$`).MatchString(got) {
		t.Errorf("measured\n%s", got)
	}
}

// TestProcess checks the processes of a program with a unique name that the test starts.
func TestProcess(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	name := fmt.Sprintf("sleeper-%d-of-stepwatch", os.Getpid())
	path := filepath.Join(t.TempDir(), name)
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(sleep)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, program, 0o755); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		cmd := exec.CommandContext(t.Context(), path, "67")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() { _, _ = cmd.Process.Kill(), cmd.Wait() }()
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	scenarios := make(map[string]string)
	for text, want := range map[string]string{
		`Then the process "NAME" runs`:                          "passed",
		`Then the process "` + path + `" runs`:                  "passed",
		`Then the process "NAME" runs as "` + me.Username + `"`: "passed",
		`Then the process "NAME" runs as "daemon"`:              `unexpected target: the process "NAME" \(PID \d+\) runs as "` + me.Username + `", wanted "daemon"`,
		`Then the process "NAME" runs as "no-such-user"`:        `scenario scenario: the machine has no user "no-such-user"`,
		`Then at least 2 processes "NAME" run`:                  "passed",
		`Then at least 3 processes "NAME" run`:                  `unexpected target: 2 processes "NAME" run, wanted at least 3`,
		`Then at most 2 processes "NAME" run`:                   "passed",
		`Then at most 1 processes "NAME" run`:                   `unexpected target: 2 processes "NAME" run, wanted at most 1`,
		`Then the process "no-NAME" runs`:                       `not_found target: no process "no-NAME" runs`,
		`Then the process "" runs`:                              "scenario scenario: no process is named",
	} {
		scenarios[strings.ReplaceAll(text, "NAME", name)] = strings.ReplaceAll(want, "NAME", name)
	}
	fixture.JudgedAs(t, &steps.Target{}, scenarios)
}

func TestUnit(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	dir := t.TempDir()
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	systemctl := func(script string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "systemctl"), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	ago := func(d time.Duration) string { return time.Now().Add(-d).UTC().Format("Mon 2006-01-02 15:04:05 MST") }
	systemctl(`unit() { printf 'Id=%s\nLoadState=%s\nActiveState=%s\nSubState=%s\nResult=%s\nStateChangeTimestamp=Sat 2026-11-21 06:00:00 UTC\nUnit=%s\nLastTriggerUSec=%s\n' "$@"; }
test "$TZ" = UTC || exit 1
test "$1" = list-units && { printf 'x.service loaded failed failed X\ny.service loaded failed failed Y\n'; exit; }
case $4 in
nginx.service) unit nginx.service loaded active running success "" "" ;;
dead.service) unit dead.service loaded failed failed exit-code "" "" ;;
loop.service) unit loop.service loaded activating auto-restart exit-code "" "" ;;
job.service) unit job.service loaded inactive dead success "" "" ;;
none.service) unit none.service not-found inactive dead "" "" "" ;;
job.timer) unit job.timer loaded active waiting success job.service "` + ago(2*time.Hour) + `" ;;
broken.timer) unit broken.timer loaded active waiting success dead.service "` + ago(2*time.Hour) + `" ;;
ahead.timer) unit ahead.timer loaded active waiting success job.service "` + ago(-3*time.Hour) + `" ;;
never.timer) unit never.timer loaded active waiting success job.service "" ;;
off.timer) unit off.timer loaded inactive dead success job.service "" ;;
*) exit 1 ;;
esac`)
	clock := func(d time.Duration) string { return time.Now().UTC().Add(-d).Format("15:04") }
	log := filepath.Join(t.TempDir(), "last-run")
	fixture.Aged(t, log, "x", 2*time.Hour)
	fixture.Aged(t, log+"-ahead", "x", -22*time.Hour)
	at := `When I look at the file "` + log + "\"\n"
	fixture.JudgedAs(t, &steps.Target{}, map[string]string{
		`Then the unit "nginx.service" is active`:                                                                        "passed",
		`Then the unit "dead.service" is active`:                                                                         `unexpected target: the unit "dead.service" is failed \(exit-code\) since \d\d:\d\d \S+ on 2\d Nov, wanted active: "systemctl status dead.service" shows why`,
		`Then the unit "loop.service" is active`:                                                                         `unexpected target: the unit "loop.service" is activating \(auto-restart\) since .*, wanted active: .*`,
		`Then the unit "none.service" is active`:                                                                         `not_found target: systemd has no unit "none.service": check its name, and whether its package is installed`,
		`Then the unit "*" is active`:                                                                                    `scenario scenario: ask systemd for the unit "\*": it is not a name of a unit`,
		`Then the unit "job.service" has not failed`:                                                                     "passed",
		`Then the unit "dead.service" has not failed`:                                                                    `unexpected target: the unit "dead.service" has failed \(exit-code\), it is failed \(exit-code\) since .*: "journalctl -u dead.service" shows why`,
		`Then no unit has failed`:                                                                                        `unexpected target: 2 units have failed: x.service, y.service`,
		`Then the timer "job.timer" ran in the last 3 hours`:                                                             "passed",
		`Then the timer "job" ran in the last 1 hour`:                                                                    `not_received target: the timer "job" ran 2h 0m ago, wanted in the last 1 hour`,
		`Then the timer "broken.timer" ran in the last 3 hours`:                                                          `unexpected target: the unit "dead.service" has failed \(exit-code\), .*`,
		`Then the timer "never.timer" ran in the last 3 hours`:                                                           `not_received target: the timer "never.timer" has not run since the machine was started, wanted in the last 3 hours`,
		`Then the timer "ahead.timer" ran in the last 3 hours`:                                                           `unexpected target: the timer "ahead.timer" ran 2h 59m from now: the clock of this machine is or was wrong`,
		`Then the timer "off.timer" ran in the last 3 hours`:                                                             `unexpected target: the timer "off.timer" is inactive \(dead\) since .*, wanted active: "systemctl enable --now off.timer" starts it`,
		`Then the timer "nginx.service" ran in the last 3 hours`:                                                         `scenario scenario: the unit "nginx.service" is not a timer: "systemctl list-timers" lists them`,
		fmt.Sprintf(`Then the timer "job.timer" ran between %s and %s in UTC`, clock(3*time.Hour), clock(time.Hour)):     "passed",
		fmt.Sprintf(`Then the timer "job.timer" ran between %s and %s in UTC`, clock(5*time.Hour), clock(3*time.Hour)):   `slow target: the timer "job.timer" ran at .* UTC on .*, (59m \d+s|1h 0m) too late: it was due between .* and .*`,
		fmt.Sprintf(`Then the timer "never.timer" ran between %s and %s in UTC`, clock(5*time.Hour), clock(3*time.Hour)): `not_received target: the timer "never.timer" has never run, wanted between .* and .*: it is overdue by 3h 0m`,
		fmt.Sprintf(at+`Then the file was written between %s and %s in UTC`, clock(3*time.Hour), clock(time.Hour)):       "passed",
		fmt.Sprintf(at+`Then the file was written between %s and %s in UTC`, clock(90*time.Minute), clock(time.Minute)):  `not_received target: \S+/last-run was written last at .*, wanted between .* and .*: it is overdue by 1m \d+s`,
		fmt.Sprintf(strings.Replace(at, "last-run", "last-run-ahead", 1)+`Then the file was written between %s and %s in UTC`, clock(3*time.Hour), clock(time.Hour)): `unexpected target: \S+/last-run-ahead was changed 21h 59m from now: the clock of this machine, or of the machine that wrote it, is wrong`,
		at + `Then the file was written between 02:00 and 06:30 in Nowhere/Land`:                                                                                     `scenario scenario: the time zone "Nowhere/Land" is unknown here: .*`,
	})
	_, outcome := fixture.Judged(t, stepstest.Scenario{Target: &steps.Target{}}, `Then the timer "job.timer" ran in the last 1 hour`)
	if got := fixture.Measured(outcome, 0); !regexp.MustCompile(`^systemd_timer_age_seconds 72\d\d\n$`).MatchString(got) {
		t.Errorf("measured\n%s", got)
	}
	for script, want := range map[string]string{
		`echo "System has not been booted with systemd as init system (PID 1). Can't operate." >&2; exit 1`: `config monitor: ask systemd for the unit "nginx.service": this machine does not run systemd`,
		`echo "Access denied" >&2; exit 1`: `config monitor: ask systemd for the unit "nginx.service": systemctl show failed: Access denied`,
		`echo hello`:                       `config monitor: .*: unknown format of systemctl's answer: it contains no state`,
	} {
		systemctl(script)
		fixture.JudgedAs(t, &steps.Target{}, map[string]string{`Then the unit "nginx.service" is active`: want})
	}
	if err := errors.Join(os.Remove(filepath.Join(dir, "systemctl")), os.Setenv("PATH", dir)); err != nil {
		t.Fatal(err)
	}
	fixture.JudgedAs(t, &steps.Target{}, map[string]string{`Then no unit has failed`: `config monitor: ask systemd for the units that have failed: this machine does not run systemd: run systemctl: there is no such program in \$PATH`})
}
