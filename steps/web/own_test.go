package web_test

import (
	"github.com/stepwatch/stepwatch/steps/builtin"
	"testing"

	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

func TestOwnSentencesRun(t *testing.T) {
	s := newSite(t)
	library, mistakes := builtin.Library().Define(fixture.Sentences("x.feature", "I open \"<path>\"\n\tI go to \"http://www.example.test<path>\"\nit shows \"<text>\"\n\tI should see \"<text>\""))
	if len(mistakes) > 0 {
		t.Fatal(mistakes)
	}
	o, err := stepstest.Scenario{Library: library, Target: s.target}.Run(t.Context(), "I open \"/\"\nit shows \"Welcome\"\nit shows \"Goodbye\"")
	if err != nil || len(o.Steps) != 3 || o.Steps[0].Err != nil || o.Steps[1].Err != nil || o.Err() == nil {
		t.Errorf("got %+v and %v, want that the third fails", o, err)
	}
}
