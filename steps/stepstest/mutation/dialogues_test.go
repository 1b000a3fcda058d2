package mutation_test

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/stepwatch/stepwatch/agent"
	"github.com/stepwatch/stepwatch/agent/collector"
	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps/limit"
	"github.com/stepwatch/stepwatch/steps/stepstest/mutation"
)

var (
	dialogues = flag.Uint64("dialogues", 0, "number of dialogues; 0 means no limit")
	firstSeed = flag.Uint64("seed", 1, "first seed; the others follow")
	howLong   = flag.Duration("for", 0, "how long; 0 means no limit; without -dialogues too, 500 dialogues in at most six seconds")
	parallel  = flag.Int("beds", 8, "dialogues at the same time")
	onlyPart  = flag.String("part", "", "only dialogues of this protocol")
	inFlight  = flag.String("inflight", "", "file with the seeds of the dialogues in progress, for when the process dies")
	everySeed = flag.Bool("each", false, "print every dialogue")
)

// The bounds of a dialogue.
const (
	alteredTimeout = 300 * time.Millisecond * slower
	grace          = 2 * time.Second * slower // for a loaded machine
	controlTimeout = 30 * time.Second
	cleanupTimeout = 300 * time.Millisecond * slower
	memoryLimit    = 300 << 20
	everyControl   = 50 // one dialogue of so many is not altered
)

