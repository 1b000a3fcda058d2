package form_test

import (
	"bytes"
	"io"
	"mime"
	"mime/multipart"
	"strings"
	"testing"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/unicode"

	"github.com/stepwatch/stepwatch/steps/form"
)

func parse(t testing.TB, source string) *html.Node {
	t.Helper()
	doc, err := html.ParseWithOptions(strings.NewReader(source), html.ParseOptionEnableScripting(true))
	if err != nil {
		t.Skip(err)
	}
	return doc
}

func TestOwners(t *testing.T) {
	for _, c := range []struct{ name, source, want string }{
		{"inside", `<form id=f><input id=a></form><input id=b>`, "a:f b:"},
		{"named", `<input id=a form=f><form id=f><input id=b form=g><input id=c form=x></form><form id=g></form>`, "a:f b:g c:"},
		{"named by the id of another element", `<p id=f></p><input id=a form=f>`, "a:"},
		{"between table and row", `<table><form id=f><tr><td><input id=a></td></tr></form><tr><td><input id=b></td></tr></table>`, "a:f b:"},
		{"between rows and cells", `<table><tr><form id=f><td><input id=a></td></form></tr><tr><form id=g><td><input id=b></td></form></tr></table>`, "a:f b:g"},
		{"closed too late", `<div><form id=f><input id=a></div><input id=b></form><input id=c>`, "a:f b:f c:"},
		{"never closed", `<div><form id=f></div><p><input id=a>`, "a:f"},
		{"nested", `<form id=f><input id=a><form id=g><input id=b></form><input id=c></form>`, "a:f b:f c:"},
		{"moved before the table", `<form id=f></form><table><tr><td><form id=g><input id=a></form></td></tr><input id=b></table>`, "b: a:g"},
		{"in a template", `<form id=f><template><input id=a></template><input id=b></form>`, "b:f"},
		{"in a shadow tree", `<form id=f><div><template shadowrootmode=open><input id=a><form id=g><input id=b></form></template></div><input id=c></form>`, "a: b:g c:f"},
		{"in a text", `<form id=f><textarea id=a></form></textarea><!-- </form> --><script>"</form>"</script><input id=b></form>`, "a:f b:f"},
	} {
		doc := parse(t, c.source)
		owners := form.Owners(doc, []byte(c.source))
		var got []string
		for n := range doc.Descendants() {
			owner, found := owners[n]
			if !found {
				continue
			}
			got = append(got, id(n)+":"+id(owner))
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}

func id(n *html.Node) string {
	if n != nil {
		for _, a := range n.Attr {
			if a.Key == "id" {
				return a.Val
			}
		}
	}
	return ""
}

// TestUnsent checks what browsers decode and do not send (Encoding §12).
func TestUnsent(t *testing.T) {
	for _, c := range []struct {
		label, text, want string
	}{
		{"big5", "中ü", "a=%A4%A4%26%23252%3B"},
		{"big5", "中文", "a=%A4%A4%A4%E5"},
		{"euc-jp", "日ü本", "a=%C6%FC%26%23252%3B%CB%DC"},
		{"euc-jp", "日本", "a=%C6%FC%CB%DC"},
	} {
		coding, err := htmlindex.Get(c.label)
		if err != nil {
			t.Fatal(err)
		}
		if got := form.URLEncoded([]form.Entry{{Name: "a", Value: c.text}}, form.Output(form.Output(coding))); got != c.want {
			t.Errorf("%s in %s: got %s, want %s", c.text, c.label, got, c.want)
		}
	}
}

// FuzzEntries checks that every form can be sent in every way, and that a server reads the fields that were sent.
func FuzzEntries(f *testing.F) {
	for _, source := range []string{
		`<form><input name=a value="x&#10;y"><textarea name=b>1</textarea><select name=c><option>x</select><input type=file name=d><input type=image></form>`,
		`<table><form accept-charset="x shift_jis"><tr><input type=hidden name=_charset_><input type=range min=9 max=1 step=-1 name=r></table>`,
		`<form dir=auto><input name=a dirname=b value=א><input type=number name=n value=1e999><input type=week name=w value=9999-W53></form>`,
		`<form><template><form><input name=a></form></template><input type=datetime-local name=d value="2026-01-01 01:01:01.100">`,
		"<form><input name='\xff\"\\\r\n' value='\u2028€'></form>",
	} {
		f.Add(source)
	}
	f.Fuzz(func(t *testing.T, source string) {
		doc := parse(t, source)
		owners := form.Owners(doc, []byte(source))
		for n := range doc.Descendants() {
			if n.DataAtom != atom.Form || n.Type != html.ElementNode {
				continue
			}
			for _, coding := range []encoding.Encoding{nil, charmap.Windows1252, japanese.ShiftJIS, japanese.ISO2022JP, simplifiedchinese.GB18030, unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM)} {
				own := form.Coding(n, coding)
				list := form.Entries(doc, n, nil, form.State{Owners: owners, Coding: own})
				encoded := form.URLEncoded(list, own)
				if i := strings.IndexFunc(encoded, func(r rune) bool { return r <= ' ' || r >= 0x7f }); i >= 0 {
					t.Fatalf("%q cannot be sent in an address", encoded)
				}
				if fields := strings.Count(encoded, "="); fields != len(list) {
					t.Fatalf("%q has %d fields, want %d", encoded, fields, len(list))
				}
				_ = form.Text(list, own)
				body, kind, err := form.Multipart(list, own)
				if err != nil {
					t.Fatal(err)
				}
				_, params, _ := mime.ParseMediaType(kind)
				if bytes.ContainsFunc(body, func(r rune) bool { return r < ' ' && r != '\r' && r != '\n' || r == 0x7f }) {
					continue // browsers send control characters in names, which Go's reader refuses
				}
				parts := multipart.NewReader(bytes.NewReader(body), params["boundary"])
				for i := range list {
					part, err := parts.NextRawPart()
					if err != nil {
						t.Fatalf("part %d of %d: %v", i+1, len(list), err)
					}
					if _, err := io.Copy(io.Discard, part); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
	})
}
