package maillog

import (
	"testing"
	"time"
)

// TestSendmail reads lines that sendmail 8.17.1 wrote.
func TestSendmail(t *testing.T) {
	for line, want := range map[string]struct {
		kind   Kind
		code   int
		status string
		tls    bool
	}{
		"tls_srv_features=empty, stat=0, relay=client.example.net [198.51.100.7]":                                                                                                                    {kind: KindOther},
		"tls_clt_features=empty, stat=0, relay=[192.0.2.26] [192.0.2.26]":                                                                                                                            {kind: KindOther},
		"6AU9nuvZ000153: <nobody-here@mail.example.org>... User unknown":                                                                                                                             {kind: KindRejected, code: 550, status: "5.1.1"},
		"6AU9nutt000155: Milter: data, reject=554 5.7.1 Spam message rejected":                                                                                                                       {kind: KindRejected, code: 554, status: "5.7.1"},
		"6AU9nutt000155: to=<bob@mail.example.org>, delay=00:00:01, pri=30137, stat=Spam message rejected":                                                                                           {kind: KindOther},
		"6AU9nv2J000156: to=<bob@mail.example.org>, delay=00:00:01, pri=30137, stat=Greylisted, please try again later":                                                                              {kind: KindOther},
		"6AU9nw4M000157: Milter: data, discard":                                                                                                                                                      {kind: KindOther},
		"6AU9nw4M000157: to=<bob@mail.example.org>, delay=00:00:01, pri=30142, stat=discarded":                                                                                                       {kind: KindDiscarded},
		"6AU9o0vn000165: from=<a@example.net>, size=134, class=0, nrcpts=1, msgid=<16@example.net>, proto=ESMTPS, daemon=MTA, relay=client.example.net [198.51.100.7]":                               {kind: KindReceived, tls: true},
		"6AU9nl4t000127: from=<a@example.net>, size=133, class=0, nrcpts=1, msgid=<1@example.net>, proto=ESMTPA, daemon=MTA, relay=client.example.net [198.51.100.7]":                                {kind: KindReceived},
		"6AU9nrgH000142: to=<b@[192.0.2.27]>, delay=00:00:01, xdelay=00:00:00, mailer=esmtp, pri=30127, relay=[192.0.2.27] [192.0.2.27], dsn=5.1.1, reply=550 5.1.1 No such user, stat=User unknown": {kind: KindBounced, code: 550, status: "5.1.1"},
		"6AU9nrgH000142: to=<b@x>, delay=00:00:01, mailer=esmtp, pri=30127, relay=[192.0.2.27] [192.0.2.27], stat=Postponed":                                                                         {kind: KindUnknown},
	} {
		e, class := NewParser(corpusTime, time.UTC).Parse("Nov 30 08:00:00 mail sm-mta[7]: " + line)
		if class != ClassMail || e.Kind != want.kind || e.Code != want.code || e.Status != want.status || e.TLS != want.tls {
			t.Errorf("%s %d %q %t, wanted %+v: %s", e.Kind, e.Code, e.Status, e.TLS, want, line)
		}
	}
}

// TestSendmailQueueRun has one process deliver to a host with TLS and then to one without.
func TestSendmailQueueRun(t *testing.T) {
	var c counts
	p := NewParser(corpusTime, time.UTC)
	for _, line := range []string{
		"STARTTLS=client, relay=mx.tls.example., version=TLSv1.3, verify=OK, cipher=TLS_AES_256_GCM_SHA384, bits=256/256",
		"6AU9nrgH000142: to=<b@tls.example>, delay=00:00:01, mailer=esmtp, pri=30127, relay=mx.tls.example. [192.0.2.26], dsn=2.0.0, stat=Sent (Ok)",
		"6AU9nrgH000143: to=<b@plain.example>, delay=00:00:01, mailer=esmtp, pri=30127, relay=mx.plain.example. [192.0.2.25], dsn=2.0.0, stat=Sent (Ok)",
	} {
		c.line(p, "Nov 30 08:00:00 mail sm-mta[7]: "+line)
	}
	r := Reading{At: utc("2026-11-30 08:01:00"), counts: &c}
	if all, encrypted := r.Outgoing(time.Hour); all != 2 || encrypted != 1 {
		t.Errorf("%d of %d with TLS", encrypted, all)
	}
}
