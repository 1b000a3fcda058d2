package address_test

import (
	"strings"
	"testing"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"

	"github.com/stepwatch/stepwatch/steps/address"
)

const page = "https://www.example.org/shop/list?page=2#top"

func base(t testing.TB) *address.URL {
	t.Helper()
	u, err := address.Parse(page)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// TestJoin reads addresses as they are on pages.
func TestJoin(t *testing.T) {
	latin, sjis, iso2022 := charmap.Windows1252, japanese.ShiftJIS, japanese.ISO2022JP
	for _, c := range []struct {
		text   string
		coding encoding.Encoding
		want   string // the address, or "!" and why it is none
	}{
		{"/thanks?name=Anna Meier", nil, "https://www.example.org/thanks?name=Anna%20Meier"},
		{"?q=Müller", nil, "https://www.example.org/shop/list?q=M%C3%BCller"},
		{"?q=Müller", latin, "https://www.example.org/shop/list?q=M%FCller"},
		{"?q=M%C3%BCller&x=ü", latin, "https://www.example.org/shop/list?q=M%C3%BCller&x=%FC"},
		{"?q=5 €&r=→", latin, "https://www.example.org/shop/list?q=5%20%80&r=%26%238594%3B"},
		{"?q=表", sjis, `https://www.example.org/shop/list?q=%95\`},
		{"?q=日本x", iso2022, "https://www.example.org/shop/list?q=%1B$BF|K\\%1B(Bx"},
		{"/Müller?Ü#ö", latin, "https://www.example.org/M%C3%BCller?%DC#%C3%B6"},
		{"ftp://a/?ü", latin, "ftp://a/?%C3%BC"},
		{"mailto:a?ü", latin, "mailto:a?%C3%BC"},
		{"/sale-50%-off", nil, "https://www.example.org/sale-50%-off"},
		{"/100%?50%", nil, "https://www.example.org/100%?50%"},
		{`\shop\new`, nil, "https://www.example.org/shop/new"},
		{`\\www.example.net\a?b\c`, nil, `https://www.example.net/a?b\c`},
		{"/a\tb\nc\r\nd", nil, "https://www.example.org/abcd"},
		{" \t\n/x \x01", nil, "https://www.example.org/x"},
		{"https:/one", nil, "https://www.example.org/one"},
		{"https:one", nil, "https://www.example.org/shop/one"},
		{"http:/one", nil, "http://one/"},
		{"http:///one", nil, "http://one/"},
		{"2024:report.html", nil, "https://www.example.org/shop/2024:report.html"},
		{"1:2", nil, "https://www.example.org/shop/1:2"},
		{"a b:c", nil, "https://www.example.org/shop/a%20b:c"},
		{"//cdn.example.net/x", nil, "https://cdn.example.net/x"},
		{"", nil, "https://www.example.org/shop/list?page=2"},
		{"#", nil, "https://www.example.org/shop/list?page=2#"},
		{"?", nil, "https://www.example.org/shop/list?"},
		{"#a b\"<>`|^", nil, "https://www.example.org/shop/list?page=2#a%20b%22%3C%3E%60|^"},
		{"../a/./b/../c", nil, "https://www.example.org/a/c"},
		{"/%2e%2E/a/%2e/b", nil, "https://www.example.org/a/b"},
		{"/a%2fb//c", nil, "https://www.example.org/a%2fb//c"},
		{`/|[]{}"^<>` + "`'", nil, "https://www.example.org/%7C[]%7B%7D%22%5E%3C%3E%60'"},
		{`?|[]{}"^<>` + "`'", nil, "https://www.example.org/shop/list?|[]{}%22^%3C%3E`%27"},
		{"/\x00\x1f\x7f", nil, "https://www.example.org/%00%1F%7F"},
		{"/a\xffb", nil, "https://www.example.org/a%EF%BF%BDb"},
		{"HTTPS://WWW.Example.ORG:443/A", nil, "https://www.example.org/A"},
		{"http://bücher.example/", nil, "http://xn--bcher-kva.example/"},
		{"http://ä_b.example/", nil, "http://xn--_b-uia.example/"},
		{"http://b%C3%BCcher.example/", nil, "http://xn--bcher-kva.example/"},
		{"http://faß.example/", nil, "http://xn--fa-hia.example/"},
		{"http://0x7f.1/", nil, "http://127.0.0.1/"},
		{"http://017700000001/", nil, "http://127.0.0.1/"},
		{"http://2130706433/", nil, "http://127.0.0.1/"},
		{"http://+1/", nil, "http://+1/"},
		{"http://[2001:DB8:0:0::1]:8080/", nil, "http://[2001:db8::1]:8080/"},
		{"http://a:0/", nil, "http://a:0/"},
		{"http://a:65535/", nil, "http://a:65535/"},
		{"http://a:/", nil, "http://a/"},
		{"https://a:80/", nil, "https://a:80/"},
		{"javascript:go()", nil, "javascript:go()"},
		{"shopapp://callback", nil, "shopapp://callback"},
		{"tel:+49 89", nil, "tel:+49 89"},
		{"data:text/html," + strings.Repeat("x", 2*address.Longest), nil, "data:text/html," + strings.Repeat("x", 2*address.Longest)},

		{"http://", nil, "!it has no host"},
		{"http://a:65536/", nil, "!its port is not between 0 and 65535"},
		{"http://a:8o/", nil, "!its port is not a number"},
		{"http://me@/", nil, "!it has a name or password and no host"},
		{"http://a b/", nil, `!its host contains " ", which no host may contain`},
		{"http://a%zz/", nil, `!its host contains "%", which no host may contain`},
		{"http://a<b/", nil, `!its host contains "<", which no host may contain`},
		{"http://％４１.example/", nil, `!its host contains "%", which no host may contain`},
		{"http://[::1", nil, "!its IPv6 address has no closing bracket"},
		{"http://[fe80::1%25eth0]/", nil, "!its IPv6 address has a zone, which an address of the web cannot have (URL §3.5)"},
		{"http://[::g]/", nil, "!its host has brackets and is not an IPv6 address"},
		{"http://[[::1]]/", nil, "!its host has brackets and is not an IPv6 address"},
		{"http://256.1.1.1/", nil, "!its host ends in a number and is not an IPv4 address"},
		{"http://1.2.3.4.5/", nil, "!its host ends in a number and is not an IPv4 address"},
		{"http://xn--a/", nil, "!its host is not a domain name"},
		{"/" + strings.Repeat("x", address.Longest), nil, "!it has 32769 bytes, more than the limit of 32768"},
		{strings.Repeat("/x", 2000), nil, "!its path has 2000 parts, more than the limit of 1000"},
		{"http://" + strings.Repeat("@", 5000), nil, "!its host, with name and password, has 5000 bytes, more than the limit of 4096"},
	} {
		var got string
		if u, err := base(t).Join(c.text, c.coding); err != nil {
			got = "!" + err.Error()
		} else {
			got = u.Href()
		}
		if got != c.want {
			t.Errorf("%.60q: got %.100s, want %.100s", c.text, got, c.want)
		}
	}
}

// TestRedirect reads Location as browsers do.
func TestRedirect(t *testing.T) {
	for _, c := range []struct{ location, want string }{
		{"/thanks?name=Anna Meier", "https://www.example.org/thanks?name=Anna%20Meier#top"},
		{"/M\xfcller?\xfc", "https://www.example.org/M%FCller?%FC#top"},
		{"/Müller", "https://www.example.org/M%C3%BCller#top"},
		{"/x#", "https://www.example.org/x#"},
		{"/x#here", "https://www.example.org/x#here"},
		{"http://bücher.example/", "http://xn--bcher-kva.example/#top"},
		{"/sale-50%-off", "https://www.example.org/sale-50%-off#top"},
		{" \\next\t", "https://www.example.org/next#top"},
		{"", "https://www.example.org/shop/list?page=2#top"},
	} {
		u, err := base(t).Redirect(c.location)
		if err != nil || u.Href() != c.want {
			t.Errorf("%q: got %v (%v), want %s", c.location, u, err, c.want)
		}
	}
}

func TestParts(t *testing.T) {
	u := base(t)
	for _, c := range []struct{ what, got, want string }{
		{"target", u.Target(), "/shop/list?page=2"},
		{"host and port", u.HostPort(), "www.example.org:443"},
		{"port", u.Port(), ""},
		{"origin", u.Origin(), "https://www.example.org"},
		{"without fragment", u.WithoutFragment().String(), "https://www.example.org/shop/list?page=2"},
		{"address for net/http", u.Net().String(), "https://www.example.org/shop/list?page=2"},
		{"IPv6", address.Reported("http://[::1]:81/").Hostname(), "::1"},
		{"IPv6 and port", address.Reported("http://[::1]/").HostPort(), "[::1]:80"},
		{"origin of mail", address.Reported("mailto:a@example.org").Origin(), "null"},
		{"decoded", address.Decode("50%-%41%4z%"), "50%-A%4z%"},
		{"scheme", address.SchemeOf(" HTTP:x"), "http"},
		{"no scheme", address.SchemeOf("2024:x"), ""},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %q, want %q", c.what, c.got, c.want)
		}
	}
	for text, local := range map[string]bool{"http://localhost/": true, "http://a.localhost.:80/": true, "http://127.9.9.9/": true, "http://[::1]/": true, "http://example.org/": false} {
		if u := address.Reported(text); u.IsLocal() != local {
			t.Errorf("%s: local %v, want %v", text, u.IsLocal(), local)
		}
	}
}

// TestPasswordsAreHidden checks that neither an address nor the reason why it is none shows the password in it.
func TestPasswordsAreHidden(t *testing.T) {
	for _, text := range []string{
		"https://alice:s3cret@www.example.org/a", "https://alice:s3cret@www.example.org:x/", "https://alice:s3cret@a%zz/", "https://alice:s3cret@",
		"https://alice:s3cret@[::1", "https://alice:s3cret@256.256.256.256/", "https://a@b:s3cret@www.example.org/",
	} {
		u, err := address.Parse(text)
		shown := address.Shown(text)
		if err != nil {
			shown += err.Error()
		} else {
			shown += u.String() + u.Net().String()
		}
		if strings.Contains(shown, "s3cret") {
			t.Errorf("%s: shows %s", text, shown)
		}
	}
	u, err := address.Parse("https://al%69ce:s3%3Acret@www.example.org/")
	if err != nil {
		t.Fatal(err)
	}
	if password, _ := u.User().Password(); u.User().Username() != "alice" || password != "s3:cret" {
		t.Errorf("got the user %q with the password %q", u.User().Username(), password)
	}
}

// FuzzJoin checks that what was read is read again as the same, and can be sent.
func FuzzJoin(f *testing.F) {
	for _, text := range []string{"/a b?c#d", "http:/one", `\\h\p`, "//[::1]:8/", "?q=\xfc", "http://u:p@0x7f.1:80/../%2e", "foo:/..//p", "data:x y", "http://ä_b。c/|^"} {
		f.Add(text)
	}
	on := base(f)
	f.Fuzz(func(t *testing.T, text string) {
		for _, coding := range []encoding.Encoding{nil, charmap.Windows1252, japanese.ISO2022JP} {
			u, err := on.Join(text, coding)
			if err != nil {
				continue
			}
			if u.IsWeb() {
				if i := strings.IndexFunc(u.Target()+u.Host, func(r rune) bool { return r <= ' ' || r >= 0x7f }); i >= 0 || !strings.HasPrefix(u.Path, "/") || u.Hostname() == "" {
					t.Fatalf("%q: %+v cannot be sent", text, u)
				}
			}
			if len(u.Href()) > address.Longest {
				continue
			}
			again, err := address.Parse(u.Href())
			if err != nil || again.Href() != u.Href() {
				t.Fatalf("%q: %s is read again as %v (%v)", text, u.Href(), again, err)
			}
			if reported := address.Reported(u.Href()); *reported != *u {
				t.Fatalf("%q: %+v is reported as %+v", text, u, reported)
			}
			_, _ = on.Redirect(text)
		}
	})
}
