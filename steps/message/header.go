// Package message parses the header of a mail message (RFC 5322), in the same way for all callers.
//
// Messages are untrusted, so parsing never fails: lines that are not fields are left out, text that cannot be decoded
// stays as it is, and time and memory only grow with the length of the message.
package message

import (
	"bytes"
	"strings"

	"github.com/stepwatch/stepwatch/steps/limit"
)

// Field is a header field as written in a message.
type Field struct {
	Name  string
	Value string // unfolded (RFC 5322 section 2.2.3), without the white space around it
	Raw   string // with name, folding and a CRLF at the end of each line
}

// Line returns the value with each fold replaced by one space.
func (f Field) Line() string {
	_, value, _ := strings.Cut(f.Raw, ":")
	var lines []string
	for line := range strings.SplitSeq(value, "\r\n") {
		if line = strings.Trim(line, " \t"); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.TrimSpace(strings.Join(lines, " "))
}

// Header is the fields of a message from top to bottom. The order is kept, because it shows which server wrote which
// field.
type Header []Field

// Values returns the values of the fields with this name, the topmost first. The case of names is ignored.
func (h Header) Values(name string) []string {
	var values []string
	for _, f := range h {
		if strings.EqualFold(f.Name, name) {
			values = append(values, f.Value)
		}
	}
	return values
}

// Line returns the Line of the topmost field with this name, or an empty string.
func (h Header) Line(name string) string {
	for _, f := range h {
		if strings.EqualFold(f.Name, name) {
			return f.Line()
		}
	}
	return ""
}

// Limits of a header, because a message of 5 MB can be all header. Read leaves out the fields that begin after HeaderLimit;
// CheckHeader returns an error for them.
var (
	HeaderLimit   = limit.Define(limit.Limit{Subject: "mail message", What: "the header of the message", Unit: "bytes", Most: 1 << 20})
	LinesLimit    = limit.Define(limit.Limit{Subject: "mail message", What: "the header of the message", Unit: "lines", Most: 5000})
	ReceivedLimit = limit.Define(limit.Limit{Subject: "mail message", What: "the header of the message", Unit: "Received fields", Most: 100}) // RFC 5321 section 6.3: a loop
	FieldLimit    = limit.Define(limit.Limit{Subject: "mail message", What: "a field of the header", Unit: "bytes", Most: 128 << 10})
)

// CheckHeader returns a limit.Error if the header of a message exceeds a limit. What judges a message would not see all of its
// fields, and libraries that read a header take quadratic time.
func CheckHeader(raw []byte) error {
	lines, field, received := int64(0), int64(0), int64(0)
	for rest := raw; len(rest) > 0; {
		var line []byte
		line, rest, _ = bytes.Cut(rest, []byte("\n"))
		if len(bytes.TrimSuffix(line, []byte("\r"))) == 0 {
			return nil
		}
		if line[0] != ' ' && line[0] != '\t' {
			field = 0
			if name, _, _ := bytes.Cut(line[:min(len(line), 20)], []byte(":")); strings.EqualFold(string(bytes.TrimRight(name, " \t")), "Received") {
				received++
			}
		}
		lines++
		switch field += int64(len(line)) + 1; {
		case received > ReceivedLimit.Most:
			return ReceivedLimit.Exceeded()
		case lines > LinesLimit.Most:
			return LinesLimit.Exceeded()
		case field > FieldLimit.Most:
			return FieldLimit.Exceeded()
		case int64(len(raw)-len(rest)) > HeaderLimit.Most:
			return HeaderLimit.Exceeded()
		}
	}
	return nil
}

// Read returns the header of a message, or of a block in the same format, and the text after its first empty line.
// Lines end in LF or CRLF; a CR alone does not end a line. A line that is not a field is left out, with its folded
// lines. White space before the colon is obsolete syntax (RFC 5322 section 4.5) and not part of the name.
func Read(raw []byte) (header Header, body []byte) {
	header = Header{}
	var value, lines strings.Builder // of the last field
	open := false                    // whether a line that begins with white space belongs to a field
	finish := func() {
		if open {
			last := &header[len(header)-1]
			last.Value, last.Raw = strings.TrimSpace(value.String()), lines.String()
		}
		value.Reset()
		lines.Reset()
		open = false
	}
	for rest := raw; len(rest) > 0; {
		read := len(raw) - len(rest)
		var line []byte
		line, rest, _ = bytes.Cut(rest, []byte("\n"))
		line = bytes.TrimSuffix(line, []byte("\r"))
		if len(line) == 0 {
			finish()
			return header, rest
		}
		if line[0] != ' ' && line[0] != '\t' {
			finish()
			name, _, found := bytes.Cut(line, []byte(":"))
			name = bytes.TrimRight(name, " \t")
			if !found || len(name) == 0 || read > int(HeaderLimit.Most) {
				continue
			}
			header, open = append(header, Field{Name: string(name)}), true
			_, after, _ := bytes.Cut(line, []byte(":"))
			value.Write(after)
		} else if open {
			value.Write(line)
		}
		if open {
			lines.Write(line)
			lines.WriteString("\r\n")
		}
	}
	finish()
	return header, nil
}
