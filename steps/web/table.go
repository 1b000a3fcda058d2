package web

import (
	"slices"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps/pagetree"
	"github.com/stepwatch/stepwatch/steps/wording"
)

// findTable finds a table by its id, caption, label, or the heading above it, otherwise by a CSS selector or an XPath.
func (s *search) findTable(doc *html.Node) (*html.Node, error) {
	s.kind = "table"
	name := pagetree.Normal(s.name)
	var tables []candidate
	over := "" // the latest heading
	for n := range s.nodes(doc) {
		if n.Type != html.ElementNode {
			continue
		}
		if pagetree.HeadingLevel(n) > 0 {
			over = pagetree.Label(n)
		}
		if n.DataAtom != atom.Table {
			continue
		}
		c := candidate{node: n, rank: -1, hidden: pagetree.IsHidden(n)}
		caption := ""
		if own := pagetree.FirstChild(n, atom.Caption); own != nil {
			caption = pagetree.Label(own)
		}
		for _, text := range []string{caption, pagetree.AttributeText(n, "aria-label"), pagetree.AttributeText(n, "summary"), over} {
			if c.shown == "" && text != "" {
				c.shown = wording.Quote(text)
			}
			c.fitField(text, name)
		}
		id, _ := pagetree.Attribute(n, "id")
		if id != "" && id == s.name {
			c.fits(rankID, id)
		}
		if c.shown == "" && id != "" {
			c.shown = wording.Quote(id)
		}
		if c.shown == "" {
			c.shown = "one without a name"
		}
		tables = append(tables, c)
		over = "" // it names only the first table below it
	}
	if !slices.ContainsFunc(tables, func(c candidate) bool { return c.rank >= 0 }) {
		selected, err := selectElements(s.ctx, doc, s.name)
		if slow := tooSlow(s.ctx, err, s.act); slow != nil {
			return nil, slow
		}
		for i := range tables {
			if slices.Contains(selected, tables[i].node) {
				tables[i].fits(rankPart, "")
			}
		}
	}
	return s.choose(tables, "")
}

// columns finds the columns that the table of a step names.
func (s *search) columns(g *pagetree.Grid, names []string) ([]int, error) {
	var columns []int
	for _, name := range names {
		at := slices.Index(g.Header, pagetree.Normal(name))
		if at < 0 {
			return nil, s.failure(result.ReasonUnexpected, result.BlameWeb, "the table has no column %s; its columns are %s", wording.Quote(name), pagetree.ShowRow(g.Header))
		}
		columns = append(columns, at)
	}
	return columns, nil
}

// haveRows checks that each of the rows exists, in any order; the table may have more.
func (s *search) haveRows(g *pagetree.Grid, wanted [][]string) error {
	columns, err := s.columns(g, wanted[0])
	if err != nil {
		return err
	}
	used := make([]bool, len(g.Rows))
	for _, row := range wanted[1:] {
		want := pagetree.NormalRow(row, len(columns))
		at, alike, nearest := -1, 0, -1
		for i := range g.Rows {
			if used[i] {
				continue
			}
			got := pagetree.Cells(g.Rows[i], columns)
			if slices.Equal(got, want) {
				at = i
				break
			}
			same := 0
			for j := range want {
				if want[j] == got[j] {
					same++
				}
			}
			if same > alike {
				alike, nearest = same, i
			}
		}
		if at >= 0 {
			used[at] = true
			continue
		}
		why := "the table has no such row"
		switch {
		case len(g.Rows) == 0:
			why = "the table has no rows"
		case nearest >= 0:
			why += "; the closest is " + pagetree.ShowRow(pagetree.Cells(g.Rows[nearest], columns))
		default:
			why += "; the first is " + pagetree.ShowRow(pagetree.Cells(g.Rows[0], columns))
		}
		return s.failure(result.ReasonUnexpected, result.BlameWeb, "%s: %s", pagetree.ShowRow(want), why)
	}
	return nil
}

// beRows checks that the table has exactly these rows, in this order.
func (s *search) beRows(g *pagetree.Grid, wanted [][]string) error {
	columns, err := s.columns(g, wanted[0])
	if err != nil {
		return err
	}
	for i := range max(len(g.Rows), len(wanted)-1) {
		switch {
		case i >= len(g.Rows):
			return s.failure(result.ReasonUnexpected, result.BlameWeb, "row %d should be %s, but the table has only %d rows", i+1, pagetree.ShowRow(pagetree.NormalRow(wanted[i+1], len(columns))), len(g.Rows))
		case i >= len(wanted)-1:
			return s.failure(result.ReasonUnexpected, result.BlameWeb, "the table has %d rows instead of %d; row %d is %s", len(g.Rows), len(wanted)-1, i+1, pagetree.ShowRow(pagetree.Cells(g.Rows[i], columns)))
		}
		want, got := pagetree.NormalRow(wanted[i+1], len(columns)), pagetree.Cells(g.Rows[i], columns)
		if !slices.Equal(want, got) {
			return s.failure(result.ReasonUnexpected, result.BlameWeb, "row %d is %s instead of %s", i+1, pagetree.ShowRow(got), pagetree.ShowRow(want))
		}
	}
	return nil
}
