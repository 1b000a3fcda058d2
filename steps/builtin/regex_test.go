package builtin_test

import (
	"testing"

	_ "github.com/stepwatch/stepwatch/steps/builtin"
	"github.com/stepwatch/stepwatch/steps/regex"
)

// Expressions are compiled on first use, so a wrong one would be found by a run.
func TestEveryExpressionCompiles(t *testing.T) {
	if count := regex.CompileAll(); count < 30 {
		t.Errorf("only %d expressions are known", count)
	}
}
