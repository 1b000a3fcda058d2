package address

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	fault "github.com/nlnwa/whatwg-url/errors"
	whatwg "github.com/nlnwa/whatwg-url/url"
	"golang.org/x/net/idna"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/unicode"
)

// Longest is the longest address that is read, in bytes. Servers read less: nginx and Apache 8 KiB by default.
const Longest = 32 << 10

// Further bounds, so that no address takes long to read.
const (
	mostHost     = 4 << 10 // bytes of name, password and host
	mostSegments = 1000    // of a path
)

// Parse reads an absolute address.
func Parse(text string) (*URL, error) { return read(text, nil, nil) }

// Join returns the address that a text in a document with this base address means. The text may be relative. page is the
// encoding of the document, in which a query is sent; nil means UTF-8.
func (u *URL) Join(text string, page encoding.Encoding) (*URL, error) { return read(text, u, page) }

// Redirect returns the address that the header field Location of a response from u leads to. The fragment of u remains unless
// the new address has its own (RFC 9110 §10.2.2). Bytes that are not ASCII are sent back as they came, as browsers do.
func (u *URL) Redirect(location string) (*URL, error) {
	var b strings.Builder
	for _, c := range []byte(location) {
		if c < utf8.RuneSelf {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	to, err := read(b.String(), u, nil)
	if err == nil && to.Fragment == "" {
		to.Fragment = u.Fragment
	}
	return to, err
}

// Reported returns an address as a browser reports it. It is already in the standard's form, so none is refused.
func Reported(href string) *URL {
	u := &URL{}
	rest := href
	if hash := strings.IndexByte(rest, '#'); hash >= 0 {
		rest, u.Fragment = rest[:hash], rest[hash:]
	}
	if mark := strings.IndexByte(rest, '?'); mark >= 0 {
		rest, u.Query = rest[:mark], rest[mark:]
	}
	u.Scheme, rest, _ = strings.Cut(rest, ":")
	authority, found := strings.CutPrefix(rest, "//")
	if !found {
		u.hostless, u.Path = true, rest
		if strings.HasPrefix(rest, "/.//") {
			u.Path = rest[2:]
		}
		return u
	}
	if slash := strings.IndexByte(authority, '/'); slash >= 0 {
		authority, u.Path = authority[:slash], authority[slash:]
	}
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		u.Username, u.Password, _ = strings.Cut(authority[:at], ":")
		authority = authority[at+1:]
	}
	u.Host = authority
	return u
}

func read(text string, base *URL, page encoding.Encoding) (*URL, error) {
	text = clean(text)
	if scheme, rest, found := strings.Cut(text, ":"); len(text) > Longest && found && isScheme(scheme) && !special(scheme) {
		return &URL{Scheme: strings.ToLower(scheme), Path: rest, hostless: true}, nil // data: and javascript: are often long
	}
	if err := bounded(text); err != nil {
		return nil, err
	}
	if u, is := written(text); is {
		return u, nil
	}
	u, err := standard(text, base)
	if err != nil || page == nil || !u.IsWeb() {
		return u, err
	}
	// Only the query depends on the encoding, and the standard's parser knows none: so the query is given to it in its final
	// form, which it leaves as it is.
	if coded := encodeQuery(text, page); coded != text {
		return standard(coded, base)
	}
	return u, nil
}

// bounded refuses an address that is too large to be read.
func bounded(text string) error {
	if len(text) > Longest {
		return fmt.Errorf("it has %d bytes, more than the limit of %d", len(text), Longest)
	}
	path := text
	if end := strings.IndexAny(path, "?#"); end >= 0 {
		path = path[:end]
	}
	if long := len(authority(path)); long > mostHost {
		return fmt.Errorf("its host, with name and password, has %d bytes, more than the limit of %d", long, mostHost)
	}
	if segments := strings.Count(path, "/") + strings.Count(path, `\`); segments > mostSegments {
		return fmt.Errorf("its path has %d parts, more than the limit of %d", segments, mostSegments)
	}
	return nil
}

// authority returns the part of an address that may be name, password, host and port.
func authority(text string) string {
	rest, own := text, false
	if scheme, after, found := strings.Cut(text, ":"); found && isScheme(scheme) {
		rest, own = after, special(scheme)
	}
	begin := strings.TrimLeft(rest, `/\`)
	if !own && len(rest)-len(begin) < 2 {
		return ""
	}
	if end := strings.IndexAny(begin, `/\`); end >= 0 {
		return begin[:end]
	}
	return begin
}

// clean removes what the standard ignores: blanks and control characters around an address, tabs and line breaks in it. It
// replaces what is not UTF-8 as a browser's decoder does.
func clean(text string) string {
	text = strings.TrimFunc(text, func(r rune) bool { return r <= ' ' })
	if strings.ContainsAny(text, "\t\n\r") {
		text = strings.NewReplacer("\t", "", "\n", "", "\r", "").Replace(text)
	}
	if !utf8.ValidString(text) {
		if valid, err := unicode.UTF8.NewDecoder().String(text); err == nil {
			text = valid
		}
	}
	return text
}

// isScheme reports whether a text has the form of a scheme: it begins with a letter.
func isScheme(text string) bool {
	for i := range len(text) {
		c := text[i] | 0x20
		if (c < 'a' || c > 'z') && (i == 0 || (text[i] < '0' || text[i] > '9') && text[i] != '+' && text[i] != '-' && text[i] != '.') {
			return false
		}
	}
	return text != ""
}

// SchemeOf returns the scheme that a text begins with, in lower case, or "" when the text is relative.
func SchemeOf(text string) string {
	scheme, _, found := strings.Cut(clean(text), ":")
	if !found || !isScheme(scheme) {
		return ""
	}
	return strings.ToLower(scheme)
}

// special reports whether the standard's rules for the web's own schemes apply, which always have a host.
func special(scheme string) bool {
	switch strings.ToLower(scheme) {
	case "http", "https", "ws", "wss", "ftp", "file":
		return true
	}
	return false
}

// encodeQuery encodes the query of an address as "percent-encode after encoding" of the standard: what the encoding does not
// have becomes "&#8364;", percent-encoded. A query begins at the first question mark before the first hash sign.
func encodeQuery(text string, page encoding.Encoding) string {
	rest, fragment := text, ""
	if hash := strings.IndexByte(rest, '#'); hash >= 0 {
		rest, fragment = rest[:hash], rest[hash:]
	}
	before, query, found := strings.Cut(rest, "?")
	if !found {
		return text
	}
	var b strings.Builder
	b.WriteString(before + "?")
	escape := func(c byte) { fmt.Fprintf(&b, "%%%02X", c) }
	encode(query, page, func(raw string) {
		for _, c := range []byte(raw) {
			if c <= ' ' || c > '~' || strings.IndexByte(`"#<>'`, c) >= 0 {
				escape(c)
			} else {
				b.WriteByte(c)
			}
		}
	}, func(r rune) { fmt.Fprintf(&b, "%%26%%23%d%%3B", r) })
	return b.String() + fragment
}

