package mail_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/mailhost"
)

// TestARefusedLoginWhileTheLookupIsDown has a server answer 535, as Postfix does when Dovecot says that its lookup
// fails.
func TestARefusedLoginWhileTheLookupIsDown(t *testing.T) {
	const script = `
		TLS
		S: 220 mail.demo.test ESMTP
		C: EHLO
		S: 250-mail.demo.test
		S: 250 AUTH PLAIN
		C: AUTH PLAIN AGFsaWNlAHdvbmRlcmxhbmQ=
		S: 535 5.7.8 Error: authentication failed: (reason unavailable)
		C: QUIT
		S: 221 bye`
	const refused = `mail\.demo\.test:465 refused AUTH PLAIN as "alice": 535 5\.7\.8 Error: authentication failed: \(reason unavailable\): `
	stamp := func(ago time.Duration) string { return time.Now().Add(-ago).Format(time.Stamp) }
	for name, c := range map[string]struct{ log, want string }{
		"the log names it": {"mail dovecot: auth: Error: passwd-file(alice,192.0.2.9): open(/etc/dovecot/users) failed: Permission denied",
			`nobody judged the password: according to the log of mx1, dovecot's account lookup passwd-file: passwd-file\(alice,192\.0\.2\.9\): open\(/etc/dovecot/users\) failed: Permission denied`},
		"the log has nothing of it": {"mail postfix/smtpd[7]: connect from x[192.0.2.9]",
			`is the password of account "alice" still right\? Or is the account lookup down\? Postfix answers so too when Dovecot cannot judge a password: Dovecot's log shows it`},
		"no log": {"", `is the password of account "alice" still right\? Or is the account lookup down\? Postfix answers so too when Dovecot cannot judge a password: Dovecot's log shows it`},
	} {
		t.Run(name, func(t *testing.T) {
			bed := scripted(t, map[string]string{"465": script})
			if c.log != "" {
				path := filepath.Join(t.TempDir(), "mail.log")
				old := stamp(time.Hour) + " mail dovecot: auth: Error: sql(alice): an earlier failure\n"
				if err := os.WriteFile(path, []byte(old+stamp(0)+" "+c.log+"\n"), 0o600); err != nil {
					t.Fatal(err)
				}
				bed.Target.Hosts = map[string]*steps.Host{"mx1": (&steps.Host{Name: "mx1", Address: "mail.demo.test"}).Set(&mailhost.Log{File: path})}
			}
			outcome := bed.Run(t, 5*time.Second, `When I send a message from "alice" to "carol" via 465`)
			check(t, outcome, 0, result.ReasonAuth, result.BlameSubmission, refused+c.want)
		})
	}
}
