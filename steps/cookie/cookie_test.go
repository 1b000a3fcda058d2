package cookie

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps/address"
)

var now = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

func parsed(t *testing.T, text string) *address.URL {
	t.Helper()
	u, err := address.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// TestRefused names the rule for each cookie that browsers do not store. The forms that they do store are compared with
// Chromium in room web.
func TestRefused(t *testing.T) {
	for _, c := range []struct{ from, field, want string }{
		{"https://www.shop.co.uk/", "s=1; Domain=.co.uk", `"s": its Domain ".co.uk" is a public suffix, below which anybody may register a name (RFC 6265 section 5.3 step 5, publicsuffix.org)`},
		{"https://a.github.io/", "s=1; Domain=github.io", `"s": its Domain "github.io" is a public suffix`},
		{"https://www.a.test/", "s=1; Domain=b.test", `"s": its Domain "b.test" does not contain the host www.a.test that sets it (RFC 6265 section 5.3 step 6)`},
		{"http://192.0.2.1/", "s=1; Domain=0.2.1", `"s": its Domain "0.2.1" does not contain the host 192.0.2.1`},
		{"https://a.test/", "s=1; Domain=\xfc.test", `"s": its Domain "\xfc.test" is not a domain name`},
		{"http://a.test/", "s=1; Secure", `"s": it is Secure and came over plain HTTP (RFC 6265bis section 5.7)`},
		{"https://a.test/", "s=1; SameSite=None", `"s": it is SameSite=None without Secure`},
		{"https://a.test/", "s=1; Partitioned", `"s": it is Partitioned without Secure`},
		{"https://a.test/", "__Secure-s=1", `"__Secure-s": a name that begins with __Secure- requires Secure`},
		{"https://a.test/", "__host-s=1; Secure", `"__host-s": a name that begins with __Host- requires Secure, Path=/ and no Domain`},
		{"https://a.test/", "__Http-s=1; Secure", `"__Http-s": a name that begins with __Http- or __Host-Http- requires Secure and HttpOnly`},
		{"https://a.test/", "__Secure-s", `"": it has no name, and its value begins with a prefix of names`},
		{"https://a.test/", "=a=b", `"": it has no name, and its value with an equals sign`},
		{"https://a.test/", "", `"": it has neither a name nor a value`},
		{"https://a.test/", "s=\x01", `"s": the field contains a control character`},
		{"https://a.test/", "s=1; Path=/\ta", `"s": the field contains a tab`},
		{"https://a.test/", "s=" + strings.Repeat("x", 4096), `"s": its name and value have 4097 bytes, more than 4096`},
	} {
		var refused *Refused
		if _, err := new(Jar).Set(parsed(t, c.from), Request{}, c.field, now); !errors.As(err, &refused) || !strings.Contains(err.Error(), "browsers refuse the cookie "+c.want) {
			t.Errorf("%s sets %.80q: %v, wanted %s", c.from, c.field, err, c.want)
		}
	}
}

func TestExpiry(t *testing.T) {
	for attributes, want := range map[string]string{
		"":             "session",
		"; Max-Age=60": "2026-11-30 12:01:00",
		"; Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:00 GMT": "2026-11-30 12:01:00",
		"; Expires=Tue, 01 Dec 2026 07:00:00 EST":             "2026-12-01 07:00:00", // a cookie's date has no zone
		"; Expires=Fri, 01 Jan 2100 00:00:00 GMT":             "2028-01-04 12:00:00",
		"; Max-Age=99999999999999999999":                      "2028-01-04 12:00:00",
		"; Expires=tomorrow":                                  "session",
	} {
		c, err := new(Jar).Set(parsed(t, "https://a.test/"), Request{}, "s=1"+attributes, now)
		got := "session"
		if !c.Expires.IsZero() {
			got = c.Expires.Format(time.DateTime)
		}
		if err != nil || got != want {
			t.Errorf("%q ends %s, %v, wanted %s", attributes, got, err, want)
		}
	}
}

// TestSameSite sends the cookies of a site with requests from itself and from elsewhere.
func TestSameSite(t *testing.T) {
	jar := new(Jar)
	to := parsed(t, "https://www.a.test/")
	for _, field := range []string{"strict=1; SameSite=Strict", "lax=1; SameSite=Lax", "none=1; SameSite=None; Secure", "default=1"} {
		if _, err := jar.Set(to, Request{}, field, now); err != nil {
			t.Fatal(err)
		}
	}
	at := func(text string) *address.URL { return parsed(t, text) }
	for _, c := range []struct {
		name    string
		request Request
		later   time.Duration
		want    string
	}{
		{"an address that was entered", Request{}, 0, "strict=1; lax=1; none=1; default=1"},
		{"an address that was entered, with a body", Request{Unsafe: true}, 0, "strict=1; lax=1; none=1; default=1"},
		{"the same site", Request{From: at("https://shop.a.test/"), Unsafe: true}, 0, "strict=1; lax=1; none=1; default=1"},
		{"the same site over plain HTTP", Request{From: at("http://www.a.test/")}, 0, "lax=1; none=1; default=1"},
		{"a link elsewhere", Request{From: at("https://b.test/")}, time.Hour, "lax=1; none=1; default=1"},
		{"a form elsewhere, soon", Request{From: at("https://b.test/"), Unsafe: true}, time.Minute, "none=1; default=1"},
		{"a form elsewhere, later", Request{From: at("https://b.test/"), Unsafe: true}, time.Hour, "none=1"},
		{"a frame elsewhere", Request{From: at("https://b.test/"), Around: []*address.URL{at("https://b.test/")}}, 0, "none=1"},
		{"a frame here", Request{From: at("https://a.test/"), Around: []*address.URL{at("https://a.test/")}}, 0, "strict=1; lax=1; none=1; default=1"},
	} {
		if got := Field(jar.For(to, c.request, now.Add(c.later))); got != c.want {
			t.Errorf("%s: %s, wanted %s", c.name, got, c.want)
		}
	}
	frame := Request{From: at("https://b.test/"), Around: []*address.URL{at("https://b.test/")}}
	if _, err := jar.Set(to, frame, "x=1", now); err == nil || !strings.Contains(err.Error(), "its page is in a frame on another site") {
		t.Errorf("a frame on another site sets a cookie: %v", err)
	}
}

func TestSecureIsLeftAlone(t *testing.T) {
	jar := new(Jar)
	if _, err := jar.Set(parsed(t, "https://www.a.test/x/"), Request{}, "s=1; Secure; Domain=a.test; Path=/", now); err != nil {
		t.Fatal(err)
	}
	if _, err := jar.Set(parsed(t, "http://www.a.test/"), Request{}, "s=2", now); err == nil || !strings.Contains(err.Error(), "it would replace a Secure cookie") {
		t.Errorf("plain HTTP sets a cookie beside a Secure one: %v", err)
	}
	if got := Field(jar.For(parsed(t, "https://www.a.test/"), Request{}, now)); got != "s=1" {
		t.Errorf("got %q", got)
	}
	if got := Field(jar.For(parsed(t, "http://www.a.test/"), Request{}, now)); got != "" {
		t.Errorf("plain HTTP gets %q", got)
	}
}

func TestWithheld(t *testing.T) {
	jar := new(Jar)
	for _, field := range []string{"host=1", "domain=1; Domain=a.test", "path=1; Path=/x", "secure=1; Secure"} {
		if _, err := jar.Set(parsed(t, "https://www.a.test/"), Request{}, field, now); err != nil {
			t.Fatal(err)
		}
	}
	for to, want := range map[string]string{
		"https://www.a.test/x": "", "https://b.test/": "host it is for www.a.test alone, domain it is for a.test, path it is for www.a.test alone, secure it is for www.a.test alone",
		"http://www.a.test/": "path it is for the path /x, secure it is Secure",
	} {
		var got []string
		for _, c := range jar.All(now) {
			if why := c.Withheld(parsed(t, to)); why != "" {
				got = append(got, c.Name+" "+why)
			}
		}
		if strings.Join(got, ", ") != want {
			t.Errorf("%s: %s, wanted %s", to, strings.Join(got, ", "), want)
		}
	}
}

func TestJarIsBounded(t *testing.T) {
	jar := new(Jar)
	for i := range 1000 {
		if _, err := jar.Set(parsed(t, fmt.Sprintf("https://h%d.a.test/", i)), Request{}, fmt.Sprintf("c%d=1; Domain=a.test", i), now); err != nil {
			t.Fatal(err)
		}
	}
	all := jar.All(now)
	if len(all) > mostOfSite || all[len(all)-1].Name != "c999" {
		t.Errorf("the jar has %d cookies, the last one %s", len(all), all[len(all)-1].Name)
	}
	for i := range 2 * most {
		if _, err := jar.Set(parsed(t, fmt.Sprintf("https://s%d.test/", i)), Request{}, "c=1", now); err != nil {
			t.Fatal(err)
		}
	}
	if all := jar.All(now); len(all) > most || all[len(all)-1].Domain != fmt.Sprintf("s%d.test", 2*most-1) {
		t.Errorf("the jar has %d cookies", len(all))
	}
}

func FuzzJar(f *testing.F) {
	for _, field := range []string{`user={"id":7}; Path=/`, "a=b; Domain=.test; Secure", "s=1; Expires=Thu, 26-Nov-26 07:00:00 GMT; Max-Age=-1", "__Host-a=1; Secure; Path=/", "=x", "a"} {
		f.Add("https://www.a.test/dir/x", field)
	}
	f.Add("http://192.0.2.1:8080", "a=1; Domain=192.0.2.1")
	f.Fuzz(func(t *testing.T, from, field string) {
		u, err := address.Parse(from)
		if err != nil {
			return
		}
		jar := new(Jar)
		c, err := jar.Set(u, Request{}, field, now)
		if refused := (*Refused)(nil); err != nil {
			if !errors.As(err, &refused) || refused.Why == "" {
				t.Errorf("%q from %q: %v", field, from, err)
			}
			return
		}
		sent := Field(jar.For(u, Request{}, now))
		if strings.ContainsAny(sent, "\r\n\x00") {
			t.Errorf("%q from %q is sent as %q", field, from, sent)
		}
		if sent != "" && !strings.HasSuffix(sent, c.Value) {
			t.Errorf("%q from %q is sent as %q", field, from, sent)
		}
		_ = c.Withheld(u)
	})
}

func TestSiteOf(t *testing.T) {
	for host, want := range map[string]string{
		"www.Example.org": "example.org", "example.org.": "example.org", "a.b.shop.co.uk": "shop.co.uk", "co.uk": "co.uk",
		"anna.github.io": "anna.github.io", "192.0.2.1": "192.0.2.1", "2001:db8::1": "2001:db8::1", "intranet": "intranet", "": "",
	} {
		if got := SiteOf(host); got != want {
			t.Errorf("%q belongs to %q, want %q", host, got, want)
		}
	}
}

// Browsers keep a Secure cookie over plain HTTP only from their own machine.
func TestSecureOverHTTP(t *testing.T) {
	for from, kept := range map[string]bool{
		"http://127.0.0.1:8080/": true, "http://[::1]/": true, "http://localhost/": true, "http://app.localhost./": true,
		"http://192.0.2.1/": false, "http://www.example.org/": false, "http://localhost.example.org/": false, "https://www.example.org/": true,
	} {
		_, err := new(Jar).Set(parsed(t, from), Request{}, "a=1; Secure", time.Now())
		if (err == nil) != kept {
			t.Errorf("%s: kept is %v, want %v: %v", from, err == nil, kept, err)
		}
	}
}
