//go:build linux

package stack_test

import (
	"path/filepath"
	"testing"

	"github.com/stepwatch/stepwatch/steps/stepstest/stack"
)

func TestMailservers(t *testing.T) {
	s := need(t)
	for _, m := range s.Mailservers() {
		t.Run(m.Name, func(t *testing.T) {
			if err := m.Usable(); err != nil {
				t.Skip(err)
			}
			t.Cleanup(func() {
				if err := m.Stop(); err != nil {
					t.Error(err)
				}
			})
			for _, log := range m.Logs() {
				logs(t, filepath.Base(log))
			}
			if err := m.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			config := altered(t, func(c *stack.Config) {
				for _, account := range m.Accounts {
					*c.Account(account.Name) = account
				}
			})
			code, out := execute(t, stepwatch, "run", "--config", config, "../../../features/mail/round-trip.feature")
			t.Log(code, out)
			if code != 0 {
				t.Fail()
			}
		})
	}
}
