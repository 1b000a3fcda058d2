package regex

import (
	"context"
	"io"
	"regexp"
	"regexp/syntax"
	"unicode/utf8"

	"github.com/stepwatch/stepwatch/steps/limit"
)

// Instructions is the limit of what an expression compiles to. A short one may compile to millions, which take 40 bytes
// each, and each character of a text is compared with all of them at worst: [ab]{1000} in a list of a hundred.
var Instructions = limit.Define(limit.Limit{Subject: "regular expression", What: "the regular expression", Unit: "instructions, with its repetitions written out", Most: 10_000})

// Compile is regexp.Compile with the limit Instructions, or most of them if that is not 0. The error of an expression that
// exceeds it is a *limit.Error.
func Compile(expression string, most int64) (*regexp.Regexp, error) {
	parsed, err := syntax.Parse(expression, syntax.Perl)
	if err != nil {
		return nil, err
	}
	if err := Instructions.With(most).Check(size(parsed)); err != nil {
		return nil, err
	}
	return regexp.Compile(expression)
}

// size returns about how many instructions an expression compiles to.
func size(re *syntax.Regexp) int64 {
	n := int64(1)
	for _, sub := range re.Sub {
		n += size(sub)
	}
	switch re.Op {
	case syntax.OpLiteral:
		n = int64(len(re.Rune))
	case syntax.OpCapture:
		n++
	case syntax.OpRepeat:
		most := int64(max(re.Min, re.Max, 1))
		n = (n-1)*most + most - int64(re.Min)
	default: // each of the others is one instruction and its parts
	}
	return min(n, 1<<40)
}

// atOnce is how many steps are done without a look at the deadline: they take less than a tenth of a second.
const atOnce = 4 << 20

// Match reports whether a text contains a match, as re.Match does. It stops when ctx ends, and returns its cause.
func Match(ctx context.Context, re *regexp.Regexp, text []byte) (bool, error) {
	parsed, err := syntax.Parse(re.String(), syntax.Perl)
	if err != nil {
		return false, err
	}
	if size(parsed)*int64(len(text)) <= atOnce {
		return re.Match(text), nil
	}
	found := re.MatchReader(&patient{ctx: ctx, text: text})
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	return found, nil
}

// MatchString is Match of a string.
func MatchString(ctx context.Context, re *regexp.Regexp, text string) (bool, error) {
	return Match(ctx, re, []byte(text))
}

// patient ends a text with its context, which is the only way to stop a search.
type patient struct {
	ctx  context.Context
	text []byte
	read int
}

// ReadRune implements io.RuneReader.
func (p *patient) ReadRune() (rune, int, error) {
	if p.read++; p.read%256 == 0 && p.ctx.Err() != nil || len(p.text) == 0 {
		return 0, 0, io.EOF
	}
	r, size := utf8.DecodeRune(p.text)
	p.text = p.text[size:]
	return r, size, nil
}
