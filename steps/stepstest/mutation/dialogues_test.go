package mutation_test

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/stepwatch/stepwatch/agent"
	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps/stepstest"
)

var (
	dialogues = flag.Uint64("dialogues", 0, "number of dialogues; 0 means no limit")
	firstSeed = flag.Uint64("seed", 1, "first seed; the others follow")
	limit     = flag.Duration("for", 0, "how long; 0 means no limit; without -dialogues too, 500 dialogues in at most six seconds")
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
	if *dialogues == 0 && *limit == 0 {
		*dialogues, *limit = 500, 6*time.Second
	}
	before := goleak.IgnoreCurrent()
	dir := t.TempDir()
	temporary := filepath.Join(dir, "tmp")
	if err := os.Mkdir(temporary, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", temporary)
	files := openFiles(t)
	f := &fuzzer{t: t, found: make(map[string]*finding), parts: make(map[string]int), reasons: make(map[result.Reason]int)}
	f.next.Store(*firstSeed)
	stop := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() { f.watchMemory(stop) })
	if *inFlight != "" {
		var err error
		if f.inFlight, err = os.Create(*inFlight); err != nil {
			t.Fatal(err)
		}
	}
	var beds []*bed
	for i := range *parallel {
		beds = append(beds, testBed(t, filepath.Join(dir, strconv.Itoa(i))))
	}
	start := time.Now()
	if *limit > 0 {
		f.end = start.Add(*limit)
	}
	var running sync.WaitGroup
	for i, b := range beds {
		running.Go(func() { f.run(i, b) })
	}
	running.Wait()
	took := time.Since(start)
	for _, b := range beds {
		b.close()
		if n := b.runner.Abandoned(); n > 0 {
			t.Errorf("%d steps were abandoned and have not returned", n)
		}
	}
	close(stop)
	watching.Wait()
	f.report(took)
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
}

type fuzzer struct {
	t        *testing.T
	next     atomic.Uint64
	end      time.Time
	inFlight *os.File
	peak     atomic.Int64 // bytes of memory

	mu      sync.Mutex
	count   int
	altered int
	passed  int
	known   int // findings that are known
	parts   map[string]int
	reasons map[result.Reason]int
	found   map[string]*finding
}

// finding is a promise that was broken, in one way by one protocol.
type finding struct {
	times int
	first string
}

