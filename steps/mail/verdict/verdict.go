// Package verdict holds the sentences about what is to be thought of a received message: what the receiving server, DKIM, SPF,
// DMARC, ARC and spam filters say.
package verdict

import (
	"context"
	"errors"
	"strings"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/mail"
)

// This file judges a message as a receiver does, from the message and DNS. authres.go and spam.go read what the
// receiving server wrote.

func init() {
	const (
		dns = " All look-ups go to the target's resolver. If it does not answer, the step blames DNS and does not judge the message."
		via = "Reading the message (phase read, once) and judging it (phases dkim, spf, dmarc, each with its outcome). "
	)
	steps.Register(
		steps.Definition{
			Area: "mail", Sentence: `it passes SPF, DKIM and DMARC`,
			Does: "Verifies the received message as a receiver does: SPF of the server that handed it to the receiving side, its DKIM signatures, and DMARC. " +
				"Reports the first failure in the order DKIM, SPF, DMARC." + dns,
			Measures: via + "Measures mail_dkim_pass, mail_spf_pass and mail_dmarc_pass: 1 or 0, absent when DNS did not answer.",
			Example:  `Then it passes SPF, DKIM and DMARC`,
			Func:     passes("DKIM", "SPF", "DMARC"),
		},
		steps.Definition{
			Area: "mail", Sentence: `it passes DKIM`,
			Does:     "Fails unless a DKIM signature (RFC 6376) of the message is valid: its key is in DNS, and nothing that it covers was altered." + dns,
			Measures: via + "Measures mail_dkim_pass.",
			Example:  `Then it passes DKIM`,
			Func:     passes("DKIM"),
		},
		steps.Definition{
			Area: "mail", Sentence: `it passes SPF`,
			Does: "Fails unless the SPF record (RFC 7208) of the sender's domain, from Return-Path or as this run sent it, allows the server that handed the message to the receiving side. " +
				"That server is read from the lowest Received field that the receiving side wrote. A message that was submitted with a login has no such server, " +
				"and the step cannot judge it." + dns,
			Measures: via + "Measures mail_spf_pass.",
			Example:  `Then it passes SPF`,
			Func:     passes("SPF"),
		},
		steps.Definition{
			Area: "mail", Sentence: `it passes DMARC`,
			Does: "Fails unless a valid DKIM signature or SPF is aligned with the domain in From, strictly or by organisational domain as its DMARC record says. " +
				"Fails also when there is no such record. The record and the organisational domain are found by a DNS tree walk (RFC 9989). The older pct= is reported and has no effect." + dns,
			Measures: via + "Measures mail_dmarc_pass.",
			Example:  `Then it passes DMARC`,
			Func:     passes("DMARC"),
		},
		steps.Definition{
			Area: "mail", Sentence: `it is signed by {text}`, Pattern: `^it is signed by "([^"]+)"$`,
			Does:     "Fails unless the message has a valid DKIM signature of exactly this domain (d=)." + dns,
			Measures: via + "Measures mail_dkim_pass: 1 when any signature is valid.",
			Example:  `Then it is signed by "example.org"`,
			Func:     signedBy,
		},
		steps.Definition{
			Area: "mail", Sentence: `it is signed by {text} with the selector {text}`, Pattern: `^it is signed by "([^"]+)" with the selector "([^"]+)"$`,
			Does:     "Fails unless the message has a valid DKIM signature of exactly this domain (d=) and selector (s=), such as the new one after a key rotation." + dns,
			Measures: via + "Measures mail_dkim_pass: 1 when any signature is valid.",
			Example:  `Then it is signed by "example.org" with the selector "2026a"`,
			Func:     signedBy,
		},
	)
}

var gauges = map[string][2]string{
	"DKIM":  {"mail_dkim_pass", "Whether a DKIM signature of the message is valid, 1 or 0."},
	"SPF":   {"mail_spf_pass", "Whether SPF allows the server that handed the message over, 1 or 0."},
	"ARC":   {"mail_arc_pass", "Whether the message's ARC chain is valid, 1 or 0."},
	"DMARC": {"mail_dmarc_pass", "Whether DKIM or SPF is aligned with the domain in From, 1 or 0."},
}

// measurePass reports an outcome. It reports nothing when there is no outcome.
func measurePass(w *steps.World, method string, err error) {
	value := 1.0
	if err != nil {
		failure := (*steps.Failure)(nil)
		if errors.As(err, &failure) && failure.Blame == result.BlameScenario {
			return
		}
		value = 0
	}
	w.Measure(gauges[method][0], gauges[method][1], value)
}

// passes judges the message by all methods and returns the failure of the first that does not pass.
func passes(methods ...string) func(context.Context, *steps.World, steps.Args) error {
	return func(ctx context.Context, w *steps.World, _ steps.Args) error {
		l, err := mail.ReceivedLetter(ctx, w)
		if err != nil {
			return err
		}
		wanted := strings.Join(methods, " ")
		needs := func(method string) bool { return strings.Contains(wanted, method) }
		var (
			signatures          []signature
			sender              senderCheck
			noSignature, noName error // DNS did not answer
			found               = map[string]error{}
		)
		if needs("DKIM") || needs("DMARC") {
			signatures, noSignature = verifyDKIM(ctx, w, l)
		}
		if needs("SPF") || needs("DMARC") {
			sender, noName = checkSPF(ctx, w, l)
		}
		for _, method := range methods {
			var outcome, unknown error
			switch {
			case method == "DKIM" && noSignature != nil:
				unknown = noSignature
			case method == "DKIM":
				outcome = dkimFailure(l, signatures)
			case method == "SPF" && noName != nil:
				unknown = noName
			case method == "SPF":
				outcome = spfFailure(l, sender)
			default:
				// One aligned pass is enough, so DNS is at fault only when there is none.
				if outcome = checkDMARC(ctx, w, l, signatures, sender); outcome != nil {
					if unknown = noSignature; unknown == nil {
						unknown = noName
					}
					failure := (*steps.Failure)(nil)
					if unknown == nil && errors.As(outcome, &failure) && failure.Reason == result.ReasonDNS {
						unknown = outcome
					}
				}
			}
			if unknown != nil {
				found[method] = unknown
				continue
			}
			found[method] = outcome
			measurePass(w, method, outcome)
		}
		for _, method := range methods {
			if err := found[method]; err != nil {
				l.AttachHeader(w)
				return err
			}
		}
		return nil
	}
}

func signedBy(ctx context.Context, w *steps.World, a steps.Args) error {
	l, err := mail.ReceivedLetter(ctx, w)
	if err != nil {
		return err
	}
	signatures, err := verifyDKIM(ctx, w, l)
	if err != nil {
		return err
	}
	failure := dkimFailure(l, signatures)
	measurePass(w, "DKIM", failure)
	domain, selector := strings.ToLower(a.Text(0)), ""
	wanted := "a signature of " + domain
	if len(a.Captured) > 1 {
		selector = a.Text(1)
		wanted += " (selector " + selector + ")"
	}
	var broken *signature // a signature of that name that is not valid
	for _, s := range signatures {
		if s.domain == domain && (selector == "" || s.selector == selector) {
			if s.problem == "" {
				return nil
			}
			broken = &s
		}
	}
	l.AttachHeader(w)
	switch {
	case broken != nil:
		return steps.Fail(broken.reason, broken.blame, "DKIM: %s is not valid: %s", broken, broken.problem)
	case len(signatures) == 0:
		return failure
	default:
		return steps.Fail(result.ReasonUnexpected, result.BlameSubmission, "DKIM: want %s, got %s", wanted, describeSignatures(signatures))
	}
}
