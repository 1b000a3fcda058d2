package dnsclient

import (
	"errors"
	"net"
	"strings"
)

// NetError returns an error of this package as Go's own resolver words it, for code that knows only *net.DNSError. What
// leaves open whether there is such a record is temporary. Any other error is returned as it is.
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
