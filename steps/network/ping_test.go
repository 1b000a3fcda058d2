package network_test

import (
	"regexp"
	"testing"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/stepstest"
)

func TestPing(t *testing.T) {
	target := &steps.Target{Hosts: map[string]*steps.Host{"here": {Name: "here", Address: "127.0.0.1"}}}
	for text, want := range map[string]string{
		"When I ping \"127.0.0.1\"\nThen it should respond": `^$`,
		"When I ping \"here\"\nThen it should respond":      `^$`,
		"When I ping \"[::1]\"\nThen it should not respond": `^expect "\[::1\]" not to respond to ping: ::1 answered after \S+s$`,
		"Then it should respond":                            "^no host has been pinged: write `I ping \"www.example.org\"` before this step$",
		"When I ping \"a b\"\nThen it should not respond":   `^ping a b: "a b" does not resolve: `,
	} {
		outcome, err := stepstest.Run(t.Context(), nil, text, target)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if err := outcome.Err(); err != nil {
			got = err.Error()
		}
		if !regexp.MustCompile(want).MatchString(got) {
			t.Errorf("%s\ngot %s", text, got)
		}
	}
}
