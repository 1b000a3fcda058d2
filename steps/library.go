package steps

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/stepwatch/stepwatch/features"
	"github.com/stepwatch/stepwatch/steps/quoted"
	"github.com/stepwatch/stepwatch/steps/regex"
	"github.com/stepwatch/stepwatch/steps/sentence"
)

// Definition is a sentence and its meaning. It is written once, next to the protocol that it belongs to. Everything that
// a user reads about it (the catalogue, lint) comes from here.
type Definition struct {
	Area     string // chapter of the catalogue: "web", "mail"
	Sentence string // the sentence with its parameters in braces: `I follow {text}`
	Pattern  string // regular expression, only if the sentence alone does not match every text; one group or {kind} for each parameter
	Compat   string // the same in a project of cucumber-nagios; empty means Pattern
	Does     string // its action and the reasons to fail, in one or two sentences
	Measures string // what its duration includes, its phases and measurements; empty if the duration alone is clear
	Example  string // a step as an author writes it; a test checks that it matches
	File     string // where an operator or own code defined the sentence; empty for built-in ones
	Line     int    // in File

	// Also has other texts with the same meaning, such as those of an older language: sentences, or regular expressions
	// between slashes, with the parameters of Sentence in the same order.
	Also []string

	Type string // "Context", "Action" or "Outcome" if only such steps match it, as for godog's Given, When and Then; empty for built-in ones, which match any

	// Check, if not nil, checks the arguments of a step when the files are loaded.
	Check func(a Args) error

	Table     Presence // whether a table may or must be below the step; empty means as in the example
	DocString Presence // the same for a doc string

	Waits bool // the duration after "within" is how long the step may wait, so the scenario needs that time too

	// Func does the work. It stops when ctx ends and returns a Failure for every expected error.
	Func func(ctx context.Context, w *World, a Args) error

	// Prepare, if not nil, is called before the scenario's first step, outside every step's time. It opens what must
	// exist before the other steps begin, such as the mailbox for a message. It keeps its error in the World, for Func
	// to return.
	Prepare func(ctx context.Context, w *World, a Args)
	Late    bool // Prepare may also be called directly before Func, and more than once

	// Kinds has the kinds of the parameters if Sentence has no braces with them.
	Kinds []string

	raw     bool      // a team's own Go step: its pattern matches the text as written
	own     *composed // the steps of a sentence that an operator defined
	derived *derived  // of a definition in a library
}

// derived is what a library derives from a definition when a text may mean it: a library has hundreds, and a feature uses few.
type derived struct {
	once     sync.Once
	params   []*Kind                    // nil if the kind is unknown
	patterns []*sentence.Pattern        // of Sentence, then of Also
	compat   func() []*sentence.Pattern // the same in a project of cucumber-nagios
	unquoted func() *regexp.Regexp      // matches the sentence if its values lack their quotes; for messages; may be nil
}

// derive returns what the library derives from the definition. It panics if a parameter is of an unknown kind.
func (d *Definition) derive() *derived {
	m := d.derived
	m.once.Do(func() {
		if m.patterns != nil {
			return // a team's own definition, or an operator's
		}
		d.takeFromExample()
		for _, name, rest, more := sentence.Cut(d.Sentence); more; _, name, rest, more = sentence.Cut(rest) {
			k, known := kinds[name]
			if !known {
				panic(fmt.Sprintf("steps: sentence %q: unknown kind of parameter {%s}", d.Sentence, name))
			}
			m.params = append(m.params, k)
		}
		m.patterns = d.read(false)
		m.compat = sync.OnceValue(func() []*sentence.Pattern { return d.read(true) }) // most projects never need them
		m.unquoted = d.withoutQuotes()
	})
	return m
}

// read returns the patterns of the sentence and of Also.
func (d *Definition) read(compat bool) []*sentence.Pattern {
	var all []*sentence.Pattern
	switch {
	case compat && d.Compat != "":
		all = append(all, d.newPattern(withKinds(d.Compat, compat)))
	case d.Pattern != "":
		all = append(all, d.newPattern(withKinds(d.Pattern, compat)))
	default:
		all = append(all, d.ofSentence(d.Sentence, compat))
	}
	for _, also := range d.Also {
		if written, isPattern := strings.CutPrefix(also, "/"); isPattern {
			all = append(all, d.newPattern(withKinds(strings.TrimSuffix(written, "/"), compat)))
		} else {
			all = append(all, d.ofSentence(also, compat))
		}
	}
	return all
}

