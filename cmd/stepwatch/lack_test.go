package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"

	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/stepwatch/stepwatch/steps/browser"
	"github.com/stepwatch/stepwatch/steps/lack"
)

// These tests take something from the machine that stepwatch runs on: file descriptors, ports, routes, name servers,
// disk. No result may blame a target then.

// lackbed is the other side in a network namespace: "http ADDRESS DELAY" and "dns ADDRESS" serve until they are killed,
// "await http ADDRESS" and "await dns ADDRESS" wait for them, "get URL TEXT" prints a page once it has the text,
// "limits" prints limits. The name server knows the root zone, fails for broken.test and knows no other name.
func lackbed() {
	check := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, "lackbed:", err)
			os.Exit(1)
		}
	}
	switch os.Args[1] {
	case "http":
		delay, err := time.ParseDuration(os.Args[3])
		check(err)
		check((&http.Server{Addr: os.Args[2], ReadHeaderTimeout: time.Minute, Handler: slowly(delay)}).ListenAndServe())
	case "dns":
		check(dns.ListenAndServe(os.Args[2], "udp", dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
			reply := new(dns.Msg)
			switch name := q.Question[0].Name; {
			case name == ".":
				reply.SetReply(q)
				reply.Answer = []dns.RR{&dns.NS{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeNS, Class: dns.ClassINET, Ttl: 60}, Ns: "a.root.test."}}
			case strings.HasSuffix(name, "broken.test."):
				reply.SetRcode(q, dns.RcodeServerFailure)
			default:
				reply.SetRcode(q, dns.RcodeNameError)
			}
			_ = w.WriteMsg(reply)
		})))
	case "limits":
		fmt.Printf("memory %d\n", lack.MemoryLimit())
	case "await": // a server to answer
		patiently(check, func() bool {
			if os.Args[2] == "dns" {
				_, err := dns.Exchange(new(dns.Msg).SetQuestion(".", dns.TypeNS), os.Args[3])
				return err == nil
			}
			conn, err := net.Dial("tcp", os.Args[3])
			if err == nil {
				_ = conn.Close()
			}
			return err == nil
		})
	case "get": // a page that has a text
		patiently(check, func() bool {
			response, err := (&http.Client{Timeout: 10 * time.Second}).Get(os.Args[2])
			if err != nil {
				return false
			}
			defer response.Body.Close()
			page, err := io.ReadAll(response.Body)
			if err != nil || !bytes.Contains(page, []byte(os.Args[3])) {
				return false
			}
			_, err = os.Stdout.Write(page)
			check(err)
			return true
		})
	}
}

// patiently waits until done reports that it is.
func patiently(check func(error), done func() bool) {
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			check(fmt.Errorf("gave up: %q", os.Args))
		}
	}
}

// slowly serves a page after a delay.
func slowly(delay time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(delay):
		case <-r.Context().Done():
		}
		_, _ = io.WriteString(w, "<!doctype html><title>Home</title><p>Welcome")
		if r.URL.Path == "/picture" {
			_, _ = io.WriteString(w, `<img src="http://203.0.113.7/logo.png">`)
		}
	})
}

// needs skips the test unless this is root on Linux with these programs.
func needs(t *testing.T, programs ...string) {
	t.Helper()
	if runtime.GOOS != "linux" || os.Getuid() != 0 {
		t.Skip("needs root on Linux, for namespaces and limits")
	}
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("needs %s", program)
		}
	}
}

