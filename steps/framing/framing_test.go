package framing_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stepwatch/stepwatch/steps/address"
	"github.com/stepwatch/stepwatch/steps/framing"
)

func parse(t testing.TB, text string) *address.URL {
	t.Helper()
	u, err := address.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestRefused(t *testing.T) {
	const csp, xfo = "Content-Security-Policy", "X-Frame-Options"
	for _, c := range []struct {
		field, value  string
		frame, around string // around: pages separated by blanks
		want          string
	}{
		{"Server", "x", "http://a.test/f", "http://b.test/", ""},
		{xfo, "DENY", "http://a.test/f", "http://a.test/", "X-Frame-Options: DENY"},
		{xfo, "sameorigin", "http://a.test/f", "http://a.test/", ""},
		{xfo, "sameorigin", "http://a.test/f", "http://a.test:80/", ""},
		{xfo, "SAMEORIGIN, SAMEORIGIN", "http://a.test/f", "http://a.test/ http://b.test/", "X-Frame-Options: SAMEORIGIN"},
		{xfo, "sameorigin", "http://a.test/f", "https://a.test/", "X-Frame-Options: sameorigin"},
		{xfo, "ALLOW-FROM http://b.test", "http://a.test/f", "http://c.test/", ""}, // no longer supported by browsers
		{csp, "default-src 'none'", "http://a.test/f", "http://b.test/", ""},       // does not apply to ancestors
		{csp, "frame-ancestors 'none'", "http://a.test/f", "http://a.test/", "Content-Security-Policy: frame-ancestors 'none'"},
		{csp, "frame-ancestors", "http://a.test/f", "http://a.test/", "Content-Security-Policy: frame-ancestors "},
		{csp, "default-src *; Frame-Ancestors 'self'", "http://a.test/f", "http://a.test/", ""},
		{csp, "frame-ancestors 'self'", "http://a.test/f", "http://b.test/", "Content-Security-Policy: frame-ancestors 'self'"},
		{csp, "frame-ancestors 'self' b.test", "http://a.test/f", "http://b.test/", ""},
		{csp, "frame-ancestors b.test", "https://a.test/f", "http://b.test/", "Content-Security-Policy: frame-ancestors b.test"},
		{csp, "frame-ancestors http://B.test", "https://a.test/f", "https://b.test/", ""},
		{csp, "frame-ancestors *.b.test", "http://a.test/f", "http://www.b.test/", ""},
		{csp, "frame-ancestors *.b.test", "http://a.test/f", "http://b.test/", "Content-Security-Policy: frame-ancestors *.b.test"},
		{csp, "frame-ancestors b.test:8080", "http://a.test/f", "http://b.test:8080/", ""},
		{csp, "frame-ancestors b.test:8080", "http://a.test/f", "http://b.test/", "Content-Security-Policy: frame-ancestors b.test:8080"},
		{csp, "frame-ancestors b.test", "http://a.test/f", "http://b.test:8080/", "Content-Security-Policy: frame-ancestors b.test"},
		{csp, "frame-ancestors b.test:*", "http://a.test/f", "http://b.test:8080/", ""},
		{csp, "frame-ancestors https:", "http://a.test/f", "https://c.test/", ""},
		{csp, "frame-ancestors https:", "http://a.test/f", "http://c.test/", "Content-Security-Policy: frame-ancestors https:"},
		{csp, "frame-ancestors *, frame-ancestors 'self'", "http://a.test/f", "http://c.test/", "Content-Security-Policy: frame-ancestors 'self'"},
		{csp, "frame-ancestors *; frame-ancestors 'none'", "http://a.test/f", "http://c.test/", ""},
	} {
		var around []*address.URL
		for page := range strings.FieldsSeq(c.around) {
			around = append(around, parse(t, page))
		}
		if got := framing.Refused(http.Header{c.field: {c.value}}, parse(t, c.frame), around); got != c.want {
			t.Errorf("%s: %s of %s within %s: got %q, want %q", c.field, c.value, c.frame, c.around, got, c.want)
		}
	}
	both := http.Header{csp: {"frame-ancestors *"}, xfo: {"DENY"}}
	if got := framing.Refused(both, parse(t, "http://a.test/"), []*address.URL{parse(t, "http://b.test/")}); got != "" {
		t.Errorf("a policy that allows the frame is overruled by %s", got)
	}
}

func TestForbidden(t *testing.T) {
	for _, c := range []struct{ policy, frame, want string }{
		{"img-src 'none'", "http://b.test/", ""},
		{"default-src 'self'", "http://a.test/f", ""},
		{"default-src 'self'", "https://a.test/f", ""},
		{"default-src 'self'", "http://b.test/", "Content-Security-Policy: default-src 'self'"},
		{"default-src 'none'; child-src b.test", "http://b.test/", ""},
		{"default-src *; child-src *; frame-src c.test", "http://b.test/", "Content-Security-Policy: frame-src c.test"},
		{"frame-src https://c.test/widgets/", "https://c.test/widgets/clock", ""},
	} {
		got := framing.Forbidden(http.Header{"Content-Security-Policy": {c.policy}}, parse(t, "http://a.test/"), parse(t, c.frame))
		if got != c.want {
			t.Errorf("%s for %s: got %q, want %q", c.policy, c.frame, got, c.want)
		}
	}
}

func FuzzRefused(f *testing.F) {
	f.Add("frame-ancestors 'self' https: *.b.test:*", "DENY", "http://www.b.test:81/")
	f.Add("frame-ancestors http://[::1]:80, ;frame-ancestors", "sameorigin,", "http://[::1]/")
	f.Fuzz(func(t *testing.T, policy, option, page string) {
		u, err := address.Parse(page)
		if err != nil {
			return
		}
		header := http.Header{"Content-Security-Policy": {policy}, "X-Frame-Options": {option}}
		self := parse(t, "http://a.test/")
		framing.Refused(header, self, []*address.URL{u})
		framing.Forbidden(header, self, u)
	})
}
