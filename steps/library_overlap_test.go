package steps_test

import (
	"github.com/stepwatch/stepwatch/steps/builtin"
	"testing"

	"github.com/stepwatch/stepwatch/steps/overlap"
)

// TestNoTextHasTwoMeanings holds that no step can match two sentences, whatever its parameters are, as long as they hold no
// double quotes. It looks for a text that both patterns of a pair accept, by walking through both at once.
func TestNoTextHasTwoMeanings(t *testing.T) {
	// These take any words around them, as cucumber-nagios has it, and so the sentences of one another.
	free := map[string]bool{"the request should succeed": true, "the request should fail": true, "I fetch headers from {url}": true}
	type pattern struct {
		sentence, text string
		program        overlap.Program
	}
	var patterns []pattern
	for _, d := range builtin.Library().Definitions() {
		for _, m := range d.Matchers() {
			program, err := overlap.Compile(m.String())
			if err != nil {
				t.Fatal(err)
			}
			patterns = append(patterns, pattern{d.Sentence, m.String(), program})
		}
	}
	for i, a := range patterns {
		for _, b := range patterns[:i] {
			if free[a.sentence] && free[b.sentence] {
				continue
			}
			if text, both := overlap.Find(a.program, b.program); both {
				t.Errorf("%q matches both %s and %s", text, b.text, a.text)
			}
		}
	}
}
