//go:build linux

package stack_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/smtp"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps/maillog"
	"github.com/stepwatch/stepwatch/steps/stepstest/stack"
)

// watching writes a stepwatch.yml of the stack with these hosts' logs and a state directory of its own.
func watching(t *testing.T, logs map[string]string) (config, state string) {
	t.Helper()
	hosts := "hosts:\n"
	content := readLog(t, filepath.Join(servers.Dir, "stepwatch.yml"))
	for name, log := range logs {
		content = regexp.MustCompile(`(?m)^  `+name+`: \{address: .*\n`).ReplaceAllString(content, "")
		hosts += fmt.Sprintf("  %s: {address: %s, log: %s}\n", name, stack.Mail, log)
	}
	content = strings.Replace(content, "hosts:\n", hosts, 1)
	state = shared(t)
	config = write(t, "stepwatch.yml", content+"\nstate: "+state+"\n")
	return config, state
}

func logOf(name string) string { return filepath.Join(servers.Dir, "log", name) }

// grep counts the lines of a log and of what it was before it was rotated, as an operator does.
func grep(t *testing.T, path, expression string) (n int) {
	t.Helper()
	files, err := filepath.Glob(path + "*")
	if err != nil {
		t.Fatal(err)
	}
	pattern := regexp.MustCompile(expression)
	for _, file := range files {
		content := []byte(readLog(t, file))
		if strings.HasSuffix(file, ".gz") {
			z, err := gzip.NewReader(bytes.NewReader(content))
			if err != nil {
				t.Fatal(err)
			}
			if content, err = io.ReadAll(z); err != nil {
				t.Fatal(err)
			}
		}
		for line := range bytes.Lines(content) {
			if pattern.Match(line) {
				n++
			}
		}
	}
	return n
}

// misbehave makes every kind of line: delivered, bounced, deferred, rejected, refused logins over SMTP and IMAP.
func misbehave(t *testing.T) {
	t.Helper()
	submit(t, stack.Mail, servers.Config.Account(stack.Bob).Address, "Subject: delivered")
	arrived(t, stack.Bob, "", "Subject: delivered")
	bounce(t)
	rejected(t)
	for range 2 {
		refusedLogin(t)
		refusedIMAP(t)
	}
}

func bounce(t *testing.T) {
	t.Helper()
	submit(t, stack.Mail, "gone@"+stack.Domain)
	arrived(t, stack.Alice, "", "Undelivered Mail Returned to Sender")
}

func rejected(t *testing.T) {
	t.Helper()
	client := dial(t, stack.Mail, "587", servers.Config.Account(stack.Alice))
	if err := errors.Join(client.Mail(servers.Config.Account(stack.Alice).Address), client.Rcpt("nobody-there@"+stack.Domain)); err == nil {
		t.Error("an unknown mailbox was not refused")
	}
	client.Close()
}

// refusedRelaying has a stranger try to send to another, which Postfix is to refuse with this code.
func refusedRelaying(t *testing.T, code int) {
	t.Helper()
	client := dial(t, stack.Mail, "25", nil)
	err := errors.Join(client.Mail("a@elsewhere.test"), client.Rcpt("b@elsewhere.test"))
	if reply := (*textproto.Error)(nil); !errors.As(err, &reply) || reply.Code != code {
		t.Errorf("relaying: got %v, want %d", err, code)
	}
	client.Close()
}

func refusedLogin(t *testing.T) {
	t.Helper()
	client := dial(t, stack.Mail, "587", nil)
	if err := client.Auth(smtp.PlainAuth("", servers.Config.Account(stack.Alice).Address, "wrong", stack.Mail)); err == nil {
		t.Error("a wrong password was not refused")
	}
	client.Close()
}

func refusedIMAP(t *testing.T) {
	t.Helper()
	logInIMAP(t, stack.Alice, "wrong", "a NO ")
}

// logInIMAP does nothing else, and wants an answer that holds this.
func logInIMAP(t *testing.T, account, password, answer string) {
	t.Helper()
	conn, err := tls.Dial("tcp", net.JoinHostPort(stack.Mail, "993"), trusting(t, stack.Mail))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "a LOGIN %s %q\r\nb LOGOUT\r\n", servers.Config.Account(account).Address, password); err != nil {
		t.Fatal(err)
	}
	if got, _ := io.ReadAll(conn); !bytes.Contains(got, []byte(answer)) { // it hangs up in its own way
		t.Errorf("the answer to a login of %s lacks %q: %s", account, answer, got)
	}
}