// TestDialogues holds altered dialogues with every protocol, as seeds decide. Whatever a server sends, the run ends by its
// deadline with one result, which blames the server in our own words, and nothing is left.
//
//	go test ./steps/stepstest/mutation -run TestDialogues -args -dialogues 100000
//	go test ./steps/stepstest/mutation -run TestDialogues -args -dialogues 1 -seed 17 -each
func TestDialogues(t *testing.T) {
	if *dialogues == 0 && *howLong == 0 {
		*dialogues, *howLong = 500, 6*time.Second
	}
	before := goleak.IgnoreCurrent()
	dir := t.TempDir()
	temporary := filepath.Join(dir, "tmp")
	if err := os.Mkdir(temporary, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", temporary)
	log.SetOutput(io.Discard) // net/http writes a line for each unknown frame, as cmd knows
	t.Cleanup(func() { log.SetOutput(os.Stderr) })
	collecting, stopCollecting := context.WithCancel(t.Context())
	defer stopCollecting()
	files := openFiles(t)
	f := &fuzzer{t: t, found: make(map[string]*finding), parts: make(map[string]int), reasons: make(map[result.Reason]int)}
	f.next.Store(*firstSeed)
	if *inFlight != "" {
		var err error
		if f.inFlight, err = os.Create(*inFlight); err != nil {
			t.Fatal(err)
		}
	}
	f.servers = startServers(t, dir, *parallel)
	beds, memory := newBeds(t, f.servers)
	var watching sync.WaitGroup
	collector.Pace(collector.Agent)
	watching.Go(func() { f.watchMemory(collecting, memory) })
	start := time.Now()
	if *howLong > 0 {
		f.end = start.Add(*howLong)
	}
	var running sync.WaitGroup
	for _, b := range beds {
		running.Go(func() { f.run(b) })
	}
	running.Wait()
	f.took, f.peak, f.serversPeak = time.Since(start), peakMemory(), f.servers.peak()
	if err := f.servers.stop(); err != nil {
		t.Error("the servers: ", err)
	}
	for _, b := range beds {
		if n := b.runner.Abandoned(); n > 0 {
			t.Errorf("%d steps were abandoned and have not returned", n)
		}
	}
	stopCollecting()
	watching.Wait()
	f.report()
	if f.inFlight != nil {
		_ = f.inFlight.Close() // whoever needs it reads it after the death of this process
	}
	// The driver of MySQL panics for some packets, and leaves the goroutine that waits for the end of its connection.
	watcher := goleak.IgnoreTopFunction("github.com/go-sql-driver/mysql.(*mysqlConn).startWatcher.func1")
	if err := goleak.Find(before, watcher); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(temporary); len(left) > 0 {
		t.Errorf("%d temporary files are left, such as %s", len(left), left[0])
	}
	if now := openFiles(t); now > files+2 { // of the runtime
		t.Errorf("%d files are open, %d were at the start", now, files)
	}
	if used := memory.Used(); used != 0 {
		t.Errorf("the runs are over, and %d bytes are still counted", used)
	}
}

type fuzzer struct {
	t        *testing.T
	next     atomic.Uint64
	end      time.Time
	inFlight *os.File
	servers  *process

	took        time.Duration
	peak        int64 // the largest resident memory of this process in bytes
	serversPeak int64 // that of the servers
	held        int64 // the most that all runs together held of what they read, of 50 looks a second

	mu      sync.Mutex
	count   int
	altered int
	passed  int
	known   int // dialogues with findings that are known
	parts   map[string]int
	reasons map[result.Reason]int
	found   map[string]*finding
}

// finding is a promise that was broken, in one way by one protocol.
type finding struct {
	times int
	first string
}

func (f *fuzzer) run(b *bed) {
	for {
		seed := f.next.Add(1) - 1
		if *dialogues > 0 && seed >= *firstSeed+*dialogues || !f.end.IsZero() && time.Now().After(f.end) {
			return
		}
		if f.inFlight != nil {
			_, _ = fmt.Fprintf(&at{f.inFlight, int64(24 * b.number)}, "%-23d\n", seed)
		}
		if err := f.one(b, seed); err != nil {
			f.t.Errorf("seed %d: the servers: %v", seed, err)
			return
		}
	}
}

// at writes at a place of a file.
type at struct {
	file   *os.File
	offset int64
}

func (a *at) Write(p []byte) (int, error) { return a.file.WriteAt(p, a.offset) }

// choose returns what a seed stands for.
func choose(seed uint64) (p *part, scenario int, wire bool) {
	random := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // a seed must repeat
	total := 0
	for i := range parts {
		if *onlyPart == "" || parts[i].name == *onlyPart {
			total += parts[i].weight
		}
	}
	n := random.IntN(total)
	for i := range parts {
		if *onlyPart != "" && parts[i].name != *onlyPart {
			continue
		}
		if n -= parts[i].weight; n < 0 {
			p = &parts[i]
			break
		}
	}
	return p, random.IntN(len(p.scenarios)), p.tls && random.IntN(8) == 0 || p.name == "tls"
}

// one holds one dialogue. The error is one of the servers.
func (f *fuzzer) one(b *bed, seed uint64) error {
	p, scenario, wire := choose(seed)
	name := fmt.Sprintf("%s %d", p.name, scenario)
	plan := b.plans[name]
	altered := seed%everyControl != 0
	beginning := Beginning{Bed: b.number, Part: p.name, Seed: mutation.Control, Wire: wire}
	plan.Timeout = controlTimeout
	if altered {
		beginning.Seed, plan.Timeout = seed, alteredTimeout
	}
	if err := f.servers.begin(beginning); err != nil {
		return err
	}
	start := time.Now()
	res := b.runner.Run(context.Background(), plan, agent.Occasion{})
	took := time.Since(start)
	proof := ""
	if altered && res != nil && scenario < len(p.proofs) && !wire {
		proof = strings.ReplaceAll(p.proofs[scenario], "RUN", res.Run)
	}
	did, err := f.servers.end(Ending{Bed: b.number, Proof: proof})
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count++
	f.parts[p.name]++
	if did.Changed {
		f.altered++
	}
	if res != nil && res.Status == result.Passed {
		f.passed++
	}
	broken := judge(p, did, proof, res, took, plan.Timeout, altered)
	if len(did.Open) > 0 {
		broken = append(broken, "a connection was left open: "+strings.Join(did.Open, ", "))
	}
	res = cmp.Or(res, &result.Result{})
	f.reasons[res.Reason]++
	if left := slices.DeleteFunc(slices.Clone(broken), func(said string) bool { return p.isKnown(said, res) }); len(left) < len(broken) {
		f.known++
		broken = left
	}
	for _, broken := range broken {
		f.note(name, broken, did, res, seed)
	}
	if *everySeed {
		f.t.Logf("%s, wire %t, %s\n    %s %s %s %s %s", name, wire, did.Said, took.Round(time.Millisecond), res.Status, cmp.Or(string(res.Reason), "-"), res.Blame, res.Error)
	}
	return nil
}

func (f *fuzzer) note(name, broken string, did Ended, res *result.Result, seed uint64) {
	kind, _, _ := strings.Cut(name, " ")
	kind += ": " + libraries.FindString(broken) + " "
	if !strings.HasPrefix(broken, "the words of a library") {
		kind += variable.ReplaceAllString(broken, "…")
	}
	if f.found[kind] == nil {
		f.found[kind] = &finding{first: fmt.Sprintf("seed %d, %s: %s\n    %s\n    %s %s %s: %.600s", seed, name, broken, did.Said, res.Status, res.Reason, res.Blame, res.Error)}
		f.t.Log("found: " + f.found[kind].first) // now, in case the process dies
	}
	f.found[kind].times++
}

var variable = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|[0-9.]+`)

// reasons that no server can cause, and blames that no server earns.
var (
	ours     = []result.Reason{result.ReasonConfig, result.ReasonScenario, result.ReasonPanic, result.ReasonAbandoned, result.ReasonBrowser, result.ReasonCanceled, result.ReasonInternal}
	notTheir = []result.Blame{result.BlameMonitor, result.BlameScenario, ""}
)

// libraries are the words of libraries, which say nothing to an operator.
var libraries = regexp.MustCompile(`\bEOF\b|invalid character '|looking for beginning of|i/o timeout|use of closed|read tcp|write tcp|read udp|connection reset by peer|broken pipe|context deadline|context canceled|` +
	`\bstrconv\.|(?:^|: )(?:json|xml|mime|dns|ssh|gzip|flate|zlib|tls|x509|asn1|idna|http|url|smtp|gob|amqp|proto|sql|http2|multipart): |XML syntax error|\bnet/http|malformed HTTP|malformed MIME|http2\.|connection error: |stream error: |\bbufio[:.]|runtime error|goroutine|nil pointer|out of range|slice bounds|` +
	`pgconn|pgproto|illegal base64|encoding/|textproto|parsing time|%!\w\(|<nil>|unmarshal|\bunpack|\bmysql\.|malformed packet|busy buffer|commands out of sync|driver: |` +
	`Exception \(\d|short read|token too long|overflow(?:s|ing) |unsupported protocol scheme|invalid URL|missing port|\bparse "|malformed chunked|invalid byte in chunk|max packet length|packet too (?:large|small)|disallowed rune|EOF in CDATA|CharsetReader`)

