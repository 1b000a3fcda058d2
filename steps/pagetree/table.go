package pagetree

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// Grid is a table as a visitor sees it: a cell that spans several cells is repeated in each of them.
type Grid struct {
	Header []string
	Rows   [][]string
}

// maxSpan limits the span of a cell, against huge ones.
const maxSpan = 1000

// CellLimit limits the cells of a table, with one that spans several counted as often as it is shown: a few bytes of a page
// may ask for a million.
const CellLimit = 200_000

// ErrTooManyCells is the error of a table with more than CellLimit cells.
var ErrTooManyCells = fmt.Errorf("it has more than %d cells, the limit", CellLimit)

// GridOf reads a table. Its header is the last row of thead, or its first row. The error is ErrTooManyCells.
func GridOf(table *html.Node) (*Grid, error) {
	var head, body [][]string
	cells := 0
	var open []spanning // cells that extend into the next rows, by column
	var walk func(n *html.Node, into *[][]string)
	walk = func(n *html.Node, into *[][]string) {
		for c := range n.ChildNodes() {
			switch {
			case cells > CellLimit:
				return
			case c.Type != html.ElementNode, c.DataAtom == atom.Table, nodeVisibility(c) == Gone:
			case c.DataAtom == atom.Thead:
				walk(c, &head)
			case c.DataAtom == atom.Tr:
				var row []string
				row, open = rowOf(c, open)
				if cells += len(row); len(row) > 0 {
					*into = append(*into, row)
				}
			default:
				walk(c, into)
			}
		}
	}
	walk(table, &body)
	switch {
	case cells > CellLimit:
		return nil, ErrTooManyCells
	case len(head) > 0:
		return &Grid{head[len(head)-1], body}, nil
	case len(body) > 0:
		return &Grid{body[0], body[1:]}, nil
	}
	return &Grid{}, nil
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
		if c.DataAtom != atom.Td && c.DataAtom != atom.Th || nodeVisibility(c) == Gone {
			continue
		}
		take()
		var t TextWriter
		WalkText(&t, c, IsHidden(c), nil)
		for range span(c, "colspan") {
			row = append(row, string(t.Out))
			below = append(below, spanning{string(t.Out), span(c, "rowspan") - 1})
			if len(row) > maxSpan {
				break
			}
		}
	}
	take()
	return row, below
}

func span(cell *html.Node, key string) int {
	value, _ := Attribute(cell, key)
	n, err := strconv.Atoi(strings.TrimSpace(value))
	if err != nil {
		return 1
	}
	return max(1, min(n, maxSpan))
}

// Cells returns some columns of a row; a row may be shorter than the header.
func Cells(row []string, columns []int) []string {
	picked := make([]string, len(columns))
	for i, at := range columns {
		if at < len(row) {
			picked[i] = row[at]
		}
	}
	return picked
}

// NormalRow returns a row with its spaces as a visitor sees them, filled up to a number of columns.
func NormalRow(row []string, columns int) []string {
	normal := make([]string, columns)
	for i := range min(len(row), columns) {
		normal[i] = Normal(row[i])
	}
	return normal
}

// ShowRow writes a row as a feature file does.
func ShowRow(row []string) string { return "| " + strings.Join(row, " | ") + " |" }