func caughtUp(t *testing.T, path, state string) *maillog.Reading {
	t.Helper()
	r, err := maillog.Log{File: path, State: state}.CatchUp(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// equals wants the counts to be those of grep.
func equals(t *testing.T, path string, r *maillog.Reading, expressions map[maillog.Kind]string) {
	t.Helper()
	for kind, expression := range expressions {
		got, want := r.Count(kind, maillog.Kept), grep(t, path, expression)
		if got != want || want == 0 {
			t.Errorf("%s: counted %d %s, grep %d of %s", filepath.Base(path), got, kind, want, expression)
		}
		t.Logf("%s: %d %s", filepath.Base(path), got, kind)
	}
	parser := maillog.NewParser(time.Now(), nil)
	for line := range strings.Lines(readLog(t, path)) {
		if _, class := parser.Parse(strings.TrimSpace(line)); class != maillog.ClassMail {
			t.Errorf("not understood: %s", line)
		}
	}
}

var (
	ofPostfix = map[maillog.Kind]string{maillog.KindSent: "status=sent", maillog.KindBounced: "status=bounced", maillog.KindDeferred: `status=deferred \([^d]`,
		maillog.KindRejected: " (milter-)?reject: ", maillog.KindLoginRefused: "SASL [A-Z0-9-]+ authentication failed", maillog.KindSubmitted: ": client=.*sasl_username="}
	// Dovecot 2.3 writes "Login: user=", and since 2.4 "Logged in: user=". Only its own log has the "Info: ".
	ofDovecot = map[maillog.Kind]string{maillog.KindLoginRefused: `-login: (Info: )?.*auth failed, 1 attempts`, maillog.KindLogin: "-login: (Info: )?(Login|Logged in): user="}
	ofExim    = map[maillog.Kind]string{maillog.KindSent: " [=-]> ", maillog.KindDeferred: ` == .*[\])]: [^r]`, maillog.KindRejected: " rejected RCPT "}
)

func TestMailLogsOfRealServers(t *testing.T) {
	s := need(t)
	logs(t, "postfix", "dovecot", "exim.mainlog")
	unblock := blocked(t)
	submit(t, stack.Mail, servers.Config.Account(stack.Carol).Address, "Subject: deferred")
	eventually(t, waitLimit, "a delivery is deferred", func() bool { return grep(t, logOf("postfix"), "status=deferred") > 0 })
	unblock()
	arrived(t, stack.Carol, "", "Subject: deferred")
	misbehave(t)
	passes(t, filepath.Join(s.Dir, "stepwatch.yml"), `I send a message from "alice" to "bob" via 587`, `"bob" receives it over IMAP within 20s`)
	settle(t)
	equals(t, logOf("postfix"), caughtUp(t, logOf("postfix"), shared(t)), ofPostfix)
	equals(t, logOf("dovecot"), caughtUp(t, logOf("dovecot"), shared(t)), ofDovecot)

	if err := stack.EximUsable(); err != nil {
		t.Skip(err)
	}
	wrong := *s.Config.Account(stack.Alice)
	wrong.Password = "wrong"
	if err := s.StartExim(t.Context(), stack.Mail, wrong); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Exim.Stop() })
	plain := func(to string) error {
		client, err := smtp.Dial("127.0.6.1:25")
		if err != nil {
			return err
		}
		defer client.Close()
		if err := errors.Join(client.Mail("alice@"+stack.Domain), client.Rcpt(to)); err != nil {
			return err
		}
		body, err := client.Data()
		if err != nil {
			return err
		}
		_, err = body.Write([]byte("Subject: exim\r\n\r\nHello\r\n"))
		return errors.Join(err, body.Close(), client.Quit())
	}
	if err := plain("nobody@" + stack.Exim); err == nil {
		t.Error("Exim took mail for an unknown mailbox")
	}
	for _, to := range []string{s.Config.Account(stack.Erin).Address, "bob@" + stack.Domain} {
		if err := plain(to); err != nil {
			t.Logf("to %s: %v", to, err)
		}
	}
	exim := logOf("exim.mainlog")
	eventually(t, waitLimit, "Exim delivers one message and defers the other", func() bool { return grep(t, exim, " => ") > 0 && grep(t, exim, " == ") > 0 })
	arrived(t, stack.Erin, "", "Subject: exim")
	if err := s.Exim.Stop(); err != nil {
		t.Fatal(err)
	}
	equals(t, exim, caughtUp(t, exim, shared(t)), ofExim)
}

