package verdict

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"mime/quotedprintable"
	"strings"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/mail"
	"github.com/stepwatch/stepwatch/steps/message"
	"github.com/stepwatch/stepwatch/steps/parameter"
	"github.com/stepwatch/stepwatch/steps/wording"
)

func init() {
	const (
		does     = " The content is not decrypted. A message that only claims to be encrypted, or also has readable text, is not encrypted."
		measures = "Reading the message (phase read, once)."
	)
	steps.Register(
		steps.Definition{
			Area: "mail", Sentence: `it is encrypted`,
			Does:     "Fails unless the received message is encrypted with OpenPGP (PGP/MIME, RFC 3156, or inline) or with S/MIME (RFC 8551)." + does,
			Measures: measures, Example: `Then it is encrypted`, Func: isEncrypted(""),
		},
		steps.Definition{
			Area: "mail", Sentence: `it is encrypted with OpenPGP`,
			Does:     "Fails unless the received message is encrypted with OpenPGP: PGP/MIME (RFC 3156), or inline." + does,
			Measures: measures, Example: `Then it is encrypted with OpenPGP`, Func: isEncrypted(openPGP),
		},
		steps.Definition{
			Area: "mail", Sentence: `it is encrypted with S/MIME`,
			Does:     "Fails unless the received message is encrypted with S/MIME (RFC 8551): enveloped or authenticated-enveloped data, not just signed." + does,
			Measures: measures, Example: `Then it is encrypted with S/MIME`, Func: isEncrypted(sMIME),
		},
	)
}

const (
	openPGP = "OpenPGP"
	sMIME   = "S/MIME"
)

func isEncrypted(wanted string) func(context.Context, *steps.World, steps.Args) error {
	return func(ctx context.Context, w *steps.World, _ steps.Args) error {
		l, err := mail.ReceivedLetter(ctx, w)
		if err != nil {
			return err
		}
		how, why := encryptionOf(l.Fields, l.Body)
		switch {
		case why != nil:
			l.AttachHeader(w)
			return steps.Fail(result.ReasonUnexpected, result.BlameSubmission, "the message is not encrypted: %w", why)
		case wanted != "" && how != wanted:
			return steps.Fail(result.ReasonUnexpected, result.BlameSubmission, "the message is encrypted with %s, wanted %s", how, wanted)
		}
		return nil
	}
}

// encryptionOf returns how a message is encrypted, or why it is not.
func encryptionOf(fields message.Header, body []byte) (how string, why error) {
	mediaType, parameters, encoding := "text/plain", map[string]string{}, ""
	if values := fields.Values("Content-Type"); len(values) > 0 {
		if mediaType, parameters = parameter.Mail(values[0]); !strings.Contains(mediaType, "/") {
			return "", fmt.Errorf("its Content-Type %s is not a media type (RFC 2045 section 5.1)", wording.Quote(values[0]))
		}
	}
	if values := fields.Values("Content-Transfer-Encoding"); len(values) > 0 {
		encoding = values[0]
	}
	switch mediaType {
	case "multipart/encrypted":
		return openPGP, pgpMIME(body, parameters)
	case "application/pkcs7-mime", "application/x-pkcs7-mime":
		return sMIME, enveloped(decodedBody(body, encoding))
	case "text/plain":
		return openPGP, pgpArmor(decodedBody(body, encoding))
	}
	return "", fmt.Errorf("its content is %s", mediaType)
}

// decodedBody removes the transfer encoding (RFC 2045 section 6). Of broken input it returns the readable part.
func decodedBody(body []byte, encoding string) []byte {
	var r io.Reader = bytes.NewReader(body)
	switch word, _ := parameter.Mail(encoding); word {
	case "base64":
		r = base64.NewDecoder(base64.StdEncoding, r)
	case "quoted-printable":
		r = quotedprintable.NewReader(r)
	}
	decoded, _ := io.ReadAll(r) // see above
	return decoded
}

