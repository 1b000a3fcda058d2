package steps_test

import (
	"regexp/syntax"
	"strings"
	"testing"

	"github.com/stepwatch/stepwatch/steps"
)

// TestNoTextHasTwoMeanings holds that no step can match two sentences, whatever its parameters are, as long as they hold no
// double quotes. It looks for a text that both patterns of a pair accept, by walking through both at once.
func TestNoTextHasTwoMeanings(t *testing.T) {
	// These take any words around them, as cucumber-nagios has it, and so the sentences of one another.
	free := map[string]bool{"the request should succeed": true, "the request should fail": true, "I fetch headers from {url}": true}
	type pattern struct {
		sentence, text string
		program        *syntax.Prog
	}
	var patterns []pattern
	for _, d := range steps.Builtin().Definitions() {
		for _, m := range d.Matchers() {
			patterns = append(patterns, pattern{d.Sentence, m.String(), textProgram(t, m.String())})
		}
	}
	for i, a := range patterns {
		for _, b := range patterns[:i] {
			if free[a.sentence] && free[b.sentence] {
				continue
			}
			if text, both := overlap(a.program, b.program); both {
				t.Errorf("%q matches both %s and %s", text, b.text, a.text)
			}
		}
	}
}

func TestOverlapIsFound(t *testing.T) {
	for _, c := range []struct {
		a, b string
		both bool
	}{
		{`^I see "(.*)"$`, `^I see "(.*)" twice$`, false},
		{`^I see "(.*)"$`, `^I see "?(\S+)"?$`, true},
		{`^I see "(.*)" twice$`, `^I see "(.*)" (\w+)$`, true},
		{`^I wait (\d+) ?s$`, `^I wait (\d+) seconds$`, false},
		{`ends so$`, `^begins so`, true},
	} {
		if text, both := overlap(textProgram(t, c.a), textProgram(t, c.b)); both != c.both {
			t.Errorf("%s and %s: both match %q: %v", c.a, c.b, text, both)
		}
	}
}

// textProgram compiles a pattern so that it takes whole texts, and parameters without quotes.
func textProgram(t *testing.T, pattern string) *syntax.Prog {
	t.Helper()
	const words = "[^\"'`/]*"
	pattern = strings.NewReplacer(`'(.+)'`, `'([^"']+)'`, `(.*)`, `([^"]*)`, `(?:.*)`, `(?:`+words+`)`, `\S`, `[^"\s]`).Replace(pattern)
	if !strings.HasPrefix(pattern, "^") {
		pattern = words + pattern
	}
	if !strings.HasSuffix(pattern, "$") {
		pattern += words
	}
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		t.Fatal(err)
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		t.Fatal(err)
	}
	return program
}

// place is a state of two programs: what each does next, and whether any rune was read so far.
type place struct{ a, b uint32 }

// overlap finds a text that both programs accept.
func overlap(a, b *syntax.Prog) (string, bool) {
	start := place{uint32(a.Start), uint32(b.Start)}
	type step struct {
		at    place
		text  string
		begun bool
	}
	type visit struct {
		at    place
		begun bool
	}
	seen := map[visit]bool{}
	for queue := []step{{at: start}}; len(queue) > 0; queue = queue[1:] {
		s := queue[0]
		endA, runesA := closure(a, s.at.a, !s.begun)
		endB, runesB := closure(b, s.at.b, !s.begun)
		if endA && endB {
			return s.text, true
		}
		for _, i := range runesA {
			for _, j := range runesB {
				r, common := sharedRune(&a.Inst[i], &b.Inst[j])
				next := place{a.Inst[i].Out, b.Inst[j].Out}
				if common && !seen[visit{next, true}] {
					seen[visit{next, true}] = true
					queue = append(queue, step{next, s.text + string(r), true})
				}
			}
		}
	}
	return "", false
}

// closure follows everything that reads no rune. It says whether the program may end there, at the text's end, and which
// instructions read a rune. The beginning is that of the text; an end that was asserted leaves nothing to read.
func closure(p *syntax.Prog, pc uint32, beginning bool) (ends bool, runes []uint32) {
	type state struct {
		pc    uint32
		atEnd bool
	}
	seen := map[state]bool{}
	for stack := []state{{pc, false}}; len(stack) > 0; {
		s := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if seen[s] {
			continue
		}
		seen[s] = true
		switch i := p.Inst[s.pc]; i.Op {
		case syntax.InstAlt, syntax.InstAltMatch:
			stack = append(stack, state{i.Out, s.atEnd}, state{i.Arg, s.atEnd})
		case syntax.InstCapture, syntax.InstNop:
			stack = append(stack, state{i.Out, s.atEnd})
		case syntax.InstEmptyWidth:
			switch op := syntax.EmptyOp(i.Arg); {
			case op&(syntax.EmptyBeginText|syntax.EmptyBeginLine) != 0:
				if beginning {
					stack = append(stack, state{i.Out, s.atEnd})
				}
			case op&(syntax.EmptyEndText|syntax.EmptyEndLine) != 0:
				stack = append(stack, state{i.Out, true})
			default:
				stack = append(stack, state{i.Out, s.atEnd}) // a word's edge: taken for met
			}
		case syntax.InstMatch:
			ends = true
		case syntax.InstRune, syntax.InstRune1, syntax.InstRuneAny, syntax.InstRuneAnyNotNL:
			if !s.atEnd {
				runes = append(runes, s.pc)
			}
		}
	}
	return ends, runes
}

// sharedRune gives a rune that both instructions read, a plain one when there is any.
func sharedRune(a, b *syntax.Inst) (rune, bool) {
	for r := rune(' '); r < 0x7f; r++ {
		if a.MatchRune(r) && b.MatchRune(r) {
			return r, true
		}
	}
	for _, r := range []rune{'\t', '\n', 'é', '→'} {
		if a.MatchRune(r) && b.MatchRune(r) {
			return r, true
		}
	}
	return 0, false
}
