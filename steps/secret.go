package steps

import (
	"context"
	"log/slog"

	"github.com/stepwatch/stepwatch/steps/redact"
)

func init() {
	RegisterKind(Kind{Name: "secret", Means: "a name under secrets in stepwatch.yml", Pattern: `[^"]+`, Quote: `"`,
		Check: checkSecret, Rule: RuleUnknown})
}

// checkSecret reports an unknown secret, if Secrets knows the names.
func checkSecret(a Args, i int, known Known) error {
	if all, ok := known.Secrets.(interface{ Known(name string) error }); ok {
		return all.Known(a.Text(i))
	}
	return nil
}

// Hidden takes the place of a secret in everything that is kept.
const Hidden = redact.Hidden

// Secret is a password or token. It prints as "[hidden]" in fmt, slog, JSON and YAML. Only Reveal returns its value.
type Secret struct{ value string }

// NewSecret wraps a value.
func NewSecret(value string) Secret { return Secret{value} }

// Reveal returns the value, for the line of code that sends it.
func (s Secret) Reveal() string { return s.value }

// String hides the value.
func (Secret) String() string { return Hidden }

// GoString hides the value from %#v.
func (Secret) GoString() string { return Hidden }

// LogValue hides the value from slog.
func (Secret) LogValue() slog.Value { return slog.StringValue(Hidden) }

// MarshalText hides the value from JSON, YAML and everything else that encodes text.
func (Secret) MarshalText() ([]byte, error) { return []byte(Hidden), nil }

// Secrets looks up secrets by name. Package agent/vault implements it; this package does not know their source.
type Secrets interface {
	// Secret returns the secret called name, or an error that says which setting to fix. The error never contains the value.
	Secret(ctx context.Context, name string) (Secret, error)
}
