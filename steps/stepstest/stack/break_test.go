//go:build linux

package stack_test

import (
	"context"
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
