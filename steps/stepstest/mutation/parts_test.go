package mutation_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/command"
	"github.com/stepwatch/stepwatch/steps/httpwire"
	"github.com/stepwatch/stepwatch/steps/mailhost"
	"github.com/stepwatch/stepwatch/steps/service"
	"github.com/stepwatch/stepwatch/steps/stepstest/mutation"
)

// scripted is what is known of websites. An altered page may have a button that belongs to no form, or a link that is not one of
// a page. Only a browser, or another scenario, does anything with them.
var scripted = map[string]string{
	"that needs a browser: tag the scenario @browser": "the scenario has to ask for a browser",
	"address, which leads to no page":                 "the scenario must not follow a mailto: link",
}

// part is a protocol whose dialogues are altered.
type part struct {
	name      string
	weight    int // how often it is picked
	turns     int // of a dialogue, so many are answered; 0 means one
	tls       bool
	serve     func(s *servers, part string)       // begins to serve; may be nil
	before    func(s *servers, d *dialogue) error // each dialogue; may be nil
	configure func(b *bed)                        // says in the target what is served; may be nil
	scenarios []string                            // each passes when nothing is altered; DIR is the directory of the bed
	proofs    []string                            // by scenario, in the first cases: it may pass only if the server sent this; RUN is the id of the run
	blames    []result.Blame                      // that its failures may have, in addition to dns, network and target
	unknown   bool                                // it may say that the result is unknown, as the recording is read on this machine
	known     map[string]string                   // parts of messages whose blame and reason are right, with why
}

var mailBlames = []result.Blame{result.BlameAccess, result.BlameDelivery, result.BlameSubmission, result.BlameTransfer, result.BlameQueue, result.BlameFiltering}

// isKnown reports whether a finding about the blame or reason of a result is one that is known.
func (p *part) isKnown(finding string, res *result.Result) bool {
	for text := range p.known {
		if strings.Contains(res.Error, text) && (finding == "blame "+string(res.Blame) || finding == "reason "+string(res.Reason)) {
			return true
		}
	}
	return false
}

// The names of files of a bed.
const (
	stateDir   = "state"
	knownHosts = "known_hosts"
)

func only(blame result.Blame) []result.Blame { return []result.Blame{blame} }

