package verdict

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/net/idna"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/limit"
	"github.com/stepwatch/stepwatch/steps/lookup"
	"github.com/stepwatch/stepwatch/steps/mail"
	"github.com/stepwatch/stepwatch/steps/maildns"
	"github.com/stepwatch/stepwatch/steps/message"
	"github.com/stepwatch/stepwatch/steps/wording"
)

// domainLimit is far above the 253 characters of a domain, in bytes. The conversion to ASCII takes quadratic time.
var domainLimit = limit.Define(limit.Limit{Subject: "mail message", What: "the domain of From", Unit: "bytes", Most: 1024})

// authorDomain returns the domain of the message's author, in ASCII.
func authorDomain(l *mail.Letter) (string, error) {
	from := l.Fields.Values("From")
	if len(from) != 1 {
		return "", steps.Fail(result.ReasonProtocol, result.BlameSubmission, "DMARC: the message has %d From fields, want 1", len(from))
	}
	authors, err := message.Addresses(from[0])
	if err != nil || len(authors) != 1 {
		return "", steps.Fail(result.ReasonProtocol, result.BlameSubmission, "DMARC: From is %s, want one address", wording.Quote(from[0]))
	}
	_, domain, _ := wording.CutLast(authors[0].Address, "@")
	if err := domainLimit.Check(int64(len(domain))); err != nil {
		return "", steps.FailFor(result.BlameSubmission, fmt.Errorf("DMARC: %w", err))
	}
	ascii, err := idna.Lookup.ToASCII(domain)
	if err != nil {
		return "", steps.Fail(result.ReasonProtocol, result.BlameSubmission, "DMARC: the domain %s of From: %s", wording.Quote(domain), wording.OneLine(wording.Library(err.Error()), 200))
	}
	return strings.ToLower(strings.TrimSuffix(ascii, ".")), nil
}

// judgePolicy judges alignment by the records that walk finds. The note says what passes and which policy the domain
// has.
func judgePolicy(ctx context.Context, walk *maildns.DMARCWalk, author string, signatures []signature, sender senderCheck) (note string, err error) {
	p, err := walk.Policy(ctx, author)
	switch {
	case err != nil:
		return "", lookup.Fail(ctx, err, "look up the DMARC record of "+author)
	case p.Problem != "":
		return "", steps.Fail(result.ReasonUnexpected, result.BlameDNS, "DMARC: %s", p.Problem)
	}
	var others []string // what passed and is not aligned with the author
	for _, s := range signatures {
		if s.problem != "" {
			continue
		}
		speaks, err := walk.Aligned(ctx, s.domain, author, p.Strict("adkim"))
		if err != nil {
			return "", lookup.Fail(ctx, err, "look up the DMARC record of "+author)
		}
		if speaks {
			return fmt.Sprintf("pass: %s is signed by %s, %s", author, s.domain, p), nil
		}
		others = append(others, "DKIM passes for "+s.domain)
	}
	if sender.result == maildns.SPFPass {
		speaks, err := walk.Aligned(ctx, sender.domain, author, p.Strict("aspf"))
		if err != nil {
			return "", lookup.Fail(ctx, err, "look up the DMARC record of "+author)
		}
		if speaks {
			return fmt.Sprintf("pass: SPF of %s, %s", sender.domain, p), nil
		}
		others = append(others, "SPF passes for "+sender.domain)
	}
	note = "fail: " + p.String()
	if len(others) > 0 {
		return note, steps.Fail(result.ReasonUnexpected, result.BlameSubmission, "DMARC: nothing that passes is aligned with %s of From: %s (adkim=%s, aspf=%s); %s",
			author, strings.Join(others, ", "), p.Mode("adkim"), p.Mode("aspf"), p.Wishes())
	}
	blame := result.BlameSubmission
	why := "it is not signed"
	if len(signatures) > 0 {
		blame, why = signatures[0].blame, describeSignatures(signatures)
	}
	how := string(sender.result)
	if sender.detail != "" {
		how += " (" + sender.detail + ")"
	}
	return note, steps.Fail(result.ReasonUnexpected, blame, "DMARC: neither DKIM nor SPF passes for %s: %s; SPF: %s; %s", author, why, how, p.Wishes())
}

// checkDMARC returns nil if a valid signature or SPF is aligned with the author's domain.
func checkDMARC(ctx context.Context, w *steps.World, l *mail.Letter, signatures []signature, sender senderCheck) error {
	ctx, cancel := context.WithTimeout(ctx, lookup.Limit)
	defer cancel()
	author, err := authorDomain(l)
	if err != nil {
		return err
	}
	return w.Timed("dmarc", func() (string, error) {
		return judgePolicy(ctx, maildns.NewDMARCWalk(lookup.Records(w)), author, signatures, sender)
	})
}
