// Package jobs takes the reports of jobs over HTTP: that one begins, and how it ended. It keeps them in the state directory
// (steps/jobreport), where every run finds them.
//
// An address that counts as a success must not be opened by accident. So a request needs the secret of its job, and one that
// a browser, a crawler or the preview of a link sends is refused.
package jobs

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/jobreport"
	"github.com/stepwatch/stepwatch/steps/lack"
	"github.com/stepwatch/stepwatch/steps/redact"
)

// Prefix is where Inbox is to be registered on a mux.
const Prefix = "/ping/"

// The bounds of the inbox. docs/limits.md lists them.
const (
	burst         = 60               // reports of one job at once
	perSecond     = 1                // reports of one job after that
	secretKept    = 10 * time.Second // before it is read again; a wrong one makes no program run more often
	secretsKept   = time.Minute      // of all those that logs are redacted of
	readTime      = 5 * time.Second  // for the sources of secrets
	secretLeast   = 16               // characters of a job's secret
	warningsEvery = time.Minute      // of the same kind
)

// Inbox takes the reports. Its methods may be called concurrently.
type Inbox struct {
	log      *slog.Logger
	stateDir string
	now      func() time.Time

	mu      sync.Mutex
	store   *jobreport.Store // nil until a job needs it
	closed  bool
	secrets steps.Secrets
	jobs    map[string]*entry
	hidden  []string // values of all secrets, as of then
	then    time.Time
	warned  map[string]time.Time // by their text
	failed  error                // why a report, or that reports are taken, could not be written the last time
	stop    chan struct{}
	stopped chan struct{}
}

// entry is one job. Its lock is held while its record is read, changed and written.
type entry struct {
	sync.Mutex
	jobreport.Job
	name    string
	record  *jobreport.Record // nil until it is loaded; with monotonic times, so that a jump of the clock does not change a duration
	sum     [sha256.Size]byte // of the secret
	known   bool              // the secret was read
	read    time.Time         // when that was tried
	credit  float64           // how many reports it may send at once
	counted time.Time         // when credit was computed
}

// New returns an inbox that keeps reports in a state directory. It takes none before Set, and must be closed.
func New(stateDir string, log *slog.Logger) *Inbox {
	return &Inbox{log: log, stateDir: stateDir, now: time.Now, jobs: make(map[string]*entry), warned: make(map[string]time.Time)}
}

// Set replaces the jobs and their secrets, and notes since when stepwatch waits for those that are new. What is known of a
// job that stays, stays.
func (b *Inbox) Set(all jobreport.Jobs, secrets steps.Secrets) {
	b.mu.Lock()
	next := make(map[string]*entry, len(all))
	for name := range all {
		if next[name] = b.jobs[name]; next[name] == nil {
			next[name] = &entry{name: name, credit: burst, counted: b.now()}
		}
	}
	b.jobs, b.secrets, b.hidden = next, secrets, nil
	b.mu.Unlock()
	names := slices.Sorted(maps.Keys(next))
	for _, name := range names {
		e := next[name]
		e.Lock()
		e.Job, e.read, e.known = all[name], time.Time{}, false
		e.Unlock()
	}
	if len(names) == 0 {
		b.mu.Lock()
		store := b.store
		b.mu.Unlock()
		if store == nil {
			return // no file is needed
		}
	}
	if err := b.note(b.wait(names, next)); err != nil {
		b.log.Error("the reports of jobs cannot be kept: they are UNKNOWN until they can", "error", err)
	}
}

// wait notes since when stepwatch waits for the reports of each job: one that was taken out of the configuration, and then
// added again, could not report meanwhile.
func (b *Inbox) wait(names []string, all map[string]*entry) error {
	store, err := b.records()
	if err != nil {
		return err
	}
	added, err := store.Wait(names)
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		errs = append(errs, b.begin(all[name], slices.Contains(added, name)))
	}
	return errors.Join(errs...)
}

// begin loads the record of a job, and waits for it from now on if it was added.
func (b *Inbox) begin(e *entry, added bool) error {
	e.Lock()
	defer e.Unlock()
	store, err := b.load(e)
	if err != nil || !added {
		return err
	}
	e.record.Since = b.now()
	return store.Save(e.record)
}

// records returns the store. It is opened when there is a job, and again after it could not be.
func (b *Inbox) records() (*jobreport.Store, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.store != nil {
		return b.store, nil
	}
	if b.closed {
		return nil, errors.New("the agent is being stopped")
	}
	store, err := jobreport.Open(b.stateDir)
	if err != nil {
		return nil, err
	}
	if err := store.Begin(b.now()); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	b.store, b.stop, b.stopped = store, make(chan struct{}), make(chan struct{})
	go b.present(store, b.stop, b.stopped)
	return store, nil
}

// Close notes that reports are taken no more. No request may be in progress.
func (b *Inbox) Close() error {
	b.mu.Lock()
	store := b.store
	b.closed, b.store = true, nil
	b.mu.Unlock()
	if store == nil {
		return nil
	}
	close(b.stop)
	<-b.stopped
	return errors.Join(store.Present(b.now()), store.Close())
}

