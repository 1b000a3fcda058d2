package bench

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stepwatch/stepwatch/steps/stepstest"
)

// The roles of this test binary in the benchmarks of the whole agent: a server with many addresses, and a loop of bare
// requests. Each is a process of its own.
const (
	siteRole = "STEPWATCH_BENCH_SITE"
	loopRole = "STEPWATCH_BENCH_LOOP"
)

// loadRole plays the role that the environment names, if any.
func loadRole() (played bool, err error) {
	if spec := os.Getenv(siteRole); spec != "" {
		return true, serveSite(spec)
	}
	if spec := os.Getenv(loopRole); spec != "" {
		return true, loop(spec)
	}
	if spec := os.Getenv(timedRole); spec != "" {
		return true, reportTimes(spec)
	}
	return false, nil
}

// site is a server process that answers at many addresses, with the page that the other benchmarks read.
type site struct {
	Targets int           // number of addresses, 127.0.x.y
	TLS     bool          // with a certificate of its own for each address
	Delay   time.Duration // of the answer at the path /slow
}

// opened is what a site says first.
type opened struct {
	Port int
	CA   string // PEM; empty without TLS
}

// arrival is one request as the server saw it: the index of its target, its time in Unix nanoseconds, and the nanoseconds
// that the handler took.
type arrival [3]int64

// ip returns the address of a target.
func ip(target int) net.IP { return net.IPv4(127, 0, byte(1+target/250), byte(1+target%250)) }

// target returns the index of the target with an address.
func target(address net.Addr) int {
	ip := address.(*net.TCPAddr).IP.To4()
	return int(ip[2]-1)*250 + int(ip[3]-1)
}

// serveSite answers until its standard input ends, and then writes what it saw.
func serveSite(spec string) error {
	var s site
	if err := json.Unmarshal([]byte(spec), &s); err != nil {
		return err
	}
	listeners, err := listenAt(s.Targets)
	if err != nil {
		return err
	}
	says := opened{Port: listeners[0].Addr().(*net.TCPAddr).Port}
	if s.TLS {
		ca, err := stepstest.NewCA("bench")
		if err != nil {
			return err
		}
		says.CA = string(ca.PEM())
		certificates := make([]tls.Certificate, s.Targets)
		for i := range certificates {
			if certificates[i], err = ca.Issue(ip(i).String()); err != nil {
				return err
			}
		}
		config := &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			return &certificates[target(hello.Conn.LocalAddr())], nil
		}}
		for i := range listeners {
			listeners[i] = tls.NewListener(listeners[i], config)
		}
	}
	var mu sync.Mutex
	arrivals := make([]arrival, 0, 1<<20)
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		at := time.Now()
		if r.URL.Path == "/slow" {
			time.Sleep(s.Delay)
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, page)
		took := time.Since(at)
		mu.Lock()
		arrivals = append(arrivals, arrival{int64(target(r.Context().Value(http.LocalAddrContextKey).(net.Addr))), at.UnixNano(), int64(took)})
		mu.Unlock()
	})}
	for _, l := range listeners {
		go func() { _ = server.Serve(l) }()
	}
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(says); err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	mu.Lock()
	defer mu.Unlock()
	return out.Encode(arrivals)
}

// listenAt listens at the addresses of n targets, on the same port.
func listenAt(n int) ([]net.Listener, error) {
	var last error
	for range 20 { // a port may be free at one address only
		var all []net.Listener
		port := 0
		for i := range n {
			l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: ip(i), Port: port})
			if err != nil {
				last = err
				break
			}
			port = l.Addr().(*net.TCPAddr).Port
			all = append(all, l)
		}
		if len(all) == n {
			return all, nil
		}
		for _, l := range all {
			_ = l.Close()
		}
	}
	return nil, last
}

// looping says what a loop of bare requests asks: every target once a second, over a fresh connection, and what it reads is
// searched for the text.
type looping struct {
	URLs []string
	CA   string        // PEM; empty for the machine's roots
	Grid time.Duration // to which phases are rounded down; zero for phases that are spread evenly
}

