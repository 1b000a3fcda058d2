package regex

import (
	"context"
	"errors"
	"regexp"
	"regexp/syntax"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps/limit"
)

func TestCompileLimits(t *testing.T) {
	for expression, refused := range map[string]bool{
		"[ab]{1000}":                                   false,
		strings.Repeat("[ab]{1000}", 9):                false,
		strings.Repeat("[ab]{1000}", 11):               true,
		"(?:(?:[ab]{10}x){10}){10}":                    false,
		"(?:" + strings.Repeat("a|b{900}|", 12) + "c)": true,
		strings.Repeat("word ", 1000):                  false,
		`^\p{L}+@[\w.-]+$`:                             false,
	} {
		_, err := Compile(expression, 0)
		if exceeded := (*limit.Error)(nil); errors.As(err, &exceeded) != refused || exceeded != nil && exceeded.Limit != Instructions || exceeded == nil && err != nil {
			t.Errorf("%.30s: %v", expression, err)
		}
	}
	if _, err := Compile("a{20}", 10); err == nil {
		t.Error("no error")
	}
	if _, err := Compile("a(", 0); !errors.As(err, new(*syntax.Error)) {
		t.Error(err)
	}
}

// The estimate is near to the number of instructions.
func TestSize(t *testing.T) {
	for _, expression := range []string{"abc", "a|b|c", "(a+)*b?", "[a-z]{3,7}x{2,}", "(?i)word", "^a.*b$", `(\d{1,3}\.){3}\d{1,3}`, "", "(?:ab{3}){4}"} {
		parsed, err := syntax.Parse(expression, syntax.Perl)
		if err != nil {
			t.Fatal(err)
		}
		program, err := syntax.Compile(parsed.Simplify())
		if err != nil {
			t.Fatal(err)
		}
		again, _ := syntax.Parse(expression, syntax.Perl)
		if got, want := size(again), int64(len(program.Inst)); got > 2*want+4 || want > 2*got+4 {
			t.Errorf("%s: %d, the program has %d", expression, got, want)
		}
	}
}

func TestMatch(t *testing.T) {
	long := strings.Repeat("a word of a text ü ", 400_000) + "end"
	for _, c := range []struct {
		expression, text string
		want             bool
	}{
		{"b", "abc", true}, {"^b", "abc", false}, {"(?m)^b$", "a\nb\nc", true}, {"ü end$", long, true}, {"^end", long, false}, {"w[o]rd", long, true}, {"x", "", false}, {"^$", "", true},
	} {
		if got, err := Match(t.Context(), regexp.MustCompile(c.expression), []byte(c.text)); err != nil || got != c.want {
			t.Errorf("%s in %.10q: %t, %v", c.expression, c.text, got, err)
		}
	}
}

func TestMatchEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithDeadline(t.Context(), time.Now())
	defer cancel()
	text := []byte(strings.Repeat("a", 8<<20))
	if _, err := Match(ctx, regexp.MustCompile("a[ab]{900}c"), text); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	p := &patient{ctx: ctx, text: text}
	regexp.MustCompile("b").MatchReader(p)
	if p.read > 1000 {
		t.Errorf("%d characters were read after the end", p.read)
	}
}
