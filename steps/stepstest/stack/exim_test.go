//go:build linux

package stack_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stepwatch/stepwatch/steps/stepstest/stack"
)

// exim starts Exim with a smarthost, and gives a stepwatch.yml whose leaf machine it is.
func exim(t *testing.T, smarthost string, login stack.Account) (config string) {
	t.Helper()
	s := need(t)
	if err := stack.EximUsable(); err != nil {
		t.Skip(err)
	}
	logs(t, "exim", "exim.mainlog", "exim.paniclog")
	if err := s.StartExim(t.Context(), smarthost, login); err != nil {
		t.Fatal(err)
	}
	return altered(t, func(c *stack.Config) { c.Account(stack.Leaf).SMTP = stack.Exim })
}

func TestExim(t *testing.T) {
	need(t)
	login := *servers.Config.Account(stack.Alice)
	t.Run("smarthost", func(t *testing.T) {
		config := exim(t, stack.Mail, login)
		code, out := execute(t, stepwatch, "run", "--config", config, "../../../features/mail/smarthost.feature")
		if code != 0 {
			t.Errorf("exit code %d:\n%s", code, out)
		}
	})
	t.Run("server", func(t *testing.T) {
		passes(t, exim(t, stack.Mail, login), `I send a message from "leaf" to "erin" via 25`, `"erin" receives it over IMAP within 10s`)
	})
	send, read := `I send a message from "leaf" to "bob" via 25`, `"bob" receives it over IMAP within 2s`
	wrong := login
	wrong.Password = "wrong"
	for _, c := range []struct {
		name, smarthost string
		login           stack.Account
		log             string
	}{
		{"certificate for another name", stack.WrongHost, login, "certificate verification failed"},
		{"expired certificate", stack.Expired, login, "certificate verification failed"},
		{"unknown CA", stack.UnknownCA, login, "certificate verification failed"},
		{"wrong password", stack.Mail, wrong, "authentication failed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := exim(t, c.smarthost, c.login)
			check(t, config, send+"\n"+read, outcome{read, "not_received", "queue"})
			log := readLog(t, filepath.Join(servers.Dir, "log/exim.mainlog"))
			if !strings.Contains(log, c.log) {
				t.Errorf("Exim does not name %q:\n%s", c.log, log)
			}
			passes(t, exim(t, stack.Mail, login), send, strings.Replace(read, "2s", "10s", 1))
		})
	}
}
