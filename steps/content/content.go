// Package content writes the content of a mail message (headers, text and attachments), reads it back from a received
// message, and reports what was changed on the way.
//
// It follows RFC 5322, MIME (RFC 2045 to 2047, RFC 2231) and, for addresses outside US-ASCII, RFC 6532. A written
// message passes every server unchanged: lines end in CRLF, have at most 998 bytes and, except addresses, only
// US-ASCII. Differences that a reader does not notice (another transfer encoding, another charset, other folding) are
// not changes. Signatures, encryption and all but the first alternative of a multipart/alternative are ignored.
package content

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"net/textproto"
	"path"
	"strings"
	"unicode/utf8"
)

// Message is the content of a message.
type Message struct {
	Headers     []Header // in the order of writing, without those of MIME
	Text        string   // lines end in "\n"
	TextType    string   // media type of Text, with charset=utf-8; empty means text/plain
	Attachments []Attachment
}

// Header is one field, with its value unfolded and decoded.
type Header struct{ Name, Value string }

// Attachment is a file in a message.
type Attachment struct {
	Name    string // without a directory
	Type    string // media type; empty means the one for the name's extension
	Content []byte
}

const lineLimit = 998 // bytes, without CRLF (RFC 5322 section 2.1.1)

// Write returns the message as sent over the wire.
func (m *Message) Write() ([]byte, error) {
	var b bytes.Buffer
	for _, h := range m.Headers {
		if err := h.write(&b); err != nil {
			return nil, err
		}
	}
	textType := m.TextType
	if textType == "" {
		textType = "text/plain; charset=utf-8"
	}
	encoding, text := encodeText(m.Text)
	if len(m.Attachments) == 0 {
		err := writeAll(&b, Header{"MIME-Version", "1.0"}, Header{"Content-Type", textType}, Header{"Content-Transfer-Encoding", encoding})
		b.WriteString("\r\n")
		b.Write(text)
		return b.Bytes(), err
	}
	parts := multipart.NewWriter(&b)
	if err := writeAll(&b, Header{"MIME-Version", "1.0"}, Header{"Content-Type", `multipart/mixed; boundary="` + parts.Boundary() + `"`}); err != nil {
		return nil, err
	}
	b.WriteString("\r\n")
	if err := writePart(parts, textproto.MIMEHeader{"Content-Type": {textType}, "Content-Transfer-Encoding": {encoding}}, text); err != nil {
		return nil, err
	}
	for _, a := range m.Attachments {
		header, err := a.header()
		if err != nil {
			return nil, err
		}
		if err := writePart(parts, header, encodeBase64(a.Content)); err != nil {
			return nil, err
		}
	}
	err := parts.Close()
	return b.Bytes(), err
}

func writeAll(b *bytes.Buffer, headers ...Header) error {
	for _, h := range headers {
		if err := h.write(b); err != nil {
			return err
		}
	}
	return nil
}

func writePart(parts *multipart.Writer, header textproto.MIMEHeader, content []byte) error {
	w, err := parts.CreatePart(header)
	if err == nil {
		_, err = w.Write(content)
	}
	return err
}

// nameLimit keeps the name of an attachment within a line; each byte may be encoded as three.
const nameLimit = 200

func (a *Attachment) header() (textproto.MIMEHeader, error) {
	if a.Name == "" || len(a.Name) > nameLimit || !utf8.ValidString(a.Name) || strings.ContainsFunc(a.Name, isControl) || strings.ContainsAny(a.Name, `/\`) {
		return nil, fmt.Errorf("%q is not a valid name for an attachment: use 1 to %d bytes, without a slash", a.Name, nameLimit)
	}
	kind := a.Type
	if kind == "" {
		kind = mime.TypeByExtension(path.Ext(a.Name))
	}
	// Messages and multiparts must not be encoded in base64 (RFC 2045 section 6.4), so they are sent as files of
	// unknown type.
	if kind == "" || strings.HasPrefix(kind, "message/") || strings.HasPrefix(kind, "multipart/") {
		kind = "application/octet-stream"
	}
	return textproto.MIMEHeader{
		"Content-Type":              {kind},
		"Content-Disposition":       {mime.FormatMediaType("attachment", map[string]string{"filename": a.Name})},
		"Content-Transfer-Encoding": {"base64"},
	}, nil
}

// addressFields are fields with a list of addresses, in which only names can be encoded (RFC 2047 section 5).
var addressFields = map[string]bool{"from": true, "sender": true, "reply-to": true, "to": true, "cc": true, "bcc": true}

// write writes the field, folded at white space to 78 columns where that is possible (RFC 5322 section 2.2.3).
func (h Header) write(b *bytes.Buffer) error {
	switch {
	case h.Name == "" || strings.ContainsFunc(h.Name, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == ':' }):
		return fmt.Errorf("%q is not the name of a header", h.Name)
	case strings.ContainsFunc(h.Value, func(r rune) bool { return isControl(r) && r != '\t' }):
		return fmt.Errorf("the header %s contains a line break or another control character: %q", h.Name, h.Value)
	}
	value := h.Value
	switch {
	case isASCII(value):
	case addressFields[strings.ToLower(h.Name)]:
		list, err := mail.ParseAddressList(value)
		if err != nil {
			return fmt.Errorf("the header %s is not a list of addresses: %q", h.Name, value)
		}
		written := make([]string, len(list))
		for i, address := range list {
			written[i] = address.String()
			if address.Name == "" {
				written[i] = strings.Trim(written[i], "<>")
			}
		}
		value = strings.Join(written, ", ")
	default:
		value = mime.QEncoding.Encode("utf-8", value)
	}
	line := h.Name + ":"
	for _, word := range strings.Split(value, " ") {
		if len(line)+1+len(word) > 78 && strings.TrimSpace(line) != "" && !strings.HasSuffix(line, ":") {
			b.WriteString(line + "\r\n")
			line = ""
		}
		if line += " " + word; len(line) > lineLimit {
			return fmt.Errorf("the header %s has a word of more than %d bytes", h.Name, lineLimit)
		}
	}
	b.WriteString(line + "\r\n")
	return nil
}

// encodeText returns the text with CRLF line endings and its transfer encoding: none, or quoted-printable when it
// contains more than US-ASCII or lines too long for SMTP (RFC 5321 section 4.5.3.1.6).
func encodeText(text string) (encoding string, body []byte) {
	text = strings.ReplaceAll(text, "\r\n", "\n")
	if !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	plain := isASCII(text) && !strings.ContainsAny(text, "\r\x00")
	for line := range strings.SplitSeq(text, "\n") {
		plain = plain && len(line) <= lineLimit
	}
	if plain {
		return "7bit", []byte(strings.ReplaceAll(text, "\n", "\r\n"))
	}
	var b bytes.Buffer
	q := quotedprintable.NewWriter(&b)
	_, _ = io.WriteString(q, text) // writing to memory does not fail
	_ = q.Close()
	return "quoted-printable", b.Bytes()
}

// encodeBase64 returns the content in lines of 76 characters (RFC 2045 section 6.8).
func encodeBase64(content []byte) []byte {
	const width = 76
	letters := base64.StdEncoding.EncodeToString(content)
	var b bytes.Buffer
	b.Grow(len(letters) + len(letters)/width*2 + 2)
	for len(letters) > 0 {
		n := min(width, len(letters))
		b.WriteString(letters[:n] + "\r\n")
		letters = letters[n:]
	}
	return b.Bytes()
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
