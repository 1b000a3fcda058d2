// Package challenge reads the authentication challenges of HTTP (WWW-Authenticate and Proxy-Authenticate, RFC 9110
// section 11.6.1) and answers those of digest authentication (RFC 7616).
//
// A field may hold several challenges, and so may several fields. The reader accepts what servers write: parameters
// without commas between them, unquoted values with blanks, quotes without an end.
package challenge

import (
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// Challenge is one challenge of a server.
type Challenge struct {
	Scheme     string            // as written: "Basic"
	Token      string            // the token68 of schemes such as Negotiate, or empty
	Parameters map[string]string // by their names in lower case, unquoted; the first of a name counts
}

// Is reports whether the challenge has this scheme.
func (c *Challenge) Is(scheme string) bool { return strings.EqualFold(c.Scheme, scheme) }

// Read returns the challenges in the values of a field, in order.
func Read(fields []string) []Challenge {
	var all []Challenge
	for _, field := range fields {
		r := reader{text: field}
		for r.next() {
			all = append(all, r.challenge)
		}
	}
	return all
}

// Offers reports whether one of the challenges has this scheme.
func Offers(challenges []Challenge, scheme string) bool {
	return slices.ContainsFunc(challenges, func(c Challenge) bool { return c.Is(scheme) })
}

// reader reads one field.
type reader struct {
	text      string
	challenge Challenge
}

// next reads the next challenge.
func (r *reader) next() bool {
	r.skip(" \t,")
	name := r.token()
	for name == "" && r.text != "" { // what is not a token begins nothing
		r.text = r.text[1:]
		r.skip(" \t,")
		name = r.token()
	}
	if name == "" {
		return false
	}
	r.challenge = Challenge{Scheme: name, Parameters: map[string]string{}}
	r.skip(" \t")
	if token, rest, is := token68(r.text); is {
		r.challenge.Token, r.text = token, rest
		return true
	}
	for r.parameter() {
	}
	return true
}

// parameter reads the next parameter of the challenge. It returns false at the end of the field or the next scheme.
func (r *reader) parameter() bool {
	r.skip(" \t,")
	before := r.text
	name := strings.ToLower(r.token())
	r.skip(" \t")
	if name == "" || !strings.HasPrefix(r.text, "=") {
		r.text = before
		return false
	}
	r.text = r.text[1:]
	r.skip(" \t")
	value := r.value()
	if _, twice := r.challenge.Parameters[name]; !twice {
		r.challenge.Parameters[name] = value
	}
	return true
}

// value reads a token, a quoted string, or what stands in the place of one: an unquoted text up to the next comma, or
// up to the next parameter.
func (r *reader) value() string {
	if strings.HasPrefix(r.text, `"`) {
		var b strings.Builder
		for i := 1; i < len(r.text); i++ {
			switch c := r.text[i]; {
			case c == '\\' && i+1 < len(r.text):
				i++
				b.WriteByte(r.text[i])
			case c == '"':
				r.text = r.text[i+1:]
				return b.String()
			default:
				b.WriteByte(c)
			}
		}
		r.text = ""
		return b.String()
	}
	end := strings.IndexByte(r.text, ',')
	if end < 0 {
		end = len(r.text)
	}
	text := r.text[:end]
	for i := 1; i < len(text); i++ {
		if text[i-1] != ' ' && text[i-1] != '\t' {
			continue
		}
		following := reader{text: text[i:]}
		if name := following.token(); name != "" && strings.HasPrefix(strings.TrimLeft(following.text, " \t"), "=") {
			end = i // "realm=x nonce=y"
			break
		}
	}
	value := strings.Trim(r.text[:end], " \t")
	r.text = r.text[end:]
	return value
}

func (r *reader) skip(cut string) { r.text = strings.TrimLeft(r.text, cut) }

// token reads a token (RFC 9110 section 5.6.2), "" when there is none.
func (r *reader) token() string {
	end := 0
	for end < len(r.text) && httpguts.IsTokenRune(rune(r.text[end])) {
		end++
	}
	token := r.text[:end]
	r.text = r.text[end:]
	return token
}

// token68 reads a token68 (RFC 9110 section 11.2): it ends the challenge, and a parameter does not look like one.
func token68(text string) (token, rest string, is bool) {
	end := 0
	for end < len(text) && ('a' <= text[end] && text[end] <= 'z' || 'A' <= text[end] && text[end] <= 'Z' || '0' <= text[end] && text[end] <= '9' || strings.IndexByte("-._~+/", text[end]) >= 0) {
		end++
	}
	if end == 0 || strings.EqualFold(text[:end], "realm") { // a realm without a value looks like a token68 too
		return "", text, false
	}
	for end < len(text) && text[end] == '=' {
		end++
	}
	rest = strings.TrimLeft(text[end:], " \t")
	if rest != "" && rest[0] != ',' {
		return "", text, false
	}
	return text[:end], rest, true
}
