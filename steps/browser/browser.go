// Package browser drives a real Chromium: one process for all scenarios, kept warm and supervised, and for each scenario a
// tab in a context of its own, with its own cookies, cache and connections.
//
// It knows no sentence and judges nothing. A Tab gives its document as a tree of golang.org/x/net/html, annotated with what
// is shown, so that the same search finds the same link with and without a browser. Actions are those of a person: the
// mouse is moved and pressed where the element is, and what lies over it takes the click.
//
// A browser is a part of the monitor. When it dies, hangs or cannot be started, the error is a *Broken, which must never be
// taken for a fault of the website.
package browser

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os/exec"
	"sync"
	"time"

	"github.com/chromedp/chromedp"
)

// Options say which browser to use and when to replace it. The zero value is usable.
type Options struct {
	Path   string // of the program; empty: the first that Find finds
	Remote string // address of a browser that already runs, as its --remote-debugging-port serves it: "http://127.0.0.1:9222"
	Dir    string // where its profile lives; each process takes a directory of its own in it and removes it

	Roots    [][]byte          // certificate authorities in PEM to trust besides the machine's own
	MapHosts map[string]string // "host:port" to "host:port", where connections really go
	Proxy    string            // "http://proxy.example.org:3128"; empty: none

	Tabs   int           // open at once; 0 means DefaultTabs
	Runs   int           // tabs after which the process is replaced; 0 means DefaultRuns
	Memory int64         // bytes that all its processes may hold; above it the process is replaced. 0 means DefaultMemory
	Start  time.Duration // how long starting may take; 0 means DefaultStart
}

// The defaults of Options.
const (
	DefaultTabs   = 1
	DefaultRuns   = 500
	DefaultMemory = 2 << 30
	DefaultStart  = 20 * time.Second
)

// Browser is a supervised Chromium. It starts when the first tab is opened, and again whenever it is gone or used up. Any
// number of goroutines may use it. Close ends it.
type Browser struct {
	options Options
	slots   chan struct{}

	running sync.Map // every *process of which something may be left

	mu       sync.Mutex
	proc     *process
	starting *startup // nil when none is under way
	closed   bool
	opened   int // tabs in all, for tests and figures
	starts   int
}

// Proxied says whether pages come through a proxy, so that the address that a tab tells is the proxy's. A remote browser may
// have one that nobody told us of.
func (b *Browser) Proxied() bool { return b.options.Proxy != "" || b.options.Remote != "" }

// Through says whether pages come through this proxy, as far as we start the browser.
func (b *Browser) Through(proxy *url.URL) bool {
	return proxy != nil && b.options.Remote == "" && b.options.Proxy == proxy.String()
}

// New makes a Browser and starts nothing.
func New(options Options) *Browser {
	if options.Tabs <= 0 {
		options.Tabs = DefaultTabs
	}
	if options.Runs <= 0 {
		options.Runs = DefaultRuns
	}
	if options.Memory <= 0 {
		options.Memory = DefaultMemory
	}
	if options.Start <= 0 {
		options.Start = DefaultStart
	}
	return &Browser{options: options, slots: make(chan struct{}, options.Tabs)}
}

// Broken is a fault of the browser or of the machine that it runs on. It says nothing about the website.
type Broken struct {
	act string
	err error
}

func (b *Broken) Error() string { return b.act + ": " + b.err.Error() }

// Unwrap gives the cause.
func (b *Broken) Unwrap() error { return b.err }

// ErrNotInstalled is the cause when there is no browser on this machine.
var ErrNotInstalled = errors.New("no Chromium on this machine: install one (on Debian: apt install chromium-headless-shell), or set browser.path or browser.remote in stepwatch.yml")

// errClosed is the cause once Close was called.
var errClosed = errors.New("stepwatch is ending")

// programs are where a browser may be, the one that costs least first. Debian's commands for headless-shell and chromium are
// shell scripts around the programs named here.
var programs = []string{
	"/usr/lib/chromium/chromium-headless-shell", "chromium-headless-shell", "headless-shell", "chrome-headless-shell",
	"/usr/lib/chromium/chromium", "chromium", "chromium-browser", "google-chrome-stable", "google-chrome",
	"/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
}

// Find gives the path of the browser that New would start, or ErrNotInstalled.
func Find() (string, error) {
	for _, program := range programs {
		if path, err := exec.LookPath(program); err == nil {
			return path, nil
		}
	}
	return "", ErrNotInstalled
}

// Local says whether the browser is one that is started here.
func (b *Browser) Local() bool { return b.options.Remote == "" }

// Problems gives what can be known to be wrong before the browser is needed: that none is installed, and the settings that
// cannot be given to one which runs elsewhere.
func (b *Browser) Problems() []error {
	var problems []error
	switch o := b.options; {
	case o.Remote == "":
		if _, err := o.locate(); err != nil {
			problems = append(problems, err)
		}
	default:
		for _, s := range []struct {
			set  bool
			name string
		}{{len(o.Roots) > 0, "tls.ca"}, {len(o.MapHosts) > 0, "connect_to"}, {o.Proxy != "", "browser.proxy"}} {
			if s.set {
				problems = append(problems, fmt.Errorf("%s has no effect on the browser at %s (browser.remote): start that one so, or without browser.remote let stepwatch start one", s.name, o.Remote))
			}
		}
	}
	return problems
}

// locate gives the path of the program to start, or says what to do.
func (o *Options) locate() (string, error) {
	if o.Path == "" {
		return Find()
	}
	path, err := exec.LookPath(o.Path)
	if err != nil {
		return "", fmt.Errorf("browser.path in stepwatch.yml: %w", err)
	}
	return path, nil
}

