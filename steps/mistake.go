package steps

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/stepwatch/stepwatch/features"
	"github.com/stepwatch/stepwatch/steps/regex"
	"github.com/stepwatch/stepwatch/steps/sentence"
)

// Presence says whether a step takes a table or a doc string.
type Presence string

// An empty Presence means that the step takes none.
const (
	Optional Presence = "optional"
	Required Presence = "required"
)

// takeFromExample sets Table and DocString from the example, unless the definition sets them: a table, a doc string, or a
// doc string and a table below it. A sentence that ends with a colon requires them.
func (d *Definition) takeFromExample() {
	_, beneath, _ := strings.Cut(d.Example, "\n")
	presence := Optional
	if strings.HasSuffix(d.Sentence, ":") {
		presence = Required
	}
	beneath = strings.TrimSpace(beneath)
	if strings.HasPrefix(beneath, `"""`) {
		if d.DocString == "" {
			d.DocString = presence
		}
		_, beneath, _ = strings.Cut(beneath[3:], `"""`)
		beneath = strings.TrimSpace(beneath)
	}
	if d.Table == "" && strings.HasPrefix(beneath, "|") {
		d.Table = presence
	}
}

// The rules that a step can break, in addition to those of package features.
const (
	RuleUndefined   features.Rule = "undefined"    // no sentence matches
	RuleAmbiguous   features.Rule = "ambiguous"    // several do
	RuleArgument    features.Rule = "argument"     // a table or doc string that the sentence does not take or that is missing
	RuleUnknown     features.Rule = "unknown"      // a name that is not in the configuration
	RuleMissingFile features.Rule = "missing-file" // a missing file
	RuleValue       features.Rule = "value"        // an invalid value
	RuleSentence    features.Rule = "sentence"     // a mistake in a sentence made of others
)

// ArgumentError is the error of a table or doc string below a step whose sentence does not take it.
type ArgumentError struct {
	Sentence string
	Argument string // "table" or "doc string"
	Instead  string // what the sentence takes instead, or ""
}

// Error returns a message that says what to do.
func (e *ArgumentError) Error() string {
	if e.Instead != "" {
		return fmt.Sprintf("%q takes no %s: write a %s below it", e.Sentence, e.Argument, e.Instead)
	}
	return fmt.Sprintf("%q takes no %s: remove it, or move it below the step that it belongs to", e.Sentence, e.Argument)
}

// refuses returns why the definition does not accept the arguments of a step, or nil.
func (d *Definition) refuses(a Args) error {
	if d.Check != nil {
		return d.Check(a)
	}
	return d.takes(a.Table != nil, a.DocString != nil)
}

// takes returns an error if the sentence does not take a table or doc string. An operator's sentence itself reports what it
// does not pass on, and a Check inspects the arguments itself.
func (d *Definition) takes(table, doc bool) error {
	if d.own != nil || d.Check != nil {
		return nil
	}
	err := &ArgumentError{Sentence: d.Sentence}
	switch {
	case table && d.Table == "":
		if err.Argument = "table"; d.DocString != "" && !doc {
			err.Instead = "doc string"
		}
	case doc && d.DocString == "":
		if err.Argument = "doc string"; d.Table != "" && !table {
			err.Instead = "table"
		}
	default:
		return nil
	}
	return err
}

// RuleOf returns the rule that an error of Bind stands for.
func RuleOf(err error) features.Rule {
	switch {
	case errors.As(err, new(*UndefinedError)):
		return RuleUndefined
	case errors.As(err, new(*AmbiguousError)):
		return RuleAmbiguous
	case errors.As(err, new(*ArgumentError)):
		return RuleArgument
	case errors.As(err, new(*OwnError)):
		return RuleSentence
	}
	var p features.Problem
	if errors.As(err, &p) && p.Rule != "" {
		return p.Rule
	}
	return RuleSentence
}

// Mistakes lists the mistakes in the step that are visible without running it, with the configuration. secrets may be nil.
// A mistake in a nested step is reported at the place of its text: in the definition, or at the step with the value.
func (b *Bound) Mistakes(target *Target, secrets Secrets) []features.Problem {
	return b.mistakes(target, secrets, b.Step)
}

