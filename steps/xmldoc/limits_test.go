package xmldoc

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/antchfx/xmlquery"

	"github.com/stepwatch/stepwatch/steps/limit"
)

func TestLimits(t *testing.T) {
	many := func(unit string, n int64) string { return "<r>" + strings.Repeat(unit, int(n)) + "</r>" }
	for _, c := range []struct {
		name, document string
		read           func(*Document, *limit.Memory) error
		want           limit.Limit
	}{
		{"as many nodes as may be", many("<a/>", nodesLimit.Most-1), nil, limit.Limit{}},
		{"one more", many("<a/>", nodesLimit.Most), nil, nodesLimit},
		{"as deep as may be", strings.Repeat("<a>", int(depthLimit.Most)) + strings.Repeat("</a>", int(depthLimit.Most)), nil, limit.Limit{}},
		{"deeper", strings.Repeat("<a>", int(depthLimit.Most)+1), nil, depthLimit},
		{"items", strings.ReplaceAll(many("<item/>", itemsLimit.Most+1), "r>", "RDF>"), feed, itemsLimit},
		{"some items", strings.ReplaceAll(many("<item/>", itemsLimit.Most), "r>", "RDF>"), feed, limit.Limit{}},
		{"the memory of a tree", many("<a/>", 20_000), selecting("count(//a)"), limit.RunMemory.With(2 << 20)},
		{"a smaller one", many("<a/>", 10_000), selecting("count(//a)"), limit.Limit{}},
		{"the memory of texts", strings.Repeat("<a>", 300) + strings.Repeat("word ", 2000) + strings.Repeat("</a>", 300), selecting("//a"), limit.RunMemory.With(2 << 20)},
	} {
		memory := limit.NewMemory(2<<20, nil)
		doc, err := Parse(t.Context(), []byte(c.document))
		if err == nil && c.read != nil {
			err = c.read(doc, memory)
		}
		exceeded := (*limit.Error)(nil)
		if errors.As(err, &exceeded) != (c.want.Most > 0) || exceeded != nil && exceeded.Limit != c.want || exceeded == nil && err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if memory.Used() != 0 {
			t.Errorf("%s: %d bytes are still taken", c.name, memory.Used())
		}
	}
}

func feed(d *Document, _ *limit.Memory) error {
	_, err := d.Feed()
	return err
}

func selecting(path string) func(*Document, *limit.Memory) error {
	return func(d *Document, memory *limit.Memory) error {
		_, err := d.Select(memory, path)
		return err
	}
}

func TestParseEndsWithItsContext(t *testing.T) {
	gone := errors.New("gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	doc, err := Parse(ctx, []byte("<urlset><url><loc>x</loc></url></urlset>"))
	if err != nil {
		t.Fatal(err)
	}
	cancel(gone)
	_, err = Parse(ctx, []byte("<a/>"))
	_, _, of := doc.Sitemap()
	_, path := doc.Select(nil, "//loc")
	for _, err := range []error{err, of, path} {
		if !errors.Is(err, gone) {
			t.Error(err)
		}
	}
}

// Only what is where a feed has it counts: a title in a title is text, an image has another title.
func TestFeedReadsFieldsInPlace(t *testing.T) {
	doc, err := Parse(t.Context(), []byte(`<rss><channel><title>No</title><item><title>A<b> c</b></title><media><title>No</title></media><item><title>No</title></item></item></channel><item><title>D</title></item><other><item/></other></rss>`))
	if err != nil {
		t.Fatal(err)
	}
	items, err := doc.Feed()
	var titles []string
	for _, i := range items {
		titles = append(titles, i.Title)
	}
	if err != nil || !slices.Equal(titles, []string{"A c", "D"}) {
		t.Errorf("%q, %v", titles, err)
	}
}

// The memory that is counted is near to what a tree takes.
func TestMemoryIsNearTheTruth(t *testing.T) {
	for _, unit := range []string{"<a/>", "<a>x</a>", `<a b="c" d="e" f="g"/>`, "<!---->", "<url><loc>https://www.example.org/page/1234</loc></url>\n"} {
		source := []byte("<r>" + strings.Repeat(unit, 200_000/len(unit)) + "</r>")
		doc, err := Parse(t.Context(), source)
		if err != nil {
			t.Fatal(err)
		}
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		tree, err := xmlquery.Parse(strings.NewReader(string(source)))
		runtime.GC()
		runtime.ReadMemStats(&after)
		if err != nil || tree.FirstChild == nil {
			t.Fatal(err)
		}
		held := int64(after.HeapAlloc) - int64(before.HeapAlloc) + int64(len(source))
		if held > doc.size+doc.size/4 || doc.size > 2*held {
			t.Errorf("%s: counted %d bytes, held %d", unit, doc.size, held)
		}
		runtime.KeepAlive(tree)
	}
}
