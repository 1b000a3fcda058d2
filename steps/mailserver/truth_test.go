package mailserver

import (
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/mailhost"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

// Lines that several cases need.
const (
	idleDovecot  = "@dovecot: imap-login: Disconnected (no auth attempts in 0 secs): user=<>, rip=192.0.2.9, lip=192.0.2.1, session=<x>"
	idlePostfix  = "@postfix/smtpd[8]: disconnect from x[192.0.2.9] ehlo=1 quit=1 commands=2"
	unknownLogin = "@dovecot: imap-login: Session opened: user=<bob@example.org>, method=PLAIN, rip=192.0.2.9, lip=192.0.2.1, TLS, session=<x>"
	lookupDown   = "@dovecot: auth: Error: passwd-file(alice@example.org,192.0.2.9): open(/etc/dovecot/users) failed: Permission denied"
	temporary    = "@dovecot: imap-login: Login aborted: Logged out (auth service reported temporary failure, 1 attempts in 2 secs) (temp_fail): user=<alice@example.org>, method=PLAIN, rip=192.0.2.9, lip=192.0.2.1, TLS, session=<x>"
	refusedBy587 = "@postfix/submission/smtpd[7]: warning: office[192.0.2.9]: SASL PLAIN authentication failed: (reason unavailable), sasl_username=alice@example.org"
)

// unknown is the end of a failure that is UNKNOWN.
const unknown = " (unexpected, blame monitor)"

// TestTheLogTellsTheTruth reads a log and judges one sentence. A case wants the failure to hold each of its texts; with
// none, the sentence passes.
func TestTheLogTellsTheTruth(t *testing.T) {
	const (
		nobody  = `nobody used the host "mx1" in the last 24 hours`
		few     = "fewer than 5 logins were refused in the last 10 minutes"
		fewFrom = "fewer than 5 logins were refused from any one address in the last 10 minutes"
	)
	login := func(program, text string) string { return "@" + program + ": " + text }
	cases := map[string]struct {
		lines []string
		step  string
		want  []string
		note  string
	}{
		// Who used a mailbox
		"a login of Dovecot 2.4 is a use":               {[]string{login("dovecot", "imap-login: Logged in: user=<bob@example.org>, method=PLAIN, rip=192.0.2.9, lip=192.0.2.1, mpid=1, TLS, session=<x>")}, nobody, []string{`1 users used "mx1"`, "bob@example.org from 192.0.2.9"}, ""},
		"a proxied login is a use":                      {[]string{login("dovecot", "imap-login: proxy(bob@example.org): started proxying to 192.0.2.10:993: user=<bob@example.org>, method=PLAIN, rip=192.0.2.9, lip=192.0.2.1, TLS, session=<x>")}, nobody, []string{"1 users used", "bob@example.org from 192.0.2.9"}, ""},
		"a proxied login of Dovecot 2.3.19 is a use":    {[]string{login("dovecot", "imap-login: proxy(bob@example.org,192.0.2.10:993): Started proxying to <192.0.2.10> (0.042 secs): user=<bob@example.org>, method=PLAIN, rip=192.0.2.9, lip=192.0.2.1, TLS, session=<x>")}, nobody, []string{"1 users used", "bob@example.org"}, ""},
		"a proxied login of Dovecot 2.4 is a use":       {[]string{login("dovecot", "pop3-login: proxy(bob@example.org,192.0.2.10:995): Started proxying to remote host (0.043 secs): user=<bob@example.org>, method=PLAIN, rip=192.0.2.9, lip=192.0.2.1, TLS, session=<x>")}, nobody, []string{"1 users used", "bob@example.org"}, ""},
		"a login without a name in its format is a use": {[]string{login("dovecot", "imap-login: Login: rip=192.0.2.9, lip=192.0.2.1, TLS")}, nobody, []string{"1 users used", "somebody whom the log does not name from 192.0.2.9"}, ""},
		"a session that began days ago is a use":        {[]string{login("dovecot", "imap(bob@example.org)<310><x>: Disconnected: Connection closed (IDLE finished 0.001 secs ago) in=8 out=516")}, nobody, []string{"1 users used", "bob@example.org at "}, ""},
		"one person at three addresses is one": {[]string{login("dovecot", "imap-login: Login: user=<bob@example.org>, method=PLAIN, rip=192.0.2.9, lip=192.0.2.1, TLS"), login("dovecot", "imap-login: Login: user=<bob@example.org>, method=PLAIN, rip=192.0.2.9, lip=192.0.2.2, TLS"),
			login("dovecot", "imap-login: Login: user=<Bob@example.org>, method=PLAIN, rip=192.0.2.9, lip=2001:db8::1, TLS")}, nobody, []string{`1 users used "mx1"`}, ""},
		"a login of Courier is a use":                                     {[]string{login("imapd-ssl", "LOGIN, user=bob@example.org, ip=[::ffff:192.0.2.9], port=[4711], protocol=IMAP")}, nobody, []string{"bob@example.org from 192.0.2.9"}, ""},
		"a login of Cyrus is a use":                                       {[]string{login("cyrus/imaps[7]", "login: x [192.0.2.9] bob PLAIN+TLS User logged in SESSIONID=<a>")}, nobody, []string{"bob from 192.0.2.9"}, ""},
		"a login of OpenSMTPD is a use":                                   {[]string{login("smtpd[7]", "01f3b45510649f57 smtp connected address=192.0.2.9 host=x"), login("smtpd[7]", "01f3b45510649f57 smtp authentication user=bob result=ok")}, nobody, []string{"bob from 192.0.2.9"}, ""},
		"nobody logged in, which a login process's line shows":            {[]string{idleDovecot}, nobody, nil, ""},
		"a line of a login process that is not known may be a login":      {[]string{idleDovecot, unknownLogin}, nobody, []string{"the result is unknown: 1 line in the last 24 hours may be logins", "dovecot/imap-login", "Session opened: user=<bob@example.org>", unknown}, ""},
		"a line of a program called like a mailbox server may be a login": {[]string{idleDovecot, login("imapproxyd[7]", "LOGIN: 'bob' (192.0.2.9:4711) on existing sd [12]")}, nobody, []string{"the result is unknown", "imapproxyd", unknown}, ""},
		"a log without a server that people log in to proves nothing":     {[]string{login("opendkim[7]", "OpenDKIM Filter v2.11.0 starting")}, nobody, []string{"has no line of a server that people log in to", unknown}, ""},
		"mail that goes to mailboxes there, and no line of their server": {[]string{idlePostfix, login("postfix/lmtp[7]", "4jWmm25qFkz1VF5h: to=<bob@example.org>, relay=x[private/dovecot-lmtp], delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250 2.0.0 <bob@example.org> x Saved)")}, nobody,
			[]string{"mail is delivered to mailboxes there", unknown}, ""},
		"a relay without mailboxes that nobody used": {[]string{idlePostfix}, nobody, nil, ""},
		"users whose lines have no local address":    {[]string{idleDovecot, login("postfix/submission/smtpd[7]", "4jWmm25qFkz1VF5h: client=x[192.0.2.9], sasl_method=PLAIN, sasl_username=bob")}, `nobody used the host "old" in the last 24 hours`, []string{"1 user logged in according to", "do not have the address", unknown}, ""},

		// Refused logins
		"150 folded refusals count 150": {[]string{login("postfix/smtpd[77]", "warning: unknown[192.0.2.66]: SASL LOGIN authentication failed: UGFzc3dvcmQ6"), login("postfix/smtpd[77]", "message repeated 150 times: [ warning: unknown[192.0.2.66]: SASL LOGIN authentication failed: UGFzc3dvcmQ6]"), idleDovecot},
			few, []string{"151 logins were refused in the last 10 minutes, most from 192.0.2.66 151"}, ""},
		"refusals that syslogd folds": {[]string{idleDovecot, refusedBy587, "@last message repeated 9 times"}, few, []string{"10 logins were refused"}, ""},
		"an authentication server that is gone is not a guessed password": {repeat(6, login("postfix/smtpd[7]", "warning: office[192.0.2.9]: SASL PLAIN authentication failed: Connection lost to authentication server, sasl_username=(unavailable)")),
			fewFrom, []string{"nobody judged the password of 6 logins of 192.0.2.9", "look at the service of smtpd_sasl_path (Dovecot auth): Connection lost to authentication server"}, ""},
		"a saslauthd that is gone is named": {append(repeat(6, login("postfix/smtpd[7]", "warning: office[192.0.2.9]: SASL PLAIN authentication failed: generic failure")), login("postfix/smtpd[7]", "warning: SASL authentication failure: cannot connect to saslauthd server: No such file or directory")),
			few, []string{"nobody judged the password of 6 logins", "look at saslauthd: cannot connect to saslauthd server"}, ""},
		"Exim's 435 is not a guessed password": {repeat(6, login("exim[7]", "plain authenticator failed for (x) [192.0.2.9]: 435 Unable to authenticate at present (set_id=alice): authentication socket connection error")),
			few, []string{"nobody judged the password of 6 logins", "look at exim's authenticator plain: authentication socket connection error"}, ""},
		"a few that nobody judged are told":                        {[]string{temporary, lookupDown}, few, nil, "nobody judged the password of 1 login more, because a service failed: dovecot's account lookup passwd-file: "},
		"Dovecot's lookup is named, also for what Postfix refused": {append(repeat(6, refusedBy587), lookupDown, temporary), few, []string{"nobody judged the password of 7 logins", "look at dovecot's account lookup passwd-file", "Permission denied"}, ""},
		"Postfix's refusals alone leave a doubt":                   {repeat(6, refusedBy587), few, []string{"6 logins were refused", "or the account lookup is down", "(unexpected, blame target)"}, ""},
		"without TLS nobody judged a password":                     {repeat(6, login("dovecot", "imap-login: Disconnected (tried to use disallowed plaintext auth): user=<>, rip=192.0.2.9, lip=192.0.2.1, session=<x>")), few, nil, "0 logins were refused in the last 10 minutes, and 6 logins came without TLS"},
		"without TLS, as Dovecot 2.4 says it":                      {repeat(6, login("dovecot", "imap-login: Login aborted: Logged out (tried to use disallowed cleartext auth) (cleartext_auth_disabled): user=<>, rip=192.0.2.9, lip=192.0.2.1, session=<x>")), few, nil, "and 6 logins came without TLS"},
		"without TLS, in a line without a method":                  {repeat(6, login("dovecot", "pop3-login: Disconnected: Aborted login by logging out (auth failed, 2 attempts in 0 secs): user=<bob@example.org>, rip=192.0.2.9, lip=192.0.2.1, session=<x>")), few, nil, "and 12 logins came without TLS"},
		"an unknown line may be a refusal":                         {append(repeat(4, refusedBy587), login("postfix/smtpd[7]", "warning: x[192.0.2.9]: SASL PLAIN: password rejected for alice")), few, []string{"the result is unknown: 1 line in the last 10 minutes may be refused logins", "postfix/smtpd", unknown}, ""},
		"an unknown line does not matter when there are few":       {append(repeat(2, refusedBy587), login("postfix/smtpd[7]", "warning: x[192.0.2.9]: SASL PLAIN: password rejected for alice")), few, nil, ""},
		"a log that has no logins proves nothing":                  {[]string{login("amavis[7]", "(1) Passed CLEAN"), login("opendkim[7]", "OpenDKIM Filter v2.11.0 starting")}, few, []string{"has no line of a server that people log in to", unknown}, ""},

		"a database that a SASL plugin misses does not excuse a refusal": {append(append(repeat(6, refusedBy587), login("postfix/smtpd[7]", "warning: SASL authentication problem: unable to open Berkeley db /etc/sasldb2: No such file or directory")), idleDovecot), few, []string{"6 logins were refused", "somebody guesses passwords"}, ""},
		"Courier's refusals while its authdaemond is gone":               {append(repeat(6, login("imapd-ssl", "LOGIN FAILED, user=bob, ip=[::ffff:192.0.2.9], port=[4711]")), login("imapd-ssl", "authentication error: Connection refused")), few, []string{"nobody judged the password of 6 logins", "look at courier's authdaemond: authentication error: Connection refused"}, ""},
		"an attack on Dovecot is one, whatever else fails":               {append(repeat(6, login("dovecot", "imap-login: Login aborted: Logged out (auth failed, 1 attempts in 2 secs) (auth_failed): user=<bob>, method=PLAIN, rip=192.0.2.66, lip=192.0.2.1, TLS, session=<x>")), temporary), fewFrom, []string{"6 logins of 192.0.2.66 were refused", "ban it"}, ""},

		// Deliveries
		"a folded bounce counts each time": {[]string{delivery("sent", "good.test"), login("postfix/smtp[7]", "message repeated 4 times: [ 4jWmm25qFkz1VF5h: to=<a@gone.test>, relay=mx[192.0.2.9]:25, delay=1, delays=0/0/0/1, dsn=5.1.1, status=bounced (no)]")}, "less than 50% bounced in the last 1h", []string{"4 of 5 recipients"}, ""},
		"a hand-over to a local filter is not a delivery": {[]string{login("postfix/smtp[7]", "4jWmm25qFkz1VF5h: to=<a@b.test>, relay=127.0.0.1[127.0.0.1]:10024, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250 2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as 4jWmm25qFkz1VF5i)"),
			login("postfix/smtp[7]", "4jWmm25qFkz1VF5i: to=<a@b.test>, relay=mx.b.test[192.0.2.9]:25, delay=1, delays=0/0/0/1, dsn=5.1.1, status=bounced (no)"), delivery("sent", "good.test")}, "less than 50% bounced in the last 1h", []string{"1 of 2 recipients"}, ""},
		"a hand-over is not an outgoing delivery in clear": {[]string{login("postfix/smtp[7]", "4jWmm25qFkz1VF5h: to=<a@b.test>, relay=localhost[::1]:10024, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as 4jWmm25qFkz1VF5i)"),
			login("postfix/smtp[7]", "Trusted TLS connection established to mx.b.test[192.0.2.9]:25: TLSv1.3 with cipher x"), delivery("sent", "b.test")}, "at least 99% of outgoing deliveries used TLS in the last 1h", nil, "1 of 1 outgoing deliveries used TLS"},
		"what a filter gives back is no connection from outside": {[]string{"@postfix/smtpd[8]: disconnect from localhost[127.0.0.1] ehlo=1 mail=1 quit=1 commands=3", "@postfix/smtpd[8]: disconnect from localhost[::1] ehlo=1 mail=1 quit=1 commands=3", "@postfix/smtpd[8]: disconnect from x[192.0.2.9] ehlo=2 starttls=1 mail=1 quit=1 commands=4"},
			"at least 99% of incoming mail connections used TLS in the last 1h", nil, "1 of 1 incoming mail connections used TLS"},
		"what amavis throws away is no delivery": {[]string{login("postfix/smtp[7]", "4jWmm25qFkz1VF5h: to=<a@b.test>, relay=127.0.0.1[127.0.0.1]:10024, delay=1, delays=0/0/0/1, dsn=2.7.0, status=sent (250 2.7.0 Ok, discarded, id=00079-03 - spam)"),
			login("postfix/lmtp[7]", "4jWmm25qFkz1VF5i: to=<a@b.test>, relay=127.0.0.1[127.0.0.1]:10024, delay=1, delays=0/0/0/1, dsn=2.7.0, status=sent (250 2.7.0 Ok, discarded, id=00079-04 - spam)"), delivery("bounced", "gone.test"), delivery("sent", "good.test")},
			"less than 60% bounced in the last 1h", nil, "1 of 2 recipients with a final outcome bounced in the last 1h (50.0%), most failures: gone.test 1; 2 messages were thrown away besides, as configured"},
		"what amavis bounces is a bounce": {[]string{login("postfix/smtp[7]", "4jWmm25qFkz1VF5h: to=<a@b.test>, relay=127.0.0.1[127.0.0.1]:10030, delay=1, delays=0/0/0/1, dsn=2.5.0, status=sent (250 2.5.0 Ok, id=00081-02, BOUNCE)"), delivery("sent", "good.test")},
			"less than 50% bounced in the last 1h", []string{"1 of 2 recipients"}, ""},
		"a delivery to an MX that has amavis is an outgoing one": {[]string{login("postfix/smtp[7]", "4jWmm25qFkz1VF5h: to=<a@b.test>, relay=mx.b.test[192.0.2.9]:25, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250 2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as 4jWmm25qFkz1VF5i)")},
			"at least 99% of outgoing deliveries used TLS in the last 1h", []string{"0 of 1 outgoing deliveries"}, ""},
		"mail that is refused because the filter before the queue is down": {[]string{login("postfix/smtpd[7]", "warning: connect to proxy filter 127.0.0.1:10097: Connection refused")},
			"fewer than 1 messages were rejected in the last 10 minutes", []string{"1 messages were rejected"}, ""},
		"Exim's retry that was skipped is not an attempt": {append(append(repeat(50, login("exim[7]", "1tEab0-000123-AB == u@example.net R=dnslookup T=remote_smtp defer (-53): retry time not reached for any host")), login("exim[7]", "1tEab0-000123-AB == u@example.net R=dnslookup T=remote_smtp defer (111): Connection refused")),
			repeat(40, login("exim[7]", "1tEab0-000124-AB => v@example.net R=dnslookup T=remote_smtp H=mx.example.net [192.0.2.9] C=\"250 OK\""))...), "less than 5% failed in the last 1h", nil, "1 of 41 deliveries failed"},
		"Postfix's retry that was skipped is not an attempt": {append(repeat(50, login("postfix/error[7]", "4jWmm25qFkz1VF5h: to=<u@example.net>, relay=none, delay=9, delays=9/0/0/0, dsn=4.4.1, status=deferred (delivery temporarily suspended: connect to mx.example.net[192.0.2.9]:25: Connection refused)")), repeat(40, delivery("sent", "good.test"))...),
			"less than 5% were deferred in the last 1h", nil, "0 of 40 deliveries were deferred"},
		"only what was deferred is named as deferred":             {[]string{delivery("sent", "good.test"), delivery("bounced", "gone.test"), delivery("bounced", "gone.test"), delivery("deferred", "late.test")}, "less than 10% were deferred in the last 1h", []string{"most failures: late.test 1, wanted"}, ""},
		"an outcome that is not known may be a bounce":            {[]string{delivery("sent", "good.test"), delivery("postponed", "late.test")}, "less than 10% bounced in the last 1h", []string{"the result is unknown: 1 line in the last 1h may be outcomes of deliveries", "status=postponed", unknown}, ""},
		"an outcome that is not known does not matter among many": {append(repeat(99, delivery("sent", "good.test")), delivery("postponed", "late.test")), "less than 10% bounced in the last 1h", nil, ""},
		"a log of mailboxes shows no bounces":                     {[]string{idleDovecot}, "less than 10% bounced in the last 1h", []string{"has no line of a server that delivers mail", unknown}, ""},
		"mail that was thrown away was not delivered":             {[]string{login("postfix/discard[7]", "4jWmm25qFkz1VF5h: to=<a@b.test>, relay=none, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (silently)"), delivery("bounced", "gone.test")}, "less than 99% bounced in the last 1h", []string{"1 of 1 recipients"}, ""},
		"an unknown line may be a rejection":                      {[]string{login("postfix/smtpd[7]", "NOQUEUE: refuse: RCPT from x[192.0.2.9]: 550 5.7.1 no; from=<a@b> to=<c@d>")}, "fewer than 1 messages were rejected in the last 10 minutes", []string{"may be rejections", unknown}, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w, _ := fixture.MailLogWorld(t, c.lines...)
			if err := fixture.Perform(t, w, `I read the mail log of "mx1"`); err != nil {
				if len(c.want) == 0 || !strings.Contains(err.Error(), c.want[0]) {
					t.Fatal(err)
				}
				return
			}
			w.TakeReport()
			err := fixture.Perform(t, w, c.step)
			note := w.TakeReport().Note
			switch {
			case err == nil && len(c.want) > 0:
				t.Errorf("passes with %q, wanted %q", note, c.want)
			case err != nil && len(c.want) == 0:
				t.Error(err)
			}
			for _, want := range c.want {
				if err != nil && !strings.Contains(fixture.Said(err), want) {
					t.Errorf("got %s\nwanted %q", fixture.Said(err), want)
				}
			}
			if !strings.Contains(note, c.note) {
				t.Errorf("note %q, wanted %q", note, c.note)
			}
		})
	}
}

