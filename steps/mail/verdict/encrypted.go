package verdict

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/limit"
	"github.com/stepwatch/stepwatch/steps/mail"
	"github.com/stepwatch/stepwatch/steps/message"
	"github.com/stepwatch/stepwatch/steps/wording"
)

func init() {
	const (
		does = " The content is not decrypted. A message that only claims to be encrypted, or also has readable text, is not encrypted. A message of " +
			"several parts is encrypted if each part is. The step's note says in which form."
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
		e := encryptionOf(l.Fields, l.Body, 0)
		switch {
		case e.readable != nil:
			l.AttachHeader(w)
			reason, act := result.ReasonUnexpected, "the message is not encrypted"
			if errors.As(e.readable, new(*limit.Error)) {
				reason, act = result.ReasonTooLarge, "whether the message is encrypted is unknown"
			}
			return steps.Fail(reason, result.BlameSubmission, "%s: %w", act, e.readable)
		case wanted != "" && e.how != wanted:
			return steps.Fail(result.ReasonUnexpected, result.BlameSubmission, "the message is encrypted with %s, wanted %s", e.how, wanted)
		}
		w.Note("encrypted with " + e.how + " (" + e.form + ")")
		return nil
	}
}

// encryption is how a message or a part of it is encrypted.
type encryption struct {
	how      string // openPGP or sMIME; empty if nothing in it is worth encrypting
	form     string // for a person: "PGP/MIME"
	readable error  // why it is not encrypted
}

// encryptionOf returns how a message is encrypted. A message of several parts is encrypted if each of them is.
func encryptionOf(fields message.Header, body []byte, depth int) encryption {
	kind, parameters := message.ContentType(fields.Line("Content-Type"))
	content := message.Decoded(fields, body)
	name := strings.ToLower(parameters["name"])
	switch {
	case depth > int(nestedLimit.Most):
		return encryption{readable: nestedLimit.Exceeded()}
	case kind == "multipart/encrypted":
		return encryption{openPGP, "PGP/MIME", pgpMIME(body, parameters)}
	case kind == "multipart/signed": // around what was encrypted (RFC 1847 section 3)
		parts := message.Parts(body, parameters["boundary"])
		if len(parts) == 0 {
			return encryption{readable: errors.New("its multipart/signed has no parts")}
		}
		inner, content := message.Read(parts[0])
		e := encryptionOf(inner, content, depth+1)
		e.form += ", signed outside"
		return e
	case strings.HasPrefix(kind, "multipart/"):
		return mixed(kind, message.Parts(body, parameters["boundary"]), depth)
	case kind == "application/pkcs7-mime", kind == "application/x-pkcs7-mime", kind == "application/octet-stream" && strings.HasSuffix(name, ".p7m"):
		return encryption{sMIME, "S/MIME", enveloped(content)}
	case kind == "text/plain" && len(bytes.TrimSpace(content)) == 0 && depth > 0:
		return encryption{form: "an empty text"}
	case kind == "application/pgp-encrypted" && depth > 0:
		return encryption{form: "a version"}
	case kind == "text/plain" && depth == 0:
		return encryption{openPGP, "inline PGP", pgpArmor(content)}
	case bytes.Contains(content[:min(len(content), 4096)], []byte(pgpBegin)):
		return encryption{openPGP, "inline PGP", pgpArmor(content)}
	case (kind == "application/octet-stream" || kind == "application/pgp") && depth > 0:
		return encryption{openPGP, "inline PGP", pgpPackets(content)}
	}
	return encryption{readable: fmt.Errorf("its content is %s", kind)}
}

// nestedLimit limits the nesting of a message that is to be encrypted.
var nestedLimit = limit.Define(limit.Limit{Subject: "mail message", What: "what is to be encrypted", Unit: "levels of multiparts", Most: 8})

// mixed judges the parts of a multipart that is not itself encrypted.
func mixed(kind string, parts [][]byte, depth int) (all encryption) {
	if len(parts) == 0 {
		return encryption{readable: fmt.Errorf("its content is %s without any part", kind)}
	}
	if err := message.PartLimit.Check(int64(len(parts))); err != nil {
		return encryption{readable: message.PartLimit.Exceeded()}
	}
	version := false // a part of PGP/MIME, whose multipart/encrypted a server replaced
	for i, part := range parts {
		fields, content := message.Read(part)
		inner, _ := message.ContentType(fields.Line("Content-Type"))
		version = version || inner == "application/pgp-encrypted"
		e := encryptionOf(fields, content, depth+1)
		switch {
		case errors.As(e.readable, new(*limit.Error)):
			return e
		case e.readable != nil:
			return encryption{readable: fmt.Errorf("part %d of %d of its %s: %w", i+1, len(parts), kind, e.readable)}
		case all.how == "":
			all.how, all.form = e.how, e.form+" in "+kind
		case e.how != "" && e.how != all.how:
			all.form += " and " + e.how
		}
	}
	switch {
	case all.how == "":
		return encryption{readable: fmt.Errorf("its content is %s with nothing in it", kind)}
	case version:
		all.form = "PGP/MIME of a broken form: " + kind + " instead of multipart/encrypted, which many mail programs cannot open"
	}
	return all
}

// pgpMIME checks the two parts of RFC 3156 section 4.
func pgpMIME(body []byte, parameters map[string]string) error {
	if protocol := parameters["protocol"]; !strings.EqualFold(protocol, "application/pgp-encrypted") {
		return fmt.Errorf("its multipart/encrypted is for %s, not application/pgp-encrypted (RFC 3156 section 4)", wording.Quote(protocol))
	}
	wanted := []string{"application/pgp-encrypted", "application/octet-stream"}
	parts := message.Parts(body, parameters["boundary"])
	for i, part := range parts[:min(len(parts), len(wanted))] {
		fields, content := message.Read(part)
		if got, _ := message.ContentType(fields.Line("Content-Type")); got != wanted[i] {
			return fmt.Errorf("part %d of its multipart/encrypted is %s, wanted %s", i+1, wording.Quote(got), wanted[i])
		}
		if i == 1 {
			content = message.Decoded(fields, content)
			if !bytes.Contains(content, []byte(pgpBegin)) && len(content) > 0 && content[0]&0x80 != 0 {
				return pgpPackets(content) // not armored, as RFC 3156 section 3 has it, but encrypted
			}
			if err := pgpArmor(content); err != nil {
				return err
			}
		}
	}
	if len(parts) != len(wanted) {
		return fmt.Errorf("its multipart/encrypted has %d parts, wanted 2 (RFC 3156 section 4)", len(parts))
	}
	return nil
}

const pgpBegin, pgpEnd = "-----BEGIN PGP MESSAGE-----", "-----END PGP MESSAGE-----"

// pgpArmor checks that text is one armored message (RFC 9580 section 6.2) and nothing else, and that it is encrypted.
func pgpArmor(text []byte) error {
	before, rest, found := strings.Cut(string(text), pgpBegin)
	if !found {
		return errors.New("its text is readable and has no PGP message")
	}
	armored, after, found := strings.Cut(rest, pgpEnd)
	if !found {
		return errors.New("its PGP message has no end")
	}
	if strings.TrimSpace(before+after) != "" {
		return errors.New("it also has readable text besides the PGP message")
	}
	var data strings.Builder
	header := true // the armor's own headers, up to an empty line
	lines := strings.Split(strings.ReplaceAll(armored, "\r", ""), "\n")
	headers := slices.ContainsFunc(lines, func(line string) bool { return strings.Contains(line, ": ") })
	for i, line := range lines {
		line = strings.TrimSpace(line)
		switch {
		case i == 0:
		case header && headers:
			header = line != ""
		case strings.HasPrefix(line, "="): // the checksum
		default:
			data.WriteString(line)
		}
	}
	packets, err := base64.StdEncoding.DecodeString(data.String())
	if err != nil {
		return errors.New("its PGP message is broken: it is not base64 (RFC 9580 section 6)")
	}
	return pgpPackets(packets)
}

// Types of packets (RFC 9580 section 5).
const (
	pgpKeyForPublic   = 1
	pgpKeyForPassword = 3
	pgpEncrypted      = 9
	pgpMarker         = 10
	pgpIntegrity      = 18
	pgpAEAD           = 20 // of GnuPG
	pgpPadding        = 21
)

// pgpPackets checks that a sequence of packets (RFC 9580 section 4) is encrypted: keys for its readers, and encrypted
// data.
func pgpPackets(data []byte) error {
	for first := true; len(data) > 0; first = false {
		if data[0]&0x80 == 0 {
			return errors.New("its PGP message is broken: it does not consist of packets (RFC 9580 section 4.2)")
		}
		kind, length, header := int(data[0]>>2&0x0f), 0, 0
		switch {
		case data[0]&0x40 != 0: // the current format
			kind = int(data[0] & 0x3f)
			switch {
			case len(data) < 2:
			case data[1] < 192:
				length, header = int(data[1]), 2
			case data[1] < 224 && len(data) >= 3:
				length, header = int(data[1]-192)<<8+int(data[2])+192, 3
			case data[1] == 255 && len(data) >= 6:
				length, header = int(binary.BigEndian.Uint32(data[2:])), 6
			case data[1] >= 224 && data[1] < 255: // the first piece of several
				length, header = 1<<(data[1]&0x1f), 2
			}
		case data[0]&3 == 0 && len(data) >= 2:
			length, header = int(data[1]), 2
		case data[0]&3 == 1 && len(data) >= 3:
			length, header = int(binary.BigEndian.Uint16(data[1:])), 3
		case data[0]&3 == 2 && len(data) >= 5:
			length, header = int(binary.BigEndian.Uint32(data[1:])), 5
		case data[0]&3 == 3: // up to the end
			length, header = len(data)-1, 1
		}
		switch kind {
		case pgpEncrypted, pgpIntegrity, pgpAEAD:
			switch {
			case header == 0, length > len(data)-header:
				return errors.New("its PGP message is broken: it is cut off")
			case length == 0:
				return errors.New("its PGP message is broken: it has no encrypted data")
			}
			return nil
		case pgpKeyForPublic, pgpKeyForPassword, pgpMarker, pgpPadding:
		default:
			if first {
				return fmt.Errorf("its PGP message is not encrypted (it begins with packet %d: signed or compressed only)", kind)
			}
			return fmt.Errorf("its PGP message is not encrypted (packet %d follows the keys)", kind)
		}
		if header == 0 || length > len(data)-header {
			return errors.New("its PGP message is broken: it is cut off")
		}
		data = data[header+length:]
	}
	return errors.New("its PGP message is broken: it has no encrypted data")
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
