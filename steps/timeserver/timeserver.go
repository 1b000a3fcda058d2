// Package timeserver asks an NTP server (RFC 5905) by how much the clock of this machine is wrong, and how certain that is. It
// changes no clock.
package timeserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/beevik/ntp"

	"github.com/stepwatch/stepwatch/steps/lifeline"
)

// Port is where a server answers unless its address says otherwise.
const Port = "123"

// The bounds of a question. docs/limits.md lists them.
const (
	samplesMost   = 4 // of one server, if the first one does not decide
	addressesMost = 3 // of one name, if they do not answer
	attempts      = 2 // of one address: a packet may be lost
	answerTime    = 1500 * time.Millisecond
	pause         = 250 * time.Millisecond // between two samples: servers refuse who asks too often
	stepped       = 50 * time.Millisecond  // more between the clock and the monotonic clock in a sample is a clock that was set
)

// Reference is the NTP server of stepwatch.yml, "host" or "host:port".
type Reference string

// CheckAddress returns an error unless a server is written as "host" or "host:port".
func CheckAddress(server string) error {
	host, port, err := net.SplitHostPort(WithPort(server))
	if number, wrong := strconv.Atoi(port); err != nil || wrong != nil || number < 1 || number > 65535 || host == "" || strings.ContainsAny(host, " /@\t\r\n") {
		return fmt.Errorf("%q is not an NTP server: write it as ntp.example.org or ntp.example.org:123", server)
	}
	return nil
}

// WithPort returns the "host:port" of a server.
func WithPort(server string) string {
	if _, _, err := net.SplitHostPort(server); err == nil {
		return server
	}
	return net.JoinHostPort(strings.Trim(server, "[]"), Port)
}

// Answer is what a server says of the clock of this machine.
type Answer struct {
	Server      string        // the address that was asked, "192.0.2.1:123"
	Ahead       time.Duration // by which the clock of this machine is ahead of the server's; negative when it is behind
	Uncertainty time.Duration // Ahead is right within this: half the delay to the reference clock and its dispersion (root distance)
	Delay       time.Duration // of the packets to the server and back
	Stratum     int           // 1 has a reference clock, each further server one more
	Samples     int
	Paused      time.Duration // between the samples
}

// Verdict says what an answer proves.
type Verdict int

// The verdicts.
const (
	Unclear Verdict = iota // the difference from the limit is smaller than the uncertainty
	Within
	Beyond
)

// Judge says whether the clock is within a limit of the server's.
func (a *Answer) Judge(limit time.Duration) Verdict {
	switch off := a.Ahead.Abs(); {
	case off+a.Uncertainty <= limit:
		return Within
	case off-a.Uncertainty > limit:
		return Beyond
	}
	return Unclear
}

// Kind is why there is no answer that can be used.
type Kind int

// The kinds.
const (
	Silent         Kind = iota // no answer in time; Err is the error of the network
	Refused                    // a kiss-of-death packet: the server does not want to be asked (RFC 5905 section 7.4)
	Unsynchronised             // the server does not know the time itself
	Invalid                    // what came is not an answer to the question
)

// Error is the error of Ask.
type Error struct {
	Kind   Kind
	Server string // the address that was asked
	Said   string // what was wrong, for a message
	Err    error  // of the network or the library
}

// Error returns what was wrong.
func (e *Error) Error() string { return e.Said }

// Unwrap returns the underlying error.
func (e *Error) Unwrap() error { return e.Err }

// Client says how servers are reached. The zero value asks this machine's resolver.
type Client struct {
	LookUp    func(ctx context.Context, host string) ([]string, error) // returns addresses; nil is the machine's resolver
	ConnectTo map[string]string                                        // other addresses for some "host:port"
	Reached   func(addresses []string)                                 // is told which addresses are asked; may be nil
	Limit     time.Duration                                            // Ask stops once it is proved that the clock is within it, or beyond
}

