// Package jobreport keeps what jobs report of themselves: cron jobs, backups, batches. The agent writes one small file a job
// in the state directory, and every run reads it, so that `run` and `check` know as much as the agent.
//
// A record has bounds: the last success, the last failure, the runs in progress, and the moments of the successes of the
// last two days, one a minute at most. It knows the order in which reports came, so it survives a clock that jumped back.
package jobreport

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/stepwatch/stepwatch/steps/limit"
)

// The bounds of a record.
const (
	LogLimit     = 10 << 10       // bytes of the end of a job's log
	RunLimit     = 64             // characters of the id of a run
	runningLimit = 20             // runs in progress
	lostAfter    = 24 * time.Hour // a run in progress is given up after that, if a later one has ended
	momentsKept  = 50 * time.Hour // two windows of a day reach back 48 hours, and an hour more when summer time ends
	momentsLimit = 50*60 + 1      // one a minute
	version      = 1
)

// fileLimit is above the size of any record, even if its logs consist of control characters.
var fileLimit = limit.Define(limit.Limit{Subject: "job", What: "the record of its reports", Unit: "bytes", Most: 256 << 10})

// nameLimit is how long the name of a job may be, in characters: it is a part of a file's name and of an address.
const nameLimit = 64

// CheckName returns an error unless name can be that of a job.
func CheckName(name string) error {
	alphanumeric := func(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' }
	wrong := func(r rune) bool { return !alphanumeric(r) && !strings.ContainsRune("._-", r) }
	if name == "" || len(name) > nameLimit || strings.ContainsFunc(name, wrong) || !alphanumeric(rune(name[0])) {
		return fmt.Errorf("%q is not a name for a job: write letters, digits, dots, underscores and hyphens, at most %d, the first one a letter or digit", name, nameLimit)
	}
	return nil
}

// Job is a job of stepwatch.yml.
type Job struct {
	Secret   string // name of the secret that its reports need
	PostOnly bool   // a GET is no report
}

// Jobs are the jobs of stepwatch.yml, by the names that features use.
type Jobs map[string]Job

// Start is a run in progress.
type Start struct {
	Run    string    `json:"run,omitempty"` // empty for a job that sends no ids
	At     time.Time `json:"at"`
	Number int64     `json:"number"` // of the report
}

// Report is the end of a run.
type Report struct {
	Run    string    `json:"run,omitempty"`
	At     time.Time `json:"at"`                     // when it arrived
	Number int64     `json:"number"`                 // of the report: a later one has a higher number
	Status int       `json:"exit_status"`            // 0 is success; Unstated is a failure without a status
	Took   float64   `json:"took_seconds"`           // since its start; Unknown if that was not reported
	Began  int64     `json:"start_number,omitempty"` // number of the report of its start; 0 if there was none
	Log    string    `json:"log,omitempty"`          // the end of what it printed
	Cut    bool      `json:"log_cut,omitempty"`      // the log was longer
}

// What a report may not say.
const (
	Unstated = -1 // the exit status
	Unknown  = -1 // the time that the run took
)

// Duration returns how long the run took, if that is known.
func (r *Report) Duration() (took time.Duration, known bool) {
	return time.Duration(r.Took * float64(time.Second)), r.Took >= 0
}

// Outcome describes how the run ended: "exit status 2".
func (r *Report) Outcome() string {
	switch r.Status {
	case 0:
		return "success"
	case Unstated:
		return "failure"
	}
	return fmt.Sprintf("exit status %d", r.Status)
}

// Record is what is known of a job.
type Record struct {
	Version   int       `json:"version"`
	Job       string    `json:"job"`
	Since     time.Time `json:"waiting_since"` // since when the agent takes reports of this job
	Number    int64     `json:"number"`        // of the last report
	Success   *Report   `json:"last_success,omitempty"`
	Failure   *Report   `json:"last_failure,omitempty"`
	Starts    int64     `json:"starts,omitempty"` // how many were reported
	Running   []Start   `json:"running,omitempty"`
	Successes []int64   `json:"successes,omitempty"` // Unix milliseconds, the oldest first; the first one of a minute
	SetAside  string    `json:"set_aside,omitempty"` // the damaged file that this record replaces
}

// New returns the record of a job that has not reported yet.
func New(job string, since time.Time) *Record {
	return &Record{Version: version, Job: job, Since: since}
}

// Last returns the end that was reported last, or nil.
func (r *Record) Last() *Report {
	if r.Success == nil || r.Failure != nil && r.Failure.Number > r.Success.Number {
		return r.Failure
	}
	return r.Success
}

// Moments returns the times of the successes that are kept, the newest first.
func (r *Record) Moments() []time.Time {
	all := make([]time.Time, 0, len(r.Successes))
	for _, ms := range slices.Backward(r.Successes) {
		all = append(all, time.UnixMilli(ms))
	}
	return all
}

// AddStart adds a run that begins. One without an id replaces the last one without: that was not told to have ended.
func (r *Record) AddStart(at time.Time, run string) {
	r.Number++
	r.Starts++
	r.Running = slices.DeleteFunc(r.Running, func(s Start) bool { return s.Run == run })
	if surplus := len(r.Running) + 1 - runningLimit; surplus > 0 {
		r.Running = slices.Delete(r.Running, 0, surplus)
	}
	r.Running = append(r.Running, Start{Run: run, At: at, Number: r.Number})
}

// AddEnd adds a run that has ended. status is the exit status, or Unstated. log is the end of what the run printed.
func (r *Record) AddEnd(at time.Time, run string, status int, log string, cut bool) {
	r.Number++
	end := &Report{Run: run, At: at, Number: r.Number, Status: status, Took: Unknown, Log: log, Cut: cut}
	if i := slices.IndexFunc(r.Running, func(s Start) bool { return s.Run == run }); i >= 0 {
		end.Began = r.Running[i].Number
		if took := at.Sub(r.Running[i].At); took >= 0 { // less is a clock that was put back
			end.Took = took.Seconds()
		}
		r.Running = slices.Delete(r.Running, i, i+1)
	}
	if end.Began > 0 { // what began before it a day ago was killed
		r.Running = slices.DeleteFunc(r.Running, func(s Start) bool { return s.Number < end.Began && at.Sub(s.At) > lostAfter })
	}
	if status != 0 {
		r.Failure = end
		return
	}
	r.Success = end
	r.keep(at)
}

// keep adds the moment of a success, and forgets those that no window reaches.
func (r *Record) keep(at time.Time) {
	const minute = int64(time.Minute / time.Millisecond)
	now := at.UnixMilli()
	oldest := at.Add(-momentsKept).UnixMilli()
	// After the clock was put back, what is in the future is wrong.
	r.Successes = slices.DeleteFunc(r.Successes, func(ms int64) bool { return ms < oldest || ms > now })
	if n := len(r.Successes); n > 0 && r.Successes[n-1]/minute == now/minute {
		return
	}
	r.Successes = append(r.Successes, now)
	if surplus := len(r.Successes) - momentsLimit; surplus > 0 {
		r.Successes = slices.Delete(r.Successes, 0, surplus)
	}
}

// ErrNewer is the error of a record in a format that this stepwatch does not know.
var ErrNewer = errors.New("a newer stepwatch wrote it: use that one, or another state directory")

// Encode returns the content of a record's file.
func (r *Record) Encode() ([]byte, error) {
	content, err := json.Marshal(r)
	return append(content, '\n'), err
}

// Decode reads the content of the file of a job. What is not a whole record is an error, never an empty record.
func Decode(job string, content []byte) (*Record, error) {
	r := new(Record)
	d := json.NewDecoder(bytes.NewReader(content))
	if err := d.Decode(r); err != nil {
		if len(bytes.TrimSpace(content)) == 0 {
			return nil, errors.New("the file is empty")
		}
		return nil, fmt.Errorf("it is not whole JSON: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the record")
	}
	if r.Version > version {
		return nil, ErrNewer
	}
	return r, r.check(job)
}

// check returns why the values cannot be those of a record.
func (r *Record) check(job string) error {
	inOrder := func(number int64) bool { return number > 0 && number <= r.Number }
	switch {
	case r.Version < 1:
		return errors.New("it has no version")
	case r.Job != job:
		return fmt.Errorf("it is about the job %q", r.Job)
	case r.Since.IsZero():
		return errors.New("it does not say since when stepwatch waits")
	case r.Number < 0 || r.Number > 1<<53 || r.Starts < 0 || r.Starts > r.Number:
		return errors.New("its numbers contradict each other")
	case len(r.Running) > runningLimit || len(r.Successes) > momentsLimit:
		return errors.New("it has more entries than a record may have")
	}
	for _, end := range []*Report{r.Success, r.Failure} {
		if end == nil {
			continue
		}
		if end.At.IsZero() || !inOrder(end.Number) || end.Began < 0 || end.Began >= end.Number || end.Took > float64(1<<32) || len(end.Log) > LogLimit {
			return errors.New("a report in it is not whole")
		}
	}
	if r.Success != nil && (r.Success.Status != 0 || len(r.Successes) == 0) || r.Failure != nil && r.Failure.Status == 0 {
		return errors.New("a report in it is not whole")
	}
	for _, s := range r.Running {
		if s.At.IsZero() || !inOrder(s.Number) {
			return errors.New("a run in it is not whole")
		}
	}
	if !slices.IsSorted(r.Successes) {
		return errors.New("its successes are not in order")
	}
	return nil
}

// Tail keeps the end of what is written to it. The zero value is ready.
type Tail struct {
	kept    []byte
	written int64
}

// tailKept is how many bytes are kept, so that a secret at the beginning of the log's end is still seen as a whole.
const tailKept = 2 * LogLimit

// Write implements io.Writer. It never fails.
func (t *Tail) Write(p []byte) (int, error) {
	t.written += int64(len(p))
	t.kept = append(t.kept, p[max(0, len(p)-tailKept):]...)
	if len(t.kept) > 2*tailKept {
		t.kept = append(t.kept[:0], t.kept[len(t.kept)-tailKept:]...)
	}
	return len(p), nil
}

// Text returns the last LogLimit bytes of the text that redacted makes of what was written, and whether that is not all.
func (t *Tail) Text(redacted func(string) string) (text string, cut bool) {
	kept := t.kept[max(0, len(t.kept)-tailKept):]
	cut = t.written > int64(len(kept))
	text = strings.ToValidUTF8(redacted(string(kept)), "\uFFFD")
	if start := len(text) - LogLimit; start > 0 {
		for !utf8.RuneStart(text[start]) {
			start++
		}
		text, cut = text[start:], true
	}
	return strings.TrimRight(text, "\r\n\t "), cut
}
