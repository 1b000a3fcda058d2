package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/agent"
	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/browser"
)

// visitorRole makes this test binary visit the page that it names instead of running benchmarks, in a process of its own
// whose CPU and memory, the browser's included, the kernel adds up.
const (
	visitorRole   = "STEPWATCH_BENCH_VISITOR" // the server's address
	visitorEngine = "STEPWATCH_BENCH_ENGINE"  // "browser", "http", or "bare" for net/http alone
	visitorRuns   = "STEPWATCH_BENCH_VISITS"  // how often
)

// visitPage is what the visit begins with: 4 KB of HTML, a style sheet, a script and six images.
var visitPage = "<!doctype html><html><head><title>Home</title><link rel=stylesheet href=/visit.css><script src=/visit.js></script></head><body><h1>Welcome</h1>" +
	strings.Repeat("<p>Some text with <a href=\"/x\">a link</a> in it, and more of it.</p>\n", 56) +
	"<img src=/1.svg><img src=/2.svg><img src=/3.svg><img src=/4.svg><img src=/5.svg><img src=/6.svg><a href=/contact>Contact</a></body></html>"

// visit visits and ends the process.
func visit(address string) error {
	runs, err := strconv.Atoi(os.Getenv(visitorRuns))
	if err != nil {
		return err
	}
	if os.Getenv(visitorEngine) == "bare" {
		for range runs {
			if err := errors.Join(get("http://"+address+"/visit", "Contact"), get("http://"+address+"/contact", "Contact us")); err != nil {
				return err
			}
		}
		return nil
	}
	tag, target := "", &steps.Target{}
	if os.Getenv(visitorEngine) == "browser" {
		dir, err := os.MkdirTemp("", "stepwatch-bench-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		tag = "@browser "
		chromium := browser.New(browser.Options{Dir: dir})
		defer chromium.Close()
		target.Set(chromium)
	}
	plans, err := compileText(fmt.Sprintf("%s@timeout:60s\nFeature: Visit\n  Scenario: Contact\n"+
		"    When I go to \"http://%s/visit\"\n    And I follow \"Contact\"\n    Then I should see \"Contact us\"\n", tag, address))
	if err != nil {
		return err
	}
	runner := &agent.Runner{Direct: true, Target: target}
	for range runs {
		if res := runner.Run(context.Background(), plans[0], agent.Occasion{}); res.State() != result.OK {
			return errors.New(res.Error)
		}
	}
	return nil
}

// get fetches a page over a connection of its own and looks for a text in it.
func get(url, text string) error {
	return getWith(&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, url, text)
}

// getWith does the same with a client.
func getWith(client *http.Client, url, text string) error {
	response, err := client.Get(url)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || !strings.Contains(string(body), text) {
		return fmt.Errorf("%s: no %q in what was read: %w", url, text, err)
	}
	return nil
}

// BenchmarkHTTPVisit is the same visit without a browser, beside the two requests bare and in a shell script with curl. The
// script's processes are many because curl has no other way to look at a page before it fetches the next.
func BenchmarkHTTPVisit(b *testing.B) {
	s := startServer(b, 0)
	b.Run("stepwatch", func(b *testing.B) { visitors(b, s.address, "http") })
	b.Run("bare-get", func(b *testing.B) { visitors(b, s.address, "bare") })
	b.Run("curl", func(b *testing.B) {
		if _, err := exec.LookPath("curl"); err != nil {
			b.Skip(err)
		}
		inGroup(b, os.Environ(), "", "sh", "-c", `for i in $(seq "$2"); do
			case $(curl -sf "http://$1/visit") in *Contact*) ;; *) exit 1 ;; esac
			case $(curl -sf "http://$1/contact") in *"Contact us"*) ;; *) exit 1 ;; esac
		done`, "sh", s.address, strconv.Itoa(b.N))
	})
}

// visitors makes b.N visits with an engine.
func visitors(b *testing.B, address, engine string) {
	b.Helper()
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	inGroup(b, append(os.Environ(), visitorRole+"="+address, visitorEngine+"="+engine, visitorRuns+"="+strconv.Itoa(b.N)), "", self)
}

// BenchmarkBrowserVisit is a visit of two pages in a fresh browser context, beside Playwright with the same browser. Each
// row starts the browser once for all of its visits.
func BenchmarkBrowserVisit(b *testing.B) {
	path, err := browser.Find()
	if err != nil {
		b.Skip(err)
	}
	s := startServer(b, 0)
	b.Run("stepwatch", func(b *testing.B) { visitors(b, s.address, "browser") })
	b.Run("playwright", func(b *testing.B) {
		modules := os.Getenv("STEPWATCH_PLAYWRIGHT") // where playwright-core is installed
		if modules == "" {
			b.Skip("npm install --no-save playwright-core in a directory, and name that in STEPWATCH_PLAYWRIGHT")
		}
		script, err := filepath.Abs("visit.mjs")
		if err != nil {
			b.Fatal(err)
		}
		inGroup(b, os.Environ(), modules, "node", script, s.address, strconv.Itoa(b.N), path)
	})
}

// inGroup runs a command that does b.N visits in a control group of its own and reports what all its processes took.
func inGroup(b *testing.B, env []string, dir string, command ...string) {
	name := fmt.Sprintf("stepwatch-bench-%d-%d", os.Getpid(), time.Now().UnixNano())
	var groups []string
	for _, controller := range []string{"cpuacct", "memory"} { // version 1; in version 2 both are in one
		group := filepath.Join("/sys/fs/cgroup", controller, name)
		if err := os.Mkdir(group, 0o755); err == nil {
			groups = append(groups, group)
			defer os.Remove(group)
		}
	}
	if len(groups) == 0 {
		group := filepath.Join("/sys/fs/cgroup", name)
		if err := os.Mkdir(group, 0o755); err != nil {
			b.Skip("no control group can be made here, which adds up the browser's processes:", err)
		}
		groups = append(groups, group)
		defer os.Remove(group)
	}
	join := ""
	for _, group := range groups {
		join += "echo $$ > " + group + "/cgroup.procs; "
	}
	cmd := exec.Command("sh", append([]string{"-c", join + `exec "$@"`, "sh"}, command...)...)
	cmd.Env, cmd.Dir = env, dir
	start := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	took := time.Since(start)
	b.ReportMetric(took.Seconds()*1000/float64(b.N), "wall-ms/op")
	b.ReportMetric(float64(b.N)/took.Seconds(), "visits/s")
	for _, group := range groups {
		if ns := number(filepath.Join(group, "cpuacct.usage"), ""); ns > 0 {
			b.ReportMetric(ns/1e6/float64(b.N), "cpu-ms/op")
		}
		if us := number(filepath.Join(group, "cpu.stat"), "usage_usec "); us > 0 {
			b.ReportMetric(us/1e3/float64(b.N), "cpu-ms/op")
		}
		for _, file := range []string{"memory.max_usage_in_bytes", "memory.peak"} {
			if held := number(filepath.Join(group, file), ""); held > 0 {
				b.ReportMetric(held/(1<<20), "peak-MB")
			}
		}
	}
}

// number reads the number behind a prefix in a file, 0 when there is none.
func number(path, prefix string) float64 {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, found := strings.CutPrefix(line, prefix); found {
			n, _ := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			return n
		}
	}
	return 0
}
