package agent

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"time"

	"github.com/stepwatch/stepwatch/agent/alert"
	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/browser"
	"github.com/stepwatch/stepwatch/steps/dnsclient"
	"github.com/stepwatch/stepwatch/steps/lack"
)

// ownLack returns err, or the failure that this machine lacks something if that is why the step failed. Many errors
// leave that open (a timeout, a name that does not resolve), so it looks at this machine. The step's time does not
// include that. It may take as long as the run's context lasts and a part of the grace after it.
func (rec *recorder) ownLack(ctx context.Context, err error) error {
	failure := (*steps.Failure)(nil)
	if !errors.As(err, &failure) || statusOf(err) != result.Failed || failure.Reason == result.ReasonCanceled || lack.Of(err) != nil {
		return err // nothing to find out, or found already: see classify
	}
	own := rec.cause(ctx, failure, err)
	if own == nil && failure.Blame != result.BlameMonitor && failure.Blame != result.BlameScenario {
		var remark string
		if own, remark = rec.judgeClock(ctx, failure, err); own == nil && remark != "" {
			return &steps.Failure{Reason: failure.Reason, Blame: failure.Blame, Err: &remarked{err, remark}}
		}
	}
	if own == nil {
		return err
	}
	return &steps.Failure{Reason: result.ReasonLack, Blame: result.BlameMonitor, Err: &lacking{err, own}}
}

// lacking is a failure with what this machine lacks.
type lacking struct {
	failed error
	own    *lack.Error
}

// Error returns what failed and why.
func (l *lacking) Error() string { return l.failed.Error() + ": " + l.own.Error() }

// Unwrap returns both.
func (l *lacking) Unwrap() []error { return []error{l.own, l.failed} }

// cause looks for a lack of this machine that explains a failure. It returns nil if there is none.
func (rec *recorder) cause(ctx context.Context, failure *steps.Failure, err error) *lack.Error {
	if failure.Reason == result.ReasonBrowser {
		if b := steps.SettingsOf[*browser.Browser](rec.world.Target()); b != nil && b.Local() {
			return lack.ForBrowser()
		}
	}
	asked := (*dnsclient.Error)(nil)
	isAsked := errors.As(err, &asked)
	if failure.Blame == result.BlameMonitor || failure.Blame == result.BlameScenario && !(isAsked && asked.Kind == dnsclient.Asked) {
		return nil
	}
	target := rec.world.Target()
	if rec.asksThisMachine(failure, err) {
		if own := lack.NameServers(context.WithoutCancel(ctx), rec.lookTime(ctx)); own != nil {
			return own
		}
	}
	switch failure.Reason {
	case result.ReasonConnect, result.ReasonTimeout, result.ReasonDisconnected, result.ReasonDNS:
		to := lack.Addresses(err)
		if len(to) == 0 && failure.Reason != result.ReasonDNS {
			to = rec.world.Peers()
		}
		if own := lack.NoWay(to); own != nil {
			return own
		}
	case result.ReasonNotReceived: // of a look that confirms it
		if own := lack.NoWay(lack.Addresses(err)); own != nil {
			return own
		}
	case result.ReasonCertAuthority, result.ReasonCertChain:
		if target.Roots == nil && noRoots() {
			return &lack.Error{Kind: lack.Roots, Said: "this machine has no certificates of public authorities", Remedy: "install the package ca-certificates, or name a file under tls.ca in stepwatch.yml"}
		}
	}
	return rec.clock(failure.Reason)
}

// asksThisMachine reports whether the resolver of this machine may be why a step failed: it was asked, and it did not
// say that there is no such name.
func (rec *recorder) asksThisMachine(failure *steps.Failure, err error) bool {
	if rec.world.Target().Resolver != "" {
		return false // a resolver in the configuration is a part of what is watched
	}
	name := (*net.DNSError)(nil)
	if errors.As(err, &name) && name.IsNotFound || dnsclient.IsAbsent(err) {
		return false
	}
	if asked := (*dnsclient.Error)(nil); errors.As(err, &asked) && asked.Question.Server != "" {
		return errors.As(asked.Err, &name) // only the name of the server was asked for
	}
	return failure.Reason == result.ReasonDNS || name != nil || errors.As(err, new(*dnsclient.Error))
}

