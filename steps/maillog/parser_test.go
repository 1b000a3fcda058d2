package maillog

import (
	"fmt"
	"testing"
	"time"
)

// utc parses a time of the tests.
func utc(s string) time.Time {
	t, err := time.Parse(time.DateTime, s)
	if err != nil {
		panic(err)
	}
	return t
}

// summary returns what the tests compare.
func summary(e Event, class Class) string {
	if class != ClassMail {
		return [...]string{"unknown", "foreign"}[class]
	}
	s := e.Program + " " + string(e.Kind)
	add := func(name, value string) {
		if value != "" && value != "0" && value != "false" {
			s += " " + name + "=" + value
		}
	}
	add("id", e.QueueID)
	add("n", map[bool]string{true: fmt.Sprint(e.Count)}[e.Count != 1])
	add("code", fmt.Sprint(e.Code))
	add("status", e.Status)
	add("relay", e.Relay)
	add("to", e.Recipient)
	add("client", e.Client)
	add("local", e.Local)
	add("user", e.User)
	add("next", e.NextID)
	add("mails", fmt.Sprint(e.Mails))
	add("tls", fmt.Sprint(e.TLS))
	if e.Delays != nil {
		add("delays", fmt.Sprint(e.Delays))
	}
	return s
}

func TestParse(t *testing.T) {
	const (
		at = "Nov 21 13:00:00 mail "
		pf = at + "postfix/"
	)
	for line, want := range map[string]string{
		// Postfix
		pf + "lmtp[11053]: 4jWmm25qFkz1VF5h: to=<alice@example.test>, relay=mx1.example.test[private/dovecot-lmtp], delay=0.15, delays=0.12/0.01/0.01/0.01, dsn=2.0.0, status=sent (250 2.0.0 <alice@example.test> IeVWQA Saved)":                                              "postfix/lmtp sent id=4jWmm25qFkz1VF5h code=250 status=2.0.0 relay=mx1.example.test[private/dovecot-lmtp] to=alice@example.test delays=[120ms 10ms 10ms 10ms]",
		pf + "smtp[2]: 764D49C6071: to=<joe@dead.test>, orig_to=<x@y>, relay=none, conn_use=2, delay=0.17, delays=0.17/0/0/0, dsn=4.4.1, status=deferred (connect to mx.dead.test[127.0.9.25]:25: Connection refused)":                                                         "postfix/smtp deferred id=764D49C6071 status=4.4.1 relay=none to=joe@dead.test delays=[170ms 0s 0s 0s]",
		pf + "smtp[2]: 4jWnHT6Hkjz1VGcG: to=<nobody@drop.test>, relay=mx.drop.test[127.0.4.25]:25, delay=0.02, delays=0.01/0/0/0.01, dsn=5.1.1, status=bounced (host mx.drop.test[127.0.4.25] said: 550 5.1.1 <nobody@drop.test>: user unknown (in reply to RCPT TO command))": "postfix/smtp bounced id=4jWnHT6Hkjz1VGcG code=550 status=5.1.1 relay=mx.drop.test[127.0.4.25]:25 to=nobody@drop.test delays=[10ms 0s 0s 10ms]",
		pf + "smtp[2]: 764D49C6071: to=<j@a.test>, relay=mx[192.0.2.1]:25, delay=0.1, delays=0/0/0/0.1, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as 4jWx)":                                                                                                                 "postfix/smtp sent id=764D49C6071 code=250 status=2.0.0 relay=mx[192.0.2.1]:25 to=j@a.test next=4jWx delays=[0s 0s 0s 100ms]",
		pf + "verify[2]: 764D49C6071: to=<j@a.test>, relay=mx[192.0.2.1]:25, delay=0.1, delays=0/0/0/0.1, dsn=2.0.0, status=deliverable (250 Ok)":                                                                                                                              "postfix/verify other id=764D49C6071 code=250 status=2.0.0 relay=mx[192.0.2.1]:25 to=j@a.test delays=[0s 0s 0s 100ms]",
		pf + "qmgr[2]: 764D49C6071: from=<a@b.test>, status=expired, returned to sender":                                                                                                                                                                                       "postfix/qmgr expired id=764D49C6071",
		pf + "submission/smtpd[2]: NOQUEUE: reject: RCPT from localhost[127.0.0.1]: 550 5.1.1 <nobody@e.test>: Recipient address rejected: User unknown; from=<p@e.test> to=<nobody@e.test> proto=ESMTP":                                                                       "postfix/submission/smtpd rejected code=550 status=5.1.1 client=127.0.0.1",
		pf + "postscreen[2]: NOQUEUE: reject: RCPT from [2001:db8::1]:4711: 550 5.7.1 Service unavailable; client [2001:db8::1] blocked":                                                                                                                                       "postfix/postscreen rejected code=550 status=5.7.1 client=2001:db8::1",
		pf + "cleanup[2]: 764D49C6071: milter-reject: END-OF-MESSAGE from x[192.0.2.9]: 4.7.1 Service unavailable - try again later; from=<a@b> to=<c@d>":                                                                                                                      "postfix/cleanup rejected id=764D49C6071 code=451 status=4.7.1 client=192.0.2.9",
		pf + "smtpd[2]: warning: x[192.0.2.9]: SASL PLAIN authentication failed: (reason unavailable), sasl_username=probe@e.test":                                                                                                                                             "postfix/smtpd login_refused client=192.0.2.9 user=probe@e.test",
		pf + "smtpd[2]: Anonymous TLS connection established from x[192.0.2.9]: TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)":                                                                                                                                     "postfix/smtpd tls client=192.0.2.9 tls=true",
		pf + "smtp[2]: Trusted TLS connection established to mx[127.0.2.25]:25: TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)":                                                                                                                                     "postfix/smtp tls relay=mx[127.0.2.25]:25 tls=true",
		pf + "smtpd[2]: disconnect from x[192.0.2.9] ehlo=2 starttls=1 auth=1 mail=1/3 rcpt=1 data=1 quit=1 commands=7":                                                                                                                                                        "postfix/smtpd disconnected client=192.0.2.9 mails=1 tls=true",
		pf + "smtpd[2]: 4jW12345678z: client=x[192.0.2.9], sasl_method=PLAIN, sasl_username=alice@e.test":                                                                                                                                                                      "postfix/smtpd submitted id=4jW12345678z client=192.0.2.9 user=alice@e.test",
		pf + "smtpd[2]: 4jW12345678z: client=x[192.0.2.9]":                                  "postfix/smtpd received id=4jW12345678z client=192.0.2.9",
		pf + "cleanup[2]: 4jW12345678z: message-id=<a@b>":                                   "postfix/cleanup other id=4jW12345678z",
		pf + "smtpd[2]: warning: hostname a.test does not resolve to address 192.0.2.9":     "postfix/smtpd other",
		"2026-11-21T12:00:00.123456+01:00 mail postfix/smtpd[2]: connect from x[192.0.2.9]": "postfix/smtpd connected client=192.0.2.9",
		// Dovecot
		"Nov 21 13:00:00 imap-login: Info: Login: user=<bob@e.test>, method=PLAIN, rip=192.0.2.9, lip=192.0.2.1, mpid=12, TLS, session=<x>":                                                             "dovecot login client=192.0.2.9 local=192.0.2.1 user=bob@e.test tls=true",
		at + "dovecot: imap-login: Login: user=<bob@e.test>, method=PLAIN, rip=192.0.2.9, lip=192.0.2.1, mpid=12, session=<x>":                                                                          "dovecot login client=192.0.2.9 local=192.0.2.1 user=bob@e.test",
		at + "dovecot: pop3-login: Disconnected: Aborted login by logging out (auth failed, 3 attempts in 4 secs): user=<u, rip=9.9.9.9>, method=PLAIN, rip=192.0.2.9, lip=192.0.2.1, TLS, session=<y>": "dovecot login_refused n=3 client=192.0.2.9 local=192.0.2.1 user=u, rip=9.9.9.9 tls=true",
		"2026-11-21 13:00:00.000001 imap-login: Info: Login aborted: Connection closed (auth failed, 1 attempts in 0 secs) (auth_failed): user=<u>, method=PLAIN, rip=192.0.2.9, lip=192.0.2.1, TLS":    "dovecot login_refused client=192.0.2.9 local=192.0.2.1 user=u tls=true",
		"2026-11-21 13:00:00 lmtp(bob)<1><x>: Info: msgid=<a@b>: saved mail to INBOX":                                                                                                                   "dovecot other",
		"2026-11-21T12:00:00.5+01:00 imap-login: Info: Logged in: user=<bob@e.test>, method=PLAIN, rip=192.0.2.9, lip=192.0.2.1, TLS":                                                                   "dovecot login client=192.0.2.9 local=192.0.2.1 user=bob@e.test tls=true",
		at + "dovecot[7]: imap-login: Logged in: user=<bob@e.test>, method=PLAIN, rip=192.0.2.9, lip=192.0.2.1, TLS":                                                                                    "dovecot login client=192.0.2.9 local=192.0.2.1 user=bob@e.test tls=true",
		at + "dovecot: master: Warning: Killed with signal 15":                                                                                                                                          "dovecot other",
		// OpenDKIM
		at + "opendkim[7]: 4jWmm25qFkz1VF5h: DKIM-Signature field added (s=mail, d=e.test)": "opendkim signed id=4jWmm25qFkz1VF5h",
		at + "opendkim[7]: 764D49C6071: DKIM verification successful":                       "opendkim verified id=764D49C6071",
		at + "opendkim[7]: 764D49C6071: bad signature data":                                 "opendkim bad_signature id=764D49C6071",
		at + "opendkim[7]: OpenDKIM Filter v2.11.0 starting (args: -f)":                     "opendkim other",
		// Exim
		"2026-11-21 13:00:00 1tEab0-000123-AB <= alice@e.test H=x.test (helo) [192.0.2.9] P=esmtpsa X=TLS1.3:ECDHE:256 CV=no A=login:alice S=700 id=a@b":                                   "exim submitted id=1tEab0-000123-AB client=192.0.2.9 user=alice tls=true",
		"2026-11-21 13:00:00.123 +0000 [77] 1tEab0-00000000123-AB12 <= <> R=1tEab0-000123-AB U=exim P=local S=1":                                                                           "exim received id=1tEab0-00000000123-AB12",
		"2026-11-21 13:00:00 1tEab0-000123-AB => bob@f.test R=smarthost T=smarthost H=mx.f.test [192.0.2.2] X=TLS1.3:X:256 CV=yes A=login C=\"250 2.0.0 Ok: queued as 4jWx\"":              "exim sent id=1tEab0-000123-AB code=250 status=2.0.0 relay=mx.f.test[192.0.2.2] to=bob@f.test next=4jWx tls=true",
		"2026-11-21 13:00:00 1tEab0-000123-AB == bob@f.test R=smarthost T=smarthost defer (111): Connection refused":                                                                       "exim deferred id=1tEab0-000123-AB to=bob@f.test",
		"2026-11-21 13:00:00 1tEab0-000123-AB ** gone@f.test R=dns T=smtp H=mx.f.test [192.0.2.2]: SMTP error from remote mail server after RCPT TO:<gone@f.test>: 550 5.1.1 User unknown": "exim bounced id=1tEab0-000123-AB code=550 status=5.1.1 relay=mx.f.test[192.0.2.2] to=gone@f.test",
		"2026-11-21 13:00:00 1tEab0-000123-AB ** gone@f.test: Unrouteable address":                                                                                                         "exim bounced id=1tEab0-000123-AB to=gone@f.test",
		"2026-11-21 13:00:00 H=([9.9.9.9]) [192.0.2.9] F=<a@b> rejected RCPT <c@d>: relay not permitted":                                                                                   "exim rejected code=550 client=192.0.2.9",
		"2026-11-21 13:00:00 H=x [192.0.2.9] F=<a@b> temporarily rejected RCPT <c@d>: greylisted":                                                                                          "exim rejected code=451 client=192.0.2.9",
		"2026-11-21 13:00:00 login authenticator failed for H=(x) [192.0.2.9]: 535 Incorrect authentication data (set_id=alice)":                                                           "exim login_refused client=192.0.2.9 user=alice",
		at + "exim[7]: 2026-11-21 13:00:00 1tEab0-000123-AB Completed":                                                                                                                     "exim other id=1tEab0-000123-AB",
		at + `exim[7]: [1/2] 2026-11-21 13:00:00 1tEab0-000123-AB => bob@f.test R=smarthost T=smarthost H=mx.f.test [192.0.2.2] for a@b.test`:                                              "exim sent id=1tEab0-000123-AB relay=mx.f.test[192.0.2.2] to=bob@f.test",
		at + `exim[7]: [2\2]  bob@f.test ** not a bounce`:                                                                                                                                  "exim other",
		// Others
		at + "msmtp[7]: host=smtp.e.test tls=on auth=on user=bob from=a@e.test exitcode=EX_OK": "foreign",
		at + "sshd[7]: Accepted publickey for root":                                            "foreign",
		"127.0.0.1 - - [21/Nov/2026:13:00:00 +0000] \"GET / HTTP/1.1\" 200 1":                  "unknown",
		"2026-11-21 13:00:00 something else":                                                   "unknown",
		"Nov 21 25:00:00 mail postfix/smtpd[2]: connect from x[1.2.3.4]":                       "unknown",
		"": "unknown",
	} {
		if got := summary(NewParser(utc("2026-11-21 14:00:00"), time.UTC).Parse(line)); got != want {
			t.Errorf("%s\n got %s\nwant %s", line, got, want)
		}
	}
}

