package form

import (
	"fmt"
	"maps"
	"math"
	"regexp"
	"regexp/syntax"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"github.com/stepwatch/stepwatch/steps/address"
	"github.com/stepwatch/stepwatch/steps/pagetree"
	"github.com/stepwatch/stepwatch/steps/regex"
)

// Invalid is a control whose content violates a rule of the page, so that a browser does not send its form (HTML §4.10.21.1).
type Invalid struct {
	Control *html.Node
	Rule    string // as the page writes it: required, pattern="[a-z]+", type=email
}

// Check returns the first invalid control of a form, or nil. submitter is the pressed button, or nil. unjudged are the controls
// whose pattern only a browser can apply, because Go's regular expressions lack a part of it.
func Check(document, form, submitter *html.Node, s State) (invalid *Invalid, unjudged []*html.Node) {
	if _, unchecked := pagetree.Attribute(form, "novalidate"); unchecked {
		return nil, nil
	}
	if submitter != nil {
		if _, unchecked := pagetree.Attribute(submitter, "formnovalidate"); unchecked {
			return nil, nil
		}
	}
	undecided := sync.OnceValue(func() map[radioGroup]bool { return s.undecided(document) })
	for n := range pagetree.Nodes(document) {
		if owner, isControl := s.Owners[n]; !isControl || owner != form || barred(n) {
			continue
		}
		rule, judged := s.violated(n, undecided)
		if rule != "" {
			return &Invalid{n, rule}, nil
		}
		if !judged {
			unjudged = append(unjudged, n)
		}
	}
	return nil, unjudged
}

// barred reports whether a control is not validated (HTML §4.10.21.2).
func barred(n *html.Node) bool {
	if pagetree.IsHiddenInput(n) || pagetree.ButtonType(n) != "" || pagetree.IsDisabled(n) {
		return true
	}
	if _, fixed := pagetree.Attribute(n, "readonly"); fixed && n.DataAtom != atom.Select {
		return true
	}
	for p := n.Parent; p != nil; p = p.Parent {
		if p.DataAtom == atom.Datalist {
			return true
		}
	}
	return false
}

// violated returns the rule that the content of a control violates, or nothing. judged is false when its pattern could not be
// applied.
func (s State) violated(n *html.Node, undecidedRadios func() map[radioGroup]bool) (rule string, judged bool) {
	_, required := pagetree.Attribute(n, "required")
	given := func(key string) string {
		value, _ := pagetree.Attribute(n, key)
		return fmt.Sprintf("%s=%q", key, value)
	}
	var value string
	var empty bool
	kind := "textarea"
	switch pagetree.KindOf(n) {
	case pagetree.KindSelect:
		return ruleIf(required && undecided(n), "required"), true
	case pagetree.KindCheckbox:
		_, checked := pagetree.Attribute(n, "checked")
		return ruleIf(required && !checked, "required"), true
	case pagetree.KindRadio:
		return ruleIf(!s.chosen(n, undecidedRadios), "required"), true
	case pagetree.KindFile:
		return ruleIf(required && s.Files[n] == "", "required"), true
	default:
		if n.DataAtom == atom.Textarea {
			value = pagetree.TextareaValue(n)
		} else {
			kind = inputType(n)
			value, _ = pagetree.Attribute(n, "value")
			value = Sanitized(n, value)
		}
		empty = value == ""
	}
	switch {
	case kind == "range", kind == "color":
		return "", true // always within the rules
	case empty:
		return ruleIf(required, "required"), true
	case kind == "email" && !isEmail(n, value), kind == "url" && !isAddress(value):
		return "type=" + kind, true
	}
	switch kind {
	case "number":
		return s.outOfRange(n, value, given), true
	case "date", "month", "week", "time", "datetime-local":
		least, _ := pagetree.Attribute(n, "min")
		most, _ := pagetree.Attribute(n, "max")
		least, most = Sanitized(n, least), Sanitized(n, most)
		switch { // such values of four digits a year compare as text
		case kind == "time" && least != "" && most != "" && least > most:
			return ruleIf(value > most && value < least, given("min")+" and "+given("max")), true
		case least != "" && len(value) == len(least) && value < least:
			return given("min"), true
		case most != "" && len(value) == len(most) && value > most:
			return given("max"), true
		}
		return "", true
	}
	if _, typed := s.Typed[n]; typed {
		text, _ := pagetree.Attribute(n, "minlength")
		if least, err := strconv.Atoi(strings.TrimSpace(text)); err == nil && pagetree.Length(value) < least {
			return given("minlength"), true
		}
	}
	pattern, found := pagetree.Attribute(n, "pattern")
	if !found || n.DataAtom == atom.Textarea {
		return "", true
	}
	values := []string{value}
	if _, multiple := pagetree.Attribute(n, "multiple"); multiple && kind == "email" {
		values = strings.Split(value, ",")
	}
	for _, v := range values {
		matched, known := matches(pattern, v)
		if !known {
			return "", false
		}
		if !matched {
			return given("pattern"), true
		}
	}
	return "", true
}

