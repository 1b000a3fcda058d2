package steps

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps/lack"
	"github.com/stepwatch/stepwatch/steps/limit"
	"github.com/stepwatch/stepwatch/steps/wording"
)

// Failure is an error with a reason and a blame. A step returns a Failure for every expected error. Any other error counts
// as a fault of stepwatch itself.
type Failure struct {
	Reason result.Reason
	Blame  result.Blame
	Err    error
}

// Error returns one line: the action, the object, wanted and got.
func (f *Failure) Error() string { return f.Err.Error() }

// Unwrap returns the underlying error, so that the refusal of a protocol keeps its code as a value.
func (f *Failure) Unwrap() error { return f.Err }

// Fail returns a Failure. The format is that of fmt.Errorf, including %w.
func Fail(reason result.Reason, blame result.Blame, format string, args ...any) error {
	return &Failure{Reason: reason, Blame: blame, Err: fmt.Errorf(format, args...)}
}

// FailNet returns a Failure for an error of the network, TLS or a deadline, with the reason found in it. blame is the leg
// that the connection belongs to. It is kept unless the error shows a fault of name resolution, of the network or of
// stepwatch itself: told to stop, or its machine lacks something. act describes the action: "connect to mail.example.org:587".
func FailNet(ctx context.Context, err error, blame result.Blame, act string) error {
	if existing := (*Failure)(nil); errors.As(err, &existing) {
		return err
	}
	reason := result.ReasonProtocol
	detail, own := err.Error(), lack.Of(err)
	var (
		dns      *net.DNSError
		invalid  x509.CertificateInvalidError
		hostname x509.HostnameError
		unknown  x509.UnknownAuthorityError
		alert    tls.AlertError
		record   tls.RecordHeaderError
		netErr   net.Error
		tooLarge *limit.Error
	)
	switch {
	case errors.Is(context.Cause(ctx), ErrStopped):
		reason, blame, detail = result.ReasonCanceled, result.BlameMonitor, context.Cause(ctx).Error()
	case errors.As(err, &tooLarge):
		reason, detail = tooLarge.Reason(), tooLarge.Error()
	case own != nil:
		reason, blame, detail = result.ReasonLack, result.BlameMonitor, own.Error()
	case errors.As(err, &dns) && dns.IsTimeout:
		reason, blame = result.ReasonDNS, result.BlameDNS
		detail = fmt.Sprintf("the resolver did not answer for %q in time", dns.Name)
	case errors.As(err, &dns):
		reason, blame = result.ReasonDNS, result.BlameDNS
		detail = fmt.Sprintf("%q does not resolve: %s", dns.Name, dns.Err)
	case errors.As(err, &hostname):
		reason, detail = result.ReasonCertHost, hostname.Error()
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired && time.Now().Before(invalid.Cert.NotBefore):
		reason = result.ReasonCertExpired
		detail = fmt.Sprintf("the certificate of %q is not valid before %s", invalid.Cert.Subject.CommonName, invalid.Cert.NotBefore.Format("2006-01-02 15:04 MST"))
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		reason = result.ReasonCertExpired
		detail = fmt.Sprintf("the certificate of %q is valid from %s to %s only", invalid.Cert.Subject.CommonName,
			invalid.Cert.NotBefore.Format("2006-01-02"), invalid.Cert.NotAfter.Format("2006-01-02 15:04 MST"))
	case errors.As(err, &unknown):
		reason = result.ReasonCertAuthority
		detail = "no trusted root signed the certificate"
		if unknown.Cert != nil {
			detail += fmt.Sprintf(" (issuer %q)", unknown.Cert.Issuer.String())
		}
		detail += "; add a private CA's root under tls.ca in stepwatch.yml"
	case errors.As(err, &alert), errors.As(err, &record), errors.As(err, &invalid), strings.Contains(detail, "tls: "):
		reason = result.ReasonTLS
	case errors.Is(err, syscall.ECONNREFUSED):
		reason, detail = result.ReasonConnect, "connection refused: nothing listens on that port"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EADDRNOTAVAIL):
		reason, blame = result.ReasonConnect, result.BlameNetwork
		if code := syscall.Errno(0); errors.As(err, &code) && len(lack.Addresses(err)) == 1 {
			detail = code.Error() // the act says where
		}
	case ctx.Err() != nil, errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		errors.As(err, &netErr) && netErr.Timeout():
		reason, detail = result.ReasonTimeout, "no answer before the deadline"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET),
		errors.Is(err, syscall.EPIPE), errors.Is(err, net.ErrClosed):
		reason, detail = result.ReasonDisconnected, "the server closed the connection"
	}
	return &Failure{Reason: reason, Blame: blame, Err: &NetFailure{act: act, Detail: wording.OneLine(wording.Library(detail), detailLimit), err: err}}
}

// detailLimit bounds what a message quotes of a network error, in characters: servers write into some of them.
const detailLimit = 1000

// NetFailure has the operator's text of a network error and wraps the original.
type NetFailure struct {
	act, Detail string
	err         error
}

// Error returns the act and what went wrong in it.
func (n *NetFailure) Error() string { return n.act + ": " + n.Detail }

// Unwrap returns the error below.
func (n *NetFailure) Unwrap() error { return n.err }

// AsFailure converts an error of code that does not use Failures. For an error of the network, TLS or a deadline it has the
// reason of FailNet, otherwise ReasonUnexpected. The blame is the target unless the error shows otherwise. The text stays,
// joined to one line.
func AsFailure(ctx context.Context, err error) error {
	if existing := (*Failure)(nil); errors.As(err, &existing) {
		return err
	}
	f := &Failure{Reason: result.ReasonUnexpected, Blame: result.BlameTarget, Err: &foreign{err}}
	if known := (*Failure)(nil); errors.As(FailNet(ctx, err, result.BlameTarget, ""), &known) && known.Reason != result.ReasonProtocol {
		f.Reason, f.Blame = known.Reason, known.Blame
	}
	return f
}

// FailFor makes a Failure of an error that says its reason by a method Reason, as those of packages do that know no run. A
// mistake of the scenario is blamed on it, what the machine lacks on the monitor, everything else on blame. Any other error, nil among them, is returned as it is.
func FailFor(blame result.Blame, err error) error {
	if own := lack.Of(err); own != nil {
		return &Failure{Reason: result.ReasonLack, Blame: result.BlameMonitor, Err: own}
	}
	var known interface {
		error
		Reason() result.Reason
	}
	if !errors.As(err, &known) {
		return err
	}
	if known.Reason() == result.ReasonScenario {
		blame = result.BlameScenario
	}
	return &Failure{Reason: known.Reason(), Blame: blame, Err: err}
}

// foreign joins the text of an error of other code to one line.
type foreign struct{ err error }

func (f *foreign) Error() string { return strings.Join(strings.Fields(f.err.Error()), " ") }

func (f *foreign) Unwrap() error { return f.err }

// ErrStopped is the cause of a context that ends because stepwatch was told to stop. It blames no server.
var ErrStopped = errors.New("stepwatch was told to stop")

// FailScenario returns a Failure for a mistake in the scenario.
func FailScenario(format string, args ...any) error {
	return Fail(result.ReasonScenario, result.BlameScenario, format, args...)
}
