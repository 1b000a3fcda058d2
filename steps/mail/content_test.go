package mail_test

import (
	"github.com/stepwatch/stepwatch/steps/builtin"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/features"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

const withContent = `
	Given the message has the attachment "files/Rechnung – März.pdf"
	And the message has the attachment "eicar.txt"
		"""
		not a virus
		"""
	When I send a message from "alice" to "bob" via 587
		"""message/rfc822
		Subject: Grüße aus der Überwachung
		X-Check: yes

		Schöne Grüße
		.
		"""
	Then "bob" receives it over IMAP within 5s
	And `

func TestContentArrives(t *testing.T) {
	bed := fixture.NewMailbed(t, stepstest.MailOptions{})
	fixture.Passed(t, bed.Attached(t, withContent+`it arrived unchanged
		And its text arrived unchanged
		And its attachment "Rechnung – März.pdf" arrived unchanged
		And its attachment "eicar.txt" arrived unchanged
		And its header "Subject" is "Grüße aus der Überwachung"
		And its header "X-Check" is "yes"`))
	message := string(bed.Deliveries()[0].Message)
	for _, want := range []string{"\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe_aus_der_=C3=9Cberwachung?=\r\n", "\r\nSch=C3=B6ne Gr=C3=BC=C3=9Fe\r\n.\r\n",
		"\r\nContent-Type: application/pdf\r\n", "filename*=utf-8''Rechnung%20%E2%80%93%20M%C3%A4rz.pdf\r\n", "\r\nbm90IGEgdmlydXMK\r\n"} {
		if !strings.Contains(message, want) {
			t.Errorf("no %q in\n%.3000s", want, message)
		}
	}
	fixture.Passed(t, bed.Run(t, 5*time.Second, roundTrip+"\nAnd it arrived unchanged"))
}

func TestContentAltered(t *testing.T) {
	const altered = `unexpected filtering: the message in bob's INBOX at mail\.demo\.test:993 was altered: `
	const look = `; check the filters and gateways between mail\.demo\.test:587 and there`
	for _, test := range []struct {
		name, text, want string
		fault            stepstest.Fault
	}{
		{"a footer", roundTrip + "\nAnd its text arrived unchanged", altered + `after its end the text continues with "-- \\nChecked by a gateway"` + look, stepstest.FaultFooter},
		{"all: a footer", roundTrip + "\nAnd it arrived unchanged", altered + `after its end the text continues .*` + look, stepstest.FaultFooter},
		{"no such attachment", withContent + `its attachment "eicar.txt" arrived unchanged`,
			altered + `the attachment "eicar\.txt" is gone: the message has "Rechnung – März\.pdf", "removed-eicar\.txt"` + look, stepstest.FaultRename},
		{"never attached", withContent + `its attachment "other" arrived unchanged`, `scenario scenario: no attachment "other" was sent: begin with "the message has the attachment …"`, ""},
		{"nothing received", `Then it arrived unchanged`, `scenario scenario: no message was received before this step: .*`, ""},
		{"padded to a size", `When I try to send a message of 3 KB from "alice" to "bob" via 587
			Then "bob" receives it over IMAP within 5s
			And it arrived unchanged`, `scenario scenario: the message in .* cannot be compared: this scenario did not send it, or padded it to a size`, ""},
		{"no such file", `Given the message has the attachment "absent.pdf"`, `config scenario: the file ".*/absent\.pdf" does not exist: a path is relative to the feature file`, ""},
		{"a directory", `Given the message has the attachment "files"`, `config scenario: ".*/files" is not a file`, ""},
		{"too large", `Given the message has the attachment "files/large"`, `scenario scenario: the file ".*/files/large" is larger than the limit of 5242880 bytes`, ""},
		{"too large together", "Given the message has the attachment \"files/half\"\nAnd the message has the attachment \"files/other\"",
			`scenario scenario: the attachments have 6291456 bytes with "other": the limit is 5242880`, ""},
		{"twice", "Given the message has the attachment \"files/half\"\nAnd the message has the attachment \"files/half\"",
			`scenario scenario: the message has two attachments named "half": names must be unique`, ""},
		{"a line break", "When I send a message from \"alice\" to \"bob\" via 587\n| To | x ä |", `scenario scenario: write the message: the header To is not a list of addresses: "x ä"`, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			bed := fixture.NewMailbed(t, stepstest.MailOptions{})
			if test.fault != "" {
				if err := bed.Break(test.fault); err != nil {
					t.Fatal(err)
				}
			}
			fixture.FailedAs(t, bed.Attached(t, test.text), test.want)
		})
	}
}

// TestMissingFileIsUnknown checks that a missing file is reported without running the scenario.
func TestMissingFileIsUnknown(t *testing.T) {
	for doc, want := range map[*features.DocString]string{nil: `the file ".*/absent\.pdf" does not exist: a path is relative to the feature file`, {Content: "x"}: ""} {
		bound, err := builtin.Library().Bind(features.Step{Text: `the message has the attachment "absent.pdf"`, DocString: doc})
		if err != nil {
			t.Fatal(err)
		}
		bound.Args.Dir = t.TempDir()
		got := ""
		for _, mistake := range bound.Mistakes(&steps.Target{}, nil) {
			got += mistake.Message
		}
		if !regexp.MustCompile("^" + want + "$").MatchString(got) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