// judge returns the promises that a run broke.
func judge(p *part, did Ended, proof string, res *result.Result, took, timeout time.Duration, altered bool) (broken []string) {
	say := func(format string, args ...any) { broken = append(broken, fmt.Sprintf(format, args...)) }
	if res == nil {
		return []string{"no result"}
	}
	text := res.Error + "\n" + res.Cleanup
	for _, s := range res.Steps {
		if s.Note != "" {
			text += "\n" + s.Note
		}
	}
	if found := libraries.FindStringIndex(strings.ReplaceAll(text, "tls: true", "tls= true")); found != nil {
		at := found[0]
		say("the words of a library: %s", "…"+text[max(0, at-40):min(len(text), at+60)])
	}
	if strings.Contains(res.Cleanup, "did not end") || strings.Contains(res.Cleanup, "panicked") {
		say("the clean-up: %s", res.Cleanup)
	}
	// The runner's own times come in addition: they end what ignores its context.
	if most := timeout + 2*grace + cleanupTimeout; took > most {
		say("it took longer than %s", most)
	}
	if !altered {
		if res.Status != result.Passed {
			say("not altered, but %s: %s", res.Status, res.Error)
		}
		return broken
	}
	switch res.Status {
	case result.Passed:
		if proof != "" && !did.Sent {
			say("it passed, but %q was not sent", proof)
		}
	case result.Failed:
		if p.unknown && (res.Blame == result.BlameMonitor || res.Blame == "") && (res.Reason == result.ReasonConfig || res.Reason == result.ReasonUnexpected) {
			break
		}
		if slices.Contains(ours, res.Reason) || res.Reason == "" {
			say("reason %s", res.Reason)
		}
		if slices.Contains(notTheir, res.Blame) {
			say("blame %s", res.Blame)
		} else if !slices.Contains([]result.Blame{result.BlameDNS, result.BlameNetwork, result.BlameTarget}, res.Blame) && !slices.Contains(p.blames, res.Blame) {
			say("the blame %s is of another part", res.Blame)
		}
		if strings.ContainsAny(res.Error, "\n\r\x00\x1b") {
			say("the text has more than one line")
		}
		if len(res.Error) > 4000 {
			say("the text has %d bytes", len(res.Error))
		}
	default:
		say("status %s", res.Status)
	}
	return broken
}

