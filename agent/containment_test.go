package agent

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
)

// silent is a server that accepts and never answers.
func silent(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var accepted sync.WaitGroup
	accepted.Go(func() {
		var open []net.Conn
		for {
			conn, err := listener.Accept()
			if err != nil {
				break
			}
			open = append(open, conn)
		}
		for _, conn := range open {
			_ = conn.Close()
		}
	})
	t.Cleanup(func() { _ = listener.Close(); accepted.Wait() })
	return listener.Addr().String()
}

// settled waits until no step is abandoned any more.
func settled(t *testing.T, r *Runner) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); r.Abandoned() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d steps have not returned", r.Abandoned())
		}
	}
}

// TestReadsEndWithTheRun holds that a read ends with its run even if the code of the step forgets its context: the run closes
// the connection under it.
func TestReadsEndWithTheRun(t *testing.T) {
	t.Cleanup(func() { goleak.VerifyNone(t) }) // after that of the server
	address := silent(t)
	forgetful := func(world func(*steps.World) *steps.World) func(context.Context, *steps.World, steps.Args) error {
		return func(ctx context.Context, w *steps.World, _ steps.Args) error {
			conn, err := world(w).Dial(ctx, address, result.BlameTarget)
			if err != nil {
				return err
			}
			_, err = conn.Read(make([]byte, 1))
			return err
		}
	}
	l := library(
		does(`I read`, forgetful(func(w *steps.World) *steps.World { return w })),
		does(`I read aside`, forgetful((*steps.World).Aside)),
		does(`I read beside`, forgetful((*steps.World).Beside)),
		does(`I leave a reader`, func(ctx context.Context, w *steps.World, a steps.Args) error {
			conn, err := w.Dial(ctx, address, result.BlameTarget)
			if err == nil {
				go func() { _, _ = conn.Read(make([]byte, 1)) }()
			}
			return err
		}),
		does(`I clean up by reading`, func(ctx context.Context, w *steps.World, a steps.Args) error {
			w.Cleanup("the message", func(ctx context.Context) error {
				return forgetful(func(w *steps.World) *steps.World { return w })(ctx, w, a)
			})
			return nil
		}))
	for text, want := range map[string]string{
		"I read":                "UNKNOWN abandoned",
		"I read aside":          "UNKNOWN abandoned",
		"I read beside":         "UNKNOWN abandoned",
		"I leave a reader":      "OK ",
		"I clean up by reading": "OK ",
	} {
		r := &Runner{Target: &steps.Target{}, Grace: 20 * time.Millisecond, CleanupTimeout: 50 * time.Millisecond}
		s := scenario(text, text)
		s.Policy.Timeout = 50 * time.Millisecond
		res := r.Run(t.Context(), NewPlan(s, l, Defaults{}), Occasion{})
		if got := fmt.Sprintf("%s %s", res.State(), res.Reason); got != want {
			t.Errorf("%s: got %s, want %s: %s", text, got, want, res.Error)
		}
		if text != "I clean up by reading" && (len(res.Targets) != 1 || res.Targets[0] != address) {
			t.Errorf("%s: reached %q, want %s", text, res.Targets, address)
		}
		settled(t, r)
	}
}

// TestTargetBehindAProxy holds that the address of a scenario is that of the site, not of the proxy that all sites share.
func TestTargetBehindAProxy(t *testing.T) {
	address := silent(t)
	l := library(does(`I go through a proxy`, func(ctx context.Context, w *steps.World, _ steps.Args) error {
		_, err := w.DialRoute(ctx, address, result.BlameTarget, steps.Route{For: "www.example.org:443"})
		return err
	}))
	res := run(t, &Runner{}, scenario("proxied", "I go through a proxy"), l)
	if len(res.Targets) != 1 || res.Targets[0] != "www.example.org:443" {
		t.Errorf("got %q", res.Targets)
	}
}

