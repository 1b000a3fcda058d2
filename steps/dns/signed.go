package dns

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/dnsclient"
	"github.com/stepwatch/stepwatch/steps/lookup"
)

func init() {
	const (
		chain = "Repeats the lookup of the last step with signatures, and checks them itself up to the trust anchor: the root's, or those under dnssec.anchors in " +
			"stepwatch.yml. It reads the records of the chain from the configured resolver, which it does not trust. The absence of a name or record must be proven too (NSEC, NSEC3). "
		measures = "Phases: validate (all lookups and checks). Measures dns_signature_expiry_timestamp_seconds: the earliest expiry of a signature of the answer or of its keys."
	)
	steps.Register(
		steps.Definition{
			Area: "dns", Sentence: `the answer is signed`, Example: `Then the answer is signed`,
			Does:     chain + "Fails when the zone is not signed, when a signature is wrong, missing or expired, and when the answer differs from the signed one.",
			Measures: measures,
			Func: func(ctx context.Context, w *steps.World, _ steps.Args) error {
				proof, err := proven(ctx, w)
				if err != nil {
					return err
				}
				w.Note(fmt.Sprintf("signed by %s, until %s", strings.Join(proof.Zones, " by "), proof.Expires.UTC().Format("2006-01-02 15:04 MST")))
				return nil
			},
		},
		steps.Definition{
			Area: "dns", Sentence: `its signature is valid for {duration}`, Example: `And its signature is valid for 3 days`,
			Does: "Fails when a signature of the answer, or of the keys of its zones, expires earlier. This reveals a signer that has stopped, before validating resolvers reject the zone. " +
				strings.TrimSpace(chain),
			Measures: measures,
			Func: func(ctx context.Context, w *steps.World, a steps.Args) error {
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
		steps.Definition{
			Area: "dns", Sentence: `the server says that the answer is signed`, Example: `And the server says that the answer is signed`,
			Does: "Fails unless the server reports that it checked the signatures itself (the AD bit). A resolver that does not validate never reports it, and neither does " +
				"a name server of the zone. `the answer is signed` does not depend on the server.",
			Func: func(_ context.Context, w *steps.World, _ steps.Args) error {
				a, err := lastAnswer(w)
				if err != nil {
					return err
				}
				if a.Authenticated {
					return nil
				}
				return unexpected(a, "has no AD bit: the zone is not signed, or the server does not validate")
			},
		},
	)
}

// proven returns the proof of the last answer. It asks for the proof only once.
func proven(ctx context.Context, w *steps.World) (*dnsclient.Proof, error) {
	last, err := lastAnswer(w)
	if err != nil {
		return nil, err
	}
	s := steps.State[dnsState](w)
	if s.proof == nil {
		anchors := steps.SettingsOf[dnsclient.Anchors](w.Target())
		if anchors == nil {
			anchors = dnsclient.RootAnchors()
		}
		err := w.Timed("validate", func() (string, error) {
			var err error
			s.proof, err = lookup.Client(w).Validate(ctx, last.Question, anchors)
			return "", err
		})
		if err != nil {
			s.proof = nil
			w.Attach("dns answer", "text/plain", answerText(last))
			return nil, failDNSSEC(ctx, last, err)
		}
	}
	w.Measure("dns_signature_expiry_timestamp_seconds", "Earliest expiry of a signature of the answer or of its keys, in Unix time.", float64(s.proof.Expires.Unix()))
	signed := s.proof.Answer
	stranger := func(rr dns.RR) bool {
		return !slices.ContainsFunc(signed.Found(), func(other dns.RR) bool { return dns.IsDuplicate(rr, other) || sameWire(rr, other) })
	}
	if found := last.Found(); signed.Rcode != last.Rcode || slices.ContainsFunc(found, stranger) || len(found) == 0 && len(signed.Found()) > 0 {
		return nil, unexpected(last, "was %s, but the signed answer is %s", said(last), said(signed))
	}
	return s.proof, nil
}

func failDNSSEC(ctx context.Context, last *dnsclient.Answer, err error) error {
	e := (*dnsclient.Error)(nil)
	if errors.As(err, &e) && (e.Kind == dnsclient.Unsigned || e.Kind == dnsclient.Bogus) {
		return steps.Fail(result.ReasonUnexpected, result.BlameDNS, "%s is not validly signed: %s", object(last), e.Detail)
	}
	return failDNS(ctx, err)
}
