package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stepwatch/stepwatch/agent"
	"github.com/stepwatch/stepwatch/agent/alert"
	"github.com/stepwatch/stepwatch/agent/collector"
	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/exporters"
	"github.com/stepwatch/stepwatch/features"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/builtin"
)

// The roles of this test binary in BenchmarkHanging: servers that never answer, and an agent. Each is a process of its own.
const (
	silentRole = "STEPWATCH_BENCH_SILENT"
	agentRole  = "STEPWATCH_BENCH_AGENT"
)

// hangingRole plays the role that the environment names, if any.
func hangingRole() (played bool, err error) {
	if spec := os.Getenv(silentRole); spec != "" {
		return true, beSilent(spec)
	}
	if spec := os.Getenv(agentRole); spec != "" {
		return true, watch(spec)
	}
	return false, nil
}

// silence says which servers that never answer there are.
type silence struct {
	Servers int  // each at an address of its own, 127.1.x.y
	Accept  bool // they accept connections; otherwise these do not come about
}

// beSilent prints the addresses of the servers, and keeps them until its standard input ends.
func beSilent(spec string) error {
	var s silence
	if err := json.Unmarshal([]byte(spec), &s); err != nil {
		return err
	}
	addresses := make([]string, s.Servers)
	for i := range addresses {
		ip := net.IPv4(127, 1, byte(i/250), byte(1+i%250))
		if !s.Accept {
			address, err := full(ip)
			if err != nil {
				return err
			}
			addresses[i] = address
			continue
		}
		listener, err := net.Listen("tcp", net.JoinHostPort(ip.String(), "0"))
		if err != nil {
			return err
		}
		addresses[i] = listener.Addr().String()
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				go func() {
					_, _ = io.Copy(io.Discard, conn)
					_ = conn.Close()
				}()
			}
		}()
	}
	if err := json.NewEncoder(os.Stdout).Encode(addresses); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// full returns the address of a socket whose queue of connections is full: the kernel drops what comes.
func full(ip net.IP) (string, error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		return "", err
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte(ip.To4())}); err != nil {
		return "", err
	}
	if err := syscall.Listen(fd, 0); err != nil {
		return "", err
	}
	bound, err := syscall.Getsockname(fd)
	if err != nil {
		return "", err
	}
	address := net.JoinHostPort(ip.String(), strconv.Itoa(bound.(*syscall.SockaddrInet4).Port))
	conn, err := net.Dial("tcp", address) // the only one that fits; it stays open
	kept.Store(conn, nil)
	return address, err
}

var kept sync.Map

// watching says what an agent watches.
type watching struct {
	Healthy string   // address of a server whose pages 50 scenarios read
	Hanging []string // addresses that others read from; each is in a feature of its own
	Timeout string   // of the others
	Seconds int
}

// watched is what came of it. Times are in milliseconds.
type watched struct {
	Workers                                      int
	Runs, Failed, Missed, Late                   int     // of the healthy scenarios
	P50, P99, Max                                float64 // their delays
	MaxAt                                        float64 // seconds from the beginning to the longest delay
	StaleOK                                      int     // samples of a scenario_state of 0 without a result for an interval and a deadline
	Stale                                        int     // statements that a scenario has no result
	HangingRuns, HangingInLastMinute, HangingMax int     // of the others: all runs, and those of the last minute; most in progress
	MeanRSS, PeakRSS, Cores                      float64 // MB
	Why                                          string  // of a healthy run that failed
}

const healthyScenarios = 50

// observer takes the results of an agent.
type observer struct {
	mu      sync.Mutex
	began   time.Time
	w       watched
	delays  []time.Duration
	last    time.Duration
	hanging []time.Time
}

func (o *observer) Export(r *result.Result) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case r.Stale:
		o.w.Stale++
	case r.Identity.Feature != "Healthy":
		o.w.HangingRuns++
		o.hanging = append(o.hanging, time.Now())
	default:
		o.w.Runs++
		o.delays = append(o.delays, r.Delay)
		if r.Delay > o.last {
			o.last, o.w.MaxAt = r.Delay, r.Due.Sub(o.began).Seconds()
		}
		if r.State() != result.OK {
			o.w.Failed++
			o.w.Why = r.Summary()
		}
	}
}

