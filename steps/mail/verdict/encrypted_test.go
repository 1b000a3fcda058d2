package verdict

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/message"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

// packets returns an OpenPGP packet that begins with this byte, and one of encrypted data after it.
func packets(first byte) []byte {
	packet := []byte{first, 1, 0}
	if first&0x40 == 0 && first&3 == 1 { // a length of two bytes
		packet = []byte{first, 0, 1, 0}
	}
	return append(packet, 0xd2, 1, 1)
}

// armor returns an armored message of packets.
func armor(first byte) string { return armored(packets(first)) }

func armored(packets []byte) string {
	return "-----BEGIN PGP MESSAGE-----\r\nComment: x\r\n\r\n" + base64.StdEncoding.EncodeToString(packets) + "\r\n=abcd\r\n-----END PGP MESSAGE-----\r\n"
}

// cms returns the start of a CMS structure with a content type, given by the bytes of its object identifier.
func cms(oid string) string {
	return base64.StdEncoding.EncodeToString([]byte("\x30\x82\x01\x00\x06" + string(rune(len(oid))) + oid + "\xa0\x82\x00\xf0"))
}

func pgpMIMEMessage(first, second, content string) string {
	return "Content-Type: multipart/encrypted; boundary=b;\r\n protocol=\"application/pgp-encrypted\"\r\n\r\n--b\r\nContent-Type: " + first +
		"\r\n\r\nVersion: 1\r\n--b\r\nContent-Type: " + second + "\r\n\r\n" + content + "\r\n--b--\r\n"
}

func TestEncrypted(t *testing.T) {
	deep := "Content-Type: text/plain\r\n\r\nx"
	for i := range nestedLimit.Most + 1 {
		deep = fmt.Sprintf("Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%[1]d\r\n%s\r\n--b%[1]d--\r\n", i, deep)
	}
	empty := strings.Repeat("--b\r\nContent-Type: text/plain\r\n\r\n\r\n", int(message.PartLimit.Most))
	many := "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + empty + "--b\r\nContent-Type: text/plain\r\n\r\nreadable\r\n--b--\r\n"
	smime := func(content string) string {
		return "Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m\r\nContent-Transfer-Encoding: base64\r\n\r\n" + content + "\r\n"
	}
	const pkcs7 = "\x2a\x86\x48\x86\xf7\x0d\x01"
	pgp := pgpMIMEMessage("application/pgp-encrypted", "application/octet-stream", armor(0xc1))
	for name, c := range map[string]struct{ message, step, want string }{
		"nested too deep":        {deep, "it is encrypted", "whether the message is encrypted is unknown: what is to be encrypted has more than 8 levels of multiparts, the limit (too_large, blame submission)"},
		"many parts":             {many, "it is encrypted", "whether the message is encrypted is unknown: a multipart has more than 10000 parts, the limit (too_large, blame submission)"},
		"PGP/MIME":               {pgp, "it is encrypted", ""},
		"PGP/MIME by name":       {pgp, "it is encrypted with OpenPGP", ""},
		"inline":                 {"Subject: x\r\n\r\n" + armor(0x85), "it is encrypted with OpenPGP", ""},
		"inline, by password":    {"Content-Type: text/plain; charset=utf-8\r\n\r\n" + armor(0x8c), "it is encrypted", ""},
		"inline, base64":         {"Content-Transfer-Encoding: base64\r\n\r\n" + base64.StdEncoding.EncodeToString([]byte(armor(0xd2))), "it is encrypted", ""},
		"enveloped":              {smime(cms(pkcs7 + "\x07\x03")), "it is encrypted with S/MIME", ""},
		"authenticated":          {smime(cms(pkcs7 + "\x09\x10\x01\x17")), "it is encrypted with S/MIME", ""},
		"signed with S/MIME":     {smime(cms(pkcs7 + "\x07\x02")), "it is encrypted with S/MIME", "the message is not encrypted: its S/MIME part is signed only (unexpected, blame submission)"},
		"compressed with S/MIME": {smime(cms(pkcs7 + "\x09\x10\x01\x09")), "it is encrypted", "the message is not encrypted: its S/MIME part is compressed only (unexpected, blame submission)"},
		"other S/MIME":           {smime(cms(pkcs7 + "\x07\x01")), "it is encrypted", "the message is not encrypted: its S/MIME part is of a kind that is not encrypted (unexpected, blame submission)"},
		"broken S/MIME":          {smime("aGVsbG8="), "it is encrypted", "the message is not encrypted: its S/MIME part is broken (unexpected, blame submission)"},
		"the other kind":         {pgp, "it is encrypted with S/MIME", "the message is encrypted with OpenPGP, wanted S/MIME (unexpected, blame submission)"},
		"plain":                  {"Subject: x\r\n\r\nHello\r\n", "it is encrypted", "the message is not encrypted: its text is readable and has no PGP message (unexpected, blame submission)"},
		"HTML":                   {"Content-Type: text/html\r\n\r\n<p>Hello</p>\r\n", "it is encrypted", "the message is not encrypted: its content is text/html (unexpected, blame submission)"},
		"text beside":            {"Subject: x\r\n\r\nHello\r\n" + armor(0x85), "it is encrypted", "the message is not encrypted: it also has readable text besides the PGP message (unexpected, blame submission)"},
		"no end":                 {"Subject: x\r\n\r\n" + strings.TrimSuffix(armor(0x85), "-----END PGP MESSAGE-----\r\n"), "it is encrypted", "the message is not encrypted: its PGP message has no end (unexpected, blame submission)"},
		"signed with OpenPGP":    {"Subject: x\r\n\r\n" + armor(0x90), "it is encrypted", "the message is not encrypted: its PGP message is not encrypted (it begins with packet 4: signed or compressed only) (unexpected, blame submission)"},
		"broken PGP":             {"Subject: x\r\n\r\n" + armor(0x05), "it is encrypted", "the message is not encrypted: its PGP message is broken: it does not consist of packets (RFC 9580 section 4.2) (unexpected, blame submission)"},
		"only said so":           {pgpMIMEMessage("application/pgp-encrypted", "application/octet-stream", "Hello"), "it is encrypted", "the message is not encrypted: its text is readable and has no PGP message (unexpected, blame submission)"},
		"other parts":            {pgpMIMEMessage("text/plain", "text/plain", "Hello"), "it is encrypted", `the message is not encrypted: part 1 of its multipart/encrypted is "text/plain", wanted application/pgp-encrypted (unexpected, blame submission)`},
		"no parts":               {"Content-Type: multipart/encrypted; protocol=\"application/pgp-encrypted\"; boundary=b\r\n\r\nHello\r\n", "it is encrypted", "the message is not encrypted: its multipart/encrypted has 0 parts, wanted 2 (RFC 3156 section 4) (unexpected, blame submission)"},
		"another protocol":       {"Content-Type: multipart/encrypted; protocol=x; boundary=b\r\n\r\n", "it is encrypted", `the message is not encrypted: its multipart/encrypted is for "x", not application/pgp-encrypted (RFC 3156 section 4) (unexpected, blame submission)`},
		"no version part":        {"Content-Type: multipart/encrypted; protocol=\"application/pgp-encrypted\"; boundary=b\r\n\r\n--b\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n--b--\r\n", "it is encrypted", "the message is not encrypted: its multipart/encrypted has 1 parts, wanted 2 (RFC 3156 section 4) (unexpected, blame submission)"},
		"a readable third part":  {strings.Replace(pgp, "--b--", "--b\r\nContent-Type: text/plain\r\n\r\nfooter\r\n--b--", 1), "it is encrypted", "the message is not encrypted: its multipart/encrypted has 3 parts, wanted 2 (RFC 3156 section 4) (unexpected, blame submission)"},
		"not armored":            {pgpMIMEMessage("application/pgp-encrypted", "application/octet-stream", string(packets(0xc1))), "it is encrypted with OpenPGP", ""},
		"boundary twice":         {strings.Replace(pgp, "boundary=b;", "boundary=b; boundary=b;", 1), "it is encrypted", ""},
		"a list's footer":        {"Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\n" + pgp + "\r\n--o\r\nContent-Type: text/plain\r\n\r\nSent by a list\r\n--o--\r\n", "it is encrypted", "the message is not encrypted: part 2 of 2 of its multipart/mixed: its content is text/plain (unexpected, blame submission)"},
		"signed outside":         {"Content-Type: multipart/signed; boundary=o\r\n\r\n--o\r\n" + pgp + "\r\n--o\r\nContent-Type: application/pgp-signature\r\n\r\nx\r\n--o--\r\n", "it is encrypted with OpenPGP", ""},
		"broken by Exchange":     {"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\n\r\n--b\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n--b\r\nContent-Type: application/octet-stream; name=encrypted.asc\r\n\r\n" + armor(0xc1) + "\r\n--b--\r\n", "it is encrypted with OpenPGP", ""},
		"inline, each part":      {"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\n" + armor(0xc1) + "\r\n--b\r\nContent-Type: application/octet-stream; name=a.pgp\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.StdEncoding.EncodeToString(packets(0xc1)) + "\r\n--b--\r\n", "it is encrypted with OpenPGP", ""},
		"an attachment in clear": {"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\n" + armor(0xc1) + "\r\n--b\r\nContent-Type: application/pdf\r\n\r\n%PDF\r\n--b--\r\n", "it is encrypted", "the message is not encrypted: part 2 of 2 of its multipart/mixed: its content is application/pdf (unexpected, blame submission)"},
		"only an HTML part":      {"Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\n" + armor(0xc1) + "\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>Hello</p>\r\n--b--\r\n", "it is encrypted", "the message is not encrypted: part 2 of 2 of its multipart/alternative: its content is text/html (unexpected, blame submission)"},
		"S/MIME as a file":       {strings.Replace(smime(cms(pkcs7+"\x07\x03")), "application/pkcs7-mime", "application/octet-stream", 1), "it is encrypted with S/MIME", ""},
		"keys and clear text":    {"Subject: x\r\n\r\n" + armored([]byte{0xc1, 1, 0, 0xcb, 1, 1}), "it is encrypted", "the message is not encrypted: its PGP message is not encrypted (packet 11 follows the keys) (unexpected, blame submission)"},
		"cut off":                {"Subject: x\r\n\r\n" + armored([]byte{0xc1, 1, 0, 0xd2, 100, 1}), "it is encrypted", "the message is not encrypted: its PGP message is broken: it is cut off (unexpected, blame submission)"},
		"keys alone":             {"Subject: x\r\n\r\n" + armored([]byte{0xc1, 1, 0}), "it is encrypted", "the message is not encrypted: its PGP message is broken: it has no encrypted data (unexpected, blame submission)"},
		"no base64":              {"Subject: x\r\n\r\n" + strings.Replace(armor(0xc1), "wQ", "w!", 1), "it is encrypted", "the message is not encrypted: its PGP message is broken: it is not base64 (RFC 9580 section 6) (unexpected, blame submission)"},
	} {
		t.Run(name, func(t *testing.T) {
			fixture.WantFailure(t, fixture.Perform(t, worldWith(&steps.Target{}, &steps.Account{}, c.message), c.step), c.want)
		})
	}
}

// FuzzPGP checks that no packets end the program, and that what counts as encrypted has encrypted data.
func FuzzPGP(f *testing.F) {
	f.Add(packets(0xc1))
	f.Add(packets(0x85))
	f.Add([]byte{0xd2, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := pgpPackets(data); err == nil && len(data) < 2 {
			t.Errorf("%x counts as encrypted", data)
		}
		_ = pgpArmor(data)
	})
}