var parts = []part{
	{
		name: "imap", weight: 18, turns: 12, tls: true, blames: mailBlames,
		serve: func(s *servers, part string) {
			script := read("imap.txt")
			s.listen("mail.demo.test:993", part, s.scriptInTLS(part, script))
			s.listen("mail.demo.test:143", part, s.script(part, script))
		},
		scenarios: []string{
			"When I send a message from \"alice\" to \"bob\" via 587\nThen \"bob\" receives it over IMAP within 100ms",
			"When I send a message from \"alice\" to \"bob\" via 587\nThen \"bob\" receives it over IMAP via 143 within 100ms",
			"Then the folder \"INBOX\" of \"bob\" holds fewer than 100 messages",
			"Then the mailbox of \"bob\" is less than 90 % full",
			"Then the oldest message in the folder \"INBOX\" of \"bob\" is younger than 900000 hours",
		},
		proofs: []string{"RUN", "RUN"},
	},
	{
		name: "mailbox", weight: 8, tls: true, blames: mailBlames,
		serve: func(s *servers, part string) {
			s.listen("box.demo.test:993", part, s.secured("", func(d *dialogue, conn net.Conn) error { return serveMailbox(d, conn) }))
		},
		scenarios: []string{
			received + "And its text arrived unchanged",
			received + "And every hop used TLS\nAnd no hop took longer than 2 hours",
			received + "And it took 2 hops\nAnd it has no header \"X-None\"",
			received + "And its header \"Subject\" contains \"stepwatch\"",
			received + "And it is not marked as spam",
			received + "And it has the flag \"\\Recent\"",
		},
	},
	{
		name: "smtp", weight: 12, turns: 10, tls: true, blames: mailBlames,
		serve: func(s *servers, part string) {
			script := read("smtp.txt")
			s.listen("mail.demo.test:587", part, s.script(part, script))
			s.listen("mail.demo.test:465", part, s.scriptInTLS(part, script))
			s.listen("mail.demo.test:25", part, s.script(part, script))
			s.listen("store.demo.test:24", part, s.script(part, read("lmtp.txt")))
		},
		scenarios: []string{
			"When I send a message from \"carol\" to \"dave\" via 587\nThen it is accepted within 5s",
			"When I send a message from \"carol\" to \"dave\" via 465",
			"When I send a message from \"carol\" directly to the MX of \"dave\"",
			"When I deliver a message to \"dave\" over LMTP via \"store.demo.test:24\"",
		},
	},
	{
		name: "offers", weight: 4, turns: 6, tls: true, blames: mailBlames,
		serve: func(s *servers, part string) {
			script := read("smtp.txt")
			s.listen("offers.demo.test:587", part, s.script(part, script))
			s.listen("offers.demo.test:25", part, s.script(part, script))
		},
		scenarios: []string{
			"Then STARTTLS is offered at \"offers.demo.test:587\"\nAnd AUTH is offered after TLS at \"offers.demo.test:587\"",
			"When I try to send from \"stepwatch@elsewhere.test\" to \"nobody@elsewhere.test\" via \"offers.demo.test:25\"\nThen it is refused",
		},
	},
	{
		name: "pop3", weight: 8, turns: 8, tls: true, blames: mailBlames,
		serve: func(s *servers, part string) {
			script := read("pop3.txt")
			s.listen("mail.demo.test:995", part, s.scriptInTLS(part, script))
			s.listen("mail.demo.test:110", part, s.script(part, script))
		},
		scenarios: []string{
			"When I send a message from \"alice\" to \"erin\" via 587\nThen \"erin\" receives it over POP3 within 100ms",
			"When I send a message from \"alice\" to \"erin\" via 587\nThen \"erin\" receives it over POP3 via 110 within 100ms",
		},
	},
	{
		name: "web", weight: 16, known: scripted, turns: 3, tls: true, blames: only(result.BlameWeb),
		serve: func(s *servers, part string) {
			s.listen("www.demo.test:443", part, s.secured(part, web(site)))
			s.listen("www.demo.test:80", part, clear(part, web(site)))
		},
		scenarios: webScenarios("www.demo.test"), proofs: []string{"Welcome"},
	},
	{
		name: "http2", weight: 8, known: scripted, turns: 7, tls: true, blames: only(result.BlameWeb),
		serve: func(s *servers, part string) {
			s.listen("two.demo.test:443", part, s.http2(part))
			s.listen("two.demo.test:80", part, clear(part, web(site)))
		},
		scenarios: webScenarios("two.demo.test"), proofs: []string{"Welcome"},
	},
	{
		name: "service", weight: 6, blames: append(only(result.BlameWeb), result.BlameQueue),
		serve: func(s *servers, part string) {
			s.listen("api.demo.test:80", part, clear(part, web(services)))
		},
		configure: func(b *bed) {
			b.host("api").Set(&httpwire.API{URL: "http://api.demo.test/api"}).Set(&mailhost.Queue{API: true})
		},
		scenarios: []string{
			"When I scrape \"http://api.demo.test/metrics\"\nThen the sample 'mta_queue_length{queue=\"deferred\"}' is below 1000",
			"When I ask the API of \"api\" for \"/status\"\nThen its answer has \"$.deferred\" below 100\nAnd its answer has \"$.status\" equal to \"ok\"",
			"When I read the mail queue of \"api\"\nThen it holds fewer than 100 messages",
		},
	},
	{
		name: "dns", weight: 14, turns: 2, blames: only(result.BlameDNS),
		serve: serveNames,
		scenarios: []string{
			"When I look up the MX of \"demo.test\" at \"ns.demo.test\" over UDP\nThen the answer contains \"10 mail.demo.test\"\nAnd the answer has 1 records",
			"When I look up the TXT of \"demo.test\" at \"ns.demo.test\" over TCP\nThen a record of the answer begins with \"v=spf1\"",
			"When I look up the A of \"www.demo.test\" at \"ns.demo.test\" over TLS\nThen the answer is \"192.0.2.7\"\nAnd the TTL is at least 10s",
			"When I look up the AAAA of \"www.demo.test\" at \"ns.demo.test\" over HTTPS\nThen the answer is \"2001:db8::7\"",
			"Then the SPF record of \"demo.test\" permits \"192.0.2.7\"",
			"Then the DMARC record of \"demo.test\" has the policy \"reject\"",
			"Then the DKIM key \"mail\" of \"demo.test\" is valid",
			"Then the TLS-RPT record of \"demo.test\" is valid",
		},
		proofs: []string{"", "", "\xc0\x00\x02\x07", "\x20\x01\x0d\xb8\x00"},
	},
	{
		name: "policy", weight: 3, turns: 1, tls: true, blames: append(only(result.BlameDNS), result.BlameWeb),
		serve: func(s *servers, part string) {
			s.listen("mta-sts.demo.test:443", part, s.secured(part, web(policy)))
		},
		scenarios: []string{"Then the MTA-STS policy of \"demo.test\" has the mode \"enforce\""},
	},
	{
		name: "tls", weight: 8, turns: 2, tls: true, blames: append(mailBlames, result.BlameWeb),
		serve: func(s *servers, part string) {
			s.listen("tls.demo.test:443", part, func(d *dialogue, conn net.Conn) error { return handshake(s, conn) })
		},
		scenarios: []string{
			"When I connect to \"tls.demo.test:443\"\nThen its certificate is trusted\nAnd its keys and signatures are strong\nAnd the connection uses TLS 1.2 or newer",
			"Then the certificate of \"tls.demo.test:443\" is in order for 1 hour",
			"When I connect to \"tls.demo.test:443\"\nThen TLS 1.1 is refused",
		},
	},
	{
		name: "starttls", weight: 6, turns: 3, tls: true, blames: append(mailBlames, result.BlameWeb),
		serve: serveStartTLS,
		scenarios: []string{
			"When I connect to \"start.demo.test:4190\" with STARTTLS on Sieve\nThen its certificate is trusted",
			"When I connect to \"start.demo.test:21\" with STARTTLS on FTP\nThen its certificate is trusted",
			"When I connect to \"start.demo.test:389\" with STARTTLS on LDAP\nThen its certificate is trusted",
			"When I connect to \"start.demo.test:5222\" with STARTTLS on XMPP\nThen its certificate is trusted",
			"When I connect to \"start.demo.test:5432\" with STARTTLS on PostgreSQL\nThen its certificate is trusted",
			"When I connect to \"start.demo.test:3306\" with STARTTLS on MySQL\nThen its certificate is trusted",
		},
	},
	{
		name: "amqp", weight: 6, turns: 6,
		serve:     serveAMQP,
		scenarios: []string{"When I look at the AMQP queue \"outgoing\" of \"broker.demo.test\"\nThen the queue has fewer than 1000 messages\nAnd the queue has at least 1 consumers"},
	},
	{
		name: "ssh", weight: 5, turns: 12,
		serve: serveSSH,
		configure: func(b *bed) {
			b.target.Set(command.KnownHosts{filepath.Join(b.dir, knownHosts)})
			b.host("shell").Set(&command.SSH{User: "monitor", Port: 22, Password: "key"})
		},
		scenarios: []string{
			"When I log in to \"shell\" over SSH\nAnd I run \"uptime\"\nThen the output should contain \"load average\"",
			"When on \"shell\" I run the plugin \"check_disk\"",
		},
	},
	{
		name: "postgres", weight: 6, turns: 4,
		serve: func(s *servers, part string) {
			s.listen("db.demo.test:5432", part, clear(part, postgres))
		},
		configure: func(b *bed) {
			steps.SettingsOf[service.Databases](b.target)["postgres"] = &service.Database{Name: "postgres", Address: b.target.ConnectTo["db.demo.test:5432"], Database: "records", User: "reader", Password: "key"}
		},
		scenarios: []string{"When I query the database \"postgres\" for \"SELECT count(*) FROM jobs\"\nThen the query gives less than 10"},
	},
	{
		name: "mysql", weight: 6, turns: 9,
		serve: func(s *servers, part string) {
			s.listen("db.demo.test:3306", part, clear(part, mysql))
		},
		configure: func(b *bed) {
			steps.SettingsOf[service.Databases](b.target)["mysql"] = &service.Database{Name: "mysql", MySQL: true, Address: b.target.ConnectTo["db.demo.test:3306"], Database: "records", User: "reader", Password: "key"}
		},
		scenarios: []string{"When I query the database \"mysql\" for \"SELECT count(*) FROM jobs\"\nThen the query gives less than 10"},
	},
	{
		name: "showq", weight: 4, unknown: true, blames: only(result.BlameQueue),
		serve: func(s *servers, part string) {
			s.accept(must(net.Listen("unix", filepath.Join(s.dir, "showq"))), part, clear(part, showq))
		},
		configure: func(b *bed) { b.host("mx1").Set(&mailhost.Queue{Showq: filepath.Join(b.dir, "showq")}) },
		scenarios: []string{"When I read the mail queue of \"mx1\"\nThen it holds fewer than 100 messages\nAnd the oldest message is younger than 2 hours\nAnd fewer than 10 messages wait for any one destination"},
	},
	{
		name: "log", weight: 4, unknown: true, blames: mailBlames,
		before: func(s *servers, d *dialogue) error {
			if err := os.RemoveAll(filepath.Join(s.dir, stateDir)); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(s.dir, "mail.log"), mailLog(d), 0o600)
		},
		configure: func(b *bed) { b.host("mx1").Set(&mailhost.Log{File: filepath.Join(b.dir, "mail.log")}) },
		scenarios: []string{
			"When I read the mail log of \"mx1\"\nThen less than 90% bounced in the last 1 hour\nAnd fewer than 10 logins were refused in the last 1 hour",
			"When I read the mail log of \"mx1\"\nThen less than 90% were deferred in the last 1 hour\nAnd fewer than 100 messages were rejected in the last 1 hour",
		},
	},
	{
		name: "plugin", weight: 2,
		before: func(s *servers, d *dialogue) error {
			output := "DISK OK - free space: / 3326 MB (56%);| /=2643MB;5948;5958;0;5968\n/ 15272 MB (77%);\n/boot 68 MB (69%); | /boot=68MB;88;93;0;98\n/home=69357MB;253404;253409;0;253414\n"
			return os.WriteFile(filepath.Join(s.dir, "plugin.txt"), d.Alter([]byte(output)), 0o600)
		},
		scenarios: []string{"When I run the plugin \"/bin/cat DIR/plugin.txt\""},
	},
	{
		name: "output", weight: 2, unknown: true, blames: only(result.BlameQueue),
		before: func(s *servers, d *dialogue) error {
			return os.WriteFile(filepath.Join(s.dir, "queue.txt"), d.Alter([]byte(" 4h  1.2K 1pQxYz-000abc-2X <alice@demo.test>\n          bob@demo.test\n\n25m  3.4K 1pQxZz-000abd-3Y <> *** frozen ***\n          carol@demo.test\n        D dave@demo.test\n\n")), 0o600)
		},
		serve: func(s *servers, _ string) {
			if err := os.WriteFile(filepath.Join(s.dir, "exim"), []byte("#!/bin/sh\nexec /bin/cat "+s.dir+"/queue.txt\n"), 0o700); err != nil { //nolint:gosec // it is a program
				panic(err)
			}
		},
		configure: func(b *bed) { b.host("mx3").Set(&mailhost.Queue{Exim: filepath.Join(b.dir, "exim")}) },
		scenarios: []string{"When I read the mail queue of \"mx3\"\nThen it holds fewer than 100 messages"},
	},
}