// watch runs an agent, as `stepwatch agent` does, and prints what came of it.
func watch(spec string) error {
	var s watching
	if err := json.Unmarshal([]byte(spec), &s); err != nil {
		return err
	}
	files := fstest.MapFS{}
	var text strings.Builder
	text.WriteString("@every:1s @timeout:30s\nFeature: Healthy\n")
	for i := range healthyScenarios {
		text.WriteString(webScenario(s.Healthy, fmt.Sprint(i)))
	}
	files["healthy.feature"] = &fstest.MapFile{Data: []byte(text.String())}
	paths := []string{"healthy.feature"}
	for i, address := range s.Hanging {
		name := fmt.Sprintf("hanging%d.feature", i)
		files[name] = &fstest.MapFile{Data: fmt.Appendf(nil, "@every:1s @timeout:%s\nFeature: Hanging %d\n%s", s.Timeout, i, webScenario(address, fmt.Sprint(i)))}
		paths = append(paths, name)
	}
	loaded, err := features.Load(paths, features.Options{FS: files})
	if err != nil {
		return err
	}
	library := builtin.Library()
	var plans []*agent.Plan
	for _, scenario := range loaded.Scenarios() {
		plans = append(plans, agent.NewPlan(scenario, library, agent.Defaults{}))
	}
	o := &observer{began: time.Now()}
	a, page := newAgent(plans, o)
	before := cpu()
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(s.Seconds)*time.Second)
	defer cancel()
	var looking sync.WaitGroup
	looking.Go(func() { o.look(ctx, page, a) })
	collector.Pace(collector.Agent)
	a.Run(ctx)
	looking.Wait()
	end := o.began.Add(time.Duration(s.Seconds) * time.Second)
	o.w.Cores = (cpu() - before).Seconds() / time.Since(o.began).Seconds()
	for _, at := range o.hanging {
		if end.Sub(at) < time.Minute {
			o.w.HangingInLastMinute++
		}
	}
	stats := a.Stats()
	o.w.Workers = stats.Workers
	for _, st := range stats.Scenarios {
		if st.Identity.Feature == "Healthy" {
			o.w.Missed += int(st.Missed)
			o.w.Late += int(st.Late)
		}
	}
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	o.w.P50, o.w.P99, o.w.Max = ms(percentile(o.delays, 0.5)), ms(percentile(o.delays, 0.99)), ms(o.last)
	return json.NewEncoder(os.Stdout).Encode(&o.w)
}

// newAgent returns an agent as `stepwatch agent` makes it, with one more sink, and its page.
func newAgent(plans []*agent.Plan, sink agent.Sink) (*agent.Agent, *exporters.Prometheus) {
	a := &agent.Agent{Runner: &agent.Runner{Direct: true, Target: &steps.Target{}}, Plans: plans, Rules: alert.Builtin.Sources()}
	page := exporters.NewPrometheus(*exporters.DefaultPrometheusConfig(), exporters.Host{Stats: a.Stats})
	a.Sinks = map[string]agent.Sink{"observer": sink, "prometheus": page}
	return a, page
}

// look reads the agent's page every five seconds, as a busy Prometheus does, and its memory.
func (o *observer) look(ctx context.Context, page *exporters.Prometheus, a *agent.Agent) {
	every := time.NewTicker(5 * time.Second)
	defer every.Stop()
	for n := 1.0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
		stale := staleOK(page, time.Now())
		rss, running := resident(), a.Stats().Running
		o.mu.Lock()
		o.w.StaleOK += stale
		o.w.MeanRSS += (rss - o.w.MeanRSS) / n
		o.w.PeakRSS = max(o.w.PeakRSS, rss)
		o.w.HangingMax = max(o.w.HangingMax, running)
		o.mu.Unlock()
	}
}

// staleOK returns how many scenarios the page shows as OK although their last run began longer ago than an interval, the
// deadline of 30 s and a second.
func staleOK(page *exporters.Prometheus, now time.Time) (n int) {
	all, err := page.Gather()
	if err != nil {
		return 0
	}
	ok, old := make(map[string]bool), make(map[string]bool)
	for _, family := range all {
		for _, m := range family.Metric {
			key := fmt.Sprint(m.Label)
			switch family.GetName() {
			case "stepwatch_scenario_state":
				ok[key] = m.Gauge.GetValue() == 0
			case "stepwatch_scenario_last_run_timestamp_seconds":
				old[key] = float64(now.UnixNano())/1e9-m.Gauge.GetValue() > 32
			}
		}
	}
	for key := range ok {
		if ok[key] && old[key] {
			n++
		}
	}
	return n
}

