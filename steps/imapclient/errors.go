package imapclient

import (
	"fmt"
	"slices"
	"strings"

	"github.com/stepwatch/stepwatch/steps/wording"
)

// Kind is the kind of a status response (RFC 9051 section 7.1), in upper case.
type Kind string

// The kinds.
const (
	OK      Kind = "OK"
	NO      Kind = "NO"
	BAD     Kind = "BAD"
	BYE     Kind = "BYE"
	PREAUTH Kind = "PREAUTH"
)

// Code is a response code (RFC 9051 section 7.1), in upper case and without its arguments. It is empty when the server sent none.
type Code string

// The codes that say why something was refused (RFC 5530, RFC 9051 section 7.1).
const (
	Alert                Code = "ALERT"
	AuthenticationFailed Code = "AUTHENTICATIONFAILED"
	AuthorizationFailed  Code = "AUTHORIZATIONFAILED"
	Cannot               Code = "CANNOT"
	ClientBug            Code = "CLIENTBUG"
	ContactAdmin         Code = "CONTACTADMIN"
	Corruption           Code = "CORRUPTION"
	Expired              Code = "EXPIRED"
	ExpungeIssued        Code = "EXPUNGEISSUED"
	InUse                Code = "INUSE"
	Limit                Code = "LIMIT"
	Nonexistent          Code = "NONEXISTENT"
	NoPerm               Code = "NOPERM"
	OverQuota            Code = "OVERQUOTA"
	PrivacyRequired      Code = "PRIVACYREQUIRED"
	ReadOnly             Code = "READ-ONLY"
	ServerBug            Code = "SERVERBUG"
	TryCreate            Code = "TRYCREATE"
	Unavailable          Code = "UNAVAILABLE"
	WebAlert             Code = "WEBALERT" // of Gmail: the argument is the address of a page
)

// Status is a status response: its kind, its code with arguments, and its text.
type Status struct {
	Kind Kind
	Code Code
	Args string // of the code, as sent
	Text string // without the code
}

// String returns the status on one line, as sent.
func (s Status) String() string {
	code := ""
	if s.Code != "" {
		code = " [" + strings.TrimSpace(string(s.Code)+" "+s.Args) + "]"
	}
	return wording.OneLine(strings.TrimSpace(string(s.Kind)+code+" "+s.Text), 300)
}

// isStatus reports whether a text begins with the kind of a status response.
func isStatus(text []byte) bool {
	word, _ := cutWord(text)
	return slices.ContainsFunc(kinds, func(k Kind) bool { return equal(word, string(k)) })
}

var kinds = []Kind{OK, NO, BAD, BYE, PREAUTH}

// parseStatus reads a status response from its kind on. ok is false when the text is not one.
func parseStatus(text []byte) (s Status, ok bool) {
	if !isStatus(text) {
		return Status{}, false
	}
	kind, rest := cutWord(text)
	s.Kind, s.Text = Kind(strings.ToUpper(string(kind))), strings.TrimSpace(string(rest))
	inner, coded := strings.CutPrefix(s.Text, "[")
	if !coded {
		return s, true
	}
	end := codeEnd(inner)
	if end < 0 {
		return s, true // a text that begins with a bracket
	}
	code, args, _ := strings.Cut(strings.TrimSpace(inner[:end]), " ")
	s.Code, s.Args, s.Text = Code(strings.ToUpper(code)), strings.TrimSpace(args), strings.TrimSpace(inner[end+1:])
	return s, true
}

// codeEnd returns the index of the bracket that ends a code: the first one before a blank or the end of the line. Keywords of
// mail programs contain brackets, which no standard permits.
func codeEnd(text string) int {
	for i := range len(text) {
		if text[i] == ']' && (i+1 == len(text) || text[i+1] == ' ') {
			return i
		}
	}
	return strings.IndexByte(text, ']')
}

// Refusal is the error of a command that the server answered with NO or BAD.
type Refusal struct {
	Command string // the verb: "SELECT", "UID FETCH"
	Status
}

// Error returns the command and the answer.
func (r *Refusal) Error() string { return r.Command + ": " + r.String() }

// ByeError is the error of a server that ended the connection with a reason (RFC 9051 section 7.1.5).
type ByeError struct{ Status }

// Error returns the server's words.
func (e *ByeError) Error() string { return e.String() }

// ProtocolError is the error of an answer that lacks something needed, or has it in a form that cannot be read.
type ProtocolError struct {
	What string // "the UID of a message is not a number"
	Rule string // "RFC 9051 section 7.5.2"
	Line string // the response, on one line, shortened, without the contents of literals; empty when something is missing
}

// Error returns what is wrong, the rule and the line.
func (e *ProtocolError) Error() string {
	text := e.What + " (" + e.Rule + ")"
	if e.Line != "" {
		text += fmt.Sprintf(": the server sent %q", e.Line)
	}
	return text
}

// quoteLimit is the length up to which an error quotes a response, in characters.
const quoteLimit = 200
