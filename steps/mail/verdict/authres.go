package verdict

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/mail"
	"github.com/stepwatch/stepwatch/steps/wording"
)

func init() {
	steps.Register(
		steps.Definition{
			Area: "mail", Sentence: `the receiving server says {text}`, Pattern: `^the receiving server says "([^"]+)"$`,
			Does: "Fails unless the receiving server wrote this result into Authentication-Results (RFC 8601), such as dkim=pass, spf=softfail or dmarc=pass; " +
				"properties after it must match too: dkim=pass header.d=example.org. Only fields of the receiving server count. They have its authserv-id " +
				"(authserv_id of the account in stepwatch.yml, otherwise a name in the organisation of its IMAP host) and are above everything that a foreign server wrote.",
			Measures: "Reading the message (phase read, once). Measures mail_authentication_results_ignored: the number of such fields by other servers.",
			Example:  `Then the receiving server says "dkim=pass"`,
			Func:     receivingServerSays,
		},
	)
}

// authResults is one Authentication-Results field (RFC 8601 section 2.2).
type authResults struct {
	id      string // the authserv-id; empty where a server omits it, as Exchange does
	results []authResult
}

// authResult is one result in an Authentication-Results field.
type authResult struct {
	method, result string // "dkim", "pass"; in lower case
	comment        string // the server's explanation for people
	properties     []property
}

// property is a detail of a result: "header.d", "example.org". The name is in lower case.
type property struct{ name, value string }

// String returns the result as a header has it.
func (r authResult) String() string {
	s := r.method + "=" + r.result
	if r.comment != "" {
		s += " (" + r.comment + ")"
	}
	for _, p := range r.properties {
		value := p.value
		if strings.ContainsFunc(value, unicode.IsSpace) {
			value = `"` + value + `"`
		}
		s += " " + p.name + "=" + value
	}
	return s
}

// owner returns who must fix a result other than the wanted one.
func (r authResult) owner() result.Blame {
	switch {
	case r.result == "temperror", r.result == "permerror": // no answer, or an unusable record
		return result.BlameDNS
	case (r.method == "spf" || r.method == "dmarc") && r.result == "none":
		return result.BlameDNS
	case r.method == "dkim" && (r.result == "none" || r.result == "pass"), r.method == "dmarc": // nobody signed, or somebody else did
		return result.BlameSubmission
	case r.method == "spf":
		return result.BlameTransfer
	case r.method == "dkim" && slices.ContainsFunc(r.properties, func(p property) bool { return p.name == "reason" && strings.HasPrefix(p.value, "key ") }):
		return result.BlameDNS // OpenDKIM's "key not found in DNS"
	case r.method == "dkim":
		return result.BlameTarget // a wrong key, or a change in transit
	}
	return result.BlameFiltering
}

// covers reports whether r is the wanted result and has all of its properties.
func (r authResult) covers(wanted authResult) bool {
	if r.method != wanted.method || r.result != wanted.result {
		return false
	}
	for _, w := range wanted.properties {
		found := false
		for _, p := range r.properties {
			found = found || p.name == w.name && strings.EqualFold(p.value, w.value)
		}
		if !found {
			return false
		}
	}
	return true
}

// parseAuthResults reads the value of an Authentication-Results field. Servers differ: comments hold semicolons
// (OpenDKIM), the authserv-id is missing (Exchange), comments touch values (Yahoo), values hold "=" (signatures). It
// skips what is not a result, and no input makes it fail.
func parseAuthResults(value string) authResults {
	var a authResults
	s := resultScanner{text: value}
	for first := true; !s.atEnd(); first = false {
		pairs, words, comment := s.segment()
		if first && len(words) > 0 {
			a.id = strings.ToLower(words[0])
		}
		if len(pairs) == 0 {
			continue
		}
		method, _, _ := strings.Cut(pairs[0].name, "/") // a version, RFC 8601 section 2.2
		r := authResult{method: strings.TrimSpace(method), result: strings.ToLower(pairs[0].value), comment: comment}
		if len(pairs) > 1 {
			r.properties = pairs[1:]
		}
		a.results = append(a.results, r)
	}
	return a
}

// resultScanner reads the segments between semicolons.
type resultScanner struct {
	text string
	at   int
}

func (s *resultScanner) atEnd() bool { return s.at >= len(s.text) }

