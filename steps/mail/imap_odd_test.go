package mail_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

// oddRun is the id of the runs whose messages the scripts below know.
const oddRun = "RUN1"

// oddHead is the header by which such a run recognises its message.
const oddHead = `X-Stepwatch-Run: RUN1\r\nX-Stepwatch-Message: 1\r\n\r\n`

// oddMailbox is an IMAP server on port 993 with a mailbox in which the message is reported by fetch, after a SELECT with these
// further lines.
func oddMailbox(selected, fetch string) string {
	return `
		TLS
		S: * OK [CAPABILITY IMAP4rev1 UIDPLUS] ready
		C: @ LOGIN
		S: @ OK [CAPABILITY IMAP4rev1 UIDPLUS] in
		C: @ SELECT
		S: * 0 EXISTS
		` + selected + `
		S: * OK [UIDVALIDITY 7] ok
		S: * OK [UIDNEXT 12] ok
		S: @ OK [READ-WRITE] done
		C: @ UID SEARCH
		S: * SEARCH
		S: @ OK done
		C: @ NOOP
		S: * 1 EXISTS
		S: @ OK done
		C: @ UID FETCH 12:*
		` + fetch + `
		S: @ OK done
		C: @ UID FETCH 12
		S: * 1 FETCH (BODY[] {` + fmt.Sprint(len(oddHead)-6) + `}\r\n` + oddHead + ` UID 12)
		S: @ OK done
		C: @ NOOP
		S: @ OK done
		C: @ UID STORE 12 +FLAGS.SILENT (\Deleted)
		S: @ OK done
		C: @ UID EXPUNGE 12
		S: * 1 EXPUNGE
		S: @ OK done
		C: @ LIST
		S: * LIST () "/" INBOX
		S: @ OK done
		C: @ LOGOUT
		S: * BYE bye
		S: @ OK done`
}

// oddFetch reports the message as servers usually do.
var oddFetch = oddFetchWith("UID 12", "")

// oddFetchWith reports the message with other items before and after its header.
func oddFetchWith(before, after string) string {
	return strings.TrimSpace(`S: * 1 FETCH (` + before + ` BODY[HEADER.FIELDS (X-Stepwatch-Run X-Stepwatch-Origin X-Stepwatch-Message)] {` + fmt.Sprint(len(oddHead)-6) + `}\r\n` + oddHead + after + `)`)
}

// runOdd sends a message to a scripted server and receives it there.
func runOdd(t *testing.T, script, text string) *stepstest.Outcome {
	t.Helper()
	bed := scripted(t, map[string]string{"25": takesMail, "993": script})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	outcome, err := stepstest.Scenario{Target: bed.Target, Secrets: bed.Secrets, ID: oddRun}.Run(ctx, text)
	if err != nil {
		t.Fatal(err)
	}
	return outcome
}

// Harmless oddities of a server do not hide a message and do not end a mailbox.
func TestOddAnswersAreRead(t *testing.T) {
	const permanent = `S: * OK [PERMANENTFLAGS (\Answered %s \*)] Flags permitted.`
	for name, script := range map[string]string{
		"as usual":                             oddMailbox("", oddFetch),
		"UID after the literal":                oddMailbox("", oddFetchWith("FLAGS ()", " UID 12")),
		"a keyword with brackets":              oddMailbox(`S: * FLAGS (\Answered OIB-Seen-[Gmail]/Trash)`, oddFetch),
		"a permanent keyword with brackets":    oddMailbox(fmt.Sprintf(permanent, "OIB-Seen-[Gmail]/Trash"), oddFetch),
		"a quoted keyword":                     oddMailbox(`S: * FLAGS (\Answered "my flag")`, oddFetch),
		"a quoted permanent keyword":           oddMailbox(fmt.Sprintf(permanent, `"my flag"`), oddFetch),
		"a keyword with a parenthesis":         oddMailbox(`S: * FLAGS (\Answered foo(bar)`, oddFetch),
		"a permanent one with a parenthesis":   oddMailbox(fmt.Sprintf(permanent, `foo(bar`), oddFetch),
		"such keywords of the message":         oddMailbox("", oddFetchWith(`FLAGS (OIB-Seen-[Gmail]/Trash "x y" foo(bar) UID 12`, "")),
		"unknown responses":                    oddMailbox("S: * VANISHED (EARLIER) 1:3\nS: * ESEARCH (TAG \"x\") UID\nS: * X-UNKNOWN (a \"b\" {1}\\r\\n( c", oddFetch),
		"unknown items":                        oddMailbox("", oddFetchWith(`MODSEQ (12) X-GM-LABELS ("a)" \Inbox) ENVELOPE ("x" NIL ((NIL NIL "a" "b")))  UID 12`, "")),
		"lower case and blanks":                oddMailbox("", strings.ReplaceAll(oddFetchWith("uid  12 ", "  "), "FETCH (", "fetch  ( ")),
		"a stray line and an unknown tag":      oddMailbox("S: )\nS: zz9 OK late", oddFetch),
		"an alert, which is not for a program": oddMailbox("S: * NO [ALERT] The disk is 95 % full", oddFetch),
	} {
		t.Run(name, func(t *testing.T) {
			outcome := runOdd(t, script, fmt.Sprintf(sendAndReceive, "993"))
			fixture.Passed(t, outcome)
			if outcome.Close != nil {
				t.Error(outcome.Close)
			}
		})
	}
}

