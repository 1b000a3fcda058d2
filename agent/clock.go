package agent

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/lack"
	"github.com/stepwatch/stepwatch/steps/timeserver"
	"github.com/stepwatch/stepwatch/steps/wording"
)

// A failure may be the fault of a clock: a certificate seems to be expired or not yet valid, a code that was computed from the
// time is refused. Which clock is wrong only a third one can tell: the NTP server of stepwatch.yml (clock.server). It is asked
// after such a failure. Without it, the clock of the target is compared with ours if a server said its time in this run, and the
// message says that they differ, and no more: nothing is proved.

// What counts as a clock that is wrong.
const (
	clockRight  = 5 * time.Second  // a clock that is proved to be within this is right
	clockWrong  = 30 * time.Second // one that is proved to be beyond this is worth a word, whatever failed
	codePeriods = 3                // servers accept the codes of the periods before and after, seldom more (RFC 6238 section 5.2)
)

// judgeClock looks for a wrong clock that explains a failure. It returns what this machine lacks if that is proved, and
// otherwise a remark for the message, which may be empty.
func (rec *recorder) judgeClock(ctx context.Context, failure *steps.Failure, err error) (own *lack.Error, remark string) {
	code := *steps.State[timeserver.Code](rec.world)
	if !dependsOnTime(failure, code) {
		return nil, ""
	}
	seen := *steps.State[timeserver.Seen](rec.world)
	differs, known := seen.Ahead()
	known = known && differs.Abs() >= clockWrong
	server := steps.SettingsOf[timeserver.Reference](rec.world.Target())
	var answer *timeserver.Answer
	if server != "" {
		answer = clocks.ask(ctx, rec.world, string(server), rec.lookTime(ctx))
	}
	switch {
	case answer != nil && answer.Judge(clockWrong) == timeserver.Beyond:
		said := fmt.Sprintf("the clock of this machine is %s, according to %s", describeOffset(answer.Ahead), server)
		if explains(err, code, answer) {
			return &lack.Error{Kind: lack.Clock, Said: said, Remedy: clockRemedy}, ""
		}
		return nil, said + ": " + clockRemedy
	case !known:
		return nil, ""
	case answer != nil && answer.Judge(clockRight) == timeserver.Within:
		return nil, fmt.Sprintf("the clock of %s is %s, by the Date of its answer; that of this machine is right, according to %s", seen.Host, describeOffset(-differs), server)
	}
	remark = fmt.Sprintf("by the Date of its answer, the clock of %s is %s than that of this machine, so one of them is wrong", seen.Host, compare(-differs))
	switch kernel := timeserver.ReadKernel(); {
	case server != "":
		remark += fmt.Sprintf(" (%s did not say which)", server)
	case kernel.Known:
		remark += fmt.Sprintf(" (%s; clock.server in stepwatch.yml would tell which)", kernel)
	default:
		remark += " (clock.server in stepwatch.yml would tell which)"
	}
	return nil, remark
}

// dependsOnTime reports whether a wrong clock may be why a step failed.
func dependsOnTime(failure *steps.Failure, code timeserver.Code) bool {
	switch failure.Reason {
	case result.ReasonCertExpired, result.ReasonCertSoon, result.ReasonCertRevoked, result.ReasonAuth:
		return true
	case result.ReasonUnexpected, result.ReasonNotFound, result.ReasonHTTPStatus, result.ReasonRedirect, result.ReasonRefused:
		return code.Name != "" && failure.Blame == result.BlameWeb
	}
	return false
}

// explains reports whether a clock that is wrong by so much certainly explains a failure: at the right time, the certificate
// would have been valid, or the code another one.
func explains(err error, code timeserver.Code, answer *timeserver.Answer) bool {
	if invalid := (x509.CertificateInvalidError{}); errors.As(err, &invalid) && invalid.Reason == x509.Expired && invalid.Cert != nil {
		right := time.Now().Add(-answer.Ahead)
		return right.Add(-answer.Uncertainty).After(invalid.Cert.NotBefore) && right.Add(answer.Uncertainty).Before(invalid.Cert.NotAfter)
	}
	failure := (*steps.Failure)(nil)
	return code.Name != "" && errors.As(err, &failure) && failure.Blame == result.BlameWeb && failure.Reason != result.ReasonCertSoon && failure.Reason != result.ReasonCertRevoked &&
		answer.Judge(codePeriods*code.Period) == timeserver.Beyond
}

// describeOffset describes by how much a clock is wrong: "20m 0s ahead".
func describeOffset(ahead time.Duration) string {
	ahead = ahead.Round(time.Second)
	if ahead < 0 {
		return wording.Span(-ahead) + " behind"
	}
	return wording.Span(ahead) + " ahead"
}

// compare is describeOffset for two clocks: "20m 0s later".
func compare(ahead time.Duration) string {
	ahead = ahead.Round(time.Second)
	if ahead < 0 {
		return wording.Span(-ahead) + " earlier"
	}
	return wording.Span(ahead) + " later"
}

// remarked is a failure with a remark about a clock.
type remarked struct {
	failed error
	remark string
}

// Error returns what failed and the remark.
func (r *remarked) Error() string { return r.failed.Error() + "; " + r.remark }

// Unwrap returns the failure.
func (r *remarked) Unwrap() error { return r.failed }

// clockAnswer keeps the last answer of the NTP server, because many scenarios fail at once when a clock is wrong.
type clockAnswer struct {
	mu     sync.Mutex
	server string
	at     time.Time
	answer *timeserver.Answer // nil if there was none
}

var clocks clockAnswer

// How long an answer, and the lack of one, is kept.
const (
	answerKept  = time.Minute
	silenceKept = 10 * time.Second
)

// ask returns what the NTP server says of the clock of this machine, or nil. It takes no longer than patience.
func (c *clockAnswer) ask(ctx context.Context, w *steps.World, server string, patience time.Duration) *timeserver.Answer {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	kept := silenceKept
	if c.answer != nil {
		kept = answerKept
	}
	took := now.Sub(c.at)
	set := now.Round(0).Sub(c.at.Round(0)) - took // the clock was set since then
	if c.server == server && !c.at.IsZero() && took < kept && set.Abs() < time.Second {
		return c.answer
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	client := timeserver.Client{LookUp: w.Resolver().LookupHost, ConnectTo: w.Target().ConnectTo, Limit: clockRight}
	answer, err := client.Ask(ctx, w.Target().AddressOf(server))
	if err != nil {
		answer = nil // what is not known is not said
	}
	c.server, c.at, c.answer = server, time.Now(), answer
	return answer
}
