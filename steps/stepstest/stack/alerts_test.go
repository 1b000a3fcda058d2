//go:build linux

package stack_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stepwatch/stepwatch/steps/exposition"
	"github.com/stepwatch/stepwatch/steps/mailqueue"
	"github.com/stepwatch/stepwatch/steps/stepstest/stack"
)

// watch is an agent that runs a shipped feature every two seconds.
type watch struct {
	config, feature string
	address         string
}

// newWatch starts an agent with this configuration. replace are pairs of what the feature says and what it is to say here.
func newWatch(t *testing.T, address, config, feature string, replace ...string) *watch {
	t.Helper()
	content, err := os.ReadFile("../../../features/alerts/" + feature)
	if err != nil {
		t.Fatal(err)
	}
	text := regexp.MustCompile(`@every:\d+m`).ReplaceAllString(strings.NewReplacer(replace...).Replace(string(content)), "@every:2s")
	w := &watch{config: write(t, "stepwatch.yml", config), feature: write(t, feature, text), address: address}
	agent := exec.Command(stepwatch, "agent", "--config", w.config, "--listen", address, w.feature)
	var said bytes.Buffer
	agent.Stderr = &said
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		late := time.AfterFunc(waitLimit, func() { _ = agent.Process.Kill() }) // it may end meanwhile
		defer late.Stop()
		if err := errors.Join(agent.Process.Signal(syscall.SIGTERM), agent.Wait()); err != nil || t.Failed() {
			t.Errorf("the agent ended with %v and said:\n%s", err, &said)
		}
	})
	return w
}

