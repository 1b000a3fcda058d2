package result_test

import (
	"testing"

	"github.com/stepwatch/stepwatch/agent/result"
)

// TestIdentityID holds the ids: they are in addresses and in files that outlive the program.
func TestIdentityID(t *testing.T) {
	id := result.Identity{Feature: "Mail", Scenario: "Log in", Example: "port=993", File: "a.feature", Line: 3, Owner: "mail"}
	const want = "4e015096ce8f"
	if got := id.ID(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	moved := result.Identity{Feature: "Mail", Scenario: "Log in", Example: "port=993", File: "b.feature", Line: 7}
	if moved.ID() != want {
		t.Errorf("a moved scenario has another id: %s", moved.ID())
	}
	if other := (result.Identity{Feature: "Mail", Scenario: "Log", Example: "in\x00port=993"}); other.ID() == want {
		t.Error("another scenario has the same id")
	}
}
