package content_test

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/stepwatch/stepwatch/steps/content"
	"github.com/stepwatch/stepwatch/steps/limit"
)

func everything() *content.Message {
	return &content.Message{
		Headers: []content.Header{
			{Name: "From", Value: `Jörg Müller <joerg@example.org>, "Doe, J." <j@example.org>`},
			{Name: "To", Value: "bob@example.org"},
			{Name: "Subject", Value: strings.Repeat("Größe über alles, ", 12) + "Ende"},
			{Name: "References", Value: strings.Repeat("<1234567890@example.org> ", 9) + "<x@example.org>"},
		},
		Text: "Zeile 1\n.\n\n" + strings.Repeat("ä", 1200) + "\n",
		Attachments: []content.Attachment{
			{Name: "Rechnung Nr. 7 – März.pdf", Content: bytes.Repeat([]byte{0, 1, 255, '\r', '\n'}, 1000)},
			{Name: "empty.txt"},
			{Name: "mail.eml", Content: []byte("Subject: x\n\ny")},
			{Name: "page.html", Type: "text/html; charset=utf-8", Content: []byte("<p>ä")},
		},
	}
}

// A written message passes every server (RFC 5322 section 2.1.1) and is read back unchanged.
func TestWriteAndRead(t *testing.T) {
	sent := everything()
	raw, err := sent.Write()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(string(raw), "\r\n"), "\r\n") {
		if len(line) > 998 || strings.ContainsAny(line, "\r\n") || strings.ContainsFunc(line, func(r rune) bool { return r > 126 }) {
			t.Errorf("line %q", line)
		}
	}
	header, _, _ := strings.Cut(string(raw), "\r\n\r\n")
	for line := range strings.SplitSeq(header, "\r\n") {
		if len(line) > 90 {
			t.Errorf("the header has a line of %d bytes: %s", len(line), line)
		}
	}
	if !strings.Contains(header, "From: =?utf-8?q?J=C3=B6rg_M=C3=BCller?= <joerg@example.org>,") {
		t.Errorf("an address must not be encoded (RFC 2047 section 5):\n%s", header)
	}
	arrived, err := content.Read(raw)
	if err != nil {
		t.Fatal(err)
	}
	if arrived.Text != sent.Text {
		t.Errorf("text is %q", arrived.Text)
	}
	for _, h := range sent.Headers[1:] {
		if got := first(arrived, h.Name); got != h.Value {
			t.Errorf("%s is %q, want %q", h.Name, got, h.Value)
		}
	}
	if len(arrived.Attachments) != len(sent.Attachments) {
		t.Fatalf("%d attachments", len(arrived.Attachments))
	}
	types := []string{"application/pdf", "text/plain", "application/octet-stream", "text/html"}
	for i, a := range arrived.Attachments {
		if a.Name != sent.Attachments[i].Name || !bytes.Equal(a.Content, sent.Attachments[i].Content) || a.Type != types[i] {
			t.Errorf("attachment %q of type %s has %d bytes", a.Name, a.Type, len(a.Content))
		}
	}
	original, err := content.Read(raw)
	if err != nil {
		t.Fatal(err)
	}
	if c := content.Changed(original, arrived); c != "" {
		t.Error(c)
	}
}

func first(m *content.Message, name string) string {
	for _, h := range m.Headers {
		if h.Name == name {
			return h.Value
		}
	}
	return ""
}

// TestAttachmentNames reads names that mail programs write against RFC 2045, and show.
func TestAttachmentNames(t *testing.T) {
	for disposition, want := range map[string]string{
		"attachment; filename=report(1).pdf":                                  "report(1).pdf",
		"attachment; filename=a@b.pdf":                                        "a@b.pdf",
		"attachment; filename=two words.pdf":                                  "two words.pdf",
		"attachment;\r\n filename*0=\"a long \";\r\n filename*1=\"name.pdf\"": "a long name.pdf",
		"attachment; filename*0*=utf-8''%e2%82; filename*1*=%ac.pdf":          "€.pdf",
		`attachment; filename="=?utf-8?q?=E2=82=AC.pdf?="`:                    "€.pdf",
		"attachment; filename=a.pdf; filename=b.pdf":                          "a.pdf",
	} {
		m, err := content.Read([]byte("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\ntext\r\n--b\r\nContent-Type: application/pdf\r\nContent-Disposition: " + disposition + "\r\n\r\nx\r\n--b--\r\n"))
		if err != nil || len(m.Attachments) != 1 || m.Attachments[0].Name != want {
			t.Errorf("%q: %+v, %v, wanted %q", disposition, m, err, want)
		}
	}
}

// TestTransferEncodings reads encodings as mail programs do, whatever follows their names.
func TestTransferEncodings(t *testing.T) {
	for encoding, body := range map[string]string{"BASE64": "dGV4dA==", "base64;": "dGV4dA==", "base64 (as it is)": "dGV4dA==", " quoted-printable ": "te=78t", "7bit": "text", "utf-8": "text", "none": "text", "": "text"} {
		m, err := content.Read([]byte("Content-Type: text/plain\r\nContent-Transfer-Encoding: " + encoding + "\r\n\r\n" + body))
		if err != nil || m.Text != "text" {
			t.Errorf("%q: %+v, %v", encoding, m, err)
		}
	}
}

// An address outside US-ASCII is written to the header unencoded (RFC 6532), and nothing else is.
func TestInternationalAddress(t *testing.T) {
	raw, err := (&content.Message{Headers: []content.Header{{Name: "From", Value: "jörg@example.org"}, {Name: "To", Value: "Jörg <jörg@example.org>"}}}).Write()
	if err != nil || !strings.HasPrefix(string(raw), "From: jörg@example.org\r\nTo: =?utf-8?q?J=C3=B6rg?= <jörg@example.org>\r\n") {
		t.Errorf("got %s %v", raw, err)
	}
}

