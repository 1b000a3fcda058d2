package mail

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps/message"
)

// TestParseReport parses reports as common mail servers write them.
func TestParseReport(t *testing.T) {
	for name, want := range map[string]string{
		"postfix": `about 1: nobody@drop.test failed 5.1.1 (it has no such mailbox): 550 5.1.1 <nobody@drop.test>: user unknown (said by mx.drop.test, reported by mail.example.test)`,
		"postfix-delayed": `about 1: joe@dead.test delayed 4.4.1: connect to mx-dead.test[127.0.9.25]:25: Connection refused ` +
			`(reported by mail.example.test)`,
		"postfix-relayed": `about 1: bob@partner.test relayed 2.0.0: 250 2.0.0 Ok: queued as 1234 (said by mx.partner.test, reported by mail.example.test)`,
		"exim":            `about 1: nobody@drop.test failed 5.1.1 (it has no such mailbox): 550 5.1.1 <nobody@drop.test>: user unknown (said by mx.drop.test, reported by exim.example.test)`,
		"exim-old":        `about 1: nobody@drop.test failed 5.1.1 (it has no such mailbox): 550 5.1.1 <nobody@drop.test>: user unknown`,
		"qmail":           `about 1: nobody@drop.test failed 5.1.1 (it has no such mailbox): 550 5.1.1 user unknown`,
		"exchange":        `about 1: nobody@drop.test failed 5.1.10: 550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup (reported by EX1.example.test)`,
		"gmail": `about 1: nobody@drop.test failed 5.1.1 (it has no such mailbox): 550-5.1.1 The email account that you tried to reach does not exist. 550 5.1.1 user unknown ` +
			`(said by mx.drop.test. (127.0.4.25, the server for the domain drop.test.), reported by googlemail.com)`,
		"global":                 `about 1: jörg@drop.test failed 5.1.1 (it has no such mailbox): 550 5.1.1 user unknown (reported by mail.example.test)`,
		"opensmtpd":              `about 1: nobody@drop.test failed 5.1.1 (it has no such mailbox): 550 5.1.1 <nobody@drop.test>: Recipient address rejected: user unknown (reported by mail.example.test)`,
		"opensmtpd-delayed":      `about 1: grey@drop.test delayed 4.2.0: 450 4.2.0 <grey@drop.test>: Greylisted, come back later (reported by mail.example.test)`,
		"opensmtpd-relayed":      `about 1: bob@drop.test relayed 2.0.0 (reported by mail.example.test)`,
		"opensmtpd-expired":      `about 1: grey@drop.test failed 5.4.7: Envelope expired (reported by mail.example.test)`,
		"sendmail":               `about 1: nobody@drop.test failed 5.1.1 (it has no such mailbox): 550 5.1.1 <nobody@drop.test>: Recipient address rejected: user unknown (said by [127.0.0.1], reported by mail.example.test)`,
		"sendmail-policy":        `about 1: policy@drop.test failed 5.7.1 (its policy forbids it: relaying, the sender, or a content filter): 550-5.7.1 Message refused by policy 550 5.7.1 see https://drop.test/policy (said by [127.0.0.1], reported by mail.example.test)`,
		"sendmail-receipt":       `about 1: bob@drop.test relayed 2.0.0: 250 2.1.5 Ok (said by [127.0.0.1], reported by mail.example.test)`,
		"sendmail-unresolved":    `about 1: x@loop.test failed 4.4.7: Deferred: Name server: mail.example.test: host name lookup failure (reported by mail.example.test)`,
		"sendmail-unreachable":   `about 1: x@dead.test failed 4.4.7: Deferred: Connection refused by [127.0.0.1] (reported by mail.example.test)`,
		"sendmail-delayed":       `about 1: x@dead.test delayed 4.4.1: Deferred: Connection refused by [127.0.0.1] (reported by mail.example.test)`,
		"sendmail-config":        `about 1: nobody@drop.test failed 5.3.5: 553 5.3.5 mx.drop.test. config error: mail loops back to me (MX problem?) 554 5.3.5 Local configuration error (reported by mail.example.test)`,
		"sendmail-text":          `about 1: nobody@drop.test failed 5.1.1 (it has no such mailbox): 550 5.1.1 <nobody@drop.test>... User unknown`,
		"dma":                    `about 1: nobody@drop.test failed 5.1.1 (it has no such mailbox): 550 5.1.1 <nobody@drop.test>: Recipient address rejected: user unknown`,
		"qmail-no-host":          `about 1: nobody@drop.test failed 5.1.2: Sorry, I couldn't find any host named drop.test. (#5.1.2)`,
		"qsbmf-other-program":    `about 1: nobody@drop.test failed 5.1.1 (it has no such mailbox): 550 5.1.1 user unknown`,
		"exim-old-delayed":       `about 1: nobody@drop.test delayed 4.2.0: 450 4.2.0 <nobody@drop.test>: come back later`,
		"status-comment":         `about 1: nobody@drop.test failed 5.1.1 (it has no such mailbox): mailbox unknown (reported by gw.example.test)`,
		"gateway-footer":         `about 1: nobody@drop.test failed 5.1.1 (it has no such mailbox): 550 5.1.1 user unknown (reported by mail.example.test)`,
		"wrapped-by-filter":      `about 1: nobody@drop.test failed 5.1.1 (it has no such mailbox): mailbox unknown (reported by gw.example.test)`,
		"german":                 `about 1: nobody@drop.test failed 5.1.1 (it has no such mailbox): am 21.11.2026 10:42 Das E-Mail-Konto ist nicht vorhanden. <ex.example.test #5.1.1>`,
		"status-of-another-type": `about 1: nobody@drop.test failed 5.2.2 (the mailbox is full): 552 5.2.2 full (reported by mail.example.test)`,
		"courier":                `about 1: nobody@drop.test failed 5.1.1 (it has no such mailbox): 550 5.1.1 <nobody@drop.test>: Recipient address rejected: user unknown (said by [127.0.0.1] [127.0.0.1], reported by mail.example.test)`,
		"courier-delayed":        `about 1: x@dead.test delayed 4.0.0: Network is down (reported by mail.example.test)`,
		"courier-relayed":        `about 1: bob@drop.test relayed 2.0.0: 250 2.0.0 Ok: queued as X13 (said by [127.0.0.1] [127.0.0.1], reported by mail.example.test)`,
		"courier-policy":         `about 1: policy@drop.test failed 5.7.1 (its policy forbids it: relaying, the sender, or a content filter): 550-5.7.1 Message refused by policy 550 5.7.1 see https://drop.test/policy (said by [127.0.0.1] [127.0.0.1], reported by mail.example.test)`,
		"cut-off":                `about 1: nobody@drop.test failed 5.1.1 (it has no such mailbox): 550 5.1.1 user unknown (reported by mail.example.test)`,
	} {
		raw, err := os.ReadFile(filepath.Join("testdata", "bounce", name+".eml"))
		if err != nil {
			t.Fatal(err)
		}
		for _, raw := range [][]byte{raw, bytes.ReplaceAll(raw, []byte("\n"), []byte("\r\n"))} {
			r, err := message.ParseReport(raw)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			sent := []*Submission{{Number: 1, sent: true, Reply: Reply{Code: 250, Lines: []string{"2.0.0 Ok: queued as 764D49C6071"}}}}
			got := fmt.Sprintf("about %d:", aboutOurs(r, "RUN", sent))
			for _, to := range r.Recipients {
				got += " " + to.Address + " " + to.Action + " " + r.Reason(to)
			}
			if got != want {
				t.Errorf("%s:\ngot  %s\nwant %s", name, got, want)
			}
			if name != "postfix-delayed" && aboutOurs(r, "ANOTHER", []*Submission{{Number: 1}}) != 0 {
				t.Errorf("%s: taken for another run's", name)
			}
			if aboutOurs(r, "RUN", []*Submission{{Number: 2}}) != 0 {
				t.Errorf("%s: taken for another message's", name)
			}
			if r.Text == "" {
				t.Errorf("%s: no text", name)
			}
		}
	}
}