// encode calls sent with the bytes of a text in an encoding, and lost with each character that the encoding does not have.
func encode(text string, page encoding.Encoding, sent func(string), lost func(rune)) {
	encoder := page.NewEncoder()
	if coded, err := encoder.String(text); err == nil {
		sent(coded)
		return
	}
	rest := text
	for rest != "" {
		// The longest part that can be encoded. An encoding may keep a state between characters (ISO-2022-JP), so the parts must
		// not be single characters.
		end := 0
		for i, r := range rest {
			if _, err := page.NewEncoder().String(string(r)); err != nil {
				break
			}
			end = i + utf8.RuneLen(r)
		}
		if coded, err := page.NewEncoder().String(rest[:end]); err == nil && end > 0 {
			sent(coded)
		}
		if rest = rest[end:]; rest != "" {
			r, size := utf8.DecodeRuneInString(rest)
			lost(r)
			rest = rest[size:]
		}
	}
}

// alsoEncoded are the characters that Chromium encodes in the paths of the web and the library does not: "^", as the standard
// has it since 2024, and "|", as Chromium alone.
var alsoEncoded = strings.NewReplacer("^", "%5E", "|", "%7C")

// standard reads an address by the URL standard.
func standard(text string, base *URL) (*URL, error) {
	h := &hosts{}
	parser := whatwg.NewParser(whatwg.WithPreParseHostFunc(h.before), whatwg.WithPostParseHostFunc(h.after))
	var parsed *whatwg.Url
	var err error
	if base == nil {
		parsed, err = parser.Parse(text)
	} else {
		parsed, err = parser.ParseRef(base.Href(), text)
	}
	if h.err != nil {
		return nil, h.err
	}
	if err != nil {
		return nil, inWords(err, text)
	}
	u := Reported(parsed.Href(false))
	if u.IsWeb() {
		u.Path = alsoEncoded.Replace(u.Path)
	}
	return u, nil
}

