package mail_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

// serveScript starts a server for a script. A script is a dialogue, line by line: the server sends the text after "S: ", and expects a line that
// begins with the text after "C: ". "flood " sends the text after it without end. "noops" answers all further commands with OK. "TLS" is a handshake, "C*" reads lines up to a lone dot, "hang" keeps the
// connection open in silence until the client ends it. A tag "@" is the IMAP client's own.
func serveScript(t *testing.T, certificate tls.Certificate, script string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() {
		_ = listener.Close()
		<-done
	})
	go func() {
		defer close(done)
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		_ = conn.(*net.TCPConn).SetReadBuffer(4096)
		_ = listener.Close() // a second connection is refused
		defer func() { _ = conn.Close() }()
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		r := bufio.NewReader(conn)
		tag := ""
		for line := range strings.SplitSeq(strings.TrimSpace(script), "\n") {
			line = strings.TrimSpace(line)
			switch {
			case line == "TLS":
				secure := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{certificate}})
				if secure.Handshake() != nil {
					return
				}
				conn, r = secure, bufio.NewReader(secure)
			case line == "hang":
				for err == nil {
					_, err = r.ReadByte()
				}
			case line == "noops": // answers every command with OK
				for err == nil {
					var got string
					if got, err = r.ReadString('\n'); err == nil {
						tag, _, _ := strings.Cut(got, " ")
						_, err = fmt.Fprintf(conn, "%s OK done\r\n", tag)
					}
				}
			case strings.HasPrefix(line, "flood "): // sends this text until the client ends the connection
				text := strings.ReplaceAll(strings.TrimPrefix(line, "flood "), `\n`, "\r\n")
				block := []byte(strings.Repeat(text, 1+8000/len(text)))
				for err == nil {
					_, err = conn.Write(block)
				}
				if errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("the client did not end the connection")
				}
				return
			case line == "stall": // stops reading, for longer than the client waits
				time.Sleep(2500 * time.Millisecond)
			case line == "C*":
				for got := ""; got != ".\r\n" && err == nil; {
					got, err = r.ReadString('\n')
				}
			case strings.HasPrefix(line, "S: "):
				text := strings.ReplaceAll(strings.TrimPrefix(line, "S: "), "@", tag)
				_, err = fmt.Fprint(conn, strings.ReplaceAll(text, `\r\n`, "\r\n")+"\r\n")
			case strings.HasPrefix(line, "C: "):
				var got string
				got, err = r.ReadString('\n')
				want := strings.ReplaceAll(strings.TrimPrefix(line, "C: "), `\r\n`, "\r\n")
				if rest, tagged := strings.CutPrefix(want, "@ "); tagged {
					tag, got, _ = strings.Cut(got, " ")
					want = rest
				}
				if err == nil && !strings.HasPrefix(got, want) {
					t.Errorf("the client says %q, wanted %q", got, want)
				}
			}
			if err != nil {
				return
			}
		}
	}()
	return listener.Addr().String()
}

// scripted returns a target whose mail host follows the scripts, by port.
func scripted(t *testing.T, scripts map[string]string) *fixture.Mailbed {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) }) // runs after the servers have ended
	ca, err := stepstest.NewCA("test CA")
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := ca.Issue("mail.demo.test")
	if err != nil {
		t.Fatal(err)
	}
	bed := &fixture.Mailbed{Secrets: stepstest.Secrets{"alice": "wonderland", "bob": "builder"},
		Target: &steps.Target{Accounts: map[string]*steps.Account{}, ConnectTo: map[string]string{}, Roots: ca.Roots}}
	for port, script := range scripts {
		bed.Target.ConnectTo["mail.demo.test:"+port] = serveScript(t, certificate, script)
	}
	bed.Target.Accounts["alice"] = &steps.Account{Name: "alice", Address: "alice@demo.test", Username: "alice", Password: "alice", SMTP: "mail.demo.test"}
	bed.Target.Accounts["bob"] = &steps.Account{Name: "bob", Address: "bob@demo.test", Username: "bob", Password: "bob", IMAP: "mail.demo.test"}
	bed.Target.Accounts["carol"] = &steps.Account{Name: "carol", Address: "carol@demo.test"}
	return bed
}