// A quota root without a list has no limit, as Courier writes it.
func TestQuotaRootWithoutAList(t *testing.T) {
	bed := scripted(t, map[string]string{"993": `
		TLS
		S: * OK [CAPABILITY IMAP4rev1 QUOTA] ready
		C: @ LOGIN
		S: @ OK [CAPABILITY IMAP4rev1 QUOTA] in
		C: @ SELECT
		S: * 0 EXISTS
		S: * OK [UIDVALIDITY 1] ok
		S: * OK [UIDNEXT 1] ok
		S: @ OK done
		C: @ GETQUOTAROOT
		S: * QUOTAROOT INBOX "ROOT"
		S: * QUOTA "ROOT"
		S: @ OK done
		C: @ LOGOUT
		S: @ OK done`})
	check(t, bed.Run(t, 5*time.Second, `Then the mailbox of "bob" is less than 90 % full`), 0, result.ReasonUnexpected, result.BlameAccess,
		`mail\.demo\.test:993 sets no limit for the mailbox of bob, so it cannot be full`)
}

// A refused login says what the server's code says, and doubts the password only when the code does.
func TestRefusedLoginsSayWhatTheCodeSays(t *testing.T) {
	for answer, want := range map[string]struct {
		reason result.Reason
		text   string
	}{
		"NO [AUTHENTICATIONFAILED] Invalid credentials": {result.ReasonAuth,
			`mail\.demo\.test:993 refused the login of "bob": NO \[AUTHENTICATIONFAILED\] Invalid credentials: is the password of account "bob" still right\?`},
		"NO Login failed.": {result.ReasonAuth,
			`mail\.demo\.test:993 refused the login of "bob": NO Login failed\.: is the password of account "bob" still right\?`},
		"NO [CONTACTADMIN] Account locked": {result.ReasonAuth,
			`mail\.demo\.test:993 refused the login of "bob": NO \[CONTACTADMIN\] Account locked: the server wants its administrator to look at this account \(RFC 5530\): is it locked or disabled\?`},
		"NO [PRIVACYREQUIRED] Encryption required": {result.ReasonAuth,
			`mail\.demo\.test:993 refused the login of "bob": NO \[PRIVACYREQUIRED\] Encryption required: the server takes this connection for unencrypted \(RFC 5530\), although it has TLS: does a proxy before it end TLS\?`},
		"NO [UNAVAILABLE] Temporary authentication failure": {result.ReasonDeferred,
			`mail\.demo\.test:993 cannot do LOGIN now: NO \[UNAVAILABLE\] Temporary authentication failure: check the services that it depends on`},
		"NO [EXPIRED] Change it": {result.ReasonAuth,
			`mail\.demo\.test:993 refused the login of "bob": NO \[EXPIRED\] Change it: the password of account "bob" has expired \(RFC 5530\): set a new one`},
		"NO [AUTHORIZATIONFAILED] no": {result.ReasonAuth,
			`mail\.demo\.test:993 refused the login of "bob": NO \[AUTHORIZATIONFAILED\] no: the password is right, but the server does not let "bob" use this mailbox \(RFC 5530\)`},
		"NO [LIMIT] Too many connections": {result.ReasonDeferred,
			`mail\.demo\.test:993 cannot do LOGIN now: NO \[LIMIT\] Too many connections: it has reached a limit of its own, such as connections per user`},
		"NO [INUSE] locked": {result.ReasonDeferred,
			`mail\.demo\.test:993 cannot do LOGIN now: NO \[INUSE\] locked: another program holds a lock on the mailbox`},
		"NO [SERVERBUG] oops": {result.ReasonRefused,
			`mail\.demo\.test:993 refused LOGIN: NO \[SERVERBUG\] oops: the server reports a fault of its own \(RFC 5530\): see its log`},
		"NO [NOPERM] not from here": {result.ReasonAuth,
			`mail\.demo\.test:993 refused the login of "bob": NO \[NOPERM\] not from here: the server does not permit it \(RFC 5530\)`},
		"NO [OVERQUOTA] full": {result.ReasonRefused,
			`mail\.demo\.test:993 refused LOGIN: NO \[OVERQUOTA\] full: the mailbox is over its quota \(RFC 5530\)`},
		"NO [WEBALERT https://a.test/in] Web login required.": {result.ReasonAuth,
			`mail\.demo\.test:993 refused the login of "bob": NO \[WEBALERT https://a\.test/in\] Web login required\.: somebody must log in there with a browser`},
		"BAD [ALERT] Plaintext authentication not allowed": {result.ReasonRefused,
			`mail\.demo\.test:993 refused LOGIN: BAD \[ALERT\] Plaintext authentication not allowed: the server rejects the command itself, not the password`},
	} {
		t.Run(answer, func(t *testing.T) {
			outcome := runOdd(t, `
				TLS
				S: * OK [CAPABILITY IMAP4rev1] ready
				C: @ LOGIN
				S: @ `+answer+`
				hang`, fmt.Sprintf(sendAndReceive, "993"))
			check(t, outcome, 1, want.reason, result.BlameAccess, want.text)
		})
	}
}

