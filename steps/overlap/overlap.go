// Package overlap finds out whether two sentences can mean the same text, by their regular expressions.
//
// What a pattern leaves open counts as holding no double quotes, because every parameter would else reach into the next
// one: `I see "(.*)"` is no rival of `I see "(.*)" in "(.*)"`. A word's edge (\b) is taken for met.
package overlap

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
)

// Program is a pattern made ready.
type Program struct {
	program *syntax.Prog
	start   uint32 // program.Start, as instructions write it
	prefix  string // what every text that it accepts begins with
}

// words are what may stand around a pattern that is open at an end.
const words = "[^\"'`/]*"

var withoutQuotes = strings.NewReplacer(`'(.+)'`, `'([^"']+)'`, `(.*)`, `([^"]*)`, `(?:.*)`, `(?:`+words+`)`, `\S`, `[^"\s]`)

// Compile reads a pattern that regexp takes. One without "^" or "$" at an end lets anything stand there, as it does there.
func Compile(pattern string) (Program, error) {
	pattern = withoutQuotes.Replace(pattern)
	if !strings.HasPrefix(pattern, "^") {
		pattern = words + pattern
	}
	if !strings.HasSuffix(pattern, "$") {
		pattern += words
	}
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return Program{}, fmt.Errorf("read the pattern: %w", err)
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return Program{}, fmt.Errorf("compile the pattern: %w", err)
	}
	p := Program{program: program, start: uint32(program.Start)} //nolint:gosec // a program has fewer instructions
	if anchored, found := strings.CutPrefix(pattern, "^"); found {
		if re, err := regexp.Compile(anchored); err == nil {
			p.prefix, _ = re.LiteralPrefix()
		}
	}
	return p, nil
}

// place is a state of two programs: what each does next, and whether any rune was read so far.
type place struct{ a, b uint32 }

// Find gives a text that both programs accept, one of the shortest, or false when there is none.
func Find(a, b Program) (text string, both bool) {
	if !strings.HasPrefix(a.prefix, b.prefix) && !strings.HasPrefix(b.prefix, a.prefix) {
		return "", false
	}
	start := place{a.start, b.start}
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
		endA, runesA := closure(a.program, s.at.a, !s.begun)
		endB, runesB := closure(b.program, s.at.b, !s.begun)
		if endA && endB {
			return s.text, true
		}
		for _, i := range runesA {
			for _, j := range runesB {
				r, common := sharedRune(&a.program.Inst[i], &b.program.Inst[j])
				next := place{a.program.Inst[i].Out, b.program.Inst[j].Out}
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
			switch op := syntax.EmptyOp(i.Arg); { //nolint:gosec // what the instruction holds
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
