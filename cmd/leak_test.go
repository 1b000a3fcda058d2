package cmd

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/redact"
	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/stepstest/disguise"
	"github.com/stepwatch/stepwatch/steps/stepstest/nameserver"
)

// indiscreet are servers that repeat a password in what they answer, in a form that changes.
type indiscreet struct {
	form  atomic.Pointer[string]
	dir   string
	names *nameserver.Server
}

func (s *indiscreet) said() string { return *s.form.Load() }

// lines returns the form as it fits into an answer of lines, each after prefix.
func (s *indiscreet) lines(prefix string) string {
	text := strings.NewReplacer("\r\n250-", "\n", "\r\n", "\n", "\x00", "").Replace(s.said())
	return strings.ReplaceAll(text, "\n", "\r\n"+prefix)
}

// serve serves connections, over TLS if there is a certificate, and returns the address.
func serve(t *testing.T, certificate *tls.Certificate, dialogue func(r *bufio.Reader, w io.Writer)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if certificate != nil {
		listener = tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{*certificate}})
	}
	var served sync.WaitGroup
	served.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			served.Go(func() {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
				dialogue(bufio.NewReader(conn), conn)
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		served.Wait()
	})
	return address
}

// each answers every line until answer returns false.
func each(greeting string, answer func(line string) (reply string, more bool)) func(r *bufio.Reader, w io.Writer) {
	return func(r *bufio.Reader, w io.Writer) {
		_, _ = io.WriteString(w, greeting)
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			reply, more := answer(strings.TrimSpace(line))
			if _, err := io.WriteString(w, reply+"\r\n"); err != nil || !more {
				return
			}
		}
	}
}

func (s *indiscreet) smtp(line string) (string, bool) {
	switch verb, _, _ := strings.Cut(strings.ToUpper(line), " "); verb {
	case "EHLO":
		return "250-leak.test\r\n250 AUTH PLAIN LOGIN", true
	case "AUTH":
		return "535-5.7.8 wrong: " + s.lines("535-5.7.8 ") + "\r\n535 5.7.8 try again", true
	}
	return "221 bye", false
}

func (s *indiscreet) imap(line string) (string, bool) {
	tag, rest, _ := strings.Cut(line, " ")
	switch verb, _, _ := strings.Cut(strings.ToUpper(rest), " "); verb {
	case "CAPABILITY":
		return "* CAPABILITY IMAP4rev1\r\n" + tag + " OK done", true
	case "LOGIN":
		text := s.lines("* ")
		return "* OK [ALERT] not with " + text + "\r\n" + tag + " NO [AUTHENTICATIONFAILED] wrong: " + strings.Split(text, "\r\n")[0], true
	}
	return tag + " BAD no", true
}

func (s *indiscreet) pop3(line string) (string, bool) {
	switch verb, _, _ := strings.Cut(strings.ToUpper(line), " "); verb {
	case "USER":
		return "+OK", true
	case "PASS":
		return "-ERR wrong: " + s.lines(""), true
	}
	return "-ERR no", true
}

// postgres refuses the login (the protocol of PostgreSQL, ErrorResponse).
func (s *indiscreet) postgres(r *bufio.Reader, w io.Writer) {
	if _, err := r.ReadByte(); err != nil {
		return
	}
	text := strings.ReplaceAll(s.said(), "\x00", "")
	fields := "SFATAL\x00VFATAL\x00C28P01\x00Mwrong password: " + text + "\x00\x00"
	_, _ = w.Write(append(binary.BigEndian.AppendUint32([]byte{'E'}, uint32(len(fields)+4)), fields...))
}

// amqp closes the connection with a text (AMQP 0-9-1, connection.close).
func (s *indiscreet) amqp(answer string, conn net.Conn) bool {
	if answer != "connection.tune" {
		return false
	}
	text := s.said()[:min(255, len(s.said()))]
	body := binary.BigEndian.AppendUint16([]byte{0, 10, 0, 50}, 403)
	body = append(append(append(body, byte(len(text))), text...), 0, 0, 0, 0)
	frame := binary.BigEndian.AppendUint32([]byte{1, 0, 0}, uint32(len(body)))
	_, _ = conn.Write(append(append(frame, body...), 0xce))
	return true
}

// ServeHTTP repeats the form in a page, in header fields and in JSON.
func (s *indiscreet) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	line := strings.NewReplacer("\r\n", " ", "\n", " ", "\x00", "").Replace(s.said())
	w.Header().Set("X-Debug", line)
	switch r.URL.Path {
	case "/json":
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]string{"status": s.said()})
	case "/elsewhere":
		w.Header().Set("Location", "/gone?password="+line)
		w.WriteHeader(http.StatusFound)
	case "/gone":
		http.Error(w, "gone: "+r.URL.RawQuery, http.StatusGone)
	default:
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = fmt.Fprintf(w, "<title>%[1]s</title><h1>Debug</h1><p>Your password is %[1]s</p><input value=\"%[1]s\"><pre>\n%[1]s\n</pre>", s.said())
	}
}

