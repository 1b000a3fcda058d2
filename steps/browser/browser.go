// Package browser drives a real Chromium: one process for all scenarios, kept warm and supervised, and for each
// scenario a tab in its own context, with separate cookies, cache and connections.
//
// It does not know sentences and judges nothing. A Tab returns its document as a tree of golang.org/x/net/html,
// annotated with visibility, so that the same search finds the same link with and without a browser. Actions are those
// of a person: the mouse is moved to the element and pressed there, and an element that covers it gets the click.
//
// A browser is a part of the monitor. When it dies, hangs or cannot be started, the error is a *Broken, which must
// never be treated as a fault of the website.
package browser

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"reflect"
	"sync"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/stepwatch/stepwatch/steps/address"
)

// Options set which browser to use and when to replace it. The zero value is usable.
type Options struct {
	Path   string // of the program; empty: the first one that Find returns
	Remote string // address of a running browser, as served by its --remote-debugging-port: "http://127.0.0.1:9222"
	Dir    string // parent directory of profiles; each process creates its own directory in it and removes it

	Roots    [][]byte          // certificate authorities in PEM to trust in addition to those of the machine
	MapHosts map[string]string // "host:port" to the "host:port" to connect to
	Proxy    string            // "http://proxy.example.org:3128"; empty: none

	Tabs   int           // open at once; 0 means defaultTabs
	Runs   int           // tabs after which the process is replaced; 0 means defaultRuns
	Memory int64         // limit for all its processes in bytes; a larger process is replaced. 0 means defaultMemory
	Start  time.Duration // how long starting may take; 0 means defaultStart
}

// The defaults of Options.
const (
	defaultTabs   = 1
	defaultRuns   = 500
	defaultMemory = 2 << 30
	defaultStart  = 20 * time.Second
)

// Browser is a supervised Chromium. It starts when the first tab is opened, and again whenever it has ended or reached
// a limit. It is safe for concurrent use. Close ends it.
type Browser struct {
	options Options
	slots   chan struct{}

	running sync.Map // every *process that may have leftovers

	mu       sync.Mutex
	proc     *process
	starting *startup // nil when none is in progress
	closed   bool
	opened   int // tabs in all, for tests and statistics
	starts   int
}

// Proxied reports whether pages are loaded through a proxy, so that the remote address that a tab reports is the
// proxy's. A remote browser may have a proxy unknown to us.
func (b *Browser) Proxied() bool { return b.options.Proxy != "" || b.options.Remote != "" }

// Through reports whether pages are loaded through this proxy, if we start the browser.
func (b *Browser) Through(proxy *address.URL) bool {
	if proxy == nil || b.options.Remote != "" {
		return false
	}
	own, err := address.Parse(b.options.Proxy)
	return err == nil && own.Origin() == proxy.Origin()
}

// New creates a Browser and starts nothing.
func New(options Options) *Browser {
	if options.Tabs <= 0 {
		options.Tabs = defaultTabs
	}
	if options.Runs <= 0 {
		options.Runs = defaultRuns
	}
	if options.Memory <= 0 {
		options.Memory = defaultMemory
	}
	if options.Start <= 0 {
		options.Start = defaultStart
	}
	return &Browser{options: options, slots: make(chan struct{}, options.Tabs+spareTabs)}
}

// spareTabs is how many slots there are in addition to Options.Tabs. The agent gives them to scenarios whose last run got no
// answer in time, so that these do not keep the others from the browser. A page that hangs uses hardly any of the machine.
const spareTabs = 1

// Tabs returns how many scenarios may use the browser at once, without spareTabs.
func (b *Browser) Tabs() int { return b.options.Tabs }

// Broken is a fault of the browser or of its machine. It says nothing about the website.
type Broken struct {
	act string
	err error
}

func (b *Broken) Error() string { return b.act + ": " + b.err.Error() }

// Unwrap returns the cause.
func (b *Broken) Unwrap() error { return b.err }

// ErrNotInstalled is the cause when this machine has no browser.
var ErrNotInstalled = errors.New("no Chromium on this machine: install one (on Debian: apt install chromium-headless-shell), or set browser.path or browser.remote in stepwatch.yml")