// ofSentence returns the pattern of a sentence.
func (d *Definition) ofSentence(written string, compat bool) *sentence.Pattern {
	var text strings.Builder
	text.WriteByte('^')
	opening, name, rest, more := sentence.Cut(written)
	for before := opening; ; before, name, rest, more = sentence.Cut(rest) {
		text.WriteString(regexp.QuoteMeta(before))
		if !more {
			break
		}
		text.WriteString(kinds[name].pattern(compat))
	}
	text.WriteByte('$')
	p := d.newPattern(text.String())
	p.Opening = opening
	return p
}

// newPattern returns a pattern of the definition, which is compiled later.
func (d *Definition) newPattern(text string) *sentence.Pattern {
	return sentence.NewPattern(d.Sentence, text, len(d.derived.params))
}

// Parameters returns the kinds of the sentence's parameters, in order: "account", "duration".
func (d *Definition) Parameters() []string {
	if d.Kinds != nil {
		return slices.Clone(d.Kinds)
	}
	params := d.derive().params
	names := make([]string, len(params))
	for i, k := range params {
		if k != nil {
			names[i] = k.Name
		}
	}
	return names
}

// Matchers returns the compiled patterns of the sentence and of Also. It panics if a pattern of the definition is
// malformed.
func (d *Definition) Matchers() []*regexp.Regexp {
	patterns := d.derive().patterns
	matchers := make([]*regexp.Regexp, len(patterns))
	for i, p := range patterns {
		matchers[i] = p.Compiled()
	}
	return matchers
}

// match returns the positions of the groups of the first pattern that matches, as FindStringSubmatchIndex does, or nil.
func (d *Definition) match(r quoted.Reading) []int {
	text := r.Marked
	if d.raw {
		text = r.Written
	}
	if d.raw && r.Single || !d.may(text, r.Compat) {
		return nil
	}
	m := d.derive()
	patterns := m.patterns
	if r.Compat {
		if patterns = nil; m.compat != nil {
			patterns = m.compat()
		}
	}
	for _, p := range patterns {
		if !sentence.MayMatch(p.Text, text) {
			continue
		}
		if at := p.Compiled().FindStringSubmatchIndex(text); at != nil && d.balanced(r, at) {
			return at
		}
	}
	return nil
}

// may reports whether a text may mean the definition, by its words: no pattern is made to learn that it means another one.
func (d *Definition) may(text string, compat bool) bool {
	if d.own != nil {
		return true // its words may be optional
	}
	first := sentence.May(d.Sentence, text)
	if compat && d.Compat != "" {
		first = sentence.MayMatch(d.Compat, text)
	} else if d.raw || d.Pattern != "" {
		first = sentence.MayMatch(d.Pattern, text)
	}
	return first || slices.ContainsFunc(d.Also, func(also string) bool { return sentence.May(also, text) })
}

// balanced reports whether each value whose quotes are optional has both or none.
func (d *Definition) balanced(r quoted.Reading, at []int) bool {
	if r.Compat || d.raw {
		return true
	}
	for i, k := range d.derived.params {
		if k != nil && k.Bare && at[2*i+2] >= 0 && !r.Balanced(at[2*i+2], at[2*i+3]) {
			return false
		}
	}
	return true
}

// accepts reports whether a text means the definition. values is that of read.
func (d *Definition) accepts(text string, values [][2]int, compat bool) bool {
	if compat {
		return d.match(quoted.Reading{Written: text, Marked: text, Compat: true}) != nil
	}
	return d.match(quoted.Read(text, values, false)) != nil || d.match(quoted.Read(text, values, true)) != nil
}

// Bound is a step with the definition that it matches.
type Bound struct {
	Definition *Definition
	Args       Args
	Step       *features.Step // as written, shared with the scenario; a step of an operator's sentence has the values filled in
	Inner      []*Bound       // the steps of an operator's sentence, at least one; nil for a built-in one

	passed []bool // which parameters come from the outer step
}