// lookTime returns how long the look at this machine may take: not longer than the run is waited for.
func (rec *recorder) lookTime(ctx context.Context) time.Duration {
	const most = 2 * time.Second
	spare := rec.grace * 3 / 4
	if deadline, limited := ctx.Deadline(); limited {
		spare += max(0, time.Until(deadline))
	}
	return min(most, spare)
}

// noRoots reports whether this machine has no certificates of authorities at all.
func noRoots() bool {
	pool, err := x509.SystemCertPool()
	return err != nil || pool.Equal(x509.NewCertPool())
}

// jump is the least difference between the clock and the monotonic clock over a run that counts as a jump. NTP slews
// the clock by 0.05 % at most.
const jump = 2 * time.Second

// clockRemedy is what to do about a wrong clock.
const clockRemedy = "check the synchronisation of its time (chronyc tracking, timedatectl)"

// clock returns that the clock of this machine is wrong, if a failure for this reason depends on it.
func (rec *recorder) clock(reason result.Reason) *lack.Error {
	now := time.Now()
	return rec.clockAt(reason, now, now.Sub(rec.started))
}

// clockAt is clock at a time of the clock, when the monotonic clock says that the run has taken so long.
func (rec *recorder) clockAt(reason result.Reason, now time.Time, took time.Duration) *lack.Error {
	const remedy = clockRemedy + ", and that it is not suspended"
	switch reason {
	case result.ReasonCertExpired, result.ReasonCertSoon, result.ReasonCertRevoked, result.ReasonAuth, result.ReasonNotReceived, result.ReasonSlow,
		result.ReasonTimeout, result.ReasonDisconnected:
	default:
		return nil
	}
	if by := now.Round(0).Sub(rec.started.Round(0)) - took; by.Abs() >= jump {
		return &lack.Error{Kind: lack.Clock, Said: fmt.Sprintf("the clock of this machine jumped by %s during the run", by.Round(time.Second)), Remedy: remedy}
	}
	if built := buildTime(); now.Before(built) && reason == result.ReasonCertExpired {
		return &lack.Error{Kind: lack.Clock, Said: fmt.Sprintf("the clock of this machine is wrong: it says %s, and this stepwatch was built from sources of %s",
			now.UTC().Format(time.DateOnly), built.UTC().Format(time.DateOnly)), Remedy: remedy}
	}
	return nil
}

// buildTime returns when the sources of this program were committed; zero if unknown.
func buildTime() time.Time {
	info, known := debug.ReadBuildInfo()
	if !known {
		return time.Time{}
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.time" {
			at, _ := time.Parse(time.RFC3339, s.Value) // the zero time is before every clock
			return at
		}
	}
	return time.Time{}
}

// Lacking takes what a part of stepwatch that is no scenario lacks of its machine, such as space for the evidence; nil
// is that it lacks nothing any more. The alerts that this changes go to every sink.
func (a *Agent) Lacking(part string, own *result.Lack) {
	a.init()
	for _, rule := range a.Rules {
		if rule, takes := rule.(interface {
			Own(part string, own *result.Lack, at time.Time) []alert.Alert
		}); takes {
			a.States.Take(rule.Own(part, own, time.Now()))
		}
	}
}

// put gives a delivery to every sink, unless they are ending.
func (a *Agent) put(d delivery) {
	a.ending.RLock()
	defer a.ending.RUnlock()
	if a.ended {
		return
	}
	for _, q := range a.queues {
		q.put(d)
	}
}

// lackOf returns what this machine lacked according to the error of a step, for its result; or nil.
func lackOf(err error) *result.Lack {
	failure := (*steps.Failure)(nil)
	if errors.As(err, &failure) && failure.Reason == result.ReasonCanceled || statusOf(err) != result.Failed {
		return nil
	}
	own := lack.Of(err)
	if own == nil {
		return nil
	}
	return &result.Lack{Kind: string(own.Kind), Said: own.Said, Remedy: own.Remedy}
}