// writeFeature writes a feature of scenarios, each of lines of steps after a line of tags or not, and returns its path.
func writeFeature(t *testing.T, tags string, scenarios map[string]string) string {
	t.Helper()
	var text strings.Builder
	fmt.Fprintf(&text, "%s\nFeature: Own lack\n", tags)
	for _, name := range slices.Sorted(maps.Keys(scenarios)) {
		own, lines, found := strings.Cut(scenarios[name], "\n")
		if !found || !strings.HasPrefix(own, "@") {
			own, lines = "", scenarios[name]
		}
		fmt.Fprintf(&text, "%s\nScenario: %s\n%s\n", own, name, lines)
	}
	path := filepath.Join(t.TempDir(), "lack.feature")
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// apart runs a shell script in network, mount and process namespaces of its own, in which only the loopback is up, and
// returns what it printed. Its processes end with it.
func apart(t *testing.T, script string, args ...string) string {
	t.Helper()
	needs(t, "unshare", "ip", "mount")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "unshare", append([]string{"--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc",
		"sh", "-ec", "ip link set lo up\n" + script, "sh"}, args...)...)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+t.TempDir())
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatalf("%v: %s", err, out.String())
	}
	if strings.Contains(out.String(), "Operation not permitted") && !strings.Contains(out.String(), "Scenario") {
		t.Skipf("no namespaces here: %s", out.String())
	}
	return out.String()
}

var blames = regexp.MustCompile(`reason ([a-z_]+), blame ([a-z]+)`)

// verdicts returns the reason and the blame of each scenario that did not pass in what "run" printed, or "passed".
func verdicts(t *testing.T, printed string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, part := range strings.Split(printed, "Scenario: ")[1:] {
		name, rest, _ := strings.Cut(part, "\n")
		name = strings.TrimSpace(strings.Split(name, " #")[0])
		name = strings.TrimSpace(strings.Split(name, "  ")[0])
		all[name] = "passed"
		if found := blames.FindStringSubmatch(rest); found != nil {
			all[name] = found[1] + " " + found[2]
		}
	}
	return all
}

func compareVerdicts(t *testing.T, printed string, want map[string]string) {
	t.Helper()
	got := verdicts(t, printed)
	for name, verdict := range want {
		if got[name] != verdict {
			t.Errorf("%s: got %q, want %q", name, got[name], verdict)
		}
	}
	if t.Failed() {
		t.Log(printed)
	}
}

// inBrowser adds scenarios in a browser, if there is one here, and returns what is wanted of them.
func inBrowser(t *testing.T, scenarios map[string]string, added map[string]string, want map[string]string) {
	t.Helper()
	if _, err := browser.Find(); err != nil {
		t.Log("without scenarios in a browser:", err)
		return
	}
	for name, lines := range added {
		scenarios["browser, "+name] = "@browser @timeout:20s\n" + lines
		want["browser, "+name] = "lack monitor"
	}
}

// TestOffline has no interface but the loopback. A target there is blamed for what it does; what is elsewhere is not.
func TestOffline(t *testing.T) {
	scenarios := map[string]string{
		"by address":        `When I go to "http://203.0.113.7/"`,
		"by name":           `When I go to "http://www.example.org/"`,
		"by IPv6":           `When I go to "http://[2001:db8::7]/"`,
		"a closed port":     `Then port 25 of "203.0.113.7" is closed`,
		"an open port":      `Then port 25 of "203.0.113.7" is open`,
		"ping":              "When I ping \"203.0.113.7\"\nThen it should not respond",
		"records":           `When I look up the MX of "example.org"`,
		"loopback":          `When I go to "http://127.0.0.1:1/"`,
		"loopback, closed":  `Then port 1 of "127.0.0.1" is closed`,
		"loopback, silence": "@timeout:1s\nWhen I go to \"http://127.0.0.1:8080/\"",
	}
	want := map[string]string{
		"by address": "lack monitor", "by name": "lack monitor", "by IPv6": "lack monitor", "a closed port": "lack monitor",
		"an open port": "lack monitor", "ping": "lack monitor", "records": "lack monitor", "loopback": "connect web", "loopback, closed": "passed",
		"loopback, silence": "timeout web",
	}
	inBrowser(t, scenarios, map[string]string{"a part": "When I go to \"http://127.0.0.1:8080/picture\"\nThen no request fails", "address": `When I go to "http://203.0.113.7/"`, "name": `When I go to "http://www.example.org/"`}, want)
	feature := writeFeature(t, "@timeout:20s", scenarios)
	printed := apart(t, "lackbed http 127.0.0.1:8080 2s & lackbed await http 127.0.0.1:8080\nstepwatch run --evidence= \"$1\" || true", feature)
	compareVerdicts(t, printed, want)
	if !strings.Contains(printed, "this machine has no route to 203.0.113.7: check its interfaces and its default route") {
		t.Error(printed)
	}
}

