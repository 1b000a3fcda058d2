//go:build linux

package stack_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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