// Wait returns how long the step may wait by its own words ("within 60s"), or zero. The wait of an operator's sentence is
// the sum over its steps.
func (b *Bound) Wait() time.Duration {
	if len(b.Inner) > 0 {
		var sum time.Duration
		for _, inner := range b.Inner {
			sum += inner.Wait()
		}
		return sum
	}
	if !b.Definition.Waits {
		return 0
	}
	before, _, rest, more := sentence.Cut(b.Definition.Sentence)
	for i := 0; more; i++ {
		if k := b.Definition.derived.params[i]; k.Wait != nil && strings.HasSuffix(before, "within ") {
			d, _ := k.Wait(b.Args.Text(i)) // not a duration: the step itself reports it
			return d
		}
		before, _, rest, more = sentence.Cut(rest)
	}
	return 0
}

// Addresses returns where the step and its nested steps connect to, as far as their values say that: "host:port", or "host" if
// the sentence determines the port.
func (b *Bound) Addresses(target *Target) []string {
	var all []string
	for i, kind := range b.Definition.derived.params {
		if kind != nil && kind.Addresses != nil && len(b.Inner) == 0 {
			all = append(all, kind.Addresses(b.Args.Text(i), target)...)
		}
	}
	for _, inner := range b.Inner {
		all = append(all, inner.Addresses(target)...)
	}
	return all
}

// Files returns the paths of the files that the step and its nested steps name. They are part of the scenario.
func (b *Bound) Files() []string {
	var paths []string
	for i, kind := range b.Definition.derived.params {
		if kind != nil && kind.File && len(b.Inner) == 0 {
			paths = append(paths, b.Args.Path(i))
		}
	}
	for _, inner := range b.Inner {
		paths = append(paths, inner.Files()...)
	}
	return paths
}

// NeedsBrowser returns the operator's sentence, of the step or a nested one, that needs a browser, or nil.
func (b *Bound) NeedsBrowser() *Definition {
	if b.Definition.own != nil && b.Definition.own.sentence.Browser {
		return b.Definition
	}
	for _, inner := range b.Inner {
		if d := inner.NeedsBrowser(); d != nil {
			return d
		}
	}
	return nil
}

// Library is a set of definitions. It is immutable, so any number of goroutines may use it.
type Library struct {
	definitions []*Definition
	compat      bool
	near        *suggester // finds the sentences to suggest for an undefined step
}

// Compat returns the library for a project of cucumber-nagios: a text in quotes extends to the last quote that the sentence
// allows, and a backslash before a quote belongs to the text.
func (l *Library) Compat() *Library {
	return &Library{definitions: l.definitions, compat: true, near: l.near}
}

// NewLibrary returns a library. It panics if a sentence or the kind of one of its parameters is malformed, or if two have the
// same sentence or pattern: that is a mistake in the program.
func NewLibrary(definitions ...Definition) *Library {
	l := newLibrary(slices.Clone(definitions))
	l.check()
	return l
}

// newLibrary returns a library of definitions whose patterns are made when a text may mean them.
func newLibrary(groups ...[]Definition) *Library {
	count := 0
	for _, group := range groups {
		count += len(group)
	}
	l := &Library{definitions: make([]*Definition, 0, count), near: new(suggester)}
	all := make([]derived, count)
	for _, group := range groups {
		for i := range group {
			d := &group[i]
			d.derived = &all[len(l.definitions)]
			l.definitions = append(l.definitions, d)
		}
	}
	return l
}

// check panics as NewLibrary does.
func (l *Library) check() {
	seen := make(map[string]bool, 2*len(l.definitions))
	for _, d := range l.definitions {
		for _, k := range d.derive().params {
			k.check()
		}
		names := []string{d.Sentence}
		for _, p := range d.derive().patterns {
			names = append(names, p.Text)
		}
		for _, name := range names {
			if seen[name] {
				panic(fmt.Sprintf("steps: %q is defined twice", name))
			}
			seen[name] = true
		}
	}
}

var builtin [][]Definition

// Register adds sentences to the built-in library, which takes them over. The file of each subject calls it from init.
// NewLibrary panics if two of them have the same sentence; a test calls it for all.
func Register(definitions ...Definition) { builtin = append(builtin, definitions) }

// With returns a library that also has a team's own definitions, which have only a Pattern. They may collide with each
// other and with the rest: a step that matches two of them is ambiguous.
func (l *Library) With(own ...Definition) *Library {
	if len(own) == 0 {
		return l
	}
	with := &Library{definitions: slices.Clip(slices.Clone(l.definitions)), compat: l.compat, near: new(suggester)}
	for _, d := range own {
		d.raw, d.derived = true, &derived{params: make([]*Kind, regexp.MustCompile(d.Pattern).NumSubexp())}
		d.derived.patterns = []*sentence.Pattern{d.newPattern(d.Pattern)}
		d.derived.compat = func() []*sentence.Pattern { return d.derived.patterns }
		with.definitions = append(with.definitions, &d)
	}
	return with
}

