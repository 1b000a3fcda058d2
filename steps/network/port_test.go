//go:build linux

package network_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
	"github.com/stepwatch/stepwatch/steps/stepstest/nameserver"
)

// fullPort returns the address of a port of 127.0.0.1 that does not answer: its queue of connections is full.
func fullPort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	shrink(t, listener)
	taken := 0
	for refused := 0; refused < 2; { // the first may have been lost in a busy machine
		conn, err := net.DialTimeout("tcp", listener.Addr().String(), 300*time.Millisecond)
		if err != nil {
			refused++
			continue
		}
		if taken++; taken > 64 {
			t.Skip("this system has no way to make a port silent")
		}
		refused = 0
		t.Cleanup(func() { conn.Close() })
	}
	return listener.Addr().String()
}

func TestPorts(t *testing.T) {
	root := fixture.Must(stepstest.NewCA("Root"))(t)
	certificate := fixture.Must(root.Issue("mail.test"))(t)
	greeting := func(words string) string {
		return accepting(t, "127.0.0.1:0", func(conn net.Conn) { _, _ = io.WriteString(conn, words); _, _ = io.Copy(io.Discard, conn) })
	}
	inside := accepting(t, "127.0.0.1:0", func(conn net.Conn) {
		server := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{certificate}})
		_, _ = io.WriteString(server, "* OK inside\r\n")
		_, _ = io.Copy(io.Discard, server)
	})
	closed := fixture.ClosedPort(t)
	target := &steps.Target{Roots: root.Roots, Hosts: map[string]*steps.Host{"mail": {Name: "mail", Address: "mail.test"}}, ConnectTo: map[string]string{
		"mail.test:25": greeting("220 mail ESMTP\r\n"), "mail.test:2525": greeting("220"), "mail.test:993": inside, "mail.test:111": closed, "mail.test:112": closed,
		"mail.test:26": accepting(t, "127.0.0.1:0", func(net.Conn) {}), "mail.test:27": greeting(strings.Repeat("2", 1<<16)),
		"mail.test:28": accepting(t, "127.0.0.1:0", func(conn net.Conn) { _, _ = io.WriteString(conn, "55") }),
	}}
	for text, want := range map[string]string{
		`port 25 of "mail" is open`:                      "",
		`port 25 of "mail.test" is open`:                 "",
		`port 111 of "mail" is closed`:                   "",
		`port 111 of "mail" is refused`:                  "",
		`port 111 of "mail" is open`:                     "port 111 of mail.test is not open: refused: nothing listens, or a firewall rejects it (" + closed + ") (connect, blame target)",
		`port 25 of "mail" is closed`:                    "port 25 of mail.test is open, wanted closed (it answers at " + target.ConnectTo["mail.test:25"] + ") (unexpected, blame transfer)",
		`port 25 of "mail" is refused`:                   "port 25 of mail.test is open, wanted refused (it answers at " + target.ConnectTo["mail.test:25"] + ") (unexpected, blame transfer)",
		`port 111 of "mail" is filtered`:                 "port 111 of mail.test is refused, wanted filtered (refused: nothing listens, or a firewall rejects it at " + closed + ") (unexpected, blame target)",
		`port 0 of "mail" is open`:                       "0 is not a port: write a number from 1 to 65535 (scenario, blame scenario)",
		`port 70000 of "mail" is closed`:                 "70000 is not a port: write a number from 1 to 65535 (scenario, blame scenario)",
		`port 25 of "mail" greets with "220 mail …"`:     "",
		`port 25 of "mail" greets with "220 mail ESMTP"`: "",
		`port 2525 of "mail" greets with "220"`:          "",
		`port 993 of "mail" greets with "* OK …"`:        "",
		`port 25 of "mail" greets with "250"`:            `port 25 of mail.test greets with "220 mail ESMTP", wanted "250" (unexpected, blame transfer)`,
		`port 26 of "mail" greets with "220"`:            `port 26 of mail.test is open but closes the connection without a greeting, wanted "220" (disconnected, blame target)`,
		`port 27 of "mail" greets with "55"`:             `port 27 of mail.test greets with "` + strings.Repeat("2", 200) + `…", wanted "55" (unexpected, blame target)`,
		`port 28 of "mail" greets with "550"`:            `port 28 of mail.test greets with "55", wanted "550" (unexpected, blame target)`,
		`port 111 of "mail" greets with "220"`:           "connect to mail.test:111 (at " + closed + "): connection refused: nothing listens on that port (connect, blame target)",
		`port 25 of "mail" greets with "…"`:              `the greeting of port 25 is empty: write it as "220 …" (scenario, blame scenario)`,
		"the ports of \"mail\" are\n|port|state|greeting|\n|25|open|220|\n|111|closed|\n|993|open|* OK|": "",
		"the ports of \"mail\" are\n|25|open|250|\n|111|open|\n|26|closed|": "port 25 of mail.test greets with \"220 mail ESMTP\", wanted \"250\"; port 111 of mail.test is not open: refused: nothing listens, or a firewall rejects it (" + closed +
			"); port 26 of mail.test is open, wanted closed (it answers at " + target.ConnectTo["mail.test:26"] + ") (unexpected, blame transfer)",
		"the ports of \"mail\" are\n|25|ajar|":                       `port 25: "ajar" is not a state: write open, closed, refused or filtered (scenario, blame scenario)`,
		"the ports of \"mail\" are\n|25|":                            "row 1 of the table needs a port and a state, such as | 25 | open | (scenario, blame scenario)",
		"the ports of \"mail\" are\n|25|closed|220|":                 "port 25: a closed port has no greeting (scenario, blame scenario)",
		`the ports of "mail" are`:                                    "no ports: write them in a table below, such as | 25 | open | 220 | (scenario, blame scenario)",
		`only ports 25, 993 of "mail" answer among 25, 111-112, 993`: "",
		`only ports 25 of "mail" answer among 25-28, 111`:            "port 26 answers, port 27 answers, port 28 answers of mail.test, wanted only 25: stop what listens there, or block it in the firewall (unexpected, blame network)",
		`only ports 25, 111 of "mail" answer among 112`:              "port 111 of mail.test does not answer (refused: nothing listens, or a firewall rejects it), wanted 25, 111 (connect, blame target)",
		`only ports 9-1 of "mail" answer among 1`:                    "9-1 is not a range of ports: write the smaller port first (scenario, blame scenario)",
		`only ports 25 of "mail" answer among 1-65535`:               "65535 ports are too many for one step: at most 10000 (scenario, blame scenario)",
	} {
		t.Run(text, func(t *testing.T) {
			if got, _ := told(t, target, text); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

func TestSilentPort(t *testing.T) {
	silent := fullPort(t)
	target := &steps.Target{ConnectTo: map[string]string{"mail.test:25": silent}}
	for text, want := range map[string]string{
		`port 25 of "mail.test" is filtered`:           "",
		`port 25 of "mail.test" is refused`:            "port 25 of mail.test is filtered, wanted refused (no answer within 3s: filtered, or the host is down at " + silent + ") (unexpected, blame transfer)",
		`only ports 25 of "mail.test" answer among 25`: "port 25 of mail.test does not answer (no answer within 1.5s: filtered, or the host is down), wanted 25 (connect, blame target)",
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			if got, _ := told(t, target, text); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

// TestNoVerdictWithoutTime checks that a port does not count as closed when the deadline comes before an answer.
func TestNoVerdictWithoutTime(t *testing.T) {
	target := &steps.Target{ConnectTo: map[string]string{"mail.test:25": fullPort(t), "mail.test:26": fixture.ClosedPort(t)}}
	for text, want := range map[string]string{
		`port 25 of "mail.test" is closed`:             "connect to mail.test:25: no answer before the deadline",
		`only ports 26 of "mail.test" answer among 25`: "try 2 ports of mail.test (1 were tried: name fewer, or give the scenario more time with @timeout): no answer before the deadline",
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		o, err := stepstest.Run(ctx, nil, text, target)
		cancel()
		if err != nil || o.Err() == nil || o.Err().Error() != want {
			t.Errorf("%s: got %v, %v, want %s", text, err, o.Err(), want)
		}
	}
}

func TestFamilies(t *testing.T) {
	six := accepting(t, "[::1]:0", func(net.Conn) {})
	_, port, _ := net.SplitHostPort(six)
	names := fixture.Must(nameserver.Start("127.0.0.1:0", "$TTL 60\ntest. SOA ns.test. x.test. 1 1 1 1 1\nboth.test. A 127.0.0.1\nboth.test. AAAA ::1\nfour.test. A 127.0.0.1\n"))(t)
	defer names.Close()
	target := &steps.Target{Resolver: names.Address()}
	for text, want := range map[string]string{
		`port ` + port + ` of "both.test" is open over IPv6`:   "",
		`port ` + port + ` of "both.test" is open`:             "",
		`port ` + port + ` of "both.test" is closed over IPv4`: "",
		`port ` + port + ` of "both.test" is closed`:           "port " + port + " of both.test is open, wanted closed (it answers at " + six + ") (unexpected, blame target)",
		`port ` + port + ` of "four.test" is closed over IPv6`: `connect to four.test: "four.test" does not resolve: it has no IPv6 address (dns, blame dns)`,
		`port ` + port + ` of "::1" is open over IPv4`:         `"::1" is not an IPv4 address (scenario, blame scenario)`,
		`I connect to "four.test:993" over IPv6`:               `connect to four.test:993: "four.test" does not resolve: it has no IPv6 address (dns, blame dns)`,
	} {
		if got, _ := told(t, target, text); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", text, got, want)
		}
	}
}
