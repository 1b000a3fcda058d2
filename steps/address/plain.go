package address

import (
	"net/netip"
	"strconv"
	"strings"
)

// written returns an address of the web that is already in the form of the standard, and false for every other text, which
// the standard's parser reads at twenty times the cost. Most addresses of steps and pages are of this kind.
func written(text string) (*URL, bool) {
	rest, secure := strings.CutPrefix(text, "https://")
	if !secure {
		var found bool
		if rest, found = strings.CutPrefix(text, "http://"); !found {
			return nil, false
		}
	}
	slash := strings.IndexByte(rest, '/')
	if slash <= 0 || !plainHost(rest[:slash], secure) {
		return nil, false
	}
	query := false
	for i := slash; i < len(rest); i++ {
		switch c := rest[i]; {
		case c == '?':
			query = true
		case c == '.' && !query && rest[i-1] == '/': // "." and ".." are resolved
			return nil, false
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-._~!$&()*+,;=:@/", c) >= 0:
		default:
			return nil, false
		}
	}
	return Reported(text), true
}

// plainHost reports whether a host, with its port, needs no conversion: a name in lower case that is not encoded, or an
// IPv4 address of four numbers.
func plainHost(host string, secure bool) bool {
	if name, port, found := strings.Cut(host, ":"); found {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || strconv.FormatUint(n, 10) != port || !secure && n == 80 || secure && n == 443 {
			return false
		}
		host = name
	}
	if host == "" || strings.Contains(host, "--") {
		return false
	}
	for i := range len(host) {
		edge := i == 0 || i == len(host)-1 || host[i-1] == '.' || host[i+1] == '.'
		switch c := host[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', !edge && (c == '-'), c == '.' && i > 0 && i < len(host)-1 && host[i-1] != '.':
		default:
			return false
		}
	}
	if first := lastLabel(host)[0]; '0' <= first && first <= '9' {
		ip, err := netip.ParseAddr(host)
		return err == nil && ip.Is4()
	}
	return true
}