func (f *fuzzer) run(i int, b *bed) {
	for {
		seed := f.next.Add(1) - 1
		if *dialogues > 0 && seed >= *firstSeed+*dialogues || !f.end.IsZero() && time.Now().After(f.end) {
			return
		}
		if f.inFlight != nil {
			_, _ = fmt.Fprintf(&at{f.inFlight, int64(24 * i)}, "%-23d\n", seed)
		}
		f.one(b, seed)
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

// one holds one dialogue.
func (f *fuzzer) one(b *bed, seed uint64) {
	p, scenario, wire := choose(seed)
	name := fmt.Sprintf("%s %d", p.name, scenario)
	plan := b.plans[name]
	altered := seed%everyControl != 0
	d := newDialogue(p.name, 0, wire)
	plan.Timeout = controlTimeout
	if altered {
		d = newDialogue(p.name, seed, wire)
		plan.Timeout = alteredTimeout
	}
	b.current.Store(d)
	if p.before != nil {
		if err := p.before(b, d); err != nil {
			f.t.Error(err)
		}
	}
	start := time.Now()
	res := b.runner.Run(context.Background(), plan, agent.Occasion{})
	took := time.Since(start)
	d.End()
	open := awaitEnd(d)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count++
	f.parts[p.name]++
	if d.Changed() {
		f.altered++
	}
	if res.Status == result.Passed {
		f.passed++
	}
	f.reasons[res.Reason]++
	for _, broken := range judge(p, scenario, d, res, took, plan.Timeout, altered) {
		if _, known := p.known[broken]; known {
			f.known++
			continue
		}
		f.note(name, broken, d, res, seed)
	}
	if len(open) > 0 {
		f.note(name, "a connection was left open: "+strings.Join(open, ", "), d, res, seed)
	}
	if *everySeed {
		f.t.Logf("%s, wire %t, %s\n    %s %s %s %s %s", name, wire, d, took.Round(time.Millisecond), res.Status, cmp.Or(string(res.Reason), "-"), res.Blame, res.Error)
	}
}

// awaitEnd waits until the client has closed all connections, and returns those that it has not.
func awaitEnd(d *dialogue) (open []string) {
	deadline := time.Now().Add(5 * time.Second * slower)
	for wait := 100 * time.Microsecond; time.Now().Before(deadline); wait = min(2*wait, 10*time.Millisecond) {
		if open = d.leftOpen(); len(open) == 0 {
			return nil
		}
		time.Sleep(wait)
	}
	return open
}

func (f *fuzzer) note(name, broken string, d *dialogue, res *result.Result, seed uint64) {
	kind, _, _ := strings.Cut(name, " ")
	kind += ": " + libraries.FindString(broken) + " "
	if !strings.HasPrefix(broken, "the words of a library") {
		kind += variable.ReplaceAllString(broken, "…")
	}
	if f.found[kind] == nil {
		f.found[kind] = &finding{first: fmt.Sprintf("seed %d, %s: %s\n    %s\n    %s %s %s: %.600s", seed, name, broken, d, res.Status, res.Reason, res.Blame, res.Error)}
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
	`\bstrconv\.|(?:^|: )(?:json|xml|mime|dns|ssh|gzip|flate|zlib|tls|x509|asn1|amqp|proto|sql|http2|multipart): |XML syntax error|\bnet/http|malformed HTTP|malformed MIME|http2\.|connection error: |stream error: |\bbufio[:.]|runtime error|goroutine|nil pointer|out of range|slice bounds|` +
	`pgconn|pgproto|illegal base64|encoding/|textproto|parsing time|%!\w\(|<nil>|unmarshal|\bunpack|\bmysql\.|malformed packet|busy buffer|commands out of sync|driver: |` +
	`Exception \(\d|short read|token too long|overflow(?:s|ing) |unsupported protocol scheme|invalid URL|missing port`)

// judge returns the promises that a run broke.
func judge(p *part, scenario int, d *dialogue, res *result.Result, took, timeout time.Duration, altered bool) (broken []string) {
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
		if scenario < len(p.proofs) && p.proofs[scenario] != "" && !d.wire {
			if proof := strings.ReplaceAll(p.proofs[scenario], "RUN", res.Run); !d.Sent(proof) {
				say("it passed, but %q was not sent", proof)
			}
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

// watchMemory keeps the largest resident memory.
func (f *fuzzer) watchMemory(stop <-chan struct{}) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if now := resident(); now > f.peak.Load() {
			f.peak.Store(now)
		}
		select {
		case <-tick.C:
		case <-stop:
			return
		}
	}
}

// resident returns the resident memory of this process in bytes, or 0 where that is not known.
func resident() int64 {
	content, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(content))
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize())
}

func openFiles(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(files)
}

func (f *fuzzer) report(took time.Duration) {
	var text strings.Builder
	fmt.Fprintf(&text, "%d dialogues in %s (%.0f a second), seeds %d to %d, %d altered, %d passed, %d known findings, peak memory %d MB, %s %s\n", f.count, took.Round(time.Second), float64(f.count)/took.Seconds(),
		*firstSeed, *firstSeed+uint64(f.count)-1, f.altered, f.passed, f.known, f.peak.Load()>>20, runtime.Version(), map[bool]string{true: "with the race detector"}[racing]) //nolint:gosec // not negative
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
	if peak := f.peak.Load(); peak > memoryLimit && !racing {
		f.t.Errorf("the process took %d MB, wanted at most %d", peak>>20, memoryLimit>>20)
	}
}

// TestParts holds every dialogue without a change: each passes.
func TestParts(t *testing.T) {
	b := testBed(t, t.TempDir())
	defer b.close()
	for _, p := range parts {
		for i := range p.scenarios {
			name := fmt.Sprintf("%s %d", p.name, i)
			d := newDialogue(p.name, 0, false)
			b.current.Store(d)
			if p.before != nil {
				if err := p.before(b, d); err != nil {
					t.Fatal(err)
				}
			}
			plan := b.plans[name]
			plan.Timeout = controlTimeout
			res := b.runner.Run(t.Context(), plan, agent.Occasion{})
			d.End()
			if res.Status != result.Passed || res.Cleanup != "" {
				t.Errorf("%s: %s %s %s\n%q", name, res.Status, res.Error, res.Cleanup, d.faults)
			}
		}
	}
}

var authority = sync.OnceValues(func() (*stepstest.CA, error) { return stepstest.NewCA("Mutation CA") })

func testBed(t testing.TB, dir string) *bed {
	t.Helper()
	ca, err := authority()
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := ca.Issue("*.demo.test", "demo.test", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	return newBed(t, dir, ca, certificate)
}
