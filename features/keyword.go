package features

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	gherkin "github.com/cucumber/gherkin/go/v42"
	messages "github.com/cucumber/messages/go/v34"
)

// distance returns the number of letters to insert, remove, change or swap with their neighbour to turn a into b, ignoring
// case.
func distance(a, b string) int {
	x, y := []rune(strings.ToLower(a)), []rune(strings.ToLower(b))
	if len(x) > 64 || len(y) > 64 { // no name is that long, and the cost grows with the product
		return max(len(x), len(y))
	}
	before, previous, row := make([]int, len(y)+1), make([]int, len(y)+1), make([]int, len(y)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(x); i++ {
		before, previous, row = previous, row, before
		row[0] = i
		for j := 1; j <= len(y); j++ {
			change := 1
			if x[i-1] == y[j-1] {
				change = 0
			}
			row[j] = min(previous[j]+1, row[j-1]+1, previous[j-1]+change)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return row[len(y)]
}

// nearest returns the candidate at the least distance, the first of several.
func nearest(name string, candidates []string) (candidate string, slips int) {
	slips = 1 << 20
	for _, c := range candidates {
		if d := distance(name, c); d < slips {
			candidate, slips = c, d
		}
	}
	return candidate, slips
}

// titles returns the keywords with a colon.
func titles(d *gherkin.Dialect) []string {
	return slices.Concat(d.FeatureKeywords(), d.RuleKeywords(), d.BackgroundKeywords(), d.ScenarioKeywords(),
		d.ScenarioOutlineKeywords(), d.ExamplesKeywords())
}

// slip is a line with a probably misspelled keyword.
type slip struct {
	message string
	sure    bool // certainly a keyword; otherwise it may be prose
}

// titleSlip finds a misspelled keyword with a colon in a line that the parser did not recognise.
func titleSlip(line string, d *gherkin.Dialect) (slip, bool) {
	line = strings.TrimSpace(line)
	end := strings.IndexAny(line, ":：")
	if end <= 0 || end > 60 {
		return slip{}, false
	}
	colon, _ := utf8.DecodeRuneInString(line[end:])
	word := strings.TrimSpace(line[:end])
	keyword, slips := nearest(word, titles(d))
	size := utf8.RuneCountInString(keyword)
	switch {
	case word == keyword && colon != ':':
		return slip{fmt.Sprintf("%q is not a colon: write %q", colon, keyword+":"), true}, true
	case word == keyword && end > len(word):
		return slip{fmt.Sprintf("there is a blank before the colon: write %q", keyword+":"), true}, true
	case word == keyword:
		return slip{fmt.Sprintf("there is an invisible character before %q", keyword+":"), true}, true
	case slips <= size/5 || size <= 4 && slips == 0:
		return slip{fmt.Sprintf("%q is not a keyword: did you mean %q?", word+string(colon), keyword+":"), true}, true
	case slips <= size/3:
		return slip{fmt.Sprintf("%q is not a keyword: did you mean %q?", word+string(colon), keyword+":"), false}, true
	}
	return slip{}, false
}

// stepSlip finds the misspelled keyword of a step in a line that the parser did not recognise.
func stepSlip(line string, d *gherkin.Dialect) (slip, bool) {
	trimmed := strings.TrimSpace(line)
	word := trimmed
	if i := strings.IndexFunc(trimmed, unicode.IsSpace); i >= 0 {
		word = trimmed[:i]
	}
	var names []string
	for _, keyword := range d.StepKeywords() {
		name := strings.TrimSuffix(keyword, " ")
		if name == keyword { // written without a blank after it, so it matches every line that begins with it
			continue
		}
		names = append(names, name)
		rest, found := strings.CutPrefix(trimmed, name)
		if !found || rest == "" {
			continue
		}
		next, _ := utf8.DecodeRuneInString(rest)
		switch {
		case next == ' ' && strings.TrimLeft(line, " \t") != trimmed && !strings.HasPrefix(strings.TrimLeft(line, " \t"), name):
			return slip{fmt.Sprintf("there is an invisible character before %q", name), true}, true
		case next != ' ' && unicode.IsSpace(next):
			return slip{fmt.Sprintf("%q needs a blank after it, not %U", name, next), true}, true
		case next == ':' && name != "*":
			return slip{fmt.Sprintf("a step has no colon: write %q without it", name), true}, true
		}
	}
	keyword, slips := nearest(word, names)
	if size := utf8.RuneCountInString(keyword); size >= 4 && slips <= size/4 && len(word) < len(trimmed) {
		// Prose has words like "They" and "Than", so a changed letter counts only in longer keywords.
		if utf8.RuneCountInString(word) != size || size > 4 || slips == 0 || sameLetters(word, keyword) {
			return slip{fmt.Sprintf("%q is not a keyword: did you mean %q?", word, keyword), false}, true
		}
	}
	return slip{}, false
}

// sameLetters reports whether two words have the same letters in any order.
func sameLetters(a, b string) bool {
	x, y := []rune(strings.ToLower(a)), []rune(strings.ToLower(b))
	slices.Sort(x)
	slices.Sort(y)
	return slices.Equal(x, y)
}

// likeDescription begins the warning about a line that was probably meant as a keyword.
const likeDescription = "the line counts as a description: "

// describes says what follows a description.
type describes int

const (
	inHeader   describes = iota // backgrounds, scenarios and rules
	aboveSteps                  // steps
	aboveTable                  // the table of examples
)

// checkDescription finds misspelled keywords in what the parser took for the description of keyword's line.
func (c *compiler) checkDescription(keyword *messages.Location, description string, follows describes) {
	if description == "" {
		return
	}
	if c.lines == nil {
		c.lines = strings.Split(c.text, "\n")
	}
	d := gherkin.DialectsBuiltin().GetDialect(c.ast.Language)
	at := keyword.Line // from 1, so the index of the next line
	first := true
	var steps []*messages.Location // of lines that would be steps elsewhere
	for line := range strings.SplitSeq(description, "\n") {
		trimmed := strings.TrimSpace(line)
		if trimmed == "" { // in the file it may be a comment
			continue
		}
		for at < int64(len(c.lines)) && strings.TrimSuffix(c.lines[at], "\r") != line {
			at++
		}
		at++
		place := &messages.Location{Line: at, Column: int64(len(line)-len(strings.TrimLeft(line, " \t"))) + 1}
		s, found := titleSlip(line, d)
		if !found {
			s, found = stepSlip(line, d)
			// The lines of a paragraph begin with "and" or "when" by chance.
			found = found && follows != aboveTable && (s.sure || follows == aboveSteps && first)
		}
		switch {
		case found:
			// A description may have any words, so the file is valid and runs.
			if s.sure {
				steps = nil // a consequence of this slip
				follows = aboveTable
			}
			c.warn(RuleKeyword, place, likeDescription+"%s", s.message)
		case follows == inHeader && beginsStep(trimmed, d):
			// One line of prose begins with "When" or "But" by chance, two in a row do not.
			if steps = append(steps, place); len(steps) == 2 {
				c.warn(RuleKeyword, steps[0], "the lines count as a description but read like steps: steps must be below a scenario")
			}
		case len(steps) < 2:
			steps = nil
		}
		first = false
	}
}

// beginsStep reports whether a line looks like a step. It ignores stars: descriptions contain lists.
func beginsStep(line string, d *gherkin.Dialect) bool {
	for _, keyword := range d.StepKeywords() {
		if keyword != "* " && strings.HasPrefix(line, keyword) {
			return true
		}
	}
	return false
}

// dialects lists the languages, for messages about an unknown language. The parser's table only has a lookup by key, so this
// reads its keys by reflection. It returns none for a table of another type.
func dialects() []*gherkin.Dialect {
	provider := gherkin.DialectsBuiltin()
	table := reflect.ValueOf(provider)
	if table.Kind() != reflect.Map {
		return nil
	}
	var all []*gherkin.Dialect
	for _, key := range table.MapKeys() {
		if d := provider.GetDialect(key.String()); d != nil {
			all = append(all, d)
		}
	}
	slices.SortFunc(all, func(a, b *gherkin.Dialect) int { return strings.Compare(a.Language, b.Language) })
	return all
}
