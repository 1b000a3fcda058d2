// Package silence decides when alerts are not told: while a person has silenced a scenario (Silence), and during the
// maintenance windows of the configuration (Window). It checks acknowledgements, too.
//
// A silence and a window only withhold alerts. The scenarios run as always, and their states and metrics show what they
// are. The package knows no alerts: whoever tells them asks Book.Quiet.
package silence

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/features"
)

// Silence withholds the alerts of some scenarios for a time. A person has made it.
type Silence struct {
	ID       string    `json:"id"`
	Author   string    `json:"author"`          // as given
	Login    string    `json:"login,omitempty"` // of the HTTP server, which has checked it; empty without a login
	Reason   string    `json:"reason"`
	Start    time.Time `json:"start"`
	End      time.Time `json:"end"` // the first moment that it does not cover
	Created  time.Time `json:"created"`
	EndedBy  string    `json:"ended_by,omitempty"` // who has ended it before its time
	EndedAt  time.Time `json:"ended_at,omitzero"`  // when
	Matchers Matchers  `json:"matchers"`
}

// State is where a silence is in its life.
type State string

// The three states.
const (
	Pending State = "pending" // it has not begun
	Active  State = "active"
	Ended   State = "ended" // it is kept for a while, to show who has silenced what
)

// State returns the state at a moment. A silence that somebody has ended does not begin again when the clock is set back.
func (s *Silence) State(now time.Time) State {
	switch {
	case s.EndedBy != "" || !now.Before(s.End):
		return Ended
	case now.Before(s.Start):
		return Pending
	default:
		return Active
	}
}

// over returns when the silence ends or ended.
func (s *Silence) over() time.Time {
	if s.EndedBy != "" {
		return s.EndedAt
	}
	return s.End
}

// Matchers select scenarios. A scenario is selected if each matcher that is set has a value that fits it. In a value, an
// asterisk stands for any characters, also none.
type Matchers struct {
	All      bool   `json:"all,omitempty" yaml:"all"`           // every scenario; then nothing else is set
	Name     Values `json:"name,omitempty" yaml:"name"`         // of the scenario, with or without its feature and its outline row
	Feature  Values `json:"feature,omitempty" yaml:"feature"`   // the name of the feature
	Owner    Values `json:"owner,omitempty" yaml:"owner"`       // of @owner
	Severity Values `json:"severity,omitempty" yaml:"severity"` // of @severity
	Location Values `json:"location,omitempty" yaml:"location"` // of @location
	File     Values `json:"file,omitempty" yaml:"file"`         // the path of the feature file, or the end of it from a slash on
	Tags     string `json:"tags,omitempty" yaml:"tags"`         // a tag expression: "@mail and not @slow"
}

// Values are the values of a matcher, one of which must fit. In JSON and YAML a single one may stand without a list.
type Values []string

// UnmarshalJSON reads a text or a list of texts.
func (v *Values) UnmarshalJSON(text []byte) error {
	if single := ""; json.Unmarshal(text, &single) == nil {
		*v = Values{single}
		return nil
	}
	return json.Unmarshal(text, (*[]string)(v))
}

// UnmarshalYAML reads a text or a list of texts.
func (v *Values) UnmarshalYAML(unmarshal func(any) error) error {
	if single := ""; unmarshal(&single) == nil {
		*v = Values{single}
		return nil
	}
	return unmarshal((*[]string)(v))
}

// The bounds of what a person may write.
const (
	authorMost = 100  // characters
	reasonMost = 1000 // characters, also of a comment
	valueMost  = 500  // characters of a value of a matcher or of a tag expression
	valuesMost = 50   // values of one matcher
)

// matcher is a compiled Matchers.
type matcher struct {
	Matchers
	tags func([]string) bool // nil without a tag expression
}

// compile checks the matchers. The error names the matcher.
func (m Matchers) compile() (*matcher, error) {
	c := &matcher{Matchers: m}
	set := 0
	for _, f := range m.fields() {
		if len(f.values) > 0 {
			set++
		}
		if len(f.values) > valuesMost {
			return nil, &FieldError{f.name, fmt.Sprintf("has %d values, more than %d: use an asterisk (\"Mail *\"), or a tag expression", len(f.values), valuesMost)}
		}
		for _, v := range f.values {
			if problem := badText(v, valueMost); problem != "" {
				return nil, &FieldError{f.name, problem}
			}
		}
	}
	if m.Tags != "" {
		set++
		if problem := badText(m.Tags, valueMost); problem != "" {
			return nil, &FieldError{"tags", problem}
		}
		tags, err := features.TagExpression(m.Tags)
		if err != nil {
			return nil, &FieldError{"tags", "has a mistake: " + err.Error()}
		}
		c.tags = tags
	}
	switch {
	case m.All && set > 0:
		return nil, &FieldError{"all", "stands next to other matchers, which would have no effect: remove one or the others"}
	case !m.All && set == 0:
		return nil, &FieldError{"", "no scenario is selected: set name, feature, owner, severity, location, file or tags, or all for every scenario"}
	}
	return c, nil
}

// field is a matcher with its values and what they are compared with.
type field struct {
	name   string
	values Values
}

