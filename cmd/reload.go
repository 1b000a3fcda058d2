package cmd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stepwatch/stepwatch/agent"
	"github.com/stepwatch/stepwatch/agent/api"
	"github.com/stepwatch/stepwatch/agent/config"
	"github.com/stepwatch/stepwatch/agent/vault"
	"github.com/stepwatch/stepwatch/exporters"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/browser"
)

// An agent reads its files again when it gets SIGHUP, when somebody asks with POST /-/reload, and when one of them has changed.
// What it read counts as a whole: with any mistake in it, everything stays as it is. docs/reload.md says what users see.

// reloader reads the files of an agent again. Any number of goroutines may ask for that: one reload follows another, and those
// who ask while one is in progress share the next one.
type reloader struct {
	load  loader
	paths []string // of the command line
	agent *agent.Agent
	log   *slog.Logger
	watch bool // stamps of the files are needed

	// applied are called with each set that the agent has taken, for what is not part of its runs.
	applied []func(*set)

	mu      sync.Mutex
	next    *reloading // that is waiting
	busy    bool       // one is in progress
	stopped bool
	idle    sync.WaitGroup

	browser  *browser.Browser         // of the latest good set
	browsers map[*browser.Browser]int // how many sets may use each

	last atomic.Pointer[api.Reload] // what came of the last one; nil before the first

	// The reload in progress has these:
	begun    *config.Config // at the start
	runner   *agent.Runner  // of the latest good set
	warnings int            // same
	loaded   time.Time      // same

	seen struct {
		sync.Mutex
		files  *watched
		stamps map[string]stamp // of the files as they were read last
	}
}

// reloading is one reload for all who asked for it.
type reloading struct {
	why    []string
	done   chan struct{}
	answer string // what changed
	err    error  // why nothing did
}

// badFiles is why files are not taken: the mistakes in them.
type badFiles struct{ mistakes []error }

func (b *badFiles) Error() string { return errors.Join(b.mistakes...).Error() }

// newReloader returns the reloader of an agent that begins with a set. unread are the files as they were before they were read; nil
// if they are not watched. begun is when reading them began.
func newReloader(l *loader, paths []string, s *set, runner *agent.Runner, a *agent.Agent, log *slog.Logger, unread map[string]stamp, begun time.Time) *reloader {
	r := &reloader{load: *l, paths: paths, agent: a, log: log, watch: unread != nil, runner: runner, begun: s.config, loaded: time.Now()}
	r.browsers = make(map[*browser.Browser]int)
	r.load.before = s.config
	a.Ended = r.use(s.browser())
	r.warnings = s.warned()
	if r.watch {
		w := new(watched)
		w.follow(*l.config, paths, s)
		r.seen.files = w
		stamps, _ := w.look()
		r.seen.stamps = late(stamps, unread, begun)
	}
	return r
}

// warned counts the findings of lint that are no mistakes.
func (s *set) warned() (n int) {
	for _, f := range s.found {
		if f.severity != mistaken {
			n++
		}
	}
	return n
}

// ask asks for a reload, and returns what will have its outcome.
func (r *reloader) ask(why string) *reloading {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next == nil {
		r.next = &reloading{done: make(chan struct{})}
		if r.stopped {
			r.next.err = fmt.Errorf("the agent is stopping: %w", steps.ErrStopped)
			close(r.next.done)
			stopped := r.next
			r.next = nil
			return stopped
		}
		if !r.busy {
			r.busy = true
			r.idle.Go(r.work)
		}
	}
	if !slices.Contains(r.next.why, why) {
		r.next.why = append(r.next.why, why)
	}
	return r.next
}

// work reloads as long as somebody asks for it.
func (r *reloader) work() {
	for {
		r.mu.Lock()
		one := r.next
		r.next = nil
		if one == nil {
			r.busy = false
			r.mu.Unlock()
			return
		}
		r.mu.Unlock()
		slow := time.AfterFunc(slowReload, func() {
			r.log.Warn("a reload has not ended: does a file system not answer? The scenarios go on as they were loaded", "since", slowReload)
		})
		began := time.Now()
		one.answer, one.err = r.reload(strings.Join(one.why, " and "))
		slow.Stop()
		close(one.done)
		time.Sleep(min(time.Since(began), time.Second)) // so that reloads take half of a processor at most, whoever asks
	}
}

// slowReload is when a reload is said to be slow.
const slowReload = 30 * time.Second

// stop ends the reloads. One that waits for a file system that does not answer is left behind after a while.
func (r *reloader) stop() {
	r.mu.Lock()
	r.stopped = true
	r.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		r.idle.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(2 * time.Second):
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for b := range r.browsers {
		_ = b.Close() // what it leaves, the next start removes
	}
}

