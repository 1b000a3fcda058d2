package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stepwatch/stepwatch/agent/alert"
	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/agent/state"
)

// TestReferences holds when the reference hosts say that the network of this machine is down, and that many runs ask them once.
func TestReferences(t *testing.T) {
	silent := errors.New("i/o timeout")
	refused := &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	for _, test := range []struct {
		name   string
		errors map[string]error
		down   bool
	}{
		{"all are silent", map[string]error{"a:1": silent, "b:1": silent}, true},
		{"one answers", map[string]error{"a:1": silent, "b:1": nil}, false},
		{"one refuses", map[string]error{"a:1": refused, "b:1": silent}, false},
		{"there is no route", map[string]error{"a:1": &net.OpError{Op: "dial", Err: syscall.ENETUNREACH}}, true},
		{"this machine cannot ask", map[string]error{"a:1": &net.OpError{Op: "dial", Err: syscall.EMFILE}}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var asked atomic.Int64
				r := &References{dial: func(ctx context.Context, address string) error {
					asked.Add(1)
					if errors.Is(test.errors[address], silent) {
						<-ctx.Done()
						return ctx.Err()
					}
					return test.errors[address]
				}}
				for address := range test.errors {
					r.hosts = append(r.hosts, address)
				}
				began, answers := time.Now(), make(chan bool)
				for range 500 {
					go func() { answers <- r.down() }()
				}
				for range 500 {
					if <-answers != test.down {
						t.Fatalf("down: %t, want %t", !test.down, test.down)
					}
				}
				if took := time.Since(began); took > referenceWait {
					t.Errorf("it took %s", took)
				}
				synctest.Wait()
				if n := int(asked.Load()); n != len(test.errors) {
					t.Errorf("%d were asked, want %d", n, len(test.errors))
				}
				time.Sleep(2 * referenceCache)
				_ = r.down()
				synctest.Wait()
				if n := int(asked.Load()); n != 2*len(test.errors) {
					t.Errorf("%d were asked after a while, want %d", n, 2*len(test.errors))
				}
			})
		})
	}
}

// TestUplinkByReferences holds that failures are a lack of this machine while its reference hosts do not answer: one alert, and
// none for the scenarios.
func TestUplinkByReferences(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		down := func() bool { return time.Since(began) > 5*time.Minute && time.Since(began) < 15*time.Minute }
		f := &fakeRunner{took: constant(time.Second), timeouts: func(p *Plan) bool { return down() || p.Identity.Scenario == "scenario 3" }}
		sink := &collectingSink{}
		a := &Agent{Runner: f, Plans: plans(20, time.Minute, 0), Sinks: map[string]Sink{"test": sink}, Rules: alert.Builtin.Sources(),
			References: &References{hosts: []string{"a:1"}, dial: func(context.Context, string) error {
				if down() {
					return errors.New("i/o timeout")
				}
				return nil
			}}}
		runFor(a, 30*time.Minute)
		var got []string
		for _, al := range sink.alerts {
			kind := ""
			if al.Lack != nil {
				kind = al.Lack.Kind
			}
			got = append(got, fmt.Sprintf("%s%s %s", al.Identity.Scenario, kind, al.State))
		}
		if want := "scenario 3 hard; uplink hard; uplink resolved"; strings.Join(got, "; ") != want {
			t.Errorf("got %s, want %s", strings.Join(got, "; "), want)
		}
		for _, r := range sink.results {
			if r.Identity.Scenario != "scenario 3" && r.State() != result.OK && (r.State() != result.Unknown || r.Lack == nil || r.Lack.Kind != state.KindUplink || !strings.Contains(r.Summary(), "none of the reference hosts answers (a:1)")) {
				t.Fatalf("%s is %s: %s", r.Identity, r.State(), r.Summary())
			}
		}
	})
}
