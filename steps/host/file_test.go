//go:build linux

package host_test

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

func TestFile(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	dir := t.TempDir()
	backup := func(name string, size int, ago time.Duration) {
		fixture.Aged(t, filepath.Join(dir, "mail-"+name+".tar"), strings.Repeat("x", size), ago)
	}
	backup("1", 1000, 30*time.Hour)
	backup("2", 900, 6*time.Hour)
	fixture.Aged(t, filepath.Join(dir, "log"), "begin\nexit code: 0\n", 10*time.Minute)
	fixture.Aged(t, filepath.Join(dir, "ahead"), "x", -3*time.Hour)
	fixture.Aged(t, filepath.Join(dir, "empty"), "", -3*time.Hour)
	fixture.Aged(t, filepath.Join(dir, "nothing-1"), "", 2*time.Hour)
	fixture.Aged(t, filepath.Join(dir, "nothing-2"), "x", time.Hour)
	if err := unix.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	at := func(path string) string { return `When I look at the file "` + filepath.Join(dir, path) + "\"\n" }
	newest := `When I look at the newest file of "` + dir + `/mail-*.tar"` + "\n"
	d := regexp.QuoteMeta(dir)
	fixture.JudgedAs(t, &steps.Target{}, map[string]string{
		newest + "Then the file is younger than 26 hours\nAnd the file has at least 900 B\nAnd the file has between 900 B and 1 KB\nAnd the file has at least 50% of the size of the one before\n" +
			"And at least 2 files are kept\nAnd no file is older than 2 days\nAnd the file is older than 1 hour": "passed",
		newest + "Then the file is younger than 5 hours":                                                                           "unexpected target: " + d + "/mail-2.tar is 6h 0m old, wanted younger than 5 hours: the job that writes it has not run, or has failed",
		newest + "Then the file is older than 7 hours":                                                                             "unexpected target: " + d + "/mail-2.tar is 6h 0m old, wanted older than 7 hours",
		newest + "Then the file has at least 1 KB":                                                                                 "unexpected target: " + d + "/mail-2.tar has 900 B, wanted at least 1 KB",
		newest + "Then the file has between 1 B and 800 B":                                                                         "unexpected target: " + d + "/mail-2.tar has 900 B, wanted between 1 B and 800 B",
		newest + "Then the file has between 2 B and 1 B":                                                                           "scenario scenario: no file has between 2 B and 1 B: the first size is larger than the second",
		newest + "Then the file has at least 0 B":                                                                                  `scenario scenario: "0 B" is not a size from 1 B to 1048576 GB`,
		newest + "Then the file has at least 95% of the size of the one before":                                                    "unexpected target: " + d + "/mail-2.tar has 900 B, which is 90.0% of the 1000 B of the previous file \\(" + d + "/mail-1.tar\\), wanted at least 95%",
		newest + "Then the file has at least 0% of the size of the one before":                                                     "scenario scenario: 0% is not a share of a size: give one above 0%",
		newest + "Then at least 7 files are kept":                                                                                  `unexpected target: 2 files match "` + d + `/mail-\*.tar", wanted at least 7: the oldest is ` + d + `/mail-1.tar \(30h 0m old\)`,
		newest + "Then no file is older than 1 day":                                                                                `unexpected target: 1 of the 2 files that match "\S+" are older than 1 day: the oldest, ` + d + `/mail-1.tar, is 30h 0m old`,
		at("log") + "Then the file has at least 50% of the size of the one before":                                                 `not_found monitor: there is nothing to compare \S+/log with: no other file matches "\S+"`,
		`When I look at the newest file of "` + dir + "/nothing-*\"\nThen the file has at least 50% of the size of the one before": `unexpected target: there is nothing to compare \S+/nothing-2 with: the previous file, \S+/nothing-1, is empty`,
		at("log") + `Then the file contains "code: 0"` + "\n" + `And the file does not contain "ERROR"` + "\n" + `And the file matches "^exit code: \d$"` + "\n" +
			`And the file has mode "640"` + "\n" + fmt.Sprintf("And the file is owned by %q", me.Username): "passed",
		at("log") + `Then the file contains "code: 1"`:           `unexpected target: \S+/log does not contain "code: 1"`,
		at("log") + `Then the file contains ""`:                  `scenario scenario: the text is empty, and every file contains it: give a text`,
		at("log") + `Then the file does not contain "exit code"`: `unexpected target: \S+/log contains "exit code"`,
		at("log") + `Then the file matches "^code"`:              `unexpected target: \S+/log does not match "\^code"`,
		at("log") + `Then the file matches "(("`:                 `scenario scenario: "\(\(" is not a regular expression: .*`,
		at("log") + `Then the file has mode "600"`:               `unexpected target: \S+/log has mode 640 \(-rw-r-----\), wanted 600`,
		at("log") + `Then the file has mode "rw"`:                `scenario scenario: "rw" is not a mode: .*`,
		at("log") + `Then the file is owned by "www-data"`:       `unexpected target: \S+/log is owned by "` + me.Username + `", wanted "www-data"`,
		at("log") + `Then the file is owned by "www-data:adm"`:   `unexpected target: \S+/log is owned by "` + me.Username + `:\w+", wanted "www-data:adm"`,
		at("ahead") + "Then the file is younger than 1 hour":     `unexpected target: \S+/ahead was changed 2h 59m from now: the clock of this machine, or of the machine that wrote it, is wrong`,
		at("ahead") + "Then the file is a whole archive":         `unexpected target: unpack \S+/ahead: it is not an archive of a known format`,
		at("empty") + "Then the file is a whole archive":         `unexpected target: unpack \S+/empty: it is truncated: it is empty`,
		at("pipe") + `Then the file contains "x"`:                `unexpected target: read \S+/pipe: it is not an archive of a known format: it is not a regular file \(p-+\)`,
		at("log") + "Then the dump has at least 1 tables":        "scenario scenario: no dump has been read yet: .*",
		at("none"): `not_found target: there is no file "` + d + `/none"`,
		`When I look at the newest file of "` + dir + `/none/*"`: `not_found target: there is no file "` + d + `/none/\*": there is no directory ` + d + `/none`,
		`When I look at the newest file of "` + dir + `/none*"`:  `not_found target: there is no file "` + d + `/none\*"`,
		`When I look at the newest file of "` + dir + `/[a"`:     `scenario scenario: "` + d + `/\[a" is not a pattern: .*`,
		`Then there is no file "` + dir + `/none"`:               "passed",
		`Then there is no file "` + dir + `/mail-*"`:             `unexpected target: there is ` + d + `/mail-2.tar \(900 B, 6h 0m old\), and 1 more that match, wanted no file "` + d + `/mail-\*"`,
		"Then the file is younger than 1 hour":                   "scenario scenario: no step has looked at a file yet: .*",
	})
	_, outcome := fixture.Judged(t, stepstest.Scenario{Dir: dir, Target: &steps.Target{}}, `When I look at the newest file of "mail-*"`+"\nThen the file has at least 150% of the size of the one before")
	if got := fixture.Measured(outcome, 0); !regexp.MustCompile(`^files_found 2\nfile_age_seconds 216\d\d\nfile_size_bytes 900\n$`).MatchString(got) {
		t.Errorf("measured\n%s", got)
	}
	if got, want := outcome.Steps[0].Report.Note, dir+"/mail-2.tar, 900 B, 6h 0m old, the newest of 2"; got != want {
		t.Errorf("note: got %q, want %q", got, want)
	}
	_, ahead := fixture.Judged(t, stepstest.Scenario{Dir: dir, Target: &steps.Target{}}, `When I look at the file "ahead"`)
	if got, want := ahead.Steps[0].Report.Note, dir+"/ahead, 1 B, changed 2h 59m from now"; got != want {
		t.Errorf("note: got %q, want %q", got, want)
	}
	if got := fixture.Measured(outcome, 1); got != "file_size_change_ratio 1\n" {
		t.Errorf("measured\n%s", got)
	}
}