// TestMailLogRotatedWhileRead has logrotate rename, copy and compress a log that Postfix writes and several checks read, some of
// which are killed.
func TestMailLogRotatedWhileRead(t *testing.T) {
	s := need(t)
	needPackage(t, "logrotate")
	config, state := watching(t, map[string]string{"mx1": "{file: " + logOf("postfix") + "}"})
	feature := write(t, "log.feature", "Feature: Log\n  Scenario: Log\n    When I read the mail log of \"mx1\"\n    Then fewer than 100000 messages were rejected in the last 10 minutes\n")
	pid := filepath.Join(s.Dir, "postfix/queue/pid/master.pid")
	for name, how := range map[string]string{
		"rename": "create 0644 root root\n  postrotate\n    kill -HUP $(cat " + pid + ")\n  endscript",
		"copy":   "copytruncate",
	} {
		t.Run(name, func(t *testing.T) {
			rotation := write(t, "logrotate.conf", logOf("postfix")+" {\n  su root root\n  rotate 50\n  compress\n  delaycompress\n  "+how+"\n}\n")
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var all sync.WaitGroup
			all.Go(func() { // the reader, every third of whose checks is killed
				for n := 0; ctx.Err() == nil; n++ {
					limit, stop := ctx, context.CancelFunc(func() {})
					if n%3 == 0 {
						limit, stop = context.WithTimeout(ctx, time.Duration(5+n%40)*time.Millisecond)
					}
					var both sync.WaitGroup
					for range 2 {
						both.Go(func() { _ = exec.CommandContext(limit, stepwatch, "check", "--config", config, feature).Run() }) // judged at the end
					}
					both.Wait()
					stop()
				}
			})
			for range 6 {
				for range 5 {
					rejected(t)
				}
				if name == "copy" {
					time.Sleep(50 * time.Millisecond) // what is written between copying and truncating logrotate loses, as its manual says
				}
				if code, out := execute(t, "/usr/sbin/logrotate", "--force", "--state", filepath.Join(state, "logrotate"), rotation); code != 0 {
					t.Fatalf("logrotate: exit code %d: %s", code, out)
				}
			}
			rejected(t)
			eventually(t, waitLimit, "Postfix writes to the new log", func() bool { return strings.Contains(readLog(t, logOf("postfix")), "reject: ") })
			cancel()
			all.Wait()
			r := caughtUp(t, logOf("postfix"), state)
			equals(t, logOf("postfix"), r, map[maillog.Kind]string{maillog.KindRejected: " (milter-)?reject: ", maillog.KindConnected: "]: connect from "})
			if from, to, lost := r.Lost(maillog.Kept); lost {
				t.Errorf("lines of %s to %s are said to be lost", from, to)
			}
		})
	}
}

// shortened are the alerts of a shipped feature, over seconds and a few recipients instead of an hour and many.
func shortened(t *testing.T, name string) string {
	t.Helper()
	content := readLog(t, "../../../features/alerts/"+name)
	for _, r := range [][2]string{{"in the last 60 minutes", "in the last 5 seconds"}, {"in the last 10 minutes", "in the last 5 seconds"}, {"of at least 20", "of at least 3"},
		{"fewer than 100 ", "fewer than 6 "}, {"fewer than 500 ", "fewer than 5 "}, {"fewer than 20 ", "fewer than 5 "}, {"in the last 24 hours", "in the last 5 seconds"},
		{"@every:1m @timeout:50s", "@every:1s @timeout:900ms"}, {"@every:15m @timeout:50s", "@every:1s @timeout:900ms"}, {"of the last 60 minutes", "of the last 48 hours"}} {
		content = strings.ReplaceAll(content, r[0], r[1])
	}
	return write(t, name, content)
}