// metric gives a sample of the agent's page; false when it is not there (yet).
func (w *watch) metric(t *testing.T, selector string) (float64, bool) {
	t.Helper()
	response, err := (&http.Client{Timeout: 5 * time.Second}).Get("http://" + w.address + "/metrics")
	if err != nil {
		return 0, false // it is about to listen
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	samples, err := exposition.Parse(body)
	if err != nil {
		t.Fatal(err)
	}
	wanted, err := exposition.ParseSelector(selector)
	if err != nil {
		t.Fatal(err)
	}
	found := wanted.Select(samples)
	if len(found) == 0 {
		return 0, false
	}
	return found[0].Value, true
}

// gauge waits until a sample has this value.
func (w *watch) gauge(t *testing.T, selector string, want float64) {
	t.Helper()
	seen, reached := "nothing", false
	defer func() {
		if !reached {
			t.Errorf("%s: %s at last, want %v", selector, seen, want)
		}
	}()
	eventually(t, waitLimit, fmt.Sprintf("%s is %v", selector, want), func() bool {
		got, found := w.metric(t, selector)
		if found {
			seen = fmt.Sprint(got)
		}
		reached = found && got == want
		return reached
	})
}

// fires wants an alert on /metrics, as a plugin's state and in what run prints; the error matches.
func (w *watch) fires(t *testing.T, scenario, message string) {
	t.Helper()
	w.gauge(t, `stepwatch_alert_firing{rule="failures",scenario="`+scenario+`"}`, 1)
	w.gauge(t, `stepwatch_scenario_state{scenario="`+scenario+`"}`, 2)
	code, out := w.execute(t, "check", scenario)
	if code != 2 || !regexp.MustCompile("^STEPWATCH CRITICAL - .*"+message).MatchString(out) {
		t.Errorf("check of %q: exit code %d, want 2 and %s:\n%s", scenario, code, message, out)
	}
	first, _, _ := strings.Cut(out, " | ")
	t.Log(first)
	if code, out := w.execute(t, "run", scenario); code != 1 || !regexp.MustCompile(`✗\n\s+.*`+message).MatchString(out) {
		t.Errorf("run of %q: exit code %d, want 1 and %s:\n%s", scenario, code, message, out)
	}
}

// clears wants no alert.
func (w *watch) clears(t *testing.T, scenario string) {
	t.Helper()
	w.gauge(t, `stepwatch_scenario_state{scenario="`+scenario+`"}`, 0)
	if firing, found := w.metric(t, `stepwatch_alert_firing{rule="failures",scenario="`+scenario+`"}`); found && firing != 0 {
		t.Errorf("%q is still firing", scenario)
	}
	for verb, want := range map[string]string{"check": "STEPWATCH OK - ", "run": "1 scenario: 1 passed"} {
		if code, out := w.execute(t, verb, scenario); code != 0 || !strings.Contains(out, want) {
			t.Errorf("%s of %q: exit code %d:\n%s", verb, scenario, code, out)
		}
	}
}

// execute runs a verb for the one scenario.
func (w *watch) execute(t *testing.T, verb, scenario string) (int, string) {
	t.Helper()
	content, err := os.ReadFile(w.feature)
	if err != nil {
		t.Fatal(err)
	}
	before, _, found := strings.Cut(string(content), ": "+scenario+"\n")
	if !found {
		t.Fatalf("%s has no scenario %q", w.feature, scenario)
	}
	return execute(t, stepwatch, verb, "--config", w.config, fmt.Sprintf("%s:%d", w.feature, strings.Count(before, "\n")+1))
}

// flood has Postfix' own load generator send n messages to Bob.
func flood(t *testing.T, n int, server string) {
	t.Helper()
	if code, out := execute(t, "/usr/sbin/smtp-source", "-m", strconv.Itoa(n), "-s", strconv.Itoa(min(n, 10)), "-f", "a@elsewhere.test", "-t", "bob@"+stack.Domain, server); code != 0 {
		t.Fatal(out)
	}
}

// counted is what postqueue -p lists: ids marked with * are active, with ! on hold.
func counted(t *testing.T, postfix *stack.Postfix) map[string]int {
	t.Helper()
	_, out := execute(t, "/usr/sbin/postqueue", "-c", postfix.Config(), "-p")
	counts := map[string]int{"active": 0, "hold": 0, "deferred": 0}
	for _, m := range regexp.MustCompile(`(?m)^[0-9A-Za-z]{8,}([*! ]) +\d`).FindAllStringSubmatch(out, -1) {
		counts[map[string]string{"*": "active", "!": "hold", " ": "deferred"}[m[1]]]++
	}
	return counts
}

// TestQueueAlerts has a real Postfix keep mail, and compares with what its own program counts.
func TestQueueAlerts(t *testing.T) {
	s := need(t)
	logs(t, "postfix")
	emptyQueue(t)
	if err := s.Postfix.Discard(t.Context()); err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(shared(t), "state")
	socket := filepath.Join(s.Dir, "postfix/queue/public/showq")
	w := newWatch(t, "127.0.0.1:9471", fmt.Sprintf("hosts:\n  mx1: {queue: {showq: %s}}\nstate: %s\n", socket, state), "queue.feature", "10 minutes", "20s")
	for _, scenario := range []string{"The queue is short", "No message has waited for hours", "No destination is stuck", "Nothing is held back"} {
		w.clears(t, scenario)
	}
	reading := `{scenario="Nothing is held back",queue="%s"}`
	for _, queue := range []string{"active", "deferred", "hold", "incoming", "maildrop"} {
		w.gauge(t, "stepwatch_mail_queue_messages"+fmt.Sprintf(reading, queue), 0)
	}

	// Without the door to Dovecot mail is deferred, and tried every two seconds.
	back := blocked(t)
	same := func(want map[string]int) {
		t.Helper()
		eventually(t, waitLimit, fmt.Sprintf("postqueue -p counts %v", want), func() bool { return fmt.Sprint(counted(t, s.Postfix)) == fmt.Sprint(want) })
		for queue, n := range want {
			w.gauge(t, "stepwatch_mail_queue_messages"+fmt.Sprintf(reading, queue), float64(n))
		}
	}
	flood(t, 4, stack.Mail+":25")
	flood(t, 5, stack.Holding+":25")
	same(map[string]int{"active": 0, "deferred": 4, "hold": 5})
	w.fires(t, "Nothing is held back", `the mail queue of "mx1" has 5 messages on hold`)
	w.clears(t, "The queue is short")
	// Behind a door where nobody speaks it is active.
	silent, err := net.Listen("unix", filepath.Join(s.Dir, "dovecot/lmtp"))
	if err != nil {
		t.Fatal(err)
	}
	open := sync.OnceFunc(func() {
		silent.Close()
		back()
	})
	t.Cleanup(open)
	if err := os.Chmod(filepath.Join(s.Dir, "dovecot/lmtp"), 0o666); err != nil {
		t.Fatal(err)
	}
	same(map[string]int{"active": 4, "deferred": 0, "hold": 5})

	eventually(t, 30*time.Second, "growth has something to compare with", func() bool {
		state, _ := w.metric(t, `stepwatch_scenario_state{scenario="The queue is not growing fast"}`)
		return state == 0
	})
	flood(t, 2000-9, stack.Holding+":25")
	w.fires(t, "The queue is not growing fast", `grew by \d+ messages in \d+s, to 2000; wanted less than 200 in 20s`)
	w.fires(t, "The queue is short", `the mail queue of "mx1" holds 2000 messages, wanted fewer than 1000 .*2000 wait for example\.test`)
	w.fires(t, "No destination is stuck", `holds 2000 messages for example\.test.*; wanted fewer than 100 for any one destination`)
	setBack(t, 5*time.Hour)
	w.fires(t, "No message has waited for hours", `the mail queue of "mx1" has had a message for 5h\d+m\d+s, wanted less than 4h0m0s`)
	for name, read := range map[string]func(context.Context, string, ...string) (*mailqueue.Queue, error){socket: mailqueue.Showq, s.Postfix.Config(): mailqueue.Postqueue} {
		start := time.Now()
		q, err := read(t.Context(), name)
		if took := time.Since(start); err != nil || q.Messages() != 2000 {
			t.Errorf("%s: got %+v, %v; want 2000", name, q, err)
		} else {
			t.Logf("2000 messages by %s in %s", name, took)
		}
	}

	if err := s.Postfix.Discard(t.Context()); err != nil {
		t.Fatal(err)
	}
	open()
	for _, scenario := range []string{"The queue is short", "No message has waited for hours", "No destination is stuck", "Nothing is held back", "The queue is not growing fast"} {
		w.clears(t, scenario)
	}
}

// arrivalRecord is where a queue file says when the message came: a record of type T with seconds and microseconds.
var arrivalRecord = regexp.MustCompile(`T[\x01-\x7f](\d{10}) \d{1,6}`)

// setBack has a message that Postfix holds have come that much earlier. It is written in place: the queue's names are made of
// the files' inodes.
func setBack(t *testing.T, by time.Duration) {
	t.Helper()
	held, err := filepath.Glob(filepath.Join(servers.Dir, "postfix/queue/hold/*"))
	if err != nil || len(held) == 0 {
		t.Fatalf("no message is held: %v", err)
	}
	content := readLog(t, held[0])
	at := arrivalRecord.FindStringSubmatchIndex(content)
	if at == nil {
		t.Fatalf("%s does not say when it came", held[0])
	}
	came, err := strconv.ParseInt(content[at[2]:at[3]], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(held[0], os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = file.WriteAt([]byte(strconv.FormatInt(came-int64(by.Seconds()), 10)), int64(at[2]))
	if err := errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
}

const short = "Feature: F\n  Scenario: S\n    * I read the mail queue of \"mx1\"\n    * it holds fewer than 1000 messages\n"

// unknownToNobody has somebody without rights read the queue, which is UNKNOWN for this reason.
func unknownToNobody(t *testing.T, config, want string) {
	t.Helper()
	code, out := executeAs(t, 65534, stepwatch, "check", "--config", config, write(t, "queue.feature", short))
	if code != 3 || !regexp.MustCompile(want).MatchString(out) {
		t.Errorf("exit code %d, want 3 and %s:\n%s", code, want, out)
	}
	first, _, _ := strings.Cut(out, " | ")
	t.Log(first)
}

// TestQueueThatCannotBeRead is never an empty queue.
func TestQueueThatCannotBeRead(t *testing.T) {
	s := need(t)
	socket := write(t, "socket.yml", fmt.Sprintf("hosts: {mx1: {queue: {showq: %s}}}\n", filepath.Join(s.Dir, "postfix/queue/public/showq")))
	program := write(t, "program.yml", fmt.Sprintf("hosts: {mx1: {queue: {postfix: %s}}}\n", s.Postfix.Config()))
	for config, want := range map[string]string{
		socket:  `permission denied: stepwatch's user must be in the group postdrop \(config, blame monitor\)`,
		program: `permission denied: alternate_config_directories .* must name .* \(config, blame monitor\)`,
	} {
		unknownToNobody(t, config, want)
	}
	down(t, s.Postfix.Server)
	if code, out := execute(t, stepwatch, "check", "--config", socket, write(t, "queue.feature", short)); code != 2 || !strings.Contains(out, "Postfix is down (postfix status) (connect, blame queue)") {
		t.Errorf("exit code %d, want 2:\n%s", code, out)
	}
}

// TestEximQueueAlerts has a real Exim keep mail whose smarthost is down.
func TestEximQueueAlerts(t *testing.T) {
	s := need(t)
	exim(t, stack.Closed, *s.Config.Account(stack.Alice))
	program := filepath.Join(stack.EximDir, "usr/sbin/exim4")
	config := filepath.Join(s.Dir, "etc/exim.conf")
	wrapper := write(t, "exim", fmt.Sprintf("#!/bin/sh\nexec %s -C %s \"$@\"\n", program, config))
	if err := os.Chmod(wrapper, 0o755); err != nil {
		t.Fatal(err)
	}
	w := newWatch(t, "127.0.0.1:9472", fmt.Sprintf("hosts:\n  mx1: {queue: {exim: %s}}\nstate: %s\n", wrapper, shared(t)), "queue.feature")
	w.clears(t, "Nothing is held back")
	w.gauge(t, `stepwatch_mail_queue_messages{queue="waiting"}`, 0)
	t.Cleanup(func() {
		if err := s.Exim.Stop(); err != nil {
			t.Error(err)
		}
	})

	flood(t, 3, stack.Exim+":25")
	ids := regexp.MustCompile(`\w{6}-\w{6,11}-\w{2,4}`).FindAllString(must(t, wrapper, "-bp"), -1)
	if len(ids) != 3 {
		t.Fatalf("Exim lists %q, want three", ids)
	}
	// A queue runner that is at a message locks it.
	eventually(t, waitLimit, "Exim freezes a message", func() bool {
		_, out := execute(t, wrapper, "-Mf", ids[0])
		return strings.Contains(out, "frozen")
	})
	w.fires(t, "Nothing is held back", `the mail queue of "mx1" has 1 frozen messages`)
	w.gauge(t, `stepwatch_mail_queue_messages{scenario="Nothing is held back",queue="frozen"}`, 1)
	w.gauge(t, `stepwatch_mail_queue_messages{scenario="Nothing is held back",queue="waiting"}`, 2)
	if n := strings.TrimSpace(must(t, wrapper, "-bpc")); n != "3" {
		t.Errorf("exim -bpc counts %s, want 3", n)
	}
	spool, err := mailqueue.EximSpool(t.Context(), filepath.Join(s.Dir, "exim"))
	if err != nil {
		t.Fatal(err)
	}
	listed, err := mailqueue.Exim(t.Context(), wrapper)
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(spool.Counts, spool.Bytes, spool.Oldest, spool.Waiting(stack.Domain)) != fmt.Sprint(listed.Counts, listed.Bytes, listed.Oldest, listed.Waiting(stack.Domain)) {
		t.Errorf("the spool says %+v, -bp %+v", spool, listed)
	}
	if age := time.Since(spool.Oldest); age > time.Minute || age < 0 {
		t.Errorf("the oldest message is %s old", age)
	}

	// Who may not read the spool gets an empty list from Exim, and exit code 0, once lists are open to everybody.
	for requires, want := range map[string]string{"true": "-bp: permission denied: .*admin user of Exim", "false": "lists no message, which it also does without permission to read its spool: .*permission denied"} {
		open := write(t, "open.conf", "queue_list_requires_admin = "+requires+"\n"+readLog(t, config))
		program := write(t, "exim", fmt.Sprintf("#!/bin/sh\nexec %s -C %s \"$@\"\n", program, open))
		if err := os.Chmod(program, 0o755); err != nil {
			t.Fatal(err)
		}
		unknownToNobody(t, write(t, "exim.yml", fmt.Sprintf("hosts: {mx1: {queue: {exim: %s}}}\n", program)), want)
	}

	eventually(t, waitLimit, "Exim removes all messages", func() bool {
		execute(t, wrapper, append([]string{"-Mrm"}, ids...)...)
		return strings.TrimSpace(must(t, wrapper, "-bpc")) == "0"
	})
	w.clears(t, "Nothing is held back")
	w.gauge(t, `stepwatch_mail_queue_messages{scenario="Nothing is held back",queue="frozen"}`, 0)
}

// must runs a program that must succeed.
func must(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := exec.Command(program, args...).Output()
	if err != nil {
		t.Fatalf("%s %q: %v: %s", program, args, err, out)
	}
	return string(out)
}

// TestAPIAndExporterAlerts has a small HTTP API answer for the real Postfix, with a token, and an exporter.
func TestAPIAndExporterAlerts(t *testing.T) {
	s := need(t)
	emptyQueue(t)
	if err := s.Postfix.Discard(t.Context()); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:8080")
	if err != nil {
		t.Fatal(err)
	}
	var lost bool // the exporter has lost its sample
	var mu sync.Mutex
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		queue, err := s.Postfix.Queue(r.Context())
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		in := func(name string) int { return strings.Count(queue, `"queue_name": "`+name+`"`) }
		switch {
		case r.URL.Path == "/metrics" && lost:
			fmt.Fprintf(w, "mta_queue_bytes 0\n")
		case r.URL.Path == "/metrics":
			fmt.Fprintf(w, "mta_queue_length{queue=\"hold\"} %d\nmta_queue_length{queue=\"deferred\"} %d\n", in("hold"), in("deferred"))
		case r.Header.Get("Authorization") != "Bearer open sesame":
			w.WriteHeader(http.StatusUnauthorized)
		case r.URL.Path == "/api/health":
			fmt.Fprint(w, `{"status": "ok"}`)
		case r.URL.Path == "/api/queue/stats":
			fmt.Fprintf(w, `{"active": %d, "deferred": %d, "hold": %d}`, in("active"), in("deferred"), in("hold"))
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	})}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Close()
		<-done
	})
	config := fmt.Sprintf("hosts:\n  mx1:\n    address: 127.0.0.1\n    queue: {api: true}\n    api: {url: \"http://127.0.0.1:8080/api\", token: {file: %s}}\nstate: %s\n",
		write(t, "token", "open sesame\n"), shared(t))
	queue := newWatch(t, "127.0.0.1:9473", config, "queue.feature")
	exporter := newWatch(t, "127.0.0.1:9474", config, "exporter.feature", "1000", "5")
	const count = "The queue is short by the exporter's count"
	queue.clears(t, "Nothing is held back")
	exporter.clears(t, count)
	passes(t, queue.config, `the API of "mx1" is healthy`, `I ask the API of "mx1" for "/queue/stats"`, `its answer has "$.hold" below 1`)

	flood(t, 6, stack.Holding+":25")
	queue.fires(t, "Nothing is held back", `the mail queue of "mx1" has 6 messages on hold`)
	queue.gauge(t, `stepwatch_mail_queue_messages{queue="hold"}`, 6)
	exporter.fires(t, count, `has mta_queue_length\{queue="hold"\} 6, wanted it below 5`)
	exporter.gauge(t, "stepwatch_sample_value", 6)
	check(t, queue.config, "I ask the API of \"mx1\" for \"/queue/stats\"\nits answer has \"$.hold\" below 6", outcome{`its answer has "$.hold" below 6`, "unexpected", "web"})

	if err := s.Postfix.Discard(t.Context()); err != nil {
		t.Fatal(err)
	}
	queue.clears(t, "Nothing is held back")
	exporter.clears(t, count)
	mu.Lock()
	lost = true
	mu.Unlock()
	exporter.fires(t, count, `has no sample mta_queue_length; similar ones are mta_queue_bytes`)
}

