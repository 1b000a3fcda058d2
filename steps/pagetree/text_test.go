package pagetree

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

func treeText(t *testing.T, source string) (string, bool) {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(source))
	if err != nil {
		return "", false
	}
	return string(VisibleText(doc)), true
}

func FuzzQuickTextIsTreeText(f *testing.F) {
	for _, c := range fixture.TextCases {
		f.Add(c.Source)
	}
	f.Add(`<html><head><title>a</title></head><body><p>b<b>c</b>d</p><div>e<p>f</p></div></body></html>`)
	f.Add(`<table><tr><td>a</td><td hidden>b</td></tr></table><select><option>c</option></select>`)
	f.Add(`<ul><li>a</li><li>b<ul><li>c</li></ul></li></ul><dl><dt>a</dt><dd>b</dd></dl>`)
	f.Add(`a<div style="display:none">b</div>c<a href=x>d</a><form><input><button>e</button></form><h1>f</h1>`)
	f.Fuzz(func(t *testing.T, source string) {
		quick, ok := QuickText([]byte(source))
		if !ok {
			return
		}
		tree, ok := treeText(t, source)
		if !ok {
			t.Fatalf("QuickText read %q, which the parser rejects", source)
		}
		if string(quick) != tree {
			t.Errorf("text of %q\nquick %q\ntree  %q", source, quick, tree)
		}
		if again := Normal(tree); again != tree {
			t.Errorf("text of %q is not normal: %q, normalised %q", source, tree, again)
		}
	})
}

func TestVisibleText(t *testing.T) {
	for _, c := range fixture.TextCases {
		t.Run(c.Name, func(t *testing.T) {
			got, ok := treeText(t, c.Source)
			if !ok || got != c.Text {
				t.Errorf("tree %q, want %q", got, c.Text)
			}
			quick, ok := QuickText([]byte(c.Source))
			if ok != c.Quick {
				t.Errorf("read without a tree: %v, want %v", ok, c.Quick)
			}
			if ok && !bytes.Equal(quick, []byte(c.Text)) {
				t.Errorf("quick %q, want %q", quick, c.Text)
			}
		})
	}
}

// htmlPieces are the parts of the documents of FuzzQuickTextOfPieces: every element that has a rule of its own, and
// input that is difficult for parsers.
var htmlPieces = func() []string {
	pieces := []string{"a", " ", "b c", "\n", "&amp;", "&nbsp;", "&ampx", "<!-- c -->", "<!doctype html>", "<", "</", ">", "/>", "=", `"`, "'", "-->", "<!--", "--!>",
		`<p hidden>`, `<div hidden>`, `<span style="display:none">`, `<div style=display:none>`, `<br/>`, `<br hidden>`, `<input type=hidden>`, `<a href="x">`,
		`<details open>`, `<dialog open>`, `<svg>`, `</svg>`, `<math>`, `<p popover>`, `<x-y>`, `</x-y>`, `<table hidden>`, `<option hidden>`, `<body hidden>`,
		`<DIV CLASS=a>`, `<a href=/x/>`, "<script>a<b</script>", "<title>t</title>", "<textarea></b></textarea>", "<style>p</style>", "<noscript><p>n</p></noscript>"}
	for a := range Traits {
		pieces = append(pieces, "<"+a.String()+">", "</"+a.String()+">")
	}
	slices.Sort(pieces)
	return pieces
}()

// FuzzQuickTextOfPieces converts bytes to tags, so that most documents have some structure.
func FuzzQuickTextOfPieces(f *testing.F) {
	for i := range 20 {
		f.Add([]byte{byte(i), byte(3 * i), byte(7 * i), byte(11 * i), byte(29 * i)}, uint8(i))
	}
	f.Fuzz(func(t *testing.T, choice []byte, close uint8) {
		var source strings.Builder
		var open []string
		for i, c := range choice {
			piece := htmlPieces[(int(c)+i%3*256)%len(htmlPieces)]
			source.WriteString(piece)
			if name, is := strings.CutPrefix(piece, "<"); is && len(name) > 1 && name[0] != '/' && name[0] != '!' {
				open = append(open, strings.TrimRight(strings.Fields(name)[0], ">/"))
			}
			// Usually close an open element, since QuickText only reads well-nested documents.
			for n := int(close) + i; len(open) > 0 && n%3 == 0; n /= 3 {
				source.WriteString("x</" + open[len(open)-1] + ">")
				open = open[:len(open)-1]
			}
		}
		quick, ok := QuickText([]byte(source.String()))
		if !ok {
			return
		}
		tree, ok := treeText(t, source.String())
		if !ok || string(quick) != tree {
			t.Errorf("text of %q\nquick %q\ntree  %q", source.String(), quick, tree)
		}
	})
}

func BenchmarkQuickText(b *testing.B) {
	page := []byte("<!doctype html><html><head><title>Home</title></head><body><h1>Welcome</h1>" +
		strings.Repeat("<p>Some text with <a href=\"/x\">a link</a> in it.</p>\n", 36) + "<p>All is well</p></body></html>")
	b.ReportAllocs()
	for b.Loop() {
		if _, quick := QuickText(page); !quick {
			b.Fatal("the page is not clean")
		}
	}
}