func ruleIf(violated bool, rule string) string {
	if violated {
		return rule
	}
	return ""
}

// undecided reports whether a select field shows no choice (HTML §4.10.7): nothing, or a first option without a value that only
// asks for one.
func undecided(field *html.Node) bool {
	options := pagetree.Options(field)
	_, multiple := pagetree.Attribute(field, "multiple")
	chosen := -1
	for i, o := range options {
		if _, is := pagetree.Attribute(o, "selected"); is && (chosen < 0 || !multiple) {
			chosen = i
		}
	}
	if selected := pagetree.Selected(field); chosen < 0 && len(selected) > 0 {
		for i, o := range options {
			if o == selected[0] {
				chosen = i
			}
		}
	}
	return chosen < 0 || chosen == 0 && !multiple && pagetree.IsDropDown(field) && options[0].Parent == field && pagetree.OptionValue(options[0]) == ""
}

// radioGroup is a group of radio buttons of one document (HTML §4.10.5.1.16).
type radioGroup struct {
	form *html.Node // or nil
	name string
}

// undecided returns the groups that need a choice and have none.
func (s State) undecided(document *html.Node) map[radioGroup]bool {
	required, checked := map[radioGroup]bool{}, map[radioGroup]bool{}
	for n := range pagetree.Nodes(document) {
		if pagetree.KindOf(n) != pagetree.KindRadio {
			continue
		}
		group := s.groupOf(n)
		if _, is := pagetree.Attribute(n, "checked"); is {
			checked[group] = true
		}
		if _, asks := pagetree.Attribute(n, "required"); asks {
			required[group] = true
		}
	}
	maps.DeleteFunc(required, func(group radioGroup, _ bool) bool { return checked[group] })
	return required
}

func (s State) groupOf(radio *html.Node) radioGroup {
	name, _ := pagetree.Attribute(radio, "name")
	return radioGroup{s.Owners[radio], name}
}

// chosen reports whether a radio button's group has a choice or needs none.
func (s State) chosen(n *html.Node, undecided func() map[radioGroup]bool) bool {
	group := s.groupOf(n)
	if group.name == "" { // a group of its own
		_, required := pagetree.Attribute(n, "required")
		_, checked := pagetree.Attribute(n, "checked")
		return checked || !required
	}
	return !undecided()[group]
}

// outOfRange returns the rule that a number violates (HTML §4.10.5.1.12).
func (s State) outOfRange(n *html.Node, value string, given func(string) string) string {
	read := func(text string) (float64, bool) {
		if !number.MatchString(text) {
			return 0, false
		}
		f, err := strconv.ParseFloat(text, 64)
		return f, err == nil
	}
	setting := func(key string) (float64, bool) {
		text, _ := pagetree.Attribute(n, key)
		return read(text)
	}
	at, valid := read(value)
	if !valid {
		return ""
	}
	least, bounded := setting("min")
	if bounded && at < least {
		return given("min")
	}
	if most, has := setting("max"); has && at > most {
		return given("max")
	}
	base := least
	if !bounded {
		original, typed := s.Typed[n]
		if !typed {
			original, _ = pagetree.Attribute(n, "value")
		}
		base, _ = read(original)
	}
	text, has := pagetree.Attribute(n, "step")
	step, valid := read(text)
	switch {
	case strings.EqualFold(text, "any"):
		return ""
	case !valid || step <= 0:
		step, has = 1, false
	}
	if off := math.Abs(math.Remainder(at-base, step)); off > step*1e-9 && off > math.Abs(at)*1e-12 {
		if !has {
			return "type=number, whose step is 1"
		}
		return given("step")
	}
	return ""
}

