package sentence

import (
	"regexp"
	"strings"
	"testing"
)

func TestMay(t *testing.T) {
	for _, c := range []struct {
		sentence, text string
		want           bool
	}{
		{"I go to {url}", `I go to "http://a/"`, true},
		{"I go to {url}", `I go`, false},
		{"I fill in {text} with {text}", `I fill in "a" with "b"`, true},
		{"I fill in {text} with {text}", `I fill in "a"`, false},
		{"{int} of {int} disks", "1 of 2 disks", true},
		{"{int} of {int} disks", "1 disks of 2", false},
		{"it works", "it works", true},
		{"it works", "so it works", false},
		{"", "", true},
	} {
		if got := May(c.sentence, c.text); got != c.want {
			t.Errorf("%s, %s: got %t", c.sentence, c.text, got)
		}
	}
}

func TestMayMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, text string
		want          bool
	}{
		{`^I go to {url}$`, `I go to "http://a/"`, true},
		{`^I go to {url}$`, "I send GET", false},
		{`^I (?:go|went) to "(.*)"$`, `I went to "a"`, true},
		{`^I (?:go|went) to "(.*)"$`, `I went by "a"`, false},
		{`^the disks?$`, "the disk", true},
		{`^it tak{1,2}es$`, "it takkes", true},
		{`^foo|bar$`, "bar", true},
		{`^(foo|bar) baz$`, "bar quux", false},
		{`(?i)^FOO$`, "foo", true},
		{`^a[]|x]b$`, "c", false},
		{`^a\x41$`, "aA", true},
		{`^é?t$`, "t", true},
		{`disk full`, "the disk is full", false},
		{`disk full`, "the disk full", true},
	} {
		if got := MayMatch(c.pattern, c.text); got != c.want {
			t.Errorf("%s, %s: got %t", c.pattern, c.text, got)
		}
	}
}

// FuzzMayMatch holds that no text is refused that an expression matches.
func FuzzMayMatch(f *testing.F) {
	for _, pattern := range []string{`^I (?:go|went) to "([^"]*)"$`, `a|b`, `(?i)A`, `^a[]|x]b$`, `^ab?c*d+e{0,2}f$`, `\Qa|b\E`, `^\x{61}\pL\d[[:alpha:]-]x`, `é?(?P<n>t)`,
		`a{,2}b`, `a{x}b`, `^^a`, `(a)?b`, `[^]]a`, `a\`, `(`, `[`, `\141b`, `a??b`, `(?s:.)a`} {
		f.Add(pattern, `I went to "ab"`)
		f.Add(pattern, "ab")
	}
	f.Fuzz(func(t *testing.T, pattern, text string) {
		may := MayMatch(pattern, text)
		re, err := regexp.Compile(pattern)
		if err == nil && !may && re.MatchString(text) {
			t.Errorf("%q matches %q", pattern, text)
		}
	})
}

// FuzzMay holds that no text is refused that the words of a sentence match, whatever its parameters are.
func FuzzMay(f *testing.F) {
	f.Add("I go to {url}", `I go to "a"`)
	f.Add("{a}{b} c {d}", "x c y")
	f.Fuzz(func(t *testing.T, sentence, text string) {
		may := May(sentence, text)
		if strings.HasPrefix(sentence, "/") {
			return // a pattern
		}
		parameter := regexp.MustCompile(`\{\w+\}`)
		if strings.ContainsAny(parameter.ReplaceAllString(sentence, ""), "{}") {
			return // no sentence has other braces
		}
		parts := parameter.Split(sentence, -1)
		for i, part := range parts {
			parts[i] = regexp.QuoteMeta(part)
		}
		re, err := regexp.Compile(`^(?s:` + strings.Join(parts, ".*") + `)$`)
		if err == nil && !may && re.MatchString(text) {
			t.Errorf("%q may be %q", sentence, text)
		}
	})
}