// leaking starts the servers and writes a project that talks to all of them.
func leaking(t *testing.T, dir, secret, policy string) *indiscreet {
	t.Helper()
	s := &indiscreet{}
	s.form.Store(&secret)
	ca, err := stepstest.NewCA("leak")
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := ca.Issue("leak.test")
	if err != nil {
		t.Fatal(err)
	}
	broker, err := stepstest.NewAMQPServer(nil, s.amqp)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = broker.Close() })
	names, err := nameserver.Start("127.0.0.1:0", "$ORIGIN leak.test.\n$TTL 60\n@ SOA ns root 1 1 1 1 1\n@ TXT x\n")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = names.Close() })
	site := httptest.NewServer(s)
	t.Cleanup(site.Close)
	_, port, _ := net.SplitHostPort(broker.Address)
	files := map[string]string{
		"password": secret,
		"plugin":   "#!/bin/sh\ncat \"$(dirname \"$0\")/form\"; cat \"$(dirname \"$0\")/form\" >&2; exit 2\n",
		"ca.pem":   string(ca.PEM()),
		"stepwatch.yml": fmt.Sprintf(`accounts:
  alice: {address: alice@leak.test, password: {file: password}, smtp: leak.test, imap: leak.test, pop3: leak.test}
hosts:
  broker: {address: 127.0.0.1, amqp: {user: alice, password: {file: password}, port: %s}}
databases:
  records: {postgresql: %q, name: records, user: alice, password: {file: password}}
secrets: {members: {file: password}}
state: state
resolver: %q
tls: {ca: [ca.pem]}
connect_to: {"leak.test:465": %q, "leak.test:993": %q, "leak.test:995": %q}
`, port, serve(t, nil, s.postgres), names.Address(),
			serve(t, &certificate, each("220 leak.test ESMTP\r\n", s.smtp)), serve(t, &certificate, each("* OK hello\r\n", s.imap)), serve(t, &certificate, each("+OK hello\r\n", s.pop3))),
		"leak.feature": fmt.Sprintf(`%s
Feature: Leaks
  Scenario: SMTP
    When I try to send a message from "alice" to "alice" via 465
    Then it is refused with 250
  Scenario: SMTP, a message
    When I send a message from "alice" to "alice" via 465
  Scenario: IMAP
    Then the mailbox of "alice" is less than 90 %% full
  Scenario: POP3
    Then "alice" receives it over POP3 via 995 within 1s
  Scenario: A page
    Given the environment variable "A" holds the secret "members"
    When I go to "%[2]s/"
    Then I should see "Welcome"
  Scenario: A page before the password is read
    When I go to "%[2]s/"
    And I fill in "Password" with the secret "members"
  Scenario: JSON
    Given the environment variable "A" holds the secret "members"
    When I go to "%[2]s/json"
    Then the JSON at "$.status" should be "fine"
  Scenario: A redirect
    Given the environment variable "A" holds the secret "members"
    When I go to "%[2]s/elsewhere"
  Scenario: A header
    Given the environment variable "A" holds the secret "members"
    When I go to "%[2]s/"
    Then the "X-Debug" header should be "off"
  Scenario: A plugin
    Given the environment variable "A" holds the secret "members"
    When I run the plugin "%[3]s/plugin"
  Scenario: DNS
    Given the environment variable "A" holds the secret "members"
    Then the SPF record of "leak.test" is valid
  Scenario: A database
    When I query the database "records" for "SELECT 1"
  Scenario: A broker
    When I look at the AMQP queue "mail" of "broker"
`, policy, site.URL, dir),
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	s.dir, s.names = dir, names
	s.use(t, secret)
	return s
}

