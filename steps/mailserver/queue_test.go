package mailserver_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/httpwire"
	"github.com/stepwatch/stepwatch/steps/mailhost"
	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

// showq is a Postfix showq socket that lists the given messages.
type showq struct {
	path     string
	mu       sync.Mutex
	messages []string
}

// queued returns a message in the format of showq, with this age.
func queued(queue, id string, age time.Duration, recipients ...string) string {
	m := fmt.Sprintf("queue_name\x00%s\x00queue_id\x00%s\x00time\x00%d\x00size\x001000\x00sender\x00a@example.test\x00", queue, id, time.Now().Add(-age).Unix())
	for _, r := range recipients {
		address, reason, _ := strings.Cut(r, " ")
		m += "recipient\x00" + address + "\x00"
		if reason != "" {
			m += "reason\x00" + reason + "\x00"
		}
	}
	return m + "\x00"
}

func newShowq(t *testing.T) *showq {
	t.Helper()
	before := goleak.IgnoreCurrent()
	s := &showq{path: filepath.Join(t.TempDir(), "showq")}
	listener, err := net.Listen("unix", s.path)
	if err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	done.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			fmt.Fprint(conn, "protocol\x00mail_queue_list_protocol\x00\x00", strings.Join(s.messages, ""), "\x00")
			s.mu.Unlock()
			conn.Close()
		}
	})
	t.Cleanup(func() {
		listener.Close()
		done.Wait()
		goleak.VerifyNone(t, before)
	})
	return s
}

func (s *showq) list(messages ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.messages = messages
}

