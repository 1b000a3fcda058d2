package steps

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/features"
	"github.com/stepwatch/stepwatch/steps/address"
	"github.com/stepwatch/stepwatch/steps/regex"
	"github.com/stepwatch/stepwatch/steps/sentence"
)

// Kind is a kind of parameter: the meaning of a name in braces in a sentence. The file of its subject registers it.
type Kind struct {
	Name    string // the name in the braces: "duration"
	Means   string // meaning of the value, in one line for the catalogue
	Pattern string // regular expression of the value alone, without capturing groups

	// Compat is the pattern in a project of cucumber-nagios, in which a text may contain the quotes around it; empty means
	// Pattern.
	Compat string

	// Quote is written on both sides of the value. Bare makes it optional. Double quotes belong to the value when lint
	// proposes how to write a step.
	Quote string
	Bare  bool

	// Sample is a value that Pattern matches. It replaces the unknown values when a sentence made of others is read. A
	// kind without a sample cannot be the type of a placeholder: it belongs to the language of another program.
	Sample string

	// Proposed ranks the kinds that lint proposes as the type of a placeholder, the lowest first. Zero means never.
	Proposed int

	// File means that the value is a path relative to the feature file. The file is part of the scenario.
	File bool

	// Wait parses the value as the time that a step may wait, for a kind after "within".
	Wait func(value string) (time.Duration, error)

	// Addresses, if not nil, returns where a step with this value connects to: "host:port", or "host" if the port is not in the
	// value. The agent shares out the runs at an address by it until a run shows its true addresses.
	Addresses func(value string, target *Target) []string

	// Check, if not nil, returns what is wrong with parameter i of a step, as far as is known when the files are loaded.
	// Rule is the rule that such a step breaks; empty means RuleValue.
	Check func(a Args, i int, known Known) error
	Rule  features.Rule

	whole func() *regexp.Regexp // matches a value alone; compiled on first use
}

// Known is what a Check can compare a value with.
type Known struct {
	Target  *Target
	Secrets Secrets // nil if the secrets are unknown
}

var kinds = make(map[string]*Kind)

// RegisterKind adds a kind of parameter. It is called from init, in any order: only libraries use the kinds. It panics if
// the name is empty or already used, because that is a mistake in the program. NewLibrary finds the other mistakes.
func RegisterKind(k Kind) {
	k.whole = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile("^(?:" + k.group(true) + ")$") })
	switch _, taken := kinds[k.Name]; {
	case strings.IndexFunc(k.Name, func(c rune) bool { return c > 'z' || !sentence.IsWord(byte(c)) }) >= 0 || k.Name == "" || k.Name[0] < 'a': //nolint:gosec // at most 'z'
		panic(fmt.Sprintf("steps: %q is not a valid name for a kind of parameter", k.Name))
	case taken:
		panic(fmt.Sprintf("steps: the kind of parameter {%s} is registered twice", k.Name))
	case k.Means == "":
		panic(fmt.Sprintf("steps: the kind of parameter {%s} has no meaning (Means)", k.Name))
	}
	kinds[k.Name] = &k
}

// check panics if the kind does not match its own sample, or would confuse the groups of a sentence.
func (k *Kind) check() {
	switch {
	case k.whole().NumSubexp() != 1:
		panic(fmt.Sprintf("steps: the pattern of the kind of parameter {%s} has a capturing group", k.Name))
	case k.Sample != "" && !k.matches(k.Sample):
		panic(fmt.Sprintf("steps: the sample %q of the kind of parameter {%s} does not match %s", k.Sample, k.Name, k.Pattern))
	}
}

// Kinds returns all kinds of parameters by name.
func Kinds() []Kind {
	all := make([]Kind, 0, len(kinds))
	for _, name := range slices.Sorted(maps.Keys(kinds)) {
		all = append(all, *kinds[name])
	}
	return all
}

