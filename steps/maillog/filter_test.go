package maillog

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// TestFilters reads what servers log when a filter examines, keeps, refuses or gives back a message.
func TestFilters(t *testing.T) {
	const (
		id   = "46B4B9FEA74: "
		more = ", delay=1, delays=0/0/0/1, dsn=2.0.0, status="
		to   = id + "to=<b@example.org>, relay="
		exim = "exim[7]: 1xXwHp-00004D-0U => b@example.org R=out "
		sm   = "sm-mta[7]: 4AUAB1cd000123: to=<b@example.org>, delay=00:00:01, mailer=esmtp, relay="
	)
	for name, c := range map[string]struct {
		line string
		want Kind
	}{
		// What amavis throws away is no delivery, over SMTP and LMTP, wherever it runs
		"amavis discards spam":                       {"postfix/smtp[7]: " + to + "127.0.0.1[127.0.0.1]:10024" + more + "sent (250 2.7.0 Ok, discarded, id=00079-03 - spam)", KindDiscarded},
		"amavis discards spam, over LMTP":            {"postfix/lmtp[7]: " + to + "127.0.0.1[127.0.0.1]:10024" + more + "sent (250 2.7.0 Ok, discarded, id=00080-05 - INFECTED: Test-Marker)", KindDiscarded},
		"amavis discards spam, over a socket":        {"postfix/lmtp[7]: " + to + "mail[/run/amavis.sock]" + more + "sent (250 2.7.0 Ok, discarded, id=00080-05 - spam)", KindDiscarded},
		"amavis discards spam, at a public address":  {"postfix/smtp[7]: " + to + "192.0.2.1[192.0.2.1]:10024" + more + "sent (250 2.7.0 Ok, discarded, id=00359-06 - spam)", KindDiscarded},
		"a remote amavis before its queue discards":  {"postfix/smtp[7]: " + to + "mx.plain.example[203.0.113.5]:25" + more + "sent (250 2.7.0 Ok, discarded, id=00359-06 - spam)", KindDiscarded},
		"amavis discards spam of Exim":               {exim + `T=amavis H=127.0.0.1 [127.0.0.1] C="250 2.7.0 Ok, discarded, id=00079-03 - spam"`, KindDiscarded},
		"amavis discards spam of sendmail":           {sm + "[127.0.0.1], dsn=2.0.0, stat=Sent (2.7.0 Ok, discarded, id=00079-03 - spam)", KindDiscarded},
		"amavis discards spam of OpenSMTPD":          {`smtpd[7]: 01f3b4a08ad2bee4 mta delivery evpid=43252b7ab32a8e48 from=<a@example.org> to=<b@filt.example> rcpt=<-> source="127.0.0.1" relay="127.0.0.1 (localhost)" delay=0s result="Ok" stat="250 2.7.0 Ok, discarded, id=1-2 - spam"`, KindDiscarded},
		"amavis before the queue discards":           {"postfix/smtpd[7]: proxy-accept: END-OF-MESSAGE: 250 2.7.0 Ok, discarded, id=00079-07 - spam; from=<a@example.net> to=<b@example.org> proto=ESMTP helo=<x>", KindDiscarded},
		"the same with a login":                      {"postfix/smtpd[7]: NOQUEUE: proxy-accept: END-OF-MESSAGE: 250 2.7.0 Ok, discarded, id=00079-07 - spam; from=<a@example.net> to=<b@example.org> proto=ESMTP helo=<x>", KindDiscarded},
		"rspamd discards":                            {"postfix/cleanup[7]: " + id + "milter-discard: END-OF-MESSAGE from client.example.net[198.51.100.7]: milter triggers DISCARD action; from=<a@example.net> to=<b@example.org> proto=ESMTP helo=<x>", KindDiscarded},
		"a header check discards":                    {"postfix/cleanup[7]: " + id + "discard: header Subject: x from client.example.net[198.51.100.7]; from=<a@example.net> to=<b@example.org> proto=ESMTP helo=<x>", KindDiscarded},
		"an access table discards":                   {"postfix/smtpd[7]: NOQUEUE: discard: RCPT from client.example.net[198.51.100.7]: <b@example.org>: Recipient address triggers DISCARD action; from=<a@example.net> to=<b@example.org> proto=ESMTP helo=<x>", KindDiscarded},
		"an alias to /dev/null":                      {"postfix/local[7]: " + to + "local" + more + "sent (delivered to file: /dev/null)", KindDiscarded},
		"a word of the recipient's is no discarding": {"postfix/smtp[7]: " + id + "to=<discarded@example.org>, relay=mx[203.0.113.5]:25" + more + "sent (250 2.1.5 discarded@example.org OK)", KindSent},

		// amavis accepts the message and notifies the sender itself, or does not
		"amavis bounces":                        {"postfix/smtp[7]: " + to + "127.0.0.1[127.0.0.1]:10030" + more + "sent (250 2.5.0 Ok, id=00081-02, BOUNCE)", KindBounced},
		"amavis bounces, over LMTP":             {"postfix/lmtp[7]: " + to + "127.0.0.1[127.0.0.1]:10030" + more + "sent (250 2.5.0 Ok <b@example.org>, DSN was sent (554 5.7.0 Bounce, id=00082-16 - spam))", KindBounced},
		"amavis bounces before the queue":       {"postfix/smtpd[7]: proxy-accept: END-OF-MESSAGE: 250 2.5.0 Ok, id=00081-02, BOUNCE; from=<a@example.net> to=<b@example.org> proto=ESMTP helo=<x>", KindBounced},
		"amavis suppresses the bounce":          {"postfix/smtp[7]: " + to + "127.0.0.1[127.0.0.1]:10030" + more + "sent (250 2.5.0 Ok, id=00082-03, DISCARD(bounce.suppressed))", KindDiscarded},
		"amavis suppresses the bounce, by LMTP": {"postfix/lmtp[7]: " + to + "127.0.0.1[127.0.0.1]:10030" + more + "sent (250 2.5.0 Ok <b@example.org>, DSN suppressed (554 5.7.0 Bounce, id=00081-16 - INFECTED: Test-Marker))", KindDiscarded},
		"amavis refuses after the queue":        {"postfix/smtp[7]: " + to + "127.0.0.1[127.0.0.1]:10031" + more + "bounced (host 127.0.0.1[127.0.0.1] said: 554 5.7.0 Reject, id=00082-06 - spam (in reply to end of DATA command))", KindBounced},
		"amavis refuses before the queue":       {"postfix/smtpd[7]: proxy-reject: END-OF-MESSAGE: 554 5.7.0 Reject, id=00081-04 - spam; from=<a@example.net> to=<b@example.org> proto=ESMTP helo=<x>", KindRejected},
		"a filter before the queue is down":     {"postfix/smtpd[7]: warning: connect to proxy filter 127.0.0.1:10097: Connection refused", KindRejected},
		"an alias that leads nowhere":           {"postfix/local[7]: " + to + "local" + more + "sent (discarded)", KindDiscarded},

		// A filter that gives the message back is a hand-over, another server's own filter is a delivery
		"amavis on another host gives back":                      {"postfix/smtp[7]: " + to + "filter.example.org[192.0.2.50]:10024" + more + "sent (250 2.0.0 from MTA(smtp:[192.0.2.1]:10025): 250 2.0.0 Ok: queued as 4jWnXYZ1)", KindHandedOver},
		"amavis at the host's public address gives back":         {"postfix/smtp[7]: " + to + "192.0.2.1[192.0.2.1]:10024" + more + "sent (250 2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as 4jWnXYZ1)", KindHandedOver},
		"an MX that has amavis before its queue":                 {"postfix/smtp[7]: " + to + "mx.plain.example[203.0.113.5]:25" + more + "sent (250 2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as 4jWnXYZ1)", KindSent},
		"an MX over IPv6 that has amavis before it":              {"postfix/smtp[7]: " + to + "mx.plain.example[2001:db8::5]:25" + more + "sent (250 2.0.0 from MTA(smtp:[::1]:10025): 250 2.0.0 Ok: queued as 4jWnXYZ1)", KindSent},
		"an MX that has amavis, for Exim":                        {exim + `T=remote_smtp H=mx.plain.example [203.0.113.5] X=TLS1.3:x:256 C="250 2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as 4jWnXYZ1"`, KindSent},
		"amavis at a public address, for Exim":                   {exim + `T=remote_smtp H=192.0.2.50 [192.0.2.50] C="250 2.0.0 from MTA(smtp:[192.0.2.1]:10025): 250 OK id=1vPQab-000123-AB"`, KindHandedOver},
		"amavis at a port of a public address, for Exim":         {exim + `T=remote_smtp H=192.0.2.1 [192.0.2.1]:10024 C="250 2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 OK id=1vPQab-000123-AB"`, KindHandedOver},
		"an MX that has amavis, for sendmail":                    {sm + "mx.plain.example. [203.0.113.5], dsn=2.0.0, stat=Sent (2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as 4jWnXYZ1)", KindSent},
		"amavis before the queue accepts":                        {"postfix/smtpd[7]: proxy-accept: END-OF-MESSAGE: 250 2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as 6C714A18A72; from=<a@example.net> to=<b@example.org> proto=ESMTP helo=<x>", KindOther},
		"rspamd holds":                                           {"postfix/cleanup[7]: " + id + "milter-hold: END-OF-MESSAGE from client.example.net[198.51.100.7]: milter triggers HOLD action; from=<a@example.net> to=<b@example.org> proto=ESMTP helo=<x>", KindOther},
		"Dovecot's limit of connections, as old versions say it": {"dovecot: imap-login: Maximum number of connections from user+IP exceeded (mail_max_userip_connections=10): user=<bob>, method=PLAIN, rip=192.0.2.1, lip=192.0.2.1, TLS", KindOther},
		"a verify probe":                                         {"postfix/smtp[7]: " + to + "mx[192.0.2.2]:25" + more + "deliverable (250 2.1.5 Ok)", KindOther},
		"a verify probe that failed":                             {"postfix/smtp[7]: " + to + "mx[192.0.2.2]:25" + more + "undeliverable (host mx said: 550 5.1.1 no)", KindOther},
		"a verify probe that failed and is not kept":             {"postfix/smtp[7]: " + to + "mx[192.0.2.2]:25" + more + "undeliverable-but-not-cached (connect to mx: timeout)", KindOther},
		"a bounce that soft_bounce keeps in the queue":           {"postfix/smtp[7]: " + to + "mx[192.0.2.2]:25" + more + "SOFTBOUNCE (host mx[192.0.2.2] said: 550 5.1.1 no)", KindDeferred},
		"a refusal that is only a warning is no refusal":         {"postfix/smtpd[7]: NOQUEUE: reject_warning: RCPT from client.example.net[198.51.100.7]: 450 4.1.8 <a@x>: Sender address rejected: Domain not found; from=<a@x> to=<b@example.org> proto=ESMTP helo=<x>", KindOther},
		"a store that has amavis's port by another daemon":       {"postfix/lmtp[7]: " + to + "127.0.0.1[127.0.0.1]:24" + more + "sent (250 2.0.0 <b@example.org> abc Saved)", KindSent},
	} {
		t.Run(name, func(t *testing.T) {
			e, class := NewParser(corpusTime, time.UTC).Parse("Nov 30 08:00:00 mail " + c.line)
			if class != ClassMail || e.Kind != c.want {
				t.Errorf("class %d, %s, wanted %s: %s", class, e.Kind, c.want, c.line)
			}
		})
	}
}