func (m *Matchers) fields() [6]field {
	return [...]field{{"name", m.Name}, {"feature", m.Feature}, {"owner", m.Owner}, {"severity", m.Severity}, {"location", m.Location}, {"file", m.File}}
}

// subject is a scenario that is compared with many matchers.
type subject struct {
	id    *result.Identity
	tags  []string // "@mail", "@owner:web"
	names []string // under which it is known; made on first use
}

// named reports whether one of the names of the scenario fits.
func (s *subject) named(values Values) bool {
	if s.names == nil {
		s.names = append(s.names, s.id.Scenario, s.id.String())
		if s.id.Example != "" {
			s.names = append(s.names, s.id.Scenario+" ("+s.id.Example+")")
		}
	}
	return slices.ContainsFunc(s.names, func(name string) bool { return fits(values, name) })
}

// String returns the matchers in one line for people: "owner mail, tags @slow".
func (m Matchers) String() string {
	if m.All {
		return "all"
	}
	var all []string
	for _, f := range m.fields() {
		if len(f.values) > 0 {
			all = append(all, f.name+" "+strings.Join(f.values, " or "))
		}
	}
	if m.Tags != "" {
		all = append(all, "tags "+m.Tags)
	}
	return strings.Join(all, ", ")
}

// match reports whether a scenario is selected.
func (m *matcher) match(s *subject) bool {
	id := s.id
	switch {
	case m.All:
		return true
	case len(m.Name) > 0 && !s.named(m.Name),
		len(m.Feature) > 0 && !fits(m.Feature, id.Feature),
		len(m.Owner) > 0 && !fits(m.Owner, id.Owner),
		len(m.Severity) > 0 && !fits(m.Severity, id.Severity),
		len(m.Location) > 0 && !fits(m.Location, id.Location),
		len(m.File) > 0 && !fitsPath(m.File, id.File):
		return false
	}
	return m.tags == nil || m.tags(s.tags)
}

func fits(values Values, text string) bool {
	for _, v := range values {
		if Glob(v, text) {
			return true
		}
	}
	return false
}

// fitsPath reports whether a value fits the path or an end of it that begins after a slash.
func fitsPath(values Values, path string) bool {
	for {
		if fits(values, path) {
			return true
		}
		_, rest, more := strings.Cut(path, "/")
		if !more {
			return false
		}
		path = rest
	}
}

// Glob reports whether a pattern, in which an asterisk stands for any characters, fits a whole text. It takes at most the product of their lengths.
func Glob(pattern, text string) bool {
	first, rest, wild := strings.Cut(pattern, "*")
	if !wild {
		return pattern == text
	}
	if !strings.HasPrefix(text, first) {
		return false
	}
	text = text[len(first):]
	for {
		part, after, more := strings.Cut(rest, "*")
		if !more {
			return strings.HasSuffix(text, part)
		}
		at := strings.Index(text, part)
		if at < 0 {
			return false
		}
		text, rest = text[at+len(part):], after
	}
}

// badText returns what is wrong with a text that a person wrote, or "".
func badText(text string, most int) string {
	switch {
	case strings.TrimSpace(text) == "":
		return "is empty"
	case !utf8.ValidString(text):
		return "is not valid UTF-8"
	case utf8.RuneCountInString(text) > most:
		return fmt.Sprintf("has %d characters, more than %d: shorten it", utf8.RuneCountInString(text), most)
	case strings.ContainsFunc(text, unprintable):
		return "contains a line break or another control character: write it in one line"
	}
	return ""
}

// CheckText returns a *FieldError unless the text of a field is one line that is not empty and has at most so many characters.
// remedy says what to do about an empty one.
func CheckText(field, text string, most int, remedyOfEmpty string) error {
	if problem := badText(text, most); problem != "" {
		return &FieldError{field, problem + remedy(problem, ": "+remedyOfEmpty)}
	}
	return nil
}

// unprintable reports whether a character may change how a terminal shows the others: control characters, and those that
// turn the direction of writing.
func unprintable(r rune) bool {
	return unicode.IsControl(r) || r >= '\u202a' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069' || r == '\u2028' || r == '\u2029'
}

// FieldError says what is wrong with which field of a request.
type FieldError struct {
	Field   string // "author", "matchers.tags"; empty if it is about the whole
	Problem string // "is empty"
}

// Error returns the field and the problem.
func (e *FieldError) Error() string {
	if e.Field == "" {
		return e.Problem
	}
	return e.Field + " " + e.Problem
}

// Acknowledgement says that somebody has seen an alert and takes care of it.
type Acknowledgement struct {
	Author  string    `json:"author"`
	Comment string    `json:"comment"`
	At      time.Time `json:"at"`
}

// Check returns a FieldError if the author or the comment is missing or cannot be shown.
func (a *Acknowledgement) Check() error {
	if problem := badText(a.Author, authorMost); problem != "" {
		return &FieldError{"author", problem + remedy(problem, ": say who acknowledges the alert")}
	}
	if problem := badText(a.Comment, reasonMost); problem != "" {
		return &FieldError{"comment", problem + remedy(problem, ": say what is done about the alert")}
	}
	return nil
}

// remedy returns a remedy for an empty text.
func remedy(problem, remedy string) string {
	if problem == "is empty" {
		return remedy
	}
	return ""
}
