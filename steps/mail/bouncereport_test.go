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
		"exim":            `about 1: nobody@drop.test failed 5.0.0: 550 5.1.1 <nobody@drop.test>: user unknown (said by mx.drop.test, reported by exim.example.test)`,
		"exim-old":        `about 1: nobody@drop.test failed 5.1.1 (it has no such mailbox): 550 5.1.1 <nobody@drop.test>: user unknown`,
		"qmail":           `about 1:  failed 5.1.1 (it has no such mailbox): 550 5.1.1 user unknown`,
		"exchange":        `about 1: nobody@drop.test failed 5.1.10: 550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup (reported by EX1.example.test)`,
		"gmail": `about 1: nobody@drop.test failed 5.1.1 (it has no such mailbox): 550-5.1.1 The email account that you tried to reach does not exist. 550 5.1.1 user unknown ` +
			`(said by mx.drop.test. (127.0.4.25, the server for the domain drop.test.), reported by googlemail.com)`,
		"global": `about 1: jörg@drop.test failed 5.1.1 (it has no such mailbox): 550 5.1.1 user unknown (reported by mail.example.test)`,
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

func TestParseReportRefusesOtherMail(t *testing.T) {
	for _, raw := range []string{
		"", "\n", "Subject: lunch?\n\nAt noon.\n",
		"Content-Type: multipart/report; report-type=disposition-notification; boundary=b\n\n--b\nContent-Type: message/disposition-notification\n\nDisposition: x\n\n--b--\n",
		"Content-Type: multipart/report; report-type=delivery-status\n\nno boundary\n",
		"Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n--b\nContent-Type: text/plain\n\nno status\n--b--\n",
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
