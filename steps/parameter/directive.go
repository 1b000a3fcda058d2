package parameter

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Directives returns the directives of a field that is a list of them, such as Cache-Control (RFC 9111 section 5.2):
// their values, unquoted, by their names in lower case. The first of a name counts.
func Directives(fields []string) map[string]string {
	of := map[string]string{}
	for _, field := range fields {
		for _, directive := range List(field) {
			name, value := directiveOf(directive)
			if _, twice := of[name]; name != "" && !twice {
				of[name] = value
			}
		}
	}
	return of
}

// directiveOf splits a directive at its equals sign.
func directiveOf(text string) (name, value string) {
	name, value, _ = strings.Cut(text, "=")
	value, _ = unquote(trim(value))
	return strings.ToLower(trim(name)), value
}

// Seconds reads delta-seconds (RFC 9111 section 1.2.2). A number that is too large means 2^31 seconds.
func Seconds(text string) (time.Duration, bool) {
	if text == "" || strings.ContainsFunc(text, func(r rune) bool { return r < '0' || r > '9' }) {
		return 0, false
	}
	const most = 1 << 31
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n > most { // the text has digits only
		n = most
	}
	return time.Duration(n) * time.Second, true
}

// StrictTransport reads the first Strict-Transport-Security field, the only one that counts (RFC 6797 section 8.1). The
// error says why browsers ignore it.
func StrictTransport(fields []string) (maxAge time.Duration, err error) {
	if len(fields) == 0 {
		return 0, errors.New("there is none")
	}
	known := map[string]bool{}
	for _, directive := range parts(fields[0], ';') {
		name, value := directiveOf(directive)
		if name == "" {
			continue
		}
		if !isToken(name) {
			return 0, fmt.Errorf("%.40q is not the name of a directive (RFC 6797 section 6.1)", name)
		}
		if known[name] {
			return 0, fmt.Errorf("the directive %s is there twice (RFC 6797 section 6.1)", name)
		}
		known[name] = true
		if name == "max-age" {
			var valid bool
			if maxAge, valid = Seconds(value); !valid {
				return 0, fmt.Errorf("its max-age is %.40q, which is not a number of seconds (RFC 6797 section 6.1.1)", value)
			}
		}
	}
	if !known["max-age"] {
		return 0, errors.New("it has no max-age (RFC 6797 section 6.1.1)")
	}
	return maxAge, nil
}
