//go:build linux

package stack_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stepwatch/stepwatch/steps/stepstest/nameserver"
	"github.com/stepwatch/stepwatch/steps/stepstest/stack"
)

// fault breaks something, until mend.
type fault func(ctx context.Context) (mend func() error, err error)

// while has act happen while something is broken, and mends it.
func (f fault) while(t *testing.T, act func()) {
	t.Helper()
	mend, err := f(t.Context())
	defer func() { // act may end the test
		if mend != nil {
			if err := mend(); err != nil {
				t.Error(err)
			}
		}
	}()
	if err != nil {
		t.Fatal(err)
	}
	act()
}

// nothing is broken; the message or the account of a row is what is wrong.
func nothing(context.Context) (func() error, error) { return nil, nil }

// blocked keeps mail from the mailboxes until unblock, or the end of the test; then what still waits is thrown away.
func blocked(t *testing.T) (unblock func()) {
	t.Helper()
	back, err := servers.BlockDelivery()
	if err != nil {
		t.Fatal(err)
	}
	unblock = sync.OnceFunc(func() {
		if err := back(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(unblock)
	emptyQueue(t)
	return unblock
}

// unreadable is for a test that takes stepwatch the way into an account's mailbox: what came meanwhile it cannot remove either,
// so that is done when the test ends.
func unreadable(t *testing.T, account string) {
	t.Helper()
	t.Cleanup(func() {
		settle(t)
		for _, path := range testMail(t) {
			if !strings.HasPrefix(path, filepath.Join(servers.Dir, "mail", account)+"/") {
				continue
			}
			if err := os.Remove(path); err != nil {
				t.Error(err)
			}
		}
	})
}

// stopped is a server that is down.
func stopped(server *stack.Server) fault {
	return func(ctx context.Context) (func() error, error) {
		return func() error { return server.Start(context.WithoutCancel(ctx)) }, server.Stop()
	}
}

// configured is a Postfix with other settings in its main.cf.
func configured(server *stack.Postfix, settings ...string) fault {
	return func(ctx context.Context) (func() error, error) { return server.Configure(ctx, settings...) }
}

// published has DNS answer for the TXT records of a name with these texts. MX forgets what it asked before and after.
func published(name string, texts ...string) fault {
	return func(ctx context.Context) (func() error, error) {
		restart := func(ctx context.Context) error {
			if err := servers.Verifier.Stop(); err != nil {
				return err
			}
			return servers.Verifier.Start(ctx)
		}
		servers.NameServer.Misbehave(nameserver.Instead(name, texts...))
		mend := func() error {
			servers.NameServer.Misbehave(nil)
			return restart(context.WithoutCancel(ctx))
		}
		return mend, restart(ctx)
	}
}