func TestFileIsWhole(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	dir := t.TempDir()
	whole, err := os.ReadFile("../dump/testdata/postgres15.dump")
	if err != nil {
		t.Fatal(err)
	}
	fixture.Aged(t, filepath.Join(dir, "cut.dump"), string(whole[:len(whole)-200]), time.Hour)
	fixture.Aged(t, filepath.Join(dir, "fresh.dump"), string(whole[:len(whole)-200]), 5*time.Second)
	gz, err := os.ReadFile("../dump/testdata/postgres15/3350.dat.gz")
	if err != nil {
		t.Fatal(err)
	}
	fixture.Aged(t, filepath.Join(dir, "cut.gz"), string(gz[:500]), time.Hour)
	fixture.Aged(t, filepath.Join(dir, "long"), strings.Repeat("x", 64<<10)+"needle"+strings.Repeat("y", 64<<10), time.Hour)
	at := func(path string) string { return `When I look at the file "` + path + "\"\n" }
	const (
		postgres = "Then the file is a complete PostgreSQL dump"
		mysql    = "Then the file is a complete MySQL dump"
		archived = "Then the file is a whole archive"
		testdata = "../dump/testdata/"
	)
	fixture.JudgedAs(t, &steps.Target{}, map[string]string{
		at(testdata+"postgres15.dump") + postgres + "\nAnd the dump has at least 2 tables": "passed",
		at(testdata+"postgres15.dump") + postgres + "\nAnd the dump has at least 3 tables": "unexpected target: ../dump/testdata/postgres15.dump has 2 tables, wanted at least 3",
		at(testdata+"postgres15") + postgres:                                               "passed",
		at(testdata+"postgres15.tar") + archived:                                           "passed",
		at(testdata+"mariadb.sql") + mysql:                                                 "passed",
		at(testdata+"mariadb.sql") + postgres:                                              `unexpected target: read the dump ../dump/testdata/mariadb.sql: it is not a dump \(of PostgreSQL\)`,
		at(testdata+"postgres15.sql") + mysql:                                              `unexpected target: read the dump ../dump/testdata/postgres15.sql: it is not a dump \(of MySQL\)`,
		at(testdata+"postgres15.sql") + archived:                                           `unexpected target: unpack ../dump/testdata/postgres15.sql: it is not an archive of a known format`,
		at(testdata+"postgres15/3350.dat.gz") + `Then the file contains "subject 200x"`:    "passed",
		at(dir+"/cut.dump") + postgres:                                                     `unexpected target: read the dump \S+/cut.dump: it is truncated: in the table public.mails`,
		at(dir+"/fresh.dump") + postgres:                                                   `unexpected target: read the dump \S+/fresh.dump: it is truncated: in the table public.mails \(it was changed 5s ago and may still be incomplete\)`,
		at(dir+"/cut.gz") + archived:                                                       `unexpected target: unpack \S+/cut.gz: it is truncated`,
		at(dir+"/cut.gz") + `Then the file does not contain "ERROR"`:                       `unexpected target: read \S+/cut.gz: it is truncated`,
		at(dir+"/cut.gz") + `Then the file matches "ERROR"`:                                `unexpected target: read \S+/cut.gz: it is truncated`,
		at(dir+"/long") + `Then the file contains "xneedley"`:                              "passed",
		at(dir) + `Then the file contains "x"`:                                             `unexpected target: read \S+: it is not an archive of a known format: it is a directory`,
	})
	_, outcome := fixture.Judged(t, stepstest.Scenario{Target: &steps.Target{}}, at(testdata+"postgres15.dump")+postgres)
	if got, want := outcome.Steps[1].Report.Note, `custom, 2 tables, of the database "records", from version 15.18`; got != want {
		t.Errorf("note: got %q, want %q", got, want)
	}
	if got := fixture.Measured(outcome, 1); got != "dump_tables 2\n" {
		t.Errorf("measured\n%s", got)
	}
	_, outcome = fixture.Judged(t, stepstest.Scenario{Target: &steps.Target{}}, at(testdata+"postgres15.tar")+archived)
	if got := fixture.Measured(outcome, 1); got != "archive_files 7\narchive_unpacked_bytes 18992\n" {
		t.Errorf("measured\n%s", got)
	}
}

