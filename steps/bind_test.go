package steps_test

import (
	"testing"

	"github.com/stepwatch/stepwatch/features"
	"github.com/stepwatch/stepwatch/steps/builtin"
)

// BenchmarkBind measures how long it takes to find the sentence of a step.
func BenchmarkBind(b *testing.B) {
	library := builtin.Library()
	for b.Loop() {
		for _, text := range []string{`I go to "http://127.0.0.1/"`, `I should see "Welcome"`} {
			if _, err := library.Bind(features.Step{Text: text}); err != nil {
				b.Fatal(err)
			}
		}
	}
}
