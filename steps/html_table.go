package steps

import (
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"github.com/stepwatch/stepwatch/agent/result"
)

// grid is a table as a visitor sees it: a cell that spans several cells is repeated in each of them.
type grid struct {
	header []string
	rows   [][]string
}

// maxSpan limits the span of a cell, against huge ones.
const maxSpan = 1000

// findTable finds a table by its id, caption, label, or the heading above it, otherwise by a CSS selector or an XPath.
func (s *search) findTable(doc *html.Node) (*html.Node, error) {
	s.kind = "table"
	name := normalText(s.name)
	var tables []candidate
	over := "" // the latest heading
	for n := range doc.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		if headingLevel(n) > 0 {
			over = labelOf(n)
		}
		if n.DataAtom != atom.Table {
			continue
		}
		c := candidate{node: n, rank: -1, hidden: isHidden(n)}
		caption := ""
		if own := firstChild(n, atom.Caption); own != nil {
			caption = labelOf(own)
		}
		for _, text := range []string{caption, attributeText(n, "aria-label"), attributeText(n, "summary"), over} {
			if c.shown == "" && text != "" {
				c.shown = quote(text)
			}
			c.fitField(text, name)
		}
		id, _ := attribute(n, "id")
		if id != "" && id == s.name {
			c.fits(rankID, id)
		}
		if c.shown == "" && id != "" {
			c.shown = quote(id)
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

// gridOf reads a table. Its header is the last row of thead, or its first row.
func gridOf(table *html.Node) *grid {
	var head, body [][]string
	var open []spanning // cells that extend into the next rows, by column
	var walk func(n *html.Node, into *[][]string)
	walk = func(n *html.Node, into *[][]string) {
		for c := range n.ChildNodes() {
			switch {
			case c.Type != html.ElementNode, c.DataAtom == atom.Table, nodeVisibility(c) == gone:
			case c.DataAtom == atom.Thead:
				walk(c, &head)
			case c.DataAtom == atom.Tr:
				var row []string
				if row, open = rowOf(c, open); len(row) > 0 {
					*into = append(*into, row)
				}
			default:
				walk(c, into)
			}
		}
	}
	walk(table, &body)
	switch {
	case len(head) > 0:
		return &grid{head[len(head)-1], body}
	case len(body) > 0:
		return &grid{body[0], body[1:]}
	}
	return &grid{}
}

type spanning struct {
	text string
	rows int // remaining rows
}

func rowOf(tr *html.Node, above []spanning) (row []string, below []spanning) {
	take := func() {
		for len(row) < len(above) && above[len(row)].rows > 0 {
			a := above[len(row)]
			row = append(row, a.text)
			below = append(below, spanning{a.text, a.rows - 1})
		}
	}
	for c := range tr.ChildNodes() {
		if c.DataAtom != atom.Td && c.DataAtom != atom.Th || nodeVisibility(c) == gone {
			continue
		}
		take()
		var t textWriter
		walkText(&t, c, isHidden(c), nil)
		for range span(c, "colspan") {
			row = append(row, string(t.out))
			below = append(below, spanning{string(t.out), span(c, "rowspan") - 1})
			if len(row) > maxSpan {
				break
			}
		}
	}
	take()
	return row, below
}

func span(cell *html.Node, key string) int {
	value, _ := attribute(cell, key)
	n, err := strconv.Atoi(strings.TrimSpace(value))
	if err != nil {
		return 1
	}
	return max(1, min(n, maxSpan))
}

// columns finds the columns that the table of a step names.
func (s *search) columns(g *grid, names []string) ([]int, error) {
	var columns []int
	for _, name := range names {
		at := slices.Index(g.header, normalText(name))
		if at < 0 {
			return nil, s.failure(result.ReasonUnexpected, result.BlameWeb, "the table has no column %s; its columns are %s", quote(name), shownRow(g.header))
		}
		columns = append(columns, at)
	}
	return columns, nil
}

// cells returns some columns of a row; a row may be shorter than the header.
func cells(row []string, columns []int) []string {
	picked := make([]string, len(columns))
	for i, at := range columns {
		if at < len(row) {
			picked[i] = row[at]
		}
	}
	return picked
}

func normalRow(row []string, columns int) []string {
	normal := make([]string, columns)
	for i := range min(len(row), columns) {
		normal[i] = normalText(row[i])
	}
	return normal
}

func shownRow(row []string) string { return "| " + strings.Join(row, " | ") + " |" }

// haveRows checks that each of the rows exists, in any order; the table may have more.
func (s *search) haveRows(g *grid, wanted [][]string) error {
	columns, err := s.columns(g, wanted[0])
	if err != nil {
		return err
	}
	used := make([]bool, len(g.rows))
	for _, row := range wanted[1:] {
		want := normalRow(row, len(columns))
		at, alike, nearest := -1, 0, -1
		for i := range g.rows {
			if used[i] {
				continue
			}
			got := cells(g.rows[i], columns)
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
		case len(g.rows) == 0:
			why = "the table has no rows"
		case nearest >= 0:
			why += "; the closest is " + shownRow(cells(g.rows[nearest], columns))
		default:
			why += "; the first is " + shownRow(cells(g.rows[0], columns))
		}
		return s.failure(result.ReasonUnexpected, result.BlameWeb, "%s: %s", shownRow(want), why)
	}
	return nil
}

// beRows checks that the table has exactly these rows, in this order.
func (s *search) beRows(g *grid, wanted [][]string) error {
	columns, err := s.columns(g, wanted[0])
	if err != nil {
		return err
	}
	for i := range max(len(g.rows), len(wanted)-1) {
		switch {
		case i >= len(g.rows):
			return s.failure(result.ReasonUnexpected, result.BlameWeb, "row %d should be %s, but the table has only %d rows", i+1, shownRow(normalRow(wanted[i+1], len(columns))), len(g.rows))
		case i >= len(wanted)-1:
			return s.failure(result.ReasonUnexpected, result.BlameWeb, "the table has %d rows instead of %d; row %d is %s", len(g.rows), len(wanted)-1, i+1, shownRow(cells(g.rows[i], columns)))
		}
		want, got := normalRow(wanted[i+1], len(columns)), cells(g.rows[i], columns)
		if !slices.Equal(want, got) {
			return s.failure(result.ReasonUnexpected, result.BlameWeb, "row %d is %s instead of %s", i+1, shownRow(got), shownRow(want))
		}
	}
	return nil
}
