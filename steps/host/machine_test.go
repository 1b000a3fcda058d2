//go:build linux

package host_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

func TestDisk(t *testing.T) {
	dir := t.TempDir()
	fixture.JudgedAs(t, &steps.Target{}, map[string]string{
		fmt.Sprintf(`Then the disk of %q is less than 100%% full`, dir):                     "passed",
		fmt.Sprintf(`Then the disk of %q has used less than 100%% of its inodes`, dir):      "passed",
		fmt.Sprintf(`Then the disk of %q is less than 0.000001%% full`, dir):                `unexpected target: the disk of "\S+" is \d+\.\d% full, wanted less than 0\.000001% \(\d+ MB free\)`,
		fmt.Sprintf(`Then the disk of %q has used less than 0.000001%% of its inodes`, dir): `unexpected target: the disk of "\S+" is \d+\.\d% of its inodes used, wanted less than 0\.000001% \(\d+ inodes free\)`,
		`Then the disk of "/no/such" is less than 80% full`:                                 `config scenario: the machine has no "/no/such": name a file or directory on that disk`,
		`Then the disk of "/proc" is less than 80% full`:                                    `config monitor: read how full the disk of "/proc" is: statfs /proc: it is on a file system without blocks, such as /proc`,
		`Then the disk of "/" is less than 800% full`:                                       `scenario scenario: 800% of a disk is not a limit: give one from 1% to 100%`,
	})
	_, outcome := fixture.Judged(t, stepstest.Scenario{Target: &steps.Target{}}, fmt.Sprintf(`Then the disk of %q is less than 0.000001%% full`, dir))
	if got := fixture.Measured(outcome, 0); !regexp.MustCompile(`^host_disk_used_ratio [01]\nhost_disk_free_bytes \d+\n$`).MatchString(got) {
		t.Errorf("measured\n%s", got)
	}
}

func TestBans(t *testing.T) {
	before := goleak.IgnoreCurrent()
	defer goleak.VerifyNone(t, before)
	dir := t.TempDir()
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	client := func(script string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "fail2ban-client"), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	const read = `When I read the bans of fail2ban's jail "sshd"` + "\n"
	client(`test "$1 $2" = "status sshd" && printf '|- Currently failed:\t3\n|- Currently banned:\t2\n- Banned IP list:\t192.0.2.1 2001:db8::1\n'`)
	fixture.JudgedAs(t, &steps.Target{}, map[string]string{
		read + "Then fewer than 3 addresses are banned\nAnd \"192.0.2.1\" is banned\nAnd \"2001:DB8::1\" is banned\nAnd \"192.0.2.2\" is not banned": "passed",
		read + "Then fewer than 2 addresses are banned": `unexpected target: fail2ban's jail "sshd" has banned 2 addresses, wanted fewer than 2: someone guesses passwords from many addresses`,
		read + `Then "192.0.2.1" is not banned`:         `unexpected target: fail2ban's jail "sshd" has banned 192\.0\.2\.1: "fail2ban-client set sshd unbanip 192\.0\.2\.1" unbans it`,
		read + `Then "192.0.2.9" is banned`:             `unexpected target: fail2ban's jail "sshd" has not banned 192\.0\.2\.9, but 2 others`,
		read + `Then "office" is banned`:                `scenario scenario: "office" is not an IP address`,
		`Then fewer than 3 addresses are banned`:        "scenario scenario: no bans have been read yet: .*",
	})
	_, outcome := fixture.Judged(t, stepstest.Scenario{Target: &steps.Target{}}, read)
	if got := fixture.Measured(outcome, 0); got != "fail2ban_banned_addresses 2\nfail2ban_failed_addresses 3\n" {
		t.Errorf("measured\n%s", got)
	}
	for script, want := range map[string]string{
		`echo "ERROR NOK: ('sshd',)" >&2; echo "Sorry but the jail 'sshd' does not exist"; exit 255`:           `config scenario: read the bans of fail2ban's jail "sshd": no such jail: "fail2ban-client status" lists the jails`,
		`echo "ERROR Permission denied to socket: /x, (you must be root)" >&2; exit 255`:                       `config monitor: .*: permission denied: fail2ban only answers to root`,
		`echo "ERROR Failed to access socket path: /x. Is fail2ban running?" >&2; exit 255`:                    `connect target: .*: fail2ban is not running, so password guessing is not blocked`,
		`echo "ERROR [[Errno 111] Connection refused] Unable to contact server. Is it running?" >&2; exit 255`: `connect target: .*: fail2ban is not running, .*`,
		`echo Hello`: `protocol target: .*: unknown format: "Currently failed" is ""`,
		`exit 3`:     `config monitor: .*: fail2ban-client status failed: `,
	} {
		client(script)
		fixture.JudgedAs(t, &steps.Target{}, map[string]string{read: want})
	}
}