// loop asks until it is ended. An answer that is not right ends it with an error.
func loop(spec string) error {
	var l looping
	if err := json.Unmarshal([]byte(spec), &l); err != nil {
		return err
	}
	transport := &http.Transport{DisableKeepAlives: true}
	if l.CA != "" {
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM([]byte(l.CA))
		transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	}
	client := &http.Client{Transport: transport, Timeout: time.Minute}
	failed := make(chan error)
	start := time.Now().Truncate(time.Second).Add(time.Second)
	for i, url := range l.URLs {
		phase := time.Second * time.Duration(i) / time.Duration(len(l.URLs))
		if l.Grid > 0 {
			phase = phase.Truncate(l.Grid)
		}
		go func() {
			for due := start.Add(phase); ; due = due.Add(time.Second) {
				time.Sleep(time.Until(due))
				if err := getWith(client, url, "All is well"); err != nil {
					failed <- err
					return
				}
			}
		}()
	}
	return <-failed
}

// openSite is a site that has been started.
type openSite struct {
	opened
	pid     int
	targets int
	scheme  string
	end     func() []arrival
}

func startSite(b *testing.B, s site) *openSite {
	b.Helper()
	cmd, stdin, printed := play(b, siteRole, s)
	open := &openSite{pid: cmd.Process.Pid, targets: s.Targets, scheme: "http"}
	if s.TLS {
		open.scheme = "https"
	}
	if err := printed.Decode(&open.opened); err != nil {
		b.Fatal(err)
	}
	var arrivals []arrival
	var once sync.Once
	open.end = func() []arrival {
		once.Do(func() {
			stdin.Close()
			if err := errors.Join(printed.Decode(&arrivals), cmd.Wait()); err != nil {
				b.Error(err)
			}
		})
		return arrivals
	}
	b.Cleanup(func() { open.end() })
	return open
}

func (s *openSite) url(target int) string {
	return fmt.Sprintf("%s://%s:%d/", s.scheme, ip(target), s.Port)
}

// contender is a program that asks every target of a site at its interval.
type contender struct {
	name    string
	command []string
	env     []string
	warm    time.Duration // until it has asked every target
	metrics string        // URL of its page; empty if it has none or says it
	says    string        // what its standard error says before the address of its page
	windows []window
}

// window is what was measured of a contender while it ran alone.
type window struct {
	from, to time.Time
	cpu      time.Duration
	rss      float64 // MB, of all its processes
	others   float64 // share of the machine's CPU time that neither it nor the server used
	scrapes  []time.Duration
	gzipped  []time.Duration
	text     string // of its page
}

// measure starts the contender, waits until it has asked every target, and measures it for d.
func (c *contender) measure(b *testing.B, s *openSite, d time.Duration) {
	b.Helper()
	cmd := exec.Command(c.command[0], c.command[1:]...)
	cmd.Dir = b.TempDir()
	cmd.Env = append(append(os.Environ(), "HOME="+cmd.Dir, "XDG_STATE_HOME="+cmd.Dir), c.env...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	said := &talk{after: c.says, found: make(chan string, 1)}
	var reading sync.WaitGroup
	reading.Go(func() { said.read(stderr) })
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		killer := time.AfterFunc(15*time.Second, func() { _ = cmd.Process.Kill() })
		defer killer.Stop()
		reading.Wait()
		_ = cmd.Wait() // by the signal
	}()
	url := c.metrics
	if c.says != "" {
		select {
		case url = <-said.found:
		case <-time.After(30 * time.Second):
			b.Fatalf("%s does not say where its page is: %s", c.name, said.all())
		}
	}
	time.Sleep(c.warm)
	pids := family(cmd.Process.Pid)
	var w window
	used, server, busy := cpuOf(pids), cpuOf([]int{s.pid}), machineCPU()
	w.from = time.Now()
	time.Sleep(d)
	w.to = time.Now()
	used, server, busy = cpuOf(pids)-used, cpuOf([]int{s.pid})-server, machineCPU()-busy
	w.cpu = used
	w.others = max(0, (busy-used-server).Seconds()) / (float64(cores()) * w.to.Sub(w.from).Seconds())
	for _, pid := range pids {
		w.rss += residentOf(pid)
	}
	if slices.Contains(pids, cmd.Process.Pid) && w.rss == 0 {
		b.Fatalf("%s has ended: %s", c.name, said.all())
	}
	if url != "" {
		for range 5 {
			text, took := scrape(b, url, "identity")
			w.scrapes, w.text = append(w.scrapes, took), text
			_, took = scrape(b, url, "gzip")
			w.gzipped = append(w.gzipped, took)
			time.Sleep(200 * time.Millisecond)
		}
	}
	c.windows = append(c.windows, w)
}