// TestRefusalIsAnAnswer holds that a result says whether the failure is the answer of a host that refused a connection.
func TestRefusalIsAnAnswer(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refusing, accepting := listener.Addr().String(), silent(t)
	_ = listener.Close()
	l := library(
		does(`I am refused`, func(ctx context.Context, w *steps.World, _ steps.Args) error {
			_, err := w.Dial(ctx, refusing, result.BlameTarget)
			return err
		}),
		does(`I wait in vain`, func(ctx context.Context, w *steps.World, _ steps.Args) error {
			conn, err := w.Dial(ctx, accepting, result.BlameTarget)
			if err == nil {
				_, err = conn.Read(make([]byte, 1))
			}
			return err
		}))
	s := scenario("waits", "I wait in vain")
	s.Policy.Timeout = 20 * time.Millisecond
	if res := run(t, &Runner{Grace: 20 * time.Millisecond}, s, l); res.Refused {
		t.Errorf("a host that says nothing has refused: %s", res.Error)
	}
	if res := run(t, &Runner{}, scenario("refused", "I am refused"), l); !res.Refused || res.Answered.IsZero() || res.Reason != result.ReasonConnect {
		t.Errorf("refused %t, answered at %s: %s %s", res.Refused, res.Answered, res.Reason, res.Error)
	}
}

// TestAddressesOfAPlan holds what is known about where a plan connects to before its first run.
func TestAddressesOfAPlan(t *testing.T) {
	target := &steps.Target{
		Accounts: map[string]*steps.Account{"alice": {Name: "alice", SMTP: "smtp.example.org", IMAP: "imap.example.org"}},
		Hosts:    map[string]*steps.Host{"mx1": {Name: "mx1", Address: "mx1.example.org"}},
	}
	nothing := func(context.Context, *steps.World, steps.Args) error { return nil }
	l := library(does(`I go to {url}`, nothing), does(`{account} has mail`, nothing), does(`{server} answers`, nothing))
	s := scenario("all", `I go to "https://www.example.org/a"`, `I go to "http://www.example.org:8080/b"`, `I go to "/c"`, `"alice" has mail`, `"mx1" answers`, `"mx2:25" answers`)
	s.Policy.Base = "https://base.example.org/"
	got := (&Runner{Target: target}).Addresses(NewPlan(s, l, Defaults{}))
	want := []string{"base.example.org:443", "www.example.org:443", "www.example.org:8080", "smtp.example.org", "imap.example.org", "mx1.example.org", "mx2:25"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestWhatNeverReturnsCostsOnlyItsScenario holds that no number of steps that cannot be ended stops the other scenarios.
func TestWhatNeverReturnsCostsOnlyItsScenario(t *testing.T) {
	synctest.Test(t, whatNeverReturnsCostsOnlyItsScenario)
}

func whatNeverReturnsCostsOnlyItsScenario(t *testing.T) {
	release := make(chan struct{})
	l := library(does(`I never return`, func(context.Context, *steps.World, steps.Args) error { <-release; return nil }),
		does(`my clean-up never returns`, func(_ context.Context, w *steps.World, _ steps.Args) error {
			w.Cleanup("all", func(context.Context) error { <-release; return nil })
			return nil
		}))
	r := &Runner{Target: &steps.Target{}, Grace: time.Millisecond, CleanupTimeout: time.Millisecond}
	stuck := func(i int) *Plan {
		s := scenario(fmt.Sprintf("stuck %d", i), []string{"I never return", "my clean-up never returns"}[i%2])
		s.Policy.Timeout = 2 * time.Second // for the start of all of them
		return NewPlan(s, l, Defaults{})
	}
	const many = 200
	plans := make([]*Plan, many)
	var all sync.WaitGroup
	for i := range plans {
		plans[i] = stuck(i)
		all.Go(func() { r.Run(t.Context(), plans[i], Occasion{}) })
	}
	all.Wait()
	if got := r.Abandoned(); got != many {
		t.Errorf("%d scenarios have code that did not return, want %d", got, many)
	}
	healthy := NewPlan(scenario("healthy", "I pass"), l, Defaults{Timeout: time.Second})
	expect(t, r.Run(t.Context(), healthy, Occasion{}), "OK passed  : \npassed ran=true   \n")
	for i, what := range []string{`the step "I never return"`, "the clean-up"} {
		again := r.Run(t.Context(), plans[i], Occasion{})
		if again.State() != result.Unknown || !strings.Contains(again.Error, what+" of an earlier run ignored its deadline") {
			t.Errorf("a second run of what did not return: %s", outline(again))
		}
	}
	close(release)
	settled(t, r)
}