// Ask asks a server, "host" or "host:port". It asks it several times unless the first answer proves that the clock is within
// the limit, and returns the answer with the least delay. Its error is of the resolver, or an *Error.
func (c *Client) Ask(ctx context.Context, server string) (*Answer, error) {
	server = WithPort(server)
	if to, found := c.ConnectTo[server]; found {
		server = to
	}
	host, port, err := net.SplitHostPort(server)
	if err != nil {
		return nil, err
	}
	addresses := []string{host}
	if net.ParseIP(host) == nil {
		lookUp := net.DefaultResolver.LookupHost
		if c.LookUp != nil {
			lookUp = c.LookUp
		}
		if addresses, err = lookUp(ctx, host); err != nil {
			return nil, err
		}
	}
	addresses = addresses[:min(len(addresses), addressesMost)]
	if c.Reached != nil {
		c.Reached(addresses)
	}
	var first error
	for _, address := range addresses {
		answer, err := c.askAddress(ctx, net.JoinHostPort(address, port))
		if err == nil {
			return answer, nil
		}
		if first == nil {
			first = err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, first
}

// askAddress asks one address until the answers decide.
func (c *Client) askAddress(ctx context.Context, address string) (best *Answer, err error) {
	failures, paused := 0, time.Duration(0)
	for samples := 0; samples < samplesMost && failures < attempts; {
		if samples+failures > 0 {
			if wait(ctx, pause) != nil {
				break
			}
			paused += pause
		}
		answer, failed := sample(ctx, address)
		if failed != nil {
			failures++
			err = failed
			if refusal := (*Error)(nil); errors.As(failed, &refusal) && refusal.Kind == Refused {
				break // it does not want to be asked again
			}
			continue
		}
		samples++
		if best == nil || answer.Delay < best.Delay {
			best = answer
		}
		best.Samples, best.Paused = samples, paused
		// That the clock is wrong needs a second sample: the first one may have been delayed in one direction.
		if verdict := best.Judge(c.Limit); verdict == Within || verdict == Beyond && samples > 1 {
			break
		}
	}
	if best != nil {
		return best, nil
	}
	if err == nil {
		err = context.Cause(ctx)
	}
	return nil, err
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// sample asks once.
func sample(ctx context.Context, address string) (*Answer, error) {
	patience := answerTime
	if deadline, limited := ctx.Deadline(); limited {
		patience = min(patience, time.Until(deadline))
	}
	if patience <= 0 {
		return nil, context.DeadlineExceeded // the context itself may notice a moment later
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "udp", address)
	if err != nil {
		return nil, &Error{Silent, address, err.Error(), err}
	}
	line := lifeline.Bind(ctx, conn)
	defer line.Release()
	start := time.Now()
	r, err := ntp.QueryWithOptions(address, ntp.QueryOptions{Timeout: patience, // the library closes the connection
		Dialer: func(string, string) (net.Conn, error) { return conn, nil }, Extensions: []ntp.Extension{guard{}}})
	took := time.Since(start)
	if err != nil {
		return nil, failure(address, err)
	}
	if by := r.Timestamps.ClientRecv.Round(0).Sub(r.Timestamps.ClientXmit.Round(0)) - took; by.Abs() > stepped {
		return nil, &Error{Invalid, address, fmt.Sprintf("the clock of this machine was set by %s meanwhile", by.Round(time.Millisecond)), nil}
	}
	if err := r.Validate(); err != nil {
		return nil, unfit(address, r, err)
	}
	return &Answer{Server: address, Ahead: -r.ClockOffset, Uncertainty: r.RootDistance, Delay: r.RTT, Stratum: int(r.Stratum)}, nil
}

// guard refuses packets before the library reads them.
type guard struct{}

// ProcessQuery implements ntp.Extension.
func (guard) ProcessQuery(*bytes.Buffer) error { return nil }

// errExponent is the error of a packet that the library would compute with, although no clock has such values.
var errExponent = errors.New("its poll interval or its precision is not possible")

// ProcessResponse refuses a poll interval and a precision that cannot be: they are exponents of 2, in seconds.
func (guard) ProcessResponse(packet []byte) error {
	const most = 40
	for i := 2; i < min(4, len(packet)); i++ {
		if exponent := int8(packet[i]); exponent > most || exponent < -most { //nolint:gosec // the byte is a signed number
			return errExponent
		}
	}
	return nil
}

// failure words an error of the exchange.
func failure(address string, err error) error {
	var said string
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &Error{Silent, address, "no answer", err}
	case errors.Is(err, ntp.ErrServerResponseMismatch):
		said = "the answer does not repeat the number in the question, so it is not an answer to it, or somebody forges answers"
	case errors.Is(err, errExponent):
		said = "the answer is not one: " + err.Error()
	case errors.Is(err, ntp.ErrInvalidMode):
		said = "the answer is not that of a server (its mode is not 4)"
	case errors.Is(err, ntp.ErrInvalidTransmitTime):
		said = "the answer has no time"
	case errors.Is(err, ntp.ErrServerTickedBackwards):
		said = "the server sent the answer before it had the question, by its clock"
	case errors.Is(err, ntp.ErrInvalidTime):
		said = "the answer is shorter than a packet of NTP"
	default:
		return &Error{Silent, address, err.Error(), err}
	}
	return &Error{Invalid, address, said + " (RFC 5905 section 7.3)", err}
}

// unfit words why an answer does not tell the time.
func unfit(address string, r *ntp.Response, err error) error {
	switch {
	case r.IsKissOfDeath():
		code := strings.Map(func(c rune) rune {
			if c < ' ' || c > '~' {
				return '?'
			}
			return c
		}, r.KissCode)
		why := ""
		switch code {
		case "RATE":
			why = ": it is asked too often"
		case "DENY", "RSTR":
			why = ": it does not answer this address"
		case "INIT", "STEP":
			return &Error{Unsynchronised, address, fmt.Sprintf("it does not know the time itself yet (%s)", code), err}
		}
		return &Error{Refused, address, fmt.Sprintf("it refuses to say the time (kiss of death %q, RFC 5905 section 7.4)%s", code, why), err}
	case r.Leap == ntp.LeapNotInSync:
		return &Error{Unsynchronised, address, "it does not know the time itself: its clock is not synchronised (leap indicator 3)", err}
	case errors.Is(err, ntp.ErrInvalidStratum):
		return &Error{Unsynchronised, address, fmt.Sprintf("it does not know the time itself: its clock is not synchronised (stratum %d)", r.Stratum), err}
	case errors.Is(err, ntp.ErrServerClockFreshness):
		return &Error{Unsynchronised, address, fmt.Sprintf("it does not know the time itself: its clock was synchronised last on %s", r.ReferenceTime.UTC().Format("2006-01-02 15:04 MST")), err}
	case errors.Is(err, ntp.ErrInvalidDispersion):
		return &Error{Unsynchronised, address, "it is less certain of the time than 16 s, the most that NTP allows", err}
	case errors.Is(err, ntp.ErrInvalidTime):
		return &Error{Invalid, address, "its clock is before the time when it was synchronised last", err}
	}
	return &Error{Invalid, address, err.Error(), err}
}

// Kernel is what the kernel knows of its clock (adjtimex(2)).
type Kernel struct {
	Known        bool
	Synchronised bool          // a program says that it synchronises the clock
	MostError    time.Duration // how wrong that program thinks the clock may be, if it is synchronised
}

// String says it for a message; it is empty if nothing is known.
func (k Kernel) String() string {
	switch {
	case !k.Known:
		return ""
	case k.Synchronised:
		return fmt.Sprintf("the kernel says that its clock is synchronised, and wrong by %s at most", k.MostError.Round(time.Millisecond))
	}
	return "the kernel says that no program synchronises its clock"
}
