package dnsclient

import (
	"errors"
	"net"
	"strings"
)

// NetError converts an error of this package to an error of Go's resolver, for code that only knows *net.DNSError. An
// error that leaves open whether the record exists is temporary. Any other error is returned unchanged.
func NetError(err error) error {
	e := (*Error)(nil)
	if !errors.As(err, &e) {
		return err
	}
	known := &net.DNSError{Name: strings.TrimSuffix(e.Question.Name, "."), Server: e.Server, UnwrapErr: err}
	switch e.Kind {
	case NoName, NoData:
		known.Err, known.IsNotFound = "no such host", true
	case Timeout:
		known.Err, known.IsTimeout, known.IsTemporary = "i/o timeout", true, true
	case ServFail, Refused, OtherCode:
		known.Err, known.IsTemporary = "server misbehaving", true
	default:
		known.Err, known.IsTemporary = e.detail(), true
	}
	return known
}
