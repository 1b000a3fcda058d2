package mailhost

import (
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps/maillog"
)

// TestPassage follows the message of the first id through a log.
func TestPassage(t *testing.T) {
	const (
		exim    = "exim[7]: 1tEab0-000123-AB "
		postfix = "postfix/"
	)
	for name, c := range map[string]struct {
		id, want  string
		delivered bool
		lines     []string
	}{
		"Exim's real reason stays when a retry is skipped": {"1tEab0-000123-AB", "deferred: Connection refused", false, []string{
			exim + "<= a@example.org U=a P=local S=1", exim + "== b@example.net R=dnslookup T=remote_smtp defer (111): Connection refused",
			exim + "== b@example.net R=dnslookup T=remote_smtp defer (-53): retry time not reached for any host", exim + "== b@example.net routing defer (-52): retry time not reached"}},
		"a skipped retry is told when nothing else is": {"1tEab0-000123-AB", "not tried: retry time not reached for any host", false, []string{
			exim + "== b@example.net R=dnslookup T=remote_smtp defer (-53): retry time not reached for any host"}},
		"Postfix's real reason stays": {"4jWmm25qFkz1VF5h", "deferred to mx.b.test[192.0.2.9]:25: host mx.b.test[192.0.2.9] said: 450 4.2.0 later", false, []string{
			postfix + "smtp[7]: 4jWmm25qFkz1VF5h: to=<b@b.test>, relay=mx.b.test[192.0.2.9]:25, delay=1, dsn=4.2.0, status=deferred (host mx.b.test[192.0.2.9] said: 450 4.2.0 later)",
			postfix + "error[7]: 4jWmm25qFkz1VF5h: to=<b@b.test>, relay=none, delay=1, dsn=4.4.1, status=deferred (delivery temporarily suspended: connect to mx.b.test[192.0.2.9]:25: Connection timed out)"}},
		"a filter that gives the message back by another connection": {"4jWmm25qFkz1VF5h", "sent to store[private/lmtp]: 250 2.0.0 Saved", true, []string{
			postfix + "smtpd[9]: 4jWmm25qFkz1VF5i: client=localhost[127.0.0.1]",
			postfix + "smtp[7]: 4jWmm25qFkz1VF5h: to=<b@b.test>, relay=127.0.0.1[127.0.0.1]:10024, delay=1, dsn=2.0.0, status=sent (250 2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as 4jWmm25qFkz1VF5i)",
			postfix + "lmtp[7]: 4jWmm25qFkz1VF5i: to=<b@b.test>, relay=store[private/lmtp], delay=1, dsn=2.0.0, status=sent (250 2.0.0 Saved)"}},
		"a filter that keeps the message": {"4jWmm25qFkz1VF5h", "discarded by 127.0.0.1[127.0.0.1]:10024: 250 2.7.0 Ok, discarded", false, []string{
			postfix + "smtp[7]: 4jWmm25qFkz1VF5h: to=<b@b.test>, relay=127.0.0.1[127.0.0.1]:10024, delay=1, dsn=2.7.0, status=sent (250 2.7.0 Ok, discarded)"}},
		"a milter that discards what was accepted": {"4jWmm25qFkz1VF5h", "discarded: milter-discard: END-OF-MESSAGE from x[192.0.2.9]: milter triggers DISCARD action", false, []string{
			postfix + "smtpd[8]: 4jWmm25qFkz1VF5h: client=x[192.0.2.9]",
			postfix + "cleanup[8]: 4jWmm25qFkz1VF5h: milter-discard: END-OF-MESSAGE from x[192.0.2.9]: milter triggers DISCARD action; from=<a@a.test> to=<b@b.test> proto=ESMTP helo=<x>"}},
		"amavis notifies the sender itself": {"4jWmm25qFkz1VF5h", "bounced to 127.0.0.1[127.0.0.1]:10030: 250 2.5.0 Ok, id=00081-02, BOUNCE", false, []string{
			postfix + "smtp[7]: 4jWmm25qFkz1VF5h: to=<b@b.test>, relay=127.0.0.1[127.0.0.1]:10030, delay=1, dsn=2.5.0, status=sent (250 2.5.0 Ok, id=00081-02, BOUNCE)"}},
		"amavis at the host's public address gives the message back": {"4jWmm25qFkz1VF5h", "sent to mx.b.test[192.0.2.9]:25: 250 Ok", true, []string{
			postfix + "smtp[7]: 4jWmm25qFkz1VF5h: to=<b@b.test>, relay=192.0.2.1[192.0.2.1]:10024, delay=1, dsn=2.0.0, status=sent (250 2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as 4jWmm25qFkz1VF5i)",
			postfix + "smtp[7]: 4jWmm25qFkz1VF5i: to=<b@b.test>, relay=mx.b.test[192.0.2.9]:25, delay=1, dsn=2.0.0, status=sent (250 Ok)"}},
		"an MX that has amavis took the message": {"4jWmm25qFkz1VF5h", "sent to mx.b.test[192.0.2.9]:25: 250 2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as 4jWmm25qFkz1VF5x", true, []string{
			postfix + "smtp[7]: 4jWmm25qFkz1VF5h: to=<b@b.test>, relay=mx.b.test[192.0.2.9]:25, delay=1, dsn=2.0.0, status=sent (250 2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as 4jWmm25qFkz1VF5x)"}},
		"a filter that gives the message back by sendmail": {"4jWmm25qFkz1VF5h", "bounced to mx.b.test[192.0.2.9]:25: host mx.b.test[192.0.2.9] said: 550 no", false, []string{
			postfix + "cleanup[8]: 4jWmm25qFkz1VF5h: message-id=<m1@a.test>", postfix + "cleanup[8]: 4jWmm25qFkz1VF5i: message-id=<m1@a.test>", postfix + "cleanup[8]: 4jWmm25qFkz1VF5j: message-id=<m2@a.test>",
			postfix + "pipe[7]: 4jWmm25qFkz1VF5h: to=<b@b.test>, relay=spamfilter, delay=1, dsn=2.0.0, status=sent (delivered via spamfilter service)",
			postfix + "smtp[7]: 4jWmm25qFkz1VF5i: to=<b@b.test>, relay=mx.b.test[192.0.2.9]:25, delay=1, dsn=5.1.1, status=bounced (host mx.b.test[192.0.2.9] said: 550 no)"}},
		"an alias leads to another id": {"4jWmm25qFkz1VF5h", "sent to mx.b.test[192.0.2.9]:25: 250 Ok", true, []string{
			postfix + "local[7]: 4jWmm25qFkz1VF5h: to=<root@a.test>, relay=local, delay=1, dsn=2.0.0, status=sent (forwarded as 4jWmm25qFkz1VF5i)",
			postfix + "smtp[7]: 4jWmm25qFkz1VF5i: to=<b@b.test>, relay=mx.b.test[192.0.2.9]:25, delay=1, dsn=2.0.0, status=sent (250 Ok)"}},
		"mail that is thrown away is not delivered": {"4jWmm25qFkz1VF5h", "discarded: silently", false, []string{
			postfix + "discard[7]: 4jWmm25qFkz1VF5h: to=<b@b.test>, relay=none, delay=1, dsn=2.0.0, status=sent (silently)"}},
		"OpenSMTPD": {"205d0ea9", "bounced to mx.b.test[192.0.2.27]: 550 5.1.1 No such user", false, []string{
			`smtpd[7]: 01f3b46cfd52a818 mta delivery evpid=205d0ea97fde0265 from=<a@a.test> to=<b@b.test> rcpt=<-> source="192.0.2.1" relay="192.0.2.27 (mx.b.test)" delay=0s result="PermFail" stat="550 5.1.1 No such user"`}},
	} {
		t.Run(name, func(t *testing.T) {
			parser, p := maillog.NewParser(time.Now(), time.UTC), NewPassage(c.id)
			for _, line := range c.lines {
				e, class := parser.Parse("Nov 21 13:00:00 mail " + line)
				if class != maillog.ClassMail {
					t.Fatalf("not understood: %s", line)
				}
				p.Take(e)
			}
			if p.Last == nil || p.Said() != c.want || p.Delivered != c.delivered {
				t.Errorf("got %+v\nwanted %q, delivered %t", p.Last, c.want, c.delivered)
			}
		})
	}
}
