package challenge

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/icholy/digest"
)

// shown returns challenges in one line: their schemes, and what belongs to them.
func shown(challenges []Challenge) string {
	var all []string
	for _, c := range challenges {
		text := c.Scheme
		if c.Token != "" {
			text += " " + c.Token
		}
		for _, name := range slices.Sorted(maps.Keys(c.Parameters)) {
			text += fmt.Sprintf(" %s=<%s>", name, c.Parameters[name])
		}
		all = append(all, text)
	}
	return strings.Join(all, " | ")
}

var readCases = []struct {
	fields []string
	want   string
}{
	{[]string{`Basic realm="x, y", Digest realm="x", qop="auth", nonce="n1"`}, "Basic realm=<x, y> | Digest nonce=<n1> qop=<auth> realm=<x>"},
	{[]string{`Negotiate, Digest realm="x", nonce="n"`}, "Negotiate | Digest nonce=<n> realm=<x>"},
	{[]string{"Negotiate", "NTLM", `Basic realm="x"`}, "Negotiate | NTLM | Basic realm=<x>"},
	{[]string{"Negotiate YII/+Z==, Basic realm=x"}, "Negotiate YII/+Z== | Basic realm=<x>"},
	{[]string{"NTLM TlRMTVNTUAAC"}, "NTLM TlRMTVNTUAAC"},
	{[]string{`Newauth realm="apps", type=1, title="Login to \"apps\"", Basic realm="simple"`}, `Newauth realm=<apps> title=<Login to "apps"> type=<1> | Basic realm=<simple>`},
	{[]string{"Basic realm=My Site"}, "Basic realm=<My Site>"},
	{[]string{"Basic realm=My Site, Digest realm=x, nonce=abc=="}, "Basic realm=<My Site> | Digest nonce=<abc==> realm=<x>"},
	{[]string{`Digest realm="a" nonce="b" qop="auth,auth-int"`}, "Digest nonce=<b> qop=<auth,auth-int> realm=<a>"},
	{[]string{"Digest realm=a nonce=b qop=auth"}, "Digest nonce=<b> qop=<auth> realm=<a>"},
	{[]string{`Basic`}, "Basic"}, {[]string{`Basic,Digest`}, "Basic | Digest"}, {[]string{""}, ""}, {nil, ""}, {[]string{" , ,"}, ""},
	{[]string{`basic REALM = "x" , Charset="UTF-8"`}, "basic charset=<UTF-8> realm=<x>"},
	{[]string{`Basic realm="no end`}, "Basic realm=<no end>"},
	{[]string{`Basic realm=`}, "Basic realm=<>"}, {[]string{`Basic realm=, Digest nonce=x`}, "Basic realm=<> | Digest nonce=<x>"},
	{[]string{`,Basic realm="x",,, Digest nonce="y",`}, "Basic realm=<x> | Digest nonce=<y>"},
	{[]string{`Basic realm="a", realm="b"`}, "Basic realm=<a>"},
	{[]string{`Bearer error="invalid_token", error_description="expired, again"`}, "Bearer error=<invalid_token> error_description=<expired, again>"},
	{[]string{"\tBasic\trealm=\"x\""}, "Basic realm=<x>"},
	{[]string{`"odd" Basic realm="x"`}, `odd | Basic realm=<x>`},
	{[]string{"Basic realm=\"M\xfcller\""}, "Basic realm=<M\xfcller>"},
}

func TestRead(t *testing.T) {
	for _, c := range readCases {
		if got := shown(Read(c.fields)); got != c.want {
			t.Errorf("%q is\n%s, wanted\n%s", c.fields, got, c.want)
		}
	}
}

func TestOffers(t *testing.T) {
	challenges := Read([]string{"Negotiate, digest nonce=x"})
	if !Offers(challenges, "Digest") || Offers(challenges, "Basic") {
		t.Errorf("%v", challenges)
	}
}

// TestDigestExamples compares with the examples of RFC 7616 section 3.9.1 and RFC 2617 section 3.5, and TestDigestAgrees
// with another implementation.
func TestDigestExamples(t *testing.T) {
	for _, c := range []struct{ field, method, target, user, password, cnonce, want string }{
		{`Digest realm="testrealm@host.com", qop="auth,auth-int", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc069c403ebaf9f0171e9517f40e41"`, "GET", "/dir/index.html", "Mufasa", "Circle Of Life", "0a4f113b", "6629fae49393a05397450978507c4ef1"},
		{`Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=SHA-256, nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"`, "GET", "/dir/index.html", "Mufasa", "Circle of Life", "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"},
	} {
		d, err := NewDigest(Read([]string{c.field}))
		if err != nil {
			t.Fatal(err)
		}
		d.cnonce = c.cnonce
		got := d.authorize(c.method, c.target, nil, c.user, c.password)
		if !strings.Contains(got, `response="`+c.want+`"`) {
			t.Errorf("%s: %s, wanted %s", c.field, got, c.want)
		}
	}
}

