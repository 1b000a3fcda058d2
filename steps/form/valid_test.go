package form

import "testing"

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
