package cookie

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/idna"
	"golang.org/x/net/publicsuffix"

	"github.com/stepwatch/stepwatch/steps/address"
)

// The most cookies that a jar keeps of a site and in all, and how many are left after the oldest were removed;
// Chromium's numbers.
const (
	mostOfSite = 180
	keptOfSite = 150
	most       = 3300
	kept       = 3000
)

// Jar stores the cookies of a visitor. The zero value is empty. It may be used by several goroutines.
type Jar struct {
	mu      sync.Mutex
	cookies []Cookie
	count   int // cookies created so far
}

// Set stores the cookie of a Set-Cookie field in the response to a request to this address, replaces an earlier one, or
// deletes it when the new one has expired. The error is a [*Refused] when browsers do not store the cookie.
func (j *Jar) Set(from *address.URL, r Request, field string, now time.Time) (Cookie, error) {
	s, err := Parse(field)
	if err != nil {
		return Cookie{}, err
	}
	c, err := s.cookie(from, now)
	if err != nil {
		return Cookie{}, err
	}
	if len(r.Around) > 0 && c.SameSite != "None" && r.crossSite(from) {
		return Cookie{}, &Refused{c.Name, "it is not SameSite=None, and its page is in a frame on another site (RFC 6265bis section 5.7)"}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if !c.Secure && !secure(from) {
		for _, other := range j.cookies {
			if other.Secure && other.Name == c.Name && (domainMatch(other.Domain, c.Domain) || domainMatch(c.Domain, other.Domain)) && pathMatch(c.Path, other.Path) {
				return Cookie{}, &Refused{c.Name, "it would replace a Secure cookie of that name and came over plain HTTP (RFC 6265bis section 5.7)"}
			}
		}
	}
	j.put(c, now)
	return c, nil
}

// Put stores a cookie of another jar.
func (j *Jar) Put(c Cookie, now time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.put(c, now)
}

func (j *Jar) put(c Cookie, now time.Time) {
	j.count++
	c.created, c.order, c.site = now, j.count, SiteOf(c.Domain)
	j.cookies = slices.DeleteFunc(j.cookies, func(other Cookie) bool {
		same := other.Name == c.Name && other.Domain == c.Domain && other.HostOnly == c.HostOnly && other.Path == c.Path
		if same && other.Value == c.Value {
			c.created, c.order = other.created, other.order // RFC 6265 section 5.3 step 11; with another value Chromium puts it last
		}
		return same || other.expired(now)
	})
	if c.expired(now) {
		return
	}
	j.cookies = append(j.cookies, c)
	j.bound(mostOfSite, keptOfSite, func(other *Cookie) bool { return other.site == c.site })
	j.bound(most, kept, func(*Cookie) bool { return true })
}

// bound removes the oldest cookies of a kind when there are more than most of them, and leaves so many.
func (j *Jar) bound(most, leave int, of func(*Cookie) bool) {
	n := 0
	for i := range j.cookies {
		if of(&j.cookies[i]) {
			n++
		}
	}
	if n <= most {
		return
	}
	slices.SortFunc(j.cookies, func(a, b Cookie) int { return cmp.Compare(a.order, b.order) })
	j.cookies = slices.DeleteFunc(j.cookies, func(c Cookie) bool {
		if n <= leave || !of(&c) {
			return false
		}
		n--
		return true
	})
}

func (c *Cookie) expired(now time.Time) bool { return !c.Expires.IsZero() && !c.Expires.After(now) }

// All returns every cookie in the jar.
func (j *Jar) All(now time.Time) []Cookie {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(j.cookies), func(c Cookie) bool { return c.expired(now) })
}

// Request says what decides, besides its address, which cookies a request has (RFC 6265bis section 5.2).
type Request struct {
	From   *address.URL   // the page that led to it, or nil when the visitor entered the address
	Unsafe bool           // its method may change something on the server (RFC 9110 section 9.2.1)
	Around []*address.URL // for a document in a frame: the pages around it
}

func (r *Request) crossSite(to *address.URL) bool {
	return r.From != nil && !sameSite(r.From, to) || slices.ContainsFunc(r.Around, func(page *address.URL) bool { return !sameSite(page, to) })
}

// For returns the cookies of a request to this address, in the order of the Cookie field (RFC 6265bis section 5.8.3).
func (j *Jar) For(to *address.URL, r Request, now time.Time) []Cookie {
	j.mu.Lock()
	defer j.mu.Unlock()
	host, path, isSecure := hostOf(to), pathOf(to), secure(to)
	crossSite := r.crossSite(to)
	var sent []Cookie
	for _, c := range j.cookies {
		switch {
		case c.expired(now), c.Secure && !isSecure, !pathMatch(path, c.Path):
		case c.HostOnly && host != c.Domain, !c.HostOnly && !domainMatch(host, c.Domain):
		case crossSite && c.SameSite == "Strict":
		case crossSite && c.SameSite != "None" && len(r.Around) > 0:
		case crossSite && c.SameSite == "Lax" && r.Unsafe:
		case crossSite && c.SameSite == "" && r.Unsafe && now.Sub(c.created) > laxButUnsafe:
		default:
			sent = append(sent, c)
		}
	}
	slices.SortStableFunc(sent, func(a, b Cookie) int {
		return cmp.Or(cmp.Compare(len(b.Path), len(a.Path)), a.created.Compare(b.created), cmp.Compare(a.order, b.order))
	})
	return sent
}

// laxButUnsafe is how long a cookie without SameSite is also sent with an unsafe request from another site (RFC 6265bis
// section 5.6.7.2).
const laxButUnsafe = 2 * time.Minute

