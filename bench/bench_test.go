package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stepwatch/stepwatch/agent"
	"github.com/stepwatch/stepwatch/agent/collector"
	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/features"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/builtin"
	"github.com/stepwatch/stepwatch/steps/stepstest"
)

// serverRole makes this test binary serve pages instead of running benchmarks, in a process of its own, so that its CPU
// and memory are not the client's.
const serverRole = "STEPWATCH_BENCH_SERVER"

func TestMain(m *testing.M) {
	if os.Getenv(serverRole) != "" {
		serve()
		return
	}
	if address := os.Getenv(visitorRole); address != "" {
		if err := visit(address); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	for _, role := range []func() (played bool, err error){hangingRole, loadRole, slowClientRole} {
		if played, err := role(); played {
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			return
		}
	}
	collector.Pace(collector.Agent) // it holds for every row alike
	os.Exit(m.Run())
}

// page is 2 KB of HTML, as the peers were measured with.
var page = "<!doctype html><html><head><title>Home</title></head><body><h1>Welcome</h1>" +
	strings.Repeat("<p>Some text with <a href=\"/x\">a link</a> in it.</p>\n", 36) + "<p>All is well</p></body></html>"

// hit is one request as the server saw it.
type hit struct {
	Target string
	At     int64 // Unix nanoseconds of its arrival
	Took   int64 // nanoseconds that the handler took
}

// serve answers until its standard input ends and then writes what it saw. It prints its address first.
func serve() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	delay, _ := time.ParseDuration(os.Getenv(serverRole)) // "0s" for none
	var mu sync.Mutex
	hits := make([]hit, 0, 100000)
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		at := time.Now()
		time.Sleep(delay)
		kind, body := "text/html; charset=utf-8", page
		switch path := r.URL.Path; {
		case path == "/visit":
			body = visitPage
		case path == "/contact":
			body = "<!doctype html><title>Contact</title><link rel=stylesheet href=/visit.css><h1>Contact us</h1>"
		case strings.HasSuffix(path, ".css"):
			kind, body = "text/css", "body { font-family: sans-serif } p { margin: 0.5em }"
		case strings.HasSuffix(path, ".js"):
			kind, body = "text/javascript", "document.addEventListener('DOMContentLoaded', () => document.body.classList.add('ready'))"
		case strings.HasSuffix(path, ".svg"):
			kind, body = "image/svg+xml", `<svg xmlns="http://www.w3.org/2000/svg" width="40" height="40"><circle cx="20" cy="20" r="18"/></svg>`
		}
		w.Header().Set("Content-Type", kind)
		_, _ = io.WriteString(w, body)
		mu.Lock()
		hits = append(hits, hit{r.URL.Path, at.UnixNano(), int64(time.Since(at))})
		mu.Unlock()
	})}
	go func() { _ = server.Serve(listener) }()
	fmt.Println(listener.Addr())
	_, _ = io.Copy(io.Discard, os.Stdin)
	mu.Lock()
	defer mu.Unlock()
	_ = json.NewEncoder(os.Stdout).Encode(hits)
}

// server is such a process.
type server struct {
	address string
	cmd     *exec.Cmd
	stdin   io.Closer
	out     *bufio.Reader
}

func startServer(b *testing.B, delay time.Duration) *server {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), serverRole+"="+delay.String())
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	s := &server{cmd: cmd, stdin: stdin, out: bufio.NewReader(stdout)}
	address, err := s.out.ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	s.address = strings.TrimSpace(address)
	b.Cleanup(func() { s.hits(b) })
	return s
}

// hits ends the server and gives what it saw. A second call gives nothing.
func (s *server) hits(b *testing.B) []hit {
	b.Helper()
	if s.cmd == nil {
		return nil
	}
	cmd := s.cmd
	s.cmd = nil
	s.stdin.Close()
	var all []hit
	if err := json.NewDecoder(s.out).Decode(&all); err != nil {
		b.Error(err)
	}
	if err := cmd.Wait(); err != nil {
		b.Error(err)
	}
	return all
}

