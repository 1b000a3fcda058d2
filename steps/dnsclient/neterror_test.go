package dnsclient

import (
	"errors"
	"fmt"
	"net"
	"testing"
)

func TestNetError(t *testing.T) {
	refused := errors.New("connection refused")
	for _, test := range []struct {
		kind Kind
		want string
	}{
		{NoName, "no such host, missing true, temporary false, timeout false"},
		{NoData, "no such host, missing true, temporary false, timeout false"},
		{ServFail, "server misbehaving, missing false, temporary true, timeout false"},
		{Refused, "server misbehaving, missing false, temporary true, timeout false"},
		{OtherCode, "server misbehaving, missing false, temporary true, timeout false"},
		{Timeout, "i/o timeout, missing false, temporary true, timeout true"},
		{Network, "connection refused, missing false, temporary true, timeout false"},
		{Protocol, "connection refused, missing false, temporary true, timeout false"},
	} {
		err := NetError(fmt.Errorf("outside: %w", &Error{Kind: test.kind, Question: Question{Name: "x.example.org."}, Err: refused}))
		known := (*net.DNSError)(nil)
		if !errors.As(err, &known) || known.Name != "x.example.org" || !errors.Is(err, refused) {
			t.Errorf("%s: got %#v", test.kind, err)
			continue
		}
		if got := fmt.Sprintf("%s, missing %t, temporary %t, timeout %t", known.Err, known.IsNotFound, known.Temporary(), known.Timeout()); got != test.want {
			t.Errorf("%s: got %s, want %s", test.kind, got, test.want)
		}
	}
	if err := NetError(refused); err != refused {
		t.Errorf("another error: got %v", err)
	}
	if err := NetError(nil); err != nil {
		t.Errorf("no error: got %v", err)
	}
}