// TestAlertsOfTheMailLog produces the cause of each alert, and wants it on /metrics, as a Nagios plugin's state and in run's
// output, and gone again when the cause is.
func TestAlertsOfTheMailLog(t *testing.T) {
	s := need(t)
	postfix, dovecot := "{file: "+logOf("postfix")+"}", "{file: "+logOf("dovecot")+"}"
	config, _ := watching(t, map[string]string{"mx1": postfix, "old": dovecot})
	bounces, logins, old := shortened(t, "bounces.feature"), shortened(t, "logins.feature"), shortened(t, "old-host.feature")
	others := shared(t)
	eventually(t, waitLimit, "no refused login of an earlier test counts any more", func() bool {
		return caughtUp(t, logOf("postfix"), others).Count(maillog.KindLoginRefused, 5*time.Second) == 0
	})
	const address = "127.0.0.1:9470"
	agent := exec.Command(stepwatch, "agent", "--config", config, "--listen", address, bounces, logins, old)
	var said bytes.Buffer
	agent.Stderr = &said
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(agent.Process.Signal(syscall.SIGTERM), agent.Wait()); err != nil || t.Failed() {
			t.Logf("the agent ended with %v and said:\n%s", err, &said)
		}
	})
	metrics := func() string {
		response, err := http.Get("http://" + address + "/metrics")
		if err != nil {
			return ""
		}
		defer response.Body.Close()
		content, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	line := func(name, scenario string) string { // several when several steps measure it
		return strings.Join(regexp.MustCompile(`(?m)^stepwatch_`+name+`\{[^}]*scenario="`+scenario+`".*$`).FindAllString(metrics(), -1), "\n")
	}
	type alert struct {
		scenario, feature string
		cause             func()
		failing           string
		gauge             string
		least             string // of the gauge while it fires
	}
	const relaying = "Nobody tries to relay in bulk"
	var (
		manyBounce = func() {
			for range 4 {
				bounce(t)
			}
		}
		manyGuess = func() {
			for range 8 {
				refusedLogin(t)
			}
		}
		manyRelay = func(code int) func() {
			return func() {
				for range 6 {
					refusedRelaying(t, code)
				}
			}
		}
	)
	// together has all of these fire at once, and clears them.
	together := func(alerts ...alert) {
		t.Helper()
		passing := func(c alert) bool { return strings.HasSuffix(line("scenario_success", c.scenario), " 1") }
		for _, c := range alerts {
			eventually(t, 40*time.Second, c.scenario+" passes", func() bool { return passing(c) })
		}
		for _, c := range alerts {
			c.cause()
			eventually(t, 10*time.Second, c.scenario+" fires on /metrics, and its gauge says why", func() bool {
				return strings.HasSuffix(line("alert_firing", c.scenario), " 1") && regexp.MustCompile(`(?m) (`+c.least+`)$`).MatchString(line(c.gauge, c.scenario))
			})
			at := c.feature + ":" + fmt.Sprint(1+strings.Count(strings.SplitN(readLog(t, c.feature), "Scenario: "+c.scenario, 2)[0], "\n"))
			code, out := execute(t, stepwatch, "check", "--config", config, at)
			if code != 2 || !strings.HasPrefix(out, "STEPWATCH CRITICAL - ") || !regexp.MustCompile(c.failing).MatchString(out) {
				t.Errorf("check: exit code %d: %s", code, out)
			}
			t.Log(out)
			if code, out := execute(t, stepwatch, "run", "--config", config, at); code != 1 || !regexp.MustCompile(c.failing).MatchString(out) {
				t.Errorf("run: exit code %d: %s", code, out)
			}
		}
		for i, c := range alerts {
			eventually(t, 40*time.Second, c.scenario+" is over", func() bool { return passing(c) && strings.HasSuffix(line("alert_firing", c.scenario), " 0") })
			if i+1 < len(alerts) && alerts[i+1].feature == c.feature {
				continue
			}
			if code, out := execute(t, stepwatch, "check", "--config", config, c.feature); code != 0 {
				t.Errorf("check afterwards: exit code %d: %s", code, out)
			}
		}
	}
	together(
		alert{"Hardly anything bounces", bounces, manyBounce, `bounced in the last 5 seconds \(\d+\.\d%\), most failures: outside.invalid \d+, wanted less than 5%`, "mail_log_bounced_ratio", `0\.\d+|1`},
		alert{"Deliveries succeed", bounces, manyBounce, `deliveries failed in the last 5 seconds`, "mail_log_failed_ratio", `0\.\d+|1`},
		alert{"Nobody guesses passwords", logins, manyGuess, `\d+ logins were refused in the last 5 seconds, most from 127.0.0.1 \d+, wanted fewer than 6`, "mail_log_logins_refused", `[6-9]|\d\d`},
		alert{"No address is refused again and again", logins, manyGuess,
			`\d+ logins of 127.0.0.1 were refused in the last 5 seconds, wanted fewer than 5 from any one address`, "mail_log_logins_refused_worst", `[5-9]|\d\d`},
		alert{relaying, logins, manyRelay(554), `6 messages were rejected with 554`, "mail_log_rejected", `6`},
		alert{"Nobody uses it any more", old, func() { logInIMAP(t, stack.Bob, servers.Config.Account(stack.Bob).Password, "a OK ") }, `1 users used "old" in the last 5 seconds, the last of them bob@example.test from 127.0.0.1 at 20`, "mail_log_users", `[1-9]`},
	)
	configured(s.Postfix, "smtpd_relay_restrictions = permit_sasl_authenticated, defer_unauth_destination").while(t, func() {
		together(alert{relaying, logins, manyRelay(454), `6 messages were rejected with 454`, "mail_log_rejected", `6`})
	})
}

