package features

import (
	"slices"
	"testing"
)

func TestSimilar(t *testing.T) {
	names := []string{"Login", "Log in to the shop", "Logon", "Home", "Home"}
	for name, want := range map[string][]string{
		"login":   {"Login", "Logon"},
		"Log in":  {"Login", "Logon", "Log in to the shop"},
		"HOME":    {"Home"},
		"Homes":   {"Home"},
		"":        nil,
		"Weather": nil,
	} {
		if got := Similar(name, names, 3); !slices.Equal(got, want) {
			t.Errorf("like %q: %q, want %q", name, got, want)
		}
	}
}
