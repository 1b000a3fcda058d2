package redact

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unicode"
)

func TestWhereCut(t *testing.T) {
	r := New([]string{`s3same "o`})
	for text, want := range map[string]string{
		`it begins "Dear s3sam…"`:                `it begins "Dear [hidden]…"`,
		`it shows "…me "o is"`:                   `it shows "…[hidden] is"`,
		`s3s……e "o`:                              `[hidden]……[hidden]`,
		`s3…, as others`:                         `s3…, as others`,
		`{"a": "s3same \\\"o", 's3same+'`:        `{"a": "[hidden]", 's3same+'`,
		`["s3same \\…`:                           `["[hidden]…`,
		`?pw=s3same%2…`:                          `?pw=[hidden]…`,
		`s3sa\u0…`:                               `[hidden]…`,
		`…022o, …e &quot;o`:                      `…[hidden], …[hidden]`,
		`<p>s3<b class="x">same</b> &quot;o</p>`: `<p>[hidden]</p>`,
		`s3same%20%22o`:                          `[hidden]`,
	} {
		if got := r.String(text); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
}

// TestRules holds how much of a text is hidden, by the length of the secret.
func TestRules(t *testing.T) {
	for _, test := range []struct{ secret, text, want string }{
		// below four characters: alone
		{"123", "pin=123&x", "pin=[hidden]&x"},
		{"123", "pin123, 4123, 0.123, 1,123 and 123.", "pin[hidden], 4123, 0.123, 1,123 and [hidden]."},
		{"123", "pin=%31%32%33 12 3 MTIz xMTIz", "pin=[hidden] 12 3 [hidden] xMTIz"},
		{"ab", "ab, aB, cab, a b, &#97;b", "[hidden], aB, cab, a b, [hidden]"},
		{"a b", "a b, ab", "[hidden], ab"},
		{"é", "é, été, %C3%A9", "[hidden], été, [hidden]"},
		{`\"`, `x\"y`, "x[hidden]y"},
		// from four on: as written, in any encoding
		{"mail", "mail, Mail, MAIL, ma il, ma\r\nil, email", "[hidden], Mail, MAIL, ma il, ma\r\nil, e[hidden]"},
		{"mail", "ma<b>il, m%61il, 6d61696c, bWFpbA==", "[hidden], [hidden], [hidden], [hidden]"},
		{"ab cd", "ab cd, ab+cd, ab%20cd, ab&nbsp;cd, abcd", "[hidden], [hidden], [hidden], [hidden], abcd"},
		{"carpet", "the car pet, Carpet", "the car pet, Carpet"},
		// strong: in any case and with blanks
		{"password", "Password: the pass words", "[hidden]: the [hidden]s"},
		{"Tr0ub4", "TR0UB4, tr0 ub4", "[hidden], [hidden]"},
		{"Tr0ub4", "tr0.ub4, tr0-ub4", "tr0.ub4, tr0-ub4"},
		// next to a cut mark
		{"carpet", "it is car…, ca…, Car…", "it is [hidden]…, ca…, Car…"},
		{"aaaaaaaa", "aa aaa…, aa\r\n250-aaa…", "aa [hidden]…, aa\r\n250-[hidden]…"},
		{"carpet", "…pet, …et, …PET", "…[hidden], …et, …PET"},
		{"s3same/42", "the base64 czNzYW1lL…", "the base64 [hidden]…"},
		{"s3same/42", "the base64 czNz…", "the base64 czNz…"},
		{"carpet", `"car"… and "pet…`, `"[hidden]"… and "pet…`},
		// twice is once
		{"hidden", "[hidden] hidden", "[hidden] [hidden]"},
		{"[hidden]", "[hidden] [hidden]", "[hidden] [hidden]"},
		// nothing can be said of blanks
		{"    ", "a    b", "a    b"},
		// a token is hidden as a whole, and nothing around it
		{"hunter2!", "Authorization: Basic YWxpY2U6aHVudGVyMiE=, else", "Authorization: Basic [hidden], else"},
		{"hunter2!", "q=YWxpY2U6aHVudGVyMiE%3D&r", "q=[hidden]%3D&r"},
		// several lines
		{"-----BEGIN KEY-----\nabcdefgh1234\nijkl\n", "a -----BEGIN KEY----- b; abcdefgh1234; ijkl", "a -----BEGIN KEY----- b; [hidden]; ijkl"},
		// not UTF-8
		{"p\xe4ssw\xf6rt1", "pässwört1, p\xe4ssw\xf6rt1, p?ssw?rt1, p\uFFFDssw\uFFFDrt1, p%E4ssw%F6rt1", "[hidden], [hidden], [hidden], [hidden], [hidden]"},
		// a form that begins with an escape
		{"Éx+yz789", "a+AMk-x+-yz789, +AMkAeAAr-yz789, &AMk-x+yz789", "a[hidden], [hidden], [hidden]"},
		{"ｐ12345678", "&,1A-12345678", "[hidden]"},
		{"+plus+plus", "a=+-plus+plus, =2Bplus=2Bpl=\r\nus, %252Bplus+plus", "a=[hidden], [hidden], [hidden]"},
		{"hunter2!", `\\\\\u0068unter2!, h&#117;nter2&excl;, &amp;#104;unter2!, x=68=75nter=32!`, `[hidden], [hidden], [hidden], x[hidden]`},
		{"\x00\x01\x02\xff\xfe\x80abc", "0x000102fffe80616263", "0x[hidden]"},
	} {
		if got := New([]string{test.secret}).String(test.text); got != test.want {
			t.Errorf("%q in %q: got %q, want %q", test.secret, test.text, got, test.want)
		}
	}
}

// TestOrdinaryTexts holds that texts without the secrets stay as they are.
func TestOrdinaryTexts(t *testing.T) {
	r := New(append(twenty(), "password1", "Summer2026", "letmein!", "trustno1", "4711"))
	for _, text := range []string{
		"The quick brown fox jumps over the lazy dog. 50% off & more; a<b, c>d \\o/ =) +1 100%% &&& &amp; &unknown; &#; &#x; %zz =zz \\",
		"Received: from mx1.example.org (mx1.example.org [192.0.2.1]) by mail.example.org with ESMTPS id 4Xp1Zk0Q2Rz9vBn for <alice@example.org>; Mon, 30 Nov 2026 10:42:39 +0000",
		`{"id": 17, "name": "x\u0041\n\"y\"", "hash": "5f4dcc3b5aa765d61d8327deb882cf99", "token": "eyJhbGciOiJub25lIn0.e30."}`,
		"a password, a Summer in 2026, let me in, trust no one; 47 11, 4,711",
		"<div class=\"summer\" id='2026'><!-- let -->me<b>in</b></div>…",
		"=?utf-8?q?Gr=C3=BC=C3=9Fe?= =?utf-8?b?R3LDvMOfZQ==?= &AOk- +AOk-",
		"",
		"\x00\xff\xfe\xe2\x80",
	} {
		if got := r.String(text); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
	var none *Redactor
	if got := none.String("x"); got != "x" || none.Patterns() != nil || New([]string{""}) != nil {
		t.Error("a redactor without secrets")
	}
}

// TestHead holds that no part of a secret is left at the end of a long text.
func TestHead(t *testing.T) {
	r := New([]string{"hunter2!"})
	text := strings.Repeat("x", 95) + "hunter2! and more"
	for size, want := range map[int]string{10: "xxxxxxxxxx", 97: strings.Repeat("x", 95) + Hidden, 110: strings.Repeat("x", 95) + Hidden + " and mo", 1000: strings.Repeat("x", 95) + Hidden + " and more"} {
		if got := string(r.Head([]byte(text), size)); got != want {
			t.Errorf("%d: got %q, want %q", size, got, want)
		}
	}
}

// TestPlaces holds that places of a text of more than 4 GB are told apart.
func TestPlaces(t *testing.T) {
	for _, at := range []int{0, 1, 1 << 31, 1<<32 + 7, 1 << 50} {
		if o := newOrigin(at, 0xff, true); o.at() != at || o.raw() != 0xff || !o.gap() {
			t.Errorf("%d became %d, %#x, %t", at, o.at(), o.raw(), o.gap())
		}
		if o := newOrigin(at, 'a', false); o.at() != at || o.raw() != 'a' || o.gap() {
			t.Errorf("%d became %d, %#x, %t", at, o.at(), o.raw(), o.gap())
		}
	}
}

// TestMayDrop holds that the first two bytes of every character that is dropped tell it.
func TestMayDrop(t *testing.T) {
	for r := rune(0x80); r <= unicode.MaxRune; r++ {
		text := []byte(string(r))
		if size, _ := dropped(text, 0); size > 0 && (!mayDrop(text[0], text[1]) || specials[text[0]] != high) {
			t.Errorf("%U is dropped, and nothing tells it", r)
		}
	}
}

// TestLinear holds that ten times the text takes about ten times as long, whatever is in it and however many secrets there
// are: texts that are made of beginnings of escapes, tags, secrets and tokens.
func TestLinear(t *testing.T) {
	if testing.Short() {
		t.Skip("it measures time")
	}
	long := strings.Repeat("a", 5000) + "b"
	r := New(append(twenty(), "aaaaaaaaaaaa", "abababab", long, "<b><b><b>", `\\\\\\\\`, "%25%25%25", "&&&&&&&&", "        x       y"))
	for _, unit := range []string{"a", "ab", "<b>a", "<", `<a x="<`, `<a x='<a y="`, "<!--", "&", "&amp;", "&#97;", "%", "%25", "%2525", `\`, `\\u0061`, "=", "=\r\n", "=?", "=?utf-8?b?YWFh?=", "+", "+AGE-", "&AGE-", "…", "a…", "\"", "\" \"",
		"'", "61", "61:", "0x61,", "YWFhYWFhYWFh", "YWFh\r\n", "\u200b", "a ", "\r\n250-a", "a%C2%A0", "%3Ca%3E", "\x00a", "\xe2", "[hidden]"} {
		took := func(size int) time.Duration {
			text := []byte(strings.Repeat(unit, size/len(unit)+1)[:size])
			best := time.Hour
			for range 3 {
				before := processorTime(t)
				r.Bytes(text)
				best = min(best, processorTime(t)-before)
			}
			return best
		}
		const size = 10_000
		small, large := took(size), took(10*size)
		if large > 30*small+10*time.Millisecond {
			t.Errorf("%q: %d bytes take %s, %d take %s", unit, size, small, 10*size, large)
		}
		if testing.Verbose() {
			t.Logf("%8.1f ns a byte: %q", float64(large.Nanoseconds())/(10*size), unit)
		}
	}
}

// TestSizes holds how much memory and time a redactor takes to make, also for secrets that are as long as a vault allows.
func TestSizes(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	binary := make([]byte, 64<<10)
	for i := range binary {
		binary[i] = byte(random.IntN(256))
	}
	var lines strings.Builder
	for lines.Len() < 60<<10 {
		lines.WriteString(strings.Repeat(string(rune('a'+random.IntN(26))), 3+random.IntN(60)) + "é\n")
	}
	for name, test := range map[string]struct {
		secrets []string
		size    int
		took    time.Duration
	}{
		"three": {twenty()[:3], 250 << 10, 100 * time.Millisecond}, "twenty": {twenty(), 1 << 20, 200 * time.Millisecond},
		"binary": {[]string{string(binary)}, 24 << 20, 3 * time.Second}, "lines": {[]string{lines.String()}, 24 << 20, 3 * time.Second},
		"same": {[]string{strings.Repeat("a", 64<<10)}, 1 << 20, 3 * time.Second},
	} {
		before := processorTime(t)
		r := build(test.secrets)
		took := processorTime(t) - before
		t.Logf("%s: %d states, %d patterns, %d KB, %s", name, len(r.states), len(r.patterns), r.size()>>10, took)
		if r.size() > test.size || took > test.took {
			t.Errorf("%s: %d bytes and %s, wanted %d and %s at most", name, r.size(), took, test.size, test.took)
		}
		for _, secret := range test.secrets {
			if got := r.String("x " + secret + " y"); strings.Trim(strings.ReplaceAll(got, Hidden, ""), "\x00\x01\x02\x03\x04\x05\x06\x07\x08\t\n\v\f\r\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f\x7f xy") != "" {
				t.Errorf("%s: %d bytes of it are left: %.200q", name, len(got), got)
			}
		}
	}
	for i := range 1000 {
		New([]string{fmt.Sprint("a secret like all others ", i)})
	}
	if made.size > most {
		t.Errorf("%d bytes of redactors are kept, wanted %d at most", made.size, most)
	}
}