// A folder asked for without the prefix of the account's folders is found under it.
func TestFolderIsFoundUnderThePrefix(t *testing.T) {
	bed := fixture.NewMailbed(t, stepstest.MailOptions{Prefix: "INBOX/"})
	if err := bed.Break(stepstest.FaultFile); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time the folder exists
		outcome := bed.Run(t, 10*time.Second, intoFolder+`
			And it is unread
			And it arrived once`)
		fixture.Passed(t, outcome)
		if n := bed.Mailbox("bob"); n != 0 || outcome.Close != nil {
			t.Errorf("%d messages left behind, %v", n, outcome.Close)
		}
		fixture.Passed(t, bed.Run(t, 10*time.Second, strings.ReplaceAll(intoFolder, `"Lists"`, `"INBOX/Lists"`)))
	}
	if err := bed.Break(); err != nil {
		t.Fatal(err)
	}
	outcome := bed.Run(t, 10*time.Second, strings.ReplaceAll(intoFolder, "2s", "200ms"))
	check(t, outcome, 1, result.ReasonNotReceived, result.BlameFiltering,
		`the message is in bob's folder "INBOX" at mail\.demo\.test:993, wanted in "Lists": no filter filed it there`)
}

// Without UIDPLUS a server that can move messages removes them by way of a folder of the run, which touches no other message.
func TestMailWithoutUIDPlusIsMovedAway(t *testing.T) {
	bed := fixture.NewMailbed(t, stepstest.MailOptions{WithoutUIDPlus: true, WithMove: true})
	if err := bed.Deliver("bob", []byte(unrelated), time.Now()); err != nil {
		t.Fatal(err)
	}
	bed.Flag(t, "bob")
	for range 3 {
		outcome := bed.Run(t, 5*time.Second, roundTrip)
		fixture.Passed(t, outcome)
		if n := bed.Mailbox("bob"); n != 1 || outcome.Close != nil {
			t.Errorf("%d messages, wanted the other one only: %v", n, outcome.Close)
		}
	}
	if folders := bed.Folders(t, "bob"); strings.Join(folders, " ") != "INBOX Junk" {
		t.Errorf("folders %q", folders)
	}
}

// A server that refuses the folder for moving says so, and what stays is flagged.
func TestMailThatCannotBeMovedStays(t *testing.T) {
	script := strings.ReplaceAll(oddMailbox("", oddFetch), "UIDPLUS", "MOVE NAMESPACE")
	from, to := strings.Index(script, "C: @ UID STORE"), strings.Index(script, "C: @ LIST")
	script = script[:from] + `C: @ NAMESPACE
		S: * NAMESPACE (("" "/")) NIL NIL
		S: @ OK done
		C: @ CREATE "stepwatch-
		S: @ NO [NOPERM] no folders for you
		C: @ UID MOVE 12 "stepwatch-
		S: @ NO [TRYCREATE] no such folder
		C: @ UID STORE 12 +FLAGS.SILENT (\Deleted)
		S: @ OK done
		C: @ UID SEARCH DELETED
		S: * SEARCH 12
		S: @ OK done
		` + script[to:]
	outcome := runOdd(t, script, fmt.Sprintf(sendAndReceive, "993"))
	if outcome.Err() != nil {
		t.Fatal(outcome.Err())
	}
	const want = "1 test message of this scenario stays in bob's INBOX at mail.demo.test:993, flagged as deleted: no run can remove it, because the server lacks UIDPLUS (RFC 4315), " +
		"does not let it be moved away (mail.demo.test:993 refused CREATE: NO [NOPERM] no folders for you: the server does not permit it (RFC 5530)), and EXPUNGE would also remove " +
		"what others have deleted: compact the folder with a mail program"
	if outcome.Close == nil || !strings.Contains(outcome.Close.Error(), want) {
		t.Errorf("got %v\nwant %s", outcome.Close, want)
	}
}