// untilData is a successful dialogue up to the message on port 25 without TLS.
const untilData = `
	S: 220 mail.demo.test ESMTP
	C: EHLO
	S: 250 mail.demo.test
	C: MAIL FROM:<alice@demo.test>
	S: 250 ok
	C: RCPT TO:<carol@demo.test>
	S: 250 ok
	C: DATA
	S: 354 go on
`

func TestSMTPScripts(t *testing.T) {
	long := strings.Repeat(strings.Repeat("more than any buffer holds ", 30)+"\n", 6000)
	for _, test := range []struct {
		name, port, script string
		limit              time.Duration
		body               string
		with               string
		reason             result.Reason // empty: it passes
		want               string
		transcript         string
	}{
		{
			name: "no STARTTLS", port: "587", script: `
				S: 220 mail.demo.test ESMTP
				C: EHLO
				S: 250-mail.demo.test
				S: 250 AUTH PLAIN LOGIN
				C: QUIT
				S: 221 bye`,
			reason:     result.ReasonTLS,
			want:       `mail\.demo\.test:587 does not offer STARTTLS: nothing was sent, because a password must not be sent unencrypted`,
			transcript: "S: 220 mail.demo.test ESMTP\nC: EHLO\nS: 250-mail.demo.test\nS: 250 AUTH PLAIN LOGIN\nC: QUIT\nS: 221 bye\n",
		},
		{
			name: "STARTTLS refused", port: "587", script: `
				S: 220 mail.demo.test ESMTP
				C: EHLO
				S: 250-mail.demo.test
				S: 250 STARTTLS
				C: STARTTLS
				S: 454 4.7.0 TLS not available due to local problem
				C: QUIT
				S: 221 bye`,
			reason: result.ReasonTLS,
			want:   `mail\.demo\.test:587 offers STARTTLS and then refuses STARTTLS: 454 4\.7\.0 TLS not available due to local problem: look at that server's TLS settings`,
		},
		{
			name: "unencrypted bytes after STARTTLS", port: "587", script: `
				S: 220 mail.demo.test ESMTP
				C: EHLO
				S: 250-mail.demo.test
				S: 250 STARTTLS
				C: STARTTLS
				S: 220 go\r\n250 AUTH PLAIN
				hang`,
			reason: result.ReasonProtocol,
			want:   `mail\.demo\.test:587 sent 16 unencrypted bytes after its answer to STARTTLS \(220 go\)`,
		},
		{
			name: "no AUTH", port: "465", script: `
				TLS
				S: 220 mail.demo.test ESMTP
				C: EHLO
				S: 250 mail.demo.test
				C: QUIT
				S: 221 bye`,
			reason: result.ReasonAuth,
			want:   `mail\.demo\.test:465 does not offer AUTH: no login is possible`,
		},
		{
			name: "another mechanism than the one wanted", port: "465", with: " with AUTH LOGIN", script: `
				TLS
				S: 220 mail.demo.test ESMTP
				C: EHLO
				S: 250-mail.demo.test
				S: 250 AUTH PLAIN CRAM-MD5
				C: QUIT
				S: 221 bye`,
			reason: result.ReasonAuth,
			want:   `mail\.demo\.test:465 does not offer AUTH LOGIN: it offers PLAIN, CRAM-MD5`,
		},
		{
			name: "AUTH is down", port: "465", script: `
				TLS
				S: 220 mail.demo.test ESMTP
				C: EHLO
				S: 250-mail.demo.test
				S: 250 AUTH LOGIN
				C: AUTH LOGIN
				S: 334 VXNlcm5hbWU6
				C: YWxpY2U=
				S: 454 4.7.0 Temporary authentication failure
				C: QUIT
				S: 221 bye`,
			reason:     result.ReasonDeferred,
			want:       `mail\.demo\.test:465 deferred AUTH LOGIN: 454 4\.7\.0 Temporary authentication failure \(temporary: .*\)`,
			transcript: "S: 220 mail.demo.test ESMTP\nC: EHLO\nS: 250-mail.demo.test\nS: 250 AUTH LOGIN\nC: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: [hidden]\nS: 454 4.7.0 Temporary authentication failure\nC: QUIT\nS: 221 bye\n",
		},
		{
			name: "the server repeats the password", port: "465", script: `
				TLS
				S: 220 mail.demo.test ESMTP
				C: EHLO
				S: 250-mail.demo.test
				S: 250 AUTH PLAIN
				C: AUTH PLAIN AGFsaWNlAHdvbmRlcmxhbmQ=
				S: 535 no such pair: AGFsaWNlAHdvbmRlcmxhbmQ= wonderland
				C: QUIT
				S: 221 bye`,
			reason:     result.ReasonAuth,
			want:       `mail\.demo\.test:465 refused AUTH PLAIN as "alice": 535 no such pair: .*: is the password of account "alice" still right\?`,
			transcript: "S: 220 mail.demo.test ESMTP\nC: EHLO\nS: 250-mail.demo.test\nS: 250 AUTH PLAIN\nC: AUTH PLAIN [hidden]\nS: 535 no such pair: [hidden] [hidden]\nC: QUIT\nS: 221 bye\n",
		},
		{
			name: "not an SMTP server", port: "25", script: `
				S: HTTP/1.1 400 Bad Request
				hang`,
			reason: result.ReasonProtocol,
			want:   `the greeting at mail\.demo\.test:25: the answer is not an SMTP reply: "HTTP/1\.1 400 Bad Request" does not begin with a code: is an SMTP server on that port\?`,
		},
		{
			name: "closes at once", port: "25", script: ``,
			reason: result.ReasonDisconnected,
			want:   `the greeting at mail\.demo\.test:25: the server closed the connection`,
		},
		{
			name: "turns away", port: "25", script: `
				S: 554 5.7.1 no mail from your address
				C: QUIT
				S: 221 bye`,
			reason: result.ReasonRefused,
			want:   `mail\.demo\.test:25 refused the greeting: 554 5\.7\.1 no mail from your address \(its policy forbids it: relaying, the sender, or a content filter\)`,
		},
		{
			name: "silent from the start", port: "25", script: `hang`, limit: 200 * time.Millisecond,
			reason: result.ReasonTimeout,
			want:   `the greeting at mail\.demo\.test:25: no answer before the deadline`,
		},
		{
			name: "stops reading in DATA", port: "25", script: untilData + `stall`, limit: 2 * time.Second, body: long,
			reason: result.ReasonTimeout,
			want:   `writing the message in DATA to mail\.demo\.test:25: no answer before the deadline`,
		},
		{
			name: "no answer to the message", port: "25", script: untilData + `hang`, limit: 300 * time.Millisecond,
			reason: result.ReasonTimeout,
			want:   `no answer to the message from mail\.demo\.test:25, which may have taken it: no answer before the deadline`,
		},
		{
			name: "port 25 without TLS and AUTH", port: "25", script: untilData + `
				C*
				S: 250 ok
				C: QUIT
				S: 221 bye`,
		},
		{
			name: "no answer to QUIT", port: "25", script: untilData + `
				C*
				S: 250 ok
				hang`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			bed := scripted(t, map[string]string{test.port: test.script})
			limit := 5 * time.Second
			if test.limit != 0 {
				limit = test.limit
			}
			text := fmt.Sprintf("When I send a message from \"alice\" to \"carol\" via %s%s", test.port, test.with)
			if test.body != "" {
				text += "\n\"\"\"\n" + test.body + "\"\"\""
			}
			start := time.Now()
			outcome := bed.Run(t, limit, text)
			if took := time.Since(start); took > limit+time.Second {
				t.Errorf("it took %s, the deadline was %s", took, limit)
			}
			if test.reason == "" {
				fixture.Passed(t, outcome)
				return
			}
			check(t, outcome, 0, test.reason, result.BlameSubmission, test.want)
			if outcome.Close != nil {
				t.Error(outcome.Close)
			}
			if test.transcript != "" {
				evidence := outcome.Steps[0].Report.Evidence
				if len(evidence) != 1 || string(evidence[0].Body) != test.transcript {
					t.Errorf("evidence\n%s\nwant\n%s", evidence, test.transcript)
				}
			}
		})
	}
}

