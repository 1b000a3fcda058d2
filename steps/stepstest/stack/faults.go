//go:build linux

package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// BlockDelivery takes Dovecot's LMTP socket away from Postfix until unblock: mail is accepted, and tried again every two
// seconds. IMAP goes on.
func (s *Stack) BlockDelivery() (unblock func() error, err error) {
	socket, away := s.path("dovecot/lmtp"), s.path("dovecot/lmtp.away")
	if err := os.Rename(socket, away); err != nil {
		return nil, fmt.Errorf("block delivery: %w", err)
	}
	return func() error { return os.Rename(away, socket) }, nil
}

// Fill puts n messages of size bytes into an account's INBOX, past every server, as a restored backup does.
func (s *Stack) Fill(name string, n, size int) error {
	return s.alterMailbox(name, func(folder string) error {
		head := fmt.Sprintf("From: %s\nTo: %[1]s\nSubject: filling\nDate: Thu, 01 Jan 2026 00:00:00 +0000\n\n", s.Config.Account(name).Address)
		line := strings.Repeat("x", 63) + "\n"
		content := []byte(head + strings.Repeat(line, (max(0, size-len(head))+len(line)-1)/len(line)))
		for i := range n {
			path := filepath.Join(folder, fmt.Sprintf("%d.filling.%d,S=%d", time.Now().UnixNano(), i, len(content)))
			if err := errors.Join(os.WriteFile(path, content, 0o600), os.Chown(path, MailUID, MailUID)); err != nil {
				return err
			}
		}
		return nil
	})
}

// Empty takes out what Fill put into an account's INBOX.
func (s *Stack) Empty(name string) error {
	return s.alterMailbox(name, func(folder string) error {
		var messages []string
		for _, sub := range []string{folder, filepath.Join(folder, "../cur")} {
			found, err := filepath.Glob(filepath.Join(sub, "*.filling.*"))
			if err != nil {
				return err
			}
			messages = append(messages, found...)
		}
		for _, message := range messages {
			if err := os.Remove(message); err != nil {
				return err
			}
		}
		return nil
	})
}

// alterMailbox calls alter with the folder of an account's new mail, and makes Dovecot count the mailbox again.
func (s *Stack) alterMailbox(name string, alter func(folder string) error) error {
	maildir := s.path("mail/" + name + "/Maildir")
	for _, dir := range []string{"", "/Maildir", "/Maildir/tmp", "/Maildir/new", "/Maildir/cur"} {
		dir = s.path("mail/" + name + dir)
		if err := errors.Join(os.MkdirAll(dir, 0o700), os.Chown(dir, MailUID, MailUID)); err != nil {
			return err
		}
	}
	err := alter(filepath.Join(maildir, "new"))
	if size := os.Remove(filepath.Join(maildir, "maildirsize")); !errors.Is(size, os.ErrNotExist) {
		err = errors.Join(err, size)
	}
	if err != nil {
		return fmt.Errorf("alter the mailbox of %s: %w", name, err)
	}
	return nil
}

// Kick ends the IMAP connections of an account with BYE, as an operator's "doveadm kick" does. That there are none is an
// error.
func (s *Stack) Kick(ctx context.Context, address string) error {
	_, err := output(ctx, "/usr/bin/doveadm", "-c", s.path("etc/dovecot.conf"), "kick", address)
	return err
}
