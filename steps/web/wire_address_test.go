package web_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"unicode/utf16"

	"golang.org/x/text/encoding/htmlindex"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/address"
	"github.com/stepwatch/stepwatch/steps/browser"
	"github.com/stepwatch/stepwatch/steps/form"
	"github.com/stepwatch/stepwatch/steps/httpwire"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

// link is a page with one link.
func link(href string) string { return `<a href="` + href + `">Go</a>` }

// TestAddressesOnWire follows links and redirects with addresses that the URL standard accepts and RFC 3986 does not.
func TestAddressesOnWire(t *testing.T) {
	const latin = "Content-Type: text/html; charset=iso-8859-1"
	const follow = "I follow \"Go\"\nI should see \"Reached\""
	to := func(href, target string) wireCase {
		return wireCase{name: "link to " + strings.ReplaceAll(href, "/", "∕"), page: link(href), do: follow, want: "GET " + target + " HTTP/1.1"}
	}
	sent := func(location, target string) wireCase {
		return wireCase{name: "redirect to " + strings.ReplaceAll(location, "/", "∕"), page: link("/old"), do: follow, others: map[string]string{"/old": moved(location)},
			want: "GET /old HTTP/1.1\n\nGET " + target + " HTTP/1.1"}
	}
	cases := []wireCase{
		to("/thanks?name=Anna Meier", "/thanks?name=Anna%20Meier"),
		to("/sale-50%-off", "/sale-50%-off"),
		to("/100%?50%", "/100%?50%"),
		to(`\shop\new?a\b`, `/shop/new?a\b`),
		to("/a\tb\n\rc", "/abc"),
		to("  /x  ", "/x"),
		to("http:/one", "/one"),
		to("http:one", "/one"),
		to("2024:report.html", "/2024:report.html"),
		to("//www.example.test/x", "/x"),
		to(`\\www.example.test\x`, "/x"),
		to("?q", "/start?q"),
		to("?", "/start?"),
		to("", "/start"),
		to("/x#frag ment", "/x"),
		to("/a/../b/./c/%2e%2e/d", "/b/d"),
		to("/a%2fb//c", "/a%2fb//c"),
		to("//www.example.test//x", "//x"),
		to("/|[]{}^&lt;>`'&quot;", "/%7C[]%7B%7D%5E%3C%3E%60'%22"),
		to("?|[]{}^&lt;>`'&quot;", "/start?|[]{}^%3C%3E`%27%22"),
		to("/&#1;&#x7f;", "/%01%7F"),
		to("/Müller?q=Müller", "/M%C3%BCller?q=M%C3%BCller"),
		to("/M\xfcller", "/M%EF%BF%BDller"),
		to("/~a!$()*+,;=:@", "/~a!$()*+,;=:@"),
		to("/%7e%zz%", "/%7e%zz%"),
		to("HTTP://WWW.EXAMPLE.TEST:80/X", "/X"),
		to("http://www%2eexample%2etest/x", "/x"),
		sent("/thanks?name=Anna Meier", "/thanks?name=Anna%20Meier"),
		sent("/sale-50%-off", "/sale-50%-off"),
		sent("/M\xfcller?\xfc", "/M%FCller?%FC"),
		sent("/Müller", "/M%C3%BCller"),
		sent(`\next`, "/next"),
		sent("http:/one", "/one"),
		sent("2024:report.html", "/2024:report.html"),
		sent("/|{}^", "/%7C%7B%7D%5E"),
		sent("?a b", "/old?a%20b"),
		sent("//www.example.test/x", "/x"),
		{name: "query in Latin-1", header: latin, page: link("/s\xfc?q=M\xfcller&x=%FC"), do: follow, want: "GET /s%C3%BC?q=M%FCller&x=%FC HTTP/1.1"},
		{name: "query in Latin-1, written in ASCII", header: latin, page: link("?q=M&uuml;ller&e=&euro;&r=&rarr;"), do: follow, want: "GET /start?q=M%FCller&e=%80&r=%26%238594%3B HTTP/1.1"},
		{name: "query in Shift_JIS", header: "Content-Type: text/html; charset=Shift_JIS", page: link("?q=\x95\x5c\x93\xfa&z=&uuml;"), do: follow, want: `GET /start?q=%95\%93%FA&z=%26%23252%3B HTTP/1.1`},
		{name: "query in ISO-2022-JP", header: "Content-Type: text/html; charset=iso-2022-jp", page: link("?q=&#26085;x&#26412;"), do: follow, want: `GET /start?q=%1B$BF|%1B(Bx%1B$BK\%1B(B HTTP/1.1`},
		{name: "query in GBK", header: "Content-Type: text/html; charset=gb2312", page: link("?q=&#20013;&euro;"), do: follow, want: `GET /start?q=%D6%D0%80 HTTP/1.1`},
		{name: "query in EUC-KR", header: "Content-Type: text/html; charset=euc-kr", page: link("?q=&#54620;"), do: follow, want: `GET /start?q=%C7%D1 HTTP/1.1`},
		{name: "query in UTF-16", header: "Content-Type: text/html; charset=utf-16le", page: utf16le(link("?q=ü")), do: follow, want: `GET /start?q=%C3%BC HTTP/1.1`},
		{name: "query of a page that declares nothing", header: "Content-Type: text/html", page: link("?q=&uuml;"), do: follow, want: `GET /start?q=%FC HTTP/1.1`},
		{name: "base", page: `<base target=x><base href="/deep/er/"><base href="/no/">` + link("a b"), do: follow, want: "GET /deep/er/a%20b HTTP/1.1"},
		{name: "base that is data", page: `<base href="data:,">` + link("a"), do: follow, want: "GET /a HTTP/1.1"},
		{name: "base in a template", page: `<template><base href="/no/"></template>` + link("a"), do: follow, want: "GET /a HTTP/1.1"},
		{name: "base in Latin-1", header: latin, page: "<base href='/b/?\xfc'>" + link(""), do: follow, want: "GET /b/?%C3%BC HTTP/1.1"},
		{name: "frame", header: latin, page: "<iframe src='/f r?\xfc|'></iframe>", do: `I should see "Reached"`, want: "GET /f%20r?%FC| HTTP/1.1"},
		{name: "checked links", header: latin, page: "<meta charset=x>" + link("/50%-off?\xfc") + link("mailto:x") + link("\\50%-off?&uuml;"), do: "no link on this page is broken", want: "HEAD /50%-off?%FC HTTP/1.1"},
		{name: "fragment stays over a redirect", page: link("/old#here"), do: follow + "\nI should be on /new#here", others: map[string]string{"/old": moved("/new")}, want: "GET /old HTTP/1.1\n\nGET /new HTTP/1.1"},
		{name: "visited as it is written", page: link("x"), do: `I go to "/Müller?q=a|b{c}^%"` + "\nI should be on \"/Müller?q=a|b{c}^%\"", want: "GET /M%C3%BCller?q=a|b{c}^% HTTP/1.1"},
	}
	sameOnWire(t, cases, "Referer")
}

