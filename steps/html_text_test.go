package steps

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

func treeText(t *testing.T, source string) (string, bool) {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(source))
	if err != nil {
		return "", false
	}
	return string(visibleText(doc)), true
}

func FuzzQuickTextIsTreeText(f *testing.F) {
	for _, c := range textCases {
		f.Add(c.source)
	}
	f.Add(`<html><head><title>a</title></head><body><p>b<b>c</b>d</p><div>e<p>f</p></div></body></html>`)
	f.Add(`<table><tr><td>a</td><td hidden>b</td></tr></table><select><option>c</option></select>`)
	f.Add(`<ul><li>a</li><li>b<ul><li>c</li></ul></li></ul><dl><dt>a</dt><dd>b</dd></dl>`)
	f.Add(`a<div style="display:none">b</div>c<a href=x>d</a><form><input><button>e</button></form><h1>f</h1>`)
	f.Fuzz(func(t *testing.T, source string) {
		quick, ok := quickText([]byte(source))
		if !ok {
			return
		}
		tree, ok := treeText(t, source)
		if !ok {
			t.Fatalf("quickText read %q, which the parser rejects", source)
		}
		if string(quick) != tree {
			t.Errorf("text of %q\nquick %q\ntree  %q", source, quick, tree)
		}
		if again := normalText(tree); again != tree {
			t.Errorf("text of %q is not normal: %q, normalised %q", source, tree, again)
		}
	})
}

var textCases = []struct {
	name, source, text string
	quick              bool // read without a tree
}{
	{"page", `<!doctype html><html><head><title>T</title><style>p{}</style></head><body><h1>Hello</h1><p>a <b>b</b>c</p></body></html>`, "Hello a bc", true},
	{"no-break spaces", "<p>B50F&nbsp;BE3B\u00a0409A\u202fx\u2007y</p>", "B50F BE3B 409A x y", true},
	{"invisible characters", "<p>soft\u00adhyphen&#8203;zero\u2060joiner\ufeff</p>", "softhyphenzerojoiner", true},
	{"hidden attribute", `a<p hidden>b<i>c</i></p>d<span hidden>e</span>f`, "adf", true},
	{"inline style", `a<p STYLE="Color: red; DISPLAY : none">b</p>d`, "ad", true},
	{"last declaration", `a<p style="display:none;display:block">b</p>`, "a b", true},
	{"important declaration", `a<p style="display:none!important;display:block">b</p>`, "a", true},
	{"visibility", `a<p style="visibility:hidden">b<i style="visibility:visible">c</i></p>`, "a c", false},
	{"script and style", `a<script>b</script><style>c</style><noscript>d</noscript>e`, "ae", true},
	{"template", `a<template><p>b</p></template>c`, "ac", false},
	{"closed details", `<details>x<summary>a</summary>b<p>c</p></details>d`, "a d", false},
	{"open details", `<details open><summary>a</summary>b<p>c</p></details>d`, "a b c d", false},
	{"closed dialog", `a<dialog>b</dialog><dialog open>c</dialog>`, "a c", false},
	{"popover", `a<div popover>b</div>c`, "ac", true},
	{"controls", `<textarea>a</textarea><input value=b><select><option>c</option></select><button>d</button>`, "c d", true},
	{"table", `<table><thead><tr><th>a</th></tr></thead><tr><td>b</td><td>c</td></tr></table>`, "a b c", true},
	{"text moved out of a table", `<table>a<tr><td>b</td></tr></table>`, "a b", false},
	{"tags left open", `<ul><li>a<li>b</ul><p>c<p>d`, "a b c d", false},
	{"misnested", `<b>a<i>b</b>c</i>d`, "abcd", false},
	{"stray end tag", `a</div>b`, "ab", false},
	{"text behind the body", `<body>a</body>b`, "ab", false},
	{"svg", `a<svg><title>b</title><text>c</text></svg>d`, "acd", false},
	{"line break", `a<br>b<wbr>c<hr>d`, "a bc d", true},
	{"comment in a word", `a<!-- x -->b`, "ab", true},
	{"entities", `a&amp;b &lt;c&gt; &eacute;`, "a&b <c> é", true},
	{"iframe", `a<iframe>b</iframe>c`, "ac", true},
	{"fallback", `a<video>b</video><canvas>c</canvas><object>d</object>e`, "ae", false},
	{"nothing", ``, "", true},
}

func TestVisibleText(t *testing.T) {
	for _, c := range textCases {
		t.Run(c.name, func(t *testing.T) {
			got, ok := treeText(t, c.source)
			if !ok || got != c.text {
				t.Errorf("tree %q, want %q", got, c.text)
			}
			quick, ok := quickText([]byte(c.source))
			if ok != c.quick {
				t.Errorf("read without a tree: %v, want %v", ok, c.quick)
			}
			if ok && !bytes.Equal(quick, []byte(c.text)) {
				t.Errorf("quick %q, want %q", quick, c.text)
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
	for a := range traits {
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
			// Usually close an open element, since quickText only reads well-nested documents.
			for n := int(close) + i; len(open) > 0 && n%3 == 0; n /= 3 {
				source.WriteString("x</" + open[len(open)-1] + ">")
				open = open[:len(open)-1]
			}
		}
		quick, ok := quickText([]byte(source.String()))
		if !ok {
			return
		}
		tree, ok := treeText(t, source.String())
		if !ok || string(quick) != tree {
			t.Errorf("text of %q\nquick %q\ntree  %q", source.String(), quick, tree)
		}
	})
}