// hosts reads the domain of one address. The library checks international names by rules for names of hosts (no underscore),
// which the standard does not apply, and takes "+1" for a number.
type hosts struct {
	domain string
	err    error
}

// profile is "domain to ASCII" of the standard (URL §3.3, UTS #46): not transitional, without the length limits of DNS.
var profile = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.CheckJoiners(true), idna.CheckHyphens(false), idna.StrictDomainName(false), idna.VerifyDNSLength(false), idna.Transitional(false))

// standIn is a host that the library accepts as it is.
const standIn = "stand-in"

func (h *hosts) before(u *whatwg.Url, host string) string {
	if !u.IsSpecialScheme() || host == "" {
		return host
	}
	if host[0] == '[' {
		if strings.Count(host, "[") > 1 || strings.Count(host, "]") > 1 {
			h.err = errors.New("its host has brackets and is not an IPv6 address")
		}
		return host
	}
	domain := Decode(host)
	if plain(domain) && !signed(domain) && !strings.Contains(strings.ToLower(domain), "xn--") || !utf8.ValidString(domain) {
		return host
	}
	ascii, err := profile.ToASCII(domain)
	if err != nil || ascii == "" {
		return host // the library refuses it too
	}
	if at := strings.IndexFunc(ascii, forbidden); at >= 0 {
		h.err = hostContains(ascii[at : at+1])
		return host
	}
	if number(ascii) {
		return ascii
	}
	h.domain = ascii
	return standIn
}

func (h *hosts) after(_ *whatwg.Url, host string) string {
	if h.domain != "" && host == standIn {
		return h.domain
	}
	return host
}

func plain(domain string) bool {
	for i := range len(domain) {
		if domain[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// lastLabel returns the last label of a domain, which decides whether it is an IPv4 address.
func lastLabel(domain string) string {
	domain = strings.TrimSuffix(domain, ".")
	return domain[strings.LastIndexByte(domain, '.')+1:]
}

// signed reports whether a domain ends in what strconv takes for a number and the standard does not.
func signed(domain string) bool {
	last := strings.TrimPrefix(strings.TrimPrefix(strings.ToLower(lastLabel(domain)), "0"), "x")
	return strings.HasPrefix(last, "+") || strings.HasPrefix(last, "-")
}

// number reports whether a domain must be an IPv4 address (URL §3.5, "ends in a number").
func number(domain string) bool {
	last := lastLabel(domain)
	hex, isHex := strings.CutPrefix(strings.ToLower(last), "0x")
	return last != "" && strings.Trim(last, "0123456789") == "" || isHex && strings.Trim(hex, "0123456789abcdef") == ""
}

// forbidden reports whether a domain must not contain a character (URL §3.2, forbidden domain code point).
func forbidden(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(`#/:<>?@[\]^|%`, r) }

func hostContains(character string) error {
	return fmt.Errorf("its host contains %q, which no host may contain", character)
}

// inWords says why a text is not an address.
func inWords(err error, text string) error {
	switch fault.Type(err) {
	case fault.MissingSchemeNonRelativeURL:
		return errors.New("it is not a whole address: a scheme such as https:// is missing")
	case fault.HostMissing:
		return errors.New("it has no host")
	case fault.PortInvalid:
		return errors.New("its port is not a number")
	case fault.PortOutOfRange:
		return errors.New("its port is not between 0 and 65535")
	case fault.InvalidCredentials:
		return errors.New("it has a name or password and no host")
	case fault.DomainInvalidCodePoint, fault.HostInvalidCodePoint:
		return hostContains(fault.Description(err))
	case fault.DomainToASCII:
		return errors.New("its host is not a domain name")
	case fault.IPv6Unclosed:
		return errors.New("its IPv6 address has no closing bracket")
	}
	if _, host, found := strings.Cut(text, "["); found {
		if host, _, _ = strings.Cut(host, "]"); strings.Contains(host, "%") {
			return errors.New("its IPv6 address has a zone, which an address of the web cannot have (URL §3.5)")
		}
		return errors.New("its host has brackets and is not an IPv6 address")
	}
	return errors.New("its host ends in a number and is not an IPv4 address")
}
