// Package address reads addresses of the web as browsers do: by the URL standard of the WHATWG, which accepts what people and
// programs really write (blanks, backslashes, line breaks, a "%" that begins no escape), where RFC 3986 knows only errors.
//
// A URL is what a browser would send, byte for byte: nothing encodes or decodes it afterwards. Two characters are encoded as
// Chromium does and the standard does not ("|" and, since a late change of it, "^" in a path), so that both engines send the
// same. The query is encoded in the encoding of the page that contains the address.
//
// What the package leaves out: what Chromium does to file: addresses, and the few hosts that Chromium accepts though the
// standard refuses them and no resolver knows them, such as those with blanks.
package address

import (
	"net"
	"net/netip"
	"net/url"
	"strings"
)

// URL is an absolute address. Its parts are as they are sent, percent-encoded and in ASCII. Copy it before changing it.
type URL struct {
	Scheme   string // in lower case, without the colon: "https"
	Username string
	Password string
	Host     string // "www.example.org", "[2001:db8::1]:8080": in lower case, with the port unless it is the scheme's own
	Path     string // "/a%20b"; of an address without a host, such as mailto:, all after the colon
	Query    string // with its question mark: "?a=b"; empty when there is none
	Fragment string // with its hash sign: "#top"; empty when there is none

	hostless bool // no host can follow the scheme, as in mailto:
}

// String returns the address for people: without name and password.
func (u *URL) String() string {
	shown := *u
	shown.Username, shown.Password = "", ""
	return shown.Href()
}

// Href returns the whole address, name and password included. It must not be shown to anyone.
func (u *URL) Href() string {
	var b strings.Builder
	b.WriteString(u.Scheme)
	b.WriteByte(':')
	switch {
	case !u.hostless:
		b.WriteString("//")
		if u.Username != "" || u.Password != "" {
			b.WriteString(u.Username)
			if u.Password != "" {
				b.WriteString(":" + u.Password)
			}
			b.WriteByte('@')
		}
		b.WriteString(u.Host)
	case strings.HasPrefix(u.Path, "//"):
		b.WriteString("/.") // or the path would be read as a host
	}
	return b.String() + u.Path + u.Query + u.Fragment
}

// IsWeb reports whether the address can be requested over HTTP.
func (u *URL) IsWeb() bool { return u.Scheme == "http" || u.Scheme == "https" }

// Hostname returns the host without port and brackets: "www.example.org", "2001:db8::1".
func (u *URL) Hostname() string {
	host, _ := u.split()
	return host
}

// Port returns the port in digits, empty when it is the scheme's own.
func (u *URL) Port() string {
	_, port := u.split()
	return port
}

func (u *URL) split() (host, port string) {
	host = u.Host
	if colon := strings.LastIndexByte(host, ':'); colon > strings.LastIndexByte(host, ']') {
		host, port = host[:colon], host[colon+1:]
	}
	return strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"), port
}

// HostPort returns "host:port" to connect to.
func (u *URL) HostPort() string {
	host, port := u.split()
	switch {
	case port != "":
	case u.Scheme == "https":
		port = "443"
	default:
		port = "80"
	}
	return net.JoinHostPort(host, port)
}

// Origin returns scheme, host and port as in the header field Origin (RFC 6454 §6.2): "https://www.example.org". Two addresses
// have the same one when they are of the same server.
func (u *URL) Origin() string {
	if !u.IsWeb() {
		return "null"
	}
	return u.Scheme + "://" + u.Host
}

// IsLocal reports whether the address is one of this machine, which is reached without a proxy as in every browser.
func (u *URL) IsLocal() bool {
	host := strings.TrimSuffix(u.Hostname(), ".")
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// Target returns what a request line contains (RFC 9112 §3.2.1): "/a%20b?c".
func (u *URL) Target() string { return u.Path + u.Query }

// User returns the name and password in the address, decoded, or nil.
func (u *URL) User() *url.Userinfo {
	switch {
	case u.Username == "" && u.Password == "":
		return nil
	case u.Password == "":
		return url.User(Decode(u.Username))
	}
	return url.UserPassword(Decode(u.Username), Decode(u.Password))
}

// WithoutUser returns the address without name and password.
func (u *URL) WithoutUser() *URL {
	bare := *u
	bare.Username, bare.Password = "", ""
	return &bare
}

// WithoutFragment returns the address without its fragment.
func (u *URL) WithoutFragment() *URL {
	bare := *u
	bare.Fragment = ""
	return &bare
}

// Net returns the address for net/http and its like, without name and password. They may write it in another form: what is sent
// is Target.
func (u *URL) Net() *url.URL {
	n := &url.URL{Scheme: u.Scheme, Host: u.Host, RawQuery: strings.TrimPrefix(u.Query, "?"), ForceQuery: u.Query == "?",
		Path: Decode(u.Path), RawPath: u.Path}
	if u.hostless {
		n.Opaque, n.Path, n.RawPath = u.Path, "", ""
	}
	return n
}

// Decode replaces the percent escapes in a part of an address, or of a parameter in a header field. What only looks like one
// stays.
func Decode(part string) string {
	if !strings.Contains(part, "%") {
		return part
	}
	var b strings.Builder
	for i := 0; i < len(part); i++ {
		if part[i] == '%' && i+2 < len(part) {
			if high, low := digit(part[i+1]), digit(part[i+2]); high >= 0 && low >= 0 {
				b.WriteByte(byte(high<<4 | low)) //nolint:gosec // two hexadecimal digits
				i += 2
				continue
			}
		}
		b.WriteByte(part[i])
	}
	return b.String()
}

func digit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// Shown returns a text that should be an address without its name and password, for evidence.
func Shown(text string) string {
	if u, err := Parse(text); err == nil {
		if u.Username == "" && u.Password == "" {
			return text
		}
		return u.String()
	}
	// What is no address may hold a password all the same.
	at := strings.LastIndexByte(text, '@')
	if slashes := strings.Index(text, "//"); slashes >= 0 && at > slashes {
		return text[:slashes+2] + text[at+1:]
	}
	return text
}
