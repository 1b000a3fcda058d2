//go:build linux

package stack

import (
	"context"
	"fmt"
	"os"
)

// Release lets Postfix deliver what the host Holding kept.
func (s *Stack) Release(ctx context.Context) error {
	config := s.path("etc/postfix")
	if _, err := output(ctx, "/usr/sbin/postsuper", "-c", config, "-H", "ALL"); err != nil {
		return err
	}
	_, err := output(ctx, "/usr/sbin/postqueue", "-c", config, "-f")
	return err
}

// Discard empties Postfix' queue, so that what a test kept from arriving does not arrive in the next one.
func (s *Stack) Discard(ctx context.Context) error {
	_, err := output(ctx, "/usr/sbin/postsuper", "-c", s.path("etc/postfix"), "-d", "ALL")
	return err
}

// Queue gives Postfix' queue: one JSON object a message, one a line (postqueue(1)).
func (s *Stack) Queue(ctx context.Context) (string, error) {
	return output(ctx, "/usr/sbin/postqueue", "-c", s.path("etc/postfix"), "-j")
}

// BlockDelivery takes Dovecot's LMTP socket away from Postfix until unblock: mail is accepted, and tried again every two
// seconds. IMAP goes on.
func (s *Stack) BlockDelivery() (unblock func() error, err error) {
	socket, away := s.path("dovecot/lmtp"), s.path("dovecot/lmtp.away")
	if err := os.Rename(socket, away); err != nil {
		return nil, fmt.Errorf("block delivery: %w", err)
	}
	return func() error { return os.Rename(away, socket) }, nil
}

// Kick ends the IMAP connections of an account with BYE, as an operator's "doveadm kick" does. That there are none is an
// error.
func (s *Stack) Kick(ctx context.Context, address string) error {
	_, err := output(ctx, "/usr/bin/doveadm", "-c", s.path("etc/dovecot.conf"), "kick", address)
	return err
}
