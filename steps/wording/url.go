package wording

import "net/url"

// URL returns a URL without its credentials.
func URL(u *url.URL) string {
	if u.User != nil {
		bare := *u
		bare.User = nil
		u = &bare
	}
	return u.String()
}

// Address returns an address without credentials, for evidence.
func Address(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.User == nil {
		return address
	}
	return URL(u)
}
