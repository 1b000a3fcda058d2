package verdict

import (
	"context"
	"fmt"
	"strings"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/lookup"
	"github.com/stepwatch/stepwatch/steps/mail"
	"github.com/stepwatch/stepwatch/steps/maildns"
	"github.com/stepwatch/stepwatch/steps/wording"
)

// senderCheck is the outcome of SPF (RFC 7208) for the handover to the receiving side.
type senderCheck struct {
	result maildns.SPFResult // SPFNone also if there was no handover to judge
	domain string            // of MAIL FROM, or of HELO if the sender is empty
	ip     string
	detail string // the cause of a result other than pass
	border bool   // whether there was a handover to judge
}

// checkSPF judges the server that handed the message to the receiving side, for the sender in the envelope. The
// server is read from the receiving side's Received field. checkSPF returns an error if DNS did not answer.
func checkSPF(ctx context.Context, w *steps.World, l *mail.Letter) (senderCheck, error) {
	ctx, cancel := context.WithTimeout(ctx, lookup.Limit)
	defer cancel()
	c := senderCheck{result: maildns.SPFNone}
	border := l.Side.Border
	switch {
	case border == nil:
		c.detail = "no Received field says which server the message came from"
		return c, nil
	case border.Authenticated():
		c.detail = fmt.Sprintf("the message was submitted to %s with a login (%s), not by another server, so SPF does not apply", border.By, border.Protocol)
		return c, nil
	case !border.Address.IsValid():
		c.detail = fmt.Sprintf("the Received field of %s has no IP address", border.By)
		return c, nil
	}
	helo := strings.TrimSuffix(border.Helo, ".")
	sender, known := l.EnvelopeSender()
	if !known {
		c.detail = "the message has no Return-Path, and this run did not send it, so the sender in the envelope is unknown"
		return c, nil
	}
	if err := (maildns.Sender{HELO: helo, From: sender}).Check(); err != nil {
		return c, steps.FailFor(result.BlameDelivery, fmt.Errorf("check SPF of the message in %s: %w", l.Where, err))
	}
	c.border, c.ip = true, border.Address.String()
	if _, domain, found := wording.CutLast(sender, "@"); found {
		c.domain = strings.ToLower(domain)
	} else {
		c.domain = strings.ToLower(helo)
	}
	err := w.Timed("spf", func() (string, error) {
		verdict, err := maildns.EvaluateSPF(ctx, lookup.Records(w), maildns.Sender{Address: border.Address, HELO: helo, From: sender})
		c.result, c.detail = verdict.Result, verdict.Detail
		return fmt.Sprintf("%s: %s for %s", c.result, c.ip, c.domain), lookup.Fail(ctx, err, "look up the SPF record of "+c.domain)
	})
	return c, err
}

// spfFailure returns nil if SPF passed.
func spfFailure(l *mail.Letter, c senderCheck) error {
	switch {
	case !c.border:
		return steps.FailScenario("SPF: %s", c.detail)
	case c.result == maildns.SPFPass:
		return nil
	case c.result == maildns.SPFNone:
		return steps.Fail(result.ReasonUnexpected, result.BlameDNS, "SPF: none: %s has no SPF record, so nothing allows %s to send for it", c.domain, c.ip)
	case c.result == maildns.SPFPermError:
		return steps.Fail(result.ReasonUnexpected, result.BlameDNS, "SPF: permerror: the SPF record of %s cannot be used: %s", c.domain, c.detail)
	case c.result == maildns.SPFTempError:
		return steps.Fail(result.ReasonDNS, result.BlameDNS, "SPF: temperror: %s", c.detail)
	default:
		return steps.Fail(result.ReasonUnexpected, result.BlameTransfer, "SPF: %s: the SPF record of %s does not allow %s, which handed the message to %s (%s)",
			c.result, c.domain, c.ip, l.Side.Border.By, c.detail)
	}
}