// Without UIDPLUS and MOVE every run says how many of its messages stay, and that no later run removes them.
func TestMailThatStaysIsCounted(t *testing.T) {
	bed := fixture.NewMailbed(t, stepstest.MailOptions{WithoutUIDPlus: true})
	bed.Origin = t.Name()
	for n := 1; n <= 3; n++ {
		outcome := bed.Run(t, 5*time.Second, roundTrip)
		if outcome.Err() != nil {
			t.Fatal(outcome.Err())
		}
		want := fmt.Sprintf("%d test messages of this scenario stay in bob's INBOX at mail.demo.test:993, flagged as deleted", n)
		if n == 1 {
			want = strings.Replace(want, "messages of this scenario stay", "message of this scenario stays", 1)
		}
		if outcome.Close == nil || !strings.Contains(outcome.Close.Error(), want) || strings.Contains(outcome.Close.Error(), "a later run removes") {
			t.Errorf("run %d: got %v\nwant %s", n, outcome.Close, want)
		}
		if left := bed.Mailbox("bob"); left != n {
			t.Errorf("%d messages, wanted %d", left, n)
		}
	}
}

// "It did not come" is said after a look at the mailbox on a new connection, which finds what NOOP did not announce.
func TestSecondLook(t *testing.T) {
	const notTold = `the message is in bob's INBOX at mail\.demo\.test:993, but the server did not announce it: NOOP on the connection that was open since before it was sent reported nothing for 0\.[23]\d\ds, and a new connection shows it, stored at \d\d:\d\d:\d\d UTC: mail programs that stay connected see it late or never`
	for name, test := range map[string]struct {
		faults []stepstest.Fault
		text   string
		step   int
		blame  result.Blame
		want   string
		delay  time.Duration
	}{
		"not announced": {[]stepstest.Fault{stepstest.FaultIMAPTellsNoNews}, strings.ReplaceAll(roundTrip, "IMAP within 5s", "IMAP within 300ms"), 3, result.BlameAccess, notTold, 0},
		"a copy, not announced": {[]stepstest.Fault{stepstest.FaultIMAPTellsNoNews}, `
			When I send a message from "alice" to "bob" via 587
			Then "bob" receives a copy over IMAP within 300ms`, 1, result.BlameAccess, notTold, 0},
		"in a folder, not announced": {[]stepstest.Fault{stepstest.FaultIMAPTellsNoNews, stepstest.FaultJunk}, strings.ReplaceAll(roundTrip, "IMAP within 5s", "IMAP within 300ms"), 3, result.BlameFiltering,
			`the message is in bob's folder "Junk" at mail\.demo\.test:993, not in the INBOX: a filter took it for spam; .*`, 0},
	} {
		t.Run(name, func(t *testing.T) {
			bed := fixture.NewMailbed(t, stepstest.MailOptions{})
			bed.SetDelay(test.delay)
			if err := bed.Break(test.faults...); err != nil {
				t.Fatal(err)
			}
			outcome := bed.Run(t, 10*time.Second, test.text)
			check(t, outcome, test.step, result.ReasonNotReceived, test.blame, test.want)
			if took := outcome.Steps[test.step].Duration; took > time.Second {
				t.Errorf("the step took %s: the second look counts", took)
			}
			if n := bed.Mailbox("bob"); n != 0 || outcome.Close != nil {
				t.Errorf("%d messages left behind, %v", n, outcome.Close)
			}
		})
	}
}

// A verdict that could not be confirmed says so.
func TestSecondLookThatFails(t *testing.T) {
	outcome := runOdd(t, `
		TLS
		S: * OK [CAPABILITY IMAP4rev1 UIDPLUS] ready
		C: @ LOGIN
		S: @ OK [CAPABILITY IMAP4rev1 UIDPLUS] in
		C: @ SELECT
		S: * 0 EXISTS
		S: * OK [UIDVALIDITY 7] ok
		S: * OK [UIDNEXT 12] ok
		S: @ OK [READ-WRITE] done
		C: @ UID SEARCH
		S: * SEARCH
		S: @ OK done
		C: @ NOOP
		S: * NO [ALERT] The disk is full
		S: @ OK done
		noops`, fmt.Sprintf(sendAndReceive, "993"))
	check(t, outcome, 1, result.ReasonNotReceived, result.BlameTarget,
		`no message in bob's INBOX at mail\.demo\.test:993 after 0\.\d+s: .*; whether it is there all the same is unknown, because a second look failed: connect to mail\.demo\.test:993 \(at 127\.0\.0\.1:\d+\): connection refused: nothing listens on that port \(the server alerts: The disk is full\): look for Q .*`)
}