func TestWriteRefuses(t *testing.T) {
	for want, m := range map[string]content.Message{
		`"a b" is not the name of a header`:                                                {Headers: []content.Header{{Name: "a b", Value: "x"}}},
		`the header X contains a line break or another control character: "a\nB: c"`:       {Headers: []content.Header{{Name: "X", Value: "a\nB: c"}}},
		`the header X has a word of more than 998 bytes`:                                   {Headers: []content.Header{{Name: "X", Value: strings.Repeat("x", 999)}}},
		`the header To is not a list of addresses: "jörg"`:                                 {Headers: []content.Header{{Name: "To", Value: "jörg"}}},
		`"a/b" is not a valid name for an attachment: use 1 to 200 bytes, without a slash`: {Attachments: []content.Attachment{{Name: "a/b"}}},
	} {
		if _, err := m.Write(); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// Differences that a reader does not notice are not changes; those that a reader notices are reported.
func TestChanged(t *testing.T) {
	const sent = "Subject: Grüße\r\nDate: now\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" +
		"--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nHallo\r\nWelt ä\r\n\r\n" +
		"--b\r\nContent-Disposition: attachment; filename=a.bin\r\nContent-Transfer-Encoding: base64\r\n\r\nAAEC\r\n--b--\r\n"
	const alone = "Subject: s\n\none\ntwo\n"
	for _, test := range []struct{ name, sent, old, new, want string }{
		{"nothing", sent, "", "", ""},
		{"folding, more headers", sent, "Subject: Grüße\r\n", "Received: from x\r\n by y\r\nSubject:\r\n =?iso-8859-1?q?Gr=FC=DFe?=\r\n", ""},
		{"another charset", sent, "charset=utf-8\r\n\r\nHallo\r\nWelt ä", "charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nHallo\r\nWelt =E4", ""},
		{"another way to write a name", sent, "Content-Disposition: attachment; filename=a.bin", "Content-Type: application/x; name=\"=?utf-8?q?a.bin?=\"", ""},
		{"an empty line", alone, "two\n", "two\n\n", ""},
		{"a header", sent, "Subject: Grüße", "Subject: [SPAM] Grüße", `the header Subject is "[SPAM] Grüße"; it was "Grüße"`},
		{"no header", sent, "Date: now\r\n", "", `the header Date is gone; it was "now"`},
		{"a line", sent, "Welt ä", "Welt ?", `line 2 of the text is "Welt ?"; it was "Welt ä"`},
		{"a footer", alone, "two\n", "two\n\n--\nchecked\n", `after its end the text continues with "--\nchecked"`},
		{"cut off", alone, "\ntwo", "", `the text ends before line 2, which was "two"`},
		{"a byte", sent, "AAEC", "AAED", `the attachment "a.bin" has 3 bytes (SHA-256 b744d600fbe3…); it had 3 bytes (SHA-256 ae4b3280e56e…)`},
		{"another name", sent, "a.bin", "b.bin", `the attachment "a.bin" is gone: the message has "b.bin"`},
		{"no attachment", sent, "Content-Disposition: attachment; filename=a.bin\r\n", "", `the attachment "a.bin" is gone: the message has none`},
		{"one more attachment", sent, "--b--", "--b\r\nContent-Disposition: attachment; filename=c\r\n\r\nx\r\n--b--", `it has 2 attachments, but 1 were sent`},
	} {
		t.Run(test.name, func(t *testing.T) {
			before, err := content.Read([]byte(test.sent))
			if err != nil {
				t.Fatal(err)
			}
			after, err := content.Read([]byte(strings.Replace(test.sent, test.old, test.new, 1)))
			if err != nil {
				t.Fatal(err)
			}
			if got := content.Changed(before, after); string(got) != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

// TestReadRefuses checks what is no content: broken messages, and those that exceed depthLimit or partLimit.
func TestReadRefuses(t *testing.T) {
	deep := "Content-Type: text/plain\n\nx"
	for i := range 12 {
		deep = fmt.Sprintf("Content-Type: multipart/mixed; boundary=b%d\n\n--b%[1]d\n%s\n--b%[1]d--\n", i, deep)
	}
	for want, raw := range map[string]string{
		`a multipart without a boundary`:                               "Content-Type: multipart/mixed\n\nx",
		`the message has more than 10 levels of multiparts, the limit`: deep,
		`unexpected EOF`:      "Content-Type: multipart/mixed; boundary=b\n\n--b\n\nx",
		`illegal base64 data`: "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Disposition: attachment; filename=x\nContent-Transfer-Encoding: base64\n\n=AAA\n--b--\n",
		`the message has more than 200 parts, the limit`: "Content-Type: multipart/mixed; boundary=b\n\n" + strings.Repeat("--b\n\nx\n", 201) + "--b--\n",
	} {
		if m, err := content.Read([]byte(raw)); !errors.Is(err, content.ErrShape) && !errors.As(err, new(*limit.Error)) || !regexp.MustCompile(regexp.QuoteMeta(want)).MatchString(err.Error()) {
			t.Errorf("got %v, %v, want %s", m, err, want)
		}
	}
}

func FuzzRead(f *testing.F) {
	raw, err := everything().Write()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte("\n\n"))
	f.Add([]byte("Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain; charset=utf-7\n\nx\n--b--"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := content.Read(raw)
		if err != nil {
			return
		}
		if c := content.Changed(m, m); c != "" {
			t.Errorf("not equal to itself: %s", c)
		}
		_, _ = m.Write() // must not panic; a header that was read may not be valid for writing
	})
}
