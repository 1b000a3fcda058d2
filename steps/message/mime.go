package message

import (
	"bytes"
	"encoding/base64"
	"io"
	"mime/quotedprintable"
	"strings"
)

// ContentType returns the media type in lower case and the parameters of a Content-Type field (RFC 2045 section 5.1).
// It is lenient, because the standard library drops all parameters for one that it cannot read, and with them the
// boundary. An empty type is text/plain, as RFC 2045 section 5.2 has it. Of a parameter that is there twice the first
// counts.
func ContentType(value string) (kind string, parameters map[string]string) {
	parameters = make(map[string]string)
	kind, rest := cutUnquoted(value, ';')
	kind = strings.ToLower(strings.TrimSpace(withoutComments(kind)))
	if kind == "" || strings.Count(kind, "/") != 1 {
		kind = "text/plain"
	}
	for rest != "" {
		var parameter string
		parameter, rest = cutUnquoted(rest, ';')
		name, content, found := strings.Cut(parameter, "=")
		name = strings.ToLower(strings.TrimSpace(name))
		if _, twice := parameters[name]; found && name != "" && !twice {
			parameters[name] = unquoted(content)
		}
	}
	return kind, parameters
}

// cutUnquoted splits text at the first separator that is not in quotes.
func cutUnquoted(text string, separator byte) (before, after string) {
	quotes := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quotes && c == '\\':
			i++
		case c == '"':
			quotes = !quotes
		case c == separator && !quotes:
			return text[:i], text[i+1:]
		}
	}
	return text, ""
}

// unquoted returns the value of a parameter: the content of its quotes, or the text up to white space.
func unquoted(text string) string {
	text = strings.TrimSpace(text)
	inside, quoted := strings.CutPrefix(text, `"`)
	if !quoted {
		word, _, _ := strings.Cut(withoutComments(text), " ")
		return strings.TrimSpace(word)
	}
	var b strings.Builder
	for i := 0; i < len(inside) && inside[i] != '"'; i++ {
		if inside[i] == '\\' && i+1 < len(inside) {
			i++
		}
		b.WriteByte(inside[i])
	}
	return b.String()
}

// withoutComments removes comments (RFC 5322 section 3.2.2).
func withoutComments(text string) string {
	if !strings.Contains(text, "(") {
		return text
	}
	var b strings.Builder
	depth := 0
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && depth > 0:
			i++
		case c == '(':
			depth++
		case c == ')' && depth > 0:
			depth--
		case depth == 0:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// Parts splits the body of a multipart by its boundary (RFC 2046 section 5.1.1). The last part may have no end, as in a
// message that was cut off. Without a boundary, or without a line that has it, there are no parts.
func Parts(body []byte, boundary string) (parts [][]byte) {
	if boundary = strings.TrimRight(boundary, " "); boundary == "" {
		return nil
	}
	delimiter := []byte("--" + boundary)
	begin := -1 // of the current part
	for at := 0; at < len(body); {
		end := len(body)
		if i := bytes.IndexByte(body[at:], '\n'); i >= 0 {
			end = at + i + 1
		}
		after, found := bytes.CutPrefix(body[at:end], delimiter)
		last := bytes.HasPrefix(after, []byte("--"))
		if found && len(bytes.TrimSpace(bytes.TrimPrefix(after, []byte("--")))) == 0 {
			if begin >= 0 {
				parts = append(parts, bytes.TrimSuffix(bytes.TrimSuffix(body[begin:at], []byte("\n")), []byte("\r")))
			}
			if begin = end; last {
				return parts
			}
		}
		at = end
	}
	if begin >= 0 {
		parts = append(parts, body[min(begin, len(body)):])
	}
	return parts
}

// Decoded removes the transfer encoding of a part (RFC 2045 section 6). It returns the content up to the first invalid
// byte.
func Decoded(header Header, body []byte) []byte {
	var r io.Reader = bytes.NewReader(body)
	switch strings.ToLower(strings.TrimSpace(withoutComments(header.Line("Content-Transfer-Encoding")))) {
	case "base64":
		r = base64.NewDecoder(base64.StdEncoding, r)
	case "quoted-printable":
		r = quotedprintable.NewReader(r)
	default:
		return body
	}
	content, _ := io.ReadAll(r) // invalid input ends the content
	return content
}
