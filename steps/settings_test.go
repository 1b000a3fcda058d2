package steps_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/command"
	"github.com/stepwatch/stepwatch/steps/httpwire"
	"github.com/stepwatch/stepwatch/steps/mailhost"
)

// refused returns what a program is refused for that does this.
func refused(do func()) (message any) {
	defer func() { message = recover() }()
	do()
	return nil
}

func TestNamesThatAreTaken(t *testing.T) {
	kind := func(k steps.Kind) func() { return func() { steps.RegisterKind(k) } }
	used := func(k steps.Kind) func() {
		return func() {
			steps.RegisterKind(k)
			defer steps.ForgetKind(k.Name)
			steps.NewLibrary(steps.Definition{Sentence: "it is {" + k.Name + "}", Func: nothing})
		}
	}
	block := func() steps.Block { return nil }
	for want, do := range map[string]func(){
		"steps: the kind of parameter {duration} is registered twice":             kind(steps.Kind{Name: "duration", Means: "x", Pattern: "x"}),
		`steps: "" is not a valid name for a kind of parameter`:                   kind(steps.Kind{Means: "x", Pattern: "x"}),
		`steps: "3" is not a valid name for a kind of parameter`:                  kind(steps.Kind{Name: "3", Means: "x", Pattern: "x"}),
		"steps: the kind of parameter {new} has no meaning (Means)":               kind(steps.Kind{Name: "new", Pattern: "x"}),
		"steps: the pattern of the kind of parameter {new} has a capturing group": used(steps.Kind{Name: "new", Means: "x", Pattern: "(x)"}),
		`steps: the sample "y" of the kind of parameter {new} does not match x`:   used(steps.Kind{Name: "new", Means: "x", Pattern: "x", Sample: "y"}),
		`steps: the settings "databases" are registered twice`:                    func() { steps.RegisterSettings("databases", block) },
		`steps: the settings "ssh" are registered twice`:                          func() { steps.RegisterHostSettings("ssh", block) },
		"steps: settings without a name":                                          func() { steps.RegisterSettings("", block) },
	} {
		if got := refused(do); got != want {
			t.Errorf("got %v, want %s", got, want)
		}
	}
}

// TestKindsInPatterns holds that a pattern may name the kind of a parameter, and that what else stands in braces is left as it is.
func TestKindsInPatterns(t *testing.T) {
	library := steps.NewLibrary(steps.Definition{Sentence: "it takes {duration} and {int}", Pattern: `^it takes {duration} and (\d{2})$`,
		Also: []string{`/^{duration} pass, (\d{2}) of them\p{L}*$/`}, Func: nothing})
	var got []string
	for _, m := range library.Definitions()[0].Matchers() {
		got = append(got, m.String())
	}
	const duration = `(\d+(?:\.\d+)? ?(?:ms|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hours?|d|days?))`
	if want := `^it takes ` + duration + ` and (\d{2})$ | ^` + duration + ` pass, (\d{2}) of them\p{L}*$`; strings.Join(got, " | ") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(got, " | "), want)
	}
}

// TestSettingsOfACopy holds that changing a copy of a target leaves the target as it was.
func TestSettingsOfACopy(t *testing.T) {
	target := new(steps.Target)
	if web := steps.SettingsOf[httpwire.Web](target); web != (httpwire.Web{}) {
		t.Errorf("without settings: %+v", web)
	}
	target.Set(httpwire.Web{BodyLimit: 1}).Set(command.KnownHosts{"a"})
	limited := *target
	limited.Set(httpwire.Web{BodyLimit: 2})
	if a, b := steps.SettingsOf[httpwire.Web](target).BodyLimit, steps.SettingsOf[httpwire.Web](&limited).BodyLimit; a != 1 || b != 2 {
		t.Errorf("got %d and %d", a, b)
	}
	if known := steps.SettingsOf[command.KnownHosts](&limited); len(known) != 1 {
		t.Errorf("what was not changed: %v", known)
	}
	host := (&steps.Host{}).Set(&mailhost.Log{File: "a"})
	if steps.PartOf[*mailhost.Log](host).File != "a" || steps.PartOf[*command.SSH](host) != nil {
		t.Errorf("parts of a host: %+v", host)
	}
}

// asking is a block that asks for the other one first.
type asking struct {
	name, first string
	order       *[]string
	report      bool
}

func (a *asking) Validate(env *steps.Env) {
	env.After(a.first)
	*a.order = append(*a.order, a.name)
	if !a.report {
		return
	}
	env.Refuse("", "itself")
	env.Refuse("[1].x", "in a list")
	env.Refuse("x", "%d", 1)
	env.HostPort("x", "y")
	env.Duration("x", "-1s", 0)
	env.Size("x", "1 TB")
	env.Secret("x", new(steps.SecretSource))
}

func TestBlocksAreValidatedAfterThoseTheyAskFor(t *testing.T) {
	var order, reports []string
	env := &steps.Env{Target: new(steps.Target), Dir: "/etc", Report: func(setting, message string) { reports = append(reports, setting+": "+message) },
		Keep: func(string, any) error { return errors.New("no place") }}
	env.Validate(map[string]steps.Block{
		"a": &asking{name: "a", first: "c", order: &order},
		"b": &asking{name: "b", first: "a", order: &order, report: true},
		"c": &asking{name: "c", first: "none", order: &order},
		"d": &asking{name: "d", first: "d", order: &order},
	})
	if got := strings.Join(order, " "); got != "c a b d" {
		t.Errorf("got %s", got)
	}
	want := []string{"b: itself", "b[1].x: in a list", "b.x: 1", `b.x: "y" is not a host and port: write it as host:port`,
		`b.x: "-1s" is not a duration above zero: write it as 30s or 5m`, `b.x: "1 TB" is not a size: write it as "512 KB" or "10 MB"`, "b.x: no place"}
	if fmt.Sprint(reports) != fmt.Sprint(want) {
		t.Errorf("got  %q\nwant %q", reports, want)
	}
	reports = nil
	at := *env
	at.Host = &steps.Host{Name: "mx1"}
	at.Validate(map[string]steps.Block{"b": &asking{name: "b", order: &order, report: true}})
	if reports[0] != "hosts.mx1.b: itself" {
		t.Errorf("beneath a host: %q", reports[0])
	}
	if env.File("a") != "/etc/a" || env.File("/a") != "/a" || env.File("") != "" || env.Duration("x", "", time.Second) != time.Second || env.Secret("x", nil) != "" {
		t.Error("paths, defaults, no secret")
	}
}
