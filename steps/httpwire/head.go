package httpwire

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/stepwatch/stepwatch/steps/parameter"
)

// ErrMalformed reports a response that browsers do not accept either.
var ErrMalformed = errors.New("the response is malformed")

func malformed(format string, a ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, a...))
}

// head is the status line and the header of a response to HTTP/1, read as browsers do: what is odd and harmless is
// mended. net/http refuses the whole response for a control character in one field.
type head struct {
	status  string // "HTTP/1.1 200 OK"
	fields  []headField
	chunked bool     // the body comes in chunks; Transfer-Encoding is not among the fields
	odd     []string // what was mended, in words
}

type headField struct{ name, value string }

// readHead reads up to the empty line. Lines may end in a line feed alone (RFC 9112 section 2.2).
func readHead(r *bufio.Reader) (*head, error) {
	var lines []string
	for {
		line, err := readLine(r)
		if err != nil && lines == nil && len(line) > 0 && !beginsHTTP(string(line)) {
			return nil, notHTTP(line)
		}
		if err != nil {
			return nil, err
		}
		if bytes.IndexByte(line, 0) >= 0 {
			return nil, malformed("its header contains a NUL (RFC 9110 section 5.5): %.80q", line)
		}
		text := strings.TrimRight(string(line), "\r\n")
		if text == "" && len(lines) > 0 {
			break
		}
		if lines == nil && strings.TrimSpace(text) == "" {
			continue // before the status line
		}
		lines = append(lines, text)
		if err := fieldsLimit.Check(int64(len(lines))); err != nil {
			return nil, err
		}
		if len(lines) == 1 && !beginsHTTP(text) {
			return nil, notHTTP(line)
		}
	}
	h := &head{}
	if err := h.readStatus(lines[0]); err != nil {
		return nil, err
	}
	h.readFields(lines[1:])
	return h, h.checkFields()
}

// readLine reads a line with its end. The limit of the header is that of r.
func readLine(r *bufio.Reader) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	if !errors.Is(err, bufio.ErrBufferFull) {
		return line, err
	}
	long := bytes.Clone(line)
	for errors.Is(err, bufio.ErrBufferFull) {
		line, err = r.ReadSlice('\n')
		long = append(long, line...)
	}
	return long, err
}

func notHTTP(line []byte) error {
	return malformed("it does not begin with HTTP/ (RFC 9112 section 4): %.80q", bytes.TrimRight(line, "\r\n"))
}

func beginsHTTP(line string) bool {
	line = strings.TrimLeft(line, " \t")
	return len(line) >= 5 && strings.EqualFold(line[:4], "HTTP") && strings.ContainsAny(line[4:5], "/ \t")
}

// readStatus reads the status line: a version that is missing is 1.0, a code that is missing 200.
func (h *head) readStatus(line string) error {
	text := strings.TrimLeft(line, " \t")[len("HTTP"):]
	version := "1.0"
	if rest, found := strings.CutPrefix(text, "/"); found {
		end := strings.IndexAny(rest, " \t")
		if end < 0 {
			end = len(rest)
		}
		if written := rest[:end]; len(written) == 3 && written[1] == '.' && written >= "1.1" {
			version = "1.1"
		}
		text = rest[end:]
	}
	text = strings.Trim(text, " \t")
	end := 0
	for end < len(text) && '0' <= text[end] && text[end] <= '9' {
		end++
	}
	code, phrase := text[:end], strings.TrimLeft(text[end:], " \t")
	switch {
	case code == "":
		code = "200"
		h.oddly("the status line %.80q has no status code (RFC 9112 section 4), which browsers take for 200", line)
	case len(code) != 3:
		return malformed("its status code is %.20q, not three digits (RFC 9112 section 4): %.80q", code, line)
	}
	h.status = "HTTP/" + version + " " + code + " " + printable(phrase)
	return nil
}

// readFields reads the fields. A line that is not a field is left out.
func (h *head) readFields(lines []string) {
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		if folded(line) {
			h.oddly("the header begins with a continuation line (RFC 9112 section 5.2): %.80q", line)
			continue
		}
		begin := i
		for i+1 < len(lines) && folded(lines[i+1]) { // RFC 9112 section 5.2
			i++
			lines[i] = strings.Trim(lines[i], " \t")
		}
		line = strings.Join(lines[begin:i+1], " ")
		name, value, found := strings.Cut(line, ":")
		trimmed := strings.TrimRight(name, " \t")
		if !found || !httpguts.ValidHeaderFieldName(trimmed) {
			h.oddly("a line of the header is not a field (RFC 9112 section 5): %.80q", line)
			continue
		}
		if trimmed != name {
			h.oddly("the name of the field %s is followed by a blank (RFC 9112 section 5.1)", trimmed)
		}
		// A carriage return alone stands for a blank (RFC 9112 section 2.2).
		h.fields = append(h.fields, headField{textproto.CanonicalMIMEHeaderKey(trimmed), strings.Trim(strings.ReplaceAll(value, "\r", " "), " \t")})
	}
}