// use lets all servers repeat this form from now on.
func (s *indiscreet) use(t *testing.T, form string) {
	t.Helper()
	s.form.Store(&form)
	record := strings.NewReplacer("\r\n", " ", "\n", " ", "\x00", "", `\`, `\\`).Replace(form)
	s.names.Misbehave(nameserver.Instead("leak.test", "v=spf1 password="+record[:min(len(record), 200)]+" "+record[:min(len(record), 30)]+" -all"))
	if err := os.WriteFile(filepath.Join(s.dir, "form"), []byte(form), 0o600); err != nil {
		t.Fatal(err)
	}
}

// holdsNothing looks for the secret in every file below dir except those of the project, and in the texts.
func holdsNothing(t *testing.T, what, secret, dir string, texts map[string]string) (hidden int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		if name, _ := filepath.Rel(dir, path); name == "password" || name == "form" {
			return nil
		}
		content, err := os.ReadFile(path)
		texts[path] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range texts {
		hidden += strings.Count(text, redact.Hidden)
		if how := disguise.Find(text, secret); how != "" {
			t.Errorf("%s: %s holds the password (%s):\n%.3000s", what, name, how, text)
		}
	}
	return hidden
}

// TestLeaks lets servers of every kind repeat a password in every form, and searches all that stepwatch writes.
func TestLeaks(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	for verb, test := range map[string]struct {
		secret string
		least  int // how often something is hidden at least
	}{"run": {`s3same&Path7`, 10}, "check": {`Pä"s <w>&r7`, 3}} {
		dir := t.TempDir()
		s := leaking(t, dir, test.secret, "@timeout:5s")
		for _, form := range disguise.Forms(test.secret) {
			s.use(t, form.Text)
			var out, errs syncBuffer
			args := []string{verb, "--config", filepath.Join(dir, "stepwatch.yml"), filepath.Join(dir, "leak.feature")}
			if code := dispatch(t.Context(), &terminal{out: &out, err: &errs}, args); code == exitPassed {
				t.Fatalf("%s: everything passed: %s%s", form.Name, out.String(), errs.String())
			}
			texts := map[string]string{"stdout": out.String(), "stderr": errs.String()}
			if hidden := holdsNothing(t, form.Name+", "+verb, test.secret, dir, texts); hidden < test.least {
				t.Errorf("%s, %s: only %d times something is hidden: the servers do not repeat it: %s", form.Name, verb, hidden, out.String())
			}
			if err := os.RemoveAll(filepath.Join(dir, "state")); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestPartsOfASecretInARecord lets a record have a password with blanks in it: each part stands on its own in what is said.
func TestPartsOfASecretInARecord(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	dir := t.TempDir()
	leaking(t, dir, `s3same&Path7`, "@timeout:5s").use(t, `s3same<!-- a > b -->&Path7`)
	var out, errs syncBuffer
	args := []string{"run", "--config", filepath.Join(dir, "stepwatch.yml"), "--name", "DNS", filepath.Join(dir, "leak.feature")}
	if code := dispatch(t.Context(), &terminal{out: &out, err: &errs}, args); code == exitPassed {
		t.Fatalf("it passed: %s%s", out.String(), errs.String())
	}
	said := out.String() + errs.String()
	if strings.Contains(said, "s3same") || strings.Contains(said, "Path7") || !strings.Contains(said, redact.Hidden+": not a mechanism") {
		t.Error(said)
	}
}

// TestAgentLeaks does the same with the agent: its log, its pages, metrics and API, and what it keeps.
func TestAgentLeaks(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	const secret = `s3same&Path7`
	dir := t.TempDir()
	s := leaking(t, dir, secret, "@every:1s @timeout:5s")
	ctx, stop := context.WithCancelCause(context.Background())
	defer stop(nil)
	var out, errs syncBuffer
	code := make(chan int, 1)
	go func() {
		code <- dispatch(ctx, &terminal{out: &out, err: &errs}, []string{"agent", "--config", filepath.Join(dir, "stepwatch.yml"), "--listen", "127.0.0.1:0", filepath.Join(dir, "leak.feature")})
	}()
	address := regexp.MustCompile(`http://\S+/metrics`)
	until(t, "the address", func() bool { return address.MatchString(errs.String()) })
	metrics := address.FindString(errs.String())
	for _, form := range disguise.Forms(secret) {
		s.use(t, form.Text)
		time.Sleep(100 * time.Millisecond) // every scenario sees ten forms a second apart at least
	}
	texts := map[string]string{"metrics": get(t, metrics), "landing page": get(t, strings.TrimSuffix(metrics, "metrics"))}
	api := strings.TrimSuffix(metrics, "metrics") + "api/"
	for _, path := range []string{"scenarios", "alerts", "agent"} {
		texts["api/"+path] = get(t, api+path)
	}
	runs := 0
	for _, id := range regexp.MustCompile(`"id":"([0-9a-f]{12})"`).FindAllStringSubmatch(texts["api/scenarios"], -1) {
		list := get(t, api+"scenarios/"+id[1]+"/runs?failed=true&limit=20")
		texts["api/runs of "+id[1]] = list
		for _, run := range regexp.MustCompile(`"id":"([0-9a-f]{12}-\w+)"`).FindAllStringSubmatch(list, -1) {
			texts["api/runs/"+run[1]] = get(t, api+"runs/"+run[1])
			runs++
		}
	}
	if runs == 0 {
		t.Error("the API shows no failed run")
	}
	stop(steps.ErrStopped)
	select {
	case <-code:
	case <-time.After(30 * time.Second):
		t.Fatal("the agent did not stop")
	}
	texts["stdout"], texts["stderr"] = out.String(), errs.String()
	if hidden := holdsNothing(t, "agent", secret, dir, texts); hidden < 50 {
		t.Errorf("only %d times something is hidden", hidden)
	}
}
