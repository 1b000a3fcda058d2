package amqp_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/stepstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ask looks at the queue "outgoing" of a broker. It returns the failure and the duration.
func ask(t *testing.T, limit time.Duration, to *steps.Target, server string) (got string, took time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	outcome, err := stepstest.Scenario{Target: to}.Run(ctx, fmt.Sprintf("When I look at the AMQP queue \"outgoing\" of %q\nThen the queue has at most 3 consumers", server))
	if err != nil {
		t.Fatal(err)
	}
	if failure := (*steps.Failure)(nil); errors.As(outcome.Err(), &failure) {
		got = fmt.Sprintf("%v (%s, %s)", failure, failure.Reason, failure.Blame)
	}
	return got, outcome.Steps[0].Duration
}

// TestMisbehaving asks brokers that hang, close the connection or send something else instead of one of their answers.
func TestMisbehaving(t *testing.T) {
	const hurry = 2 * time.Second // upper bound of every case
	for _, fault := range []struct {
		name string
		do   func(net.Conn)
		want string
	}{
		{"hangs", func(net.Conn) {}, `look at the AMQP queue "outgoing" of "\S+": no answer before the deadline \(timeout, target\)`},
		{"hangs up", func(conn net.Conn) { _ = conn.Close() }, `look at the AMQP queue "outgoing" of "\S+": the server closed the connection \(disconnected, target\)`},
		{"talks of something else", func(conn net.Conn) { _, _ = conn.Write([]byte("220 mail.example.test ESMTP Postfix\r\n")) },
			`look at the AMQP queue "outgoing" of "\S+": it does not speak AMQP 0-9-1: .*: check the port, .* \(protocol, target\)`},
		{"sends a frame without an end", func(conn net.Conn) { _, _ = conn.Write([]byte{3, 0, 0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3}) },
			`look at the AMQP queue "outgoing" of "\S+": (?:a frame of the broker has 4294967295 bytes, the limit is 131072 \(too_large, target\)|it does not speak AMQP 0-9-1: .*: check the port, .* \(protocol, target\))`},
	} {
		for _, at := range stepstest.AMQPAnswers {
			t.Run(fault.name+" for "+at, func(t *testing.T) {
				server, err := stepstest.NewAMQPServer(map[string]stepstest.AMQPQueue{"outgoing": {Messages: 5, Consumers: 2}}, func(answer string, conn net.Conn) bool {
					if answer == at {
						fault.do(conn)
					}
					return answer == at
				})
				if err != nil {
					t.Fatal(err)
				}
				want, limit := fault.want, 400*time.Millisecond
				switch {
				case at == "connection.close-ok": // the answer has arrived before
					want, limit = "", 3*hurry
				case at == "connection.tune" && fault.name == "hangs up": // the specification's way to refuse a login
					want = `look at the AMQP queue "outgoing" of "\S+" as "guest": the login was refused: .* \(auth, target\)`
				}
				got, took := ask(t, limit, &steps.Target{}, server.Address)
				if !regexp.MustCompile("^(?:" + want + ")$").MatchString(got) {
					t.Errorf("got  %s\nwant %s", got, want)
				}
				if took > hurry {
					t.Errorf("it took %s", took)
				}
				if err := server.Close(); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// TestRefusedLogin asks a broker that refuses the login with a message; RabbitMQ closes the connection.
func TestRefusedLogin(t *testing.T) {
	server, err := stepstest.NewAMQPServer(nil, func(answer string, conn net.Conn) bool {
		if answer != "connection.tune" {
			return false
		}
		_, _ = conn.Write([]byte("\x01\x00\x00\x00\x00\x00\x0f\x00\x0a\x00\x32\x01\x93\x04NONE\x00\x00\x00\x00\xce")) // connection.close, 403
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	const want = `look at the AMQP queue "outgoing" of "ADDRESS" as "guest": the login was refused: NONE (403): set hosts.NAME.amqp in stepwatch.yml; guest may log in only on the broker's own machine (auth, target)`
	if got, _ := ask(t, time.Second, &steps.Target{}, server.Address); got != strings.ReplaceAll(want, "ADDRESS", server.Address) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestUnexpectedAnswers asks brokers that say more than they are asked for. Each run ends at once, and says what came.
func TestUnexpectedAnswers(t *testing.T) {
	const (
		channelOpenOK = "\x01\x00\x01\x00\x00\x00\x08\x00\x14\x00\x0b\x00\x00\x00\x00\xce"
		heartbeat     = "\x08\x00\x00\x00\x00\x00\x00\xce"
	)
	for name, c := range map[string]struct{ says, want string }{
		"twice":          {channelOpenOK + channelOpenOK, "it does not speak AMQP 0-9-1: it sends the method 20.11 on channel 1 where 50.11 on channel 1 is due: check the port"},
		"a body":         {"\x03\x00\x01\x00\x00\x00\x01x\xce", "it does not speak AMQP 0-9-1: it sends a frame of type 3 without being asked for it: check the port"},
		"no end":         {"\x08\x00\x00\x00\x00\x00\x00\xcd", "it does not speak AMQP 0-9-1: a frame of 0 bytes ends with 0xcd instead of 0xce"},
		"no frame":       {"220 mail.example.test ESMTP\r\n", "it does not speak AMQP 0-9-1: a frame begins with \"220 mai\", which is not its type"},
		"too large":      {"\x01\x00\x01\x00\x02\x00\x01", "a frame of the broker has 131073 bytes, the limit is 131072 (too_large, target)"},
		"too many":       {strings.Repeat(heartbeat, 1001), "what the broker sends before an answer has more than 1000 frames, the limit (too_large, target)"},
		"many":           {strings.Repeat(heartbeat, 999) + channelOpenOK, ""},
		"control signs":  {"\x01\x00\x01\x00\x00\x00\x0f\x00\x14\x00\x28\x01\x94\x04a\r\nb\x00\x00\x00\x00\xce", "there is no such queue: a  b (404) (not_found, target)"},
		"a cut argument": {"\x01\x00\x01\x00\x00\x00\x07\x00\x14\x00\x28\x01\x94\xff\xce", "there is no such queue:  (404) (not_found, target)"},
	} {
		t.Run(name, func(t *testing.T) {
			server, err := stepstest.NewAMQPServer(map[string]stepstest.AMQPQueue{"outgoing": {Messages: 5, Consumers: 2}}, func(answer string, conn net.Conn) bool {
				if answer == "channel.open-ok" {
					_, _ = conn.Write([]byte(c.says))
				}
				return answer == "channel.open-ok"
			})
			if err != nil {
				t.Fatal(err)
			}
			defer server.Close()
			if got, _ := ask(t, 5*time.Second, &steps.Target{}, server.Address); !strings.Contains(got, c.want) || c.want == "" && got != "" {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}