// TestFollowingAMessageInTheLog follows one that the queue holds first.
func TestFollowingAMessageInTheLog(t *testing.T) {
	s := need(t)
	logs(t, "postfix")
	config, _ := watching(t, map[string]string{"mx1": "{file: " + logOf("postfix") + "}"})
	out := passes(t, config, `I send a message from "alice" to "bob" via 587`, `the log of "mx1" shows it delivered with 250 within 10s`, `"bob" receives it over IMAP within 20s`)
	t.Log(out)
	for _, want := range []string{"sent to mail.example.test[private/dovecot-lmtp]: 250 2.0.0 <bob@example.test>", "according to the log of mx1: "} {
		if !strings.Contains(out, want) && !strings.Contains(out, strings.Replace(want, "private/dovecot-lmtp", s.Dir+"/dovecot/lmtp", 1)) {
			t.Errorf("no %q", want)
		}
	}
	blocked(t)
	follow := `the log of "mx1" shows it delivered within 1s`
	check(t, config, "I send a message from \"alice\" to \"bob\" via 587\n"+follow, outcome{follow, "deferred", "transfer"})
}

func TestMailLogThatMayNotBeRead(t *testing.T) {
	need(t)
	path := filepath.Join(shared(t), "mail.log")
	if err := os.WriteFile(path, []byte(readLog(t, logOf("postfix"))), 0o640); err != nil {
		t.Fatal(err)
	}
	config, state := watching(t, map[string]string{"mx1": "{file: " + path + "}"})
	if err := os.Chown(state, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	feature := write(t, "log.feature", "Feature: Log\n  Scenario: Log\n    When I read the mail log of \"mx1\"\n")
	cmd := exec.Command(stepwatch, "check", "--config", config, feature)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, _ := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != 3 || !strings.Contains(string(out), "permission denied: add stepwatch's user to the group that may read it, mostly adm") {
		t.Errorf("exit code %d: %s", code, out)
	}
	t.Logf("%s", out)
}

// overlay starts a program with a /dev/log of its own, which leads to the socket of a syslog in the namespaces.
const overlay = `mkdir -p /run/dev && mount -t tmpfs none /run/dev && mkdir /run/dev/upper /run/dev/work &&
mount -t overlay overlay -o lowerdir=/dev,upperdir=/run/dev/upper,workdir=/run/dev/work /dev &&
ln -sf /run/systemd/journal/dev-log /dev/log && exec "$@"`

// starts runs a program until the test is over.
func starts(t *testing.T, argv ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // it may have ended by itself
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s said: %s", filepath.Base(argv[0]), &said)
		}
	})
	return cmd
}

