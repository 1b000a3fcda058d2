package content

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"mime/quotedprintable"
	"strings"

	"golang.org/x/net/html/charset"

	"github.com/stepwatch/stepwatch/steps/limit"
	"github.com/stepwatch/stepwatch/steps/message"
	"github.com/stepwatch/stepwatch/steps/parameter"
)

// Limits of a message. Each level of nesting costs one more pass over what is in it.
var (
	depthLimit = limit.Define(limit.Limit{Subject: "mail message", What: "the message", Unit: "levels of multiparts", Most: 10})
	partLimit  = limit.Define(limit.Limit{Subject: "mail message", What: "the message", Unit: "parts", Most: 200})
)

// ErrShape reports that a message is cut off, or is not a MIME message.
var ErrShape = errors.New("the message is broken")

// Read returns the content of a message. The text is the first text part that is not an attachment; a part with a file
// name is a file.
func Read(raw []byte) (*Message, error) {
	header, body := message.Read(raw)
	m := &Message{}
	for _, f := range header {
		switch strings.ToLower(f.Name) {
		case "mime-version", "content-type", "content-transfer-encoding":
		default:
			m.Headers = append(m.Headers, Header{f.Name, message.Decode(f.Value)})
		}
	}
	r := reader{message: m}
	if err := r.entity(header, body, 0); err != nil {
		return nil, err
	}
	return m, nil
}

// Split returns the header fields and the text of a source in the form of a message (fields, an empty line, text),
// without encodings.
func Split(source string) (headers []Header, text string) {
	header, body := message.Read([]byte(source))
	for _, f := range header {
		headers = append(headers, Header{f.Name, f.Value})
	}
	return headers, string(body)
}

// valueOf is that of the topmost field of a name, or empty.
func valueOf(header message.Header, name string) string {
	if values := header.Values(name); len(values) > 0 {
		return values[0]
	}
	return ""
}

type reader struct {
	message *Message
	text    bool // the text was found
	parts   int64
}

// entity reads a message or a part of one.
func (r *reader) entity(header message.Header, body []byte, depth int64) error {
	kind, parameters := parameter.Mail(valueOf(header, "Content-Type"))
	if !strings.Contains(kind, "/") {
		kind, parameters = "text/plain", nil // RFC 2045 section 5.2
	}
	if strings.HasPrefix(kind, "multipart/") {
		return r.multipart(body, parameters["boundary"], depth)
	}
	if r.parts++; r.parts > partLimit.Most {
		return partLimit.Exceeded()
	}
	disposition, dispositionParameters := parameter.Mail(valueOf(header, "Content-Disposition"))
	name := dispositionParameters["filename"]
	if name == "" {
		name = parameters["name"]
	}
	name = message.Decode(name) // violates RFC 2231, but is common
	isText := strings.HasPrefix(kind, "text/") && disposition != "attachment" && !r.text
	if name == "" && !isText {
		return nil
	}
	content, err := decode(body, valueOf(header, "Content-Transfer-Encoding"))
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

func (r *reader) multipart(body []byte, boundary string, depth int64) error {
	if depth >= depthLimit.Most {
		return depthLimit.Exceeded()
	}
	if boundary == "" {
		return fmt.Errorf("%w: a multipart without a boundary", ErrShape)
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
		var header message.Header
		for name, values := range part.Header { // which the library has read, to find where the part begins
			for _, value := range values {
				header = append(header, message.Field{Name: name, Value: value, Raw: name + ": " + value + "\r\n"})
			}
		}
		if err := r.entity(header, content, depth+1); err != nil {
			return err
		}
	}
}

// decode decodes the transfer encoding (RFC 2045 section 6).
func decode(body []byte, encoding string) ([]byte, error) {
	switch word, _ := parameter.Mail(encoding); word {
	case "base64":
		return io.ReadAll(base64.NewDecoder(base64.StdEncoding, bytes.NewReader(body)))
	case "quoted-printable":
		return io.ReadAll(quotedprintable.NewReader(bytes.NewReader(body)))
	default:
		return body, nil
	}
}