// TestFileDenied checks that a file that stepwatch may not read is never reported as missing.
func TestFileDenied(t *testing.T) {
	dir := t.TempDir()
	closed := filepath.Join(dir, "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	fixture.Aged(t, filepath.Join(closed, "mail-1.tar"), "x", time.Hour)
	fixture.Aged(t, filepath.Join(dir, "secret"), "x", time.Hour)
	if err := errors.Join(os.Chmod(closed, 0), os.Chmod(filepath.Join(dir, "secret"), 0), os.Chmod(dir, 0o755), os.Chmod(filepath.Dir(dir), 0o755)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(closed, 0o700) }) // so that it can be removed
	const allow = `: let its user read it \(by a group, or by setfacl -m u:stepwatch:rX\)`
	scenarios := map[string]string{
		`When I look at the newest file of "` + closed + `/mail-*"`:                   `config monitor: look for "\S+": stepwatch may not read ` + regexp.QuoteMeta(closed) + allow,
		`When I look at the file "` + closed + `/mail-1.tar"`:                         `config monitor: look for "\S+": stepwatch may not read \S+/mail-1.tar` + allow,
		`Then there is no file "` + closed + `/none"`:                                 `config monitor: look for "\S+": stepwatch may not read \S+/none` + allow,
		`When I look at the file "` + dir + "/secret\"\nThen the file contains \"x\"": `config monitor: read \S+/secret: stepwatch may not read \S+/secret` + allow,
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if os.Geteuid() == 0 {
			runtime.LockOSThread() // never unlocked: the thread, which has lost its rights, ends with the goroutine
			if _, _, failed := unix.RawSyscall(unix.SYS_SETRESUID, 65534, 65534, 65534); failed != 0 {
				t.Error(failed)
				return
			}
		}
		fixture.JudgedAs(t, &steps.Target{}, scenarios)
	}()
	<-done
}