// TestMailLogBySyslog has OpenDKIM, which knows nothing else, log through rsyslog.
func TestMailLogBySyslog(t *testing.T) {
	s := need(t)
	needPackage(t, "rsyslog")
	dir := shared(t)
	path := filepath.Join(dir, "mail.log")
	rsyslog := write(t, "rsyslog.conf", `module(load="imuxsock" SysSock.Use="off")
input(type="imuxsock" Socket="/run/systemd/journal/dev-log" CreatePath="on")
module(load="builtin:omfile" Template="RSYSLOG_FileFormat")
mail.* `+path+"\n")
	starts(t, "/usr/sbin/rsyslogd", "-f", rsyslog, "-i", filepath.Join(dir, "pid"), "-n")
	eventually(t, waitLimit, "rsyslog listens", func() bool { _, err := os.Stat("/run/systemd/journal/dev-log"); return err == nil })
	config := strings.Replace(readLog(t, filepath.Join(s.Dir, "etc/opendkim.conf")), "Syslog                no", "Syslog yes\nSyslogSuccess yes", 1)
	if err := s.OpenDKIM.Stop(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.OpenDKIM.Start(context.Background()); err != nil { // not t's context, which is over
			t.Error(err)
		}
	})
	starts(t, "unshare", "--mount", "sh", "-c", overlay, "sh", "/usr/sbin/opendkim", "-f", "-x", write(t, "opendkim.conf", config))
	eventually(t, waitLimit, "OpenDKIM is up", func() bool { _, err := os.Stat(path); return err == nil && grep(t, path, "OpenDKIM Filter") > 0 })
	for range 3 {
		submit(t, stack.Mail, s.Config.Account(stack.Bob).Address, "Subject: signed")
		arrived(t, stack.Bob, "", "Subject: signed")
	}
	eventually(t, waitLimit, "three signatures stand in the log", func() bool { return grep(t, path, "DKIM-Signature field added") == 3 })
	equals(t, path, caughtUp(t, path, shared(t)), map[maillog.Kind]string{maillog.KindSigned: "DKIM-Signature field added"})
}

// TestMailLogInTheJournal puts what Postfix wrote into a journal of systemd's own making, and reads it with journalctl.
func TestMailLogInTheJournal(t *testing.T) {
	need(t)
	needPackage(t, "systemd-journal-remote")
	machine := strings.TrimSpace(readLog(t, "/etc/machine-id"))
	dir := filepath.Join("/run/log/journal", machine)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll("/run/log/journal") })
	misbehave(t)
	all := strings.Split(strings.TrimSpace(readLog(t, logOf("postfix"))), "\n")
	begin := time.Now().Add(-time.Hour)
	put := func(name string, from, to int) {
		t.Helper()
		var export strings.Builder
		for i, line := range all[from:to] {
			_, tagged, _ := strings.Cut(line[16:], " ")
			tag, message, _ := strings.Cut(tagged, ": ")
			identifier, pid, _ := strings.Cut(strings.TrimSuffix(tag, "]"), "[")
			fmt.Fprintf(&export, "__REALTIME_TIMESTAMP=%d\n__MONOTONIC_TIMESTAMP=%d\n_BOOT_ID=%s\n_MACHINE_ID=%[3]s\nMESSAGE=%s\nSYSLOG_IDENTIFIER=%s\n_PID=%s\n_SYSTEMD_UNIT=postfix@-.service\n\n",
				begin.Add(time.Duration(from+i)*time.Millisecond).UnixMicro(), 1000*(from+i+1), machine, message, identifier, pid)
		}
		cmd := exec.Command("/lib/systemd/systemd-journal-remote", "--output="+filepath.Join(dir, name), "-")
		cmd.Stdin = strings.NewReader(export.String())
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("systemd-journal-remote: %v: %s", err, out)
		}
	}
	log := maillog.Log{Journal: []string{"postfix@-.service"}, State: shared(t)}
	read := func() *maillog.Reading {
		t.Helper()
		r, err := log.CatchUp(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if _, err := log.CatchUp(t.Context()); err == nil || err.Error() != "the journal of postfix@-.service is empty: does the mail server write to it?" {
		t.Errorf("no journal: got %v", err)
	}
	half := len(all) / 2
	put("system.journal", 0, half)
	if r := read(); r.Lines != int64(half) {
		t.Errorf("read %d lines, want %d", r.Lines, half)
	}
	if r := read(); r.Lines != 0 {
		t.Errorf("read %d lines a second time", r.Lines)
	}
	put("system@2.journal", half, len(all))
	r := read()
	if r.Lines != int64(len(all)-half) {
		t.Errorf("read %d new lines, want %d", r.Lines, len(all)-half)
	}
	for kind, expression := range ofPostfix {
		pattern, want := regexp.MustCompile(expression), 0
		for _, line := range all {
			if pattern.MatchString(line) {
				want++
			}
		}
		if got := r.Count(kind, maillog.Kept); got != want {
			t.Errorf("counted %d %s, want %d", got, kind, want)
		}
	}
	if _, _, lost := r.Lost(maillog.Kept); lost {
		t.Error("lines are said to be lost")
	}
	// What was read last is vacuumed away, and something comes after it.
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	begin = time.Now().Add(-time.Minute)
	put("system@3.journal", 0, 1)
	if _, _, lost := read().Lost(time.Minute); !lost {
		t.Error("nothing is said of the entries that were lost")
	}
}