func TestDigestAgrees(t *testing.T) {
	for _, algorithm := range []string{"", "MD5", "SHA-256", "SHA-512", "SHA-512-256"} {
		for _, qop := range []string{"", "auth", "auth-int"} {
			for _, userhash := range []bool{false, true} {
				field := fmt.Sprintf(`Digest realm="a \"b\"", nonce="n", opaque="o", algorithm=%s, qop="%s", userhash=%t`, algorithm, qop, userhash)
				d, err := NewDigest(Read([]string{field}))
				if err != nil {
					t.Fatal(err)
				}
				got := d.Authorize("POST", "/x?y", nil, `ann "the" \`, "päss")
				sent, err := digest.ParseCredentials(got)
				if err != nil {
					t.Fatalf("%s: %v", got, err)
				}
				other := digest.Challenge{Realm: `a "b"`, Nonce: "n", Opaque: "o", Algorithm: algorithm, Userhash: userhash}
				if qop != "" {
					other.QOP = []string{qop}
				}
				want, err := digest.Digest(&other, digest.Options{Method: "POST", URI: "/x?y", Username: `ann "the" \`, Password: "päss", Cnonce: sent.Cnonce, Count: 1})
				if err != nil {
					t.Fatal(err)
				}
				if sent.Response != want.Response || sent.Username != want.Username || sent.Realm != want.Realm || sent.QOP != want.QOP || qop != "" && sent.Nc != want.Nc {
					t.Errorf("%s:\n%s\nanother implementation sends\n%s", field, got, want)
				}
			}
		}
	}
}

func TestDigestSession(t *testing.T) {
	d, err := NewDigest(Read([]string{`Digest realm="r", nonce="n", algorithm="MD5-sess", qop="auth"`}))
	if err != nil {
		t.Fatal(err)
	}
	first, second := d.Authorize("GET", "/", nil, "u", "p"), d.Authorize("GET", "/", nil, "u", "p")
	cnonce := d.cnonce
	secret := d.sum(d.sum("u", "r", "p"), "n", cnonce) // RFC 7616 section 3.4.2
	for i, got := range []string{first, second} {
		want := d.sum(secret, "n", fmt.Sprintf("%08x", i+1), cnonce, "auth", d.sum("GET", "/"))
		if !strings.Contains(got, `response="`+want+`"`) || !strings.Contains(got, "algorithm=MD5-sess") {
			t.Errorf("%s, wanted the response %s", got, want)
		}
	}
}

func TestNewDigest(t *testing.T) {
	for field, want := range map[string]string{
		`Digest realm="x", nonce="n", algorithm=SHA3-256`: `the digest challenge requires the algorithm "SHA3-256", which is not supported`,
		`Digest realm="x", nonce="n", qop="future"`:       `the digest challenge requires the qop "future", which is not supported (RFC 7616 section 3.3 has auth and auth-int)`,
		`Digest realm="x"`: "the digest challenge has no nonce (RFC 7616 section 3.3)",
		`Basic realm="x"`:  "there is no challenge for digest authentication",
		`Digest realm="x", nonce="1", algorithm=SHA3-256, Digest realm="x", nonce="2"`:     "",
		`Digest realm="x", nonce="n", qop="future, AUTH", algorithm="sha-256", stale=TRUE`: "",
	} {
		d, err := NewDigest(Read([]string{field}))
		if want == "" && err != nil || want != "" && (err == nil || err.Error() != want) {
			t.Errorf("%s: %v, wanted %q", field, err, want)
		}
		if err == nil && d.Stale() != strings.Contains(field, "stale") {
			t.Errorf("%s: stale %t", field, d.Stale())
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, c := range readCases {
		f.Add(strings.Join(c.fields, ", "))
	}
	f.Fuzz(func(t *testing.T, field string) {
		challenges := Read([]string{field})
		for _, c := range challenges {
			if c.Scheme == "" {
				t.Errorf("%q has a challenge without a scheme", field)
			}
		}
		if d, err := NewDigest(challenges); err == nil {
			if got := d.Authorize("GET", "/", nil, "u", "p"); !strings.HasPrefix(got, "Digest username=") {
				t.Errorf("%q is answered with %q", field, got)
			}
		}
	})
}
