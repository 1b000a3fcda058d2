package steps

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/features"
)

// Kind is a kind of parameter: what a name in braces stands for in a sentence. The file that owns the idea registers it,
// and everything that differs between kinds is said here.
type Kind struct {
	Name    string // what stands in the braces: "duration"
	Means   string // what the value is, in one line for the catalogue
	Pattern string // regular expression of the value alone, without a group that captures

	// Quote stands on both sides of the value, and Bare says that it may be left out. Double quotes belong to the value
	// where lint proposes how to write a step.
	Quote string
	Bare  bool

	// Sample is a value that Pattern matches. It stands for the values to come where a sentence that is made of others is
	// read. A kind without one cannot be the type of a placeholder: it belongs to the language of another program.
	Sample string

	// Proposed ranks the kinds that lint proposes as the type of a placeholder, the lowest first. Zero never proposes it.
	Proposed int

	// File says that the value is a path from the feature file's directory. The file counts as a part of the scenario.
	File bool

	// Wait reads the value as the time that a step may wait, for a kind that follows "within".
	Wait func(value string) (time.Duration, error)

	// Check, when there is one, returns what is wrong with parameter i of a step, as far as that is known when the files
	// are loaded. Rule is the rule that such a step breaks; empty means RuleValue.
	Check func(a Args, i int, known Known) error
	Rule  features.Rule
}

// Known is what a Check may compare a value with.
type Known struct {
	Target  *Target
	Secrets Secrets // nil when it is not known which there are
}

var kinds = make(map[string]*Kind)

// RegisterKind adds a kind of parameter. It is called from init, in any order: the kinds are used only when a library is
// made. It panics when the name is empty or taken and when the kind does not match its own sample, which are mistakes in
// the program.
func RegisterKind(k Kind) {
	switch _, taken := kinds[k.Name]; {
	case !kindName.MatchString(k.Name):
		panic(fmt.Sprintf("steps: %q is not the name of a kind of parameter", k.Name))
	case taken:
		panic(fmt.Sprintf("steps: the kind of parameter {%s} is registered twice", k.Name))
	case k.Means == "":
		panic(fmt.Sprintf("steps: the kind of parameter {%s} does not say what it means", k.Name))
	case regexp.MustCompile(k.group()).NumSubexp() != 1:
		panic(fmt.Sprintf("steps: the pattern of the kind of parameter {%s} has a group of its own", k.Name))
	case k.Sample != "" && !k.matches(k.Sample):
		panic(fmt.Sprintf("steps: the sample %q of the kind of parameter {%s} does not match %s", k.Sample, k.Name, k.Pattern))
	}
	kinds[k.Name] = &k
}

var kindName = regexp.MustCompile(`^[a-z]\w*$`)

// Kinds returns all kinds of parameters by name.
func Kinds() []Kind {
	all := make([]Kind, 0, len(kinds))
	for _, name := range slices.Sorted(maps.Keys(kinds)) {
		all = append(all, *kinds[name])
	}
	return all
}

// group is the pattern of the value without quotes, as the one group of a regular expression.
func (k *Kind) group() string { return "(" + k.Pattern + ")" }

// pattern is the pattern of the parameter: the group between the quotes.
func (k *Kind) pattern() string {
	if k.Bare {
		return k.Quote + "?" + k.group() + k.Quote + "?"
	}
	return k.Quote + k.group() + k.Quote
}

// matches reports whether the kind takes a value.
func (k *Kind) matches(value string) bool {
	return regexp.MustCompile("^(?:" + k.group() + ")$").MatchString(value)
}

// quoted reports whether parameters of the kind stand in double quotes, always.
func (k *Kind) quoted() bool { return k.Quote == `"` && !k.Bare }

// withKinds puts the patterns of kinds into a regular expression in the places of their names in braces.
func withKinds(pattern string) string {
	return placeholder.ReplaceAllStringFunc(pattern, func(written string) string {
		if k, known := kinds[written[1:len(written)-1]]; known {
			return k.pattern()
		}
		return written // how often something stands there, or a class of letters
	})
}

// check finds what is wrong with parameter i of a step.
func (k *Kind) check(a Args, i int, known Known) (features.Rule, error) {
	rule := RuleValue
	if k == nil || k.Check == nil {
		return rule, nil
	}
	if k.Rule != "" {
		rule = k.Rule
	}
	return rule, k.Check(a, i, known)
}