// named are scenarios that need the resolver of the machine, and one that does not.
var named = map[string]string{
	"a name":          `When I go to "http://www.example.org/"`,
	"a broken zone":   `When I go to "http://www.broken.test/"`,
	"records":         `When I look up the MX of "example.org"`,
	"broken records":  `When I look up the MX of "broken.test"`,
	"no name at all":  `When I go to "http://127.0.0.1:1/"`,
	"ports of a name": `Then port 25 of "www.example.org" is closed`,
}

// TestResolverDown takes the name servers of the machine away in several ways.
func TestResolverDown(t *testing.T) {
	t.Parallel()
	own := map[string]string{"a name": "lack monitor", "a broken zone": "lack monitor", "records": "lack monitor", "broken records": "lack monitor",
		"no name at all": "connect web", "ports of a name": "lack monitor"}
	scenarios := maps.Clone(named)
	inBrowser(t, scenarios, map[string]string{"a name": named["a name"], "no route": `When I go to "http://203.0.113.7/"`}, own)
	feature := writeFeature(t, "@timeout:3s", scenarios)
	const elsewhere = "ip link add out0 type veth peer name out1\nip link set out1 up\nip address add 192.0.2.2/24 dev out0\nip link set out0 up\n" // not offline
	const run = "\nmount --bind ./resolv.conf /etc/resolv.conf\nstepwatch run --evidence= \"$1\" || true"
	for name, c := range map[string]struct{ before, servers, says string }{
		"refused": {elsewhere, "nameserver 127.0.0.2\nnameserver 127.0.0.3\n", "the resolver of this machine does not work: 127.0.0.2 does not answer (connection refused), 127.0.0.3 does not answer (connection refused): check"},
		"silent":  {elsewhere + "ip neigh add 192.0.2.9 lladdr 02:00:00:00:00:01 dev out0\n", "nameserver 192.0.2.9\noptions timeout:1 attempts:1\n", "does not work: 192.0.2.9 does not answer: check"},
		"none":    {elsewhere, "# none\n", "/etc/resolv.conf is missing or names none"},
	} {
		t.Run(name, func(t *testing.T) {
			printed := apart(t, "cd $(mktemp -d)\n"+c.before+"printf '"+c.servers+"' >resolv.conf"+run, feature)
			compareVerdicts(t, printed, own)
			if !strings.Contains(printed, c.says) {
				t.Errorf("want %q in: %s", c.says, printed)
			}
		})
	}
	t.Run("one zone fails", func(t *testing.T) {
		printed := apart(t, "cd $(mktemp -d)\n"+elsewhere+"lackbed dns 127.0.0.1:53 & lackbed await dns 127.0.0.1:53\nprintf 'nameserver 127.0.0.1\n' >resolv.conf"+run, feature)
		compareVerdicts(t, printed, map[string]string{"a name": "dns dns", "a broken zone": "dns dns", "no name at all": "connect web", "ports of a name": "dns dns"})
	})
}

// TestLinkDown has a route whose interface has lost its link, one whose gateway does not answer, and one whose gateway
// does while the target behind it is silent.
func TestLinkDown(t *testing.T) {
	t.Parallel()
	feature := writeFeature(t, "@timeout:6s", map[string]string{
		"no link":        `When I go to "http://198.51.100.7/"`,
		"silent gateway": `When I go to "http://203.0.113.7/"`,
		"silent, filter": `Then port 25 of "203.0.113.7" is filtered`,
		"on the link":    `When I go to "http://192.0.2.9/"`,
		"silent target":  `When I go to "http://10.9.9.9/"`,
		"target, filter": `Then port 25 of "10.9.9.9" is filtered`,
		"source forbids": `When I go to "http://10.8.8.8/"`,
	})
	printed := apart(t, `ip link add a0 type veth peer name b0; ip address add 192.0.2.2/24 dev a0; ip link set a0 up; ip link set b0 up
ip link add a1 type veth peer name b1; ip address add 198.51.100.2/24 dev a1; ip link set a1 up
ip link add d0 type veth peer name e0; ip address add 10.1.1.2/24 dev d0; ip link set d0 up; ip link set e0 up
ip route add 203.0.113.0/24 via 192.0.2.1
ip neigh add 10.1.1.1 lladdr 02:00:00:00:00:01 dev d0; ip route add 10.9.0.0/16 via 10.1.1.1
ip route add prohibit 10.8.0.0/16
stepwatch run --evidence= "$1" || true`, feature)
	compareVerdicts(t, printed, map[string]string{"no link": "lack monitor", "silent gateway": "lack monitor", "silent, filter": "lack monitor",
		"on the link": "connect network", "silent target": "timeout web", "target, filter": "passed", "source forbids": "lack monitor"})
}