// errClosed is the cause after Close was called.
var errClosed = errors.New("stepwatch is shutting down")

// programs are possible paths of a browser, the cheapest one first. Debian's commands for headless-shell and chromium
// are shell scripts around the programs named here.
var programs = []string{
	"/usr/lib/chromium/chromium-headless-shell", "chromium-headless-shell", "headless-shell", "chrome-headless-shell",
	"/usr/lib/chromium/chromium", "chromium", "chromium-browser", "google-chrome-stable", "google-chrome",
	"/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
}

// Find returns the path of the browser that New would start, or ErrNotInstalled.
func Find() (string, error) {
	for _, program := range programs {
		if path, err := exec.LookPath(program); err == nil {
			return path, nil
		}
	}
	return "", ErrNotInstalled
}

// Like reports whether both have the same options, so that one can take the place of the other.
func (b *Browser) Like(other *Browser) bool { return reflect.DeepEqual(b.options, other.options) }

// Local reports whether the browser is started here.
func (b *Browser) Local() bool { return b.options.Remote == "" }

// Problems returns the errors known before the browser is needed: none is installed, or settings that have no effect on
// a remote browser.
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
				problems = append(problems, fmt.Errorf("%s has no effect on the browser at %s (browser.remote): start that browser with this setting, or remove browser.remote to let stepwatch start one", s.name, o.Remote))
			}
		}
	}
	return problems
}

// locate returns the path of the program to start, or an error that says what to do.
func (o *Options) locate() (string, error) {
	if o.Path == "" {
		return Find()
	}
	path, err := exec.LookPath(o.Path)
	if err != nil {
		return "", fmt.Errorf("browser.path in stepwatch.yml: %w", err)
	}
	return filepath.Abs(path) // it is started in another directory
}

// Acquire waits for one of the slots of Options.Tabs and spareTabs, so that scenarios do not slow each other down. It returns a
// function that releases the slot. The wait does not count as time of a step.
func (b *Browser) Acquire(ctx context.Context) (release func(), err error) {
	select {
	case b.slots <- struct{}{}:
		return sync.OnceFunc(func() { <-b.slots }), nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// openLimit is how long a browser that has opened tabs before may take to open another one, which normally takes 50 ms.
// After that it is replaced: a stopped browser, or one without its zygote, never responds. A new browser has
// Options.Start, for the machine may be slow.
const openLimit = 5 * time.Second

// Open opens a tab in its own context and starts the browser if necessary. A browser that turns out to be dead is
// replaced once before Open returns an error. The tab lives until its Close.
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

// use returns the process for a new tab and counts the tab. isNew reports whether the tab is the first of the process.
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
			return nil, false, &Broken{"start the browser", fmt.Errorf("it was not ready after %s: %w", time.Since(s.begun).Round(time.Millisecond), context.Cause(ctx))}
		}
	}
}

// take returns the process, with the tab counted, or the startup to wait for.
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
			p.retired = true // its last tab stops it
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

// startup is a start of the browser in progress. No scenario owns it: when the time of one ends, it is left to the
// next.
type startup struct {
	begun  time.Time
	cancel context.CancelCauseFunc
	done   chan struct{} // closed at the end; then proc or err is set
	proc   *process
	err    error
}

// begin starts the browser, after the used one has stopped. b.mu is held.
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

// forget makes the next tab open in another process.
func (b *Browser) forget(p *process) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.proc == p {
		b.proc = nil
	}
}

// Close ends the browser with all its tabs and waits until all its processes and files are gone.
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

// Stats are statistics of a Browser.
type Stats struct {
	Starts int   // of the process
	Opened int   // tabs
	Memory int64 // bytes of all its processes, shared pages counted once; 0 when none runs, it is remote or the system does not report it
	PID    int   // of the process, 0 when none runs or it is remote
}

// Stats returns the statistics.
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

// quiet drops the log of chromedp: each fault is also returned as an error.
func quiet(string, ...any) {}

var quietly = []chromedp.BrowserOption{chromedp.WithBrowserLogf(quiet), chromedp.WithBrowserErrorf(quiet), chromedp.WithBrowserDebugf(nil)}
