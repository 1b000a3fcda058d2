package steps

import (
	"context"
	"log/slog"
)

func init() {
	RegisterKind(Kind{Name: "secret", Means: "a name under secrets in stepwatch.yml", Pattern: `[^"]+`, Quote: `"`,
		Check: checkSecret, Rule: RuleUnknown})
}

// checkSecret finds a secret that there is not, where Secrets can tell.
func checkSecret(a Args, i int, known Known) error {
	if all, ok := known.Secrets.(interface{ Known(name string) error }); ok {
		return all.Known(a.Text(i))
	}
	return nil
}

const hidden = "[hidden]"

// Secret is a password or token. It prints as "[hidden]" in fmt, slog, JSON and YAML; only Reveal gives it away.
type Secret struct{ value string }

// NewSecret wraps a value.
func NewSecret(value string) Secret { return Secret{value} }

// Reveal gives the value, for the one line that puts it on the wire.
func (s Secret) Reveal() string { return s.value }

// String hides the value.
func (Secret) String() string { return hidden }

// GoString hides the value from %#v.
func (Secret) GoString() string { return hidden }

// LogValue hides the value from slog.
func (Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText hides the value from JSON, YAML and everything else that encodes text.
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// Secrets answers for secrets by name. agent/vault has the real ones; this package does not know where they come from.
type Secrets interface {
	// Secret returns the secret called name, or an error that says which setting to mend. It never holds the value.
	Secret(ctx context.Context, name string) (Secret, error)
}