func compile(b *testing.B, text string) []*agent.Plan {
	b.Helper()
	plans, err := compileText(text)
	if err != nil {
		b.Fatal(err)
	}
	return plans
}

func compileText(text string) ([]*agent.Plan, error) {
	loaded, err := features.Load([]string{"bench.feature"}, features.Options{FS: fstest.MapFS{"bench.feature": {Data: []byte(text)}}})
	if err != nil {
		return nil, err
	}
	library := builtin.Library()
	var plans []*agent.Plan
	for _, s := range loaded.Scenarios() {
		plan := agent.NewPlan(s, library, agent.Defaults{Every: time.Second, Timeout: 30 * time.Second})
		for _, p := range plan.Problems {
			return nil, p
		}
		plans = append(plans, plan)
	}
	return plans, nil
}

func webScenario(address, path string) string {
	return fmt.Sprintf("  Scenario: Page %s\n    When I go to \"http://%s/%s\"\n    Then I should see \"All is well\"\n", path, address, path)
}

// cpu is the CPU time that this process has used.
func cpu() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// once runs a plan as the agent does.
func once(b *testing.B, runner *agent.Runner, plan *agent.Plan) *result.Result {
	res := runner.Run(context.Background(), plan, agent.Occasion{})
	if res.State() != result.OK {
		b.Fatal(res.Summary())
	}
	return res
}

// measure reports the CPU time of an iteration beside Go's own columns.
func measure(b *testing.B, do func()) {
	b.ReportAllocs()
	before := cpu()
	for b.Loop() {
		do()
	}
	b.ReportMetric(float64(cpu()-before)/float64(b.N)/1000, "cpu-µs/op")
}

// BenchmarkCost is one run of a two-step web scenario beside a bare GET over a fresh connection, and the runner alone.
func BenchmarkCost(b *testing.B) {
	s := startServer(b, 0)
	b.Run("bare-get", func(b *testing.B) {
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		measure(b, func() {
			response, err := client.Get("http://" + s.address + "/bare")
			if err != nil {
				b.Fatal(err)
			}
			body, err := io.ReadAll(response.Body)
			response.Body.Close()
			if err != nil || !strings.Contains(string(body), "All is well") {
				b.Fatal("the page is not right", err)
			}
		})
	})
	b.Run("two-step-scenario", func(b *testing.B) {
		plan := compile(b, "Feature: Cost\n"+webScenario(s.address, "cost"))[0]
		runner := &agent.Runner{Direct: true, Target: &steps.Target{}}
		measure(b, func() { once(b, runner, plan) })
	})
	b.Run("two-step-scenario-with-a-secret", func(b *testing.B) { // which every report is searched for
		text := strings.Replace(webScenario(s.address, "cost"), "    When", "    Given the environment variable \"A\" holds the secret \"members\"\n    When", 1)
		plan := compile(b, "Feature: Cost\n"+text)[0]
		runner := &agent.Runner{Direct: true, Target: &steps.Target{}, Secrets: stepstest.Secrets{"members": "Corr3ct-horse_01"}}
		measure(b, func() { once(b, runner, plan) })
	})
	b.Run("runner-alone", func(b *testing.B) {
		library := steps.NewLibrary(
			steps.Definition{Sentence: `I go to {url}`, Func: func(context.Context, *steps.World, steps.Args) error { return nil }},
			steps.Definition{Sentence: `I should see {text}`, Func: func(context.Context, *steps.World, steps.Args) error { return nil }})
		plan := agent.NewPlan(compile(b, "Feature: Cost\n"+webScenario(s.address, "cost"))[0].Scenario, library, agent.Defaults{Timeout: time.Minute})
		runner := &agent.Runner{Direct: true, Target: &steps.Target{}}
		measure(b, func() { once(b, runner, plan) })
	})
}

// percentile of values, which it sorts.
func percentile(values []time.Duration, p float64) time.Duration {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[min(len(values)-1, int(p*float64(len(values))))]
}

func reportPercentiles(b *testing.B, name string, values []time.Duration) {
	b.ReportMetric(float64(percentile(values, 0.5).Microseconds())/1000, name+"-p50-ms")
	b.ReportMetric(float64(percentile(values, 0.99).Microseconds())/1000, name+"-p99-ms")
}

