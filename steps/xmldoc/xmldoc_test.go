package xmldoc_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps/selector"
	"github.com/stepwatch/stepwatch/steps/xmldoc"
)

const rss = `<?xml version="1.0" encoding="iso-8859-1"?><rss version="2.0" xmlns:dc="http://purl.org/dc/elements/1.1/"><channel><title>News</title><pubDate>never</pubDate>
<item><title>Gr\xfc\xdfe</title><pubDate>Sat, 01 Nov 2025 10:00:00 +0100</pubDate></item><item><title>Old</title><dc:date>2025-10-01</dc:date></item><item/></channel></rss>`

func TestFeed(t *testing.T) {
	for _, c := range []struct{ name, body, want string }{
		{"RSS 2.0", strings.ReplaceAll(strings.ReplaceAll(rss, `\xfc`, "\xfc"), `\xdf`, "\xdf"), "Grüße 2025-11-01T09:00:00Z, Old 2025-10-01T00:00:00Z,  0001-01-01T00:00:00Z"},
		{"RSS 1.0", `<rdf:RDF xmlns:rdf="r" xmlns="x" xmlns:dc="d"><channel/><item><title>A</title><dc:date>2025-11-02T10:00Z</dc:date></item></rdf:RDF>`, "A 2025-11-02T10:00:00Z"},
		{"Atom", `<feed xmlns="http://www.w3.org/2005/Atom"><updated>2025-01-01T00:00:00Z</updated><entry><title>B</title><published>2025-11-01T00:00:00Z</published><updated>2025-11-03T00:00:00.5Z</updated></entry></feed>`, "B 2025-11-03T00:00:00Z"},
		{"empty", `<feed/>`, ""},
		{"no feed", `<html/>`, `its root is "html", wanted rss, RDF or feed`},
		{"no date", `<feed><entry><updated>today</updated></entry></feed>`, ` 0001-01-01T00:00:00Z (updated: "today" is not a date: it has no day)`},
		{"zone names", `<rss><channel><item><pubDate>Thu, 26 Nov 2026 07:00:00 EST</pubDate></item><item><pubDate>Thu, 26 Nov 2026 07:00:00 MST</pubDate></item><item><pubDate>Thu, 26 Nov 2026 07:00:00 CEST</pubDate></item><item><pubDate>Thu, 26 Nov 2026 07:00:00 JST</pubDate></item><item><pubDate>Thu, 26 Nov 2026 07:00:00 UT</pubDate></item></channel></rss>`,
			" 2026-11-26T12:00:00Z,  2026-11-26T14:00:00Z,  2026-11-26T05:00:00Z,  2026-11-25T22:00:00Z,  2026-11-26T07:00:00Z"},
		{"an unreadable date beside a readable one", `<feed><entry><published>2026-11-26T07:00:00Z</published><updated>2026-11-26T09:00:00</updated></entry></feed>`,
			` 2026-11-26T07:00:00Z (updated: "2026-11-26T09:00:00" is not a date: it has no zone (RFC 3339 section 5.6))`},
	} {
		t.Run(c.name, func(t *testing.T) {
			doc, err := xmldoc.Parse(t.Context(), []byte(c.body))
			if err != nil {
				t.Fatal(err)
			}
			items, err := doc.Feed()
			got := make([]string, len(items))
			for i, item := range items {
				got[i] = item.Title + " " + item.Date.Format(time.RFC3339)
				if item.Unread != nil {
					got[i] += " (" + item.Unread.Error() + ")"
				}
			}
			text := strings.Join(got, ", ")
			if err != nil {
				text = err.Error()
			}
			if text != c.want {
				t.Errorf("got  %s\nwant %s", text, c.want)
			}
		})
	}
}

func TestSelect(t *testing.T) {
	doc, err := xmldoc.Parse(t.Context(), []byte(`<status><service name="db"> up </service><service name="web">down</service></status>`))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string][]string{
		"/status/service":               {"up", "down"},
		"//service[@name='db']":         {"up"},
		"//service/@name":               {"db", "web"},
		"count(//service)":              {"2"},
		"boolean(//service[. = 'off'])": {"false"},
		"//none":                        nil,
	} {
		if got, err := doc.Select(nil, path); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: got %q, %v, want %q", path, got, err, want)
		}
	}
	if _, err := doc.Select(nil, "//service["); !errors.As(err, new(*selector.PathError)) {
		t.Errorf("a broken path gave %v", err)
	}
}

func TestSitemap(t *testing.T) {
	doc, err := xmldoc.Parse(t.Context(), []byte(`<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"><url><loc> https://a.test/ </loc></url><url/></urlset>`))
	if err != nil {
		t.Fatal(err)
	}
	if got, index, err := doc.Sitemap(); err != nil || index || !slices.Equal(got, []string{"https://a.test/"}) {
		t.Errorf("got %q, %t, %v", got, index, err)
	}
}

func TestParseRefuses(t *testing.T) {
	for body, want := range map[string]string{
		"":                             "it has no element",
		"just text":                    "it has no element",
		"<a><b></a>":                   "XML syntax error on line 1: element <b> closed by </a>",
		"<a>":                          "XML syntax error on line 1: unexpected EOF",
		strings.Repeat("<a>", 1000000): "the document has 501 levels of nested elements, the limit is 500",
		"<a>&bomb;</a>":                "XML syntax error on line 1: invalid character entity &bomb;",
	} {
		if _, err := xmldoc.Parse(t.Context(), []byte(body)); err == nil || err.Error() != want {
			t.Errorf("%.20q: got %v, want %s", body, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(rss))
	f.Add([]byte(`<urlset><url><loc>x</loc></url></urlset>`))
	f.Fuzz(func(t *testing.T, body []byte) {
		doc, err := xmldoc.Parse(t.Context(), body)
		if err != nil {
			return
		}
		_, _ = doc.Feed()
		_, _, _ = doc.Sitemap()
		_, _ = doc.Select(nil, "//*[@*]/text()")
	})
}