func TestQueue(t *testing.T) {
	server := newShowq(t)
	target := &steps.Target{StateDir: t.TempDir(), Hosts: map[string]*steps.Host{
		"mx1": (&steps.Host{Name: "mx1"}).Set(&mailhost.Queue{Showq: server.path}),
		"mx2": {Name: "mx2"},
		"mx3": (&steps.Host{Name: "mx3"}).Set(&mailhost.Queue{Showq: filepath.Join(t.TempDir(), "showq")}),
		"mx4": (&steps.Host{Name: "mx4"}).Set(&mailhost.Queue{Exim: "/no/such/exim"}),
	}}
	const read = `When I read the mail queue of "mx1"` + "\n"
	three := []string{
		queued("deferred", "A", 3*time.Hour, "b@gmail.com connect to mx.gmail.com: Connection\n refused", "c@gmail.com connect to mx.gmail.com: Connection\n refused"),
		queued("active", "B", time.Minute, "d@gmail.com"),
		queued("hold", "C", time.Minute, "e@other.test"),
	}
	const details = `active 1, deferred 1, hold 1; the oldest 3h0m\ds old; 2 wait for gmail\.com: connect to mx\.gmail\.com: Connection refused`
	for _, c := range []struct {
		steps    string
		messages []string
		want     string
	}{
		{read + "Then it holds fewer than 1 messages\nAnd the oldest message is younger than 1s\nAnd nothing is on hold\nAnd nothing is frozen\n" +
			`And fewer than 1 messages wait for "gmail.com"` + "\nAnd fewer than 1 messages wait for any one destination\nAnd the deferred queue holds fewer than 1 messages", nil, "passed"},
		{read + "Then it holds fewer than 4 messages\nAnd the oldest message is younger than 3.1 hours\nAnd the hold queue holds fewer than 2 messages\n" +
			`And fewer than 3 messages wait for "GMail.com"`, three, "passed"},
		{read + "Then it holds fewer than 3 messages", three,
			`unexpected queue: the mail queue of "mx1" holds 3 messages, wanted fewer than 3 \(` + details + `\)`},
		{read + "Then the deferred queue holds fewer than 1 messages", three,
			`unexpected queue: the mail queue of "mx1" holds 1 deferred messages, wanted fewer than 1 \(` + details + `\)`},
		{read + "Then the frozen queue holds fewer than 1 messages", three,
			`scenario scenario: "mx1" has no queue called "frozen": it has active, deferred, hold, incoming, maildrop`},
		{read + "Then the oldest message is younger than 2 hours", three,
			`unexpected queue: the mail queue of "mx1" has had a message for 3h0m\ds, wanted less than 2h0m0s`},
		{read + `Then fewer than 2 messages wait for "gmail.com"`, three,
			`unexpected queue: the mail queue of "mx1" holds 2 messages for gmail\.com: connect to mx\.gmail\.com: Connection refused; wanted fewer than 2`},
		{read + `Then fewer than 2 messages wait for any one destination`, three,
			`unexpected queue: the mail queue of "mx1" holds 2 messages for gmail\.com: connect to mx\.gmail\.com: Connection refused; wanted fewer than 2 for any one destination`},
		{read + `Then nothing is on hold`, three,
			`unexpected queue: the mail queue of "mx1" has 1 messages on hold: find out why, then postsuper -H or -d`},
		{read, []string{queued("corrupt", "A", 0)},
			`protocol queue: read the mail queue of "mx1": read \S+/showq: unknown format: message A is in a queue called "corrupt"`},
		{read, []string{"queue_name\x00active"},
			`disconnected queue: read the mail queue of "mx1": read \S+/showq: the answer ends early`},
		{`When I read the mail queue of "mx2"`, nil, `config scenario: host "mx2" has no queue: set hosts\.mx2\.queue in stepwatch\.yml`},
		{`When I read the mail queue of "mx3"`, nil, `connect queue: read the mail queue of "mx3": connect to \S+/showq: nothing answers: Postfix was not started \(postfix status\), or master\.cf has no showq`},
		{`When I read the mail queue of "mx4"`, nil, `unexpected monitor: read the mail queue of "mx4": run /no/such/exim: .*no such file or directory`},
		{`When I read the mail queue of "mx5"`, nil, `config scenario: no host "mx5" in stepwatch\.yml \(it has mx1, mx2, mx3, mx4\): add it under hosts`},
		{`Then it holds fewer than 5 messages`, nil, "scenario scenario: no mail queue was read before this step: begin with `I read the mail queue of \"mx1\"`"},
	} {
		server.list(c.messages...)
		got, _ := fixture.Judged(t, stepstest.Scenario{Target: target}, c.steps)
		if !regexp.MustCompile("^" + c.want + "$").MatchString(got) {
			t.Errorf("%s\ngot  %s\nwant %s", c.steps, got, c.want)
		}
	}

	server.list(three...)
	_, outcome := fixture.Judged(t, stepstest.Scenario{Target: target}, read)
	if note := outcome.Steps[0].Report.Note; !regexp.MustCompile("^3 messages: " + details + "$").MatchString(note) {
		t.Errorf("got the note %s", note)
	}
	if got := fixture.Measured(outcome, 0); !regexp.MustCompile(`^mail_queue_messages\{active\} 1
mail_queue_messages\{deferred\} 1
mail_queue_messages\{hold\} 1
mail_queue_messages\{incoming\} 0
mail_queue_messages\{maildrop\} 0
mail_queue_oldest_age_seconds 1080\d
mail_queue_bytes 3000
$`).MatchString(got) {
		t.Errorf("measured\n%s", got)
	}
	server.list()
	_, outcome = fixture.Judged(t, stepstest.Scenario{Target: target}, read)
	const zeros = "mail_queue_messages{active} 0\nmail_queue_messages{deferred} 0\nmail_queue_messages{hold} 0\nmail_queue_messages{incoming} 0\nmail_queue_messages{maildrop} 0\n" +
		"mail_queue_oldest_age_seconds 0\nmail_queue_bytes 0\n"
	if got := fixture.Measured(outcome, 0); got != zeros {
		t.Errorf("of an empty queue was measured\n%s", got)
	}
}