// watchMemory keeps the most that the runs hold, until ctx ends.
func (f *fuzzer) watchMemory(ctx context.Context, memory *limit.Pool) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		f.held = max(f.held, memory.Used())
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(files)
}

func (f *fuzzer) report() {
	var text strings.Builder
	fmt.Fprintf(&text, "%d dialogues in %s (%.0f a second), seeds %d to %d, %d at a time, %d altered, %d passed, %d known findings, %s %s\n", f.count, f.took.Round(time.Second), float64(f.count)/f.took.Seconds(),
		*firstSeed, *firstSeed+uint64(f.count)-1, *parallel, f.altered, f.passed, f.known, runtime.Version(), map[bool]string{true: "with the race detector"}[racing]) //nolint:gosec // not negative
	fmt.Fprintf(&text, "peak memory %d MB of the process of the runs, which held at most %d MB of what they read, and %d MB of that of the servers\n", f.peak>>20, f.held>>20, f.serversPeak>>20)
	for _, name := range slices.Sorted(maps.Keys(f.parts)) {
		fmt.Fprintf(&text, "%s %d  ", name, f.parts[name])
	}
	text.WriteString("\n")
	for _, reason := range slices.Sorted(maps.Keys(f.reasons)) {
		fmt.Fprintf(&text, "%s %d  ", cmp.Or(string(reason), "passed"), f.reasons[reason])
	}
	f.t.Log(text.String())
	if f.altered == 0 {
		f.t.Error("no dialogue was altered")
	}
	for _, kind := range slices.Sorted(maps.Keys(f.found)) {
		f.t.Errorf("%d times: %s", f.found[kind].times, f.found[kind].first)
	}
	if f.peak > memoryLimit && !racing {
		f.t.Errorf("the process of the runs took %d MB, wanted at most %d", f.peak>>20, memoryLimit>>20)
	}
}

// TestParts holds every dialogue without a change: each passes.
func TestParts(t *testing.T) {
	servers := startServers(t, t.TempDir(), 1)
	defer func() {
		if err := servers.stop(); err != nil {
			t.Error("the servers: ", err)
		}
	}()
	beds, _ := newBeds(t, servers)
	b := beds[0]
	for _, p := range parts {
		for i := range p.scenarios {
			name := fmt.Sprintf("%s %d", p.name, i)
			if err := servers.begin(Beginning{Part: p.name, Seed: mutation.Control}); err != nil {
				t.Fatal(err)
			}
			plan := b.plans[name]
			plan.Timeout = controlTimeout
			res := b.runner.Run(t.Context(), plan, agent.Occasion{})
			did, err := servers.end(Ending{})
			if err != nil {
				t.Fatal(err)
			}
			if res.Status != result.Passed || res.Cleanup != "" {
				t.Errorf("%s: %s %s %s\n%q", name, res.Status, res.Error, res.Cleanup, did.Faults)
			}
		}
	}
}