// play starts this binary in a role. The result decodes what it prints.
func play(b *testing.B, role string, spec any) (cmd *exec.Cmd, stdin io.Closer, out *json.Decoder) {
	b.Helper()
	text, err := json.Marshal(spec)
	if err != nil {
		b.Fatal(err)
	}
	cmd = exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), role+"="+string(text))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	printed, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	return cmd, in, json.NewDecoder(printed)
}

// BenchmarkHanging runs 50 healthy scenarios beside 300, 600 and 1000 that get no answer, all of them once a second, for five
// minutes (STEPWATCH_BENCH_SECONDS changes that). Beside it, at the same time, a control agent runs 50 healthy ones alone.
// The others hang until @timeout:30s (STEPWATCH_BENCH_TIMEOUT changes that): at one address, at an address each, and at an
// address each that does not even accept connections.
func BenchmarkHanging(b *testing.B) {
	seconds, timeout := 300, "30s"
	if s, err := strconv.Atoi(os.Getenv("STEPWATCH_BENCH_SECONDS")); err == nil {
		seconds = s
	}
	if t := os.Getenv("STEPWATCH_BENCH_TIMEOUT"); t != "" {
		timeout = t
	}
	for _, variant := range []struct {
		name   string
		one    bool
		accept bool
	}{{"one-address", true, true}, {"own-addresses", false, true}, {"not-accepting", false, false}} {
		for _, hanging := range []int{300, 600, 1000} {
			b.Run(fmt.Sprintf("%s/%d", variant.name, hanging), func(b *testing.B) {
				for b.Loop() {
					servers := hanging
					if variant.one {
						servers = 1
					}
					silent, stop, printed := play(b, silentRole, silence{servers, variant.accept})
					var addresses []string
					if err := printed.Decode(&addresses); err != nil {
						b.Fatal(err)
					}
					for len(addresses) < hanging {
						addresses = append(addresses, addresses[0])
					}
					control := watching{Healthy: startServer(b, 0).address, Timeout: timeout, Seconds: seconds}
					tested := control
					tested.Healthy, tested.Hanging = startServer(b, 0).address, addresses
					var got, alone watched
					var both sync.WaitGroup
					for spec, into := range map[*watching]*watched{&tested: &got, &control: &alone} {
						both.Go(func() {
							cmd, in, printed := play(b, agentRole, spec)
							defer in.Close()
							if err := printed.Decode(into); err != nil {
								b.Error(err)
							}
							if err := cmd.Wait(); err != nil {
								b.Error(err)
							}
						})
					}
					both.Wait()
					stop.Close()
					if err := silent.Wait(); err != nil {
						b.Error(err)
					}
					if got.Failed > 0 {
						b.Logf("%d healthy runs failed, one of them: %s", got.Failed, got.Why)
					}
					for name, w := range map[string]*watched{"": &got, "control-": &alone} {
						for unit, value := range map[string]float64{"runs": float64(w.Runs), "failed": float64(w.Failed), "missed": float64(w.Missed),
							"late": float64(w.Late), "delay-p50-ms": w.P50, "delay-p99-ms": w.P99, "delay-max-ms": w.Max, "stale-OK": float64(w.StaleOK),
							"peak-rss-MB": w.PeakRSS, "rss-MB": w.MeanRSS, "cores": w.Cores} {
							b.ReportMetric(value, name+unit)
						}
					}
					b.ReportMetric(got.MaxAt, "max-at-s")
					b.ReportMetric(float64(got.Workers), "workers")
					b.ReportMetric(float64(got.Stale), "told-stale")
					b.ReportMetric(float64(got.HangingRuns), "hanging-runs")
					b.ReportMetric(float64(got.HangingInLastMinute), "hanging-runs-last-min")
					b.ReportMetric(float64(got.HangingMax), "most-in-progress")
				}
			})
		}
	}
}
