//go:build linux

package stack_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stepwatch/stepwatch/steps/stepstest/stack"
)

// TestSignatures has stepwatch verify what OpenDKIM signs, and breaks that.
func TestSignatures(t *testing.T) {
	s := need(t)
	logs(t, "postfix")
	config := filepath.Join(s.Dir, "stepwatch.yml")
	submit, read := fmt.Sprintf(send, 587), fmt.Sprintf(receive, 993, "10s")
	delivered := submit + "\n" + read + "\n"
	t.Run("signed", func(t *testing.T) {
		passes(t, config, submit, read, "it passes DKIM", `it is signed by "example.test" with the selector "mail"`, "it passes DMARC", "it is not marked as spam")
	})
	t.Run("another selector", func(t *testing.T) {
		check(t, config, delivered+`it is signed by "example.test" with the selector "next"`, outcome{"it is signed by", "unexpected", "submission"})
	})
	t.Run("no filter", func(t *testing.T) {
		check(t, config, delivered+"its spam score is below 5", outcome{"its spam score is below 5", "unexpected", "filtering"})
	})
	t.Run("nothing for SPF", func(t *testing.T) {
		feature := write(t, "spf.feature", "Feature: F\n  Scenario: S\n    * "+submit+"\n    * "+read+"\n    * it passes SPF\n")
		if code, out := execute(t, stepwatch, "check", "--config", config, feature); code != 3 {
			t.Errorf("exit code %d, want 3 (UNKNOWN):\n%s", code, out)
		}
	})
	t.Run("without OpenDKIM", func(t *testing.T) {
		down(t, s.OpenDKIM)
		check(t, config, delivered+"it passes DKIM", outcome{"it passes DKIM", "unexpected", "submission"})
		check(t, config, delivered+"it passes DMARC", outcome{"it passes DMARC", "unexpected", "submission"})
	})
	t.Run("body altered in the queue", func(t *testing.T) {
		emptyQueue(t)
		altering := altered(t, func(c *stack.Config) { c.Account(stack.Alice).SMTP = stack.Holding })
		done := make(chan error, 1)
		go func() {
			err := servers.Postfix.Queued(t.Context())
			if err == nil {
				err = errors.Join(alterHeld(s), s.Postfix.Release(context.WithoutCancel(t.Context())))
			}
			done <- err
		}()
		check(t, altering, delivered+"it passes DKIM", outcome{"it passes DKIM", "unexpected", "transfer"})
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// alterHeld changes a word in the bodies that Postfix holds, in place: the queue's names are made of the files' inodes.
func alterHeld(s *stack.Stack) error {
	held, err := filepath.Glob(filepath.Join(s.Dir, "postfix/queue/hold/*"))
	if err != nil || len(held) == 0 {
		return fmt.Errorf("no message is held: %w", err)
	}
	for _, path := range held {
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		at := bytes.Index(content, []byte("test message. stepwatch"))
		if at < 0 {
			return fmt.Errorf("%s: the message is another than expected", path)
		}
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		if _, err := f.WriteAt([]byte("TEST"), int64(at)); err != nil {
			return errors.Join(err, f.Close())
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}

// TestVerdictsOfTheRoute has mail go from one provider's relay to another's MX, where OpenDKIM writes what it thinks of it. One
// thing after the other is broken that a receiver looks at, for the receiver to say so and for stepwatch to say whose fault
// it is; mended, all of it passes.
func TestVerdictsOfTheRoute(t *testing.T) {
	s := route(t)
	logs(t, "verifier")
	config := filepath.Join(s.Dir, "stepwatch.yml")
	const all = "it passes SPF, DKIM and DMARC"
	good := []string{sendFar, readFar, all, `the receiving server says "dkim=pass header.d=` + stack.Far + `"`}
	passes(t, config, good...)
	const key = "mail._domainkey." + stack.Far
	footer := write(t, "footer", "/^This is a test message/ REPLACE This is a test message with an advertisement.\n")
	for _, c := range []struct {
		name    string
		broken  fault
		headers string // of the message, as a table
		step    string
		want    outcome
		says    string // by the line of the failure
		theirs  string // what the receiving server is wanted to say; empty when OpenDKIM has no word on it
		blame   string // of that
	}{
		{"the key is gone", published(key), "", all, outcome{all, "dns", "dns"}, "DNS has no key at " + key, "dkim=pass", "dns"},
		{"the key is unusable", published(key, "v=DKIM1; k=rsa; p=AAAA"), "", all, outcome{all, "unexpected", "dns"}, "the record at " + key + " cannot be used", "dkim=pass", "dns"},
		{"another key", published(key, "v=DKIM1; k=rsa; p="+otherKey(t)), "", all, outcome{all, "unexpected", "target"},
			"the key at " + key + " is not the signer's", "dkim=pass", "target"},
		{"a footer is added", configured(s.MX, "body_checks = regexp:"+footer), "", all, outcome{all, "unexpected", "transfer"}, "the body was altered after it was signed", "dkim=pass", "target"},
		{"the signer is down", stopped(s.OpenDKIM), "", all, outcome{all, "unexpected", "submission"}, "the message is not signed", "dkim=pass", "submission"},
		{"SPF without the relay", published(stack.Far, "v=spf1 ip4:192.0.2.1 -all"), "", all, outcome{all, "unexpected", "transfer"}, "does not allow 127.0.1.1, which handed the message to " + stack.MX1, "", ""},
		{"no SPF", published(stack.Far), "", all, outcome{all, "unexpected", "dns"}, "SPF: none", "", ""},
		{"no DMARC", published("_dmarc." + stack.Domain), "", all, outcome{all, "unexpected", "dns"}, "there is no record at _dmarc." + stack.Far, "", ""},
		{"another author", nothing, "\n| From | dave@new." + stack.Domain + " |", "it passes DMARC", outcome{"it passes DMARC", "unexpected", "submission"},
			"nothing that passes is aligned with new." + stack.Domain + " of From: SPF passes for " + stack.Far, "", ""},
		{"the receiving filter is down", stopped(s.Verifier), "", good[3], outcome{good[3], "unexpected", "filtering"}, "wrote no Authentication-Results", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.broken.while(t, func() {
				line := check(t, config, sendFar+c.headers+"\n"+readFar+"\n"+c.step, c.want)
				if !strings.Contains(line, c.says) {
					t.Errorf("want %q in %s", c.says, line)
				}
				if c.theirs != "" {
					step := `the receiving server says "` + c.theirs + `"`
					check(t, config, sendFar+c.headers+"\n"+readFar+"\n"+step, outcome{step, "unexpected", c.blame})
				}
				settle(t) // mending stops a server; see passes
			})
			passes(t, config, good...)
		})
	}
}

// otherKey is a good public key that nobody signs with.
func otherKey(t *testing.T) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 1024) // its record fits into one text
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(public)
}
