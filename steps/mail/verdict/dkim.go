package verdict

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/emersion/go-msgauth/dkim"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/limit"
	"github.com/stepwatch/stepwatch/steps/lookup"
	"github.com/stepwatch/stepwatch/steps/mail"
	"github.com/stepwatch/stepwatch/steps/maildns"
)

// mostSignatures limits how many signatures of one message are verified. RFC 6376 section 6.1 allows a limit.
const mostSignatures = 8

// Limits of the work for a signature: each signed field is looked for in the whole header, and the time of a verification
// grows with the square of the key's length. RFC 8301 section 3.2 wants keys of up to 4096 bits to be verified.
var (
	signedLimit = limit.Define(limit.Limit{Subject: "DKIM and ARC", What: "a signature", Unit: "signed fields", Most: 500})
	keyLimit    = limit.Define(limit.Limit{Subject: "DKIM and ARC", What: "the RSA key in DNS", Unit: "bits", Most: 8192})
)

// checkSigned returns a limit.Error if one of these signatures covers too many fields.
func checkSigned(signatures []string) error {
	for _, s := range signatures {
		if h := tagsOf(s)["h"]; h != "" {
			if err := signedLimit.Check(int64(strings.Count(h, ":")) + 1); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkKey returns a limit.Error if a record has a key that is too long. Its length is that of the record: the modulus is all
// but a few bytes of it.
func checkKey(record string) error {
	const others = 50 // bytes in a key besides the modulus, at least
	key := int64(base64.StdEncoding.DecodedLen(len(strings.Join(strings.Fields(tagsOf(record)["p"]), ""))))
	if key <= keyLimit.Most/8+others {
		return nil
	}
	return keyLimit.Check((key - others) * 8)
}

// signature is one DKIM signature (RFC 6376) and its outcome.
type signature struct {
	domain, selector string
	problem          string // empty if the signature is valid
	reason           result.Reason
	blame            result.Blame // who is at fault for the problem
}

func (s signature) String() string {
	return "the signature of " + s.domain + " (selector " + s.selector + ")"
}

// key returns the name of its key in DNS.
func (s signature) key() string { return s.selector + "._domainkey." + s.domain }

// verifyDKIM verifies the message's signatures. It returns an error if this was not possible.
func verifyDKIM(ctx context.Context, w *steps.World, l *mail.Letter) ([]signature, error) {
	ctx, cancel := context.WithTimeout(ctx, lookup.Limit)
	defer cancel()
	var signatures []signature
	err := w.Timed("dkim", func() (string, error) {
		texts := maildns.NewTexts(lookup.Records(w))
		written := l.Fields.Values("DKIM-Signature")
		if err := checkSigned(written); err != nil {
			return "", steps.FailFor(result.BlameSubmission, fmt.Errorf("verify the signatures of the message in %s: %w", l.Where, err))
		}
		var keys sync.Map // of the names of keys that are too long to the error; signatures are verified at the same time
		verified, err := dkim.VerifyWithOptions(bytes.NewReader(l.Raw), &dkim.VerifyOptions{
			LookupTXT: func(name string) ([]string, error) {
				records, err := texts.Lookup(ctx, name)
				for _, record := range records {
					if long := checkKey(record); long != nil {
						keys.Store(strings.ToLower(name), long)
						return nil, long
					}
				}
				return records, err
			},
			MaxVerifications: mostSignatures,
		})
		if err != nil && !errors.Is(err, dkim.ErrTooManySignatures) {
			return "", steps.Fail(result.ReasonProtocol, result.BlameDelivery, "verify the signatures of the message in %s: %w", l.Where, err)
		}
		passed := false
		for i, v := range verified {
			s := signature{domain: strings.ToLower(v.Domain)}
			if i < len(written) {
				s.selector = tagsOf(written[i])["s"]
			}
			if v.Err != nil {
				s.blameFor(l, v.Err)
			}
			if long, is := keys.Load(strings.ToLower(s.key())); is {
				s.problem, s.reason, s.blame = "the record at "+s.key()+" cannot be used: "+long.(error).Error(), result.ReasonTooLarge, result.BlameDNS
			}
			passed = passed || v.Err == nil
			signatures = append(signatures, s)
		}
		// One valid signature is enough, whatever the state of the other keys.
		if err := lookup.Fail(ctx, texts.Trouble(), "look up the key of a DKIM signature"); err != nil && !passed {
			return "temperror", err
		}
		return describeSignatures(signatures), nil
	})
	return signatures, err
}

// blameFor describes what is wrong with a signature and sets who has to fix it.
func (s *signature) blameFor(l *mail.Letter, err error) {
	key := s.key()
	text := strings.TrimPrefix(err.Error(), "dkim: ")
	s.reason, s.blame = result.ReasonUnexpected, result.BlameSubmission
	switch {
	case dkim.IsTempFail(err):
		s.problem, s.reason, s.blame = "DNS did not answer for "+key, result.ReasonDNS, result.BlameDNS
	case strings.HasPrefix(text, "body hash"):
		s.problem, s.blame = "the body was altered after it was signed (the body hash differs)", result.BlameTransfer
	case strings.HasPrefix(text, "signature did not verify"):
		s.problem, s.blame = "the signed header fields were altered, or the key at "+key+" is not the signer's", result.BlameTarget
	case strings.HasPrefix(text, "no key"), strings.HasPrefix(text, "no valid key"):
		s.problem, s.reason, s.blame = "DNS has no key at "+key, result.ReasonDNS, result.BlameDNS
	case text == "key revoked":
		s.problem = "its key at " + key + " is revoked (p= is empty), and " + l.Sender() + " still signs with it"
	case strings.HasPrefix(text, "key "), strings.HasPrefix(text, "multiple TXT"), strings.HasPrefix(text, "incompatible public key"):
		text, _, _ = strings.Cut(text, " (") // details of Go's ASN.1 parser follow
		s.problem, s.blame = "the record at "+key+" cannot be used: "+text, result.BlameDNS
	default:
		s.problem = text
	}
}

// describeSignatures describes signatures on one line.
func describeSignatures(signatures []signature) string {
	var lines []string
	for _, s := range signatures {
		state := "valid"
		if s.problem != "" {
			state = s.problem
		}
		lines = append(lines, s.String()+": "+state)
	}
	return strings.Join(lines, "; ")
}

// dkimFailure returns nil if one of the signatures is valid.
func dkimFailure(l *mail.Letter, signatures []signature) error {
	for _, s := range signatures {
		if s.problem == "" {
			return nil
		}
	}
	if len(signatures) == 0 {
		return steps.Fail(result.ReasonUnexpected, result.BlameSubmission, "DKIM: the message is not signed: %s sent it without a DKIM-Signature", l.Sender())
	}
	return steps.Fail(signatures[0].reason, signatures[0].blame, "DKIM: no valid signature: %s", describeSignatures(signatures))
}
