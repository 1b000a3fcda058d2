package form

import (
	"bytes"
	"fmt"
	"mime"
	"mime/multipart"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/text/encoding"
)

// coded returns a text in an encoding. What that does not have becomes a reference such as "&#8364;" (HTML §4.10.22.8).
func coded(text string, coding encoding.Encoding) string {
	text = strings.ToValidUTF8(text, "\ufffd")
	if coding == nil {
		return text
	}
	out, err := encoding.HTMLEscapeUnsupported(coding.NewEncoder()).String(text)
	if err != nil {
		return text
	}
	return out
}

// lines converts every line ending to CRLF, as forms send it.
func lines(text string) string {
	if !strings.ContainsAny(text, "\r\n") {
		return text
	}
	text = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text)
	return strings.ReplaceAll(text, "\n", "\r\n")
}

// plain returns the value for encodings that contain no files: of a file its name.
func (e *Entry) plain() string {
	if !e.IsFile {
		return lines(e.Value)
	}
	if e.File == "" {
		return ""
	}
	return filepath.Base(e.File)
}

// URLEncoded returns the entries as application/x-www-form-urlencoded (URL §5.2).
func URLEncoded(list []Entry, coding encoding.Encoding) string {
	var b strings.Builder
	for i := range list {
		if i > 0 {
			b.WriteByte('&')
		}
		escape(&b, coded(lines(list[i].Name), coding))
		b.WriteByte('=')
		escape(&b, coded(list[i].plain(), coding))
	}
	return b.String()
}

// escape writes a text in the percent-encoding of forms, which differs from that of net/url in "*" and "~".
func escape(b *strings.Builder, text string) {
	const digits = "0123456789ABCDEF"
	for i := range len(text) {
		switch c := text[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '*', c == '-', c == '.', c == '_':
			b.WriteByte(c)
		case c == ' ':
			b.WriteByte('+')
		default:
			b.WriteByte('%')
			b.WriteByte(digits[c>>4])
			b.WriteByte(digits[c&15])
		}
	}
}

// Text returns the entries as text/plain (HTML §4.10.22.9).
func Text(list []Entry, coding encoding.Encoding) []byte {
	var b bytes.Buffer
	for i := range list {
		b.WriteString(coded(lines(list[i].Name), coding) + "=" + coded(list[i].plain(), coding) + "\r\n")
	}
	return b.Bytes()
}

// Multipart returns the entries as multipart/form-data (RFC 7578, HTML §4.10.22.8), with the content type. It reads the files.
func Multipart(list []Entry, coding encoding.Encoding) (body []byte, contentType string, err error) {
	var b bytes.Buffer
	writer := multipart.NewWriter(&b)
	quoted := strings.NewReplacer("\n", "%0A", "\r", "%0D", `"`, "%22").Replace
	for i := range list {
		e := &list[i]
		header := textproto.MIMEHeader{}
		disposition := `form-data; name="` + quoted(coded(lines(e.Name), coding)) + `"`
		var content []byte
		if e.IsFile {
			if e.File != "" {
				if content, err = os.ReadFile(e.File); err != nil {
					return nil, "", fmt.Errorf("read the attached file: %w", err)
				}
			}
			disposition += `; filename="` + quoted(coded(e.plain(), coding)) + `"`
			header.Set("Content-Type", fileType(e.plain()))
		} else {
			content = []byte(coded(lines(e.Value), coding))
		}
		header.Set("Content-Disposition", disposition)
		part, err := writer.CreatePart(header)
		if err == nil {
			_, err = part.Write(content)
		}
		if err != nil {
			return nil, "", fmt.Errorf("write the form's data: %w", err)
		}
	}
	if err := writer.Close(); err != nil {
		return nil, "", fmt.Errorf("write the form's data: %w", err)
	}
	return b.Bytes(), writer.FormDataContentType(), nil
}

// fileType returns the media type of a file by its name, as browsers do.
func fileType(name string) string {
	if kind, _, err := mime.ParseMediaType(mime.TypeByExtension(filepath.Ext(name))); err == nil {
		return kind
	}
	return "application/octet-stream"
}