// talk reads what a program writes to its standard error.
type talk struct {
	after string
	found chan string
	mu    sync.Mutex
	text  bytes.Buffer
}

func (t *talk) read(from io.Reader) {
	for lines := bufio.NewScanner(from); lines.Scan(); {
		line := lines.Text()
		if _, rest, found := strings.Cut(line, t.after); found && t.after != "" {
			select {
			case t.found <- strings.Fields(rest)[0]:
			default:
			}
		}
		t.mu.Lock()
		if t.text.Len() < 1<<16 {
			t.text.WriteString(line + "\n")
		}
		t.mu.Unlock()
	}
}

func (t *talk) all() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}

// scrape reads a page as Prometheus 2.42 does, and returns how long that took.
func scrape(b *testing.B, url, encoding string) (string, time.Duration) {
	b.Helper()
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, nil)
	if err != nil {
		b.Fatal(err)
	}
	request.Header.Set("Accept", "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1")
	request.Header.Set("Accept-Encoding", encoding)
	start := time.Now()
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		b.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		b.Fatal(url, response.Status, err)
	}
	return string(text), time.Since(start)
}

// family returns a process and its descendants.
func family(pid int) []int {
	all := []int{pid}
	for i := 0; i < len(all); i++ {
		lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", all[i]))
		for _, list := range lists {
			text, _ := os.ReadFile(list)
			for _, child := range strings.Fields(string(text)) {
				if n, err := strconv.Atoi(child); err == nil {
					all = append(all, n)
				}
			}
		}
	}
	return all
}

// cpuOf returns the CPU time of processes, from the clocks that the kernel keeps for them (clock_getcpuclockid(3)).
func cpuOf(pids []int) (sum time.Duration) {
	for _, pid := range pids {
		var t unix.Timespec
		if err := unix.ClockGettime(int32(^pid<<3|2), &t); err == nil {
			sum += time.Duration(t.Nano())
		}
	}
	return sum
}

// machineCPU returns the CPU time that all processes of the machine have used.
func machineCPU() time.Duration {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(text), "\n")
	var ticks float64
	for i, field := range strings.Fields(line)[1:9] {
		if n, err := strconv.ParseFloat(field, 64); err == nil && i != 3 && i != 4 { // idle, iowait
			ticks += n
		}
	}
	return time.Duration(ticks * float64(time.Second) / 100)
}

// cores returns the number of the machine's cores.
func cores() int {
	text, _ := os.ReadFile("/proc/stat")
	return len(regexp.MustCompile(`(?m)^cpu\d`).FindAll(text, -1))
}

// seen is what the server's log says about a window.
type seen struct {
	requests int
	gaps     []time.Duration // differences between the time from one request to a target to the next, and the interval
	most     int             // requests in any ten milliseconds
	missed   int             // intervals without a request
}

