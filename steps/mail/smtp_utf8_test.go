package mail_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

// SMTPUTF8 is requested only for a local part that needs it, and nothing is sent if the server does not offer it.
func TestSMTPUTF8(t *testing.T) {
	const accepted = `
		S: 250 ok
		C: RCPT TO:<%TO>
		S: 250 ok
		C: DATA
		S: 354 go
		C: Date
		C: From: %TO
		C: To: %TO
		C: Subject
		C: Message-ID: <
		C*
		S: 250 2.0.0 Ok: queued as ABCDEF
		C: QUIT
		S: 221 bye`
	const step = `When I deliver a message to "carol" over LMTP via "mail.demo.test:24"`
	for _, test := range []struct{ name, address, offer, mail, to, table, want string }{
		{"a local part", "käthe@demo.test", "SMTPUTF8", "MAIL FROM:<käthe@demo.test> SMTPUTF8", "käthe@demo.test", "", ""},
		{"a domain too", "käthe@bücher.test", "SMTPUTF8", "MAIL FROM:<käthe@bücher.test> SMTPUTF8", "käthe@bücher.test", "", ""},
		{"a domain alone", "carol@bücher.test", "SMTPUTF8", `MAIL FROM:<carol@xn--bcher-kva.test>\r\n`, "carol@xn--bcher-kva.test", "", ""},
		{"a domain alone, not offered", "carol@bücher.test", "8BITMIME", `MAIL FROM:<carol@xn--bcher-kva.test>\r\n`, "carol@xn--bcher-kva.test", "", ""},
		{"a name needs none", "carol@demo.test", "SMTPUTF8", `MAIL FROM:<carol@demo.test>\r\n`, "carol@demo.test", "\n| Reply-To | Käthe <x@demo.test> |", ""},
		{"a header", "carol@demo.test", "SMTPUTF8", `MAIL FROM:<carol@demo.test> SMTPUTF8\r\n`, "carol@demo.test", "\n| Reply-To | käthe@demo.test |", ""},
		{"not offered", "käthe@demo.test", "8BITMIME", "", "", "",
			`refused delivery: mail\.demo\.test:24 does not offer SMTPUTF8, which the address käthe@demo\.test needs: nothing was sent`},
		{"a header, not offered", "carol@demo.test", "8BITMIME", "", "", "\n| Cc | käthe@demo.test |",
			`refused delivery: mail\.demo\.test:24 does not offer SMTPUTF8, which an address in the message's header needs: nothing was sent`},
		{"no domain", "carol@bü cher.test", "", "-", "", "",
			`config scenario: account "carol": "carol@bü cher\.test" is not a mail address: set accounts\.carol\.address in stepwatch\.yml to one like alice@example\.org`},
		{"no IDN", "carol@ü-.test", "", "-", "", "", `config scenario: account "carol": "carol@ü-\.test" is not a mail address: .*`},
	} {
		t.Run(test.name, func(t *testing.T) {
			script := "S: 220 mail.demo.test LMTP\nC: LHLO\nS: 250-mail.demo.test\nS: 250 " + test.offer + "\n"
			switch test.mail {
			case "-":
				script = "" // nobody comes
			case "":
				script += "C: QUIT\nS: 221 bye"
			default:
				script += "C: " + test.mail + strings.ReplaceAll(accepted, "%TO", test.to)
			}
			bed := scripted(t, map[string]string{"24": script})
			bed.Target.Accounts["carol"].Address = test.address
			outcome := bed.Run(t, 5*time.Second, step+test.table)
			if test.want == "" {
				fixture.Passed(t, outcome)
			} else {
				fixture.FailedAs(t, outcome, test.want)
			}
		})
	}
}