func TestStamps(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skip(err)
	}
	const line = " mail postfix/smtpd[2]: connect from x[192.0.2.9]"
	for _, c := range []struct {
		name, now string // now in UTC
		zone      *time.Location
		stamps    []string
		want      []string // in UTC
	}{
		{"last year's", "2027-01-01 00:00:10", time.UTC, []string{"Dec 31 23:59:59", "Jan  1 00:00:05"}, []string{"2026-12-31 23:59:59", "2027-01-01 00:00:05"}},
		{"a clock ahead at New Year", "2026-12-31 23:59:58", time.UTC, []string{"Jan  1 00:00:01"}, []string{"2026-12-31 23:59:58"}},
		{"leap day", "2028-02-29 12:00:00", time.UTC, []string{"Feb 29 11:00:00"}, []string{"2028-02-29 11:00:00"}},
		{"summer time begins", "2026-03-29 02:00:00", berlin, []string{"Mar 29 01:59:59", "Mar 29 03:00:00"}, []string{"2026-03-29 00:59:59", "2026-03-29 01:00:00"}},
		{"summer time ends", "2026-10-25 03:00:00", berlin, []string{"Oct 25 01:59:00", "Oct 25 02:30:00", "Oct 25 02:59:59", "Oct 25 02:00:00", "Oct 25 02:30:00", "Oct 25 03:00:00"},
			[]string{"2026-10-24 23:59:00", "2026-10-25 00:30:00", "2026-10-25 00:59:59", "2026-10-25 01:00:00", "2026-10-25 01:30:00", "2026-10-25 02:00:00"}},
		{"a clock ahead", "2026-06-01 12:00:00", time.UTC, []string{"Jun  1 12:10:00"}, []string{"2026-06-01 12:00:00"}},
		{"the clock was set back", "2026-06-01 12:00:00", time.UTC, []string{"Jun  1 11:59:00", "Jun  1 11:00:00"}, []string{"2026-06-01 11:59:00", "2026-06-01 11:00:00"}},
		{"with a zone", "2026-06-01 12:00:00", berlin, []string{"2026-06-01T11:00:00.5+02:00"}, []string{"2026-06-01 09:00:00"}},
	} {
		p := NewParser(utc(c.now), c.zone)
		for i, stamp := range c.stamps {
			e, class := p.Parse(stamp + line)
			if got := e.Time.UTC().Format(time.DateTime); class != ClassMail || got != c.want[i] {
				t.Errorf("%s: %s is %s, want %s", c.name, stamp, got, c.want[i])
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"Nov 21 13:00:00 mail postfix/smtp[2]: 764D49C6071: to=<j@a.test>, relay=mx[192.0.2.1]:25, delay=0.1, delays=0/0/0/0.1, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as 4jWx)",
		"2026-11-21 13:00:00.123 +0000 [77] 1tEab0-000123-AB => b@f R=s T=t H=m (x) [192.0.2.2]:25 X=TLS C=\"250 OK id=1\"",
		"Nov 21 13:00:00 imap-login: Info: Login: user=<b>, method=PLAIN, rip=192.0.2.9, lip=192.0.2.1, TLS",
		"Nov 21 13:00:00 m postfix/smtpd[2]: NOQUEUE: reject: RCPT from x[192.0.2.9]: 550 5.1.1 <>: x; from=<p>",
		"2026-11-21T12:00:00.1+01:00 m opendkim[7]: 764D49C6071: bad signature data",
		"2026-11-21 13:00:00 H=(x [192.0.2.9] rejected RCPT", "Feb 31 13:00:00 m exim[1]: 2026-13-21 13:00:00 x",
	} {
		f.Add(seed)
	}
	for _, l := range corpus(f) {
		f.Add(l.line)
	}
	now := utc("2026-12-01 00:00:00")
	f.Fuzz(func(t *testing.T, line string) {
		p := NewParser(now, time.UTC)
		e, class := p.Parse(line)
		if class == ClassMail && (e.Time.IsZero() || e.Time.After(now) || e.Program == "" || e.Daemon == "" || e.Count < 1 || e.Mails < 0 || e.Kind == "" || (e.May != 0) && e.Kind != KindUnknown) {
			t.Errorf("%q: %+v", line, e)
		}
		var c counts
		c.line(p, line)
		c.age(now)
		for _, b := range c.Buckets {
			for key, n := range b.N {
				if n < 0 || n > repeatsMax*1000 {
					t.Errorf("%q: %d %s", line, n, key)
				}
			}
		}
	})
}

func FuzzJournal(f *testing.F) {
	f.Add([]byte(`{"__CURSOR":"s=1","__REALTIME_TIMESTAMP":"1700000000000000","MESSAGE":[80,255],"SYSLOG_IDENTIFIER":"postfix/smtpd","_PID":"1"}`))
	f.Add([]byte(`{"__CURSOR":"s=1","__REALTIME_TIMESTAMP":"-1","MESSAGE":null}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, line, err := parseEntry(b)
		if err == nil && (e.Cursor == "" || line == "") {
			t.Errorf("%q gives %+v, %q", b, e, line)
		}
	})
}
