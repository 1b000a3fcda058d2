//go:build linux

package host_test

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/stepwatch/stepwatch/features"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

// breakage is what makes a shipped scenario fail, and how it then does.
type breakage struct {
	scenario string // by its name, with its row behind it
	do       func()
	want     string   // expression
	instead  []string // pairs of what the scenario says and what it is to say, where nothing can be broken for a test
}

// judgeShipped runs each scenario of a shipped feature, which must pass, and again once it is broken. replace are pairs of
// what the feature says and what it is to say here; whole is called before each run.
func judgeShipped(t *testing.T, feature string, whole func(), breakages []breakage, replace ...string) {
	t.Helper()
	content, err := os.ReadFile("../../features/hosts/" + feature)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(replace); i += 2 {
		if !bytes.Contains(content, []byte(replace[i])) {
			t.Fatalf("%s does not say %q any more", feature, replace[i])
		}
	}
	path := filepath.Join(t.TempDir(), feature)
	if err := os.WriteFile(path, []byte(strings.NewReplacer(replace...).Replace(string(content))), 0o600); err != nil {
		t.Fatal(err)
	}
	set, err := features.Load([]string{path}, features.Options{})
	if err != nil {
		t.Fatal(err)
	}
	unbroken := make(map[string]string)
	for _, scenario := range set.Scenarios() {
		var text strings.Builder
		for _, step := range scenario.Steps {
			fmt.Fprintln(&text, step.Keyword, step.Text)
		}
		name := scenario.Name
		unbroken[name] = text.String()
		whole()
		if got, _ := fixture.Judged(t, stepstest.Scenario{Target: &steps.Target{}}, text.String()); got != "passed" {
			t.Errorf("%s: %s: %s", feature, name, got)
		}
	}
	texts := maps.Clone(unbroken)
	for _, b := range breakages {
		whole()
		b.do()
		delete(unbroken, b.scenario)
		got, _ := fixture.Judged(t, stepstest.Scenario{Target: &steps.Target{}}, strings.NewReplacer(b.instead...).Replace(texts[b.scenario]))
		if !regexp.MustCompile("^" + b.want + "$").MatchString(got) {
			t.Errorf("%s: %s, broken\ngot  %s\nwant %s", feature, b.scenario, got, b.want)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(unbroken)) {
		t.Errorf("%s: nothing is known that makes %q fail: add it", feature, name)
	}
}

func TestBackupsFeature(t *testing.T) {
	dir := t.TempDir()
	unpacked, err := os.ReadFile("../dump/testdata/postgres15.tar")
	if err != nil {
		t.Fatal(err)
	}
	noise := make([]byte, 64<<10) // what does not get smaller
	source := rand.NewChaCha8([32]byte{})
	_, _ = source.Read(noise) // it never fails
	var packed bytes.Buffer
	z, err := zstd.NewWriter(&packed)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range [][]byte{unpacked, noise} { // what is behind an archive's end is unpacked too
		if _, err := z.Write(part); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	dump, err := os.ReadFile("../dump/testdata/postgres15.dump")
	if err != nil {
		t.Fatal(err)
	}
	mail := func(night int) string { return filepath.Join(dir, fmt.Sprintf("mail-%02d.tar.zst", 90-night)) }
	records := filepath.Join(dir, "records-1.dump")
	const last = 6 * time.Hour
	whole := func() {
		for night := range 8 {
			fixture.Aged(t, mail(night), packed.String(), last+time.Duration(night)*24*time.Hour)
		}
		fixture.Aged(t, records, string(dump), last)
		if err := os.Chmod(records, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	remove := func(pattern string) {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil || len(found) == 0 {
			t.Fatalf("%q: %v", found, err)
		}
		for _, path := range found {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
	}
	const there, kept, dumped = "Last night's backup is there", "Backups are kept for a week, and no longer than five", "The dump of the database is complete"
	judgeShipped(t, "backups.feature", whole, []breakage{
		{there, func() { remove("mail-90*") }, `unexpected target: \S+/mail-89.tar.zst is 30h 0m old, wanted younger than 26 hours: .*`, nil},
		{there, func() { fixture.Aged(t, mail(0), packed.String()[:60<<10], last) }, `unexpected target: \S+/mail-90.tar.zst has 60.0 KB, wanted at least 64 KB`, nil},
		{there, func() { fixture.Aged(t, mail(1), strings.Repeat(packed.String(), 3), last+24*time.Hour) }, `unexpected target: \S+ has \S+ KB, which is 33.3% of the \S+ KB of the previous file .*`, nil},
		{there, func() { remove("mail-*") }, `not_found target: there is no file "\S+/mail-\*.tar.zst"`, nil},
		{kept, func() { remove("mail-8[4-6]*") }, `unexpected target: 5 files match \S+, wanted at least 7: .*`, nil},
		{kept, func() { fixture.Aged(t, mail(7), packed.String(), 36*24*time.Hour) }, `unexpected target: 1 of the 8 files that match \S+ are older than 35 days: .*`, nil},
		{"It can be unpacked", func() { fixture.Aged(t, mail(0), packed.String()[:packed.Len()-200], last) }, `unexpected target: unpack \S+/mail-90.tar.zst: it is truncated`, nil},
		{dumped, func() { fixture.Aged(t, records, string(dump[:len(dump)-200]), last) }, `unexpected target: read the dump \S+: it is truncated: in the table public.mails`, nil},
		{dumped, func() { fixture.Aged(t, records, string(dump), 27*time.Hour) }, `unexpected target: \S+ is 27h 0m old, .*`, nil},
		{dumped, func() { fixture.Aged(t, records, "pg_dump: error: connection failed\n", last) }, `unexpected target: read the dump \S+: it is not a dump \(of PostgreSQL\)`, nil},
		{"Nobody else can read it", func() { fixture.Aged(t, records, string(dump), last) }, `unexpected target: \S+ has mode 640 .*, wanted 600`, nil},
	}, "/var/backups/", dir+"/", "at least 10 MB", "at least 64 KB", "at least 20 tables", "at least 2 tables")
}

func TestServicesFeature(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	write := func(name, content string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
	// What it prints of a unit is in a file of the unit's name, and failed has the lines of "list-units --state=failed".
	write("systemctl", "#!/bin/sh\ncd "+dir+"\ncase $1 in\nlist-units) cat failed ;;\n*) cat \"$4\" ;;\nesac\n", 0o755)
	unit := func(name, active, result string, lastTrigger time.Duration) {
		text := fmt.Sprintf("Id=%s\nLoadState=loaded\nActiveState=%s\nSubState=%[2]s\nResult=%s\nStateChangeTimestamp=Sat 2026-11-21 06:00:00 UTC\n", name, active, result)
		if lastTrigger > 0 {
			text += "Unit=certbot.service\nLastTriggerUSec=" + time.Now().Add(-lastTrigger).UTC().Format("Mon 2006-01-02 15:04:05 MST") + "\n"
		}
		write(name, text, 0o644)
	}
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(sleep)
	if err != nil {
		t.Fatal(err)
	}
	puma := fmt.Sprintf("puma%d", os.Getpid()) // no other process has that name
	write(puma, string(program), 0o755)
	var workers []*exec.Cmd
	end := func(count int) {
		for _, w := range workers[:count] {
			_ = w.Process.Kill() // it may have ended
			_ = w.Wait()         // by that
		}
		workers = workers[count:]
	}
	t.Cleanup(func() { end(len(workers)) })
	const nightly = 3 * time.Hour
	services := []string{"postfix.service", "dovecot.service", "nginx.service"}
	whole := func() {
		for _, name := range services {
			unit(name, "active", "success", 0)
		}
		unit("certbot.service", "inactive", "success", 0)
		unit("certbot.timer", "active", "success", 5*time.Hour)
		write("failed", "", 0o644)
		fixture.Aged(t, filepath.Join(dir, "backup"), "", nightly)
		for len(workers) < 2 {
			w := exec.CommandContext(t.Context(), filepath.Join(dir, puma), "76")
			if err := w.Start(); err != nil {
				t.Fatal(err)
			}
			workers = append(workers, w)
		}
	}
	breakages := []breakage{
		{"The workers of the application run", func() { end(1) }, `unexpected target: 1 processes "` + puma + `" run, wanted at least 2`, nil},
		{"The workers of the application run", func() { end(2) }, `not_found target: no process "` + puma + `" runs`, nil},
		{"No unit has failed", func() { write("failed", "backup.service loaded failed failed Nightly backup\n", 0o644) }, `unexpected target: 1 units have failed: backup.service`, nil},
		{"Certificates are renewed", func() { unit("certbot.timer", "active", "success", 14*time.Hour) }, `not_received target: the timer "certbot.timer" ran 14h 0m ago, wanted in the last 13 hours`, nil},
		{"Certificates are renewed", func() { unit("certbot.timer", "inactive", "success", 5*time.Hour) }, `unexpected target: the timer "certbot.timer" is inactive since .*, wanted active: .*`, nil},
		{"Certificates are renewed", func() { unit("certbot.service", "failed", "exit-code", 0) }, `unexpected target: the unit "certbot.service" has failed \(exit-code\), .*`, nil},
		{"The nightly job ran", func() { fixture.Aged(t, filepath.Join(dir, "backup"), "", nightly+24*time.Hour) }, `not_received target: \S+/backup was written last at .*`, nil},
		{"The nightly job ran", func() { fixture.Aged(t, filepath.Join(dir, "backup"), "", nightly-90*time.Minute) }, `slow target: \S+/backup was written at .*`, nil},
	}
	for _, name := range services {
		breakages = append(breakages, breakage{name + " is active", func() { unit(name, "failed", "exit-code", 0) }, `unexpected target: the unit "` + name + `" is failed \(exit-code\) since .*`, nil})
	}
	clock := func(ago time.Duration) string { return time.Now().UTC().Add(-ago).Format("15:04") }
	// The machine of the test may be overloaded indeed.
	replace := []string{"below 2 per core", "below 10000 per core", "more than 10%", "more than 0.5%", "less than 80%", "less than 100%", "/var/lib/jobs/", dir + "/", `"puma"`, `"` + puma + `"`, "between 02:00 and 06:30", fmt.Sprintf("between %s and %s in UTC", clock(4*time.Hour), clock(2*time.Hour))}
	none := func() {}
	judgeShipped(t, "services.feature", whole, append(breakages,
		breakage{"The machine is not overloaded", none, `unexpected target: the load of 5 minutes is .*, wanted below 0.0000001 per core`, []string{"10000", "0.0000001"}},
		breakage{"There is memory", none, `unexpected target: \d+\.\d% of the memory is available .*, wanted more than 99.9999%`, []string{"0.5%", "99.9999%"}}), replace...)
}