// failures are the counters of failed runs on a page of metrics.
var failures = regexp.MustCompile(`(?m)^stepwatch_scenario_failures_total\{.*blame="([a-z]+)".* ([0-9.e+]+)$`)

// noneBlamed checks a page of metrics: the machine has lacked this, and no failure blames anything but the monitor.
func noneBlamed(t *testing.T, page, kind string) {
	t.Helper()
	all := failures.FindAllStringSubmatch(page, -1)
	if len(all) == 0 {
		t.Errorf("no run failed, so nothing was lacking: %s", page)
	}
	for _, f := range all {
		if f[1] != "monitor" {
			t.Errorf("blamed: %s", f[0])
		}
	}
	if !strings.Contains(page, `stepwatch_monitor_lack{kind="`+kind+`"} `) {
		t.Errorf("the page shows no lack of %s: %s", kind, page)
	}
	if strings.Contains(page, "stepwatch_alert_firing{") {
		t.Error("a scenario has an alert of its own")
	}
}

// manySlow are scenarios that all wait for the same server.
func manySlow(count int, url string) map[string]string {
	all := make(map[string]string)
	for i := range count {
		all[fmt.Sprintf("%03d", i)] = fmt.Sprintf("When I go to %q\nThen I should see \"Welcome\"", url)
	}
	return all
}

// TestPortsUsedUp gives the agent five local ports for thirty scenarios.
func TestPortsUsedUp(t *testing.T) {
	t.Parallel()
	feature := writeFeature(t, "@every:1s @timeout:10s", manySlow(30, "http://127.0.0.1:8080/"))
	page := apart(t, `echo 40000 40004 >/proc/sys/net/ipv4/ip_local_port_range
lackbed http 127.0.0.1:8080 300ms & lackbed await http 127.0.0.1:8080
stepwatch agent --listen 127.0.0.1:9469 "$1" 2>log &
lackbed get http://127.0.0.1:9469/metrics 'monitor_lack{kind="ports"} 1' >/dev/null; sleep 3
lackbed get http://127.0.0.1:9469/metrics 'monitor_lack{kind="ports"} 1'; grep "alert hard" log`, feature)
	noneBlamed(t, page, "ports")
	if strings.Count(page, "alert hard") != 1 || !strings.Contains(page, "widen net.ipv4.ip_local_port_range, now 40000 40004") {
		t.Errorf("want one alert with the remedy: %s", page[strings.LastIndex(page, "\n# "):])
	}
}