// checkFields refuses the contradictions that browsers refuse, and mends the fields that decide where the body ends.
func (h *head) checkFields() error {
	if err := contradiction(h.values); err != nil {
		return err
	}
	lengths := h.values("Content-Length")
	if transfer := h.values("Transfer-Encoding"); len(transfer) > 0 {
		all := strings.Join(transfer, ", ")
		chunked := slices.ContainsFunc(strings.Split(all, ","), func(coding string) bool { return strings.EqualFold(strings.Trim(coding, " \t"), "chunked") })
		chunked = chunked && strings.HasPrefix(h.status, "HTTP/1.1")
		if !chunked || !strings.EqualFold(all, "chunked") {
			h.oddly("the Transfer-Encoding is %.80q (RFC 9112 section 6.1)", all)
		}
		h.remove("Transfer-Encoding")
		if h.chunked = chunked; chunked {
			h.remove("Content-Length")
			return nil
		}
	}
	if len(lengths) == 0 {
		return nil
	}
	length := ""
	for i, value := range strings.Split(strings.Join(lengths, ","), ",") {
		if value = strings.Trim(value, " \t"); i > 0 && value != length {
			return malformed("it has two lengths, %.20q and %.20q (Content-Length, RFC 9112 section 6.3)", length, value)
		}
		length = value
	}
	h.remove("Content-Length")
	if _, err := strconv.ParseUint(length, 10, 63); err != nil {
		h.oddly("the Content-Length %.20q is not a length (RFC 9110 section 8.6), so the body ends with the connection", length)
		return nil //nolint:nilerr // odd, but not malformed
	}
	h.fields = append(h.fields, headField{"Content-Length", length})
	return nil
}

// folded reports whether a line continues the one before it.
func folded(line string) bool { return line[0] == ' ' || line[0] == '\t' }

// contradiction returns an error when a field that may be there once has two values, which browsers refuse. They take a
// comma outside quotes in Content-Disposition for the end of a value.
func contradiction(valuesOf func(name string) []string) error {
	var dispositions []string
	for _, field := range valuesOf("Content-Disposition") {
		dispositions = append(dispositions, parameter.List(field)...)
	}
	for _, field := range []struct {
		name, rule string
		values     []string
	}{
		{"Location", "RFC 9110 section 10.2.2", valuesOf("Location")},
		{"Content-Disposition", "RFC 6266 section 4; a file name with a comma must be in quotes", dispositions},
	} {
		for _, value := range field.values {
			if value != field.values[0] {
				return malformed("it has two values of %s, %.80q and %.80q (%s)", field.name, field.values[0], value, field.rule)
			}
		}
	}
	return nil
}

func (h *head) values(name string) []string {
	var values []string
	for _, f := range h.fields {
		if f.name == name {
			values = append(values, f.value)
		}
	}
	return values
}

func (h *head) remove(name string) {
	h.fields = slices.DeleteFunc(h.fields, func(f headField) bool { return f.name == name })
}

// mostOdd is how many oddities of a header are told.
const mostOdd = 5

func (h *head) oddly(format string, a ...any) {
	if len(h.odd) < mostOdd {
		h.odd = append(h.odd, fmt.Sprintf(format, a...))
	}
}

// bytes returns the head as net/http reads it, with blanks for control characters.
func (h *head) bytes() []byte {
	var b bytes.Buffer
	b.WriteString(h.status + "\r\n")
	for _, f := range h.fields {
		b.WriteString(f.name + ": " + printable(f.value) + "\r\n")
	}
	b.WriteString("\r\n")
	return b.Bytes()
}

// restore puts back the values that bytes changed.
func (h *head) restore(header http.Header) {
	changed := map[string]bool{}
	for _, f := range h.fields {
		if printable(f.value) != f.value && !changed[f.name] {
			changed[f.name] = true
			delete(header, f.name)
		}
	}
	for _, f := range h.fields {
		if changed[f.name] {
			header[f.name] = append(header[f.name], f.value)
		}
	}
}

// printable replaces control characters by blanks.
func printable(s string) string {
	if !strings.ContainsFunc(s, control) {
		return s
	}
	b := []byte(s) // the text may be in any encoding
	for i, c := range b {
		if control(rune(c)) {
			b[i] = ' '
		}
	}
	return string(b)
}

func control(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }
