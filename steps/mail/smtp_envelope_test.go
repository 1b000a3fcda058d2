package mail_test

import (
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

func TestEnvelope(t *testing.T) {
	const dialogue = `
		TLS
		S: 220 mail.demo.test ESMTP
		C: EHLO
		S: 250-mail.demo.test
		S: 250-DSN
		S: 250-REQUIRETLS
		S: 250 AUTH PLAIN
		C: AUTH PLAIN
		S: 235 ok
		`
	const step = `When I send a message from "alice" to "carol" via 465` + "\n"
	for _, test := range []struct{ name, script, table, want string }{
		{"all", dialogue + `C: MAIL FROM:<alice@demo.test> REQUIRETLS RET=HDRS ENVID=
			S: 250 ok
			C: RCPT TO:<carol@demo.test> NOTIFY=SUCCESS,DELAY` + "\r" + `
			S: 550 5.1.1 no
			C: QUIT
			S: 221 bye`, "| NOTIFY | success, delay |\n| Ret | hdrs |\n| REQUIRETLS | yes |\n| Subject | Hello |",
			`refused submission: mail\.demo\.test:465 refused RCPT TO:<carol@demo\.test> NOTIFY=SUCCESS,DELAY: 550 5\.1\.1 no .*`},
		{"none", dialogue + `C: MAIL FROM:<alice@demo.test> ENVID=
			S: 250 ok
			C: RCPT TO:<carol@demo.test>` + "\r" + `
			S: 550 5.1.1 no
			C: QUIT
			S: 221 bye`, "", `refused submission: mail\.demo\.test:465 refused RCPT TO:<carol@demo\.test>: 550 5\.1\.1 no .*`},
		{"DSN not offered", hello("PLAIN") + "\nC: AUTH PLAIN\nS: 235 ok\nC: QUIT\nS: 221 bye", "| NOTIFY | never |",
			`refused submission: mail\.demo\.test:465 does not offer DSN, which NOTIFY and RET need: nothing was sent`},
		{"REQUIRETLS not offered", hello("PLAIN") + "\nC: AUTH PLAIN\nS: 235 ok\nC: QUIT\nS: 221 bye", "| REQUIRETLS | yes |",
			`refused submission: mail\.demo\.test:465 does not offer REQUIRETLS inside TLS: nothing was sent`},
		{"no such event", hello("PLAIN"), "| NOTIFY | sometimes |", `scenario scenario: NOTIFY cannot be "sometimes": .*`},
		{"never and always", hello("PLAIN"), "| NOTIFY | NEVER,SUCCESS |", `scenario scenario: NOTIFY cannot be "NEVER,SUCCESS": .*`},
		{"no such part", hello("PLAIN"), "| RET | half |", `scenario scenario: RET cannot be "half": .*`},
		{"REQUIRETLS without yes", hello("PLAIN"), "| REQUIRETLS | no |", `scenario scenario: REQUIRETLS cannot be "no": .*`},
	} {
		t.Run(test.name, func(t *testing.T) {
			bed := scripted(t, map[string]string{"465": test.script})
			fixture.FailedAs(t, bed.Run(t, 5*time.Second, step+test.table), test.want)
		})
	}
}