// TestDescriptorsUsedUp gives the agent a hundred file descriptors for two hundred scenarios of a slow server, and then
// makes the server quick.
func TestDescriptorsUsedUp(t *testing.T) {
	needs(t, "prlimit")
	t.Parallel()
	var delay atomic.Int64
	delay.Store(int64(1500 * time.Millisecond))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		slowly(time.Duration(delay.Load())).ServeHTTP(w, r)
	}))
	defer server.Close()
	feature := writeFeature(t, "@every:1s @timeout:20s", manySlow(200, server.URL+"/"))
	config := filepath.Join(t.TempDir(), "stepwatch.yml") // by itself, the agent runs no more at once than it has descriptors for
	if err := os.WriteFile(config, []byte("workers: 256\nparallel: 256\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "prlimit", "--nofile=100:100", "stepwatch", "agent", "--config", config, "--listen", "127.0.0.1:0", feature)
	cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+t.TempDir())
	log := filepath.Join(t.TempDir(), "log")
	file, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	cmd.Stderr = file
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Signal(syscall.SIGTERM); _ = cmd.Wait() }() // both of its processes, before the directories go
	logged := func() string {
		content, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	var page string
	await := func(what string, done func() bool) {
		t.Helper()
		for deadline := time.Now().Add(60 * time.Second); !done(); time.Sleep(100 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("gave up waiting for %s:\n%s\n%s", what, logged(), page)
			}
		}
	}
	address := regexp.MustCompile(`http://\S+/metrics`)
	await("the address", func() bool { return address.MatchString(logged()) })
	url := address.FindString(logged())
	load := func() string {
		response, err := (&http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}).Get(url)
		if err != nil {
			return ""
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		page = string(body)
		return page
	}
	await("the lack", func() bool { return strings.Contains(load(), `stepwatch_monitor_lack{kind="descriptors"} 1`) })
	time.Sleep(3 * time.Second)
	await("a page during the lack", func() bool { return load() != "" })
	noneBlamed(t, page, "descriptors")
	delay.Store(0)
	await("the end of the lack", func() bool { return strings.Contains(load(), `stepwatch_monitor_lack{kind="descriptors"} 0`) })
	noneBlamed(t, page, "descriptors")
	said := logged()
	if strings.Count(said, "alert hard") != 1 || strings.Count(said, "alert resolved") != 1 ||
		!strings.Contains(said, "raise LimitNOFILE= of the unit (ulimit -n), now 100") {
		t.Errorf("want one alert that is resolved, with the remedy:\n%s", said)
	}
	t.Logf("failed runs: %v", failures.FindAllString(page, 3))
}

// TestRunWithFewDescriptors runs two hundred scenarios, and one in a browser, with a hundred file descriptors.
func TestRunWithFewDescriptors(t *testing.T) {
	needs(t, "prlimit")
	t.Parallel()
	server := httptest.NewServer(slowly(0))
	defer server.Close()
	run := func(limit string, scenarios map[string]string) string {
		cmd := exec.CommandContext(t.Context(), "prlimit", "--nofile="+limit+":"+limit, "stepwatch", "run", "--evidence=", writeFeature(t, "@timeout:30s", scenarios))
		cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+t.TempDir())
		out, _ := cmd.CombinedOutput() // the verdicts are what is compared
		return string(out)
	}
	if printed := run("100", manySlow(200, server.URL+"/")); !strings.Contains(printed, "200 scenarios: 200 passed") {
		t.Error(printed)
	}
	for _, limit := range []string{"100", "40", "24", "16", "12"} {
		printed := run(limit, map[string]string{"in a browser": "@browser\nWhen I go to \"" + server.URL + "/\"\nThen I should see \"Welcome\""})
		verdict := verdicts(t, printed)["in a browser"]
		t.Logf("%s descriptors: %s", limit, verdict)
		if verdict != "passed" && !strings.HasSuffix(verdict, " monitor") {
			t.Errorf("%s descriptors: %s", limit, printed)
		}
	}
}

// TestDiskFull runs a scenario that needs a directory on a full file system.
func TestDiskFull(t *testing.T) {
	feature := writeFeature(t, "@timeout:10s", map[string]string{"a command": "When I run `true`"})
	t.Run("full", func(t *testing.T) {
		printed := apart(t, "mkdir full && mount -t tmpfs -o size=4k,nr_inodes=1 none full\nTMPDIR=$PWD/full stepwatch run --evidence= \"$1\" || true", feature)
		compareVerdicts(t, printed, map[string]string{"a command": "lack monitor"})
	})
	t.Run("read-only", func(t *testing.T) {
		printed := apart(t, "mkdir full && mount -t tmpfs -o ro none full\nTMPDIR=$PWD/full stepwatch run --evidence= \"$1\" || true", feature)
		compareVerdicts(t, printed, map[string]string{"a command": "lack monitor"})
	})
}