// TestRejectedContent reads the reply and the client of what a header or body check refuses: the content may say
// anything.
func TestRejectedContent(t *testing.T) {
	for line, want := range map[string]string{
		"reject: header Subject: bad from client.example.net[198.51.100.7]; from=<a@x> to=<b@example.org> proto=ESMTP helo=<x>: 5.7.1 no such words":                        "550 5.7.1 198.51.100.7",
		"reject: header Subject: news from x[203.0.113.9]: 450 from client.example.net[198.51.100.7]; from=<a@x> to=<b@example.org> proto=ESMTP helo=<x>: 5.7.1 no":         "550 5.7.1 198.51.100.7",
		"reject: body deny from local; from=<a@x> to=<b@example.org>: 5.7.1 no":                                                                                             "550 5.7.1 ",
		"milter-reject: END-OF-MESSAGE from client.example.net[198.51.100.7]: 4.7.1 Greylisted, please try again later; from=<a@example.net> to=<b@x> proto=ESMTP helo=<x>": "451 4.7.1 198.51.100.7",
		"milter-reject: END-OF-MESSAGE from localhost[127.0.0.1]: 5.7.1 Spam message rejected; from=<a@example.net> to=<b@x> proto=ESMTP helo=<x>":                          "550 5.7.1 127.0.0.1",
	} {
		e, _ := NewParser(corpusTime, time.UTC).Parse("Nov 30 08:00:00 mail postfix/cleanup[7]: 46B4B9FEA74: " + line)
		if got := rejectedAs(e); got != want {
			t.Errorf("got %s, wanted %s: %s", got, want, line)
		}
	}
}

