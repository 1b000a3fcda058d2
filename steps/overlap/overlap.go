// Package overlap finds out whether two sentences can match the same text, by their regular expressions.
//
// The open parts of a pattern are assumed to contain no double quotes. Otherwise every parameter would extend into the
// next one: `I see "(.*)"` does not overlap with `I see "(.*)" in "(.*)"`. A word boundary (\b) is assumed to match.
package overlap

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
)

// Program is a compiled pattern.
type Program struct {
	program *syntax.Prog
	start   uint32 // program.Start, in the type of instructions
	prefix  string // the beginning of every text that it accepts
}

// words matches the text before or after a pattern that is not anchored.
const words = "[^\"'`/]*"

var withoutQuotes = strings.NewReplacer(`'(.+)'`, `'([^"']+)'`, `(.*)`, `([^"]*)`, `(?:.*)`, `(?:`+words+`)`, `\S`, `[^"\s]`)

// Compile compiles a pattern that regexp accepts. As in regexp, a pattern without "^" or "$" accepts any text at that
// end.
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

// place is a state of two programs: the next instruction of each.
type place struct{ a, b uint32 }

// Find returns one of the shortest texts that both programs accept. both is false when there is none.
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

// closure follows all instructions that read no rune. It reports whether the program may end there, and which
// instructions read a rune. beginning is true at the beginning of the text. After an asserted end nothing can be read.
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
				stack = append(stack, state{i.Out, s.atEnd}) // a word boundary is assumed to match
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

// sharedRune returns a rune that both instructions read, preferably a printable ASCII one.
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