// TestASilentLogProvesNothing reads logs whose newest line is old.
func TestASilentLogProvesNothing(t *testing.T) {
	for ago, want := range map[time.Duration]string{20 * time.Hour: "", 30 * time.Hour: "the result is unknown: the newest line of the log"} {
		stamp := time.Now().Add(-ago).Format(time.Stamp) + " mail "
		w, _ := fixture.MailLogWorld(t, strings.Replace(idleDovecot, "@", stamp, 1), strings.Replace(idlePostfix, "@", stamp, 1))
		if err := fixture.Perform(t, w, `I read the mail log of "mx1"`); err != nil {
			t.Fatal(err)
		}
		for _, step := range []string{`nobody used the host "mx1" in the last 24 hours`, "fewer than 5 logins were refused in the last 10 minutes", "less than 5% bounced in the last 60 minutes",
			"fewer than 5 messages were rejected in the last 10 minutes", "at least 95% of incoming mail connections used TLS in the last 24 hours", "at least 95% of outgoing deliveries used TLS in the last 24 hours"} {
			if said := fixture.Said(fixture.Perform(t, w, step)); !strings.HasPrefix(said, want) || (said == "") != (want == "") {
				t.Errorf("%s ago: %s: got %q, wanted %q", ago, step, said, want)
			}
		}
	}
}

// TestTwoLogsOfOneHost has Postfix and Dovecot write a log each: the refusals are in one, their cause is in the other.
func TestTwoLogsOfOneHost(t *testing.T) {
	w, target := fixture.MailLogWorld(t, repeat(6, refusedBy587)...)
	_, other := fixture.MailLogWorld(t, lookupDown, temporary)
	target.Hosts["imap"] = (&steps.Host{Name: "imap", Address: "mx1.mail.test"}).Set(steps.PartOf[*mailhost.Log](other.Hosts["mx1"]))
	for _, step := range []string{`I read the mail log of "imap"`, `I read the mail log of "mx1"`} {
		if err := fixture.Perform(t, w, step); err != nil {
			t.Fatal(err)
		}
	}
	err := fixture.Perform(t, w, "fewer than 5 logins were refused in the last 10 minutes")
	if err == nil || !strings.Contains(err.Error(), "nobody judged the password of 6 logins in the last 10 minutes, because a service failed, wanted fewer than 5: look at dovecot's account lookup passwd-file") {
		t.Error(err)
	}
}