// group returns the pattern of the value without quotes, as the only group of a regular expression.
func (k *Kind) group(compat bool) string {
	if compat && k.Compat != "" {
		return "(" + k.Compat + ")"
	}
	return "(" + k.Pattern + ")"
}

// pattern returns the pattern of the parameter: the group between the quotes.
func (k *Kind) pattern(compat bool) string {
	if k.Bare {
		return k.Quote + "?" + k.group(compat) + k.Quote + "?"
	}
	return k.Quote + k.group(compat) + k.Quote
}

// matches reports whether the kind accepts a value.
func (k *Kind) matches(value string) bool { return k.whole().MatchString(value) }

// quoted reports whether parameters of the kind are always in double quotes.
func (k *Kind) quoted() bool { return k.Quote == `"` && !k.Bare }

// withKinds replaces the names in braces in a regular expression with the patterns of their kinds.
func withKinds(pattern string, compat bool) string {
	var b strings.Builder
	for {
		before, name, rest, more := sentence.Cut(pattern)
		b.WriteString(before)
		if !more {
			return b.String()
		}
		if k, known := kinds[name]; known {
			b.WriteString(k.pattern(compat))
		} else {
			b.WriteString("{" + name + "}") // a repetition count or a character class
		}
		pattern = rest
	}
}

