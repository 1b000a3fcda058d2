package steps

import (
	"context"
	"fmt"
	"strings"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps/maildns"
)

// senderCheck is the outcome of SPF (RFC 7208) for the handover to the receiving side.
type senderCheck struct {
	result maildns.SPFResult // SPFNone also if there was no handover to judge
	domain string            // of MAIL FROM, or of HELO if the sender is empty
	ip     string
	detail string // the cause of a result other than pass
	border bool   // whether there was a handover to judge
}

// checkSPF judges the server that handed the message to the receiving side, for the sender in Return-Path. The server
// is read from the receiving side's Received field. checkSPF returns an error if DNS did not answer.
func checkSPF(ctx context.Context, w *World, l *letter) (senderCheck, error) {
	ctx, cancel := context.WithTimeout(ctx, judgeLimit)
	defer cancel()
	c := senderCheck{result: maildns.SPFNone}
	border := l.side.border
	switch {
	case border == nil:
		c.detail = "no Received field says which server the message came from"
		return c, nil
	case border.authenticated():
		c.detail = fmt.Sprintf("the message was submitted to %s with a login (%s), not by another server, so SPF does not apply", border.by, border.protocol)
		return c, nil
	case !border.address.IsValid():
		c.detail = fmt.Sprintf("the Received field of %s has no IP address", border.by)
		return c, nil
	}
	c.border, c.ip = true, border.address.String()
	helo := strings.TrimSuffix(border.helo, ".")
	sender := ""
	if paths := l.fields.Values("Return-Path"); len(paths) > 0 {
		sender = strings.Trim(paths[0], "<> ")
	}
	if _, domain, found := cutLast(sender, "@"); found {
		c.domain = strings.ToLower(domain)
	} else {
		c.domain = strings.ToLower(helo)
	}
	err := w.Timed("spf", func() (string, error) {
		verdict, err := maildns.EvaluateSPF(ctx, w.records(), maildns.Sender{Address: border.address, HELO: helo, From: sender})
		c.result, c.detail = verdict.Result, verdict.Detail
		return fmt.Sprintf("%s: %s for %s", c.result, c.ip, c.domain), failLookup(ctx, err, "look up the SPF record of "+c.domain)
	})
	return c, err
}

// spfFailure returns nil if SPF passed.
func spfFailure(l *letter, c senderCheck) error {
	switch {
	case !c.border:
		return scenarioFault("SPF: %s", c.detail)
	case c.result == maildns.SPFPass:
		return nil
	case c.result == maildns.SPFNone:
		return Fail(result.ReasonUnexpected, result.BlameDNS, "SPF: none: %s has no SPF record, so nothing allows %s to send for it", c.domain, c.ip)
	case c.result == maildns.SPFPermError:
		return Fail(result.ReasonUnexpected, result.BlameDNS, "SPF: permerror: the SPF record of %s cannot be used: %s", c.domain, c.detail)
	case c.result == maildns.SPFTempError:
		return Fail(result.ReasonDNS, result.BlameDNS, "SPF: temperror: %s", c.detail)
	default:
		return Fail(result.ReasonUnexpected, result.BlameTransfer, "SPF: %s: the SPF record of %s does not allow %s, which handed the message to %s (%s)",
			c.result, c.domain, c.ip, l.side.border.by, c.detail)
	}
}