func TestQueueGrowth(t *testing.T) {
	server := newShowq(t)
	target := &steps.Target{StateDir: filepath.Join(t.TempDir(), "state"), Hosts: map[string]*steps.Host{"mx1": (&steps.Host{Name: "mx1"}).Set(&mailhost.Queue{Showq: server.path})}}
	const text = "When I read the mail queue of \"mx1\"\nThen it grew by less than 2 messages in "
	grew := func(window, want string) *stepstest.Outcome {
		t.Helper()
		got, outcome := fixture.Judged(t, stepstest.Scenario{Target: target}, text+window)
		if !regexp.MustCompile("^" + want + "$").MatchString(got) {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		return outcome
	}
	message := queued("active", "A", 0, "a@x.test")
	server.list(message)
	outcome := grew("10 minutes", `unexpected monitor: there is nothing to compare the 1 messages of "mx1" with: no earlier reading within 10m0s; this one is kept for the next run`)
	if got := fixture.Measured(outcome, 1); got != "" {
		t.Errorf("without anything to compare with was measured\n%s", got)
	}
	outcome = grew("10 minutes", `unexpected monitor: there is too little to compare the 1 messages of "mx1" with: the readings cover 0s of 10m0s`)
	if got := fixture.Measured(outcome, 1); got != "mail_queue_growth_messages 0\n" {
		t.Errorf("measured\n%s", got)
	}
	server.list(message, message, message)
	outcome = grew("10 minutes", `unexpected queue: the mail queue of "mx1" grew by 2 messages in 0s, to 3; wanted less than 2 in 10m0s`)
	if got := fixture.Measured(outcome, 1); got != "mail_queue_growth_messages 2\n" {
		t.Errorf("measured\n%s", got)
	}
	grew("1s", `unexpected monitor: there is nothing to compare .*`)
	time.Sleep(600 * time.Millisecond) // the window to cover
	outcome = grew("1s", "passed")
	if note := outcome.Steps[1].Report.Note; note != "grew by 0 messages; the readings cover 1s" {
		t.Errorf("got the note %q", note)
	}
	grew("10ms", `scenario scenario: the growth of a queue in 10ms is not measurable: write at least a second`)
	target.StateDir = "/proc/no"
	grew("10 minutes", `config monitor: store the reading of the mail queue of "mx1": .*: stepwatch's user must be able to write to the directory state of stepwatch\.yml`)
	target.StateDir = ""
	grew("10 minutes", `config scenario: there is no directory for the readings: set state in stepwatch\.yml`)
}

// newAPI is an HTTP API with a token.
func newAPI(t *testing.T, answers map[string]string) *steps.Target {
	t.Helper()
	before := goleak.IgnoreCurrent()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, found := strings.CutPrefix(r.URL.Path, "/api")
		answer, known := answers[path]
		switch {
		case r.Header.Get("Authorization") != "Bearer open sesame":
			w.WriteHeader(http.StatusUnauthorized)
		case !found || !known:
			w.WriteHeader(http.StatusNotFound)
		case strings.HasPrefix(answer, "/"):
			http.Redirect(w, r, answer, http.StatusFound)
		case strings.HasPrefix(answer, "cut "):
			w.Header().Set("Content-Length", "1000")
			fmt.Fprint(w, answer[4:])
		default:
			fmt.Fprint(w, answer)
		}
	}))
	t.Cleanup(func() {
		server.Close()
		goleak.VerifyNone(t, before)
	})
	queue := &mailhost.Queue{API: true}
	return &steps.Target{Hosts: map[string]*steps.Host{
		"mx1":   (&steps.Host{Name: "mx1"}).Set(queue).Set(&httpwire.API{URL: server.URL + "/api/", Token: "token"}),
		"wrong": (&steps.Host{Name: "wrong"}).Set(queue).Set(&httpwire.API{URL: server.URL + "/api", Token: "another"}),
		"none":  (&steps.Host{Name: "none"}).Set(queue).Set(&httpwire.API{URL: server.URL + "/api"}),
		"bare":  {Name: "bare"},
	}}
}

