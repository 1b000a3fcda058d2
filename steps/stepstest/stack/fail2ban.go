//go:build linux

package stack

import (
	"context"
	"errors"
	"os"
)

// StartFail2ban starts a fail2ban that bans whoever fails to log in at Postfix or Dovecot once, in the jails postfix-sasl
// and dovecot. It only keeps the list: nobody is shut out. Its socket is where its client looks for it, in RunDir.
func (s *Stack) StartFail2ban(ctx context.Context) error {
	config := s.path("etc/fail2ban")
	if err := errors.Join(os.RemoveAll(config), os.CopyFS(config, os.DirFS("/etc/fail2ban")), os.MkdirAll(RunDir+"/fail2ban", 0o755)); err != nil {
		return err
	}
	for _, name := range []string{"etc/fail2ban/jail.local", "etc/fail2ban/fail2ban.local"} {
		if err := s.render(name, s.path(name), struct{ Dir string }{s.Dir}); err != nil {
			return err
		}
	}
	s.Fail2ban = s.server("fail2ban", fail2banProgram, "-c", config, "-f", "--logtarget", "STDOUT")
	s.Fail2ban.ready = append(s.Fail2ban.ready, func(ctx context.Context) error {
		for _, jail := range []string{"postfix-sasl", "dovecot"} {
			if _, err := output(ctx, "/usr/bin/fail2ban-client", "status", jail); err != nil {
				return err
			}
		}
		return nil
	})
	return s.Fail2ban.Start(ctx)
}
