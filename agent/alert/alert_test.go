package alert_test

import (
	"testing"

	"github.com/stepwatch/stepwatch/agent/alert"
	"github.com/stepwatch/stepwatch/agent/result"
)

// named is a source that raises an alert of its rule with each result.
type named string

func (n named) Observe(*result.Result) []alert.Alert { return []alert.Alert{{Rule: string(n)}} }

func TestRegistry(t *testing.T) {
	var r alert.Registry
	made := 0
	add := func(name string) {
		r.Register(name, func() alert.Source { made++; return named(name) })
	}
	add("latency")
	add("failures")
	rules := ""
	for _, s := range append(r.Sources(), r.Sources()...) {
		rules += s.Observe(nil)[0].Rule + " "
	}
	if rules != "failures latency failures latency " || made != 4 {
		t.Errorf("got %s of %d sources", rules, made)
	}
	for name, want := range map[string]string{"": "alert: a rule without a name", "latency": `alert: the rule "latency" is registered twice`} {
		func() {
			defer func() {
				if got := recover(); got != want {
					t.Errorf("%q: got %v, want %s", name, got, want)
				}
			}()
			add(name)
		}()
	}
}

// TestBuiltin checks that the rules of this package register themselves, and that a further one needs no change here.
func TestBuiltin(t *testing.T) {
	for _, source := range alert.Builtin.Sources() {
		if _, found := source.(*alert.Lacks); found {
			return
		}
	}
	t.Error("the rule about what the machine lacks is not registered")
}