// BenchmarkTruthWeb is how far a step's reported time is from what the server took over a page it answers after 50 ms.
func BenchmarkTruthWeb(b *testing.B) {
	s := startServer(b, 50*time.Millisecond)
	plan := compile(b, "Feature: Truth\n"+webScenario(s.address, "truth"))[0]
	runner := &agent.Runner{Direct: true, Target: &steps.Target{}}
	var reported []time.Duration
	for b.Loop() {
		reported = append(reported, once(b, runner, plan).Steps[0].Duration)
	}
	var off []time.Duration
	for i, h := range s.hits(b) {
		off = append(off, (reported[i] - time.Duration(h.Took)).Abs())
	}
	reportPercentiles(b, "off", off)
}

// BenchmarkTruthMail is how far the receiving step's time is from what the server took between its acceptance of a
// message and its delivery, for several delays. The mail server runs in this process, as its own clock is asked.
func BenchmarkTruthMail(b *testing.B) {
	for _, delay := range []time.Duration{5 * time.Millisecond, 50 * time.Millisecond, 500 * time.Millisecond} {
		b.Run(delay.String(), func(b *testing.B) {
			server, err := stepstest.NewMailServer(stepstest.MailOptions{Domain: "demo.test", Users: map[string]string{"alice": "wonderland", "bob": "builder"}})
			if err != nil {
				b.Fatal(err)
			}
			defer server.Close()
			server.SetDelay(delay)
			target := &steps.Target{Roots: server.CA().Roots, ConnectTo: server.ConnectTo(), Accounts: map[string]*steps.Account{}}
			for _, name := range []string{"alice", "bob"} {
				address := name + "@demo.test"
				target.Accounts[name] = &steps.Account{Name: name, Address: address, Username: address, Password: name, SMTP: server.Host(), IMAP: server.Host()}
			}
			plan := compile(b, "Feature: Truth\n  Scenario: Mail\n    When I send a message from \"alice\" to \"bob\" via 587\n    Then \"bob\" receives it over IMAP within 60s\n")[0]
			runner := &agent.Runner{Direct: true, Target: target, Secrets: stepstest.Secrets{"alice": "wonderland", "bob": "builder"}}
			var off []time.Duration
			for b.Loop() {
				reported := once(b, runner, plan).Steps[1].Duration
				all := server.Deliveries()
				last := all[len(all)-1]
				off = append(off, (reported - last.Stored.Sub(last.Accepted)).Abs())
			}
			reportPercentiles(b, "off", off)
		})
	}
}

// countingSink takes what the agent hands out.
type countingSink struct {
	mu     sync.Mutex
	failed int
	why    string // of one failure
	delays []time.Duration
}

func (c *countingSink) Export(r *result.Result) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.delays = append(c.delays, r.Delay)
	if r.State() != result.OK {
		c.failed++
		c.why = r.Summary()
	}
}

