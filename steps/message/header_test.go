package message

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestRead(t *testing.T) {
	for name, test := range map[string]struct{ raw, want, body string }{
		"CRLF":                      {"A: 1\r\nB: 2\r\n\r\nbody\r\n\r\nmore", "A=1|B=2", "body\r\n\r\nmore"},
		"LF":                        {"A: 1\nB: 2\n\nbody", "A=1|B=2", "body"},
		"both":                      {"A: 1\nB: 2\r\n\nbody", "A=1|B=2", "body"},
		"no body":                   {"A: 1\r\nB: 2", "A=1|B=2", ""},
		"no header":                 {"\r\nbody", "", "body"},
		"nothing":                   {"", "", ""},
		"folded":                    {"A: 1\r\n 2\r\n\t 3 \r\nB:\r\n x\r\n\r\n", "A=1 2\t 3|B=x", ""},
		"a line of blanks":          {"A: 1\r\n \r\n 2\r\n\r\n", "A=1  2", ""},
		"an empty value":            {"A:\r\nB: \r\n\r\n", "A=|B=", ""},
		"colons":                    {"A: b: c\r\nDate:12:00:00\r\n\r\n", "A=b: c|Date=12:00:00", ""},
		"obsolete":                  {"A : 1\r\nB\t:2\r\n\r\n", "A=1|B=2", ""},
		"8 bit":                     {"A: Gr\xc3\xbc\xdfe\r\n\r\n", "A=Gr\xc3\xbc\xdfe", ""},
		"bare CR":                   {"A: 1\rB: 2\r\nC: 3\r\n\r\n", "A=1\rB: 2|C=3", ""},
		"CR before CRLF":            {"A: 1\r\r\nC: 3\r\n\r\n", "A=1|C=3", ""},
		"no field":                  {"A: 1\r\nnonsense\r\n folded\r\nB: 2\r\n\r\n", "A=1|B=2", ""},
		"no name":                   {": 1\r\n x\r\nB: 2\r\n\r\n", "B=2", ""},
		"folded before the first":   {" x\r\nB: 2\r\n\r\n", "B=2", ""},
		"of a mailbox file":         {"From a@example.org Sat Nov 21 12:00:00 2026\nB: 2\n\nbody", "From a@example.org Sat Nov 21 12=00:00 2026|B=2", "body"},
		"several":                   {"A: 1\r\na: 2\r\nA: 3\r\n\r\n", "A=1|a=2|A=3", ""},
		"the header of no end, LF":  {"A: 1\n", "A=1", ""},
		"the end without a newline": {"A: 1\r\n\r", "A=1", ""},
	} {
		header, body := Read([]byte(test.raw))
		var got []string
		for _, f := range header {
			got = append(got, f.Name+"="+f.Value)
		}
		if g := strings.Join(got, "|"); g != test.want || string(body) != test.body {
			t.Errorf("%s: got %q and the body %q, want %q and %q", name, g, body, test.want, test.body)
		}
		if header == nil {
			t.Errorf("%s: the header is nil", name)
		}
	}
}

func TestHeader(t *testing.T) {
	header, _ := Read([]byte("Received: a\r\n\tby b;\r\n   now\r\nX: 1\r\nreceived: second\r\n\r\n"))
	if got, want := header.Line("RECEIVED"), "a by b; now"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := header.Values("Received"), []string{"a\tby b;   now", "second"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := header[0].Raw, "Received: a\r\n\tby b;\r\n   now\r\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := header.Line("none") + fmt.Sprint(header.Values("none")); got != "[]" {
		t.Errorf("got %q for a missing field", got)
	}
}

// TestLongHeader checks that a header of megabytes, in one field or in many, is read in time and only up to the limit.
func TestLongHeader(t *testing.T) {
	for name, raw := range map[string][]byte{
		"folds":  append([]byte("A: 1\r\n"), bytes.Repeat([]byte(" x\r\n"), 2<<20)...),
		"fields": bytes.Repeat([]byte("A:\r\n"), 2<<20),
	} {
		begun := time.Now()
		header, body := Read(append(raw, "\r\nbody"...))
		if took := time.Since(begun); took > 5*time.Second || string(body) != "body" || len(header) > int(HeaderLimit.Most)/4+1 {
			t.Errorf("%s: %s, %d fields, the body is %q", name, took, len(header), body)
		}
	}
}