// placeholderTypes lists the names of the kinds that placeholders can have.
func placeholderTypes() []string {
	var names []string
	for name, k := range kinds {
		if k.Sample != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// proposedKinds lists the kinds that are proposed as the type of a placeholder, in their order.
func proposedKinds() []*Kind {
	var proposed []*Kind
	for _, k := range kinds {
		if k.Proposed > 0 {
			proposed = append(proposed, k)
		}
	}
	slices.SortFunc(proposed, func(a, b *Kind) int { return a.Proposed - b.Proposed })
	return proposed
}

// plainKind is the type of a placeholder that names none.
const plainKind = "text"

// The kinds that belong to no subject. Every other one stands in the file of its subject.
func init() {
	for _, k := range []Kind{
		{Name: plainKind, Means: "any text", Pattern: `.*`, Quote: `"`, Sample: "text"},
		{Name: "words", Means: "any text, without quotes", Pattern: `.*`},
		{Name: "word", Means: "letters, digits, underscores and hyphens, without a blank", Pattern: `\w[\w-]*`,
			Sample: "word", Proposed: 4},
		{Name: "number", Means: "a number: 3, -1, 0.5", Pattern: `-?\d+(?:\.\d+)?`, Sample: "1.5", Proposed: 2,
			Check: func(a Args, i int, _ Known) error { _, err := a.Number(i); return err }},
		{Name: "int", Means: "a whole number that is not negative", Pattern: `\d+`, Sample: "1", Proposed: 1,
			Check: func(a Args, i int, _ Known) error { _, err := a.Int(i); return err }},
		{Name: "size", Means: "a size: 512 KB, 10 MB, with units of B, KB, MB or GB that are powers of 1024",
			Pattern: `\d+(?:\.\d+)? ?(?:B|KB|MB|GB)`, Sample: "1 MB", Proposed: 5},
		{Name: "duration", Means: "a duration: 60s, 1.5 minutes, 200 milliseconds, 2 days",
			Pattern: `\d+(?:\.\d+)? ?(?:ms|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hours?|d|days?)`, Sample: "60s", Proposed: 3,
			Wait: ParseDuration, Check: func(a Args, i int, _ Known) error { _, err := a.Duration(i); return err }},
		{Name: "clock", Means: "a time of day: 06:30, 23:59", Pattern: `(?:[01]\d|2[0-3]):[0-5]\d`, Sample: "12:00"},
		{Name: "zone", Means: "a time zone of the tz database: Europe/Berlin, UTC", Pattern: `[A-Z][\w+-]*(?:/[\w+-]+)*`,
			Sample: "UTC", Check: checkZone},
		{Name: "name", Means: "a domain name, or an address where it stands for one", Pattern: `[^"]+`, Quote: `"`,
			Sample: "name"},
		{Name: "server", Means: "a server: a name under hosts in stepwatch.yml, a host name or an address, " +
			"with or without :port as the sentence says",
			Pattern: `[^"]+`, Quote: `"`, Sample: "name"},
		{Name: "family", Means: "a family of addresses: IPv4 or IPv6", Pattern: `IPv4|IPv6`, Sample: "IPv4"},
		{Name: "port", Means: "the number of a port, 1 to 65535", Pattern: `\d+`, Sample: "25",
			Check: func(a Args, i int, _ Known) error { _, err := a.Port(i); return err }},
		{Name: "url", Means: "the address of a page: an http or https URL, or one relative to the current page",
			Pattern: `\S*?`, Quote: `"`, Bare: true, Sample: "text",
			Check: func(a Args, i int, _ Known) error { return checkAddress(a.Text(i)) }},
		{Name: "file", Means: "the path of a file, from the feature file's directory", Pattern: `[^"]+`, Quote: `"`,
			Sample: "name", File: true, Check: checkFile, Rule: RuleMissingFile},
		{Name: "regexp", Means: "a regular expression (RE2 syntax), without a slash", Pattern: `[^/]*`, Quote: "/",
			Check: func(a Args, i int, _ Known) error { _, err := CompileRuby(a.Text(i)); return err }},
	} {
		RegisterKind(k)
	}
}

func checkZone(a Args, i int, _ Known) error {
	if _, err := time.LoadLocation(a.Text(i)); err != nil {
		return scenarioFault("%q is no time zone: write one as \"Europe/Berlin\" or \"UTC\"", a.Text(i))
	}
	return nil
}

// ParsePort reads the number of a port, 1 to 65535.
func ParsePort(text string) (int, error) {
	port, err := strconv.Atoi(text)
	if err != nil || port < 1 || port > 65535 {
		return 0, scenarioFault("%s is not a port: write one from 1 to 65535", text)
	}
	return port, nil
}

// CompileRuby compiles a regular expression of Ruby: "." matches newlines too, "^" and "$" match at every line.
func CompileRuby(pattern string) (*regexp.Regexp, error) {
	re, err := regexp.Compile("(?sm)" + pattern)
	if err != nil {
		return nil, scenarioFault("%q is not a valid regular expression (RE2 syntax): %w", pattern, err)
	}
	return re, nil
}

// checkFile finds a file that is not there, unless a doc string takes its place.
func checkFile(a Args, i int, _ Known) error {
	if a.DocString != nil {
		return nil
	}
	if _, err := os.Stat(a.Path(i)); err != nil {
		return MissingFile(a.Path(i), err)
	}
	return nil
}

// MissingFile is the failure of a step whose file cannot be opened.
func MissingFile(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("there is no file %q: a path is relative to the feature file", path)
	}
	return Fail(result.ReasonConfig, result.BlameScenario, "%w", err)
}

// checkAddress finds what cannot be the address of a page: neither one of the web nor one relative to a page.
func checkAddress(address string) error {
	shown := features.HidePassword(address)
	if strings.ContainsAny(address, "“”„‟«»") {
		return scenarioFault("%s stands in typographic quotes: write \"%s\"", shown, straight.Replace(strings.Trim(shown, "“”„‟«»")))
	}
	u, err := url.Parse(strings.TrimSpace(address))
	switch {
	case err != nil || u.Scheme != "" && u.Scheme != "http" && u.Scheme != "https" || u.Scheme != "" && u.Host == "",
		u.Scheme == "" && strings.HasPrefix(address, "www."):
		return scenarioFault("%q is no address of a page: write it as \"https://www.example.org/\"", shown)
	}
	return nil
}
