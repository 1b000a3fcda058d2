package verdict

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/limit"
	"github.com/stepwatch/stepwatch/steps/lookup"
	"github.com/stepwatch/stepwatch/steps/mail"
	"github.com/stepwatch/stepwatch/steps/maildns"
	"github.com/stepwatch/stepwatch/steps/message"
	"github.com/stepwatch/stepwatch/steps/regex"
	"github.com/stepwatch/stepwatch/steps/wording"
)

func init() {
	steps.Register(
		steps.Definition{
			Area: "mail", Sentence: `it has a valid ARC chain`,
			Does: "Fails unless the received message has an ARC chain (RFC 8617), and each of its seals and the newest message signature are valid: nobody altered the message " +
				"after the last server that sealed it. All look-ups go to the target's resolver. If it does not answer, the step blames DNS.",
			Measures: "Reading the message (phase read, once) and verifying the chain (phase arc). Measures mail_arc_pass: 1 or 0, absent when DNS did not answer.",
			Example:  `Then it has a valid ARC chain`,
			Func:     validARCChain,
		},
	)
}

// longestChain is the maximum number of instances in a chain (RFC 8617 section 4.2.1).
const longestChain = 50

// arcSet is what one server adds to the chain: its authentication results, its signature, and the seal over all.
type arcSet struct{ results, message, seal *message.Field }

// readARCChain returns the chain by instance, from 1. The error says what is wrong with its structure (RFC 8617 section
// 5.2).
func readARCChain(fields message.Header) ([]arcSet, error) {
	sets := map[int]*arcSet{}
	highest := 0
	for i := range fields {
		f := &fields[i]
		name := strings.ToLower(f.Name)
		if name != "arc-authentication-results" && name != "arc-message-signature" && name != "arc-seal" {
			continue
		}
		first, _, _ := strings.Cut(f.Value, ";")
		list := f.Value
		if name == "arc-authentication-results" { // its instance comes first, and the rest is not a tag list
			list = first
		}
		if err := checkTags(list); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name, err)
		}
		instance, err := strconv.Atoi(tagsOf(list)["i"])
		if err != nil || instance < 1 || instance > longestChain {
			return nil, fmt.Errorf("%s has no instance from 1 to %d", f.Name, longestChain)
		}
		if sets[instance] == nil {
			sets[instance] = &arcSet{}
		}
		highest = max(highest, instance)
		place := map[string]**message.Field{"arc-authentication-results": &sets[instance].results, "arc-message-signature": &sets[instance].message, "arc-seal": &sets[instance].seal}[name]
		if *place != nil {
			return nil, fmt.Errorf("%s of instance %d occurs twice", f.Name, instance)
		}
		*place = f
	}
	chain := make([]arcSet, 0, highest)
	for i := 1; i <= highest; i++ {
		s := sets[i]
		if s == nil || s.results == nil || s.message == nil || s.seal == nil {
			return nil, fmt.Errorf("instance %d of %d is not complete", i, highest)
		}
		wanted := "pass"
		if i == 1 {
			wanted = "none"
		}
		if cv := strings.ToLower(tagsOf(s.seal.Value)["cv"]); cv != wanted {
			return nil, fmt.Errorf("the seal of instance %d says cv=%s, want cv=%s", i, cv, wanted)
		}
		chain = append(chain, *s)
	}
	return chain, nil
}

var tagName = regex.Lazy(`^[A-Za-z][A-Za-z0-9_]*$`)

// checkTags is stricter than mail.TagsOf: a seal with ambiguous tags is not valid (RFC 6376 section 3.2).
func checkTags(list string) error {
	seen := map[string]bool{}
	list = strings.TrimSpace(list)
	for pair := range strings.SplitSeq(strings.TrimSuffix(list, ";"), ";") {
		name, _, found := strings.Cut(pair, "=")
		name = strings.TrimSpace(name)
		switch {
		case !found || !tagName.MatchString(name):
			return fmt.Errorf("%s is not a tag", wording.Quote(strings.TrimSpace(pair)))
		case seen[name]:
			return fmt.Errorf("the tag %s occurs twice", name)
		}
		seen[name] = true
	}
	return nil
}

