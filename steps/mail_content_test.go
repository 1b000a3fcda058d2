package steps_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/features"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/stepstest"
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

// attached runs text where there is a file to attach.
func (b *mailbed) attached(t *testing.T, text string) *stepstest.Outcome {
	t.Helper()
	dir := t.TempDir()
	for name, size := range map[string]int{"Rechnung – März.pdf": 100_000, "large": 5<<20 + 1, "half": 3 << 20, "other": 3 << 20} {
		if err := os.MkdirAll(filepath.Join(dir, "files"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "files", name), bytes.Repeat([]byte{0, 255, '\n'}, size/3+1)[:size], 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	outcome, err := stepstest.Scenario{Target: b.target, Secrets: b.secrets, Dir: dir}.Run(ctx, text)
	if err != nil {
		t.Fatal(err)
	}
	return outcome
}

func TestContentArrives(t *testing.T) {
	bed := newMailbed(t, stepstest.MailOptions{})
	passed(t, bed.attached(t, withContent+`it arrived unchanged
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
	passed(t, bed.run(t, 5*time.Second, roundTrip+"\nAnd it arrived unchanged"))
}

func TestContentAltered(t *testing.T) {
	const altered = `unexpected filtering: the message in bob's INBOX at mail\.demo\.test:993 is not as it was sent: `
	const look = `; something between mail\.demo\.test:587 and there altered it`
	for _, test := range []struct {
		name, text, want string
		fault            stepstest.Fault
	}{
		{"a footer", roundTrip + "\nAnd its text arrived unchanged", altered + `the text goes on behind its end with "-- \\nChecked by a gateway"` + look, stepstest.FaultFooter},
		{"all: a footer", roundTrip + "\nAnd it arrived unchanged", altered + `the text goes on behind .*` + look, stepstest.FaultFooter},
		{"no such attachment", withContent + `its attachment "eicar.txt" arrived unchanged`,
			altered + `the attachment "eicar\.txt" is gone: it has "Rechnung – März\.pdf", "removed-eicar\.txt"` + look, stepstest.FaultRename},
		{"never attached", withContent + `its attachment "other" arrived unchanged`, `scenario scenario: no attachment "other" was sent: begin with "the message has the attachment …"`, ""},
		{"nothing received", `Then it arrived unchanged`, `scenario scenario: no message was received before this step: .*`, ""},
		{"made of a size", `When I try to send a message of 3 KB from "alice" to "bob" via 587
			Then "bob" receives it over IMAP within 5s
			And it arrived unchanged`, `scenario scenario: the message in .* cannot be compared: this scenario did not send it, or made it of a size`, ""},
		{"no such file", `Given the message has the attachment "absent.pdf"`, `config scenario: the file ".*/absent\.pdf" does not exist: a path is relative to the feature file`, ""},
		{"a directory", `Given the message has the attachment "files"`, `config scenario: ".*/files" is no file`, ""},
		{"too large", `Given the message has the attachment "files/large"`, `scenario scenario: the file ".*/files/large" holds more than 5242880 bytes, which is the most`, ""},
		{"too large together", "Given the message has the attachment \"files/half\"\nAnd the message has the attachment \"files/other\"",
			`scenario scenario: the attachments hold 6291456 bytes with "other": 5242880 is the most`, ""},
		{"twice", "Given the message has the attachment \"files/half\"\nAnd the message has the attachment \"files/half\"",
			`scenario scenario: the message has two attachments called "half": they could not be told apart on arrival`, ""},
		{"a line break", "When I send a message from \"alice\" to \"bob\" via 587\n| To | x ä |", `scenario scenario: the message cannot be written: the header To is no list of addresses: "x ä"`, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			bed := newMailbed(t, stepstest.MailOptions{})
			if test.fault != "" {
				if err := bed.Break(test.fault); err != nil {
					t.Fatal(err)
				}
			}
			failedAs(t, bed.attached(t, test.text), test.want)
		})
	}
}

// A file that is missing is found without running.
func TestMissingFileIsUnknown(t *testing.T) {
	for doc, want := range map[*features.DocString]string{nil: `the file ".*/absent\.pdf" does not exist: a path is relative to the feature file`, {Content: "x"}: ""} {
		bound, err := steps.Builtin().Bind(features.Step{Text: `the message has the attachment "absent.pdf"`, DocString: doc})
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
