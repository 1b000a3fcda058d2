package steps

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/stepwatch/stepwatch/features"
)

// Definition says what a sentence means. It is written once, beside the protocol that it belongs to, and everything that
// a user reads about it (the catalogue, lint) comes from here.
type Definition struct {
	Area     string // chapter of the catalogue: "web", "mail"
	Sentence string // the sentence with its parameters in braces: `I follow {text}`
	Pattern  string // regular expression, only where the sentence alone would not match all that must match; one group or {kind} a parameter
	Does     string // what it does and what makes it fail, in one or two sentences
	Measures string // what its duration is, and which phases and measurements it reports; empty when the duration says it all
	Example  string // a step as an author writes it; a test holds that it matches
	File     string // where an operator or own code has defined the sentence; empty for those that stepwatch has
	Line     int    // in File

	// Also has further texts that mean the same, such as those of an older language: sentences, or regular expressions
	// between slashes, with the parameters of Sentence in its order.
	Also []string

	Type string // "Context", "Action" or "Outcome" when no other step means it, as godog's Given, When and Then have it; built-in ones mean any

	// Check, when there is one, says when the files are loaded what is wrong with the arguments of a step.
	Check func(a Args) error

	Table     Presence // whether a table may or must stand beneath the step; empty means as the example shows it
	DocString Presence // likewise a doc string

	Waits bool // the duration behind "within" is how long the step may wait, so the scenario needs that time too

	// Func does the work. It stops when ctx ends and returns a Failure for everything that it can name.
	Func func(ctx context.Context, w *World, a Args) error

	// Prepare, when there is one, is called before the scenario's first step, outside every step's time. It opens what
	// must stand before the others begin, such as the mailbox that a message is to arrive in. What goes wrong it keeps
	// in the World, for Func to return.
	Prepare func(ctx context.Context, w *World, a Args)
	Late    bool // Prepare may also be called directly before Func, and more than once

	// Kinds names those of the parameters where Sentence does not tell them: what stands in braces elsewhere.
	Kinds []string

	params   []*Kind   // nil where the kind is not known
	patterns []pattern // of Sentence, then of Also
	own      *composed // what the sentence stands for, when an operator has defined it
}

// pattern is what a text must match.
type pattern struct {
	text    string
	opening string                // what each text that it matches begins with
	matcher func() *regexp.Regexp // compiled when it is first needed: a library has hundreds, a feature a handful
}

var placeholder = regexp.MustCompile(`\{(\w+)\}`)

// prepare reads the sentence's parameters and makes its patterns, which are compiled later.
func (d *Definition) prepare() error {
	d.takeFromExample()
	for _, m := range placeholder.FindAllStringSubmatch(d.Sentence, -1) {
		k, known := kinds[m[1]]
		if !known {
			return fmt.Errorf("sentence %q: no kind of parameter is called {%s}", d.Sentence, m[1])
		}
		d.params = append(d.params, k)
	}
	if d.Pattern == "" {
		d.addSentence(d.Sentence)
	} else {
		pattern := withKinds(d.Pattern)
		d.addPattern(pattern, literalOpening(pattern))
	}
	for _, also := range d.Also {
		if written, isPattern := strings.CutPrefix(also, "/"); isPattern {
			written = withKinds(strings.TrimSuffix(written, "/"))
			d.addPattern(written, literalOpening(written))
		} else {
			d.addSentence(also)
		}
	}
	return nil
}

// addSentence adds the pattern of a sentence.
func (d *Definition) addSentence(sentence string) {
	opening, _, _ := strings.Cut(sentence, "{")
	var text strings.Builder
	rest := sentence
	for _, m := range placeholder.FindAllStringSubmatch(sentence, -1) {
		before, after, _ := strings.Cut(rest, m[0])
		text.WriteString(regexp.QuoteMeta(before) + kinds[m[1]].pattern())
		rest = after
	}
	d.addPattern("^"+text.String()+regexp.QuoteMeta(rest)+"$", opening)
}