func validARCChain(ctx context.Context, w *steps.World, _ steps.Args) error {
	l, err := mail.ReceivedLetter(ctx, w)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, lookup.Limit)
	defer cancel()
	chain, err := readARCChain(l.Fields)
	if err == nil {
		err = checkSigned(l.Fields.Values("ARC-Message-Signature"))
	}
	if err == nil && len(chain) == 0 {
		l.AttachHeader(w)
		err = steps.Fail(result.ReasonUnexpected, result.BlameTransfer, "ARC: the message in %s has no chain: no server on its route sealed it", l.Where)
		measurePass(w, "ARC", err)
		return err
	}
	texts := maildns.NewTexts(lookup.Records(w))
	if err == nil {
		err = w.Timed("arc", func() (string, error) {
			return fmt.Sprintf("%d sets", len(chain)), verifyARCChain(ctx, texts, l, chain)
		})
	}
	if err == nil {
		measurePass(w, "ARC", nil)
		return nil
	}
	l.AttachHeader(w)
	if trouble := lookup.Fail(ctx, texts.Trouble(), "look up a key of the ARC chain"); trouble != nil {
		return trouble
	}
	measurePass(w, "ARC", err)
	reason := result.ReasonUnexpected
	if errors.As(err, new(*limit.Error)) {
		reason = result.ReasonTooLarge
	}
	return steps.Fail(reason, result.BlameTransfer, "ARC: the chain is not valid: %w", err)
}

// verifyARCChain verifies the newest message signature and every seal, as RFC 8617 section 5.2 requires.
func verifyARCChain(ctx context.Context, keys *maildns.Texts, l *mail.Letter, chain []arcSet) error {
	last := len(chain)
	if err := verifySignedMessage(ctx, keys, l, chain[last-1].message); err != nil {
		return fmt.Errorf("the message signature of instance %d (%s): %w", last, tagsOf(chain[last-1].message.Value)["d"], err)
	}
	for i := last; i >= 1; i-- {
		var signed strings.Builder
		for j, s := range chain[:i] {
			signed.WriteString(relaxedField(*s.results) + "\r\n" + relaxedField(*s.message) + "\r\n")
			if j < i-1 {
				signed.WriteString(relaxedField(*s.seal) + "\r\n")
			}
		}
		seal := chain[i-1].seal
		signed.WriteString(relaxedField(withoutSignature(*seal)))
		if err := verifySignature(ctx, keys, tagsOf(seal.Value), signed.String()); err != nil {
			return fmt.Errorf("the seal of instance %d (%s): %w", i, tagsOf(seal.Value)["d"], err)
		}
	}
	return nil
}

// verifySignedMessage verifies a signature over the message that has DKIM's tags (RFC 6376 section 6.1.3).
func verifySignedMessage(ctx context.Context, keys *maildns.Texts, l *mail.Letter, f *message.Field) error {
	tags := tagsOf(f.Value)
	headerForm, bodyForm, _ := strings.Cut(strings.ToLower(tags["c"]), "/")
	canonical := func(f message.Field) string { return strings.TrimSuffix(f.Raw, "\r\n") }
	switch headerForm {
	case "relaxed":
		canonical = relaxedField
	case "simple", "":
	default:
		return fmt.Errorf("its canonicalization is %s", wording.Quote(tags["c"]))
	}
	body := l.Body
	switch bodyForm {
	case "relaxed":
		body = relaxedBody(body)
	case "simple", "":
		body = simpleBody(body)
	default:
		return fmt.Errorf("its canonicalization is %s", wording.Quote(tags["c"]))
	}
	if _, partial := tags["l"]; partial {
		return errors.New("it covers only a part of the body (l=)")
	}
	sum := sha256.Sum256(body)
	if written, err := decodedTag(tags["bh"]); err != nil || !bytes.Equal(written, sum[:]) {
		return errors.New("the body was altered after it was signed (the body hash differs)")
	}
	var signed strings.Builder
	used := map[string]int{}
	fromSigned := false
	for name := range strings.SplitSeq(tags["h"], ":") {
		name = strings.ToLower(strings.TrimSpace(name))
		fromSigned = fromSigned || name == "from"
		if name == "arc-seal" {
			return errors.New("it covers ARC-Seal, which it must not") // RFC 8617 section 4.1.2
		}
		// Fields of the same name are used from the last one upwards.
		seen := 0
		for i := len(l.Fields) - 1; i >= 0; i-- {
			if !strings.EqualFold(l.Fields[i].Name, name) {
				continue
			}
			if seen == used[name] {
				signed.WriteString(canonical(l.Fields[i]) + "\r\n")
				break
			}
			seen++
		}
		used[name]++
	}
	if !fromSigned {
		return errors.New("it does not cover From")
	}
	signed.WriteString(canonical(withoutSignature(*f)))
	return verifySignature(ctx, keys, tags, signed.String())
}