// watchDisk is an agent that runs the shipped feature on the disk of this directory.
func watchDisk(t *testing.T, address, config, dir string) *watch {
	t.Helper()
	return newWatch(t, address, config, "disk.feature", "      | /var/spool |\n      | /var/log   |\n", "      | "+dir+" |\n")
}

// TestAgentWaitsForNoDisk has the evidence of earlier failures on a disk that never answers: scenarios run, and the agent ends
// when it is told to.
func TestAgentWaitsForNoDisk(t *testing.T) {
	need(t)
	state, watched := t.TempDir(), smallDisk(t)
	evidence := filepath.Join(state, "evidence")
	if err := os.Mkdir(evidence, 0o700); err != nil {
		t.Fatal(err)
	}
	device, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil { // kernels and containers without it
		t.Skip("a disk that never answers is made with FUSE:", err)
	}
	t.Cleanup(func() { device.Close() })
	if err := unix.Mount("silent", evidence, "fuse", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", device.Fd())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(evidence, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	w := watchDisk(t, "127.0.0.1:9476", "state: "+state+"\n", watched)
	w.gauge(t, `stepwatch_scenario_state{scenario="There is room in <path>"}`, 0)
}

// smallDisk returns a directory that is an empty disk of 8 MB. Those of the machine may be full, and any program may write to
// them.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=8m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// TestDiskAlert fills a real file system.
func TestDiskAlert(t *testing.T) {
	need(t)
	const scenario = "There is room in <path>"
	dir := smallDisk(t)
	w := watchDisk(t, "127.0.0.1:9475", "", dir)
	gauge := `stepwatch_host_disk_used_ratio{step="the disk of \"<path>\" is less than 80% full"}`
	w.gauge(t, gauge, 0)
	if err := os.WriteFile(dir+"/full", make([]byte, 7<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	w.gauge(t, `stepwatch_alert_firing{rule="failures",scenario="`+scenario+`"}`, 1)
	w.gauge(t, gauge, 0.875)
	if out := must(t, "df", "--output=pcent", dir); !strings.Contains(out, " 88%") { // df rounds up
		t.Errorf("df says %s, want 88%%", out)
	}
	code, out := execute(t, stepwatch, "check", w.feature)
	if code != 2 || !strings.Contains(out, `the disk of "`+dir+`" is 87.5% full, wanted less than 80% (1 MB free)`) {
		t.Errorf("%s: exit code %d:\n%s", scenario, code, out)
	}
	if err := os.Remove(dir + "/full"); err != nil {
		t.Fatal(err)
	}
	w.gauge(t, `stepwatch_alert_firing{rule="failures",scenario="`+scenario+`"}`, 0)
	if code, out := execute(t, stepwatch, "check", w.feature); code != 0 {
		t.Errorf("%s: exit code %d:\n%s", scenario, code, out)
	}
}

// TestBanAlerts has fail2ban ban for wrong logins at the real Postfix.
func TestBanAlerts(t *testing.T) {
	s := need(t)
	needPackage(t, "fail2ban")
	logs(t, "fail2ban", "postfix")
	if err := s.StartFail2ban(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Fail2ban.Stop(); err != nil {
			t.Error(err)
		}
	})
	w := newWatch(t, "127.0.0.1:9476", "", "bans.feature", "      | dovecot      |\n", "", "      | sshd         |\n", "")
	const jail = "postfix-sasl"
	before := banned(t, jail) // by the wrong logins of tests before
	w.gauge(t, "stepwatch_fail2ban_banned_addresses", float64(len(before)))
	read := `I read the bans of fail2ban's jail "` + jail + `"`
	passes(t, w.config, read, `"127.0.7.1" is not banned`, "fewer than 50 addresses are banned")

	const attackers = 50
	errs := make(chan error)
	for i := range attackers {
		go func() { errs <- wrongLogin(t, fmt.Sprintf("127.0.7.%d", i+1)) }()
	}
	for range attackers {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	want := len(before) + attackers
	eventually(t, waitLimit, "all are banned", func() bool { return len(banned(t, jail)) == want })
	w.gauge(t, "stepwatch_fail2ban_banned_addresses", float64(want))
	passes(t, w.config, read, `"127.0.7.1" is banned`)
	w.gauge(t, `stepwatch_alert_firing{rule="failures"}`, 1)
	if code, out := execute(t, stepwatch, "check", w.feature); code != 2 || !strings.Contains(out, fmt.Sprintf("has banned %d addresses, wanted fewer than 50", want)) {
		t.Errorf("exit code %d:\n%s", code, out)
	}

	must(t, "fail2ban-client", "unban", "--all")
	w.gauge(t, "stepwatch_fail2ban_banned_addresses", 0)
	w.gauge(t, `stepwatch_alert_firing{rule="failures"}`, 0)
	check(t, w.config, read+"\n\"127.0.7.1\" is banned", outcome{`"127.0.7.1" is banned`, "unexpected", "target"})
	if err := s.Fail2ban.Stop(); err != nil {
		t.Fatal(err)
	}
	check(t, w.config, read, outcome{read, "connect", "target"})
}

// banned lists whom a jail has banned by fail2ban's other list.
func banned(t *testing.T, jail string) []string {
	t.Helper()
	return strings.Fields(must(t, "fail2ban-client", "get", jail, "banip"))
}

// wrongLogin fails to log in at port 587 from an address of loopback.
func wrongLogin(t *testing.T, from string) error {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 10 * time.Second}
	conn, err := dialer.Dial("tcp", stack.Mail+":587")
	if err != nil {
		return err
	}
	defer conn.Close()
	client, err := smtp.NewClient(conn, stack.Mail)
	if err == nil {
		err = client.StartTLS(trusting(t, stack.Mail))
	}
	if err != nil {
		return err
	}
	if err := client.Auth(smtp.PlainAuth("", "alice@"+stack.Domain, "wrong", stack.Mail)); err == nil {
		return errors.New("a wrong password was taken")
	}
	return nil
}
