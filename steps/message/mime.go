package message

import (
	"bytes"
	"encoding/base64"
	"io"
	"mime/quotedprintable"
	"strings"

	"github.com/stepwatch/stepwatch/steps/limit"
	"github.com/stepwatch/stepwatch/steps/parameter"
)

// ContentType returns the media type in lower case and the parameters of a Content-Type field (RFC 2045 section 5.1). An
// empty or unreadable type is text/plain, as RFC 2045 section 5.2 has it; its parameters count all the same, so that the
// boundary is not lost.
func ContentType(value string) (kind string, parameters map[string]string) {
	kind, parameters = parameter.Mail(value)
	if strings.Count(kind, "/") != 1 {
		kind = "text/plain"
	}
	return kind, parameters
}

// PartLimit limits the parts of a multipart. Parts returns no more than one above it.
var PartLimit = limit.Define(limit.Limit{Subject: "mail message", What: "a multipart", Unit: "parts", Most: 10_000})

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
			if begin = end; last || int64(len(parts)) > PartLimit.Most {
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
	switch coding, _ := parameter.Mail(header.Line("Content-Transfer-Encoding")); coding {
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
