//go:build linux

package agent

import (
	"fmt"
	"github.com/stepwatch/stepwatch/steps/builtin"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/browser"
	"github.com/stepwatch/stepwatch/steps/httpwire"
)

// signalKind sends a signal to the browser's processes of one kind: "renderer", "gpu-process", "utility", or "" for the
// browser itself.
func signalKind(b *browser.Browser, kind string, signal syscall.Signal) {
	pid := b.Stats().PID
	if pid == 0 {
		return
	}
	if kind == "" {
		_ = syscall.Kill(pid, signal)
		return
	}
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range all {
		child, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			continue
		}
		if group, err := syscall.Getpgid(child); err != nil || group != pid {
			continue
		}
		if command, err := os.ReadFile(path); err == nil && strings.Contains(string(command), "--type="+kind) {
			_ = syscall.Kill(child, signal)
		}
	}
}

// TestBrowserFaults breaks the browser, or has it visit a page that would: each run has one clear result within its
// deadline, what the browser broke is never blamed on the website, and the next run passes.
func TestBrowserFaults(t *testing.T) {
	if _, err := browser.Find(); err != nil {
		t.Skip(err)
	}
	before := goleak.IgnoreCurrent()
	defer goleak.VerifyNone(t, before)
	const memory = 300 << 20
	b := browser.New(browser.Options{Dir: t.TempDir(), Memory: memory})
	defer b.Close()
	stop := make(chan struct{})
	var hit func() // what happens while /hit is asked for
	pages := map[string]string{
		"/":       "<p>Welcome</p><a href=/contact>Contact</a>",
		"/busy":   "<p>Welcome<script>for(;;);</script>",
		"/image":  "<p>Welcome<img src=/hang.png>",
		"/later":  "<p>Welcome<script>fetch('/hit')</script>",
		"/alert":  "<p>Welcome<script>setTimeout(() => alert(1), 50)</script>",
		"/unload": "<p>Welcome</p><a href=/>Contact</a><script>addEventListener('beforeunload', e => { e.preventDefault(); e.returnValue = 1 })</script>",
		"/memory": "<p>Welcome<script>const kept = []; setInterval(() => kept.push(new Uint8Array(40 << 20).fill(kept.length + 1)), 40)</script>",
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		switch {
		case strings.HasPrefix(r.URL.Path, "/hang"):
			select {
			case <-stop:
			case <-r.Context().Done():
			}
		case r.URL.Path == "/hit":
			hit()
			time.Sleep(50 * time.Millisecond) // the page comes after it
			fmt.Fprint(w, "<p>Welcome")
		default:
			fmt.Fprint(w, pages[r.URL.Path])
		}
	}))
	defer server.Close()
	defer close(stop)
	r := &Runner{Target: new(steps.Target).Set(b).Set(httpwire.Web{Patience: 5 * time.Second})}
	visit := func(path string, timeout time.Duration, more ...string) *result.Result {
		s := scenario("Visit", append([]string{`I go to "` + server.URL + path + `"`}, more...)...)
		s.Policy.Browser, s.Policy.Timeout = true, timeout
		return run(t, r, s, builtin.Library())
	}
	see := `I should see "Welcome"`
	kill := func(kind string, signal syscall.Signal) func() {
		return func() { signalKind(b, kind, signal) }
	}
	for _, test := range []struct {
		name    string
		path    string
		hit     func()
		timeout time.Duration // zero: a minute
		more    []string
		state   result.State
		reason  result.Reason
		message string // the end of it
	}{
		{name: "browser killed", path: "/hit", hit: kill("", syscall.SIGKILL), state: result.Unknown, reason: result.ReasonBrowser, message: "use the browser: the browser ended"},
		{name: "renderer killed", path: "/hit", hit: kill("renderer", syscall.SIGKILL), state: result.Unknown, reason: result.ReasonBrowser, message: "use the browser: the page crashed"},
		{name: "renderer killed later", path: "/later", hit: kill("renderer", syscall.SIGKILL), more: []string{`I should see "never"`},
			state: result.Unknown, reason: result.ReasonBrowser, message: "use the browser: the page crashed"},
		{name: "GPU process killed", path: "/hit", hit: kill("gpu-process", syscall.SIGKILL), state: result.OK},
		{name: "network service killed", path: "/hit", hit: kill("utility", syscall.SIGKILL), state: result.Unknown, reason: result.ReasonBrowser, message: "the browser aborted the request by itself (net::ERR_ABORTED)"},
		{name: "browser stopped", path: "/hit", hit: kill("", syscall.SIGSTOP), timeout: 4 * time.Second, state: result.Unknown, reason: result.ReasonBrowser, message: "use the browser: the browser hangs"},
		{name: "busy script", path: "/busy", timeout: 4 * time.Second, state: result.Critical, reason: result.ReasonTimeout, message: "a script keeps the page busy, or the server does not finish sending it"},
		{name: "no answer", path: "/hang", timeout: 4 * time.Second, state: result.Critical, reason: result.ReasonTimeout, message: "no page was received before the deadline"},
		{name: "no image", path: "/image", timeout: 4 * time.Second, state: result.Critical, reason: result.ReasonTimeout, message: "it still waits for " + server.URL + "/hang.png"},
		{name: "alert", path: "/alert", more: []string{see}, state: result.OK},
		{name: "beforeunload", path: "/unload", more: []string{`I follow "Contact"`, see}, state: result.OK},
		{name: "memory", path: "/memory", more: []string{`I should see "never"`}, state: result.Unknown, reason: result.ReasonBrowser,
			message: "the browser took more than 600 MB, twice browser.memory in stepwatch.yml"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if hit = test.hit; hit == nil {
				hit = func() {}
			}
			if test.timeout == 0 {
				test.timeout = time.Minute
			}
			start := time.Now()
			res := visit(test.path, test.timeout, test.more...)
			if res.State() != test.state || res.Reason != test.reason || !strings.HasSuffix(res.Error, test.message) {
				t.Errorf("got %s, want %s %s …%s", outline(res), test.state, test.reason, test.message)
			}
			// A broken browser is given a second run.
			if took := time.Since(start); took > 2*test.timeout+10*time.Second {
				t.Errorf("took %s", took)
			}
			hit = func() {}
			if res := visit("/", time.Minute, `I follow "Contact"`); res.State() != result.OK {
				t.Errorf("the next run: %s", outline(res))
			}
		})
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

// TestBrowserReplaced holds that a browser which took too much is replaced between runs.
func TestBrowserReplaced(t *testing.T) {
	if _, err := browser.Find(); err != nil {
		t.Skip(err)
	}
	before := goleak.IgnoreCurrent()
	defer goleak.VerifyNone(t, before)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<p>Welcome") }))
	defer server.Close()
	s := scenario("Home", `I go to "`+server.URL+`/"`)
	s.Policy.Browser, s.Policy.Timeout = true, time.Minute
	visits := func(memory int64) browser.Stats {
		b := browser.New(browser.Options{Dir: t.TempDir(), Memory: memory})
		defer b.Close()
		r := &Runner{Target: new(steps.Target).Set(b)}
		for range 11 { // it is looked at after ten
			if res := run(t, r, s, builtin.Library()); res.State() != result.OK {
				t.Error(outline(res))
			}
		}
		return b.Stats()
	}
	enough := visits(0)
	if little := visits(1 << 20); enough.Starts != 1 || little.Starts != 2 {
		t.Errorf("with enough memory: %+v; with less: %+v, want it started again once", enough, little)
	}
}
