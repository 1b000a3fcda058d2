package mailserver

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/mail"
	"github.com/stepwatch/stepwatch/steps/mailhost"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

// delivery returns a line of Postfix about a recipient.
func delivery(status, domain string) string {
	return "@postfix/smtp[7]: 4jWmm25qFkz1VF5h: to=<a@" + domain + ">, relay=mx." + domain + "[192.0.2.9]:25, delay=1, delays=0.1/0.2/0.3/0.4, dsn=2.0.0, status=" + status + " (250 Ok)"
}

func repeat(n int, line string) []string {
	lines := make([]string, n)
	for i := range lines {
		lines[i] = line
	}
	return lines
}

func TestMailLog(t *testing.T) {
	refused := func(ip string) string {
		return "@postfix/smtpd[7]: warning: x[" + ip + "]: SASL PLAIN authentication failed: (reason unavailable), sasl_username=u"
	}
	var lines []string
	lines = append(lines, repeat(16, delivery("sent", "good.test"))...)
	lines = append(lines, delivery("bounced", "gone.test"), delivery("bounced", "gone.test"), delivery("deferred", "late.test"), delivery("bounced", "no.test"))
	lines = append(lines, repeat(3, refused("192.0.2.66"))...)
	lines = append(lines, refused("192.0.2.67"),
		"@postfix/smtpd[8]: NOQUEUE: reject: RCPT from x[192.0.2.9]: 554 5.7.1 <c>: Relay access denied; from=<a> to=<c>",
		"@postfix/smtpd[8]: NOQUEUE: reject: RCPT from x[192.0.2.9]: 450 4.7.1 <c>: Greylisted; from=<a> to=<c>",
		"@postfix/smtpd[8]: disconnect from x[192.0.2.9] ehlo=1 mail=1 quit=1 commands=3",
		"@postfix/smtpd[8]: disconnect from x[192.0.2.9] ehlo=2 starttls=1 mail=1 quit=1 commands=4",
		"@dovecot: imap-login: Login: user=<bob@b.test>, method=PLAIN, rip=192.0.2.9, lip=192.0.2.1, mpid=1, TLS, session=<x>",
		"a line of nothing", "@sshd[1]: hello")
	const read = `I read the mail log of "mx1"`
	for _, c := range []struct{ step, want, name, value, note string }{
		{"less than 16% bounced in the last 60 minutes", "", "mail_log_bounced_ratio", "0.15789473684210525", "3 of 19 recipients with a final outcome bounced in the last 60 minutes (15.8%), most failures: gone.test 2, no.test 1"},
		{"less than 5% bounced in the last 1h", "3 of 19 recipients with a final outcome bounced in the last 1h (15.8%), most failures: gone.test 2, no.test 1, wanted less than 5%: the log PATH says why (unexpected, blame transfer)", "mail_log_recipients", "19", ""},
		{"less than 5% of at least 20 bounced in the last 1h", "", "mail_log_bounced_ratio", "0.15789473684210525", "3 of 19 recipients with a final outcome bounced in the last 1h: too few to judge"},
		{"less than 21% failed in the last 10 minutes", "", "mail_log_failed_ratio", "0.2", ""},
		{"less than 20% of at least 20 failed in the last 10 minutes", "4 of 20 deliveries failed in the last 10 minutes (20.0%), most failures: gone.test 2, late.test 1, no.test 1, wanted less than 20%: the log PATH says why (unexpected, blame transfer)", "mail_log_failed_ratio", "0.2", ""},
		{"less than 6% were deferred in the last 10 minutes", "", "mail_log_deferred_ratio", "0.05", ""},
		{"less than 5% were deferred in the last 10 minutes", "1 of 20 deliveries were deferred in the last 10 minutes (5.0%), most failures: late.test 1, wanted less than 5%: the log PATH says why (unexpected, blame transfer)", "mail_log_deferred_ratio", "0.05", ""},
		{"fewer than 5 logins were refused in the last 10 minutes", "", "mail_log_logins_refused", "4", "4 logins were refused in the last 10 minutes, most from 192.0.2.66 3, 192.0.2.67 1"},
		{"fewer than 4 logins were refused in the last 10 minutes", "4 logins were refused in the last 10 minutes, most from 192.0.2.66 3, 192.0.2.67 1, wanted fewer than 4: somebody guesses passwords, or a program has an old password (unexpected, blame target)", "mail_log_logins_refused", "4", ""},
		{"fewer than 4 logins were refused from any one address in the last 10 minutes", "", "mail_log_logins_refused_worst", "3", ""},
		{"fewer than 3 logins were refused from any one address in the last 10 minutes", "3 logins of 192.0.2.66 were refused in the last 10 minutes, wanted fewer than 3 from any one address: ban it, or fix the program there that has an old password (unexpected, blame target)", "mail_log_logins_refused_worst", "3", ""},
		{"fewer than 3 logins were refused from any one address in the last 3 hours", `addresses are kept for 2 hours only: shorten "3 hours" (scenario, blame scenario)`, "", "", ""},
		{"fewer than 3 messages were rejected in the last 10 minutes", "", "mail_log_rejected", "2", ""},
		{"fewer than 2 messages were rejected in the last 10 minutes", `2 messages were rejected in the last 10 minutes, wanted fewer than 2: look for "reject" in the log PATH (unexpected, blame target)`, "mail_log_rejected", "2", ""},
		{"fewer than 2 messages were rejected with 554 in the last 10 minutes", "", "mail_log_rejected", "1", ""},
		{"fewer than 1 messages were rejected with 4.7.1 in the last 10 minutes", `1 messages were rejected with 4.7.1 in the last 10 minutes, wanted fewer than 1: look for "reject" in the log PATH (unexpected, blame target)`, "mail_log_rejected", "1", ""},
		{"at least 50% of incoming mail connections used TLS in the last 24 hours", "", "mail_log_tls_ratio", "0.5", "1 of 2 incoming mail connections used TLS in the last 24 hours (50.0%)"},
		{"at least 95% of incoming mail connections used TLS in the last 24 hours", "1 of 2 incoming mail connections used TLS in the last 24 hours (50.0%), wanted at least 95%: the others were not encrypted (tls, blame transfer)", "mail_log_tls_connections", "2", ""},
		{"at least 0% of outgoing deliveries used TLS in the last 24 hours", "", "mail_log_tls_ratio", "0", ""},
		{"at least 1% of outgoing deliveries used TLS in the last 24 hours", "0 of 16 outgoing deliveries used TLS in the last 24 hours (0.0%), wanted at least 1%: the others were not encrypted, or Postfix does not log it: set smtp_tls_loglevel = 1 (tls, blame transfer)", "mail_log_tls_ratio", "0", ""},
		{"the mail log has a line of the last 1 minute", "", "", "", ""},
		{`nobody used the host "new" in the last 24 hours`, "", "mail_log_users", "0", ""},
		{`nobody used the host "old" in the last 24 hours`, `1 users used "old" in the last 24 hours, the last of them bob@b.test from 192.0.2.9 at TIME: move them, or correct the host in their programs (unexpected, blame target)`, "mail_log_users", "1", ""},
		{`nobody used the host "mx1" in the last 24 hours`, `1 users used "mx1" in the last 24 hours, the last of them bob@b.test from 192.0.2.9 at TIME: move them, or correct the host in their programs (unexpected, blame target)`, "mail_log_users", "1", ""},
		{"less than 5% bounced in the last 49 hours", "a mail log is not remembered for 49 hours: write at most 48 hours (scenario, blame scenario)", "", "", ""},
	} {
		t.Run(c.step, func(t *testing.T) {
			w, target := fixture.MailLogWorld(t, lines...)
			path := steps.PartOf[*mailhost.Log](target.Hosts["mx1"]).File
			if err := fixture.Perform(t, w, read); err != nil {
				t.Fatal(err)
			}
			if n, _ := fixture.Reported(w, "mail_log_lines"); n != float64(len(lines)-2) {
				t.Errorf("%v lines of mail, want %d", n, len(lines)-2)
			}
			w.TakeReport()
			stepErr := fixture.Perform(t, w, c.step)
			report := w.TakeReport()
			if strings.Contains(c.want, "TIME") && stepErr != nil {
				if _, after, ok := strings.Cut(stepErr.Error(), " at 20"); ok {
					c.want = strings.ReplaceAll(c.want, "TIME", "20"+after[:len("26-01-02 15:04:05")])
				}
			}
			fixture.WantFailure(t, stepErr, strings.ReplaceAll(c.want, "PATH", path))
			if c.note != "" && report.Note != c.note {
				t.Errorf("note %q\nwant %q", report.Note, c.note)
			}
			for _, m := range report.Measurements {
				if m.Name == c.name && fmt.Sprint(m.Value) != c.value {
					t.Errorf("%s is %v, want %s", m.Name, m.Value, c.value)
				}
			}
		})
	}
}

func TestMailLogThatCannotBeRead(t *testing.T) {
	w, target := fixture.MailLogWorld(t, "@postfix/smtpd[8]: connect from x[192.0.2.9]")
	fixture.WantFailure(t, fixture.Perform(t, w, "less than 5% bounced in the last 1h"), `no mail log was read before this step: begin with "I read the mail log of …" (scenario, blame scenario)`)
	fixture.WantFailure(t, fixture.Perform(t, w, `I read the mail log of "old"`), `host "old" has no log: set hosts.old.log in stepwatch.yml (config, blame scenario)`)
	path := steps.PartOf[*mailhost.Log](target.Hosts["wrong"]).File
	fixture.WantFailure(t, fixture.Perform(t, w, `I read the mail log of "wrong"`), `read the mail log of "wrong": the log `+path+` does not exist: correct the path, or use journal if the system has no such file: stat `+path+`: no such file or directory (config, blame monitor)`)
	w, _ = fixture.MailLogWorld(t, strings.ReplaceAll("@postfix/smtpd[8]: connect from x[192.0.2.9]", "@", time.Now().Add(-time.Hour).Format(time.Stamp)+" m "))
	if err := fixture.Perform(t, w, `I read the mail log of "mx1"`); err != nil {
		t.Fatal(err)
	}
	fixture.WantFailure(t, fixture.Perform(t, w, "less than 5% bounced in the last 1h"), "")
	if err := fixture.Perform(t, w, "the mail log has a line of the last 15 minutes"); err == nil || !strings.Contains(err.Error(), "s old, wanted one of the last 15 minutes: is the mail server down, or does it log elsewhere?") {
		t.Error(err)
	}
}

