//go:build linux

package stack_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stepwatch/stepwatch/steps/stepstest/stack"
)

// amended writes a stepwatch.yml that is the stack's own with these lines added.
func amended(t *testing.T, config, lines string) string {
	t.Helper()
	content, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	return write(t, "stepwatch.yml", string(content)+lines)
}

// TestMXWithAnyCertificate has MX hosts whose certificates are wrong in each way: mail goes there in TLS and is delivered,
// what is wrong is told, and it fails the step that wants verified TLS.
func TestMXWithAnyCertificate(t *testing.T) {
	need(t)
	const step = `I send a message from "alice" directly to the MX of "bob"`
	own := altered(t, func(*stack.Config) {})
	for _, c := range []struct{ host, ip, note, reason string }{
		{stack.Mail, "127.0.0.1", "certificate verified", ""},
		{stack.WrongHost, "127.0.0.3", "certificate not verified: x509: certificate is valid for other.example.test, not mail.example.test", "certificate_host"},
		{stack.Expired, "127.0.0.2", `certificate not verified: the certificate of "expired.example.test" is valid from`, "certificate_expired"},
	} {
		t.Run(c.host, func(t *testing.T) {
			logs(t, "postfix")
			config := amended(t, own, "connect_to: {\"mail.example.test:25\": \""+c.ip+":25\"}\n")
			out := passes(t, config, step, `it is accepted within 5s`, `"bob" receives it over IMAP within 10s`, "every hop used TLS")
			if !strings.Contains(out, "mail.example.test: TLS 1.3, "+c.note) {
				t.Errorf("wanted %q in:\n%s", c.note, out)
			}
			verified := step + " with verified TLS"
			if c.reason == "" {
				passes(t, config, verified)
			} else {
				check(t, config, verified, outcome{verified, c.reason, "transfer"})
			}
		})
	}
}

// TestContentArrives sends what mail programs send (an attachment, letters outside US-ASCII, both at once with headers)
// through Postfix, OpenDKIM, Sieve and Dovecot, and compares what arrived with it.
func TestContentArrives(t *testing.T) {
	need(t)
	logs(t, "postfix")
	config := altered(t, func(*stack.Config) {})
	dir := shared(t)
	for name, content := range map[string]string{
		"Rechnung – März.pdf": strings.Repeat("\x00\xff\n", 700_000),
		"content.feature": `Feature: Content
  Scenario: It arrives
    * the message has the attachment "Rechnung – März.pdf"
    * the message has the attachment "note.txt"
      """
      Grüße
      """
    * I send a message from "alice" to "bob" via 587
      """message/rfc822
      From: Jörg von der Überwachung <alice@example.test>
      Subject: Grüße aus der Überwachung, mit einer langen Zeile, die auf dem Weg gefaltet werden darf
      NOTIFY: FAILURE

      Schöne Grüße
      .
      From here on it is text.
      """
    * "bob" receives it over IMAP within 10s
    * it arrived unchanged
    * its attachment "Rechnung – März.pdf" arrived unchanged
    * its text arrived unchanged
    * its header "From" contains "Jörg von der Überwachung"
    * it passes DKIM
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if code, out := execute(t, stepwatch, "run", "--config", config, filepath.Join(dir, "content.feature")); code != 0 {
		t.Errorf("exit code %d:\n%s", code, out)
	}
}
