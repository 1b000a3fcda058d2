package bench

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// mailLogSize is as much as a busy server writes in a day, in bytes.
const mailLogSize = 200 << 20

// writeMailLog writes a log of Postfix and Dovecot about the last day: of each message the nine lines that there are, with one
// in twenty bounced and one in ten deferred, and a refused login now and then. It gives the number of lines.
func writeMailLog(b *testing.B, path string, size int) (lines int) {
	b.Helper()
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	w := bufio.NewWriterSize(f, 1<<20)
	start := time.Now().Add(-23 * time.Hour)
	messages := 0
	for written := 0; written < size; messages++ {
		at := start.Add(time.Duration(float64(written) / float64(size) * float64(22*time.Hour))).Format(time.Stamp)
		id := fmt.Sprintf("4jWm%08dz1VF5h", messages)
		status := "dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as 4jWnother)"
		switch {
		case messages%20 == 0:
			status = "dsn=5.1.1, status=bounced (host mx.example.net[192.0.2.25] said: 550 5.1.1 <x@example.net>: User unknown (in reply to RCPT TO command))"
		case messages%10 == 1:
			status = "dsn=4.4.1, status=deferred (connect to mx.example.net[192.0.2.25]:25: Connection timed out)"
		}
		text := []string{
			"postfix/submission/smtpd[1201]: connect from client.example.org[198.51.100.7]",
			"postfix/submission/smtpd[1201]: Anonymous TLS connection established from client.example.org[198.51.100.7]: TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)",
			"postfix/submission/smtpd[1201]: " + id + ": client=client.example.org[198.51.100.7], sasl_method=PLAIN, sasl_username=user" + fmt.Sprint(messages%500) + "@example.org",
			"postfix/cleanup[1210]: " + id + ": message-id=<" + id + "@example.org>",
			"opendkim[801]: " + id + ": DKIM-Signature field added (s=mail, d=example.org)",
			"postfix/qmgr[702]: " + id + ": from=<user@example.org>, size=20480, nrcpt=1 (queue active)",
			"postfix/smtp[1301]: Trusted TLS connection established to mx.example.net[192.0.2.25]:25: TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)",
			"postfix/smtp[1301]: " + id + ": to=<x@example.net>, relay=mx.example.net[192.0.2.25]:25, delay=1.2, delays=0.1/0.01/0.5/0.6, " + status,
			"postfix/submission/smtpd[1201]: disconnect from client.example.org[198.51.100.7] ehlo=2 starttls=1 auth=1 mail=1 rcpt=1 data=1 quit=1 commands=8",
		}
		if messages%7 == 0 {
			text = append(text, fmt.Sprintf("postfix/submission/smtpd[1202]: warning: unknown[203.0.113.%d]: SASL LOGIN authentication failed: UGFzc3dvcmQ6, sasl_username=root", messages%250))
		}
		for _, line := range text {
			n, err := fmt.Fprintf(w, "%s mail %s\n", at, line)
			if err != nil {
				b.Fatal(err)
			}
			written += n
			lines++
		}
	}
	if err := w.Flush(); err != nil {
		b.Fatal(err)
	}
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
	return lines
}

// BenchmarkMailLog has `stepwatch check` read 200 MB of log for the first time, and 20 MB, which shows whether its memory grows
// with the log; and then once more, as each minute, with nothing new.
func BenchmarkMailLog(b *testing.B) {
	dir := b.TempDir()
	binary, feature, config, log := filepath.Join(dir, "stepwatch"), filepath.Join(dir, "log.feature"), filepath.Join(dir, "stepwatch.yml"), filepath.Join(dir, "mail.log")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", binary, "../cmd/stepwatch")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("build: %v\n%s", err, out)
	}
	text := "@timeout:1m\nFeature: Log\n  Scenario: Log\n    When I read the mail log of \"mx1\"\n    Then less than 6% bounced in the last 24 hours\n"
	if err := os.WriteFile(feature, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(config, []byte("hosts: {mx1: {log: {file: mail.log}}}\nstate: state\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		size  int
		again bool
	}{{"20MB", mailLogSize / 10, false}, {"200MB", mailLogSize, false}, {"200MB/again", mailLogSize, true}} {
		b.Run(c.name, func(b *testing.B) {
			lines := writeMailLog(b, log, c.size)
			command := []string{binary, "check", "--config", config, feature}
			check := func() {
				out, err := exec.Command(command[0], command[1:]...).CombinedOutput()
				if err != nil || !strings.HasPrefix(string(out), "STEPWATCH OK") {
					b.Fatalf("%v: %s", err, out)
				}
			}
			forget := func() {
				if err := os.RemoveAll(filepath.Join(dir, "state")); err != nil {
					b.Fatal(err)
				}
			}
			forget()
			if c.again {
				check()
			}
			for b.Loop() {
				if !c.again {
					forget()
				}
				check()
			}
			if !c.again {
				b.ReportMetric(float64(lines*b.N)/b.Elapsed().Seconds(), "lines/s")
				forget()
			}
			b.ReportMetric(peak(command, dir), "peak-MB")
		})
	}
}
