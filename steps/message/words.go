package message

import (
	"encoding/base64"
	"errors"
	"io"
	"mime"
	"net/mail"
	"strings"

	"golang.org/x/net/html/charset"

	"github.com/stepwatch/stepwatch/steps/regex"
)

// encodedWord matches an encoded word of RFC 2047, with an optional language (RFC 2231 section 5). Spaces in the text
// violate the standard but are common.
var encodedWord = regex.Lazy(`=\?([^?*\s]+)(?:\*[^?\s]*)?\?([bBqQ])\?([^?\r\n]*)\?=`)

// Decode returns a value as a mail program shows it: with its encoded words decoded and adjacent ones joined (RFC
// 2047). A word that cannot be decoded stays as it is.
//
// Go's decoder rejects the whole value for one unknown charset. It does not support a language, a space within a word,
// base64 without padding, or a character that is split between words.
func Decode(value string) string {
	var out strings.Builder
	var run encodedRun
	done := 0
	for _, at := range encodedWord.FindAllStringSubmatchIndex(value, -1) {
		between := value[done:at[0]]
		name := strings.ToLower(value[at[2]:at[3]])
		content, ok := decodeText(value[at[4]:at[5]], value[at[6]:at[7]])
		if !ok || !known(name) {
			continue // it is copied with the text between decoded words
		}
		if run.charset == "" || strings.Trim(between, " \t\r\n") != "" {
			run.write(&out)
			out.WriteString(between)
		}
		if run.charset != name {
			run.write(&out)
		}
		run.charset = name
		run.content = append(run.content, content...)
		done = at[1]
	}
	run.write(&out)
	out.WriteString(value[done:])
	return out.String()
}

// encodedRun is the content of adjacent words in one charset, so that a character can begin in one word and end in the
// next.
type encodedRun struct {
	charset string // empty if there is no run
	content []byte
}

// write writes the run and resets it.
func (r *encodedRun) write(to *strings.Builder) {
	if r.charset == "" {
		return
	}
	text, err := reader(r.charset, strings.NewReader(string(r.content)))
	if err == nil {
		if decoded, err := io.ReadAll(text); err == nil {
			r.content = decoded
		}
	}
	to.WriteString(strings.ToValidUTF8(string(r.content), "\uFFFD"))
	*r = encodedRun{}
}

// decodeText decodes the text of a word. ok is false if the text is invalid.
func decodeText(encoding, text string) (content []byte, ok bool) {
	if strings.EqualFold(encoding, "b") {
		text = strings.TrimRight(strings.Join(strings.Fields(text), ""), "=")
		content, err := base64.RawStdEncoding.DecodeString(text)
		return content, err == nil
	}
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '_':
			content = append(content, ' ')
		case c == '=' && i+2 < len(text) && unhex(text[i+1]) >= 0 && unhex(text[i+2]) >= 0:
			content = append(content, byte(unhex(text[i+1])<<4|unhex(text[i+2]))) //nolint:gosec // two half bytes
			i += 2
		case c == '=':
			return nil, false
		default:
			content = append(content, c)
		}
	}
	return content, true
}

// unhex returns the value of a hexadecimal digit, or -1.
func unhex(c byte) int { return strings.IndexByte("0123456789abcdef", lower(c)) }

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

func known(name string) bool {
	_, err := reader(name, strings.NewReader(""))
	return err == nil
}

// reader returns a reader that converts a charset to UTF-8.
func reader(name string, r io.Reader) (io.Reader, error) {
	switch strings.ToLower(name) {
	case "utf-8", "utf8", "us-ascii", "ascii":
		return r, nil
	}
	if encoding, _ := charset.Lookup(name); encoding == nil {
		return nil, errors.New("unknown charset")
	}
	return charset.NewReaderLabel(name, r)
}

// Addresses parses a list of addresses (RFC 5322 section 3.4). It accepts names in any charset.
func Addresses(value string) ([]*mail.Address, error) {
	parser := mail.AddressParser{WordDecoder: &mime.WordDecoder{CharsetReader: func(name string, r io.Reader) (io.Reader, error) {
		if decoded, err := reader(name, r); err == nil {
			return decoded, nil
		}
		return r, nil
	}}}
	return parser.ParseList(value)
}
