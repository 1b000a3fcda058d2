package form

import (
	"strings"
	"testing"

	"golang.org/x/net/html"
)

func TestPatterns(t *testing.T) {
	for _, c := range []struct {
		pattern, text  string
		matched, known bool
	}{
		{`[0-9]{5}`, "12345", true, true},
		{`[0-9]{5}`, "123456", false, true},
		{`^\d+$`, "12", true, true},
		{`a|b`, "ab", false, true},
		{`(?=.*\d)(?=.*[a-z]).{8,}`, "abcdefg7", true, true},
		{`(?=.*\d)(?=.*[a-z]).{8,}`, "abcdefgh", false, true},
		{`^(?!.*@x\.org).+$`, "a@x.org", false, true},
		{`^(?!.*@x\.org).+$`, "a@y.org", true, true},
		{`(?=.*[)\]]).+`, "a)", true, true},
		{`(?=a)b|c`, "c", false, false}, // the condition belongs to the first alternative alone
		{`.+(?=a)`, "ba", false, false},
		{`(.)\1`, "aa", false, false},
		{`[a-z&&[^aeiou]]+`, "a", false, false},
		{`\u00e4`, "ä", false, false},
		{`(?=`, "", false, false},
		{`\p{L}+`, "Müller", true, true},
	} {
		if matched, known := matches(c.pattern, c.text); matched != c.matched || known != c.known {
			t.Errorf("%q for %q: got %v, %v; want %v, %v", c.pattern, c.text, matched, known, c.matched, c.known)
		}
	}
}

// FuzzPatterns applies patterns of pages, which are outside input.
func FuzzPatterns(f *testing.F) {
	for _, pattern := range []string{`[0-9]{5}`, `(?=.*\d)(?!x).{8,}`, `(?=`, `(?=a)b|c`, `[`, `\`, `(?=[)])a`, `(?=a)+b`} {
		f.Add(pattern, "abc")
	}
	f.Fuzz(func(t *testing.T, pattern, text string) {
		if matched, known := matches(pattern, text); matched && !known {
			t.Errorf("%q: matched and not known", pattern)
		}
	})
}

// The groups of radio buttons are read once: to read the page for each button takes minutes. Those of other forms and names
// do not count.
func TestRadioGroups(t *testing.T) {
	radios := strings.Repeat("<input type=radio name=a>", 20_000)
	for source, want := range map[string]string{
		"<form>" + radios + "<input type=radio name=b required checked></form>":                                 "",
		"<form>" + radios + "<input type=radio name=a required></form>":                                         "required",
		"<form>" + radios + "<input type=radio name=a required><input type=radio name=a checked></form>":        "",
		"<form>" + radios + "<input type=radio required></form><form><input type=radio name=a required></form>": "required",
		"<form>" + radios + "</form><form><input type=radio name=a required></form>":                            "",
	} {
		doc, err := html.Parse(strings.NewReader(source))
		if err != nil {
			t.Fatal(err)
		}
		var first *html.Node
		for n := range doc.Descendants() {
			if n.Data == "form" {
				first = n
				break
			}
		}
		invalid, _ := Check(doc, first, nil, State{Owners: Owners(doc, []byte(source))})
		rule := ""
		if invalid != nil {
			rule = invalid.Rule
		}
		if rule != want {
			t.Errorf("%.10s…%.60s: %q, want %q", source, source[len(source)-60:], rule, want)
		}
	}
}

// A pattern of a page that would need too much work is left to a browser.
func TestPatternLimits(t *testing.T) {
	for pattern, want := range map[string]int{"[a-z]{900}": 0, strings.Repeat("[a-z]{900}", 6): 1, "(?:" + strings.Repeat("a|b{900}|", 12) + "c)": 1} {
		source := `<form><input name=a value=x pattern="` + pattern + `"></form>`
		doc, err := html.Parse(strings.NewReader(source))
		if err != nil {
			t.Fatal(err)
		}
		for n := range doc.Descendants() {
			if n.Data == "form" {
				if _, unjudged := Check(doc, n, nil, State{Owners: Owners(doc, []byte(source))}); len(unjudged) != want {
					t.Errorf("%.20s: %d unjudged, want %d", pattern, len(unjudged), want)
				}
			}
		}
	}
}
