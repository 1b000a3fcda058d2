package mail_test

import (
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

func TestLMTP(t *testing.T) {
	const dialogue = `
		S: 220 mail.demo.test LMTP
		C: LHLO
		S: 250 mail.demo.test
		C: MAIL FROM:<carol@demo.test>
		S: 250 ok
		C: RCPT TO:<carol@demo.test>
		`
	const step = `When I deliver a message to "carol" over LMTP via `
	bed := scripted(t, map[string]string{"24": dialogue + `S: 250 ok
		C: DATA
		S: 354 go
		C*
		S: 250 2.0.0 <carol@demo.test> ABCDEF Saved
		C: QUIT
		S: 221 bye`, "2400": dialogue + `S: 452 4.2.2 Quota exceeded
		C: QUIT
		S: 221 bye`, "2401": dialogue + `S: 430 Authentication required
		C: QUIT
		S: 221 bye`})
	fixture.Passed(t, bed.Run(t, 5*time.Second, step+"\"mail.demo.test:24\"\nThen it is accepted within 5s"))
	fixture.FailedAs(t, bed.Run(t, 5*time.Second, step+`"mail.demo.test:2400"`),
		`deferred delivery: mail\.demo\.test:2400 deferred RCPT TO:<carol@demo\.test>: 452 4\.2\.2 Quota exceeded .*`)
	fixture.FailedAs(t, bed.Run(t, 5*time.Second, step+`"mail.demo.test:2401"`),
		`auth delivery: mail\.demo\.test:2401 refused RCPT TO:<carol@demo\.test>: 430 Authentication required \(it wants a login, .*`)
	fixture.FailedAs(t, bed.Run(t, 5*time.Second, step+`"/nowhere/lmtp"`), `\w+ delivery: connect to /nowhere/lmtp: .*no such file or directory`)
}
