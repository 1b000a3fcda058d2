package web

import (
	"context"
	"fmt"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/timeserver"
	"github.com/stepwatch/stepwatch/steps/totp"
)

func init() {
	registerWeb(
		steps.Definition{Area: "web", Sentence: "I fill in {text} with the code of the secret {secret}",
			Does: "Fills in a field with the current two-factor code (TOTP, RFC 6238). The secret in stepwatch.yml is the key from the site: base32 text, or the otpauth:// address of its QR code. " +
				"A code that expires in less than 3 s is not used: the step waits for the next one. Sites accept a code only once, so leave more than 30 s between two logins.",
			Measures: "Phase wait, when the step waited for the next code.",
			Example:  `When I fill in "Code" with the code of the secret "members-totp"`, Func: fillInCode},
	)
}

// codeLife is how long a code must remain valid, so that it still is when the form is sent. Most servers also accept
// the previous code (RFC 6238 section 5.2), but they need not.
const codeLife = 3 * time.Second

func fillInCode(ctx context.Context, w *steps.World, a steps.Args) error {
	secret, err := w.Secret(ctx, a.Text(1))
	if err != nil {
		return err
	}
	key, err := totp.Parse(secret.Reveal())
	if err != nil {
		return steps.Fail(result.ReasonConfig, result.BlameScenario, "the secret %q is not a key for two-factor codes: %w", a.Text(1), err)
	}
	w.Redact(key.Base32()) // an address has more than the key, and a key may be written in groups
	start := time.Now()
	code, left := key.Code(start)
	if left < min(codeLife, key.Period()/2) {
		timer := time.NewTimer(left)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return steps.FailNet(ctx, context.Cause(ctx), result.BlameScenario, "wait for the next two-factor code")
		}
		w.Phase("wait", time.Since(start), "the code was about to expire")
		code, _ = key.Code(time.Now().Add(time.Millisecond)) // a timer may fire a little before the second of the clock changes
	}
	w.Redact(code)
	*steps.State[timeserver.Code](w) = timeserver.Code{Name: fmt.Sprintf("the code of the secret %q", a.Text(1)), Period: key.Period()}
	return fill(ctx, w, a.Text(0), code, true)
}