// look evaluates the server's log of a window.
func look(arrivals []arrival, w window, targets int, interval time.Duration) (s seen) {
	last := make([]int64, targets)
	var times []int64
	from, to := w.from.UnixNano(), w.to.UnixNano()
	for _, a := range arrivals {
		if a[1] >= from && a[1] < to {
			times = append(times, a[1])
		}
	}
	for _, a := range arrivals { // in the order of each target: it has one request at a time
		at := a[1]
		if at >= from && at < to && last[a[0]] != 0 {
			between := time.Duration(at - last[a[0]])
			s.gaps = append(s.gaps, (between - interval).Abs())
			s.missed += max(0, int(math.Round(between.Seconds()/interval.Seconds()))-1)
		}
		if at < to && at >= from-int64(interval)*3/2 {
			last[a[0]] = at
		}
	}
	for _, at := range last {
		if at == 0 || to-at > int64(interval)*3/2 {
			s.missed++
		}
	}
	slices.Sort(times)
	for i, j := 0, 0; j < len(times); j++ {
		for times[j]-times[i] >= int64(10*time.Millisecond) {
			i++
		}
		s.most = max(s.most, j-i+1)
	}
	s.requests = len(times)
	return s
}

// noHistory is the row of an agent that keeps no history.
const noHistory = "stepwatch without history"

// stepwatchRows returns a row for the program as it is, and one for each that STEPWATCH_BENCH_AGENTS names: NAME=PATH,…
func stepwatchRows(b *testing.B, s *openSite, every string) []*contender {
	b.Helper()
	dir := b.TempDir()
	binary := filepath.Join(dir, "stepwatch")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", binary, "../cmd/stepwatch")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("build: %v\n%s", err, out)
	}
	var text strings.Builder
	fmt.Fprintf(&text, "@every:%s\nFeature: Load\n", every)
	for i := range s.targets {
		fmt.Fprintf(&text, "  Scenario: Page %d\n    When I go to %q\n    Then I should see \"All is well\"\n", i, s.url(i))
	}
	settings := "name: bench\n"
	if s.CA != "" {
		settings += "tls:\n  ca: [ca.pem]\n"
	}
	for name, content := range map[string]string{"load.feature": text.String(), "ca.pem": s.CA} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	binaries := []string{"stepwatch=" + binary, noHistory + "=" + binary}
	if more := os.Getenv("STEPWATCH_BENCH_AGENTS"); more != "" {
		binaries = append(binaries, strings.Split(more, ",")...)
	}
	var rows []*contender
	for _, named := range binaries {
		name, path, found := strings.Cut(named, "=")
		if !found {
			b.Fatalf("STEPWATCH_BENCH_AGENTS has %q, which is not NAME=PATH", named)
		}
		own := settings + fmt.Sprintf("state: state%d\n", len(rows)) // two agents do not share one
		if name == noHistory {
			own += "history: off\n"
		}
		config := filepath.Join(dir, fmt.Sprintf("stepwatch%d.yml", len(rows)))
		if err := os.WriteFile(config, []byte(own), 0o600); err != nil {
			b.Fatal(err)
		}
		rows = append(rows, &contender{name: name, warm: 12 * time.Second, says: "metrics are at ",
			command: []string{path, "agent", "--config", config, "--listen", "127.0.0.1:0", filepath.Join(dir, "load.feature")}})
	}
	return rows
}

// loopRow returns a row for the loop of bare requests.
func loopRow(b *testing.B, s *openSite, name string, grid time.Duration, env ...string) *contender {
	b.Helper()
	l := looping{CA: s.CA, Grid: grid}
	for i := range s.targets {
		l.URLs = append(l.URLs, s.url(i))
	}
	spec, err := json.Marshal(l)
	if err != nil {
		b.Fatal(err)
	}
	return &contender{name: name, warm: 4 * time.Second, command: []string{os.Args[0]}, env: append(env, loopRole+"="+string(spec))}
}

