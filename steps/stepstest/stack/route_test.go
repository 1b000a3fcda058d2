//go:build linux

package stack_test

import (
	"errors"
	"net/textproto"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps/stepstest/stack"
)

// route starts the three hosts, once for all tests.
func route(t *testing.T) *stack.Stack {
	t.Helper()
	s := need(t)
	logs(t, "relay", "mx", "store")
	if s.Relay == nil {
		begin := time.Now()
		if err := s.StartRoute(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Logf("the route was up after %s", time.Since(begin).Round(time.Millisecond))
	}
	return s
}

const (
	sendFar = `I send a message from "dave" to "dave" via 587`
	readFar = `"dave" receives it over IMAP via 993 within 20s`
)

func TestRoute(t *testing.T) {
	s := route(t)
	config := filepath.Join(s.Dir, "stepwatch.yml")
	passes(t, config, sendFar, "it is accepted within 5s", readFar)

	to := s.Config.Account(stack.Dave).Address
	submit(t, stack.Relay, to, "Subject: hops")
	message := strings.ReplaceAll(arrived(t, stack.Dave, "", "Subject: hops"), "\n\t", " ")
	hop := regexp.MustCompile(`(?m)^Received: from (\S+) \((\S+) \[[0-9.]+\]\) \(using TLSv1\.3 .*\) by (\S+) `)
	var got []string
	for _, m := range hop.FindAllStringSubmatch(message, -1) {
		got = append(got, m[2]+" → "+m[3])
	}
	want := []string{stack.MX1 + " → " + stack.Store, stack.Relay + " → " + stack.MX1, "localhost → " + stack.Relay}
	if !slices.Equal(got, want) {
		t.Errorf("hops with TLS are %q, want %q:\n%s", got, want, message)
	}
}

// TestRefusalsOfTheRoute has each host say no in the dialogue, to the client that sends.
func TestRefusalsOfTheRoute(t *testing.T) {
	s := route(t)
	from, far := s.Config.Account(stack.Alice).Address, "@"+stack.Far
	for _, c := range []struct {
		name, host, port, to string
		as                   *stack.Account
		code                 int
		text                 string
	}{
		{"known mailbox", stack.MX1, "25", "dave" + far, nil, 0, ""},
		{"known mailbox with a tag", stack.MX2, "25", "dave+tag" + far, nil, 0, ""},
		{"unknown mailbox", stack.MX1, "25", "nobody" + far, nil, 550, "5.1.1"},
		{"unknown mailbox at the second MX", stack.MX2, "25", "nobody" + far, nil, 550, "5.1.1"},
		{"relaying by the MX", stack.MX1, "25", "bob@" + stack.Domain, nil, 554, "Relay access denied"},
		{"relaying without a login", stack.Relay, "25", "dave" + far, nil, 554, "Relay access denied"},
		{"submission without a login", stack.Relay, "587", "dave" + far, nil, 554, "Access denied"},
		{"submission with a login", stack.Relay, "587", "dave" + far, s.Config.Account(stack.Alice), 0, ""},
		{"past the MX", stack.Store, "25", "dave" + far, nil, 554, "Access denied"},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := dial(t, c.host, c.port, c.as)
			err := errors.Join(client.Mail(from), client.Rcpt(c.to))
			var reply *textproto.Error
			if errors.As(err, &reply) != (c.code != 0) || c.code != 0 && (reply.Code != c.code || !strings.Contains(reply.Msg, c.text)) {
				t.Errorf("RCPT TO:<%s> at %s: got %v, want %d %s", c.to, c.host, err, c.code, c.text)
			}
			if err := client.Quit(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestFaultsOfTheRoute breaks one host after the other. What was accepted arrives late, once the fault is mended.
func TestFaultsOfTheRoute(t *testing.T) {
	s := route(t)
	config := filepath.Join(s.Dir, "stepwatch.yml")
	t.Run("relay", func(t *testing.T) {
		stopped(s.Relay.Server).while(t, func() { check(t, config, sendFar, outcome{sendFar, "connect", "submission"}) })
		passes(t, config, sendFar, readFar)
	})
	for _, c := range []struct {
		name   string
		server *stack.Postfix
		queue  *stack.Postfix // where the message is meanwhile
	}{
		{"mx", s.MX, s.Relay},
		{"store", s.Store, s.MX},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := c.server.Stop(); err != nil {
				t.Fatal(err)
			}
			read := `"dave" receives it over IMAP via 993 within 1s`
			check(t, config, sendFar+"\n"+read, outcome{read, "not_received", "queue"})
			eventually(t, waitLimit, "the queue of "+c.queue.Name+" says why", func() bool {
				queue, err := c.queue.Queue(t.Context())
				return err == nil && strings.Contains(queue, "Connection refused")
			})
			if err := errors.Join(c.server.Start(t.Context()), c.queue.Flush(t.Context())); err != nil {
				t.Fatal(err)
			}
			arrived(t, stack.Dave, "", "Received: from "+stack.MX1)
			passes(t, config, sendFar, readFar)
		})
	}
	t.Run("drop in the message", func(t *testing.T) {
		submit(t, stack.Relay, "joe@"+stack.Dropping, "Subject: dropped")
		eventually(t, waitLimit, "the queue says that the connection was lost", func() bool {
			queue, err := s.Relay.Queue(t.Context())
			return err == nil && strings.Contains(queue, "lost connection with "+stack.Dropping)
		})
		if err := s.Relay.Discard(t.Context()); err != nil {
			t.Error(err)
		}
	})
	t.Run("unknown mailbox", func(t *testing.T) {
		config := altered(t, func(c *stack.Config) {
			c.Account(stack.Alice).SMTP = stack.Relay
			*c.Account(stack.Dave) = stack.Account{Name: stack.Dave, Address: "nobody@" + stack.Far, SMTP: stack.Relay}
		})
		passes(t, config, `I send a message from "alice" to "dave" via 587`, "it is accepted", `"alice" receives a bounce within 10s`,
			`the bounce says "User unknown"`, `the bounce names the host "`+stack.MX1+`"`)
	})
	t.Run("greylisting", func(t *testing.T) {
		s.Greylist(2 * time.Second)
		defer s.Greylist(0)
		out := passes(t, config, sendFar, readFar)
		m := regexp.MustCompile(`(?m)receives it over IMAP via 993 within 20s +([0-9.]+ m?s)`).FindStringSubmatch(out)
		if m == nil {
			t.Fatalf("no duration:\n%s", out)
		}
		if took, err := time.ParseDuration(strings.ReplaceAll(m[1], " ", "")); err != nil || took < 2*time.Second {
			t.Errorf("the step took %s, %v, and the greylist holds mail for 2 s:\n%s", took, err, out)
		}
	})
}