var builtinLibrary = sync.OnceValue(func() *Library { return newLibrary(builtin...) })

// Registered returns the library of all built-in sentences. The first call makes it.
func Registered() *Library { return builtinLibrary() }

// Area is a chapter of the catalogue.
type Area struct {
	Name  string // Definition.Area
	Title string // heading of the chapter
	Place int    // chapters are in this order, the one that most readers look for first
}

var areas = make(map[string]Area)

// RegisterArea adds a chapter of the catalogue. The file of its subject calls it from init. A name that is taken panics,
// because it is a mistake in the program.
func RegisterArea(a Area) {
	if _, taken := areas[a.Name]; taken {
		panic(fmt.Sprintf("steps: the area %q is registered twice", a.Name))
	}
	areas[a.Name] = a
}

// AreaOf returns the area with this name. One that is not registered, such as a team's own, has its name as the title and
// comes after all others.
func AreaOf(name string) Area {
	if a, found := areas[name]; found {
		return a
	}
	_, size := utf8.DecodeRuneInString(name)
	return Area{Name: name, Title: strings.ToUpper(name[:size]) + name[size:], Place: math.MaxInt}
}

// Definitions lists the definitions by the place of their area, then by its name. Within an area they keep the
// order of their file.
func (l *Library) Definitions() []*Definition {
	sorted := slices.Clone(l.definitions)
	for _, d := range sorted {
		d.derive() // it completes the fields
	}
	slices.SortStableFunc(sorted, func(a, b *Definition) int {
		return cmp.Or(cmp.Compare(AreaOf(a.Area).Place, AreaOf(b.Area).Place), strings.Compare(a.Area, b.Area))
	})
	return sorted
}

// UndefinedError is the error of a step that matches no sentence. Nearest has the most similar sentences, the best first.
type UndefinedError struct {
	Step    features.Step
	Nearest []string
	Write   string // the text that would match, if only quotes, blanks or the like are wrong; empty otherwise

	// Swallowing is the sentence that would match if its text could extend over its closing quote, and Begins is one that
	// the step begins with. Beyond is what is after them. At most one of the two is set.
	Swallowing, Begins, Beyond string
}

// Error returns a message with the nearest sentence.
func (e *UndefinedError) Error() string {
	switch {
	case e.Write != "":
		return fmt.Sprintf("no sentence matches %q: write %s", e.Step.Text, e.Write)
	case e.Swallowing != "":
		message := fmt.Sprintf("no sentence matches %q: a text ends at its closing quote, and after it %q has no `%s`",
			e.Step.Text, e.Swallowing, strings.TrimSpace(e.Beyond))
		if len(e.Nearest) > 0 && e.Nearest[0] != e.Swallowing {
			return message + fmt.Sprintf(`: did you mean %q? (A quote inside a text is written \".)`, e.Nearest[0])
		}
		return message + `: write another step for it, or \" for a quote inside a text`
	case e.Begins != "" && (len(e.Nearest) == 0 || e.Nearest[0] == e.Begins):
		return fmt.Sprintf("no sentence matches %q: %q ends before `%s`: write another step for it", e.Step.Text, e.Begins, strings.TrimSpace(e.Beyond))
	}
	if len(e.Nearest) == 0 {
		return fmt.Sprintf("no sentence matches %q: see \"stepwatch steps\"", e.Step.Text)
	}
	return fmt.Sprintf("no sentence matches %q: did you mean %q?", e.Step.Text, e.Nearest[0])
}

// AmbiguousError is the error of a step that matches several sentences.
type AmbiguousError struct {
	Text      string
	Sentences []string
}

// Error returns a message with all sentences that match.
func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("%q matches %d sentences: %s", e.Text, len(e.Sentences), strings.Join(e.Sentences, " | "))
}

// means reports whether steps of a type, as in features.Step, can match the definition. A step of unknown type can match any.
func (d *Definition) means(stepType string) bool {
	return d.Type == "" || d.Type == stepType || stepType == "" || stepType == "Unknown"
}

// named returns the sentence, with its place if it is not built in.
func (d *Definition) named() string {
	if d.File == "" {
		return d.Sentence
	}
	return d.Sentence + " (" + d.place() + ")"
}

