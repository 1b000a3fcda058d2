package pagetree

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/stepwatch/stepwatch/steps/limit"
)

// numbered repeats a format with a number that grows.
func numbered(format string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

// Each limit of a page's tree is met, and the tree is not built beyond it.
func TestParseLimits(t *testing.T) {
	for _, c := range []struct {
		name, source string
		most         int64
		limit        limit.Limit
	}{
		{"many nodes", strings.Repeat("<p>x", 600), 1000, NodesLimit.With(1000)},
		{"few nodes", strings.Repeat("<p>x", 400), 1000, limit.Limit{}},
		{"formatting elements that are opened again", "<p>" + numbered("<font a=%d>", 20) + strings.Repeat("<p>x</p>", 100), 1000, NodesLimit.With(1000)},
		{"the same once", numbered("<font a=%d>", 20) + strings.Repeat("</font>", 20) + strings.Repeat("<p>x</p>", 400), 1000, limit.Limit{}},
		{"the same in a long page", "<p>" + numbered("<font a=%d>", 30) + strings.Repeat("<p>x</p>", 20_000), 0, NodesLimit},
		{"a long page", strings.Repeat("<p>word</p>", 100_000), 0, limit.Limit{}},
		{"the default", strings.Repeat("<br>", int(NodesLimit.Most)), 0, NodesLimit},
		{"deep", strings.Repeat("<div>", int(depthLimit.Most)+1), 0, depthLimit},
		{"less deep", strings.Repeat("<div>", int(depthLimit.Most)-10), 0, limit.Limit{}},
		{"many attributes", "<img" + numbered(" a%d", int(attributeLimit.Most)+1) + ">", 0, attributeLimit},
		{"some attributes", "<img" + numbered(" a%d", int(attributeLimit.Most)) + ">", 0, limit.Limit{}},
		{"attributes of later tags", numbered("<html a%d>", int(attributeLimit.Most)+1), 0, attributeLimit},
		{"the same of body", numbered("<body a%d>", int(attributeLimit.Most)+1), 0, attributeLimit},
	} {
		doc, size, err := Parse(t.Context(), []byte(c.source), c.most)
		exceeded := (*limit.Error)(nil)
		switch {
		case c.limit.Most == 0 && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.limit.Most == 0 && (doc == nil || size < int64(len(c.source))):
			t.Errorf("%s: no document, or of %d bytes", c.name, size)
		case c.limit.Most > 0 && (!errors.As(err, &exceeded) || exceeded.Limit != c.limit):
			t.Errorf("%s: %v, want the error of %+v", c.name, err, c.limit)
		}
	}
}

// A page that would need gigabytes is refused after a small part of it.
func TestParseStopsEarly(t *testing.T) {
	source := []byte("<p>" + numbered("<font a=%d>", 400) + strings.Repeat("<p>x</p>", 100_000))
	w := &watch{ctx: t.Context(), rest: source, close: true, nodes: NodesLimit}
	if _, err := html.ParseWithOptions(w, w.attend()); err == nil || w.err == nil {
		t.Fatal("no error")
	}
	if read := len(source) - len(w.rest); read > 32*part {
		t.Errorf("it was refused after %d of %d bytes", read, len(source))
	}
}

func TestParseEndsWithItsContext(t *testing.T) {
	gone := errors.New("gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(gone)
	if _, _, err := Parse(ctx, []byte("<p>x"), 0); !errors.Is(err, gone) {
		t.Error(err)
	}
}

// The looks at the unfinished tree visit each node a bounded number of times, however many elements are open.
func TestParseLooksSeldom(t *testing.T) {
	for _, source := range []string{
		strings.Repeat("<p>some <b>bold</b> and <a href=x>linked</a> words</p>\n", 30_000),
		numbered("<font a=%d>", 100) + strings.Repeat("<br>", 250_000),
	} {
		w := &watch{ctx: t.Context(), rest: []byte(source), close: true, nodes: NodesLimit}
		if _, err := html.ParseWithOptions(w, w.attend()); err != nil && w.err == nil {
			t.Fatal(err)
		}
		if w.looked > (tangle+1)*NodesLimit.Most {
			t.Errorf("%.20s…: the looks visited %d nodes", source, w.looked)
		}
	}
}

// In parts or at once, the tree is the same.
func FuzzParse(f *testing.F) {
	f.Add("<p>a<b>b<p>c</b><table><i>x<td>y</table>")
	f.Add("<html a><body b><html c d><select><option>x<input form=f>")
	f.Add("<font a=1><p><font a=2></p>x</font><p>y<template><td>z")
	f.Fuzz(func(t *testing.T, source string) {
		doc, _, err := Parse(t.Context(), []byte(source), 0)
		want, wantErr := html.Parse(strings.NewReader(source))
		if (err == nil) != (wantErr == nil) {
			t.Fatal(err, wantErr)
		}
		if err != nil {
			return
		}
		Flatten([]byte(source), want)
		var got, wanted bytes.Buffer
		if html.Render(&got, doc) != nil || html.Render(&wanted, want) != nil {
			t.Skip("such a tree cannot be written")
		}
		if got.String() != wanted.String() {
			t.Errorf("%q\n%q", got.String(), wanted.String())
		}
	})
}

func BenchmarkParse(b *testing.B) {
	const unit = "<p>some <b>bold</b> and <a href=x>linked</a> words</p>\n"
	for _, kb := range []int{2, 16, 64, 256, 1024} {
		source := []byte(strings.Repeat(unit, kb<<10/len(unit)))
		b.Run(fmt.Sprintf("%dKB", kb), func(b *testing.B) {
			b.SetBytes(int64(len(source)))
			for b.Loop() {
				if _, _, err := Parse(b.Context(), source, 0); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("%dKB/library", kb), func(b *testing.B) {
			b.SetBytes(int64(len(source)))
			for b.Loop() {
				doc, err := html.Parse(bytes.NewReader(source))
				if err != nil {
					b.Fatal(err)
				}
				Flatten(source, doc)
			}
		})
	}
}

// A span repeats a cell in each of its columns and rows, also in rows without a cell of their own.
func TestTableCells(t *testing.T) {
	table := func(source string) *html.Node {
		doc, _, err := Parse(t.Context(), []byte("<table>"+source+"</table>"), 0)
		if err != nil {
			t.Fatal(err)
		}
		for n := range doc.Descendants() {
			if n.Data == "table" {
				return n
			}
		}
		t.Fatal("no table")
		return nil
	}
	const wide = "<tr><td colspan=1000 rowspan=1000>x"
	rows := int(cellsLimit.Most)/maxSpan - 1
	if grid, err := GridOf(table(wide + strings.Repeat("<tr>", rows))); err != nil || len(grid.Rows) != rows {
		t.Error(err)
	}
	exceeded := (*limit.Error)(nil)
	if _, err := GridOf(table(wide + strings.Repeat("<tr>", rows+1))); !errors.As(err, &exceeded) || exceeded.Limit != cellsLimit {
		t.Error(err)
	}
}

// A long style is read once, and means the same.
func TestLongStyles(t *testing.T) {
	filler := strings.Repeat("color:red;", longStyle/10)
	for _, style := range []string{
		"display:none", "display:none;display:block", "display:none!important;display:block", "display:block;DISPLAY : none !important ;", "visibility:hidden", "visibility:hidden;visibility:visible",
		"opacity:0", "opacity:0!important;opacity:1", "opacity:1;opacity:0", "position:absolute;left:-9999px", "position:absolute;clip:rect(0,0,0,0)", "font-size:0", "text-indent:-9999px", "", "left:1px",
	} {
		short := &html.Node{Type: html.ElementNode, Data: "p", Attr: []html.Attribute{{Key: "style", Val: style}}}
		long := &html.Node{Type: html.ElementNode, Data: "p", Attr: []html.Attribute{{Key: "style", Val: filler + style + ";" + filler}}}
		condense(short)
		condense(long)
		if len(short.Attr) != 1 || len(long.Attr) != 2 || len(styleOf(long, 0)) > longStyle {
			t.Fatalf("%q: %q, %q", style, short.Attr, long.Attr)
		}
		if boxVisibility(short) != boxVisibility(long) || sightOf(short) != sightOf(long) {
			t.Errorf("%s: %d %d, when long %d %d", style, boxVisibility(short), sightOf(short), boxVisibility(long), sightOf(long))
		}
	}
}