// TestEvidenceWithoutSpace has no space for the evidence of a real failure. That is an alert of its own, and changes
// nothing in the verdict.
func TestEvidenceWithoutSpace(t *testing.T) {
	feature := writeFeature(t, "@every:1s @timeout:10s", map[string]string{"wrong": "When I go to \"http://127.0.0.1:8080/\"\nThen I should see \"Bargains\""})
	page := apart(t, `mkdir full && mount -t tmpfs -o size=4k,nr_inodes=2 none full
lackbed http 127.0.0.1:8080 0s & lackbed await http 127.0.0.1:8080
XDG_STATE_HOME="$PWD/full" stepwatch agent --listen 127.0.0.1:9469 "$1" 2>log &
lackbed get http://127.0.0.1:9469/metrics 'monitor_lack{kind="disk"} 1'; grep "alert hard" log | sed 's/^/log: /'`, feature)
	if !strings.Contains(page, `stepwatch_monitor_lack{kind="disk"} 1`) || !strings.Contains(page, `blame="web"`) || strings.Contains(page, `blame="monitor"`) {
		t.Error(page)
	}
	if strings.Count(page, "log: ") != 2 || !strings.Contains(page, "evidence is not saved: the disk of this machine is full") {
		t.Errorf("want the alerts of the scenario and of the disk: %s", page[strings.Index(page+"log: ", "log: "):])
	}
}

// controlGroup makes a control group of its own for the test and returns its directory.
func controlGroup(t *testing.T, controller, limit string) string {
	t.Helper()
	needs(t, "sh")
	for _, root := range []string{"/sys/fs/cgroup/" + controller, "/sys/fs/cgroup"} { // version 1, version 2
		dir := filepath.Join(root, "stepwatch-test-"+strings.ToLower(rand.Text()))
		if os.Mkdir(dir, 0o755) != nil {
			continue
		}
		t.Cleanup(func() {
			for range 50 {
				if os.Remove(dir) == nil {
					return
				}
				time.Sleep(100 * time.Millisecond) // its last process ends
			}
			t.Errorf("%s is left", dir)
		})
		if _, err := os.Stat(filepath.Join(dir, limit)); err == nil {
			return dir
		}
	}
	t.Skipf("no control group with %s can be made here", limit)
	return ""
}

// TestProcessesUsedUp takes the right to start processes away from stepwatch while it runs.
func TestProcessesUsedUp(t *testing.T) {
	group := controlGroup(t, "pids", "pids.max")
	begun := filepath.Join(t.TempDir(), "begun")
	feature := writeFeature(t, "@timeout:20s", map[string]string{"a command": "When I run `touch " + begun + "`\nAnd I run `sleep 1`\nAnd I run `true`"})
	cmd := exec.CommandContext(t.Context(), "sh", "-c", `echo $$ >$1/cgroup.procs
stepwatch run --evidence= "$2" & run=$!
until [ -e "$3" ] || ! kill -0 $run; do sleep 0.05; done; echo 1 >$1/pids.max; wait $run; echo max >$1/pids.max`, "sh", group, feature, begun)
	cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+t.TempDir())
	printed, _ := cmd.CombinedOutput() // the verdict is what is compared
	compareVerdicts(t, string(printed), map[string]string{"a command": "lack monitor"})
	if !strings.Contains(string(printed), "raise TasksMax= of the unit, now 1") {
		t.Error(string(printed))
	}
}

// TestMemoryLimitIsFound reads the limit of a control group, under which the heap is kept.
func TestMemoryLimitIsFound(t *testing.T) {
	for _, file := range []string{"memory.max", "memory.limit_in_bytes"} {
		t.Run(file, func(t *testing.T) {
			group := controlGroup(t, "memory", file)
			if err := os.WriteFile(filepath.Join(group, file), []byte("402653184"), 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := exec.CommandContext(t.Context(), "sh", "-c", "echo $$ >$1/cgroup.procs; lackbed limits", "sh", group).CombinedOutput()
			if err != nil || string(out) != "memory 402653184\n" {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}