// present notes every minute that reports are taken, so that no verdict rests on a time when nobody listened.
func (b *Inbox) present(store *jobreport.Store, stop <-chan struct{}, stopped chan<- struct{}) {
	defer close(stopped)
	tick := time.NewTicker(jobreport.PresenceEvery)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
			if err := b.note(store.Present(b.now())); err != nil {
				b.warn("it cannot be noted that reports of jobs are taken", "error", err)
			}
		}
	}
}

// note notes whether something could be written, and returns err.
func (b *Inbox) note(err error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failed = err
	return err
}

// Trouble returns why nothing could be written the last time that there was something to write, or nil.
func (b *Inbox) Trouble() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failed
}

// warn logs what happens, at most once a minute.
func (b *Inbox) warn(text string, args ...any) {
	b.mu.Lock()
	quiet := time.Since(b.warned[text]) < warningsEvery
	if !quiet {
		b.warned[text] = time.Now()
	}
	b.mu.Unlock()
	if !quiet {
		b.log.Warn(text, args...)
	}
}

// load returns the store, and loads the record of a job unless that is done.
func (b *Inbox) load(e *entry) (*jobreport.Store, error) {
	store, err := b.records()
	if err != nil || e.record != nil {
		return store, err
	}
	record, damaged, err := store.Load(e.name, b.now())
	if damaged != nil {
		b.log.Error("what was known of a job is lost: its file is set aside, and a new one is begun", "job", e.name, "error", damaged)
	}
	if err == nil {
		e.record = record
	}
	return store, err
}

// request is what an address asks for.
type request struct {
	job    string
	secret string
	start  bool
	status int // of an end
}

// parse reads the part of an address after Prefix: NAME/SECRET, or NAME if the secret is in a header, and then perhaps
// start, fail or an exit status.
func parse(escaped, header string) (q request, ok bool) {
	parts := strings.Split(strings.TrimSuffix(escaped, "/"), "/")
	for i := range parts {
		part, err := url.PathUnescape(parts[i])
		if err != nil {
			return q, false
		}
		parts[i] = part
	}
	q.job, parts = parts[0], parts[1:]
	q.secret = header
	if header == "" {
		if len(parts) == 0 {
			return q, false
		}
		q.secret, parts = parts[0], parts[1:]
	}
	if len(parts) == 0 {
		return q, true
	}
	switch parts[0] {
	case "start":
		q.start = true
	case "fail":
		q.status = jobreport.Unstated
	default:
		status, err := strconv.ParseUint(parts[0], 10, 8)
		if err != nil {
			return q, false
		}
		q.status = int(status)
	}
	return q, len(parts) == 1
}

// ServeHTTP takes a report. It answers 200 after the report is on the disk.
func (b *Inbox) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	w.Header().Set("X-Robots-Tag", "noindex")
	header, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !bearer {
		header = ""
	}
	q, ok := parse(strings.TrimPrefix(r.URL.EscapedPath(), Prefix), strings.TrimSpace(header))
	e, postOnly := b.authorised(r.Context(), q.job, q.secret)
	if e == nil || !ok { // nobody learns which of them it is
		http.Error(w, "no such job, or not its secret: the address is /ping/NAME/SECRET, or /ping/NAME with \"Authorization: Bearer SECRET\"; "+
			"then /start, /fail or /EXIT-STATUS (0 to 255) may follow", http.StatusNotFound)
		return
	}
	if why := refusal(r, postOnly); why != "" {
		w.Header().Set("Allow", "POST")
		http.Error(w, why, http.StatusMethodNotAllowed)
		return
	}
	run := r.URL.Query().Get("rid")
	if len(run) > jobreport.RunLimit {
		http.Error(w, fmt.Sprintf("rid is longer than %d characters", jobreport.RunLimit), http.StatusBadRequest)
		return
	}
	if !b.spend(e) {
		w.Header().Set("Retry-After", "1")
		http.Error(w, fmt.Sprintf("this job has sent %d reports at once, and may send %d a second: `curl --retry 5` sends this one again", burst, perSecond), http.StatusTooManyRequests)
		return
	}
	var tail jobreport.Tail
	_, err := io.Copy(&tail, r.Body)
	unread := (*http.MaxBytesError)(nil)
	if err != nil && !errors.As(err, &unread) {
		http.Error(w, "the body did not arrive as a whole: send the report again", http.StatusBadRequest)
		return
	}
	log, cut := tail.Text(b.redacted(r.Context()))
	if unread != nil {
		log += "\n(the rest of the log was not read: send its end, as `tail -c 10000` does)"
	}
	if err := b.note(b.keep(e, q, run, log, cut)); err != nil {
		b.warn("a report of a job cannot be kept", "job", q.job, "error", err)
		status := http.StatusInternalServerError
		if lack.Of(err) != nil {
			status = http.StatusInsufficientStorage
		}
		http.Error(w, "the report cannot be kept: see the log of the agent", status)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintln(w, "ok")
}

