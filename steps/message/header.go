// Package message reads the header of a mail message (RFC 5322), the same way for all who ask what stands in it.
//
// Messages are written by strangers, so nothing makes it fail: what is no field is left out, what cannot be decoded stays
// as it is, and time and memory grow with the length of the message alone.
package message

import (
	"bytes"
	"strings"
)

// Field is a header field as it stands in a message.
type Field struct {
	Name  string
	Value string // unfolded (RFC 5322 section 2.2.3), without the white space around it
	Raw   string // with its name, its folding and a CRLF at the end of each line
}

// Line returns the value with each fold as one space, however a server folded it.
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

// Header is the fields of a message from the top down. Their order tells who wrote which, so it is kept.
type Header []Field

// Values returns the values of the fields of one name, the topmost first. Names are compared without regard to case.
func (h Header) Values(name string) []string {
	var values []string
	for _, f := range h {
		if strings.EqualFold(f.Name, name) {
			values = append(values, f.Value)
		}
	}
	return values
}

// Line returns the Line of the topmost field of a name, or an empty string.
func (h Header) Line(name string) string {
	for _, f := range h {
		if strings.EqualFold(f.Name, name) {
			return f.Line()
		}
	}
	return ""
}

// headerLimit is how many bytes of a header are read into fields; a message of 5 MB could be all header. Fields that begin
// beyond it are left out.
const headerLimit = 1 << 20

// Read returns the header of a message, or of a block that is written like one, and what stands beneath its first empty line.
// Lines end in LF or CRLF; a CR alone ends none. A line that is no field is left out, and so is what is folded beneath it.
// White space before the colon is obsolete syntax (RFC 5322 section 4.5) and no part of the name.
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
			if !found || len(name) == 0 || read > headerLimit {
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