// returnedHeader is the header of a message that a run sent.
const returnedHeader = "Received: from a by b; Sat, 21 Nov 2026 09:42:13 +0000\nFrom: alice@example.test\nMessage-ID: <RUN.1@example.test>\nX-Stepwatch-Run: RUN\nX-Stepwatch-Message: 1\n"

func TestParseReportRefusesOtherMail(t *testing.T) {
	for _, raw := range []string{
		"", "\n", "Subject: lunch?\n\nAt noon.\n",
		"Content-Type: multipart/report; report-type=disposition-notification; boundary=b\n\n--b\nContent-Type: message/disposition-notification\n\nDisposition: x\n\n--b--\n",
		"Content-Type: multipart/report; report-type=delivery-status\n\nno boundary\n",
		"Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n--b\nContent-Type: text/plain\n\nno status\n--b--\n",
		// Automatic answers, which some programs send from the empty path.
		"Return-Path: <>\nFrom: bob@drop.test\nSubject: Auto: stepwatch test message\nAuto-Submitted: auto-replied (vacation)\nIn-Reply-To: <RUN.1@example.test>\n\nI am on holiday. Your mail was not delivered to anybody else.\n",
		"Return-Path: <>\nFrom: bob@drop.test\nSubject: Automatic reply: stepwatch test message\nX-Auto-Response-Suppress: All\nAuto-Submitted: auto-generated\nIn-Reply-To: <RUN.1@example.test>\n\nI cannot be reached this week.\n",
		"Return-Path: <>\nFrom: bob@drop.test\nSubject: gone fishing\nAuto-Submitted: auto-replied\nReferences: <RUN.1@example.test>\n\nBack on Monday.\n\n------ This is a copy of the message, including all the headers. ------\n\n" + returnedHeader,
		"From: bob@drop.test\nSubject: away\nPrecedence: bulk\n\nHi. This is the automatic answer of Bob.\n\n" + returnedHeader,
		// People who write about a message, or pass it on.
		"From: bob@drop.test\nSubject: Re: stepwatch test message\nIn-Reply-To: <RUN.1@example.test>\n\nThanks, but it could not be delivered to my phone.\n\n> X-Stepwatch-Run: RUN\n",
		"From: bob@drop.test\nSubject: Fwd: stepwatch test message\n\nSee below.\n\n" + returnedHeader,
		"From: bob@drop.test\nSubject: Lists Digest\nContent-Type: multipart/digest; boundary=b\n\n--b\n\n" + returnedHeader + "\n--b--\n",
		// Receipts of readers, and complaints.
		"Return-Path: <>\nFrom: bob@drop.test\nSubject: Read: stepwatch test message\nContent-Type: multipart/report; report-type=disposition-notification; boundary=b\n\n--b\n\nIt was read.\n--b\n" +
			"Content-Type: message/disposition-notification\n\nFinal-Recipient: rfc822; bob@drop.test\nDisposition: manual-action/MDN-sent-manually; displayed\n--b\nContent-Type: text/rfc822-headers\n\n" + returnedHeader + "--b--\n",
		"From: bob@drop.test\nSubject: Not read: stepwatch test message\nContent-Type: multipart/report; report-type=disposition-notification; boundary=b\n\n--b\n\nIt was deleted without being read.\n--b\n" +
			"Content-Type: message/disposition-notification\n\nFinal-Recipient: rfc822; bob@drop.test\nDisposition: manual-action/MDN-sent-automatically; deleted\n--b--\n",
		"Return-Path: <>\nFrom: postmaster@drop.test\nSubject: complaint\nContent-Type: multipart/report; report-type=feedback-report; boundary=b\n\n--b\nContent-Type: message/feedback-report\n\nFeedback-Type: abuse\n--b\n" +
			"Content-Type: message/rfc822\n\n" + returnedHeader + "--b--\n",
		// A message that the run sent, whatever is in it.
		returnedHeader + "Subject: Undelivered Mail Returned to Sender\nReturn-Path: <>\n\nHi. This is the qmail-send program at q.test.\n\n<bob@drop.test>:\nno\n",
	} {
		if r, err := message.ParseReport([]byte(raw)); !errors.Is(err, message.ErrNoReport) {
			t.Errorf("%q: %+v, %v", raw, r, err)
		}
	}
}

func FuzzParseReport(f *testing.F) {
	files, err := filepath.Glob("testdata/bounce/*.eml")
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		start := time.Now()
		r, err := message.ParseReport(raw)
		if err != nil {
			return
		}
		if len(r.Recipients) == 0 || len(r.Recipients) > message.RecipientLimit || len(r.Text) > message.TextLimit {
			t.Errorf("%d recipients, %d bytes of text", len(r.Recipients), len(r.Text))
		}
		aboutOurs(r, "RUN", []*Submission{{Number: 1}})
		for _, to := range r.Recipients {
			_ = r.Reason(to)
		}
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("took %s for %d bytes", took, len(raw))
		}
	})
}