func TestAPI(t *testing.T) {
	const stats = `{"active": 2, "deferred": 40, "hold": 0, "status": "ok", "on": true, "text": "40", "shards": [{"n": 1}, {"n": 7}]}`
	good := newAPI(t, map[string]string{"/queue/stats": stats, "/health": `{"status": "UP"}`, "/moved": "/elsewhere", "/html": "<p>no</p>", "/half": "cut {", "/two": "{} {}"})
	const ask = `When I ask the API of "mx1" for "/queue/stats"` + "\n"
	const what = `the answer of http://127\.0\.0\.1:\d+/api/queue/stats `
	for _, c := range []struct{ steps, want string }{
		{ask + `Then its answer has "$.deferred" below 41` + "\n" + `And its answer has "$.shards[*].n" above 0` + "\n" + `And its answer has "$.status" equal to "ok"` + "\n" +
			`And its answer has "$.on" equal to "true"` + "\n" + `And its answer has "$.active" equal to "2.0"` + "\nAnd the API answered within 5s", "passed"},
		{`Then the API of "mx1" is healthy`, "passed"},
		{`When I read the mail queue of "mx1"` + "\nThen the deferred queue holds fewer than 41 messages\nAnd nothing is on hold", "passed"},
		{ask + `Then its answer has "$.deferred" below 40`, "unexpected web: " + what + `has 40 at \$\['deferred'\], wanted it below 40`},
		{ask + `Then its answer has "$.shards[*].n" below 5`, "unexpected web: " + what + `has 7 at \$\['shards'\]\[1\]\['n'\], wanted it below 5`},
		{ask + `Then its answer has "$.shards[*].n" above 1`, "unexpected web: " + what + `has 1 at \$\['shards'\]\[0\]\['n'\], wanted it above 1`},
		{ask + `Then its answer has "$.status" equal to "good"`, "unexpected web: " + what + `has "ok" at \$\['status'\], wanted "good"`},
		{ask + `Then its answer has "$.text" below 100`, "unexpected web: " + what + `has "40" at \$\['text'\], which is not a number`},
		{ask + `Then its answer has "$.defered" below 100`, "not_found web: " + what + `has nothing at \$\.defered; it has active, deferred, hold, on, shards, status, text`},
		{ask + `Then its answer has "deferred" below 100`, `scenario scenario: "deferred" is not a JSONPath: .*`},
		{ask + `Then the API answered within 0ms`, "slow web: " + what + `took \S+, wanted at most 0s`},
		{`Then its answer has "$" below 1`, "scenario scenario: no API has been asked yet: .*"},
		{`When I ask the API of "mx1" for "/html"` + "\n" + `Then its answer has "$" below 1`, `protocol web: the answer of \S+/html is not JSON: line 1, column 1 breaks its syntax: "<p>no</p>": it begins with "<p>no</p>"`},
		{`When I ask the API of "mx1" for "/two"` + "\n" + `Then its answer has "$" below 1`, `protocol web: the answer of \S+/two is not JSON: there is more data after the value`},
		{`When I ask the API of "mx1" for "/half"`, `disconnected web: GET \S+/half: read the answer, got 1 bytes: the server closed the connection`},
		{`When I ask the API of "mx1" for "/moved"`, `redirect web: GET \S+/moved: 302 Found to "/elsewhere", which must not receive the token: set hosts\.mx1\.api\.url to the API's URL`},
		{`When I ask the API of "mx1" for "/nothing"`, `http_status web: GET \S+/nothing: status 404 Not Found, wanted 2xx`},
		{`When I ask the API of "mx1" for "queue"`, `scenario scenario: "queue" is not a path: write it as "/queue/stats"`},
		{`When I ask the API of "wrong" for "/health"`, `auth web: GET \S+/health: the token of hosts\.wrong\.api\.token was refused with 401 Unauthorized`},
		{`When I ask the API of "none" for "/health"`, `auth scenario: GET \S+/health: 401 Unauthorized: it needs a token: set hosts\.none\.api\.token in stepwatch\.yml`},
		{`When I ask the API of "bare" for "/health"`, `config scenario: host "bare" has no api: set hosts\.bare\.api in stepwatch\.yml`},
		{`When I read the mail queue of "wrong"`, `auth web: GET \S+/queue/stats: the token of .*`},
		{`When I read the mail queue of "mx1"` + "\nThen the oldest message is younger than 1h",
			`config scenario: the API of "mx1" does not report the age \(oldest_age_seconds\) of its queue: add it to the answer of GET /queue/stats`},
		{`When I read the mail queue of "mx1"` + "\nThen fewer than 5 messages wait for any one destination",
			`config scenario: the API of "mx1" does not report the destinations \(destinations\) of its queue: .*`},
	} {
		got, outcome := fixture.Judged(t, stepstest.Scenario{Target: good, Secrets: stepstest.Secrets{"token": "open sesame", "another": "close sesame"}}, c.steps)
		if !regexp.MustCompile("^" + c.want + "$").MatchString(got) {
			t.Errorf("%s\ngot  %s\nwant %s", c.steps, got, c.want)
		}
		if strings.Contains(fmt.Sprintf("%s %+v", got, outcome), "sesame") {
			t.Errorf("%s: the token is in what it reports", c.steps)
		}
	}
	ill := newAPI(t, map[string]string{"/queue/stats": `{"length": 3}`, "/health": `{"status": "degraded"}`})
	for text, want := range map[string]string{
		`Then the API of "mx1" is healthy`:    `unexpected web: the answer of \S+/health has the status "degraded", wanted pass, ok, up, healthy, green`,
		`When I read the mail queue of "mx1"`: `protocol queue: read the mail queue of "mx1": unknown format: the answer has none of the members .*`,
	} {
		got, _ := fixture.Judged(t, stepstest.Scenario{Target: ill, Secrets: stepstest.Secrets{"token": "open sesame"}}, text)
		if !regexp.MustCompile("^" + want + "$").MatchString(got) {
			t.Errorf("%s\ngot  %s\nwant %s", text, got, want)
		}
	}
}