// Withheld says why a request to this address does not have the cookie, or "" when it has.
func (c *Cookie) Withheld(to *address.URL) string {
	switch host := hostOf(to); {
	case c.HostOnly && host != c.Domain:
		return "it is for " + c.Domain + " alone"
	case !c.HostOnly && !domainMatch(host, c.Domain):
		return "it is for " + c.Domain
	case !pathMatch(pathOf(to), c.Path):
		return "it is for the path " + c.Path
	case c.Secure && !secure(to):
		return "it is Secure"
	}
	return ""
}

// cookie returns the cookie to store (RFC 6265bis section 5.7).
func (s *Set) cookie(from *address.URL, now time.Time) (Cookie, error) {
	c := Cookie{Name: s.Name, Value: s.Value, Path: s.Path, Secure: s.Secure, HTTPOnly: s.HTTPOnly, SameSite: s.SameSite, Expires: s.end(now)}
	refuse := func(why string, a ...any) (Cookie, error) { return Cookie{}, &Refused{s.Name, fmt.Sprintf(why, a...)} }
	host := hostOf(from)
	domain := strings.ToLower(strings.TrimPrefix(s.Domain, "."))
	if strings.ContainsFunc(domain, func(r rune) bool { return r >= 0x80 }) {
		ascii, err := idna.Lookup.ToASCII(domain) // as Chromium does
		if err != nil {
			return refuse("its Domain %.80q is not a domain name (RFC 6265bis section 5.7)", s.Domain)
		}
		domain = ascii
	}
	switch {
	case domain == "":
		c.Domain, c.HostOnly = host, true
	case domain == host && (isAddress(host) || isPublicSuffix(domain)):
		c.Domain, c.HostOnly = host, true
	case isPublicSuffix(domain):
		return refuse("its Domain %.80q is a public suffix, below which anybody may register a name (RFC 6265 section 5.3 step 5, publicsuffix.org)", s.Domain)
	case !domainMatch(host, domain):
		return refuse("its Domain %.80q does not contain the host %s that sets it (RFC 6265 section 5.3 step 6)", s.Domain, host)
	default:
		c.Domain = domain
	}
	if !strings.HasPrefix(c.Path, "/") {
		c.Path = defaultPath(from)
	}
	prefix := strings.ToLower(cmp.Or(s.Name, s.Value))
	hostPrefix, securePrefix := strings.HasPrefix(prefix, "__host-"), strings.HasPrefix(prefix, "__secure-")
	httpPrefix := strings.HasPrefix(prefix, "__http-") || strings.HasPrefix(prefix, "__host-http-")
	switch {
	case s.Secure && !secure(from):
		return refuse("it is Secure and came over plain HTTP (RFC 6265bis section 5.7)")
	case s.SameSite == "None" && !s.Secure:
		return refuse("it is SameSite=None without Secure (RFC 6265bis section 5.7)")
	case s.partitioned && !s.Secure:
		return refuse("it is Partitioned without Secure (draft-cutler-httpbis-partitioned-cookies section 2.1)")
	case s.Name == "" && (hostPrefix || securePrefix || httpPrefix):
		return refuse("it has no name, and its value begins with a prefix of names (RFC 6265bis section 5.7)")
	case securePrefix && !s.Secure:
		return refuse("a name that begins with __Secure- requires Secure (RFC 6265bis section 5.4.1)")
	case hostPrefix && (!s.Secure || !c.HostOnly || s.Domain != "" && !isAddress(host) || s.Path != "/"):
		return refuse("a name that begins with __Host- requires Secure, Path=/ and no Domain (RFC 6265bis section 5.4.2)")
	case httpPrefix && (!s.Secure || !s.HTTPOnly):
		return refuse("a name that begins with __Http- or __Host-Http- requires Secure and HttpOnly (RFC 6265bis section 5.4)")
	}
	return c, nil
}

// hostOf returns the host of an address in lower case, without brackets.
func hostOf(u *address.URL) string { return strings.ToLower(u.Hostname()) }

func pathOf(u *address.URL) string { return cmp.Or(u.Path, "/") }

// secure reports whether browsers treat the connection as secure: HTTPS, and what stays on the machine.
func secure(u *address.URL) bool { return u.Scheme == "https" || u.Scheme == "wss" || u.IsLocal() }

func isAddress(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

func isPublicSuffix(domain string) bool {
	suffix, _ := publicsuffix.PublicSuffix(domain)
	return suffix == domain
}

// domainMatch reports whether a host is the domain or below it (RFC 6265 section 5.1.3).
func domainMatch(host, domain string) bool {
	return host == domain || strings.HasSuffix(host, "."+domain) && !isAddress(host)
}

// pathMatch reports whether a path is the cookie's path or below it (RFC 6265 section 5.1.4).
func pathMatch(path, of string) bool {
	rest, below := strings.CutPrefix(path, of)
	return below && (rest == "" || strings.HasSuffix(of, "/") || rest[0] == '/')
}

// defaultPath returns the path of a cookie without one (RFC 6265 section 5.1.4).
func defaultPath(from *address.URL) string {
	path := pathOf(from)
	if last := strings.LastIndexByte(path, '/'); last > 0 {
		return path[:last]
	}
	return "/"
}

// SiteOf returns the site that a host belongs to, in lower case: the name directly below a public suffix, or the host
// itself when it is an address or has no such name.
func SiteOf(host string) string {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if isAddress(host) {
		return host
	}
	if site, err := publicsuffix.EffectiveTLDPlusOne(host); err == nil {
		return site
	}
	return host
}

// sameSite reports whether two addresses are of one site, with their schemes (RFC 6265bis section 5.2).
func sameSite(a, b *address.URL) bool {
	return a.Scheme == b.Scheme && SiteOf(a.Hostname()) == SiteOf(b.Hostname())
}