// BenchmarkThousandScenarios runs a thousand two-step web scenarios at an interval of one second for a minute
// (STEPWATCH_BENCH_SECONDS changes that) and judges the schedule by the server's own log.
func BenchmarkThousandScenarios(b *testing.B) {
	const scenarios = 1000
	seconds := 60
	if s, err := strconv.Atoi(os.Getenv("STEPWATCH_BENCH_SECONDS")); err == nil {
		seconds = s
	}
	s := startServer(b, 0)
	var text strings.Builder
	text.WriteString("@every:1s\nFeature: Thousand\n")
	for i := range scenarios {
		text.WriteString(webScenario(s.address, fmt.Sprint(i)))
	}
	plans := compile(b, text.String())
	sink := &countingSink{}
	a := &agent.Agent{Runner: &agent.Runner{Direct: true, Target: &steps.Target{}}, Plans: plans, Sinks: map[string]agent.Sink{"count": sink}}
	before, start := cpu(), time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(seconds)*time.Second)
	defer cancel()
	for b.Loop() {
		a.Run(ctx)
	}
	used, took := cpu()-before, time.Since(start)
	if sink.failed > 0 {
		b.Logf("%d runs failed, one of them: %s", sink.failed, sink.why)
	}
	var missed, late uint64
	for _, st := range a.Stats().Scenarios {
		missed += st.Missed
		late += st.Late
	}
	byTarget := make(map[string][]int64)
	for _, h := range s.hits(b) {
		byTarget[h.Target] = append(byTarget[h.Target], h.At)
	}
	var deviations []time.Duration
	firstPass := time.Duration(0)
	for _, arrivals := range byTarget {
		slices.Sort(arrivals)
		firstPass = max(firstPass, time.Duration(arrivals[0]-start.UnixNano()))
		for i := 1; i < len(arrivals); i++ {
			deviations = append(deviations, (time.Duration(arrivals[i]-arrivals[i-1]) - time.Second).Abs())
		}
	}
	b.ReportMetric(float64(len(byTarget)), "targets-seen")
	b.ReportMetric(firstPass.Seconds(), "first-pass-s")
	b.ReportMetric(float64(len(sink.delays)), "runs")
	b.ReportMetric(float64(sink.failed), "failed")
	b.ReportMetric(float64(missed), "missed")
	b.ReportMetric(float64(late), "late")
	reportPercentiles(b, "gap-off", deviations)
	reportPercentiles(b, "delay", sink.delays)
	b.ReportMetric(used.Seconds()/took.Seconds(), "cores")
	b.ReportMetric(float64(used.Microseconds())/float64(len(sink.delays)), "cpu-µs/run")
	b.ReportMetric(resident(), "rss-MB")
}

// resident is this process's memory now, in MB.
func resident() float64 { return residentOf(os.Getpid()) }

// residentOf is the memory of a process now, in MB; 0 if there is no such process.
func residentOf(pid int) float64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if rest, found := strings.CutPrefix(line, "VmRSS:"); found {
			kb, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kb / 1024
		}
	}
	return 0
}

// BenchmarkColdCheck starts `stepwatch check` on a one-step web feature, beside what else an operator would start.
func BenchmarkColdCheck(b *testing.B) {
	s := startServer(b, 0)
	dir := b.TempDir()
	binary, feature := filepath.Join(dir, "stepwatch"), filepath.Join(dir, "cold.feature")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", binary, "../cmd/stepwatch")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("build: %v\n%s", err, out)
	}
	text := fmt.Sprintf("Feature: Cold\n  Scenario: Home\n    When I go to \"http://%s/\"\n", s.address)
	if err := os.WriteFile(feature, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	host, port, _ := net.SplitHostPort(s.address)
	for name, command := range map[string][]string{
		"stepwatch":  {binary, "check", feature},
		"curl":       {"curl", "-sf", "-o", "/dev/null", "http://" + s.address + "/"},
		"check_http": {"/usr/lib/nagios/plugins/check_http", "-H", host, "-p", port},
	} {
		b.Run(name, func(b *testing.B) {
			if _, err := exec.LookPath(command[0]); err != nil {
				b.Skipf("%s is not installed", name)
			}
			var used time.Duration
			for b.Loop() {
				cmd := exec.Command(command[0], command[1:]...)
				cmd.Dir = dir
				if out, err := cmd.CombinedOutput(); err != nil {
					b.Fatalf("%v\n%s", err, out)
				}
				used += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
			}
			b.ReportMetric(float64(used.Microseconds())/float64(b.N)/1000, "cpu-ms/op")
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/1000, "wall-ms/op")
			if mb := peak(command, dir); mb > 0 {
				b.ReportMetric(mb, "peak-rss-MB")
			}
		})
	}
}

// peak is the most memory that a command had, in MB; 0 where GNU time is not installed. A child of this process would be
// charged with this process's own memory, which it has until it execs.
func peak(command []string, dir string) float64 {
	cmd := exec.Command("/usr/bin/time", append([]string{"-f", "%M", "-o", "peak"}, command...)...)
	cmd.Dir = dir
	if err := cmd.Run(); err != nil {
		return 0
	}
	kb, err := os.ReadFile(filepath.Join(dir, "peak"))
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseFloat(strings.TrimSpace(string(kb)), 64)
	return n / 1024
}
