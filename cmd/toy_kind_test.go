package cmd

import (
	"slices"
	"strings"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
)

// A kind of parameter as somebody adds one, for TestAdding.

func init() {
	colours := []string{"green", "red", "white"}
	steps.RegisterKind(steps.Kind{Name: "colour", Means: "a colour of light: green, red or white", Pattern: `[a-z]+`, Sample: "red",
		Check: func(a steps.Args, i int, _ steps.Known) error {
			if !slices.Contains(colours, a.Text(i)) {
				return steps.Fail(result.ReasonScenario, result.BlameScenario, "no light is %s: write %s", a.Text(i), strings.Join(colours, ", "))
			}
			return nil
		}})
}
