// Package cookie keeps cookies as browsers do: it reads the Set-Cookie field, decides what is stored and says what is
// not and why, and writes the Cookie field of a request.
//
// It follows RFC 6265 section 5 with its successor (draft-ietf-httpbis-rfc6265bis, named RFC 6265bis here) and the
// public suffix list, and Chromium where they leave a choice. So a value may contain quotes, commas, blanks,
// backslashes and any byte above US-ASCII, which net/http drops. It leaves out partitioned cookies and access by
// scripts.
package cookie

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/steps/date"
)

// Cookie is a stored cookie.
type Cookie struct {
	Name, Value      string // the name may be empty
	Domain           string // in lower case, without a leading dot
	HostOnly         bool   // sent to Domain alone, not to the hosts below it
	Path             string
	Secure, HTTPOnly bool
	SameSite         string    // "Strict", "Lax", "None", or empty when the site does not set it
	Expires          time.Time // zero when it ends with the session

	site    string // of Domain
	created time.Time
	order   int // of creation, for cookies of one moment
}

// The limits of RFC 6265bis sections 5.6 and 5.7, in bytes and days.
const (
	longest          = 4096 // name and value
	longestAttribute = 1024
	longestLife      = 400 * 24 * time.Hour
)

// Set is what one Set-Cookie field says.
type Set struct {
	Name, Value      string
	Domain, Path     string // as written; empty when the attribute is missing or empty
	Secure, HTTPOnly bool
	SameSite         string // "Strict", "Lax", "None", or empty
	partitioned      bool
	expires          time.Time
	maxAge           time.Duration
	hasExpires       bool
	hasMaxAge        bool
}

// Refused is the error for a cookie that browsers do not store. It contains no value of the cookie.
type Refused struct {
	Name string
	Why  string // with the rule
}

func (r *Refused) Error() string {
	return fmt.Sprintf("browsers refuse the cookie %.80q: %s", r.Name, r.Why)
}

// Parse reads the value of a Set-Cookie field (RFC 6265bis section 5.6). The error is a [*Refused].
func Parse(field string) (*Set, error) {
	pair, attributes, _ := strings.Cut(field, ";")
	s := &Set{}
	name, value, found := strings.Cut(pair, "=")
	if !found {
		name, value = "", pair
	}
	s.Name, s.Value = trim(name), trim(value)
	switch {
	case strings.ContainsFunc(field, control):
		return nil, &Refused{s.Name, "the field contains a control character (RFC 6265bis section 5.6)"}
	case strings.Contains(s.Name+s.Value, "\t"):
		return nil, s.tab()
	case s.Name == "" && strings.Contains(s.Value, "="):
		return nil, &Refused{s.Name, "it has no name, and its value with an equals sign would come back as another cookie (RFC 6265bis section 5.7)"}
	case s.Name == "" && s.Value == "":
		return nil, &Refused{s.Name, "it has neither a name nor a value (RFC 6265bis section 5.7)"}
	case len(s.Name)+len(s.Value) > longest:
		return nil, &Refused{s.Name, fmt.Sprintf("its name and value have %d bytes, more than %d (RFC 6265bis section 5.6)", len(s.Name)+len(s.Value), longest)}
	}
	for attribute := range strings.SplitSeq(attributes, ";") {
		name, value, _ := strings.Cut(attribute, "=")
		if name, value = trim(name), trim(value); strings.Contains(name+value, "\t") {
			return nil, s.tab()
		}
		if len(value) <= longestAttribute {
			s.attribute(strings.ToLower(name), value)
		}
	}
	return s, nil
}

// tab returns the error for a tab, which Chromium counts as a control character.
func (s *Set) tab() error {
	return &Refused{s.Name, "the field contains a tab (RFC 6265 section 4.1.1)"}
}

// attribute stores an attribute; the last one of a name counts.
func (s *Set) attribute(name, value string) {
	switch name {
	case "expires":
		s.expires, s.hasExpires = date.Cookie(value)
	case "max-age":
		s.maxAge, s.hasMaxAge = maxAge(value)
	case "domain":
		s.Domain = value
	case "path":
		s.Path = value
	case "secure":
		s.Secure = true
	case "httponly":
		s.HTTPOnly = true
	case "partitioned":
		s.partitioned = true
	case "samesite":
		s.SameSite = map[string]string{"strict": "Strict", "lax": "Lax", "none": "None"}[strings.ToLower(value)]
	}
}

// maxAge reads a number of seconds (RFC 6265bis section 5.6.2). A number that is too large for a duration is capped.
func maxAge(value string) (time.Duration, bool) {
	digits := strings.TrimLeft(value, "+-")
	if len(value)-len(digits) > 1 {
		return 0, false
	}
	if digits == "" || strings.ContainsFunc(digits, func(r rune) bool { return r < '0' || r > '9' }) {
		return 0, false
	}
	n, err := strconv.ParseInt(value, 10, 64)
	switch {
	case n <= 0:
		return 0, true
	case errors.Is(err, strconv.ErrRange) || n > int64(longestLife/time.Second):
		return longestLife, true
	}
	return time.Duration(n) * time.Second, true
}

// end returns when the cookie expires, zero for the end of the session (RFC 6265bis section 5.7).
func (s *Set) end(now time.Time) time.Time {
	last := now.Add(longestLife)
	switch {
	case s.hasMaxAge && s.maxAge <= 0:
		return time.Unix(1, 0).UTC()
	case s.hasMaxAge:
		return now.Add(s.maxAge)
	case s.hasExpires && s.expires.After(last):
		return last
	case s.hasExpires && s.expires.Unix() < 1:
		return time.Unix(1, 0).UTC()
	case s.hasExpires:
		return s.expires
	}
	return time.Time{}
}

// Field returns the value of the Cookie field of a request with these cookies (RFC 6265bis section 5.8.3).
func Field(cookies []Cookie) string {
	var b strings.Builder
	for i, c := range cookies {
		if i > 0 {
			b.WriteString("; ")
		}
		if c.Name != "" {
			b.WriteString(c.Name + "=")
		}
		b.WriteString(c.Value)
	}
	return b.String()
}

func trim(s string) string { return strings.Trim(s, " \t") }

// control reports whether a Set-Cookie field must not contain r.
func control(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }
