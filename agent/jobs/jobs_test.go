package jobs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/jobreport"
)

const secret = "0123456789abcdef"

// known are the secrets of a test. It counts how often they are read.
type known struct {
	mu     sync.Mutex
	values map[string]string
	reads  int
}

func (k *known) Secret(_ context.Context, name string) (steps.Secret, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.reads++
	value, found := k.values[name]
	if !found {
		return steps.Secret{}, errors.New("it cannot be read")
	}
	return steps.NewSecret(value), nil
}

func (k *known) Values(context.Context) []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var all []string
	for _, value := range k.values {
		all = append(all, value)
	}
	return all
}

// bench is an inbox behind a server.
type bench struct {
	*Inbox
	state   string
	secrets *known
	server  *httptest.Server
	log     *bytes.Buffer
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{state: filepath.Join(t.TempDir(), "state"), log: new(bytes.Buffer),
		secrets: &known{values: map[string]string{"backup": secret, "short": "too short", "database": "wonderland-rabbit"}}}
	b.Inbox = New(b.state, slog.New(slog.NewTextHandler(b.log, nil)))
	b.Set(jobreport.Jobs{"backup": {Secret: "backup"}, "strict": {Secret: "backup", PostOnly: true}, "short": {Secret: "short"}, "broken": {Secret: "absent"}}, b.secrets)
	mux := http.NewServeMux()
	mux.Handle(Prefix, b.Inbox)
	b.server = httptest.NewServer(http.MaxBytesHandler(mux, 64<<10))
	t.Cleanup(func() {
		b.server.Close()
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// send sends a request, and returns the status and the answer.
func (b *bench) send(t *testing.T, method, path, body string, header ...string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, b.server.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("User-Agent", "curl/8.14.1")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

func (b *bench) read(t *testing.T, job string) *jobreport.Record {
	t.Helper()
	r, _, err := jobreport.Read(b.state, job, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAddresses(t *testing.T) {
	const bearer = "Bearer " + secret
	preview := []string{"User-Agent", "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)"}
	for _, c := range []struct {
		name, method, path string
		header             []string
		status             int
		said               string // what is known afterwards
	}{
		{"get", "GET", "/ping/backup/" + secret, nil, 200, "success"},
		{"post", "POST", "/ping/backup/" + secret, nil, 200, "success"},
		{"a slash at the end", "POST", "/ping/backup/" + secret + "/", nil, 200, "success"},
		{"header", "POST", "/ping/backup", []string{"Authorization", bearer}, 200, "success"},
		{"fail", "POST", "/ping/backup/" + secret + "/fail", nil, 200, "failure"},
		{"status", "GET", "/ping/backup/" + secret + "/137", nil, 200, "exit status 137"},
		{"status 0", "GET", "/ping/backup/" + secret + "/0", nil, 200, "success"},
		{"status in a header's address", "POST", "/ping/backup/2", []string{"Authorization", bearer}, 200, "exit status 2"},
		{"start", "POST", "/ping/backup/" + secret + "/start?rid=7", nil, 200, "running 7"},
		{"a secret in a query", "POST", "/ping/backup?secret=" + secret, nil, 404, ""},
		{"wrong secret", "POST", "/ping/backup/wrong", nil, 404, ""},
		{"no secret", "POST", "/ping/backup", nil, 404, ""},
		{"empty secret", "POST", "/ping/backup//start", nil, 404, ""},
		{"unknown name", "POST", "/ping/nobody/" + secret, nil, 404, ""},
		{"wrong header, right path", "POST", "/ping/backup/" + secret, []string{"Authorization", "Bearer wrong"}, 404, ""},
		{"status too large", "POST", "/ping/backup/" + secret + "/256", nil, 404, ""},
		{"no status", "POST", "/ping/backup/" + secret + "/-1", nil, 404, ""},
		{"more behind", "POST", "/ping/backup/" + secret + "/start/1", nil, 404, ""},
		{"a name that leads elsewhere", "POST", "/ping/..%2f..%2fetc/" + secret, nil, 404, ""},
		{"a secret that is too short", "POST", "/ping/short/too%20short", nil, 404, ""},
		{"a secret that cannot be read", "POST", "/ping/broken/", nil, 404, ""},
		{"a secret that cannot be read, and zeros", "POST", "/ping/broken/%00", nil, 404, ""},
		{"head", "HEAD", "/ping/backup/" + secret, nil, 405, ""},
		{"options", "OPTIONS", "/ping/backup/" + secret, nil, 405, ""},
		{"preview", "GET", "/ping/backup/" + secret, preview, 405, ""},
		{"preview that posts", "POST", "/ping/backup/" + secret, preview, 200, "success"},
		{"browser", "GET", "/ping/backup/" + secret, []string{"User-Agent", "Mozilla/5.0 (X11; Linux x86_64)"}, 405, ""},
		{"browser under another name", "GET", "/ping/backup/" + secret, []string{"Sec-Fetch-Mode", "navigate"}, 405, ""},
		{"PowerShell", "GET", "/ping/backup/" + secret, []string{"User-Agent", "Mozilla/5.0 (Windows NT; Windows NT 10.0; de-DE) WindowsPowerShell/5.1"}, 200, "success"},
		{"no agent", "GET", "/ping/backup/" + secret, []string{"User-Agent", ""}, 200, "success"},
		{"post only", "GET", "/ping/strict/" + secret, nil, 405, ""},
		{"long id", "POST", "/ping/backup/" + secret + "/start?rid=" + strings.Repeat("x", 65), nil, 400, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			status, answer := b.send(t, c.method, c.path, "", c.header...)
			if status != c.status {
				t.Errorf("status %d (%s), want %d", status, answer, c.status)
			}
			r := b.read(t, "backup")
			said := ""
			switch {
			case len(r.Running) > 0:
				said = "running " + r.Running[0].Run
			case r.Last() != nil:
				said = r.Last().Outcome()
			}
			if said != c.said {
				t.Errorf("known is %q, want %q", said, c.said)
			}
			if strings.Contains(b.log.String(), secret) {
				t.Error("the log has the secret")
			}
		})
	}
}

// TestNobodyLearnsNames holds that a wrong secret and an unknown name are answered alike.
func TestNobodyLearnsNames(t *testing.T) {
	b := newBench(t)
	_, unknown := b.send(t, "POST", "/ping/nobody/"+secret, "")
	for _, path := range []string{"/ping/backup/wrong", "/ping/backup/wrong/start", "/ping/broken/" + secret, "/ping/backup/" + secret + "/nonsense", "/ping/"} {
		if status, answer := b.send(t, "POST", path, ""); status != 404 || answer != unknown {
			t.Errorf("%s: %d %s", path, status, answer)
		}
	}
}

func TestLog(t *testing.T) {
	b := newBench(t)
	for _, c := range []struct {
		name, body string
		want       string
		cut        bool
	}{
		{"with a secret", "connect with wonderland-rabbit\nrefused\n", "^connect with \\[hidden\\]\nrefused$", false},
		{"of several KB", strings.Repeat("line\n", 8000) + "the end", "(?s)^[line\n]{1000}.*the end$", true},
		{"larger than the server reads", strings.Repeat("line\n", 20000), `(?s)l?\n\(the rest of the log was not read: send its end, as .tail -c 10000. does\)$`, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if status, answer := b.send(t, "POST", "/ping/backup/"+secret+"/1", c.body); status != 200 {
				t.Fatal(status, answer)
			}
			got := b.read(t, "backup").Failure
			if !regexp.MustCompile(c.want).MatchString(got.Log) || got.Cut != c.cut || len(got.Log) > jobreport.LogLimit {
				t.Errorf("%d bytes, cut %t: %q", len(got.Log), got.Cut, got.Log[max(0, len(got.Log)-200):])
			}
		})
	}
}

func TestRate(t *testing.T) {
	b := newBench(t)
	now := time.Now()
	b.now = func() time.Time { return now }
	statuses := make(map[int]int)
	for range burst + 5 {
		status, _ := b.send(t, "POST", "/ping/backup/"+secret, "")
		statuses[status]++
	}
	if statuses[200] < burst || statuses[200] > burst+1 || statuses[429] < 4 {
		t.Errorf("got %v", statuses)
	}
	now = now.Add(2 * time.Second)
	if status, _ := b.send(t, "POST", "/ping/backup/"+secret, ""); status != 200 {
		t.Errorf("got %d two seconds later", status)
	}
	if status, _ := b.send(t, "POST", "/ping/strict/"+secret, ""); status != 200 {
		t.Errorf("another job is refused: %d", status)
	}
}

// TestSecretsAreReadSeldom holds that whoever has no secret cannot make a program run again and again, and that a rotated
// secret is taken.
func TestSecretsAreReadSeldom(t *testing.T) {
	b := newBench(t)
	for range 50 {
		b.send(t, "POST", "/ping/backup/wrong", "")
		b.send(t, "POST", "/ping/broken/wrong", "")
	}
	if b.secrets.reads > 6 {
		t.Errorf("the secrets were read %d times", b.secrets.reads)
	}
	const next = "another-good-secret"
	b.secrets.mu.Lock()
	b.secrets.values["backup"] = next
	b.secrets.mu.Unlock()
	now := time.Now().Add(2 * secretKept)
	b.mu.Lock()
	b.now = func() time.Time { return now }
	b.mu.Unlock()
	if status, _ := b.send(t, "POST", "/ping/backup/"+next, ""); status != 200 {
		t.Errorf("got %d for the new secret", status)
	}
	if status, _ := b.send(t, "POST", "/ping/backup/"+secret, ""); status != 404 {
		t.Errorf("got %d for the old secret", status)
	}
}

// TestTrouble holds that the agent can say that reports cannot be kept, until they can.
func TestTrouble(t *testing.T) {
	b := newBench(t)
	if err := b.Trouble(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(b.state, "jobs", "backup.job.json")
	if err := errors.Join(os.RemoveAll(file), os.MkdirAll(filepath.Join(file, "in the way"), 0o700)); err != nil {
		t.Fatal(err)
	}
	if status, _ := b.send(t, "POST", "/ping/backup/"+secret, ""); status == 200 || b.Trouble() == nil {
		t.Errorf("got %d, trouble %v", status, b.Trouble())
	}
	if err := os.RemoveAll(file); err != nil {
		t.Fatal(err)
	}
	if status, _ := b.send(t, "POST", "/ping/backup/"+secret, ""); status != 200 || b.Trouble() != nil {
		t.Errorf("got %d, trouble %v", status, b.Trouble())
	}
}

// TestSecretThatVanishes holds that a secret which cannot be read for a while, as when its file is being replaced, costs no
// report, and that a reload lets go of it.
func TestSecretThatVanishes(t *testing.T) {
	b := newBench(t)
	if status, _ := b.send(t, "POST", "/ping/backup/"+secret, ""); status != 200 {
		t.Fatalf("got %d", status)
	}
	b.secrets.mu.Lock()
	delete(b.secrets.values, "backup")
	b.secrets.mu.Unlock()
	now := time.Now().Add(2 * secretKept)
	b.mu.Lock()
	b.now = func() time.Time { return now }
	b.mu.Unlock()
	if status, _ := b.send(t, "POST", "/ping/backup/"+secret, ""); status != 200 {
		t.Errorf("got %d while the secret cannot be read", status)
	}
	if status, _ := b.send(t, "POST", "/ping/backup/wrong", ""); status != 404 {
		t.Errorf("got %d for a wrong secret", status)
	}
	b.Set(jobreport.Jobs{"backup": {Secret: "backup"}}, b.secrets)
	if status, _ := b.send(t, "POST", "/ping/backup/"+secret, ""); status != 404 {
		t.Errorf("got %d after a reload", status)
	}
}

// TestRestart holds that what was answered with 200 is there after the process was killed, and that a time without an agent is
// known.
func TestRestart(t *testing.T) {
	b := newBench(t)
	b.send(t, "POST", "/ping/backup/"+secret+"/start?rid=a", "")
	b.send(t, "POST", "/ping/backup/"+secret+"?rid=a", "")
	// Killed: nothing is closed. The next one begins a while later.
	next := New(b.state, slog.New(slog.NewTextHandler(io.Discard, nil)))
	later := time.Now().Add(10 * time.Minute)
	next.now = func() time.Time { return later }
	next.Set(jobreport.Jobs{"backup": {Secret: "backup"}}, b.secrets)
	defer next.Close()
	r, p, err := jobreport.Read(b.state, "backup", later)
	if err != nil || r.Success == nil || r.Success.Run != "a" {
		t.Fatalf("got %+v, %v", r, err)
	}
	if gap, missed := p.Missed(later.Add(-5*time.Minute), later); !missed || gap.To.Sub(gap.From) < 9*time.Minute {
		t.Errorf("got %+v", p)
	}
}

// TestReload holds that a job that stays keeps what is known of it, and one that goes is refused.
func TestReload(t *testing.T) {
	b := newBench(t)
	b.send(t, "POST", "/ping/backup/"+secret, "")
	since := b.read(t, "backup").Since
	b.Set(jobreport.Jobs{"backup": {Secret: "backup", PostOnly: true}, "added": {Secret: "backup"}}, b.secrets)
	if status, _ := b.send(t, "GET", "/ping/backup/"+secret, ""); status != 405 {
		t.Errorf("got %d: the new setting is not used", status)
	}
	if status, _ := b.send(t, "POST", "/ping/strict/"+secret, ""); status != 404 {
		t.Errorf("got %d for a job that is gone", status)
	}
	if status, _ := b.send(t, "POST", "/ping/added/"+secret, ""); status != 200 {
		t.Errorf("got %d for a job that was added", status)
	}
	if r := b.read(t, "backup"); !r.Since.Equal(since) || r.Number != 1 {
		t.Errorf("got %+v", r)
	}
}

// TestAddedAgain holds that a job could not report while it was not in the configuration.
func TestAddedAgain(t *testing.T) {
	b := newBench(t)
	b.send(t, "POST", "/ping/backup/"+secret, "")
	since := b.read(t, "backup").Since
	b.Set(jobreport.Jobs{"strict": {Secret: "backup"}}, b.secrets)
	b.Set(nil, b.secrets)
	b.Set(jobreport.Jobs{"backup": {Secret: "backup"}}, b.secrets)
	if r := b.read(t, "backup"); !r.Since.After(since) || r.Success == nil {
		t.Errorf("got %+v", r)
	}
	b.server.Close()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	for i, jobs := range []jobreport.Jobs{{"backup": {Secret: "backup"}}, {"strict": {Secret: "backup"}}, {"backup": {Secret: "backup"}}} {
		since = b.read(t, "backup").Since
		next := New(b.state, slog.New(slog.NewTextHandler(io.Discard, nil)))
		next.Set(jobs, b.secrets)
		if err := next.Close(); err != nil {
			t.Fatal(err)
		}
		if r := b.read(t, "backup"); i == 0 && !r.Since.Equal(since) {
			t.Errorf("a restart counts as a new beginning: %+v, before it was %s", r, since)
		}
	}
	if r := b.read(t, "backup"); !r.Since.After(since) {
		t.Errorf("got %+v, before it was %s", r, since)
	}
}

func TestDamagedFile(t *testing.T) {
	b := newBench(t)
	b.send(t, "POST", "/ping/backup/"+secret, "")
	b.server.Close()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(b.state, "jobs", "backup.job.json"), []byte(`{"version":1,"job":`), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	next := New(b.state, slog.New(slog.NewTextHandler(&log, nil)))
	next.Set(jobreport.Jobs{"backup": {Secret: "backup"}}, b.secrets)
	defer next.Close()
	if !strings.Contains(log.String(), "its file is set aside") || !strings.Contains(log.String(), "backup.job.json.damaged-") {
		t.Errorf("got %s", log.String())
	}
}

// TestUnwritable holds that a report that cannot be kept is not answered with 200, and that a later one is kept.
func TestUnwritable(t *testing.T) {
	b := newBench(t)
	path := filepath.Join(b.state, "jobs", "backup.job.json")
	if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
		t.Fatal(err)
	}
	if status, answer := b.send(t, "POST", "/ping/backup/"+secret, ""); status != 500 || !strings.Contains(answer, "see the log of the agent") {
		t.Errorf("got %d %s", status, answer)
	}
	if !strings.Contains(b.log.String(), "a report of a job cannot be kept") {
		t.Errorf("got %s", b.log)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if status, answer := b.send(t, "POST", "/ping/backup/"+secret, ""); status != 200 || b.read(t, "backup").Success == nil {
		t.Errorf("got %d %s", status, answer)
	}
}

func TestConcurrentReports(t *testing.T) {
	b := newBench(t)
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			b.send(t, "POST", fmt.Sprintf("/ping/backup/%s/start?rid=%d", secret, i), "")
			b.send(t, "POST", fmt.Sprintf("/ping/backup/%s/%d?rid=%d", secret, i%2, i), "log")
		})
	}
	all.Wait()
	if r := b.read(t, "backup"); r.Number != 40 || len(r.Running) != 0 || r.Success.Took < 0 || r.Failure.Took < 0 {
		t.Errorf("got %+v", r)
	}
}

// TestDocumentedLines runs the lines of docs/jobs.md with the shell of cron, and their programs replaced.
func TestDocumentedLines(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("no curl")
	}
	page, err := os.ReadFile("../../docs/jobs.md")
	if err != nil {
		t.Fatal(err)
	}
	lines := regexp.MustCompile(`(?m)^0 3 \* \* \* (.*)$`).FindAllStringSubmatch(string(page), -1)
	if len(lines) != 3 {
		t.Fatalf("docs/jobs.md has %d crontab lines", len(lines))
	}
	feature, err := os.ReadFile("../../features/hosts/jobs.feature")
	if err != nil || !strings.Contains(string(feature), lines[1][0]) {
		t.Errorf("the shipped feature does not have the line %s, %v", lines[1][0], err)
	}
	for i, line := range lines {
		for _, status := range []int{0, 3} {
			t.Run(fmt.Sprint(i, status), func(t *testing.T) {
				b := newBench(t)
				program := filepath.Join(t.TempDir(), "backup")
				if err := os.WriteFile(program, fmt.Appendf(nil, "#!/bin/sh\necho working; echo 'no space' >&2; sleep 0.2; exit %d\n", status), 0o700); err != nil { //nolint:gosec // a program
					t.Fatal(err)
				}
				if strings.Contains(line[1], "%") {
					t.Error("a crontab takes % as a line break")
				}
				command := strings.NewReplacer("SECRET", secret, "http://127.0.0.1:9469", b.server.URL, "/usr/local/bin/backup", program).Replace(line[1])
				shell := exec.CommandContext(t.Context(), "/bin/sh", "-c", command)
				out, _ := shell.CombinedOutput()
				r := b.read(t, "backup")
				switch {
				case i == 0 && status != 0:
					if r.Last() != nil {
						t.Errorf("got %+v", r.Last())
					}
				case r.Last() == nil || r.Last().Status != status:
					t.Errorf("got %+v, output %s", r.Last(), out)
				case i == 2:
					if took, known := r.Last().Duration(); !known || took < 200*time.Millisecond || r.Last().Log != "working\nno space" {
						t.Errorf("took %s, %t, log %q, output %s", took, known, r.Last().Log, out)
					}
				}
			})
		}
	}
}

// FuzzParse holds that an address is read or refused, whatever it is.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"backup/secret", "backup/secret/start", "a//b", "%", "%2e%2e/x", "backup/secret/255", ""} {
		f.Add(s, "")
		f.Add(s, "secret")
	}
	f.Fuzz(func(t *testing.T, path, header string) {
		q, ok := parse(path, header)
		if ok && (q.status < jobreport.Unstated || q.status > 255 || q.start && q.status != 0) {
			t.Errorf("%q: %+v", path, q)
		}
	})
}