// keep writes a report.
func (b *Inbox) keep(e *entry, q request, run, log string, cut bool) error {
	e.Lock()
	defer e.Unlock()
	store, err := b.load(e)
	if err != nil {
		return err
	}
	at := b.now()
	if q.start {
		e.record.AddStart(at, run)
	} else {
		e.record.AddEnd(at, run, q.status, clip(log), cut)
	}
	if err := store.Save(e.record); err != nil {
		e.record = nil // it has a report that is not on the disk
		return err
	}
	return nil
}

// clip shortens a log to which a remark was added.
func clip(log string) string {
	return strings.ToValidUTF8(log[max(0, len(log)-jobreport.LogLimit):], "")
}

// authorised returns the job if the secret is right, and nil if not, or if there is no such job.
func (b *Inbox) authorised(ctx context.Context, name, secret string) (e *entry, postOnly bool) {
	given := sha256.Sum256([]byte(secret))
	b.mu.Lock()
	e, secrets := b.jobs[name], b.secrets
	b.mu.Unlock()
	var wanted [sha256.Size]byte // what the secret of an unknown job is compared with
	known := false
	if e != nil {
		wanted, known, postOnly = b.secretOf(ctx, e, secrets)
	}
	if subtle.ConstantTimeCompare(given[:], wanted[:]) != 1 || !known {
		return nil, false
	}
	return e, postOnly
}

// secretOf returns the hash of a job's secret, and whether the job takes POST only. It reads the secret at most once in secretKept,
// whoever asks. One that cannot be read any more stays as it was until the next reload, so that no report is lost because of that.
func (b *Inbox) secretOf(ctx context.Context, e *entry, secrets steps.Secrets) (sum [sha256.Size]byte, known, postOnly bool) {
	e.Lock()
	defer e.Unlock()
	if now := b.now(); e.read.IsZero() || now.Sub(e.read).Abs() > secretKept {
		e.read = now
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readTime)
		defer cancel()
		value, err := secrets.Secret(ctx, e.Secret)
		if err != nil && e.known {
			b.warn("the secret of a job cannot be read: the one that was read before counts", "job", e.name, "error", err)
			return e.sum, true, e.PostOnly
		}
		if err == nil && len(value.Reveal()) < secretLeast {
			err = fmt.Errorf("it has fewer than %d characters: \"openssl rand -hex 16\" makes a good one", secretLeast)
		}
		e.known = err == nil
		if err != nil {
			b.warn("the secret of a job cannot be used: its reports are refused", "job", e.name, "error", err)
		} else {
			e.sum = sha256.Sum256([]byte(value.Reveal()))
		}
	}
	return e.sum, e.known, e.PostOnly
}

// spend takes one report from what a job may send, and reports whether there was one.
func (b *Inbox) spend(e *entry) bool {
	e.Lock()
	defer e.Unlock()
	now := b.now()
	e.credit = min(burst, e.credit+max(0, now.Sub(e.counted).Seconds())*perSecond)
	e.counted = now
	if e.credit < 1 {
		return false
	}
	e.credit--
	return true
}

// refusal returns why a request is not a report, or "".
func refusal(r *http.Request, postOnly bool) string {
	switch {
	case r.Method == http.MethodPost, r.Method == http.MethodPut:
		return ""
	case r.Method != http.MethodGet:
		return "this is no report: send POST, or GET with curl or wget"
	case postOnly:
		return "this is no report: this job takes POST only (post_only in stepwatch.yml)"
	case r.Header.Get("Sec-Fetch-Mode") != "" || r.Header.Get("Purpose") != "" || r.Header.Get("Sec-Purpose") != "":
		return "this is no report: a browser has opened the address; send POST, or GET with curl or wget"
	}
	agent := strings.ToLower(r.UserAgent())
	if strings.Contains(agent, "powershell") { // it says that it is Mozilla, too
		return ""
	}
	for _, word := range []string{"mozilla", "bot", "crawl", "spider", "preview", "link", "facebook", "whatsapp"} {
		if strings.Contains(agent, word) {
			return "this is no report: a browser, a crawler or the preview of a link has opened the address; send POST, or GET with curl or wget"
		}
	}
	return ""
}

// redacted returns the function that hides the secrets of stepwatch.yml in a log.
func (b *Inbox) redacted(ctx context.Context) func(string) string {
	return func(text string) string {
		if text == "" {
			return ""
		}
		b.mu.Lock()
		values, at, secrets := b.hidden, b.then, b.secrets
		b.mu.Unlock()
		if values == nil || b.now().Sub(at).Abs() > secretsKept {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readTime)
			defer cancel()
			if all, ok := secrets.(interface {
				Values(context.Context) []string
			}); ok {
				values = all.Values(ctx)
			}
			b.mu.Lock()
			b.hidden, b.then = values, b.now()
			b.mu.Unlock()
		}
		return redact.New(values).String(text)
	}
}