func (d *Definition) addPattern(text, opening string) {
	sentence, groups := d.Sentence, len(d.params)
	d.patterns = append(d.patterns, pattern{text, opening, sync.OnceValue(func() *regexp.Regexp {
		re, err := regexp.Compile(text)
		if err != nil {
			panic(fmt.Sprintf("steps: sentence %q: %v", sentence, err))
		}
		if re.NumSubexp() != groups {
			panic(fmt.Sprintf("steps: sentence %q has %d parameters, its pattern %s %d groups", sentence, groups, text, re.NumSubexp()))
		}
		return re
	})})
}

// literalOpening gives the plain letters that a pattern anchored at the start begins with. It may give fewer than there are.
func literalOpening(pattern string) string {
	rest, anchored := strings.CutPrefix(pattern, "^")
	if !anchored || strings.Contains(pattern, "|") {
		return ""
	}
	end := strings.IndexAny(rest, `\.+*?()[]{}^$`)
	if end < 0 {
		return rest
	}
	opening := rest[:end]
	if strings.ContainsRune("*?{", rune(rest[end])) { // the last letter may be missing
		_, size := utf8.DecodeLastRuneInString(opening)
		opening = opening[:len(opening)-size]
	}
	return opening
}

// Parameters are the kinds of the sentence's parameters, in order: "account", "duration".
func (d *Definition) Parameters() []string {
	if d.Kinds != nil {
		return slices.Clone(d.Kinds)
	}
	names := make([]string, len(d.params))
	for i, k := range d.params {
		if k != nil {
			names[i] = k.Name
		}
	}
	return names
}

// Matchers are the compiled patterns: of the sentence and of what it also understands. It panics when a pattern of the
// definition's own is malformed, which the first text that may match finds out.
func (d *Definition) Matchers() []*regexp.Regexp {
	matchers := make([]*regexp.Regexp, len(d.patterns))
	for i, p := range d.patterns {
		matchers[i] = p.matcher()
	}
	return matchers
}

// match gives where in text the groups of the first pattern stand that matches it, as FindStringSubmatchIndex does, or nil.
func (d *Definition) match(text string) []int {
	for _, p := range d.patterns {
		if !strings.HasPrefix(text, p.opening) {
			continue
		}
		if at := p.matcher().FindStringSubmatchIndex(text); at != nil {
			return at
		}
	}
	return nil
}

// Args is what a step gives to its definition: what the pattern caught, and the doc string or table beneath.
type Args struct {
	Captured  []string
	DocString *features.DocString
	Table     [][]string
	Dir       string // of the feature file, which paths in it are relative to; empty is the working directory
}

// Path is parameter i, a file, fit to be opened.
func (a Args) Path(i int) string {
	if filepath.IsAbs(a.Captured[i]) {
		return a.Captured[i]
	}
	return filepath.Join(a.Dir, a.Captured[i])
}

// Text is parameter i, from 0, as written.
func (a Args) Text(i int) string { return a.Captured[i] }

// Int is parameter i as a whole number. A number too large for an int is a Failure.
func (a Args) Int(i int) (int, error) {
	n, err := strconv.Atoi(a.Captured[i])
	if err != nil {
		return 0, scenarioFault("%q is no whole number that fits", a.Captured[i])
	}
	return n, nil
}

// Number is parameter i as a number. One that no float64 holds is a Failure.
func (a Args) Number(i int) (float64, error) {
	n, err := strconv.ParseFloat(a.Captured[i], 64)
	if err != nil {
		return 0, scenarioFault("%q is no number that fits", a.Captured[i])
	}
	return n, nil
}

// Port is parameter i as the number of a port, 1 to 65535.
func (a Args) Port(i int) (int, error) { return ParsePort(a.Captured[i]) }

// Duration is parameter i as a duration: "60s", "1.5 minutes", "200 milliseconds".
func (a Args) Duration(i int) (time.Duration, error) { return ParseDuration(a.Captured[i]) }

const day = 24 * time.Hour