// Acquire waits for one of the places that Options.Tabs allows, so that scenarios do not slow each other down. It gives a
// function that gives the place back. The wait belongs to no step.
func (b *Browser) Acquire(ctx context.Context) (release func(), err error) {
	select {
	case b.slots <- struct{}{}:
		return sync.OnceFunc(func() { <-b.slots }), nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// openLimit is how long a browser that has opened tabs before may take for another one, which it does in 50 ms, until it is
// replaced: one without its zygote, or that is stopped, never answers. A new one has Options.Start, for the machine may be slow.
const openLimit = 5 * time.Second

// Open opens a tab in a context of its own and starts the browser when that must be. A browser that turns out to be dead is
// replaced once before that is an error. The tab lives until its Close.
func (b *Browser) Open(ctx context.Context) (*Tab, error) {
	for again := false; ; again = true {
		p, isNew, err := b.use(ctx)
		if err != nil {
			return nil, err
		}
		limit := b.options.Start
		if !isNew {
			limit = min(limit, openLimit)
		}
		t, err := p.open(ctx, limit)
		if err == nil {
			return t, nil
		}
		b.release(p)
		if ctx.Err() != nil || again {
			return nil, err
		}
		b.retire(p)
	}
}

// use gives the process that a new tab shall live in and counts the tab. It says whether the tab is the first of the process.
func (b *Browser) use(ctx context.Context) (p *process, isNew bool, err error) {
	for {
		p, isNew, s, err := b.take(ctx)
		if s == nil {
			return p, isNew, err
		}
		select {
		case <-s.done:
			switch {
			case s.err != nil:
				return nil, false, s.err
			case s.proc.gone():
				return nil, false, &Broken{"start the browser", s.proc.why()}
			}
		case <-ctx.Done():
			return nil, false, &Broken{"start the browser", fmt.Errorf("it was not there after %s: %w", time.Since(s.begun).Round(time.Millisecond), context.Cause(ctx))}
		}
	}
}

// take gives the process, with the tab counted, or the startup to wait for.
func (b *Browser) take(ctx context.Context) (p *process, isNew bool, s *startup, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, false, nil, &Broken{"open a tab", errClosed}
	}
	var used *process
	if p := b.proc; p != nil && (p.gone() || p.uses >= b.options.Runs || p.tooLarge) {
		b.proc = nil
		if p.tabs == 0 {
			used = p
		} else {
			p.retired = true // the last of its tabs stops it
		}
	}
	if b.proc == nil {
		if b.starting == nil {
			b.starting = b.begin(ctx, used)
		}
		return nil, false, b.starting, nil
	}
	b.proc.uses++
	b.proc.tabs++
	b.opened++
	return b.proc, b.proc.uses == 1, nil, nil
}

// startup is a start of the browser that is under way. It is nobody's: a scenario whose time is over before leaves it to the next.
type startup struct {
	begun  time.Time
	cancel context.CancelCauseFunc
	done   chan struct{} // closed at its end; then there is proc or err
	proc   *process
	err    error
}

// begin starts the browser, once the used one is stopped. b.mu is held.
func (b *Browser) begin(ctx context.Context, used *process) *startup {
	s := &startup{begun: time.Now(), done: make(chan struct{})}
	ctx, s.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	go func() {
		defer close(s.done)
		defer s.cancel(nil)
		if used != nil {
			used.stop()
		}
		s.proc, s.err = start(ctx, b)
		b.mu.Lock()
		defer b.mu.Unlock()
		b.starting = nil
		if s.err == nil && !b.closed {
			b.proc = s.proc
			b.starts++
		}
	}()
	return s
}

// release is called once for every tab that use counted.
func (b *Browser) release(p *process) {
	b.mu.Lock()
	p.tabs--
	last := p.tabs == 0
	end := last && p.retired
	b.mu.Unlock()
	if end {
		p.stop()
	}
}

// retire takes a process out of use.
func (b *Browser) retire(p *process) {
	b.mu.Lock()
	if b.proc == p {
		b.proc = nil
	}
	p.retired = true
	end := p.tabs == 0
	b.mu.Unlock()
	if end {
		p.stop()
	}
}

// forget has the next tab open in another process.
func (b *Browser) forget(p *process) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.proc == p {
		b.proc = nil
	}
}

// Close ends the browser with all its tabs and waits until nothing of it is left.
func (b *Browser) Close() error {
	b.mu.Lock()
	b.proc, b.closed = nil, true
	s := b.starting
	b.mu.Unlock()
	if s != nil {
		s.cancel(errClosed)
		<-s.done
	}
	b.running.Range(func(p, _ any) bool {
		p.(*process).stop()
		return true
	})
	return nil
}

// Stats are figures about a Browser's work.
type Stats struct {
	Starts int   // of the process
	Opened int   // tabs
	Memory int64 // bytes held by all its processes, shared ones counted once; 0 when none runs, it is remote or the system does not tell
	PID    int   // of the process, 0 when none runs or it is remote
}

// Stats gives the figures.
func (b *Browser) Stats() Stats {
	b.mu.Lock()
	s := Stats{Starts: b.starts, Opened: b.opened}
	if b.proc != nil {
		s.PID = b.proc.pid
	}
	b.mu.Unlock()
	if s.PID != 0 {
		s.Memory = resident(s.PID)
	}
	return s
}

// quiet drops what chromedp logs: each fault also comes back as an error.
func quiet(string, ...any) {}

var quietly = []chromedp.BrowserOption{chromedp.WithBrowserLogf(quiet), chromedp.WithBrowserErrorf(quiet), chromedp.WithBrowserDebugf(nil)}