// What exceeds a limit of a header is an error, and what is just below is none, whatever follows it.
func TestHeaderLimits(t *testing.T) {
	line := strings.Repeat("x", 998) + "\r\n"
	for name, test := range map[string]struct {
		raw  string
		want string
	}{
		"no header":        {"\r\n" + strings.Repeat("A: 1\r\n", 6000), ""},
		"empty":            {"", ""},
		"as many lines":    {strings.Repeat("A: 1\r\n", int(LinesLimit.Most)) + "\r\nbody", ""},
		"too many lines":   {strings.Repeat("A: 1\r\n", int(LinesLimit.Most)+1) + "\r\nbody", "the header of the message has more than 5000 lines, the limit"},
		"as many hops":     {strings.Repeat("received : from a by b; x\r\n", int(ReceivedLimit.Most)) + "Received-SPF: x\r\n\r\nReceived:", ""},
		"too many hops":    {strings.Repeat("Received: from a by b; x\r\n", int(ReceivedLimit.Most)+1), "the header of the message has more than 100 Received fields, the limit"},
		"too many folds":   {"A: 1\r\n" + strings.Repeat(" x\n", int(LinesLimit.Most)), "the header of the message has more than 5000 lines, the limit"},
		"as long a field":  {"A: 1\r\n" + strings.Repeat(" "+line[1:], 131) + "\r\nbody", ""},
		"a long field":     {"A: " + strings.Repeat("x", int(FieldLimit.Most)) + "\r\n", "a field of the header has more than 131072 bytes, the limit"},
		"a long folded":    {"A: 1\r\n" + strings.Repeat(" "+line[1:], 132), "a field of the header has more than 131072 bytes, the limit"},
		"as long a header": {strings.Repeat("A:"+line[2:], 1048) + "\r\n" + line, ""},
		"a long header":    {strings.Repeat("A:"+line[2:], 1049), "the header of the message has more than 1048576 bytes, the limit"},
	} {
		got := ""
		if err := CheckHeader([]byte(test.raw)); err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
	if most := int64(1049 * 1000); most <= HeaderLimit.Most {
		t.Error(most)
	}
}

func TestPartLimit(t *testing.T) {
	body := []byte(strings.Repeat("--b\n", 20_000))
	if n := int64(len(Parts(body, "b"))); n != PartLimit.Most+1 {
		t.Errorf("%d parts", n)
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte("A: 1\r\n 2\r\nB : =?utf-8?q?=c3?= =?utf-8?q?=bc?=\r\n\r\nbody"))
	f.Add([]byte("A\n\n"))
	f.Add([]byte(" \r\r\n:\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		header, body := Read(raw)
		if !bytes.HasSuffix(raw, body) {
			t.Errorf("the body %q is not the end of the message", body)
		}
		var written strings.Builder
		for _, field := range header {
			if field.Name == "" || strings.ContainsAny(field.Value+field.Line(), "\n") || !strings.HasPrefix(field.Raw, field.Name) || !strings.HasSuffix(field.Raw, "\r\n") {
				t.Errorf("the field %+q", field)
			}
			Decode(field.Value)
			_, _ = Addresses(field.Value)
			written.WriteString(field.Raw)
		}
		// Reading the result again returns the same fields, so that a signature of the fields can be checked.
		again, rest := Read([]byte(written.String() + "\r\n"))
		if !slices.Equal(header, again) || len(rest) != 0 {
			t.Errorf("first read\n%+q\nsecond read\n%+q", header, again)
		}
	})
}

// FuzzParts takes messages apart: parts are parts of the body, and decoding makes nothing larger.
func FuzzParts(f *testing.F) {
	f.Add("Content-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: base64\r\n\r\n--b\r\n\r\nYQ==\r\n--b--\r\n")
	f.Add("Content-Type: multipart/report; boundary=\"b \"\n\n--b\n--b\n--b--\n--b")
	f.Add("Content-Transfer-Encoding: quoted-printable\r\n\r\n=41=\r\n=4")
	f.Fuzz(func(t *testing.T, raw string) {
		header, body := Read([]byte(raw))
		kind, parameters := ContentType(header.Line("Content-Type"))
		if len(kind) > 4*len(raw)+len("text/plain") {
			t.Errorf("the type %q", kind)
		}
		total := 0
		for _, part := range Parts(body, parameters["boundary"]) {
			if total += len(part); !bytes.Contains(body, part) {
				t.Errorf("%q is not in %q", part, body)
			}
		}
		if total > len(body) {
			t.Errorf("the parts have %d bytes, the body %d", total, len(body))
		}
		if got := Decoded(header, body); len(got) > len(body)+2 {
			t.Errorf("%d bytes became %d", len(body), len(got))
		}
	})
}