// reload reads the files and gives them to the agent, or says why not.
func (r *reloader) reload(why string) (answer string, err error) {
	began := time.Now()
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("stepwatch failed to read its files, which is a bug in it (the log has the trace): %v", v)
			r.log.Error("a reload panicked", "trace", string(debug.Stack()))
		}
		r.tell(why, answer, err)
	}()
	s, err := r.read()
	if err != nil {
		return "", err
	}
	answer, err = r.apply(s)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s in %d ms%s", answer, time.Since(began).Milliseconds(), r.also(s)), nil
}

// tell writes the outcome of a reload to the log and notes it for the page of metrics.
func (r *reloader) tell(why, answer string, err error) {
	var bad *badFiles
	var what string
	switch {
	case err == nil:
		r.log.Info("reloaded: "+answer, "because", why)
		r.last.Store(&api.Reload{At: time.Now(), Success: true})
		return
	case errors.As(err, &bad):
		for _, m := range bad.mistakes {
			r.log.Error("a reload is refused because of a mistake", "mistake", printable(m.Error()))
		}
		what = counted(len(bad.mistakes), "mistake")
	case errors.Is(err, steps.ErrStopped):
		return
	default:
		what = printable(err.Error())
	}
	r.agent.Refused()
	mistakes := strings.Split(err.Error(), "\n")
	r.last.Store(&api.Reload{At: time.Now(), Mistakes: mistakes[:min(len(mistakes), mistakesShown)]})
	r.log.Error("nothing was reloaded: the scenarios go on as they were loaded before", "because", why, "loaded", r.loaded.Format(time.RFC3339), "error", what)
}

// mistakesShown is how many mistakes of a refused reload the API lists.
const mistakesShown = 20

// read loads the files. Every mistake in them is an error.
func (r *reloader) read() (s *set, err error) {
	var w *watched
	var unread map[string]stamp
	begun := time.Now()
	if r.watch {
		r.seen.Lock()
		w = r.seen.files.clone()
		r.seen.Unlock()
		w.follow(*r.load.config, r.paths, nil)
		unread, _ = w.look()
		defer func() {
			if err == nil {
				w = new(watched)
				w.follow(*r.load.config, r.paths, s)
			}
			stamps, _ := w.look()
			r.seen.Lock()
			r.seen.files, r.seen.stamps = w, late(stamps, unread, begun)
			r.seen.Unlock()
		}()
	}
	s, err = r.load.read(r.paths)
	if err != nil {
		return nil, &badFiles{[]error{err}}
	}
	var bad badFiles
	s.found = s.findings()
	for _, f := range s.found {
		if f.severity == mistaken {
			bad.mistakes = append(bad.mistakes, f)
		}
	}
	if len(s.plans) == 0 && len(bad.mistakes) == 0 {
		bad.mistakes = append(bad.mistakes, s.runnable(r.paths))
	}
	if v, is := s.config.Secrets.(*vault.Vault); is {
		bad.mistakes = append(bad.mistakes, v.Missing()...)
	}
	bad.mistakes = append(bad.mistakes, s.exporterMistakes()...)
	if len(bad.mistakes) > 0 {
		return nil, &bad
	}
	return s, nil
}

// exporterMistakes checks the settings of the exporters.
func (s *set) exporterMistakes() (all []error) {
	for _, name := range s.config.Exporters() {
		if _, err := exporters.Builtin.Configure(name, func(into any) error { return s.config.DecodeExporter(name, into) }); err != nil {
			all = append(all, err)
		}
	}
	return all
}

// apply gives a set to the agent.
func (r *reloader) apply(s *set) (string, error) {
	r.mu.Lock()
	before := r.browser
	r.mu.Unlock()
	fresh := s.browser()
	if fresh.Like(before) { // it goes on, with what it has loaded
		s.target().Set(before)
		fresh = before
	}
	runner := s.agentRunner()
	runner.Log = r.log
	runner.Follow(r.runner)
	changes, err := r.agent.Reload(context.Background(), agent.Loaded{Runner: runner, Plans: s.plans, Limits: s.limits(), Ended: r.use(fresh)})
	if err != nil {
		return "", err
	}
	r.runner, r.loaded = runner, time.Now()
	for _, apply := range r.applied {
		apply(s)
	}
	return fmt.Sprintf("%s added, %d changed, %d unchanged, %d removed", counted(changes.Added, "scenario"), changes.Changed, changes.Unchanged, changes.Removed), nil
}

// use makes a browser that of the latest set. It returns what to call after the last run of that set: it closes the browser unless
// another set uses it.
func (r *reloader) use(b *browser.Browser) (ended func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.browser = b
	r.browsers[b]++
	return func() {
		r.mu.Lock()
		r.browsers[b]--
		last := r.browsers[b] == 0
		if last {
			delete(r.browsers, b)
		}
		r.mu.Unlock()
		if last {
			_ = b.Close() // what it leaves, the next start removes
		}
	}
}

