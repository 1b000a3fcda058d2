package cmd

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/stepstest"
)

// watchedAgent runs the verb in a directory with these files.
type watchedAgent struct {
	t        *testing.T
	dir      string
	url      string
	errs     *syncBuffer
	terminal *terminal
	save     func(name, content string)
	end      func()
}

func reloadable(t *testing.T, dir string, args ...string) *watchedAgent {
	t.Helper()
	a := &watchedAgent{t: t, dir: dir, errs: &syncBuffer{}, save: saver(t, dir)}
	a.terminal = &terminal{out: io.Discard, err: a.errs}
	ctx, stop := context.WithCancelCause(context.Background())
	code := make(chan int, 1)
	go func() {
		code <- dispatch(ctx, a.terminal, append([]string{"agent", "--listen", "127.0.0.1:0", "--config", filepath.Join(dir, "stepwatch.yml")}, args...))
	}()
	address := regexp.MustCompile(`(http://\S+)/metrics`)
	until(t, "the address", func() bool { return address.MatchString(a.errs.String()) })
	a.url = address.FindStringSubmatch(a.errs.String())[1]
	until(t, "readiness", func() bool { return get(t, a.url+"/-/ready") == "ready\n" })
	a.end = func() {
		t.Helper()
		stop(steps.ErrStopped)
		if c := <-code; c != exitPassed {
			t.Errorf("exit code %d: %s", c, a.errs)
		}
	}
	return a
}

