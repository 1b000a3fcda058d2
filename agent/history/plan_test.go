package history

import (
	"database/sql"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// large are the tables with a row for each scenario and hour, day, failure or event. No query may read one as a whole.
var large = regexp.MustCompile(`^SCAN (blocks|days|spells|events)\b`)

// wholeOnPurpose are the queries that read a large table as a whole, and why.
var wholeOnPurpose = map[string]string{
	"SELECT number, scenario, records FROM blocks ORDER BY number DESC": "a run is looked for by Result.Run, the newest first, and it stops when it is found",
}

// TestPlans holds that each statement of the package finds its rows with an index, so that a query takes as long after a year as
// after a day.
func TestPlans(t *testing.T) {
	b := newBench(t, Options{})
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	statements, fset := 0, token.NewFileSet()
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(fset, path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			literal, is := n.(*ast.BasicLit)
			if !is || literal.Kind != token.STRING {
				return true
			}
			text, _ := strconv.Unquote(literal.Value)
			if !regexp.MustCompile(`^(SELECT|DELETE|UPDATE) `).MatchString(text) {
				return true
			}
			statements++
			if wholeOnPurpose[text] != "" {
				return true
			}
			if err := b.read(t.Context(), func(q *query) error {
				return each(q, q.tx, func(rows *sql.Rows) error {
					var id, parent, unused int
					var detail string
					if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
						return err
					}
					if large.MatchString(detail) || strings.Contains(detail, "TEMP B-TREE") && !strings.Contains(text, "FROM spells") {
						t.Errorf("%s: %s: %s", fset.Position(literal.Pos()), detail, text)
					}
					return nil
				}, "EXPLAIN QUERY PLAN "+text, make([]any, placeholders(text))...)
			}); err != nil {
				t.Errorf("%s: %v", fset.Position(literal.Pos()), err)
			}
			return true
		})
	}
	if statements < 35 {
		t.Errorf("only %d statements are known", statements)
	}
}

// placeholders returns how many arguments a statement takes.
func placeholders(text string) int {
	most := 0
	for _, m := range regexp.MustCompile(`\?(\d)`).FindAllStringSubmatch(text, -1) {
		n, _ := strconv.Atoi(m[1])
		most = max(most, n)
	}
	return max(most, strings.Count(text, "?")*map[bool]int{true: 1}[most == 0])
}

// TestFewBlocksAreRead holds that the queries read blobs in proportion to what they show.
func TestFewBlocksAreRead(t *testing.T) {
	b := newBench(t, Options{})
	for hour := range 24 * 10 {
		b.clock = start.Add(time.Duration(hour) * time.Hour)
		for n := range 3 {
			for minute := range 10 {
				b.Export(passedRun(n, b.clock.Add(time.Duration(minute)*time.Minute), time.Millisecond))
			}
		}
		b.commit()
	}
	b.clock = b.clock.Add(time.Hour)
	b.commit()
	for _, c := range []struct {
		name string
		most int64
		ask  func() error
	}{
		{"heartbeats", 3 * 4, func() error { _, err := b.Heartbeats(t.Context(), 30); return err }},
		{"uptime of a day", 3 * 2, func() error { _, _, err := b.Uptime(t.Context(), b.clock.Add(-24*time.Hour), b.clock); return err }},
		{"uptime of ten days", 0, func() error { _, _, err := b.Uptime(t.Context(), b.clock.Add(-240*time.Hour), b.clock); return err }},
		{"newest runs", 8, func() error { _, _, err := b.Runs(t.Context(), Query{Limit: 50}); return err }},
		{"failures of ten days", 0, func() error { _, _, err := b.Runs(t.Context(), Query{Failed: true}); return err }},
		{"percentiles of two hours", 4, func() error {
			_, _, err := b.Percentiles(t.Context(), identity(1).ID(), b.clock.Add(-2*time.Hour), b.clock, time.Minute, nil)
			return err
		}},
	} {
		before := blocksRead.Load()
		if err := c.ask(); err != nil {
			t.Error(err)
		}
		if n := blocksRead.Load() - before; n > c.most {
			t.Errorf("%s: %d blocks, want at most %d", c.name, n, c.most)
		}
	}
}