// match is a definition that a text matches, with the values that its pattern captured.
type match struct {
	definition *Definition
	reading    quoted.Reading
	captured   []string
	groups     [][2]int // where in the text; negative for what is not there
}

// matches gives the definitions that a step of a type means by its text. Texts in single quotes count only if the step
// means nothing else: some sentences are written with single quotes. values is that of read.
func (l *Library) matches(text string, values [][2]int, stepType string) []match {
	if l.compat {
		return l.fewest(l.find(quoted.Reading{Written: text, Marked: text, Compat: true}, stepType))
	}
	first := quoted.Read(text, values, false)
	found := l.find(first, stepType)
	if len(found) == 0 && strings.Contains(text, "'") {
		if r := quoted.Read(text, values, true); r.Marked != first.Marked {
			found = l.find(r, stepType)
		}
	}
	return l.fewest(found)
}

// find gives the definitions that match a text.
func (l *Library) find(r quoted.Reading, stepType string) []match {
	var found []match
	for _, d := range l.definitions {
		at := d.match(r)
		if at == nil || !d.means(stepType) {
			continue
		}
		m := match{definition: d, reading: r}
		for i := 2; i < len(at); i += 2 {
			value := ""
			switch {
			case at[i] < 0 && d.own != nil:
				value = d.own.slots[i/2-1].fallback
			case at[i] < 0:
			case d.raw:
				value = r.Written[at[i]:at[i+1]]
			default:
				value = r.Value(at[i], at[i+1])
			}
			m.captured = append(m.captured, value)
			m.groups = append(m.groups, [2]int{at[i], at[i+1]})
		}
		found = append(found, m)
	}
	return found
}

// fewest gives those whose parameters extend over no quotes, when there are any: a text with quotes in it may also be read
// as one long parameter in a project of cucumber-nagios, and by a team's own pattern.
func (l *Library) fewest(found []match) []match {
	if len(found) < 2 {
		return found
	}
	plain := slices.DeleteFunc(slices.Clone(found), func(m match) bool {
		return slices.ContainsFunc(m.groups, func(at [2]int) bool {
			return at[0] >= 0 && strings.Contains(m.reading.Marked[at[0]:at[1]], `"`)
		})
	})
	if len(plain) > 0 {
		return plain
	}
	return found
}

// ambiguous returns the error of a text that matches several sentences.
func ambiguous(text string, found []match) error {
	e := &AmbiguousError{Text: text}
	for _, m := range found {
		e.Sentences = append(e.Sentences, m.definition.named())
	}
	return e
}

// Bind finds the definition that a step matches, and binds the nested steps. The error is an *UndefinedError, an
// *AmbiguousError, an *ArgumentError, an *OwnError, or explains why the values of the step do not fit.
func (l *Library) Bind(step features.Step) (*Bound, error) { return l.BindTo(&step) }

// BindTo does the same for a step that does not change any more: the Bound refers to it.
func (l *Library) BindTo(step *features.Step) (*Bound, error) {
	found := l.matches(step.Text, step.Values, step.Type)
	switch len(found) {
	case 0:
		return nil, l.undefined(*step)
	case 1:
	default:
		return nil, ambiguous(step.Text, found)
	}
	b := &Bound{Definition: found[0].definition, Step: step, Args: Args{Captured: found[0].captured, DocString: step.DocString, Table: step.Table}}
	if step.Path != "" {
		b.Args.Dir = filepath.Dir(step.Path)
	}
	if err := b.Definition.refuses(b.Args); err != nil {
		return nil, err
	}
	left := ownText
	if err := b.expand(&left); err != nil {
		return nil, err
	}
	return b, nil
}

// vague matches the values in a step.
var vague = regex.Lazy(`"(?:\\"|[^"])*"|<[^<>]*>|https?://\S+|\b\d+(?:\.\d+)*(?:ms|s|m|h|d)?\b`)

// outline returns the sentence without its parameters and optional parts.
func (d *Definition) outline() string {
	if d.own == nil {
		return sentence.Outline(d.Sentence)
	}
	return ownPlaceholder.ReplaceAllString(optionalPart.ReplaceAllString(d.Sentence, ""), "{}")
}

var (
	ownPlaceholder = regex.Lazy(`"<[^>]*>"|'<[^>]*>'|<[^>]*>`)
	optionalPart   = regex.Lazy(`\[[^\]]*\]`)
)