func TestScrape(t *testing.T) {
	before := goleak.IgnoreCurrent()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/metrics":
			fmt.Fprint(w, "mta_queue_length{queue=\"deferred\"} 7\nmta_queue_length{queue=\"active\"} 2\nmta_up 1\nmta_age NaN\n")
		case "/html":
			fmt.Fprint(w, "<html>\n")
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(func() {
		server.Close()
		goleak.VerifyNone(t, before)
	})
	target := &steps.Target{Hosts: map[string]*steps.Host{"mx1": {Name: "mx1", Address: "127.0.0.1"}}}
	scrape := "When I scrape \"" + strings.Replace(server.URL, "127.0.0.1", "mx1", 1)
	read := scrape + "/metrics\"\n"
	const what = `http://127\.0\.0\.1:\d+/metrics `
	fixture.JudgedAs(t, target, map[string]string{
		read + `Then the sample "mta_queue_length" is below 8` + "\n" + `And the sample "mta_queue_length" is above 1` + "\n" + `And the sample "mta_up" is 1` + "\n" +
			`And the sample 'mta_queue_length{queue="active"}' is below 3`: "passed",
		read + `Then the sample "mta_queue_length" is below 7`:                  "unexpected web: " + what + `has mta_queue_length\{queue="deferred"\} 7, wanted it below 7`,
		read + `Then the sample "mta_queue_length" is above 2`:                  "unexpected web: " + what + `has mta_queue_length\{queue="active"\} 2, wanted it above 2`,
		read + `Then the sample "mta_queue_length" is 7`:                        "unexpected web: " + what + `has mta_queue_length\{queue="active"\} 2, wanted it to be 7`,
		read + `Then the sample "mta_age" is below 1000`:                        "unexpected web: " + what + `has mta_age NaN, wanted it below 1000`,
		read + `Then the sample 'mta_queue_length{queue="hold"}' is below 1000`: "not_found web: " + what + `has no sample mta_queue_length\{queue="hold"\}; similar ones are mta_queue_length\{queue="deferred"\}, mta_queue_length\{queue="active"\}`,
		read + `Then the sample "mta_queue_size" is below 1000`:                 "not_found web: " + what + `has no sample mta_queue_size; similar ones are mta_queue_length, mta_age, mta_up`,
		read + `Then the sample "nginx" is below 1000`:                          "not_found web: " + what + `has no sample nginx and no similar one`,
		read + `Then the sample "a b" is below 1000`:                            `scenario scenario: "a b" is not a sample: write it as .*`,
		scrape + "/html\"":                 `protocol web: scrape \S+/html: the answer \(text/html; charset=utf-8\) is not a page of metrics: .*`,
		scrape + "/none\"":                 `http_status web: scrape \S+/none: status 404 Not Found, wanted 200`,
		`When I scrape "mx1:8080/metrics"`: `scenario scenario: "mx1:8080/metrics" is not a URL: .*`,
		`Then the sample "mta_up" is 1`:    "scenario scenario: no step has scraped anything yet: .*",
	})
	_, outcome := fixture.Judged(t, stepstest.Scenario{Target: target}, read+`Then the sample "mta_queue_length" is below 7`)
	if got := fixture.Measured(outcome, 1); got != "sample_value 7\n" {
		t.Errorf("measured\n%s", got)
	}
}