// TestAddressesAsChromium compares every address of the standard's test data, and more of them made of their parts, with what
// Chromium makes of it in a link, on pages of several encodings.
func TestAddressesAsChromium(t *testing.T) {
	if _, err := browser.Find(); err != nil {
		t.Skip("not compared with a browser:", err)
	}
	content, err := os.ReadFile("../address/testdata/urltestdata.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []any
	if err := json.Unmarshal(content, &all); err != nil {
		t.Fatal(err)
	}
	texts := []string{"?q=ü", "?q=日本x→", "/ü?ü#ü", "?€&'\"<>`|", `\\www.example.test\ü?ü\ü`}
	for _, c := range all {
		if c, is := c.(map[string]any); is {
			texts = append(texts, c["input"].(string))
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	parts := []string{"http:", "https:", "//", "/", `\`, "?", "#", "@", ":", "a", "b.test", ".", "..", "%2e", "%", "%41", " ", "\t", "\n", "[", "]", "[::1]", "127.1", "0x7f", "80", "443", "ü", "日本", "€",
		"|", "^", "{", "}", "\"", "<", ">", "`", "'", "&", "=", "+", "~", "2024:", "bücher.test", "xn--bcher-kva", "😀", "\x00", "\x1f", "\x7f"}
	for range 2000 {
		text := ""
		for range 1 + random.IntN(7) {
			text += parts[random.IntN(len(parts))]
		}
		texts = append(texts, text)
	}
	s := &site{target: (&steps.Target{ConnectTo: map[string]string{}}).Set(httpwire.Web{})}
	server := newWireServer(t, nil)
	s.target.ConnectTo["www.example.test:80"] = server.address
	s.target.Set(fixture.StartedBrowser(t, browser.Options{MapHosts: s.target.ConnectTo}))
	base := address.Reported("http://www.example.test/start")
	for _, name := range []string{"utf-8", "windows-1252", "shift_jis", "iso-2022-jp", "euc-jp", "gb18030", "big5", "euc-kr", "koi8-r"} {
		coding, err := htmlindex.Get(name)
		if err != nil {
			t.Fatal(err)
		}
		type pair struct{ Text, Want string }
		var pairs []pair
		for _, text := range texts {
			u, err := base.Join(text, form.Output(coding))
			if err == nil && u.IsWeb() && !strings.Contains(u.Host, "*") {
				pairs = append(pairs, pair{text, u.Href()})
			} else if err != nil && address.SchemeOf(text) == "" && !strings.Contains(text, "//") && !strings.Contains(text, `\`) {
				t.Errorf("%q: %v", text, err) // without a host nothing can be wrong
			}
		}
		if len(pairs) < 1000 {
			t.Errorf("%s: %d addresses are compared, want at least 1000", name, len(pairs))
		}
		data, err := json.Marshal(pairs)
		if err != nil {
			t.Fatal(err)
		}
		server.begin(&wireCase{header: "Content-Type: text/html; charset=" + name, page: `<p id=p></p><script>const wrong = [], a = document.createElement("a");
for (const {Text, Want} of ` + asciiJSON(data) + `) { a.setAttribute("href", Text); if (a.href !== Want) wrong.push(JSON.stringify(Text) + " is " + a.href + " and not " + Want) }
document.getElementById("p").textContent = wrong.length ? wrong.length + " deviate: " + wrong.slice(0, 9).join("; ") : "all agree"</script>`})
		t.Run(name, func(t *testing.T) {
			fixture.Expect(t, s.run(t, "I go to http://www.example.test/start\nI should not see \"deviate\"\nnothing is logged as an error\nI should see \"all agree\""), "")
		})
	}
}

// asciiJSON escapes what is not ASCII, so that a page of any encoding can contain it.
func asciiJSON(data []byte) string {
	var b strings.Builder
	for _, unit := range utf16.Encode([]rune(string(data))) {
		if unit < 0x80 {
			b.WriteByte(byte(unit))
		} else {
			fmt.Fprintf(&b, `\u%04x`, unit)
		}
	}
	return b.String()
}

// TestAddressesThroughProxy checks the first line that a proxy gets (RFC 9112 §3.2.2).
func TestAddressesThroughProxy(t *testing.T) {
	fixture.LeavesNothing(t)
	server := newWireServer(t, []string{"Host"})
	proxy, err := address.Parse("http://" + server.address)
	if err != nil {
		t.Fatal(err)
	}
	s := &site{target: new(steps.Target).Set(httpwire.Web{Proxy: proxy})}
	server.begin(&wireCase{})
	fixture.Expect(t, s.run(t, "I go to http://www.example.test:8080//a|b?c|d#e\nI should see \"Reached\""), "")
	if got, want := server.seen(), "GET http://www.example.test:8080//a%7Cb?c|d HTTP/1.1\nHost: www.example.test:8080"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// utf16le returns a text in UTF-16, little endian.
func utf16le(text string) string {
	var b strings.Builder
	for _, r := range text {
		b.WriteByte(byte(r))
		b.WriteByte(byte(r >> 8))
	}
	return b.String()
}
