package command_test

import (
	"context"
	"fmt"
	"net"
	"os"
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

// TestPlugin runs good and bad plugins.
func TestPlugin(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	dir := t.TempDir()
	script := func(name, body string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+body+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	script("ok", `echo "OK - all is well | time=0.5s;1;2;0 'disk /'=50%;80;90"; echo more`)
	script("state", `echo "says $1"; exit "$1"`)
	script("silent", `echo "no such option" >&2; exit 3`)
	script("args", `for a in "$@"; do printf '[%s]' "$a"; done; echo; exit 2`)
	script("hang", `echo "waiting"; sleep 64`)
	script("daemon", `setsid sleep 65 >/dev/null 2>&1 & echo "OK"`)
	script("flood", `head -c 5000000 /dev/zero | tr '\0' y; exit 2`)
	script("cut", `echo "OK | a=1"; head -c 1048560 /dev/zero | tr '\0' ' '; echo "|b=123456789"`)
	script("many", `printf "OK |"; for a in 1 2 3 4 5 6; do for b in 0 1 2 3 4 5 6 7 8 9; do printf " $a$b=1"; done; done`)
	script("broken", `echo "OK | a b=U 'c=1 d=7"`)
	script("killed", `kill -9 $$`)
	script("secret", `echo "the password is $DB_PASSWORD | x=1"; exit 2`)
	script("environment", `echo "CRITICAL [$MEMBERS_PASSWORD]"; exit 2`)
	if err := os.WriteFile(filepath.Join(dir, "words"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("MEMBERS_PASSWORD", "not for plugins")
	for _, test := range []struct{ name, text, want string }{
		{"ok", `I run the plugin "./ok"`, ""},
		{"warning", `I run the plugin "./state 1"`, "warning target: state says WARNING: says 1"},
		{"critical", `I run the plugin "./state 2"`, "unexpected target: state says CRITICAL: says 2"},
		{"unknown", `I run the plugin "./state 3"`, "internal monitor: state says UNKNOWN: says 3"},
		{"another exit code", `I run the plugin "./state 64"`, "internal monitor: state returned exit code 64, not one of a plugin's (0 to 3): says 64"},
		{"a signal below a shell", `I run the plugin "./state 137"`, "internal monitor: state returned exit code 137: a signal (9) ended a program in a shell: says 137"},
		{"nothing on its output", `I run the plugin "./silent"`, `internal monitor: silent says UNKNOWN: it printed nothing except on stderr: "no such option"`},
		{"arguments", `I run the plugin "./args -a 'b c' \"d e\" \\\"f $HOME ;"` + "\n| -g | h i |\n| * | |", `unexpected target: args says CRITICAL: [-a][b c][d e]["f][$HOME][;][-g][h i][*][]`},
		{"quotes without an end", `I run the plugin "./args 'a"`, `scenario scenario: the command "./args 'a" ends inside quotes or after a backslash`},
		{"nothing to run", `I run the plugin ""`, "scenario scenario: the step names no program"},
		{"not there", `I run the plugin "check_no_such_thing"`, "config scenario: run check_no_such_thing: there is no such program in $PATH"},
		{"hangs", `I run the plugin "./hang"`, ""},
		{"leaves a daemon", `I run the plugin "./daemon"`, ""},
		{"floods", `I run the plugin "./flood"`, "unexpected target: flood says CRITICAL: " + strings.Repeat("y", 500) + "…"},
		{"floods within its performance data", `I run the plugin "./cut"`, ""},
		{"much performance data", `I run the plugin "./many"`, ""},
		{"not a program", `I run the plugin "./words"`, "config scenario: run " + dir + "/words: permission denied: make it executable with chmod +x"},
		{"no time left", `I run the plugin "./ok"`, "timeout target: ok was not run: the previous steps left no time"},
		{"broken performance data", `I run the plugin "./broken"`, ""},
		{"killed", `I run the plugin "./killed"`, "internal monitor: killed was ended by a signal (killed): it printed nothing"},
		{"secret", `the environment variable "DB_PASSWORD" holds the secret "database"` + "\n" + `I run the plugin "./secret"`, "unexpected target: secret says CRITICAL: the password is [hidden]"},
		{"unknown secret", `the environment variable "X" holds the secret "nothing"`, `config scenario: no secret "nothing": add it under secrets in stepwatch.yml`},
		{"no name", `the environment variable "A=B" holds the secret "database"`, `scenario scenario: "A=B" is not a name of an environment variable`},
		{"environment", `I run the plugin "./environment"`, "unexpected target: environment says CRITICAL: CRITICAL []"},
	} {
		t.Run(test.name, func(t *testing.T) {
			limit := 10 * time.Second
			switch test.name {
			case "hangs":
				limit = time.Second
			case "no time left":
				limit = 100 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			outcome, err := stepstest.Scenario{Target: &steps.Target{}, Secrets: stepstest.Secrets{"database": "open sesame"}, Dir: dir}.Run(ctx, test.text)
			if err != nil {
				t.Fatal(err)
			}
			if test.name == "hangs" {
				want := regexp.MustCompile(`^hang did not end in time and was ended after \d+0ms, with all processes that it had started; it had printed "waiting"$`)
				if err := outcome.Err(); err == nil || !want.MatchString(err.Error()) {
					t.Errorf("got %v", err)
				}
				return
			}
			fixture.Expect(t, outcome, test.want)
			for _, e := range outcome.Steps[len(outcome.Steps)-1].Report.Evidence {
				if strings.Contains(string(e.Body), "sesame") {
					t.Errorf("the evidence has the secret: %s", e.Body)
				}
			}
			switch test.name {
			case "ok":
				want := "plugin_state 0, plugin_perfdata_seconds time 0.5, plugin_perfdata_warning_seconds time 1, plugin_perfdata_critical_seconds time 2, " +
					"plugin_perfdata_ratio disk / 0.5, plugin_perfdata_warning_ratio disk / 0.8, plugin_perfdata_critical_ratio disk / 0.9"
				var got []string
				for _, m := range outcome.Steps[0].Report.Measurements {
					line := m.Name
					for _, l := range m.Labels {
						line += " " + l.Value
					}
					got = append(got, fmt.Sprintf("%s %v", line, m.Value))
				}
				if got := strings.Join(got, ", "); got != want {
					t.Errorf("got  %s\nwant %s", got, want)
				}
				if note := outcome.Steps[0].Report.Note; note != "OK - all is well" {
					t.Errorf("note: %q", note)
				}
			case "floods within its performance data":
				m := outcome.Steps[0].Report.Measurements
				if len(m) != 2 || m[1].Value != 1 || m[1].Labels[0].Value != "a" {
					t.Errorf("measured %+v, want plugin_state and a", m)
				}
				if note := outcome.Steps[0].Report.Note; note != "OK (only the first 1024 KiB of its output are read)" {
					t.Errorf("note: %q", note)
				}
			case "much performance data":
				if m := outcome.Steps[0].Report.Measurements; len(m) != 51 {
					t.Errorf("%d measurements, want plugin_state and 50", len(m))
				}
				if note := outcome.Steps[0].Report.Note; note != "OK (50 values of its performance data are measured, 10 more are not)" {
					t.Errorf("note: %q", note)
				}
			case "broken performance data":
				if note := outcome.Steps[0].Report.Note; note != `OK (unreadable performance data: "a b=U 'c=1 d=7")` {
					t.Errorf("note: %q", note)
				}
			}
		})
	}
}

// TestDebianPlugins runs plugins that Debian ships against real servers.
func TestDebianPlugins(t *testing.T) {
	const dir = "/usr/lib/nagios/plugins"
	if _, err := os.Stat(filepath.Join(dir, "check_dummy")); err != nil {
		t.Skip("needs Debian's monitoring-plugins-basic:", err)
	}
	mail, err := stepstest.NewMailServer(stepstest.MailOptions{Domain: "plugin.test", Users: map[string]string{"alice": "wonderland"}})
	if err != nil {
		t.Fatal(err)
	}
	defer mail.Close()
	_, port, err := net.SplitHostPort(mail.ConnectTo()[mail.Host()+":25"])
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ text, want, measured string }{
		{`I run the plugin "check_dummy 0 fine"`, "", "plugin_state"},
		{`I run the plugin "check_dummy 1 'a little'"`, "warning target: check_dummy says WARNING: WARNING: a little", "plugin_state"},
		{`I run the plugin "check_dummy 3"`, "internal monitor: check_dummy says UNKNOWN: UNKNOWN", "plugin_state"},
		{`I run the plugin "check_smtp -H 127.0.0.1 -p ` + port + `"`, "", "plugin_perfdata_seconds"},
		{`I run the plugin "check_tcp -H 127.0.0.1 -p 1"`, "unexpected target: check_tcp says CRITICAL: connect to address 127.0.0.1 and port 1: Connection refused", "plugin_state"},
		{`I run the plugin "check_disk -w 1 -c 1 -p /"`, "", "plugin_perfdata_bytes"},
	} {
		o, err := stepstest.Run(t.Context(), nil, test.text, &steps.Target{})
		if err != nil {
			t.Fatal(err)
		}
		fixture.Expect(t, o, test.want)
		found := false
		for _, m := range o.Steps[0].Report.Measurements {
			found = found || m.Name == test.measured
		}
		if !found {
			t.Errorf("%s: no %s among %v", test.text, test.measured, o.Steps[0].Report.Measurements)
		}
	}
}