const received = "When I send a message from \"alice\" to \"frank\" via 587\nThen \"frank\" receives it over IMAP within 100ms\n"

func webScenarios(host string) []string {
	return []string{
		"When I go to \"https://" + host + "/\"\nThen I should see \"Welcome\"\nAnd the cookie \"session\" should be Secure\nAnd I should see the link \"Contact\"",
		"When I go to \"http://" + host + "/old\"\nThen I should be on \"https://" + host + "/chunked\"\nAnd I should see \"the end\"",
		"When I go to \"https://" + host + "/order\"\nAnd I fill in \"Name\" with \"x\"\nAnd I select \"two\" from \"Number\"\nAnd I press \"Order\"\nThen I should see \"Ordered\"",
		"When I download \"https://" + host + "/file.pdf\"\nThen the download should be at least 1 KB\nAnd the download should be named \"file.pdf\"",
		"When I go to \"https://" + host + "/zipped\"\nThen I should see \"squeezed\"\nAnd the page should be compressed",
		"When I go to \"https://" + host + "/data\"\nThen the JSON at \"$.queue.length\" should be below 100\nAnd the JSON should have 3 values at \"$.list[*]\"",
		"When I go to \"https://" + host + "/feed\"\nThen the feed should have at least 1 items",
		"When I go to \"https://" + host + "/sitemap.xml\"\nThen the sitemap should list at least 2 pages",
		"When I go to \"https://" + host + "/table\"\nThen the table \"Prices\" should have 2 rows\nAnd there should be 4 elements \"td\"",
		"Then no link of \"https://" + host + "/\" is broken",
	}
}

