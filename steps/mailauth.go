package steps

import (
	"context"
	"errors"
	"strings"

	"github.com/stepwatch/stepwatch/agent/result"
)

// What a receiver thinks of a message is judged here as a receiver does it, from the message and from DNS, beside what
// the receiving server wrote (authres.go, spam.go).

func init() {
	const (
		dns = " All look-ups go to the target's resolver; when it does not answer the step fails for DNS and nothing is said of the message."
		via = "Reading the message (phase read, once) and the judgement (phases dkim, spf, dmarc, each with its outcome). "
	)
	Register(
		Definition{
			Area: "mail", Sentence: `it passes SPF, DKIM and DMARC`,
			Does: "Verifies the received message as a receiver does: SPF of the server that handed it to the receiving side, its DKIM signatures, and DMARC. " +
				"Fails with what is wrong of the first of DKIM, SPF, DMARC." + dns,
			Measures: via + "Measures mail_dkim_pass, mail_spf_pass and mail_dmarc_pass: 1 or 0, absent when DNS did not answer.",
			Example:  `Then it passes SPF, DKIM and DMARC`,
			Func:     passes("DKIM", "SPF", "DMARC"),
		},
		Definition{
			Area: "mail", Sentence: `it passes DKIM`,
			Does:     "Fails unless one of the message's DKIM signatures (RFC 6376) is valid: it has one, its key is in DNS, nothing that it covers was altered." + dns,
			Measures: via + "Measures mail_dkim_pass.",
			Example:  `Then it passes DKIM`,
			Func:     passes("DKIM"),
		},
		Definition{
			Area: "mail", Sentence: `it passes SPF`,
			Does: "Fails unless the SPF record (RFC 7208) of the sender's domain, from Return-Path, allows the server that handed the message to the receiving side. " +
				"That server is read from the lowest of the Received fields at the top that the receiving side wrote. A message that came by a login has no such server, " +
				"and then the step proves nothing." + dns,
			Measures: via + "Measures mail_spf_pass.",
			Example:  `Then it passes SPF`,
			Func:     passes("SPF"),
		},
		Definition{
			Area: "mail", Sentence: `it passes DMARC`,
			Does: "Fails unless a valid DKIM signature or SPF is aligned with the domain in From, strictly or by organisational domain as its DMARC record says, " +
				"and when there is no such record. Both are found by walking up the names in DNS (RFC 9989); the older pct= is named and has no effect." + dns,
			Measures: via + "Measures mail_dmarc_pass.",
			Example:  `Then it passes DMARC`,
			Func:     passes("DMARC"),
		},
		Definition{
			Area: "mail", Sentence: `it is signed by {text}`, Pattern: `^it is signed by "([^"]+)"$`,
			Does:     "Fails unless the message has a valid DKIM signature of exactly this domain (d=)." + dns,
			Measures: via + "Measures mail_dkim_pass: 1 when any signature is valid.",
			Example:  `Then it is signed by "example.org"`,
			Func:     signedBy,
		},
		Definition{
			Area: "mail", Sentence: `it is signed by {text} with the selector {text}`, Pattern: `^it is signed by "([^"]+)" with the selector "([^"]+)"$`,
			Does:     "Fails unless the message has a valid DKIM signature of exactly this domain (d=) and selector (s=), such as the new one after a change of keys." + dns,
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
	"DMARC": {"mail_dmarc_pass", "Whether DKIM or SPF speaks for the domain in From, 1 or 0."},
}

// measurePass reports an outcome. Where nothing was found out nothing is reported.
func measurePass(w *World, method string, err error) {
	value := 1.0
	if err != nil {
		failure := (*Failure)(nil)
		if errors.As(err, &failure) && failure.Blame == result.BlameScenario {
			return
		}
		value = 0
	}
	w.Measure(gauges[method][0], gauges[method][1], value)
}

// passes judges by each of methods and fails by the first that does not pass, after all were judged.
func passes(methods ...string) func(context.Context, *World, Args) error {
	return func(ctx context.Context, w *World, _ Args) error {
		l, err := receivedLetter(ctx, w)
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
				// One that passes and is aligned is enough, so DNS is at fault only when the other does not pass.
				if outcome = checkDMARC(ctx, w, l, signatures, sender); outcome != nil {
					if unknown = noSignature; unknown == nil {
						unknown = noName
					}
					failure := (*Failure)(nil)
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
				l.attachHeader(w)
				return err
			}
		}
		return nil
	}
}

// attachHeader keeps the message's header for whoever reads the failure.
func (l *letter) attachHeader(w *World) {
	var header strings.Builder
	for _, f := range l.fields {
		header.WriteString(f.Raw)
	}
	w.Attach("message header", "text/plain; charset=utf-8", []byte(header.String()))
}

func signedBy(ctx context.Context, w *World, a Args) error {
	l, err := receivedLetter(ctx, w)
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
	var broken *signature // a signature of the right name that is not valid
	for _, s := range signatures {
		if s.domain == domain && (selector == "" || s.selector == selector) {
			if s.problem == "" {
				return nil
			}
			broken = &s
		}
	}
	l.attachHeader(w)
	switch {
	case broken != nil:
		return Fail(broken.reason, broken.blame, "DKIM: %s is not valid: %s", broken, broken.problem)
	case len(signatures) == 0:
		return failure
	default:
		return Fail(result.ReasonUnexpected, result.BlameSubmission, "DKIM: wanted %s, the message has %s", wanted, describeSignatures(signatures))
	}
}