// ParseDuration reads a duration as sentences write it, in words or as Go does.
func ParseDuration(s string) (time.Duration, error) {
	number := strings.TrimRight(s, "abcdefghijklmnopqrstuvwxyz ")
	unit := strings.TrimSpace(s[len(number):])
	scale, known := map[string]time.Duration{"ms": time.Millisecond, "millisecond": time.Millisecond, "s": time.Second, "sec": time.Second,
		"second": time.Second, "m": time.Minute, "min": time.Minute, "minute": time.Minute, "h": time.Hour, "hour": time.Hour, "d": day, "day": day}[unit]
	if !known {
		scale, known = map[string]time.Duration{"milliseconds": time.Millisecond, "secs": time.Second, "seconds": time.Second,
			"mins": time.Minute, "minutes": time.Minute, "hours": time.Hour, "days": day}[unit]
	}
	n, err := strconv.ParseFloat(number, 64)
	if !known || err != nil || n < 0 || n*float64(scale) > float64(1<<62) {
		return 0, scenarioFault("%q is no duration: write it as \"60s\" or \"5 minutes\"", s)
	}
	return time.Duration(n * float64(scale)), nil
}

// Bound is a step with the one definition that it means.
type Bound struct {
	Definition *Definition
	Args       Args
	Step       features.Step // as written, and beneath an operator's sentence with the values filled in
	Inner      []*Bound      // what an operator's sentence stands for, one at least; nil for those that stepwatch has

	passed []bool // which parameters come from the step above
}

// Wait is the longest that the step may wait by its own words ("within 60s"), or zero when it does not wait. An operator's
// sentence waits for all that it stands for.
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
	for i, at := range placeholder.FindAllStringIndex(b.Definition.Sentence, -1) {
		if k := b.Definition.params[i]; k.Wait != nil && strings.HasSuffix(b.Definition.Sentence[:at[0]], "within ") {
			d, _ := k.Wait(b.Args.Text(i)) // not a duration: the step itself will say so
			return d
		}
	}
	return 0
}

// Files gives the paths of the files that the step, or those beneath it, names: they are part of what the scenario says.
func (b *Bound) Files() []string {
	var paths []string
	for i, kind := range b.Definition.params {
		if kind != nil && kind.File && len(b.Inner) == 0 {
			paths = append(paths, b.Args.Path(i))
		}
	}
	for _, inner := range b.Inner {
		paths = append(paths, inner.Files()...)
	}
	return paths
}

// NeedsBrowser gives the operator's sentence, the step's own or one beneath it, that makes sense in a browser only, or nil.
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

// Library is a set of definitions. It is not changed once made, so any number of goroutines may use it.
type Library struct{ definitions []*Definition }

// NewLibrary makes a library. It panics when a sentence is malformed or when two have the same sentence or pattern: that is
// a mistake in the program, met at every start.
func NewLibrary(definitions ...Definition) *Library {
	l := &Library{definitions: make([]*Definition, 0, len(definitions))}
	seen := make(map[string]bool, 2*len(definitions))
	for _, d := range definitions {
		if err := d.prepare(); err != nil {
			panic("steps: " + err.Error())
		}
		names := []string{d.Sentence}
		for _, p := range d.patterns {
			names = append(names, p.text)
		}
		for _, name := range names {
			if seen[name] {
				panic(fmt.Sprintf("steps: %q is defined twice", name))
			}
			seen[name] = true
		}
		l.definitions = append(l.definitions, &d)
	}
	return l
}

var builtin []Definition

// Register adds sentences to the built-in library. Each subject's file calls it from init. Two with the same sentence make
// Builtin panic.
func Register(definitions ...Definition) { builtin = append(builtin, definitions...) }

// With gives a library that also has the definitions of a team's own, of which the Pattern alone says what they mean. They
// may collide with each other and with the rest: a step that means two of them is ambiguous.
func (l *Library) With(own ...Definition) *Library {
	with := &Library{definitions: slices.Clip(slices.Clone(l.definitions))}
	for _, d := range own {
		d.params = make([]*Kind, regexp.MustCompile(d.Pattern).NumSubexp())
		d.addPattern(d.Pattern, literalOpening(d.Pattern))
		with.definitions = append(with.definitions, &d)
	}
	return with
}

var builtinLibrary = sync.OnceValue(func() *Library { return NewLibrary(builtin...) })

// Builtin is the library of every sentence that stepwatch has. It is made once, when it is first asked for.
func Builtin() *Library { return builtinLibrary() }

