package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/agent/state"
	"github.com/stepwatch/stepwatch/steps/lack"
)

// References are hosts that nearly always answer. If none of them does, the network of this machine is down, and not what is
// watched. The zero value has none.
type References struct {
	dial func(ctx context.Context, address string) error // instead of net.Dialer, in tests

	mu      sync.Mutex
	hosts   []string      // "host:port", over TCP
	asking  chan struct{} // closed when the question in progress is answered; nil if there is none
	asked   time.Time     // when the last question was answered
	answers bool          // whether one of them answered then
}

// NewReferences returns references with addresses of the form "host:port", which answer over TCP.
func NewReferences(addresses []string) *References { return &References{hosts: addresses} }

// Set replaces the addresses.
func (r *References) Set(addresses []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hosts, r.asked = addresses, time.Time{}
}

// addresses returns those of the moment.
func (r *References) addresses() []string {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.hosts
}

// The bounds of a question to the references.
const (
	referenceWait  = 3 * time.Second // for all of them at once
	referenceCache = 5 * time.Second // how long an answer holds
)

// down reports whether none of the references answers. All callers at once share one question.
func (r *References) down() bool {
	r.mu.Lock()
	if !r.asked.IsZero() && time.Since(r.asked) < referenceCache {
		defer r.mu.Unlock()
		return !r.answers
	}
	asking := r.asking
	if asking == nil {
		asking = make(chan struct{})
		r.asking = asking
		go r.ask()
	}
	r.mu.Unlock()
	<-asking
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.answers
}

// ask asks all references at once.
func (r *References) ask() {
	ctx, cancel := context.WithTimeout(context.Background(), referenceWait)
	defer cancel()
	addresses := r.addresses()
	answers := make(chan bool, len(addresses))
	for _, address := range addresses {
		go func() { answers <- r.answer(ctx, address) }()
	}
	found := false
	for range addresses {
		if found = <-answers; found {
			break
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answers, r.asked = found, time.Now()
	close(r.asking)
	r.asking = nil
}

// answer reports whether a reference answers. A refusal is an answer. If this machine cannot even ask, nothing is known of its
// network, so that counts as one, too.
func (r *References) answer(ctx context.Context, address string) bool {
	dial := r.dial
	if dial == nil {
		dial = func(ctx context.Context, address string) error {
			conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
			if err != nil {
				return err
			}
			return conn.Close()
		}
	}
	err := dial(ctx, address)
	if err == nil || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) {
		return true
	}
	own := lack.Of(err)
	return own != nil && own.Kind != lack.Route && own.Kind != lack.Resolver
}

// explain makes the failure of a run one of this machine if its network seems to be down. The result is not handed over yet.
func (a *Agent) explain(res *result.Result) {
	if res.Status == result.Passed || res.Lack != nil || !res.Reason.OfNetwork() || res.Blame == result.BlameMonitor {
		return
	}
	own := (*result.Lack)(nil)
	if addresses := a.References.addresses(); len(addresses) > 0 {
		if a.References.down() {
			own = &result.Lack{Kind: state.KindUplink, Said: fmt.Sprintf("the network of this machine is down: none of the reference hosts answers (%s)", strings.Join(addresses, ", ")),
				Remedy: "check its cable, its route and its provider; if only these hosts are gone, name others under uplink.references in stepwatch.yml"}
		}
	} else {
		own, res.Doubtful = a.States.Suspect(res)
	}
	if own == nil {
		return
	}
	res.Reason, res.Blame, res.Lack = result.ReasonLack, result.BlameMonitor, own
	res.Error += ": " + own.Said + ": " + own.Remedy
	for i := range res.Steps {
		if s := &res.Steps[i]; s.Status == result.Failed {
			s.Reason, s.Blame, s.Lack = res.Reason, res.Blame, own
			s.Error += ": " + own.Said + ": " + own.Remedy
			return
		}
	}
}
