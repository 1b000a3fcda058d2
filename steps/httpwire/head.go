package httpwire

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
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
	version string // "HTTP/1.1" or "HTTP/1.0"
	status  string // "200 OK"
	fields  []headField
	chunked bool     // the body comes in chunks; Transfer-Encoding is not among the fields
	odd     []string // what was mended, in words
}

type headField struct{ name, value string }

// usualHead is the size of most heads in bytes, and usualLines that of their lines.
const (
	usualHead  = 1 << 10
	usualLines = 32
)

// readHead reads up to the empty line. Lines may end in a line feed alone (RFC 9112 section 2.2).
func readHead(r *bufio.Reader) (*head, error) {
	var roomForText [usualHead]byte
	var roomForEnds [usualLines]int
	text, ends := roomForText[:0], roomForEnds[:0] // of the lines; one string of all is cheaper than one of each
	for {
		line, err := readLine(r)
		if err != nil && len(ends) == 0 && len(line) > 0 && !beginsHTTP(line) {
			return nil, notHTTP(line)
		}
		if err != nil {
			return nil, err
		}
		if bytes.IndexByte(line, 0) >= 0 {
			return nil, malformed("its header contains a NUL (RFC 9110 section 5.5): %.80q", line)
		}
		bare := bytes.TrimRight(line, "\r\n")
		if len(bare) == 0 && len(ends) > 0 {
			break
		}
		if len(ends) == 0 && len(bytes.TrimSpace(bare)) == 0 {
			continue // before the status line
		}
		if len(ends) == 0 && !beginsHTTP(bare) {
			return nil, notHTTP(line)
		}
		text = append(text, bare...)
		ends = append(ends, len(text))
		if err := fieldsLimit.Check(int64(len(ends))); err != nil {
			return nil, err
		}
	}
	all := string(text)
	h := &head{}
	if err := h.readStatus(all[:ends[0]]); err != nil {
		return nil, err
	}
	h.readFields(all, ends)
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

func beginsHTTP(line []byte) bool {
	line = bytes.TrimLeft(line, " \t")
	return len(line) >= 5 && bytes.EqualFold(line[:4], []byte("HTTP")) && (line[4] == '/' || line[4] == ' ' || line[4] == '\t')
}

// readStatus reads the status line: a version that is missing is 1.0, a code that is missing 200.
func (h *head) readStatus(line string) error {
	text := strings.TrimLeft(line, " \t")[len("HTTP"):]
	h.version = "HTTP/1.0"
	if rest, found := strings.CutPrefix(text, "/"); found {
		end := strings.IndexAny(rest, " \t")
		if end < 0 {
			end = len(rest)
		}
		if written := rest[:end]; len(written) == 3 && written[1] == '.' && written >= "1.1" {
			h.version = "HTTP/1.1"
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
	if h.status = text; len(phrase) == 0 || end+1+len(phrase) != len(text) || text[end] != ' ' {
		h.status = code + " " + phrase
	}
	h.status = printable(h.status)
	return nil
}

// readFields reads the fields from the text of all lines after the first. ends are the ends of the lines in it. A line that
// is not a field is left out.
func (h *head) readFields(all string, ends []int) {
	h.fields = make([]headField, 0, len(ends)-1)
	for i := 1; i < len(ends); i++ {
		line := all[ends[i-1]:ends[i]]
		if folded(line) {
			h.oddly("the header begins with a continuation line (RFC 9112 section 5.2): %.80q", line)
			continue
		}
		if more := foldedAfter(all, ends, i); more > 0 { // RFC 9112 section 5.2
			parts := []string{line}
			for range more {
				i++
				parts = append(parts, strings.Trim(all[ends[i-1]:ends[i]], " \t"))
			}
			line = strings.Join(parts, " ")
		}
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

// foldedAfter returns how many lines continue line i.
func foldedAfter(all string, ends []int, i int) (more int) {
	for i+1+more < len(ends) && folded(all[ends[i+more]:ends[i+1+more]]) {
		more++
	}
	return more
}

// checkFields refuses the contradictions that browsers refuse, and mends the fields that decide where the body ends.
func (h *head) checkFields() error {
	if err := contradiction(h.values); err != nil {
		return err
	}
	if transfer := h.values("Transfer-Encoding"); len(transfer) > 0 {
		all := strings.Join(transfer, ", ")
		chunked := slices.ContainsFunc(strings.Split(all, ","), func(coding string) bool { return strings.EqualFold(strings.Trim(coding, " \t"), "chunked") })
		chunked = chunked && h.version == "HTTP/1.1"
		if !chunked || !strings.EqualFold(all, "chunked") {
			h.oddly("the Transfer-Encoding is %.80q (RFC 9112 section 6.1)", all)
		}
		h.remove("Transfer-Encoding")
		if h.chunked = chunked; chunked {
			h.remove("Content-Length")
			return nil
		}
	}
	lengths := h.values("Content-Length")
	if len(lengths) == 0 {
		return nil
	}
	if _, err := strconv.ParseUint(lengths[0], 10, 63); err == nil && len(lengths) == 1 {
		return nil // as it nearly always is
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
	locations, fields := valuesOf("Location"), valuesOf("Content-Disposition")
	if len(locations) == 0 && len(fields) == 0 {
		return nil
	}
	var dispositions []string
	for _, field := range fields {
		dispositions = append(dispositions, parameter.List(field)...)
	}
	for _, field := range []struct {
		name, rule string
		values     []string
	}{
		{"Location", "RFC 9110 section 10.2.2", locations},
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

// header returns the fields as net/http has them.
func (h *head) header() http.Header {
	header := make(http.Header, len(h.fields))
	values := make([]string, len(h.fields)) // of fields that are there once
	for i, f := range h.fields {
		if known, again := header[f.name]; again {
			header[f.name] = append(known, f.value)
			continue
		}
		values[i] = f.value
		header[f.name] = values[i : i+1 : i+1]
	}
	if pragma := header["Pragma"]; len(pragma) > 0 && pragma[0] == "no-cache" && header["Cache-Control"] == nil {
		header["Cache-Control"] = []string{"no-cache"} // as net/http reads it (RFC 9111 section 5.4)
	}
	return header
}

// response returns the response to a request with its body, which is read from r (RFC 9112 section 6.3).
func (h *head) response(request *http.Request, r *bufio.Reader) *http.Response {
	code := int(h.status[0]-'0')*100 + int(h.status[1]-'0')*10 + int(h.status[2]-'0')
	response := &http.Response{Request: request, Header: h.header(), Proto: h.version, ProtoMajor: 1, Status: h.status, StatusCode: code,
		ContentLength: -1, Body: http.NoBody}
	connection := response.Header["Connection"]
	response.Close = httpguts.HeaderValuesContainsToken(connection, "close")
	if h.version == "HTTP/1.1" {
		response.ProtoMinor = 1
	} else {
		response.Close = response.Close || !httpguts.HeaderValuesContainsToken(connection, "keep-alive")
	}
	length := int64(-1)
	if lengths := response.Header["Content-Length"]; len(lengths) > 0 {
		length, _ = strconv.ParseInt(lengths[0], 10, 64) // checkFields has read it
	}
	switch {
	case request.Method == http.MethodHead:
		response.ContentLength = length
	case code/100 == 1, code == http.StatusNoContent, code == http.StatusNotModified:
		response.ContentLength = 0
	case h.chunked:
		response.Body, response.TransferEncoding = &chunks{r: r}, []string{"chunked"}
	case length > 0:
		response.ContentLength, response.Body = length, &sized{r: r, left: length}
	case length == 0:
		response.ContentLength = 0
	default: // the body ends with the connection
		response.Close, response.Body = true, io.NopCloser(r)
	}
	return response
}

// sized reads a body of a known length.
type sized struct {
	r    *bufio.Reader
	left int64
}

// Read returns io.EOF together with the last bytes, so that nobody waits for more.
func (s *sized) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	n, err := s.r.Read(p[:min(int64(len(p)), s.left)])
	switch s.left -= int64(n); {
	case err != nil:
		return n, unexpected(err)
	case s.left == 0:
		return n, io.EOF
	}
	return n, nil
}

// Close does nothing: the connection is closed or used again by its owner.
func (s *sized) Close() error { return nil }

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