func rejectedAs(e Event) string { return fmt.Sprintf("%d %s %s", e.Code, e.Status, e.Client) }

// TestFilterPrograms reads what filters themselves log: lines of other programs, about none of the subjects.
func TestFilterPrograms(t *testing.T) {
	content, err := os.ReadFile("testdata/corpus/filters-debian-12.txt")
	if err != nil {
		t.Fatal(err)
	}
	p := NewParser(corpusTime, time.UTC)
	for line := range strings.Lines(string(content)) {
		if e, class := p.Parse(strings.TrimSuffix(line, "\n")); class != ClassForeign || e.Kind != KindOther {
			t.Errorf("class %d, %s: %s", class, e.Kind, line)
		}
	}
}

// TestFailingFilter reads who is named when a filter of this machine fails: not the recipients' domain.
func TestFailingFilter(t *testing.T) {
	for line, want := range map[string]string{
		"relay=none, delay=1, delays=0/0/0/0, dsn=4.4.1, status=deferred (connect to 127.0.0.1[127.0.0.1]:10099: Connection refused)":                                                                                        "127.0.0.1[127.0.0.1]:10099",
		"relay=none, delay=1, delays=0/0/0/0, dsn=4.4.1, status=deferred (connect to localhost[::1]:10024: Connection refused)":                                                                                              "localhost[::1]:10024",
		"relay=127.0.0.1[127.0.0.1]:10031, delay=1, delays=0/0/0/0, dsn=4.5.0, status=deferred (host 127.0.0.1[127.0.0.1] said: 451 4.5.0 Error in processing, id=1-2, virus_scan FAILED (in reply to end of DATA command))": "127.0.0.1[127.0.0.1]:10031",
		"relay=127.0.0.1[127.0.0.1]:10031, delay=1, delays=0/0/0/0, dsn=5.7.0, status=bounced (host 127.0.0.1[127.0.0.1] said: 554 5.7.0 Reject, id=1-2 - spam (in reply to end of DATA command))":                           "127.0.0.1[127.0.0.1]:10031",
		"relay=none, delay=1, delays=0/0/0/0, dsn=4.4.1, status=deferred (connect to mx.example.net[192.0.2.9]:25: Connection refused)":                                                                                      "example.org",
	} {
		var c counts
		c.line(NewParser(corpusTime, time.UTC), "Nov 30 08:00:00 mail postfix/smtp[7]: 46B4B9FEA74: to=<b@example.org>, "+line)
		r := Reading{At: utc("2026-11-30 08:01:00"), counts: &c}
		if got := r.FailedTo(time.Hour, true, true); len(got) != 1 || got[0].Name != want {
			t.Errorf("got %+v, wanted %s: %s", got, want, line)
		}
	}
}