// checkValue checks parameter i of a step.
func (k *Kind) checkValue(a Args, i int, known Known) (features.Rule, error) {
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

// proposedKinds lists the kinds that lint proposes as the type of a placeholder, in order.
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

// plainKind is the type of a placeholder without a type.
const plainKind = "text"

// The kinds that belong to no subject. Every other kind is in the file of its subject.
func init() {
	for _, k := range []Kind{
		{Name: plainKind, Means: `any text; a quote in it is \", or the text is in single quotes`, Pattern: `[^"]*`, Compat: `.*`, Quote: `"`, Sample: "text"},
		{Name: "words", Means: "any text, written without quotes", Pattern: `.*`},
		{Name: "word", Means: "one word of letters, digits, underscores and hyphens", Pattern: `\w[\w-]*`,
			Sample: "word", Proposed: 4},
		{Name: "number", Means: "a number: 3, -1, 0.5", Pattern: `-?\d+(?:\.\d+)?`, Sample: "1.5", Proposed: 2,
			Check: func(a Args, i int, _ Known) error { _, err := a.Number(i); return err }},
		{Name: "int", Means: "a whole number that is not negative", Pattern: `\d+`, Sample: "1", Proposed: 1,
			Check: func(a Args, i int, _ Known) error { _, err := a.Int(i); return err }},
		{Name: "size", Means: "a size in B, KB, MB or GB (powers of 1024): 512 KB, 10 MB",
			Pattern: `\d+(?:\.\d+)? ?(?:B|KB|MB|GB)`, Sample: "1 MB", Proposed: 5},
		{Name: "duration", Means: "a duration: 60s, 1.5 minutes, 200 milliseconds, 2 days",
			Pattern: `\d+(?:\.\d+)? ?(?:ms|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hours?|d|days?)`, Sample: "60s", Proposed: 3,
			Wait: ParseDuration, Check: func(a Args, i int, _ Known) error { _, err := a.Duration(i); return err }},
		{Name: "clock", Means: "a time of day: 06:30, 23:59", Pattern: `(?:[01]\d|2[0-3]):[0-5]\d`, Sample: "12:00"},
		{Name: "zone", Means: "a time zone of the tz database: Europe/Berlin, UTC", Pattern: `[A-Z][\w+-]*(?:/[\w+-]+)*`,
			Sample: "UTC", Check: checkZone},
		{Name: "name", Means: "a domain name or, where that makes sense, an address", Pattern: `[^"]+`, Quote: `"`,
			Sample: "name"},
		{Name: "server", Means: "a server: a name under hosts in stepwatch.yml, a host name or an address, " +
			"with or without :port as the sentence requires",
			Pattern: `[^"]+`, Quote: `"`, Sample: "name",
			Addresses: func(value string, target *Target) []string { return []string{target.AddressOf(value)} }},
		{Name: "family", Means: "an address family: IPv4 or IPv6", Pattern: `IPv4|IPv6`, Sample: "IPv4"},
		{Name: "port", Means: "a port number, 1 to 65535", Pattern: `\d+`, Sample: "25",
			Check: func(a Args, i int, _ Known) error { _, err := a.Port(i); return err }},
		{Name: "url", Means: "the address of a page: an http or https URL, or one relative to the base (web.base, @base) or, without one, to the current page",
			Pattern: `[^\s"]*`, Compat: `\S*?`, Quote: `"`, Bare: true, Sample: "text",
			Addresses: addressOfPage,
			Check:     func(a Args, i int, _ Known) error { return checkAddress(a.Text(i)) }},
		{Name: "file", Means: "the path of a file, relative to the feature file", Pattern: `[^"]+`, Quote: `"`,
			Sample: "name", File: true, Check: checkFile, Rule: RuleMissingFile},
		{Name: "regexp", Means: "a regular expression (RE2 syntax), without a slash", Pattern: `[^/]*`, Quote: "/",
			Check: func(a Args, i int, _ Known) error { _, err := CompileRuby(a.Text(i)); return err }},
	} {
		RegisterKind(k)
	}
}

func checkZone(a Args, i int, _ Known) error {
	if _, err := time.LoadLocation(a.Text(i)); err != nil {
		return FailScenario("%q is not a time zone: write it as \"Europe/Berlin\" or \"UTC\"", a.Text(i))
	}
	return nil
}

// ParsePort reads the number of a port, 1 to 65535.
func ParsePort(text string) (int, error) {
	port, err := strconv.Atoi(text)
	if err != nil || port < 1 || port > 65535 {
		return 0, FailScenario("%s is not a port: write a number from 1 to 65535", text)
	}
	return port, nil
}

// CompileRuby compiles a regular expression of Ruby: "." also matches newlines, "^" and "$" match at every line.
func CompileRuby(pattern string) (re *regexp.Regexp, err error) {
	if re, err = regex.Compile("(?sm)"+pattern, 0); err != nil {
		err = FailScenario("%q is not a valid regular expression (RE2 syntax): %w", pattern, err)
	}
	return re, err
}

// checkFile reports a missing file, unless a doc string replaces it.
func checkFile(a Args, i int, _ Known) error {
	if a.DocString != nil {
		return nil
	}
	if _, err := os.Stat(a.Path(i)); err != nil {
		return missingFile(a.Path(i), err)
	}
	return nil
}

// missingFile returns the failure of a step whose file cannot be opened.
func missingFile(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("the file %q does not exist: a path is relative to the feature file", path)
	}
	return Fail(result.ReasonConfig, result.BlameScenario, "%w", err)
}

// addressOfPage returns where a page is read from, unless its address is relative.
func addressOfPage(text string, _ *Target) []string {
	if u, err := address.Parse(text); err == nil && u.IsWeb() {
		return []string{u.HostPort()}
	}
	return nil
}

// checkAddress rejects what is neither a web address nor an address relative to a page.
func checkAddress(text string) error {
	shown := features.HidePassword(text)
	if strings.ContainsAny(text, "“”„‟«»") {
		return FailScenario("%s is in typographic quotes: write \"%s\"", shown, straight.Replace(strings.Trim(shown, "“”„‟«»")))
	}
	wrong := strings.HasPrefix(text, "www.")
	if scheme := address.SchemeOf(text); scheme != "" {
		// Browsers accept any number of slashes. Whoever writes one or three has made a mistake.
		rest := strings.TrimSpace(text)[len(scheme)+1:]
		_, err := address.Parse(text)
		wrong = err != nil || scheme != "http" && scheme != "https" || !strings.HasPrefix(rest, "//") || strings.HasPrefix(rest, "///")
	}
	if wrong {
		return FailScenario("%q is not the address of a page: write it as \"https://www.example.org/\"", shown)
	}
	return nil
}