// fixed are the settings that take effect at the start alone, besides those that config.Again keeps.
var fixed = []string{"exporters", "history"}

// also says what else a user has to know about a set that was taken, and remembers its configuration.
func (r *reloader) also(s *set) string {
	text := ""
	if changed := s.config.Differing(r.load.before); len(changed) > 0 {
		text += "; settings that changed: " + strings.Join(changed, ", ")
	}
	kept := s.config.Kept
	for _, name := range s.config.Differing(r.begun) {
		if slices.Contains(fixed, name) {
			kept = append(kept, name)
		}
	}
	if len(kept) > 0 {
		text += "; these keep their old value until a restart: " + strings.Join(kept, ", ")
	}
	if n := s.warned(); n != r.warnings {
		text += fmt.Sprintf("; %s (stepwatch lint lists them)", counted(n, "warning"))
		r.warnings = n
	}
	r.load.before = s.config
	return text
}

// limits returns how many runs may be in progress.
func (s *set) limits() agent.Limits {
	limits := s.config.Limits
	if chromium := s.browser(); chromium != nil {
		limits.Browser = chromium.Tabs()
	}
	return limits
}

// watchFiles reloads when files change, until ctx ends.
func (r *reloader) watchFiles(ctx context.Context) {
	n := newNotifier(lookRarely, lookOften, restLong, func(text string) { r.log.Warn(text) })
	defer n.close()
	for {
		changed := n.change(ctx, func() (*watched, map[string]stamp) {
			r.seen.Lock()
			defer r.seen.Unlock()
			return r.seen.files, r.seen.stamps
		})
		if changed == nil {
			return
		}
		one := r.ask("changed: " + fewOf(changed))
		select {
		case <-one.done:
		case <-ctx.Done():
			return
		}
	}
}

// fewOf names some of many.
func fewOf(names []string) string {
	const most = 3
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// handler answers POST /-/reload when the reload has ended: with what changed, or with 400 and every mistake.
func (r *reloader) handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if request.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			http.Error(w, "a reload changes things: use POST, as in: curl -X POST http://"+printable(request.Host)+"/-/reload", http.StatusMethodNotAllowed)
			return
		}
		one := r.ask("POST /-/reload")
		select {
		case <-one.done:
		case <-request.Context().Done():
			return
		}
		switch {
		case one.err == nil:
			fmt.Fprintln(w, one.answer)
		case errors.As(one.err, new(*badFiles)):
			http.Error(w, fmt.Sprintf("%v\nnothing was changed: the scenarios go on as they were loaded before", one.err), http.StatusBadRequest)
		case errors.Is(one.err, steps.ErrStopped):
			http.Error(w, one.err.Error(), http.StatusServiceUnavailable)
		default:
			http.Error(w, one.err.Error(), http.StatusInternalServerError)
		}
	})
}

// unread looks at the files before they are read, so that a change meanwhile is noticed. It returns nil if they are not watched.
func (l *loader) unread(paths []string, watch bool) map[string]stamp {
	if !watch {
		return nil
	}
	w := new(watched)
	w.follow(*l.config, paths, nil)
	found, _ := w.look()
	return found
}

// release drops what only the agent needs from now on, which then ends with the set.
func (s *set) release() {
	s.plans, s.broken, s.refused, s.sentences, s.library, s.found, s.own = nil, nil, nil, nil, nil, nil, nil
}

// hangups are the SIGHUPs of an agent. Those that come before it runs are not lost.
type hangups struct {
	came     chan struct{}
	terminal bool // there was one at the start
}

// onHangup keeps SIGHUP from ending the program.
func onHangup(t *terminal) *hangups {
	h := &hangups{came: make(chan struct{}, 1), terminal: hasTerminal()}
	note := func() {
		select {
		case h.came <- struct{}{}:
		default: // one reload is enough
		}
	}
	t.hangup.Store(&note)
	return h
}

// hasTerminal reports whether the process has a terminal.
func hasTerminal() bool {
	f, err := os.Open("/dev/tty")
	if err != nil {
		return false
	}
	_ = f.Close() // nothing was written
	return true
}

// serve reloads for each SIGHUP until ctx ends. If the terminal is closed from which the agent was started, the kernel sends the
// same signal: then it calls stop, as every program ends.
func (h *hangups) serve(ctx context.Context, r *reloader, stop context.CancelCauseFunc) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.came:
		}
		if h.terminal && !hasTerminal() {
			r.log.Info("stopping: the terminal is closed")
			stop(steps.ErrStopped)
			return
		}
		r.ask("SIGHUP")
	}
}
