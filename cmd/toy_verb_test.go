package cmd

import (
	"context"
	"fmt"
)

// A verb as somebody adds one, for TestAdding.

func init() {
	registerVerb(verb{name: "greet", args: "[NAME]", summary: "say hello", place: 1000, run: greetVerb})
}

func greetVerb(_ context.Context, t *terminal, args []string) int {
	f := flagSet("greet")
	if code, done := parse(t, f, "[NAME]", args, exitNotRun); done {
		return code
	}
	fmt.Fprintln(t.out, "hello", f.Arg(0))
	return exitPassed
}
