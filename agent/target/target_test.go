package target_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/stepwatch/stepwatch/agent/target"
	"github.com/stepwatch/stepwatch/features"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"www.example.org":         "www.example.org",
		"WWW.Example.org:8080":    "www.example.org:8080",
		"https://www.example.org": "https://www.example.org",
		"HTTP://a.b:81/":          "http://a.b:81",
		"192.0.2.1:25":            "192.0.2.1:25",
		"[2001:DB8::1]:25":        "[2001:db8::1]:25",
		"2001:db8::1":             "[2001:db8::1]",
		"[2001:db8::1]":           "[2001:db8::1]",
		"mx_1":                    "mx_1",
		"":                        "no host name",
		"ftp://www.example.org":   "a scheme that is not http",
		"https://a/b":             "more than a host",
		"https://a?b":             "more than a host",
		"a/b":                     "more than a host",
		"user@a":                  "more than a host",
		`a\b`:                     "more than a host",
		"a b":                     "more than a host",
		"a\nb":                    "no host name",
		"a#b":                     "more than a host",
		"a..b":                    "no host name",
		"a.":                      "no host name",
		"*.example.org":           "no host name",
		"a:":                      "a port that is not",
		"a:0":                     "a port that is not",
		"a:65536":                 "a port that is not",
		"a:+25":                   "a port that is not",
		"a:x":                     "a port that is not",
		"[::1":                    "a bracket",
		"[::1]x":                  "a bracket",
		"[::1]:":                  "a port that is not",
		"[a]":                     "[a]?",
		"fe80::1%eth0":            "no IPv6 address",
		"a:b:c":                   "no IPv6 address",
		"é.example.org":           "no host name",
	} {
		got, err := target.Parse(text)
		if text == "[a]" {
			continue // a host name in brackets is that host
		}
		if err == nil && got.String() != want || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v, want %q", text, got, err, want)
		}
	}
}

func TestList(t *testing.T) {
	l, err := target.ParseList([]string{"www.example.org", "https://shop.example.org", "*.example.net", "mx*.example.com:25", "10.0.0.*", "[2001:db8::1]"})
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{
		"www.example.org": true, "WWW.EXAMPLE.ORG": true, "www.example.org:80": false, "https://www.example.org": false, "x.www.example.org": false,
		"https://shop.example.org": true, "http://shop.example.org": false, "shop.example.org": false,
		"a.example.net": true, "a.b.example.net": false, "example.net": false, "a.example.net.evil.org": false, "a.example.net:22": false,
		"mx1.example.com:25": true, "mx.example.com:25": false, "mx1.example.com": false, "mx1.evil.example.com:25": false,
		"10.0.0.7": true, "10.0.1.7": false, "10.0.0.7.evil.org": false, "localhost": false, "169.254.169.254": false,
		"2001:db8::1": true, "[2001:db8:0::1]": true, "2001:db8::2": false,
	} {
		one, err := target.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := l.Allows(one); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
	for _, text := range []string{"*", "*.*", "*.org", "www.*", "10.*", "a/b", "http://", "*:25"} {
		if l, err := target.ParseList([]string{text}); err == nil {
			t.Errorf("%s is allowed: %v", text, l)
		}
	}
	if (target.List)(nil).Allows(target.Target{Host: "a"}) {
		t.Error("an empty list allows a target")
	}
}

func TestInto(t *testing.T) {
	scenario := func(base string, texts ...string) *features.Scenario {
		s := &features.Scenario{Policy: features.Policy{Base: base}}
		for _, text := range texts {
			s.Steps = append(s.Steps, features.Step{Text: text, Label: text})
		}
		return s
	}
	for _, c := range []struct {
		s      *features.Scenario
		target string
		base   string
		texts  []string
		err    string
	}{
		{scenario("https://www.example.org:8443/app/", "I visit \"/\""), "a.example.org", "https://a.example.org:8443/app/", []string{"I visit \"/\""}, ""},
		{scenario("https://www.example.org/app/"), "a.example.org:81", "https://a.example.org:81/app/", []string{}, ""},
		{scenario("https://www.example.org:8443/"), "http://a.example.org", "http://a.example.org/", []string{}, ""},
		{scenario("", `I go to "https://target.invalid/x?host=target.invalid"`), "a.example.org:81", "", []string{`I go to "https://a.example.org:81/x?host=a.example.org"`}, ""},
		{scenario("", `I go to "https://TARGET.invalid:444/"`), "a.example.org", "", []string{`I go to "https://a.example.org:444/"`}, ""},
		{scenario("", `the port 25 of "target.invalid" is open`), "2001:db8::1", "", []string{`the port 25 of "2001:db8::1" is open`}, ""},
		{scenario("", `"target.invalid:25" greets`), "2001:db8::1", "", []string{`"[2001:db8::1]:25" greets`}, ""},
		{scenario("", `I go to "http://target.invalid"`), "2001:db8::1", "", []string{`I go to "http://[2001:db8::1]"`}, ""},
		{scenario("", `"nottarget.invalid", "target.invalid.org" and target.invalid.`), "a", "", []string{`"nottarget.invalid", "target.invalid.org" and a.`}, ""},
		{scenario("", `I go to "https://www.example.org/"`), "a", "", nil, "no place for a target"},
		{scenario("", `the port 25 of "target.invalid" is open`), "a:26", "", nil, "no place for the port"},
		{scenario("", `I go to "https://target.invalid/"`), "http://a", "", nil, "no place for the scheme"},
	} {
		one, err := target.Parse(c.target)
		if err != nil {
			t.Fatal(err)
		}
		before := *c.s
		got, err := one.Into(c.s)
		if err != nil || c.err != "" {
			if err == nil || c.err == "" || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v, want %q", c.target, err, c.err)
			}
			continue
		}
		texts := []string{}
		for i, step := range got.Steps {
			texts = append(texts, step.Text)
			if step.Label != c.s.Steps[i].Label {
				t.Errorf("%s changes the label of a step to %q", c.target, step.Label)
			}
		}
		if got.Policy.Base != c.base || !reflect.DeepEqual(texts, c.texts) {
			t.Errorf("%s: base %q and %q, want %q and %q", c.target, got.Policy.Base, texts, c.base, c.texts)
		}
		if !reflect.DeepEqual(before, *c.s) {
			t.Errorf("%s changed the scenario itself", c.target)
		}
	}
	s := &features.Scenario{Steps: []features.Step{{Text: "I send", DocString: &features.DocString{Content: "to target.invalid"}, Table: [][]string{{"host", "target.invalid"}}}}}
	got, err := target.Target{Host: "a"}.Into(s)
	if err != nil || got.Steps[0].DocString.Content != "to a" || got.Steps[0].Table[0][1] != "a" || s.Steps[0].Table[0][1] != "target.invalid" || s.Steps[0].DocString.Content != "to target.invalid" {
		t.Errorf("a table and a text: %+v, %v", got, err)
	}
}

func FuzzParse(f *testing.F) {
	l, err := target.ParseList([]string{"*.example.org", "10.0.0.*"})
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{"a.example.org", "10.0.0.1:25", "https://[::1]:1/", "[", "a:", "é", "://"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		one, err := target.Parse(text)
		if err != nil {
			return
		}
		again, err := target.Parse(one.String())
		if err != nil || again != one {
			t.Errorf("%q is %q, and that is %+v, %v", text, one, again, err)
		}
		if l.Allows(one) && !strings.HasSuffix(one.Host, ".example.org") && !strings.HasPrefix(one.Host, "10.0.0.") {
			t.Errorf("%q is allowed", text)
		}
	})
}
