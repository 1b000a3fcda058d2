package builtin_test

import (
	"testing"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/builtin"
)

// TestLibrary makes everything of the language that a program makes on first use, so a mistake would be found by a run.
func TestLibrary(t *testing.T) {
	var all []steps.Definition
	for _, d := range builtin.Library().Definitions() {
		all = append(all, *d)
	}
	if len(all) < 400 {
		t.Errorf("only %d sentences are known", len(all))
	}
	for _, k := range steps.Kinds() { // also those of which no sentence has a parameter
		all = append(all, steps.Definition{Area: "test", Sentence: "a " + k.Name + " is {" + k.Name + "}"})
	}
	for _, d := range steps.NewLibrary(all...).Definitions() { // it panics at a mistake
		d.Matchers() // it panics if one does not compile
	}
}
