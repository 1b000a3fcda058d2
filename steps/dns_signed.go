package steps

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps/dnsclient"
)

func init() {
	const (
		chain = "Asks once more what the last step looked up, now with signatures, and checks them itself up to the trust anchor: the root's, or those under dnssec.anchors in " +
			"stepwatch.yml. What the chain needs is asked from the configured resolver, whose word counts for nothing. That something does not exist must be proven too (NSEC, NSEC3). "
		measures = "Phases: validate (all look-ups and checks). Measures dns_signature_expiry_timestamp_seconds: when the first signature of the answer, or of the keys that made it, ends."
	)
	Register(
		Definition{
			Area: "dns", Sentence: `the answer is signed`, Example: `Then the answer is signed`,
			Does:     chain + "Fails when the zone is not signed, when a signature is wrong, missing or over, and when the answer was another one than the signed one.",
			Measures: measures,
			Func: func(ctx context.Context, w *World, _ Args) error {
				proof, err := proven(ctx, w)
				if err != nil {
					return err
				}
				w.Note(fmt.Sprintf("signed by %s, until %s", strings.Join(proof.Zones, " by "), proof.Expires.UTC().Format("2006-01-02 15:04 MST")))
				return nil
			},
		},
		Definition{
			Area: "dns", Sentence: `its signature is valid for {duration}`, Example: `And its signature is valid for 3 days`,
			Does: "Fails when a signature of the answer, or of the keys of its zones, ends earlier: a signer that has stopped is noticed by then, before every resolver that validates refuses the zone. " +
				strings.TrimSpace(chain),
			Measures: measures,
			Func: func(ctx context.Context, w *World, a Args) error {
				wanted, err := a.Duration(0)
				if err != nil {
					return err
				}
				proof, err := proven(ctx, w)
				if err != nil {
					return err
				}
				if left := time.Until(proof.Expires); left < wanted {
					return unexpected(proof.Answer, "is signed until %s, for %s, want for %s", proof.Expires.UTC().Format("2006-01-02 15:04 MST"), left.Round(time.Minute), wanted)
				}
				return nil
			},
		},
		Definition{
			Area: "dns", Sentence: `the server says that the answer is signed`, Example: `And the server says that the answer is signed`,
			Does: "Fails when the server that was asked does not say that it checked the signatures itself (the AD bit). It is a resolver's word: a resolver that does not check never says so, and neither does " +
				"a name server of the zone. `the answer is signed` needs nobody's word.",
			Func: func(_ context.Context, w *World, _ Args) error {
				a, err := lastAnswer(w)
				if err != nil {
					return err
				}
				if a.Authenticated {
					return nil
				}
				return unexpected(a, "is not said to be signed: the zone is not, or the server does not check")
			},
		},
	)
}

// proven gives the proof of the last answer, which is asked for once.
func proven(ctx context.Context, w *World) (*dnsclient.Proof, error) {
	last, err := lastAnswer(w)
	if err != nil {
		return nil, err
	}
	s := State[dnsState](w)
	if s.proof == nil {
		anchors := SettingsOf[dnsclient.Anchors](w.target)
		if anchors == nil {
			anchors = dnsclient.RootAnchors()
		}
		err := w.Timed("validate", func() (string, error) {
			var err error
			s.proof, err = w.dnsClient().Validate(ctx, last.Question, anchors)
			return "", err
		})
		if err != nil {
			s.proof = nil
			w.Attach("dns answer", "text/plain", answerText(last))
			return nil, failDNSSEC(ctx, last, err)
		}
	}
	w.Measure("dns_signature_expiry_timestamp_seconds", "When the first signature of the answer, or of the keys that made it, ends, in Unix time.", float64(s.proof.Expires.Unix()))
	signed := s.proof.Answer
	stranger := func(rr dns.RR) bool {
		return !slices.ContainsFunc(signed.Found(), func(other dns.RR) bool { return dns.IsDuplicate(rr, other) || sameWire(rr, other) })
	}
	if found := last.Found(); signed.Rcode != last.Rcode || slices.ContainsFunc(found, stranger) || len(found) == 0 && len(signed.Found()) > 0 {
		return nil, unexpected(last, "was %s, and what is signed is %s", said(last), said(signed))
	}
	return s.proof, nil
}

func failDNSSEC(ctx context.Context, last *dnsclient.Answer, err error) error {
	e := (*dnsclient.Error)(nil)
	if errors.As(err, &e) && (e.Kind == dnsclient.Unsigned || e.Kind == dnsclient.Bogus) {
		return Fail(result.ReasonUnexpected, result.BlameDNS, "%s is not validly signed: %s", object(last), e.Detail)
	}
	return failDNS(ctx, err)
}
