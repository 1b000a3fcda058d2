package pagetree

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"github.com/stepwatch/stepwatch/steps/limit"
)

func firstTable(t testing.TB, source string) *html.Node {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(source))
	if err != nil {
		t.Fatal(err)
	}
	for n := range doc.Descendants() {
		if n.DataAtom == atom.Table {
			return n
		}
	}
	return nil
}

// TestCellLimit reads tables with as many cells as are read, and with one row more.
func TestCellLimit(t *testing.T) {
	const row = "<tr><td colspan=1000>x"
	fits := firstTable(t, "<table>"+strings.Repeat(row, int(cellsLimit.Most)/1000))
	if grid, err := GridOf(fits); err != nil || len(grid.Rows)+1 != int(cellsLimit.Most)/1000 {
		t.Errorf("got %v", err)
	}
	if _, err := GridOf(firstTable(t, "<table>"+strings.Repeat(row, int(cellsLimit.Most)/1000+1))); !errors.As(err, new(*limit.Error)) {
		t.Errorf("got %v", err)
	}
}

// FuzzGrid reads tables of any page: a grid has no more cells than the limit, and its texts are those of the page.
func FuzzGrid(f *testing.F) {
	for _, source := range []string{"<table><thead><tr><th>a<th>b<tbody><tr><td>1<td>2", "<table><tr><td rowspan=3 colspan=2>x<td>y<tr><td>z<tr>", "<table><tr><td colspan=1001><table><tr><td>in",
		"<table><tr><td colspan=-1 rowspan=99999999999>x</td></tr></table>", fmt.Sprintf("<table><tr>%s", strings.Repeat("<td colspan=900 rowspan=900>x", 3))} {
		f.Add(source)
	}
	f.Fuzz(func(t *testing.T, source string) {
		table := firstTable(t, source)
		if table == nil {
			return
		}
		grid, err := GridOf(table)
		if err != nil {
			if !errors.As(err, new(*limit.Error)) {
				t.Errorf("got %v", err)
			}
			return
		}
		cells := len(grid.Header)
		for _, row := range grid.Rows {
			cells += len(row)
			for _, text := range row {
				if len(text) > 4*len(source) {
					t.Errorf("a cell has %d bytes of %d", len(text), len(source))
				}
			}
			NormalRow(row, len(grid.Header))
		}
		if int64(cells) > cellsLimit.Most {
			t.Errorf("%d cells", cells)
		}
	})
}