// segment reads up to and including the next semicolon that is not inside a comment or quotes. It returns the first
// comment.
func (s *resultScanner) segment() (pairs []property, words []string, comment string) {
	for !s.atEnd() {
		switch c := s.text[s.at]; {
		case c == ';':
			s.at++
			return pairs, words, comment
		case wording.IsSpace(c), c == ')', c == '=':
			s.at++
		case c == '(':
			if text := s.comment(); comment == "" {
				comment = text
			}
		default:
			name := s.word("=")
			if !s.equals() {
				words = append(words, name)
				continue
			}
			pairs = append(pairs, property{strings.ToLower(name), s.word("")})
		}
	}
	return pairs, words, comment
}

// equals reads an equals sign and the white space and comments around it.
func (s *resultScanner) equals() bool {
	s.skip()
	if s.atEnd() || s.text[s.at] != '=' {
		return false
	}
	s.at++
	s.skip()
	return true
}

// skip skips white space and comments.
func (s *resultScanner) skip() {
	for !s.atEnd() {
		switch c := s.text[s.at]; {
		case wording.IsSpace(c):
			s.at++
		case c == '(':
			s.comment()
		default:
			return
		}
	}
}

// word reads up to white space, a semicolon, a comment or one of ends. It removes quotes and keeps their content.
func (s *resultScanner) word(ends string) string {
	var word strings.Builder
	for quotes := false; !s.atEnd(); s.at++ {
		c := s.text[s.at]
		switch {
		case c == '"':
			quotes = !quotes
			continue
		case c == '\\' && quotes && s.at+1 < len(s.text):
			s.at++
			c = s.text[s.at]
		case !quotes && (wording.IsSpace(c) || c == ';' || c == '(' || strings.IndexByte(ends, c) >= 0):
			return word.String()
		}
		word.WriteByte(c)
	}
	return word.String()
}

// comment reads a comment with its nested comments and returns the text between its parentheses.
func (s *resultScanner) comment() string {
	start := s.at + 1
	for depth := 0; !s.atEnd(); s.at++ {
		switch s.text[s.at] {
		case '\\':
			s.at++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				s.at++
				return strings.TrimSpace(s.text[start : s.at-1])
			}
		}
	}
	s.at = len(s.text)
	return strings.TrimSpace(s.text[min(start, len(s.text)):])
}

// verdict is what the receiving server says, and which fields are ignored.
type verdict struct {
	results []authResult
	ids     []string // of the ignored fields: the id, or what is wrong with the place
}

func verdictOf(l *mail.Letter) verdict {
	var v verdict
	for i, f := range l.Fields {
		if !strings.EqualFold(f.Name, "Authentication-Results") {
			continue
		}
		a := parseAuthResults(f.Value)
		switch {
		case !l.Side.Trusts(a.id):
			id := a.id
			if id == "" {
				id = "no authserv-id"
			}
			v.ids = append(v.ids, id)
		case i > l.Side.LastLine:
			v.ids = append(v.ids, a.id+" (forged: it is below the fields of a foreign server)")
		default:
			v.results = append(v.results, a.results...)
		}
	}
	return v
}

// ignored describes the ignored fields. It is empty when there are none.
func (v verdict) ignored(l *mail.Letter) string {
	if len(v.ids) == 0 {
		return ""
	}
	return fmt.Sprintf("; ignored Authentication-Results of %s (trusted: %s; set by authserv_id of the account in stepwatch.yml)", strings.Join(v.ids, ", "), l.Side)
}

func receivingServerSays(ctx context.Context, w *steps.World, a steps.Args) error {
	written := parseAuthResults("scenario; " + a.Text(0))
	if len(written.results) != 1 || written.results[0].result == "" {
		return steps.FailScenario("%s is not a result: write \"dkim=pass\" or \"dkim=pass header.d=example.org\"", wording.Quote(a.Text(0)))
	}
	wanted := written.results[0]
	l, err := mail.ReceivedLetter(ctx, w)
	if err != nil {
		return err
	}
	v := verdictOf(l)
	w.Measure("mail_authentication_results_ignored", "Number of Authentication-Results fields in the message that are not the receiving server's.", float64(len(v.ids)))
	var said []string
	blame := result.BlameFiltering
	for _, r := range v.results {
		if r.covers(wanted) {
			return nil
		}
		if r.method == wanted.method {
			said = append(said, r.String())
			blame = r.owner()
		}
	}
	l.AttachHeader(w)
	switch {
	case len(said) > 0:
		return steps.Fail(result.ReasonUnexpected, blame, "the receiving server says %s, wanted %s%s", strings.Join(said, "; "), wanted, v.ignored(l))
	case len(v.results) > 0:
		return steps.Fail(result.ReasonUnexpected, blame, "the receiving server says nothing about %s%s", wanted.method, v.ignored(l))
	default:
		return steps.Fail(result.ReasonUnexpected, blame, "the receiving server wrote no Authentication-Results%s", v.ignored(l))
	}
}