// Area is a chapter of the catalogue.
type Area struct {
	Name  string // Definition.Area
	Title string // heading of the chapter
}

// Areas lists the areas in the order in which readers look for them. Any other area, such as a team's own, comes after
// these.
var Areas = []Area{
	{"mail", "Mail"},
	{"web", "Web"},
	{"api", "HTTP APIs"},
	{"tls", "Certificates and TLS"},
	{"queue", "Mail queue"},
	{"log", "Mail log"},
	{"dns", "DNS"},
	{"network", "Network"},
	{"host", "Hosts"},
	{"file", "Files"},
	{"command", "Commands"},
	{"ssh", "SSH"},
	{"plugin", "Nagios plugins"},
	{"database", "Databases"},
	{"amqp", "AMQP"},
	{"exporter", "Prometheus exporters"},
	{"cucumber-nagios", "cucumber-nagios"},
}

// areaRank returns the position of an area in Areas, or their number for any other area.
func areaRank(area string) int {
	if i := slices.IndexFunc(Areas, func(a Area) bool { return a.Name == area }); i >= 0 {
		return i
	}
	return len(Areas)
}

// Definitions lists the definitions in the order of Areas, then by the name of the area. Within an area they keep the
// order of their file.
func (l *Library) Definitions() []*Definition {
	sorted := slices.Clone(l.definitions)
	slices.SortStableFunc(sorted, func(a, b *Definition) int {
		return cmp.Or(areaRank(a.Area)-areaRank(b.Area), strings.Compare(a.Area, b.Area))
	})
	return sorted
}

// UndefinedError says that a step matches no sentence. Nearest has the sentences most like it, the best first.
type UndefinedError struct {
	Step    features.Step
	Nearest []string
	Write   string // the text as it would match, where only quotes, blanks or the like are wrong; empty otherwise
}

// Error names the nearest sentence.
func (e *UndefinedError) Error() string {
	if e.Write != "" {
		return fmt.Sprintf("no sentence matches %q: write %s", e.Step.Text, e.Write)
	}
	if len(e.Nearest) == 0 {
		return fmt.Sprintf("no sentence matches %q: see \"stepwatch steps\"", e.Step.Text)
	}
	return fmt.Sprintf("no sentence matches %q: did you mean %q?", e.Step.Text, e.Nearest[0])
}

// AmbiguousError says that a step matches more than one sentence.
type AmbiguousError struct {
	Text      string
	Sentences []string
}

// Error names all sentences that match.
func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("%q matches %d sentences: %s", e.Text, len(e.Sentences), strings.Join(e.Sentences, " | "))
}

// means reports whether steps of a type, as features.Step has it, can mean the definition. One whose type is not known can mean any.
func (d *Definition) means(stepType string) bool {
	return d.Type == "" || d.Type == stepType || stepType == "" || stepType == "Unknown"
}

// named is the sentence, with its place where it is not built in.
func (d *Definition) named() string {
	if d.File == "" {
		return d.Sentence
	}
	return d.Sentence + " (" + d.place() + ")"
}

// match is a definition that a text can mean, with what its pattern caught.
type match struct {
	definition *Definition
	captured   []string
	groups     [][2]int // where in the text; negative for what is not there
}

// matches gives the definitions that a step of a type means by its text: those whose parameters hold no quotes, when there
// are any, since a text with quotes in it may also be read as one long parameter.
func (l *Library) matches(text, stepType string) []match {
	var found []match
	for _, d := range l.definitions {
		at := d.match(text)
		if at == nil || !d.means(stepType) {
			continue
		}
		m := match{definition: d}
		for i := 2; i < len(at); i += 2 {
			value := ""
			if at[i] >= 0 {
				value = text[at[i]:at[i+1]]
			} else if d.own != nil {
				value = d.own.slots[i/2-1].fallback
			}
			m.captured = append(m.captured, value)
			m.groups = append(m.groups, [2]int{at[i], at[i+1]})
		}
		found = append(found, m)
	}
	if len(found) < 2 {
		return found
	}
	plain := slices.DeleteFunc(slices.Clone(found), func(m match) bool {
		return slices.ContainsFunc(m.captured, func(value string) bool { return strings.Contains(value, `"`) })
	})
	if len(plain) > 0 {
		return plain
	}
	return found
}