// verifySignature verifies the signature in tags over signed, with the key named in tags.
func verifySignature(ctx context.Context, keys *maildns.Texts, tags map[string]string, signed string) error {
	key, err := lookUpKey(ctx, keys, tags["s"]+"._domainkey."+tags["d"])
	if err != nil {
		return err
	}
	signature, err := decodedTag(tags["b"])
	if err != nil {
		return fmt.Errorf("its b= is not base64: %w", err)
	}
	sum := sha256.Sum256([]byte(signed))
	var valid bool
	switch algorithm := strings.ToLower(tags["a"]); {
	case algorithm == "rsa-sha256":
		public, is := key.(*rsa.PublicKey)
		valid = is && rsa.VerifyPKCS1v15(public, crypto.SHA256, sum[:], signature) == nil
	case algorithm == "ed25519-sha256":
		public, is := key.(ed25519.PublicKey)
		valid = is && ed25519.Verify(public, sum[:], signature)
	default:
		return fmt.Errorf("its algorithm is %s", wording.Quote(tags["a"]))
	}
	if !valid {
		return errors.New("it does not match: what it covers was altered, or DNS has a different key")
	}
	return nil
}

// lookUpKey reads a key's record (RFC 6376 section 3.6.1, RFC 8463 section 4).
func lookUpKey(ctx context.Context, keys *maildns.Texts, name string) (crypto.PublicKey, error) {
	texts, err := keys.Lookup(ctx, name)
	if err != nil || len(texts) == 0 {
		return nil, fmt.Errorf("DNS has no key at %s", name)
	}
	if len(texts) > 1 {
		return nil, fmt.Errorf("DNS has %d keys at %s, want 1", len(texts), name)
	}
	if err := checkKey(texts[0]); err != nil {
		return nil, fmt.Errorf("the record at %s cannot be used: %w", name, err)
	}
	tags := tagsOf(texts[0])
	if tags["p"] == "" {
		return nil, fmt.Errorf("its key at %s is revoked (p= is empty)", name)
	}
	der, err := decodedTag(tags["p"])
	if err != nil {
		return nil, fmt.Errorf("the record at %s cannot be used: %w", name, err)
	}
	if strings.EqualFold(tags["k"], "ed25519") {
		if len(der) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("the record at %s cannot be used: the key has %d bytes, want %d", name, len(der), ed25519.PublicKeySize)
		}
		return ed25519.PublicKey(der), nil
	}
	key, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		if key, err = x509.ParsePKCS1PublicKey(der); err != nil {
			return nil, fmt.Errorf("the record at %s cannot be used: %w", name, err)
		}
	}
	public, is := key.(*rsa.PublicKey)
	if !is || public.N.BitLen() < 1024 { // RFC 8301 section 3.2
		return nil, fmt.Errorf("the record at %s cannot be used: want an RSA key of at least 1024 bits", name)
	}
	return public, nil
}

// decodedTag decodes base64 that may be folded.
func decodedTag(value string) ([]byte, error) {
	return base64.StdEncoding.DecodeString(strings.Join(strings.Fields(value), ""))
}

var signatureTag = regex.Lazy(`((?:^|[;:])\s*b\s*=)[^;]*`)

// withoutSignature returns a signature's field with an empty value of b= (RFC 6376 section 3.7).
func withoutSignature(f message.Field) message.Field {
	f.Value = signatureTag.ReplaceAllString(f.Value, "$1")
	f.Raw = signatureTag.ReplaceAllString(f.Raw, "$1")
	return f
}

// relaxedField returns a field in the form of RFC 6376 section 3.4.2, without its CRLF.
func relaxedField(f message.Field) string {
	return strings.ToLower(f.Name) + ":" + strings.Join(strings.FieldsFunc(f.Value, isBlank), " ")
}

func isBlank(r rune) bool { return r == ' ' || r == '\t' }

// simpleBody returns a body in the form of RFC 6376 section 3.4.3: one line break at its end.
func simpleBody(body []byte) []byte {
	for bytes.HasSuffix(body, []byte("\r\n")) {
		body = body[:len(body)-2]
	}
	return append(bytes.Clone(body), "\r\n"...)
}

// relaxedBody returns a body in the form of RFC 6376 section 3.4.4: white space as one space, and none at the ends of
// lines.
func relaxedBody(body []byte) []byte {
	var out bytes.Buffer
	gaps := 0 // empty lines not written yet
	for line := range bytes.SplitSeq(body, []byte("\r\n")) {
		indented := len(line) > 0 && isBlank(rune(line[0]))
		words := bytes.FieldsFunc(line, isBlank)
		if len(words) == 0 {
			gaps++
			continue
		}
		for ; gaps > 0; gaps-- {
			out.WriteString("\r\n")
		}
		if indented {
			out.WriteByte(' ')
		}
		out.Write(bytes.Join(words, []byte(" ")))
		out.WriteString("\r\n")
	}
	return out.Bytes()
}