// email is a valid address (HTML §4.10.5.1.5), which is not RFC 5322's.
var email = regex.Lazy("^[a-zA-Z0-9.!#$%&'*+/=?^_`{|}~-]+@[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(?:\\.[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*$")

func isEmail(n *html.Node, value string) bool {
	if _, multiple := pagetree.Attribute(n, "multiple"); multiple {
		for part := range strings.SplitSeq(value, ",") {
			if !isOneEmail(part) {
				return false
			}
		}
		return true
	}
	return isOneEmail(value)
}

// isOneEmail accepts what browsers do, which encode an international domain first.
func isOneEmail(text string) bool {
	local, domain, _ := strings.Cut(text, "@")
	if strings.ContainsFunc(domain, func(r rune) bool { return r >= 0x80 }) {
		u, err := address.Parse("http://" + domain + "/")
		if err != nil {
			return false
		}
		text = local + "@" + u.Hostname()
	}
	return email.MatchString(text)
}

func isAddress(text string) bool {
	_, err := address.Parse(text)
	return err == nil
}

// What a pattern of a page may cost. One that exceeds it is left to a browser.
const (
	longestPattern = 2000    // bytes
	patternSteps   = 5_000   // instructions
	longestMatched = 1 << 20 // bytes of the text that it is applied to
)

// matches reports whether a text matches the pattern of a page as a whole (HTML §4.10.5.3.6). known is false when the pattern uses
// what Go's regular expressions do not have. A pattern may begin with conditions, as those of passwords do: (?=.*\d)(?=.*[a-z]).{8,}
func matches(pattern, text string) (matched, known bool) {
	if len(pattern) > longestPattern || len(text) > longestMatched {
		return false, false
	}
	rest := strings.TrimPrefix(pattern, "^")
	for strings.HasPrefix(rest, "(?=") || strings.HasPrefix(rest, "(?!") {
		end := groupEnd(rest)
		if end < 0 || end < len(rest) && strings.ContainsRune("*+?{", rune(rest[end])) {
			return false, false
		}
		condition, err := compiled("^(?:" + rest[len("(?="):end-1] + ")")
		if err != nil || hasChoice(rest[end:]) {
			return false, false
		}
		if condition.MatchString(text) != (rest[2] == '=') {
			return false, true
		}
		rest = rest[end:]
	}
	whole, err := compiled("^(?:" + rest + ")$")
	if err != nil {
		return false, false
	}
	return whole.MatchString(text), true
}

// compiled compiles a pattern of a page, unless Go reads it in another way than browsers do.
func compiled(pattern string) (*regexp.Regexp, error) {
	for _, other := range []string{"[[", "&&", "--", `\a`, `\A`, `\z`, `\Q`, `\C`, "(?P", "(?i", "(?s", "(?m", "(?U", "(?-"} {
		if strings.Contains(pattern, other) {
			return nil, &syntax.Error{Code: syntax.ErrInvalidEscape, Expr: other}
		}
	}
	return regex.Compile(pattern, patternSteps)
}

// marks calls mark for each parenthesis and bar of a pattern that is neither escaped nor in a class, with the number of groups
// that are open before it, until mark returns false.
func marks(pattern string, mark func(at int, c byte, open int) bool) {
	open, class := 0, false
	for i := 0; i < len(pattern); i++ {
		c := pattern[i]
		switch {
		case c == '\\':
			i++
			continue
		case class:
			class = c != ']'
			continue
		case c == '[':
			class = true
			continue
		}
		if (c == '(' || c == ')' || c == '|') && !mark(i, c, open) {
			return
		}
		switch c {
		case '(':
			open++
		case ')':
			open--
		}
	}
}

// groupEnd returns the position after the group at the beginning of a pattern, or -1.
func groupEnd(pattern string) int {
	end := -1
	marks(pattern, func(at int, c byte, open int) bool {
		if c == ')' && open == 1 {
			end = at + 1
		}
		return end < 0
	})
	return end
}

// hasChoice reports whether a pattern has alternatives outside its groups.
func hasChoice(pattern string) bool {
	if groupEnd("("+pattern+")") < 0 {
		return false
	}
	found := false
	marks(pattern, func(_ int, c byte, open int) bool {
		found = c == '|' && open == 0
		return !found
	})
	return found
}