func (b *Bound) mistakes(target *Target, secrets Secrets, use *features.Step) []features.Problem {
	var all []features.Problem
	add := func(at *features.Step, rule features.Rule, err error) {
		if err != nil {
			all = append(all, features.Problem{Path: at.Path, Line: at.Line, Column: at.Column, Message: err.Error(), Rule: rule})
		}
	}
	d := b.Definition
	if d.Table == Required && b.Args.Table == nil {
		add(b.Step, RuleArgument, fmt.Errorf("%q needs a table: write its rows below the step, as in the example of \"stepwatch steps\"", d.Sentence))
	}
	if d.DocString == Required && b.Args.DocString == nil {
		add(b.Step, RuleArgument, fmt.Errorf("%q needs a doc string: write it below the step, as in the example of \"stepwatch steps\"", d.Sentence))
	}
	for i, kind := range b.Definition.derived.params {
		at := b.Step
		if b.passed != nil && b.passed[i] {
			at = use
		}
		rule, err := kind.checkValue(b.Args, i, Known{target, secrets})
		add(at, rule, err)
	}
	for _, inner := range b.Inner {
		for _, p := range inner.mistakes(target, secrets, use) {
			if !slices.Contains(all, p) {
				all = append(all, p)
			}
		}
	}
	return all
}

// straight replaces the typographic characters of word processors and web pages with plain ones.
var straight = strings.NewReplacer("“", `"`, "”", `"`, "„", `"`, "‟", `"`, "«", `"`, "»", `"`, "’", "'", "‘", "'", "\u00a0", " ", "\u202f", " ")

// almost returns the text in the form that a sentence matches, if only quotes, blanks, the first letter or a full stop are
// wrong. Otherwise it returns "".
func (l *Library) almost(text, kind string) string {
	plain := strings.Join(strings.Fields(straight.Replace(text)), " ")
	first, size := utf8.DecodeRuneInString(plain)
	other := string(unicode.ToLower(first)) + plain[size:]
	if unicode.IsLower(first) {
		other = string(unicode.ToUpper(first)) + plain[size:]
	}
	for _, candidate := range []string{plain, other} {
		for _, candidate := range []string{candidate, strings.TrimRight(candidate, ".,;!"), singleQuoted.ReplaceAllString(candidate, ` "$1"`)} {
			if candidate != text && len(l.matches(candidate, nil, kind)) > 0 {
				return candidate
			}
		}
	}
	for _, d := range l.definitions {
		if candidate := d.withQuotes(plain); candidate != "" && len(l.matches(candidate, nil, kind)) > 0 {
			return candidate
		}
	}
	return ""
}

// withoutQuotes returns the pattern of the sentence with and without quotes around its parameters, or nil if no parameter
// has quotes.
func (d *Definition) withoutQuotes() func() *regexp.Regexp {
	params := d.derived.params
	if d.Pattern != "" || !slices.ContainsFunc(params, (*Kind).quoted) {
		return nil
	}
	return sync.OnceValue(func() *regexp.Regexp {
		var pattern strings.Builder
		pattern.WriteByte('^')
		before, _, rest, more := sentence.Cut(d.Sentence)
		for i := 0; more; i++ {
			kind := params[i].pattern(false)
			if params[i].quoted() {
				kind = `("[^"]*"|[^"'\s]*[^"'\sa-z][^"'\s]*)`
			}
			pattern.WriteString(regexp.QuoteMeta(before) + kind)
			before, _, rest, more = sentence.Cut(rest)
		}
		return regexp.MustCompile(pattern.String() + regexp.QuoteMeta(before) + "$")
	})
}

// withQuotes adds the missing quotes around parameters so that a text matches the sentence, or returns "". It does not quote
// a word in lower case, which may belong to another sentence.
func (d *Definition) withQuotes(text string) string {
	m := d.derive()
	if m.unquoted == nil || !strings.HasPrefix(text, m.patterns[0].Opening) {
		return ""
	}
	re := m.unquoted()
	groups := re.FindStringSubmatchIndex(text)
	if groups == nil {
		return ""
	}
	var b strings.Builder
	last := 0
	for i, kind := range m.params {
		from, to := groups[2*i+2], groups[2*i+3]
		if value := text[from:to]; kind.quoted() && !strings.HasPrefix(value, `"`) {
			b.WriteString(text[last:from] + `"` + value + `"`)
			last = to
		}
	}
	if b.Len() == 0 {
		return ""
	}
	return b.String() + text[last:]
}

// singleQuoted matches a text between apostrophes, but not apostrophes within words.
var singleQuoted = regex.Lazy(` '([^']*)'`)