// ambiguous is the error of a text that means several sentences.
func ambiguous(text string, found []match) error {
	e := &AmbiguousError{Text: text}
	for _, m := range found {
		e.Sentences = append(e.Sentences, m.definition.named())
	}
	return e
}

// Bind finds the one definition that a step means, and what that stands for. The error is an *UndefinedError, an
// *AmbiguousError, an *ArgumentError, an *OwnError, or says what the step's values lack.
func (l *Library) Bind(step features.Step) (*Bound, error) {
	found := l.matches(step.Text, step.Type)
	switch len(found) {
	case 0:
		return nil, &UndefinedError{Step: step, Nearest: l.nearest(step.Text), Write: l.almost(step.Text, step.Type)}
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

// nearest gives the sentences most like a text, three at most, the best first. With everything that may vary left out, letters and
// words count alike: "I goto" is near by its letters, "I see" by its words. Those that are little alike are none.
func (l *Library) nearest(text string) []string {
	wanted := strings.ToLower(vague.ReplaceAllString(text, "{}"))
	type candidate struct {
		sentence string
		distance float64
	}
	var candidates []candidate
	for _, d := range l.definitions {
		outline := strings.ToLower(d.outline())
		letters, words := []rune(outline), strings.Fields(outline)
		if distance := unlike([]rune(wanted), letters, levenshtein) + unlike(strings.Fields(wanted), words, wordDistance); distance < 0.9 {
			candidates = append(candidates, candidate{d.Sentence, distance})
		}
	}
	slices.SortStableFunc(candidates, func(a, b candidate) int { return cmp.Compare(a.distance, b.distance) })
	sentences := make([]string, 0, 3)
	for _, c := range candidates[:min(3, len(candidates))] {
		sentences = append(sentences, c.sentence)
	}
	return sentences
}

// vague is what may vary in a step.
var vague = regexp.MustCompile(`"[^"]*"|<[^<>]*>|https?://\S+|\b\d+(?:\.\d+)*(?:ms|s|m|h|d)?\b`)

// outline is the sentence with everything that may vary left out.
func (d *Definition) outline() string {
	if d.own == nil {
		return placeholder.ReplaceAllString(d.Sentence, "{}")
	}
	return ownPlaceholder.ReplaceAllString(optionalPart.ReplaceAllString(d.Sentence, ""), "{}")
}

var (
	ownPlaceholder = regexp.MustCompile(`"<[^>]*>"|'<[^>]*>'|<[^>]*>`)
	optionalPart   = regexp.MustCompile(`\[[^\]]*\]`)
)

// unlike is a distance as a part of the longer one.
func unlike[T any, N int | float64](a, b []T, distance func(a, b []T) N) float64 {
	return float64(distance(a, b)) / float64(max(1, len(a), len(b)))
}

// wordDistance is what it costs to put words in, leave them out or mend slips in them, to turn a into b. A word that says
// little costs half of another.
func wordDistance(a, b []string) float64 {
	cost := func(word string) float64 {
		if slices.Contains(small, word) {
			return 0.5
		}
		return 1
	}
	row := make([]float64, len(b)+1)
	for j, word := range b {
		row[j+1] = row[j] + cost(word)
	}
	for _, from := range a {
		diagonal := row[0]
		row[0] += cost(from)
		for j, to := range b {
			change := cost(from) + cost(to)
			if slips, size := levenshtein([]rune(from), []rune(to)), max(len(from), len(to)); slips*3 <= size {
				change = float64(slips) / float64(size)
			}
			diagonal, row[j+1] = row[j+1], min(diagonal+change, row[j+1]+cost(from), row[j]+cost(to))
		}
	}
	return row[len(b)]
}

// small are the words that say little of what a sentence means.
var small = strings.Fields("a an and are at be been by for from has have i in is it of on should that the to with")

// levenshtein is the least number of letters to put in, leave out or change to turn a into b.
func levenshtein(a, b []rune) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range a {
		diagonal := row[0]
		row[0] = i + 1
		for j := range b {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal, row[j+1] = row[j+1], min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
