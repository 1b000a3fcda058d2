package result_test

import (
	"testing"

	"github.com/stepwatch/stepwatch/agent/result"
)

func TestNamed(t *testing.T) {
	plain := result.Identity{Feature: "Mail: in", Scenario: "Login"}
	row := result.Identity{Feature: "Mail", Scenario: "To <whom>", Example: "whom=a (b)"}
	for _, c := range []struct {
		id   result.Identity
		name string
		want bool
	}{
		{plain, "Login", true},
		{plain, "Mail: in: Login", true},
		{plain, plain.String(), true},
		{plain, "login", false},
		{plain, "Mail: in", false},
		{plain, "Log", false},
		{plain, "", false},
		{plain, "Login ()", false},
		{row, "To <whom>", true},
		{row, "Mail: To <whom>", true},
		{row, row.String(), true},
		{row, "To <whom> (whom=a (b))", true},
		{row, "To <whom> (whom=c)", false},
		{row, "To a", false},
	} {
		if got := c.id.Named(c.name); got != c.want {
			t.Errorf("%q is called %q: %v, want %v", c.id, c.name, got, c.want)
		}
	}
}