func read(name string) *mutation.Script {
	return must(mutation.ReadScript(filepath.Join("testdata", name)))
}

// partNamed returns the part of a name.
func partNamed(name string) *part {
	for i := range parts {
		if parts[i].name == name {
			return &parts[i]
		}
	}
	panic("there is no part " + name)
}

func mailLog(d *dialogue) []byte {
	var lines strings.Builder
	for i, line := range []string{
		"postfix/smtpd[11]: connect from mx.example.test[192.0.2.7]",
		"postfix/smtpd[11]: 4jdLSr54gbz44: client=mx.example.test[192.0.2.7]",
		"postfix/cleanup[12]: 4jdLSr54gbz44: message-id=<1@example.test>",
		"postfix/qmgr[13]: 4jdLSr54gbz44: from=<alice@example.test>, size=678, nrcpt=1 (queue active)",
		"postfix/smtp[14]: 4jdLSr54gbz44: to=<bob@demo.test>, relay=store.demo.test[192.0.2.8]:25, delay=0.12, delays=0.01/0.01/0.05/0.05, dsn=2.0.0, status=sent (250 2.0.0 Ok)",
		"postfix/smtp[14]: 4jdLSv138vz52: to=<carol@demo.test>, relay=none, delay=30, delays=0/0/30/0, dsn=4.4.1, status=deferred (connect to store.demo.test[192.0.2.8]:25: Connection timed out)",
		"postfix/smtpd[11]: NOQUEUE: reject: RCPT from mx.example.test[192.0.2.7]: 550 5.1.1 <nobody@demo.test>: Recipient address rejected: User unknown; from=<x@example.test> to=<nobody@demo.test> proto=ESMTP helo=<mx>",
		"postfix/qmgr[13]: 4jdLSr54gbz44: removed",
		"dovecot: imap-login: Login: user=<bob@demo.test>, method=PLAIN, rip=192.0.2.9, lip=192.0.2.8, mpid=15, TLS, session=<abc>",
		"dovecot: imap-login: Disconnected: Connection closed (auth failed, 1 attempts in 2 secs): user=<bob@demo.test>, method=PLAIN, rip=192.0.2.9, lip=192.0.2.8, TLS, session=<abd>",
	} {
		lines.WriteString(time.Now().Add(time.Duration(i-20)*time.Second).Format(time.Stamp) + " mx1 " + line + "\n")
	}
	return d.Alter([]byte(lines.String()))
}

func showq(_ *dialogue, conn net.Conn) error {
	now := time.Now().Unix()
	text := "protocol\x00mail_queue_list_protocol\x00\x00"
	for i, to := range []string{"bob@demo.test", "carol@example.test", "dave@demo.test"} {
		text += fmt.Sprintf("queue_name\x00deferred\x00queue_id\x004jdLSr54gbz4%d\x00time\x00%d\x00size\x00678\x00sender\x00alice@demo.test\x00recipient\x00%s\x00reason\x00connect to store.demo.test[192.0.2.8]:25: Connection timed out\x00\x00", i, now-int64(100*i), to)
	}
	_, err := conn.Write([]byte(text + "\x00"))
	_ = conn.Close()
	return err
}