// TestFollowing only writes a message to the log, which was accepted under the queue id of the lines.
func TestFollowing(t *testing.T) {
	const (
		id      = "4jWmm25qFkz1VF5h"
		toA     = "@postfix/smtp[7]: " + id + ": to=<a@b.test>, relay=mx[192.0.2.9]:25, delay=41.5, delays=0.1/41.2/0/0.2, dsn=2.0.0, status="
		follow  = `the log of "mx1" shows it delivered within 100ms`
		with250 = `the log of "mx1" shows it delivered with 250 within 100ms`
	)
	for name, c := range map[string]struct {
		lines      []string
		step, want string
		note       string
	}{
		"sent":             {[]string{toA + "sent (250 2.0.0 Ok: queued as 4jWnother1)"}, with250, "", "sent to mx[192.0.2.9]:25: 250 2.0.0 Ok: queued as 4jWnother1; 0.100s before the queue, 41.2s in the queue, 0.200s handing over"},
		"by another code":  {[]string{toA + "sent (251 2.0.0 Ok)"}, with250, id + " was not delivered with 250: sent to mx[192.0.2.9]:25: 251 2.0.0 Ok; 0.100s before the queue, 41.2s in the queue, 0.200s handing over (unexpected, blame transfer)", ""},
		"after a deferral": {[]string{toA + "deferred (host mx said: 450 4.2.0 no)", toA + "sent (250 Ok)"}, follow, "", "sent to mx[192.0.2.9]:25: 250 Ok; 0.100s before the queue, 41.2s in the queue, 0.200s handing over"},
		"deferred":         {[]string{toA + "deferred (host mx said: 450 4.2.0 no)"}, follow, id + " was not delivered within 100ms: deferred to mx[192.0.2.9]:25: host mx said: 450 4.2.0 no; 0.100s before the queue, 41.2s in the queue, 0.200s handing over (deferred, blame transfer)", ""},
		"bounced":          {[]string{toA + "bounced (host mx said: 550 5.1.1 unknown)"}, follow, id + " was not delivered: bounced to mx[192.0.2.9]:25: host mx said: 550 5.1.1 unknown; 0.100s before the queue, 41.2s in the queue, 0.200s handing over (refused, blame transfer)", ""},
		"through a filter": {[]string{"@postfix/smtpd[9]: 764D49C6071: client=localhost[127.0.0.1]", toA + "sent (250 2.0.0 from MTA: 250 2.0.0 Ok: queued as 764D49C6071)",
			"@postfix/lmtp[9]: 764D49C6071: to=<a@b.test>, relay=store, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250 2.0.0 Saved)"}, follow, "", "sent to store: 250 2.0.0 Saved; 1.00s handing over"},
		"kept by a filter": {[]string{"@postfix/smtpd[9]: 764D49C6071: client=localhost[127.0.0.1]", toA + "sent (250 2.0.0 from MTA: 250 2.0.0 Ok: queued as 764D49C6071)"},
			follow, id + " was not delivered within 100ms: sent to mx[192.0.2.9]:25: 250 2.0.0 from MTA: 250 2.0.0 Ok: queued as 764D49C6071; 0.100s before the queue, 41.2s in the queue, 0.200s handing over (deferred, blame transfer)", ""},
		"unknown there": {[]string{"@postfix/smtpd[9]: connect from x[192.0.2.9]"}, follow, `the log of "mx1" has no line of ` + id + `: is it the log of the server that accepted the message? (not_received, blame queue)`, ""},
		"still waiting": {[]string{"@postfix/qmgr[9]: " + id + ": from=<a@b>, size=1, nrcpt=1 (queue active)"}, follow, id + ` was not delivered within 100ms: the log of "mx1" has lines of it, but none has the outcome (not_received, blame queue)`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w, _ := fixture.MailLogWorld(t, c.lines...)
			fixture.WantFailure(t, fixture.Perform(t, w, c.step), `nothing was accepted before this step: begin with "I send a message from …" (scenario, blame scenario)`)
			s := &mail.Submission{Number: 1, Server: "mx1.mail.test:587", Accepted: time.Now(), Took: time.Second, Reply: mail.Reply{Code: 250, Lines: []string{"2.0.0 Ok: queued as " + id}}}
			steps.State[mail.Session](w).Sent = append(steps.State[mail.Session](w).Sent, s)
			fixture.WantFailure(t, fixture.Perform(t, w, c.step), c.want)
			if note := w.TakeReport().Note; c.note != "" && note != c.note {
				t.Errorf("note %q\nwant %q", note, c.note)
			}
			if name == "sent" {
				if got := mailhost.QueueDelays(t.Context(), w, s.Server, s.Reply.QueueID(), s.Accepted.Add(-s.Took)); got != "according to the log of mx1: 0.100s before the queue, 41.2s in the queue, 0.200s handing over" {
					t.Error(got)
				}
				if d, _ := fixture.Reported(w, "mail_queue_delay_seconds"); d != 0.1 {
					t.Errorf("%v s before the queue", d)
				}
			}
		})
	}
}
