package content

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"strings"

	"golang.org/x/net/html/charset"
)

// Limits of a message; reading a larger one returns an error.
const (
	depthLimit = 10  // nested multiparts
	partLimit  = 200 // parts that are not multiparts
)

// ErrShape reports that a message is cut off, or is not a MIME message.
var ErrShape = errors.New("the message is broken")

// Read returns the content of a message. The text is the first text part that is not an attachment; a part with a file
// name is a file.
func Read(raw []byte) (*Message, error) {
	header, body := cutHeader(raw)
	m := &Message{}
	fields := readFields(header)
	for _, h := range fields {
		switch name := strings.ToLower(h.Name); name {
		case "mime-version", "content-type", "content-transfer-encoding":
		default:
			m.Headers = append(m.Headers, Header{h.Name, decodeWords(h.Value)})
		}
	}
	r := reader{message: m}
	if err := r.entity(fields, body, 0); err != nil {
		return nil, err
	}
	return m, nil
}

// Split returns the header fields and the text of a source in the form of a message (fields, an empty line, text),
// without encodings.
func Split(source string) (headers []Header, text string) {
	header, body := cutHeader([]byte(source))
	return readFields(header), string(body)
}

func cutHeader(raw []byte) (header, body []byte) {
	for _, gap := range []string{"\r\n", "\n"} { // no header at all
		if body, found := bytes.CutPrefix(raw, []byte(gap)); found {
			return nil, body
		}
	}
	at, width := bytes.Index(raw, []byte("\n\n")), 2
	if i := bytes.Index(raw, []byte("\n\r\n")); i >= 0 && (at < 0 || i < at) {
		at, width = i, 3
	}
	if at < 0 {
		return raw, nil
	}
	return raw[:at+1], raw[at+width:]
}

// readFields unfolds the fields of a header. It skips invalid lines.
func readFields(header []byte) []Header {
	var fields []Header
	var value strings.Builder // of the last one
	finish := func() {
		if len(fields) > 0 {
			fields[len(fields)-1].Value = strings.TrimSpace(value.String())
		}
		value.Reset()
	}
	for line := range strings.Lines(string(header)) {
		line = strings.TrimRight(line, "\r\n")
		if strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t") {
			value.WriteString(line)
			continue
		}
		if name, rest, found := strings.Cut(line, ":"); found {
			finish()
			fields = append(fields, Header{Name: strings.TrimRight(name, " \t")})
			value.WriteString(rest)
		}
	}
	finish()
	return fields
}

func first(fields []Header, name string) string {
	for _, h := range fields {
		if strings.EqualFold(h.Name, name) {
			return h.Value
		}
	}
	return ""
}

// decodeWords decodes RFC 2047. It does not change what it cannot decode.
func decodeWords(value string) string {
	decoder := mime.WordDecoder{CharsetReader: charset.NewReaderLabel}
	if decoded, err := decoder.DecodeHeader(value); err == nil {
		return decoded
	}
	return value
}

type reader struct {
	message *Message
	text    bool // the text was found
	parts   int
}

// entity reads a message or a part of one.
func (r *reader) entity(fields []Header, body []byte, depth int) error {
	kind, parameters, err := mime.ParseMediaType(first(fields, "Content-Type"))
	if err != nil && kind == "" {
		kind, parameters = "text/plain", nil // RFC 2045 section 5.2
	}
	if strings.HasPrefix(kind, "multipart/") {
		return r.multipart(body, parameters["boundary"], depth)
	}
	if r.parts++; r.parts > partLimit {
		return fmt.Errorf("%w: it has more than %d parts", ErrShape, partLimit)
	}
	disposition, dispositionParameters, _ := mime.ParseMediaType(first(fields, "Content-Disposition")) // no disposition is also one
	name := dispositionParameters["filename"]
	if name == "" {
		name = parameters["name"]
	}
	name = decodeWords(name) // violates RFC 2231, but is common
	isText := strings.HasPrefix(kind, "text/") && disposition != "attachment" && !r.text
	if name == "" && !isText {
		return nil
	}
	content, err := decode(body, first(fields, "Content-Transfer-Encoding"))
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrShape, kind, err)
	}
	if !isText {
		r.message.Attachments = append(r.message.Attachments, Attachment{name, kind, content})
		return nil
	}
	text, err := charset.NewReaderLabel(parameters["charset"], bytes.NewReader(content))
	if parameters["charset"] == "" || err != nil {
		text = bytes.NewReader(content)
	}
	content, err = io.ReadAll(text)
	r.text, r.message.Text, r.message.TextType = true, strings.ReplaceAll(string(content), "\r\n", "\n"), kind
	return err
}

func (r *reader) multipart(body []byte, boundary string, depth int) error {
	if boundary == "" || depth >= depthLimit {
		return fmt.Errorf("%w: a multipart without a boundary, or more than %d nested ones", ErrShape, depthLimit)
	}
	for parts := multipart.NewReader(bytes.NewReader(body), boundary); ; {
		part, err := parts.NextRawPart()
		if errors.Is(err, io.EOF) {
			return nil
		}
		var content []byte
		if err == nil {
			content, err = io.ReadAll(part)
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrShape, err)
		}
		var fields []Header
		for name, values := range part.Header {
			for _, value := range values {
				fields = append(fields, Header{name, value})
			}
		}
		if err := r.entity(fields, content, depth+1); err != nil {
			return err
		}
	}
}

// decode decodes the transfer encoding (RFC 2045 section 6).
func decode(body []byte, encoding string) ([]byte, error) {
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "base64":
		return io.ReadAll(base64.NewDecoder(base64.StdEncoding, bytes.NewReader(body)))
	case "quoted-printable":
		return io.ReadAll(quotedprintable.NewReader(bytes.NewReader(body)))
	default:
		return body, nil
	}
}
