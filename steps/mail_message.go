package steps

import (
	"bytes"
	"mime"
	"mime/quotedprintable"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

const defaultBody = `This is a test message. stepwatch sent it to see whether mail gets through and how long that takes.

The run that sent it removes it again, and what a run had to leave behind the next one removes. It may be deleted at any
time.
`

// header is a field of a message, in the order in which it is written.
type header struct{ name, value string }

// compose writes the message of s in the Internet Message Format (RFC 5322) with MIME (RFC 2045): the headers of the
// step's table, its doc string as the text, and what stepwatch recognises it by. Lines end in CRLF and hold at most 998
// bytes of US-ASCII, so the message passes every server unchanged.
func compose(w *World, s *submission, a Args) ([]byte, error) {
	from, err := s.from.mailAddress()
	if err != nil {
		return nil, err
	}
	to, err := s.to.mailAddress()
	if err != nil {
		return nil, err
	}
	_, domain, _ := cutLast(from, "@")
	contentType, body := "text/plain; charset=utf-8", defaultBody
	if a.DocString != nil {
		body = a.DocString.Content
		if strings.Contains(a.DocString.MediaType, "/") {
			contentType = a.DocString.MediaType
		}
	}
	encoding, encoded := encodeBody(body)
	headers := []header{
		{"Date", time.Now().Format("Mon, 02 Jan 2006 15:04:05 -0700")},
		{"From", from},
		{"To", to},
		{"Subject", "stepwatch test message"},
		{"Message-ID", "<" + messageID(w.Run(), s.number) + "@" + domain + ">"},
		{"MIME-Version", "1.0"},
		{"Content-Type", contentType},
		{"Content-Transfer-Encoding", encoding},
		{"Auto-Submitted", "auto-generated"}, // RFC 3834: no vacation answers
		{headerRun, w.Run()},
		{headerOrigin, w.Origin()},
		{headerMessage, strconv.Itoa(s.number)},
	}
	if headers, err = withTable(headers, a.Table); err != nil {
		return nil, err
	}
	var message bytes.Buffer
	for _, h := range headers {
		if err := writeHeader(&message, h); err != nil {
			return nil, err
		}
	}
	message.WriteString("\r\n")
	message.Write(encoded)
	return message.Bytes(), nil
}

// messageID is the left part of a message's Message-ID.
func messageID(run string, number int) string { return run + "." + strconv.Itoa(number) }

// withTable puts the rows "name, value" of a step's table among the headers, in the place of one with the same name.
func withTable(headers []header, table [][]string) ([]header, error) {
	for _, row := range table {
		if len(row) != 2 {
			return nil, scenarioFault("a row of the headers has %d cells, not 2: | Subject | Hello |", len(row))
		}
		name, value := row[0], row[1]
		lower := strings.ToLower(name)
		switch {
		case name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == ':' }):
			return nil, scenarioFault("%q is no name of a header", name)
		case strings.HasPrefix(lower, "x-stepwatch-"), lower == "content-transfer-encoding", lower == "mime-version":
			return nil, scenarioFault("the header %s is stepwatch's own", name)
		}
		replaced := false
		for i := range headers {
			if strings.EqualFold(headers[i].name, name) {
				headers[i].value, replaced = value, true
			}
		}
		if !replaced {
			headers = append(headers, header{name, value})
		}
	}
	return headers, nil
}

// writeHeader writes one field, folded at white space to 78 columns where that is possible (RFC 5322 section 2.2.3).
func writeHeader(b *bytes.Buffer, h header) error {
	if strings.ContainsFunc(h.value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
		return scenarioFault("the header %s holds a line break or another control character: %q", h.name, h.value)
	}
	value := h.value
	if !isASCII(value) {
		value = mime.QEncoding.Encode("utf-8", value) // RFC 2047
	}
	line := h.name + ":"
	for _, word := range strings.Split(value, " ") {
		if len(line)+1+len(word) > 78 && strings.TrimSpace(line) != "" && !strings.HasSuffix(line, ":") {
			b.WriteString(line + "\r\n")
			line = ""
		}
		if line += " " + word; len(line) > 998 {
			return scenarioFault("the header %s has a word of more than 998 bytes", h.name)
		}
	}
	b.WriteString(line + "\r\n")
	return nil
}

// encodeBody gives the text with CRLF line ends and its transfer encoding: as it is, or quoted-printable when it holds
// more than US-ASCII or lines that SMTP does not carry (RFC 5321 section 4.5.3.1.6).
func encodeBody(text string) (encoding string, body []byte) {
	text = strings.ReplaceAll(text, "\r\n", "\n")
	if !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	plain := isASCII(text) && !strings.ContainsAny(text, "\r\x00")
	for line := range strings.SplitSeq(text, "\n") {
		plain = plain && len(line) <= 998
	}
	if plain {
		return "7bit", []byte(strings.ReplaceAll(text, "\n", "\r\n"))
	}
	var b bytes.Buffer
	q := quotedprintable.NewWriter(&b)
	_, _ = q.Write([]byte(text)) // writing to memory does not fail
	_ = q.Close()
	return "quoted-printable", b.Bytes()
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
