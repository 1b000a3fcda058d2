package verdict

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

// armor returns an armored message with an OpenPGP packet that begins with this byte.
func armor(first byte) string {
	return "-----BEGIN PGP MESSAGE-----\r\nComment: x\r\n\r\n" + base64.StdEncoding.EncodeToString([]byte{first, 3, 2, 1}) + "\r\n=abcd\r\n-----END PGP MESSAGE-----\r\n"
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
	smime := func(content string) string {
		return "Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m\r\nContent-Transfer-Encoding: base64\r\n\r\n" + content + "\r\n"
	}
	const pkcs7 = "\x2a\x86\x48\x86\xf7\x0d\x01"
	pgp := pgpMIMEMessage("application/pgp-encrypted", "application/octet-stream", armor(0xc1))
	for name, c := range map[string]struct{ message, step, want string }{
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
		"broken PGP":             {"Subject: x\r\n\r\n" + armor(0x05), "it is encrypted", "the message is not encrypted: its PGP message is broken (unexpected, blame submission)"},
		"only said so":           {pgpMIMEMessage("application/pgp-encrypted", "application/octet-stream", "Hello"), "it is encrypted", "the message is not encrypted: its text is readable and has no PGP message (unexpected, blame submission)"},
		"other parts":            {pgpMIMEMessage("text/plain", "text/plain", "Hello"), "it is encrypted", `the message is not encrypted: part 1 of its multipart/encrypted is "text/plain", wanted application/pgp-encrypted (unexpected, blame submission)`},
		"no parts":               {"Content-Type: multipart/encrypted; protocol=\"application/pgp-encrypted\"; boundary=b\r\n\r\nHello\r\n", "it is encrypted", "the message is not encrypted: part 1 of its multipart/encrypted: multipart: NextPart: EOF (unexpected, blame submission)"},
		"another protocol":       {"Content-Type: multipart/encrypted; protocol=x; boundary=b\r\n\r\n", "it is encrypted", `the message is not encrypted: its multipart/encrypted is for "x", not application/pgp-encrypted (unexpected, blame submission)`},
	} {
		t.Run(name, func(t *testing.T) {
			fixture.WantFailure(t, fixture.Perform(t, worldWith(&steps.Target{}, &steps.Account{}, c.message), c.step), c.want)
		})
	}
}