// pgpMIME checks the two parts of RFC 3156 section 4.
func pgpMIME(body []byte, parameters map[string]string) error {
	if protocol := parameters["protocol"]; !strings.EqualFold(protocol, "application/pgp-encrypted") {
		return fmt.Errorf("its multipart/encrypted is for %s, not application/pgp-encrypted", wording.Quote(protocol))
	}
	r := multipart.NewReader(bytes.NewReader(body), parameters["boundary"])
	for i, wanted := range []string{"application/pgp-encrypted", "application/octet-stream"} {
		part, err := r.NextRawPart()
		if err != nil {
			return fmt.Errorf("part %d of its multipart/encrypted: %w", i+1, err)
		}
		if got, _ := parameter.Mail(part.Header.Get("Content-Type")); got != wanted {
			return fmt.Errorf("part %d of its multipart/encrypted is %s, wanted %s", i+1, wording.Quote(got), wanted)
		}
		content, err := io.ReadAll(part)
		if err != nil {
			return fmt.Errorf("part %d of its multipart/encrypted: %w", i+1, err)
		}
		if i == 1 {
			return pgpArmor(decodedBody(content, part.Header.Get("Content-Transfer-Encoding")))
		}
	}
	return nil
}

// pgpArmor checks that text is one armored message (RFC 9580 section 6.2) and nothing else, whose first packet begins
// an encrypted one.
func pgpArmor(text []byte) error {
	const begin, end = "-----BEGIN PGP MESSAGE-----", "-----END PGP MESSAGE-----"
	before, rest, found := strings.Cut(string(text), begin)
	if !found {
		return errors.New("its text is readable and has no PGP message")
	}
	armored, after, found := strings.Cut(rest, end)
	if !found {
		return errors.New("its PGP message has no end")
	}
	if strings.TrimSpace(before+after) != "" {
		return errors.New("it also has readable text besides the PGP message")
	}
	armored = strings.ReplaceAll(armored, "\r", "")
	if _, data, found := strings.Cut(armored, "\n\n"); found { // after the armor's own headers
		armored = data
	}
	line, _, _ := strings.Cut(strings.TrimSpace(armored), "\n")
	packet, err := base64.StdEncoding.DecodeString(strings.TrimSpace(line))
	if err != nil || len(packet) == 0 || packet[0]&0x80 == 0 {
		return errors.New("its PGP message is broken")
	}
	tag := packet[0] >> 2 & 0x0f
	if packet[0]&0x40 != 0 {
		tag = packet[0] & 0x3f
	}
	switch tag { // RFC 9580 section 5
	case 1, 3, 9, 18, 20:
		return nil
	}
	return fmt.Errorf("its PGP message is not encrypted (it begins with packet %d: signed or compressed only)", tag)
}

// enveloped checks that der is a CMS structure (RFC 5652) of an encrypted content type.
func enveloped(der []byte) error {
	const (
		pkcs7            = "\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07"             // 1.2.840.113549.1.7
		authEnvelopedOID = "\x06\x0b\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x01\x17" // RFC 5083
		compressedOID    = "\x06\x0b\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x01\x09" // RFC 3274
	)
	start := string(der[:min(len(der), 32)])
	if start == "" || start[0] != 0x30 {
		return errors.New("its S/MIME part is broken")
	}
	header := 2 // the length is one byte, or says how many follow
	if len(start) > 1 && start[1] > 0x80 {
		header += int(start[1] & 0x7f)
	}
	start = start[min(header, len(start)):]
	switch {
	case strings.HasPrefix(start, pkcs7+"\x03"), strings.HasPrefix(start, authEnvelopedOID):
		return nil
	case strings.HasPrefix(start, pkcs7+"\x02"):
		return errors.New("its S/MIME part is signed only")
	case strings.HasPrefix(start, compressedOID):
		return errors.New("its S/MIME part is compressed only")
	}
	return errors.New("its S/MIME part is of a kind that is not encrypted")
}
