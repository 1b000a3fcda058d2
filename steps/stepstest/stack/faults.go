//go:build linux

package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
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

// ErrNobody says that there was no connection to end.
var ErrNobody = errors.New("nobody is logged in")

// Kick ends the IMAP connections of an account with BYE, as an operator's "doveadm kick" does.
func (s *Stack) Kick(ctx context.Context, address string) error {
	_, err := output(ctx, "/usr/bin/doveadm", "-c", s.path("etc/dovecot.conf"), "kick", address)
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() == noUser {
		return ErrNobody
	}
	return err
}

// noUser is doveadm's exit code when nobody matches (EX_NOUSER).
const noUser = 67
