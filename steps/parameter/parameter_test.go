package parameter

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func shown(kind string, parameters map[string]string) string {
	text := kind
	for _, name := range slices.Sorted(maps.Keys(parameters)) {
		text += fmt.Sprintf(" %s=<%s>", name, parameters[name])
	}
	return text
}

var mailCases = []struct{ value, want string }{
	{"text/plain; charset=utf-8", "text/plain charset=<utf-8>"},
	{"Text/HTML; Charset=\"UTF-8\"", "text/html charset=<UTF-8>"},
	{"attachment; filename=report(1).pdf", "attachment filename=<report(1).pdf>"},
	{"attachment; filename=a@b.pdf", "attachment filename=<a@b.pdf>"},
	{"attachment; filename=two words.pdf; size=5", "attachment filename=<two words.pdf> size=<5>"},
	{`attachment; filename="a;b=c.pdf"; x=y`, "attachment filename=<a;b=c.pdf> x=<y>"},
	{`attachment; filename="a \"b\" \\.pdf"`, `attachment filename=<a "b" \.pdf>`},
	{"attachment;\r\n\tfilename=\"a.pdf\"", "attachment filename=<a.pdf>"},
	{`attachment; filename*=UTF-8''%e2%82%ac.pdf; filename=x.pdf`, "attachment filename=<€.pdf>"},
	{`attachment; filename*0="a long "; filename*1="name.pdf"`, "attachment filename=<a long name.pdf>"},
	{`attachment; filename*1="name.pdf"; filename*0="a long "`, "attachment filename=<a long name.pdf>"},
	{`attachment; filename*0*=UTF-8''%e2%82; filename*1*=%ac; filename*2=" %41.pdf"`, "attachment filename=<€ %41.pdf>"},
	{`attachment; filename*0*=ISO-8859-1'de'%fc; filename*2=lost`, "attachment filename=<ü>"},
	{`attachment; filename*=odd''%fc.pdf; filename=x.pdf`, "attachment filename=<x.pdf>"},
	{"attachment; filename=\"M\xfcller.pdf\"", "attachment filename=<Müller.pdf>"},
	{"attachment; filename=\"no end.pdf", "attachment filename=<no end.pdf>"},
	{"text/plain; charset=us-ascii (Plain text)", "text/plain charset=<us-ascii>"},
	{"text/plain (really); charset=utf-8", "text/plain charset=<utf-8>"},
	{"text/plain; charset=utf-8; charset=latin1;", "text/plain charset=<utf-8>"},
	{"multipart/mixed; boundary=\"=_a; b\"", "multipart/mixed boundary=<=_a; b>"},
	{"multipart/mixed;boundary=abc;;;", "multipart/mixed boundary=<abc>"},
	{"text", "text"}, {"", ""}, {"; a=b", " a=<b>"}, {"text/plain; novalue; x=", "text/plain x=<>"},
}

func TestMail(t *testing.T) {
	for _, c := range mailCases {
		if got := shown(Mail(c.value)); got != c.want {
			t.Errorf("%q is %s, wanted %s", c.value, got, c.want)
		}
	}
}

func TestMediaType(t *testing.T) {
	for _, c := range []struct {
		fields []string
		want   string
	}{
		{[]string{"text/html"}, "text/html"},
		{[]string{"Text/HTML; charset=UTF-8; charset=x"}, "text/html charset=<UTF-8>"},
		{[]string{"text/plain", "text/html"}, "text/html"},
		{[]string{"text/html; charset=utf-8", "text/html"}, "text/html charset=<utf-8>"},
		{[]string{"text/html; charset=utf-8, application/json"}, "application/json"},
		{[]string{"text/html; charset=utf-8", "*/*", "nonsense", ""}, "text/html charset=<utf-8>"},
		{[]string{`application/json;profile="a, b; c"`}, "application/json profile=<a, b; c>"},
		{[]string{"html"}, ""}, {[]string{"text/"}, ""}, {[]string{"te xt/html"}, ""}, {nil, ""},
	} {
		if got := shown(MediaType(c.fields)); got != c.want {
			t.Errorf("%q is %s, wanted %s", c.fields, got, c.want)
		}
	}
}

// TestDisposition has the cases without a file; those with one are compared with Chromium in room web.
func TestDisposition(t *testing.T) {
	for value, want := range map[string]string{
		"": "false ", "inline": "false ", "INLINE; filename=a.pdf": "false a.pdf", "attachment": "true ", "odd": "true ", "form-data; name=x": "true ",
		"filename=a.pdf": "true a.pdf", "attachment; filename=report(1).pdf": "true report(1).pdf", "attachment; filename=..": "true download",
	} {
		attachment, name := Disposition(value)
		if got := fmt.Sprintf("%t %s", attachment, name); got != want {
			t.Errorf("%q is %s, wanted %s", value, got, want)
		}
	}
}

func FuzzParameters(f *testing.F) {
	for _, c := range mailCases {
		f.Add(c.value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		_, name := Disposition(value)
		if strings.ContainsAny(name, "/\\\x00\r\n") || !utf8.ValidString(name) {
			t.Errorf("%q is saved as %q", value, name)
		}
		_, parameters := Mail(value)
		for name, text := range parameters {
			if strings.Contains(name, "*") || !utf8.ValidString(text) {
				t.Errorf("%q has the parameter %q, %q", value, name, text)
			}
		}
		if kind, _ := MediaType([]string{value}); kind != "" && !strings.Contains(kind, "/") {
			t.Errorf("%q is of type %q", value, kind)
		}
	})
}