const sendAndReceive = `
	When I send a message from "alice" to "bob" via 25
	Then "bob" receives it over IMAP via %s within 300ms`

// takesMail is a server on port 25 that accepts one message.
var takesMail = strings.ReplaceAll(untilData, "carol", "bob") + `
	C*
	S: 250 2.0.0 Ok: queued as 0123456789
	C: QUIT
	S: 221 bye`

func TestIMAPScripts(t *testing.T) {
	const login = `
		C: @ CAPABILITY
		S: * CAPABILITY IMAP4rev1 UIDPLUS
		S: @ OK done
		C: @ LOGIN
		S: @ OK [CAPABILITY IMAP4rev1 UIDPLUS] in
		C: @ SELECT
		S: * 3 EXISTS
		S: * OK [UIDVALIDITY 7] ok
		S: * OK [UIDNEXT 12] ok
		S: @ OK [READ-WRITE] done
		C: @ UID SEARCH
		S: * SEARCH
		S: @ OK done`
	for _, test := range []struct {
		name, port, script string
		reason             result.Reason
		want               string
	}{
		{
			name: "STARTTLS refused", port: "143", script: `
				S: * OK ready
				C: @ STARTTLS
				S: @ BAD TLS is not configured
				hang`,
			reason: result.ReasonTLS,
			want:   `mail\.demo\.test:143 refuses STARTTLS: BAD TLS is not configured: nothing was sent, because a password must not be sent unencrypted`,
		},
		{
			name: "unencrypted bytes after STARTTLS", port: "143", script: `
				S: * OK ready
				C: @ STARTTLS
				S: @ OK begin\r\n* CAPABILITY IMAP4rev1
				hang`,
			reason: result.ReasonProtocol,
			want:   `mail\.demo\.test:143 sent \d+ unencrypted bytes after its answer to STARTTLS`,
		},
		{
			name: "not an IMAP server", port: "143", script: `
				S: 220 mail.demo.test ESMTP
				hang`,
			reason: result.ReasonProtocol,
			want:   `mail\.demo\.test:143 greets with "220 mail\.demo\.test ESMTP": is an IMAP server on that port\?`,
		},
		{
			name: "nobody may log in", port: "993", script: `
				TLS
				S: * OK [CAPABILITY IMAP4rev1 LOGINDISABLED AUTH=GSSAPI] ready
				hang`,
			reason: result.ReasonAuth,
			want:   `mail\.demo\.test:993 allows no login with a password \(LOGINDISABLED, no AUTH=PLAIN\), although the connection has TLS`,
		},
		{
			name: "an alert at the login", port: "993", script: `
				TLS
				S: * OK [CAPABILITY IMAP4rev1] ready
				C: @ LOGIN
				S: * NO [ALERT] The mail store is read-only until noon
				S: @ NO [UNAVAILABLE] Internal error
				hang`,
			reason: result.ReasonDeferred,
			want:   `mail\.demo\.test:993 cannot do LOGIN now: NO \[UNAVAILABLE\] Internal error \(the server alerts: The mail store is read-only until noon\): check the services that it depends on`,
		},
		{
			name: "logged in already, in clear", port: "143", script: `
				S: * PREAUTH you are bob
				hang`,
			reason: result.ReasonTLS,
			want:   `mail\.demo\.test:143 greets with PREAUTH: it takes the connection for logged in, and so TLS can never start: nothing was sent`,
		},
		{
			name: "a message that is too large", port: "993", script: `
				TLS
				S: * PREAUTH [CAPABILITY IMAP4rev1] you are bob
				C: @ SELECT
				S: * 1 EXISTS
				S: @ OK done
				C: @ UID FETCH *
				S: * 1 FETCH (X-PREVIEW {8388609}
				hang`,
			reason: result.ReasonTooLarge,
			want:   `UID FETCH in bob's INBOX at mail\.demo\.test:993: a literal of the answer has 8388609 bytes, the limit is 8388608; limits\.message in stepwatch\.yml raises it`,
		},
		{
			name: "a login by another mechanism", port: "993", script: `
				TLS
				S: * OK [CAPABILITY IMAP4rev1 LOGINDISABLED AUTH=LOGIN] ready
				C: @ AUTHENTICATE LOGIN
				S: + VXNlcm5hbWU6
				C: Ym9i
				S: + UGFzc3dvcmQ6
				C: YnVpbGRlcg==
				S: * BYE [CONTACTADMIN] moved`,
			reason: result.ReasonDisconnected,
			want:   `mail\.demo\.test:993 ended the connection in AUTHENTICATE: BYE \[CONTACTADMIN\] moved`,
		},
		{
			name: "no INBOX", port: "993", script: `
				TLS
				S: * OK [CAPABILITY IMAP4rev1] ready
				C: @ LOGIN
				S: @ OK [CAPABILITY IMAP4rev1] in
				C: @ SELECT
				S: @ NO [NONEXISTENT] Mailbox does not exist
				hang`,
			reason: result.ReasonRefused,
			want:   `mail\.demo\.test:993 refused SELECT: NO \[NONEXISTENT\] Mailbox does not exist`,
		},
		{
			name: "nonsense instead of an answer", port: "143", script: `
				S: * OK ready
				C: @ STARTTLS
				S: @ OK begin
				TLS` + login + `
				C: @ NOOP
				S: <html>
				hang`,
			reason: result.ReasonProtocol,
			want:   `NOOP at mail\.demo\.test:143: a line is not a response \(RFC 9051 section 2\.2\.2\): the server sent "<html>"`,
		},
		{
			name: "silent while waiting", port: "143", script: `
				S: * OK ready
				C: @ STARTTLS
				S: @ OK begin
				TLS` + login + `
				C: @ NOOP
				hang`,
			reason: result.ReasonTimeout,
			want:   `NOOP at mail\.demo\.test:143: no answer before the deadline`,
		},
		{
			name: "only foreign mail", port: "143", script: `
				S: * OK ready
				C: @ STARTTLS
				S: @ OK begin
				TLS` + login + `
				C: @ NOOP
				S: * 4 EXISTS
				S: @ OK done
				C: @ UID FETCH 12:* (UID BODY.PEEK[HEADER.FIELDS (X-STEPWATCH-RUN X-STEPWATCH-ORIGIN X-STEPWATCH-MESSAGE)])
				S: * 4 FETCH (FLAGS (\Seen) UID 12)
				S: @ OK done
				C: @ UID FETCH 12:*
				S: * 4 FETCH (FLAGS (\Seen) UID 12)
				S: * 4 FETCH (UID 12 BODY[HEADER.FIELDS (X-STEPWATCH-RUN X-STEPWATCH-ORIGIN X-STEPWATCH-MESSAGE)] {2}\r\n\r\n)
				S: @ OK done
				hang`,
			reason: result.ReasonTimeout,
			want:   `NOOP at mail\.demo\.test:143: no answer before the deadline`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			bed := scripted(t, map[string]string{"25": takesMail, test.port: test.script})
			if test.port == "143" {
				bed.Target.ConnectTo["mail.demo.test:993"] = "127.0.0.1:1"
			}
			outcome := bed.Run(t, 4*time.Second, fmt.Sprintf(sendAndReceive, test.port))
			check(t, outcome, 1, test.reason, result.BlameAccess, test.want)
			if outcome.Close == nil && test.reason != result.ReasonAuth {
				t.Error("the message cannot have been removed, and nothing says so")
			}
			if os.Getenv("SHOW") != "" {
				for _, e := range outcome.Steps[1].Report.Evidence {
					t.Logf("%s", e.Body)
				}
			}
		})
	}
}