// post asks for a reload.
func (a *watchedAgent) post() (status int, answer string) {
	a.t.Helper()
	client := http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Post(a.url+"/-/reload", "", nil)
	if err != nil {
		a.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

// hangup is SIGHUP.
func (a *watchedAgent) hangup() { (*a.terminal.hangup.Load())() }

// metric returns the value of a series on the page, or "".
func (a *watchedAgent) metric(series string) string {
	_, rest, _ := strings.Cut(get(a.t, a.url+"/metrics"), "\n"+series+" ")
	value, _, _ := strings.Cut(rest, "\n")
	return value
}

// visits is a feature of n scenarios that visit a site.
func visits(site string, n int, words string) string {
	text := "@every:1s\nFeature: Site\n"
	for i := range n {
		text += fmt.Sprintf("  Scenario: Home %d\n    When I go to \"http://%s/\"\n    Then I should see %q\n", i, site, words)
	}
	return text
}

// TestAgentReloads changes the files of an agent by each trigger, rightly and wrongly, while it visits a website.
func TestAgentReloads(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	defer goleak.VerifyNone(t)
	site, err := stepstest.NewWebsite(stepstest.WebsiteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer site.Close()
	dir := t.TempDir()
	save := saver(t, dir)
	save("stepwatch.yml", "features: [features]\nname: here\nsecrets: {pin: {file: pin}}\n")
	save("pin", "1234\n")
	save("features/site.feature", visits(site.HTTPAddr, 20, "Welcome"))
	a := reloadable(t, dir)
	defer a.end()
	runs := `stepwatch_scenario_runs_total{feature="Site",scenario="Home 0",status="passed"}`
	until(t, "runs", func() bool { return a.metric(runs) > "1" })
	ok := func(want string) {
		t.Helper()
		if status, answer := a.post(); status != http.StatusOK || !regexp.MustCompile(want).MatchString(answer) {
			t.Errorf("got %d %q, want %q", status, answer, want)
		}
	}
	ok(`^0 scenarios added, 0 changed, 20 unchanged, 0 removed in \d+ ms\n$`)

	// A changed file is noticed, and what did not change goes on.
	before, _ := strconv.Atoi(a.metric(runs))
	a.save("features/site.feature", visits(site.HTTPAddr, 22, "Welcome")+"    And I should not see \"Nothing\"\n")
	until(t, "the new scenarios", func() bool {
		return strings.Contains(a.errs.String(), "reloaded: 2 scenarios added, 0 changed, 20 unchanged, 0 removed in ")
	})
	until(t, "a run of a new one", func() bool {
		return a.metric(`stepwatch_scenario_success{feature="Site",scenario="Home 21"}`) == "1"
	})
	if after, _ := strconv.Atoi(a.metric(runs)); after < before {
		t.Errorf("the counter went from %d to %d", before, after)
	}

	// A wrong set changes nothing, whoever asks, and is named each time.
	a.save("features/site.feature", strings.Replace(visits(site.HTTPAddr, 30, "Welcome"), "I should see", "I shall see", 1))
	until(t, "the mistake", func() bool {
		return strings.Contains(a.errs.String(), "nothing was reloaded: the scenarios go on as they were loaded before")
	})
	if got := a.metric("stepwatch_config_last_reload_successful"); got != "0" {
		t.Errorf("config_last_reload_successful is %q", got)
	}
	loaded := a.metric("stepwatch_config_last_reload_success_timestamp_seconds")
	said := strings.Count(a.errs.String(), "nothing was reloaded")
	a.hangup()
	until(t, "the mistake again", func() bool { return strings.Count(a.errs.String(), "nothing was reloaded") > said })
	for _, bad := range []struct{ file, content, want string }{
		{"features/site.feature", strings.Replace(visits(site.HTTPAddr, 30, "Welcome"), "I should see", "I shall see", 1), `site.feature:5:5: error: no sentence matches "I shall see`},
		{"features/site.feature", "Feature: Site\n  Scenaro: One\n", `"Scenaro:" is not a keyword`},
		{"features/site.feature", "@every:1s\nFeature: Site\n  @step\n  Scenario: nothing is left\n    Then I should see \"x\"\n", "nothing to run"},
		{"features/site.feature", visits(site.HTTPAddr, 22, "Welcome"), ""},
		{"stepwatch.yml", "features: [features]\nwrong: 1\n", "stepwatch.yml:2:1"},
		{"stepwatch.yml", "features: [elsewhere]\n", "elsewhere: "},
		{"stepwatch.yml", "features: [features]\nsecrets: {pin: {file: pen}}\n", "read the secret secrets.pin"},
		{"stepwatch.yml", "features: [features]\nexporters: {carrier_pigeon: {}}\n", `there is no exporter "carrier_pigeon"`},
		{"stepwatch.yml", "features: [features]\ntls: {ca: [none.pem]}\n", "tls.ca[0]"},
	} {
		a.save(bad.file, bad.content)
		status, answer := a.post()
		if bad.want == "" {
			if status != http.StatusOK {
				t.Errorf("%s: %d %s", bad.content, status, answer)
			}
			loaded = a.metric("stepwatch_config_last_reload_success_timestamp_seconds")
			continue
		}
		if status != http.StatusBadRequest || !strings.Contains(answer, bad.want) || !strings.Contains(answer, "nothing was changed") {
			t.Errorf("got %d %q, want 400 and %q", status, answer, bad.want)
		}
		if now := a.metric("stepwatch_config_last_reload_success_timestamp_seconds"); now != loaded {
			t.Errorf("%s: the files in use were loaded at %s, and not at %s", bad.content, now, loaded)
		}
	}
	running := a.metric(runs)
	until(t, "more runs", func() bool { return len(a.metric(runs)) > len(running) || a.metric(runs) > running })

	// Settings that need a restart are named and stay; a scenario that is removed leaves the page.
	a.save("stepwatch.yml", "features: [features]\nname: there\nlisten: 127.0.0.1:1\nstate: other\nexporters: {prometheus: {phases: last}}\n")
	a.save("features/site.feature", visits(site.HTTPAddr, 3, "Welcome"))
	ok(`^0 scenarios added, [01] changed, [23] unchanged, 19 removed in \d+ ms; settings that changed: exporters, listen, name, secrets, state; these keep their old value until a restart: listen, name, state, exporters\n$`)
	ok(`^0 scenarios added, 0 changed, 3 unchanged, 0 removed in \d+ ms; these keep their old value until a restart: listen, name, state, exporters\n$`)
	page := get(t, a.url+"/metrics")
	if strings.Contains(page, "Home 3") || !strings.Contains(page, "Home 2") || !strings.Contains(page, "stepwatch_config_last_reload_successful 1\n") {
		t.Error("the page does not have the scenarios of the last set")
	}
	if after, _ := strconv.Atoi(a.metric(runs)); after < before {
		t.Errorf("the counter went from %d to %d", before, after)
	}
	for path, want := range map[string]string{"/-/healthy": "ok\n", "/health": "ok\n", "/-/ready": "ready\n"} {
		if got := get(t, a.url+path); got != want {
			t.Errorf("%s: %q", path, got)
		}
	}
	if got := get(t, a.url+"/-/reload"); !strings.Contains(got, "use POST") {
		t.Errorf("a GET gets %q", got)
	}
}

// TestReloadAfterAStartWithMistakes holds that a scenario that was UNKNOWN from the start runs once its file is mended, and that the
// page no longer has the mistake.
func TestReloadAfterAStartWithMistakes(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	dir := t.TempDir()
	save := saver(t, dir)
	save("stepwatch.yml", "features: [.]\n")
	save("good.feature", strings.Replace(visits("127.0.0.1:1", 1, "x"), "Feature: Site", "Feature: Good", 1))
	save("bad.feature", "Feature: Bad\n  Scenaro: One\n")
	a := reloadable(t, dir)
	defer a.end()
	mistakes := `stepwatch_load_mistakes{file="` + filepath.Join(dir, "bad.feature") + `"}`
	until(t, "the mistake", func() bool { return a.metric(mistakes) == "1" })
	if status, answer := a.post(); status != http.StatusBadRequest || !strings.Contains(answer, "bad.feature:1:1") {
		t.Errorf("got %d %s", status, answer)
	}
	a.save("bad.feature", "Feature: Bad\n  Scenario: One\n    Then there is no file \"/nothing\"\n")
	until(t, "the mended scenario", func() bool { return strings.Contains(get(t, a.url+"/metrics"), `{feature="Bad",scenario="One"`) })
	if got := a.metric(mistakes); got != "" {
		t.Errorf("the page still has %q mistakes", got)
	}
	if page := get(t, a.url+"/metrics"); strings.Contains(page, wholeFile) {
		t.Error("the page still has the scenario of the whole file")
	}
}

// TestReloadsAreShared asks for many reloads at once: each has its answer from one that began after it was asked for.
func TestReloadsAreShared(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	dir := t.TempDir()
	saver(t, dir)("a.feature", visits("127.0.0.1:1", 50, "x"))
	saver(t, dir)("stepwatch.yml", "")
	a := reloadable(t, dir, "--watch=false", filepath.Join(dir, "a.feature"))
	defer a.end()
	var all sync.WaitGroup
	for range 30 {
		all.Go(func() {
			if status, answer := a.post(); status != http.StatusOK || !strings.Contains(answer, "50 unchanged") {
				t.Errorf("%d %s", status, answer)
			}
		})
	}
	all.Wait()
	if n := strings.Count(a.errs.String(), "reloaded: "); n == 0 || n > 20 {
		t.Errorf("%d reloads for 30 who asked at once", n)
	}
	a.save("a.feature", visits("127.0.0.1:1", 51, "x"))
	time.Sleep(500 * time.Millisecond)
	if strings.Contains(a.errs.String(), "1 scenario added") {
		t.Error("--watch=false watches")
	}
}

// TestReloadLeavesNothingBehind reloads a hundred times, mostly with changes, and compares goroutines, descriptors and memory.
func TestReloadLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	save := saver(t, dir)
	f := flagSet("agent")
	load := loadFlags(&terminal{}, f)
	load.runFlags(f, true)
	save("stepwatch.yml", "features: [a.feature]\n")
	const scenarios = 300
	feature := strings.Replace(visits("127.0.0.1:1", scenarios, "x"), "@every:1s", "@every:24h", 1)
	save("a.feature", feature)
	set, err := load.watched(nil)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	s, err := newService(t.Context(), set, inMemory(t.Context(), set, log), serverOptions{listen: "127.0.0.1:0"}, log)
	if err != nil {
		t.Fatal(err)
	}
	defer s.server.Close()
	r := newReloader(load, nil, set, s.runner, s.agent, log, load.unread(nil, true), time.Now())
	set.release()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { s.agent.Run(ctx) })
	running.Go(func() { r.watchFiles(ctx) })
	look := func() (goroutines, files int, bytes uint64) {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		entries, _ := os.ReadDir("/proc/self/fd")
		return runtime.NumGoroutine(), len(entries), m.HeapAlloc
	}
	var goroutines, files int
	var bytes uint64
	for i := range 110 {
		if i == 10 {
			goroutines, files, bytes = look()
		}
		save("a.feature", strings.Replace(feature, "Home 0", fmt.Sprint("Home ", -i), 1))
		save("stepwatch.yml", fmt.Sprintf("features: [a.feature]\nworkers: %d\n", 100+i))
		one := r.ask("the test")
		<-one.done
		if one.err != nil { // the one who watches the files may have asked before
			t.Fatal(one.answer, one.err)
		}
	}
	afterGoroutines, afterFiles, afterBytes := look()
	t.Logf("%d bytes after 10 reloads, %d after 110; goroutines %d, %d; descriptors %d, %d", bytes, afterBytes, goroutines, afterGoroutines, files, afterFiles)
	if afterGoroutines > goroutines+3 || afterFiles > files+3 {
		t.Errorf("goroutines %d, then %d; descriptors %d, then %d", goroutines, afterGoroutines, files, afterFiles)
	}
	if afterBytes > bytes+bytes/5 {
		t.Errorf("memory grew from %d to %d bytes", bytes, afterBytes)
	}
	cancel()
	running.Wait()
	r.stop()
	if one := r.ask("too late"); one.err == nil {
		t.Error("a reload after the end")
	}
}