// cloudproberRow returns a row for the program that STEPWATCH_CLOUDPROBER names, or nil.
func cloudproberRow(b *testing.B, s *openSite) *contender {
	b.Helper()
	path := os.Getenv("STEPWATCH_CLOUDPROBER")
	if path == "" {
		b.Log("no row for cloudprober: name its program in STEPWATCH_CLOUDPROBER")
		return nil
	}
	built, err := buildinfo.ReadFile(path)
	if err != nil {
		b.Fatal(err)
	}
	b.Logf("cloudprober %s, built with %s", built.Main.Version, built.GoVersion) // "(devel)" without -buildvcs=true
	dir := b.TempDir()
	var hosts []string
	for i := range s.targets {
		hosts = append(hosts, ip(i).String())
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	listen := free.Addr().(*net.TCPAddr).Port
	free.Close()
	protocol, trust := "HTTP", ""
	if s.CA != "" {
		protocol, trust = "HTTPS", "tls_config { ca_cert_file: \"ca.pem\" }"
	}
	config := fmt.Sprintf(`host: "127.0.0.1"
port: %d
probe {
  name: "load"
  type: HTTP
  targets { host_names: "%s" }
  interval_msec: 1000
  timeout_msec: 1000
  http_probe { protocol: %s port: %d relative_url: "/" %s }
  validator { name: "text" regex: "All is well" }
}
surfacer { type: PROMETHEUS }
`, listen, strings.Join(hosts, ","), protocol, s.Port, strings.ReplaceAll(trust, "ca.pem", filepath.Join(dir, "ca.pem")))
	for name, content := range map[string]string{"cloudprober.cfg": config, "ca.pem": s.CA} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	return &contender{name: "cloudprober", warm: 14 * time.Second, metrics: fmt.Sprintf("http://127.0.0.1:%d/metrics", listen),
		command: []string{path, "--config_file", filepath.Join(dir, "cloudprober.cfg")}}
}

// windowTime is how long a window is: ten seconds, or what STEPWATCH_BENCH_SECONDS says.
func windowTime() time.Duration {
	if s, err := strconv.Atoi(os.Getenv("STEPWATCH_BENCH_SECONDS")); err == nil {
		return time.Duration(s) * time.Second
	}
	return 10 * time.Second
}

// rounds is in how many windows each contender is measured.
func rounds() int {
	if n, err := strconv.Atoi(os.Getenv("STEPWATCH_BENCH_ROUNDS")); err == nil && n > 0 {
		return n
	}
	return 5
}

// BenchmarkLoad compares the program with what asks the same targets once a second: a loop of bare requests, the same loop on
// a grid of ten milliseconds, and cloudprober. In each round every contender is started, warmed up and measured for ten
// seconds (STEPWATCH_BENCH_SECONDS changes that) while no other runs. STEPWATCH_BENCH_ROUNDS changes the number of rounds.
func BenchmarkLoad(b *testing.B) {
	for _, variant := range []struct {
		name    string
		targets int
		tls     bool
	}{{"http-1000", 1000, false}, {"https-200", 200, true}} {
		b.Run(variant.name, func(b *testing.B) {
			for b.Loop() {
				s := startSite(b, site{Targets: variant.targets, TLS: variant.tls})
				rows := []*contender{loopRow(b, s, "bare", 0), loopRow(b, s, "bare on a grid", 10*time.Millisecond)}
				if row := cloudproberRow(b, s); row != nil {
					rows = append(rows, row)
				}
				rows = append(rows, stepwatchRows(b, s, "1s")...)
				for range rounds() {
					for _, row := range rows {
						row.measure(b, s, windowTime())
					}
				}
				tell(b, rows, s.end(), variant.targets, time.Second)
			}
		})
	}
}

// BenchmarkLoadMinute runs 10,000 scenarios a minute for two minutes and measures the second one.
func BenchmarkLoadMinute(b *testing.B) {
	const targets = 10_000
	for b.Loop() {
		s := startSite(b, site{Targets: targets})
		rows := stepwatchRows(b, s, "1m")
		for _, row := range rows {
			row.warm = 62 * time.Second
			row.measure(b, s, time.Minute)
		}
		tell(b, rows, s.end(), targets, time.Minute)
	}
}

// tell prints a table: medians of the windows, and in brackets the least and the most. The first row is what the others are
// compared with.
func tell(b *testing.B, rows []*contender, arrivals []arrival, targets int, interval time.Duration) {
	b.Helper()
	var table bytes.Buffer
	out := tabwriter.NewWriter(&table, 0, 8, 1, ' ', tabwriter.Debug)
	fmt.Fprintln(out, "\t row\t CPU ms a run\t × first\t RSS MB\t gap p50\t p99\t max ms\t most in 10 ms\t missed\t failed\t ≤ 20 ms late\t scrape ms\t gzip ms\t page MB\t series\t others %\t")
	first := math.NaN()
	for _, row := range rows {
		var cost, rss, p50, p99, longest, most, scrapes, gzipped, size, series, others, ratio, punctual []float64
		missed, failed := 0, "–"
		for _, w := range row.windows {
			s := look(arrivals, w, targets, interval)
			cost = append(cost, ms(w.cpu)/float64(max(1, s.requests)))
			rss, others = append(rss, w.rss), append(others, 100*w.others)
			p50, p99, longest = append(p50, ms(percentile(s.gaps, 0.5))), append(p99, ms(percentile(s.gaps, 0.99))), append(longest, ms(percentile(s.gaps, 1)))
			most = append(most, float64(s.most))
			missed += s.missed
			if w.text != "" {
				scrapes, gzipped = append(scrapes, ms(percentile(w.scrapes, 0.5))), append(gzipped, ms(percentile(w.gzipped, 0.5)))
				size = append(size, float64(len(w.text))/1e6)
				p := readPage(w.text)
				series, punctual, failed = append(series, float64(p.series)), append(punctual, 100*p.punctual), strconv.Itoa(p.failed)
			}
		}
		if math.IsNaN(first) {
			first = median(cost)
		}
		for _, c := range cost {
			ratio = append(ratio, c/first)
		}
		fmt.Fprintf(out, "\t %s\t %.3f (%.3f–%.3f)\t %.2f\t %.0f\t %.1f\t %.1f\t %.0f\t %.0f (%.0f–%.0f)\t %d\t %s\t %s\t %s\t %s\t %s\t %s\t %.0f\t\n", row.name,
			median(cost), slices.Min(cost), slices.Max(cost), median(ratio), median(rss), median(p50), median(p99), slices.Max(longest),
			median(most), slices.Min(most), slices.Max(most), missed, failed, known("%.2f %%", punctual), known("%.1f", scrapes), known("%.1f", gzipped), known("%.2f", size), known("%.0f", series), median(others))
		unit := strings.ReplaceAll(row.name, " ", "-")
		b.ReportMetric(median(cost), unit+"-cpu-ms/run")
	}
	out.Flush()
	b.Logf("%d targets, %d windows of %s each\n%s", targets, len(rows[0].windows), rows[0].windows[0].to.Sub(rows[0].windows[0].from).Round(time.Second), table.String())
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// known formats the median of values, or says that there are none.
func known(format string, values []float64) string {
	if m := median(values); !math.IsNaN(m) {
		return fmt.Sprintf(format, m)
	}
	return "–"
}

// median of values, which it sorts; NaN if there are none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// pageFacts is what a page of metrics says about itself and about the runs.
type pageFacts struct {
	series   int
	failed   int
	punctual float64 // share of the runs that began within 20 ms of their due time; NaN if it is not said
}

// readPage reads a page of stepwatch or of cloudprober.
func readPage(text string) (p pageFacts) {
	var total, success, within, runs float64
	within = math.NaN()
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		p.series++
		name, rest := line, ""
		if i := strings.IndexAny(line, "{ "); i > 0 {
			name, rest = line[:i], line[i:]
		}
		labels, value := "", rest
		if i := strings.LastIndex(rest, "} "); i > 0 {
			labels, value = rest[:i], rest[i+2:]
		}
		fields := strings.Fields(value)
		if len(fields) == 0 {
			continue
		}
		n, err := strconv.ParseFloat(fields[0], 64)
		if err != nil {
			continue
		}
		switch name {
		case "stepwatch_scenario_runs_total":
			if total += n; strings.Contains(labels, `status="passed"`) {
				success += n
			}
		case "total": // cloudprober's
			total += n
		case "success":
			success += n
		case "stepwatch_run_delay_seconds_bucket":
			if strings.Contains(labels, `le="0.02"`) {
				within = n
			}
		case "stepwatch_run_delay_seconds_count":
			runs = n
		}
	}
	p.failed = int(total - success)
	p.punctual = within / runs
	return p
}
