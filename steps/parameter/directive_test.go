package parameter

import (
	"testing"
	"time"
)

func TestDirectives(t *testing.T) {
	for _, c := range []struct {
		fields []string
		want   string
	}{
		{[]string{"no-store"}, " no-store=<>"},
		{[]string{"Max-Age=60 , PUBLIC", "s-maxage=\"5\""}, " max-age=<60> public=<> s-maxage=<5>"},
		{[]string{`private="set-cookie, no-store", max-age=1`}, " max-age=<1> private=<set-cookie, no-store>"},
		{[]string{"max-age=1, max-age=2,, ,"}, " max-age=<1>"},
		{nil, ""},
	} {
		if got := shown("", Directives(c.fields)); got != c.want {
			t.Errorf("%q is %s, wanted %s", c.fields, got, c.want)
		}
	}
}

func TestSeconds(t *testing.T) {
	for text, want := range map[string]time.Duration{"0": 0, "60": time.Minute, "99999999999999999999": 1 << 31 * time.Second, "": -1, "-1": -1, "+1": -1, "1.5": -1, "1 ": -1, "one": -1} {
		if got, valid := Seconds(text); valid != (want >= 0) || valid && got != want {
			t.Errorf("%q is %v, %t, wanted %v", text, got, valid, want)
		}
	}
}

func TestStrictTransport(t *testing.T) {
	for field, want := range map[string]string{
		"max-age=60": "1m0s", "max-age=\"60\"; includeSubDomains": "1m0s", " ; MAX-AGE = 60 ;preload;": "1m0s", "includeSubDomains; max-age=0": "0s",
		"includeSubDomains":        "it has no max-age (RFC 6797 section 6.1.1)",
		"max-age=forever":          `its max-age is "forever", which is not a number of seconds (RFC 6797 section 6.1.1)`,
		"max-age=60; max-age=120":  "the directive max-age is there twice (RFC 6797 section 6.1)",
		"max-age=60, max-age=120":  `its max-age is "60, max-age=120", which is not a number of seconds (RFC 6797 section 6.1.1)`,
		"include subs; max-age=60": `"include subs" is not the name of a directive (RFC 6797 section 6.1)`,
	} {
		got, err := StrictTransport([]string{field, "max-age=1"})
		text := got.String()
		if err != nil {
			text = err.Error()
		}
		if text != want {
			t.Errorf("%q is %s, wanted %s", field, text, want)
		}
	}
}

func FuzzDirectives(f *testing.F) {
	f.Add(`private="a, b", max-age=60; x="y`)
	f.Fuzz(func(t *testing.T, field string) {
		for name := range Directives([]string{field}) {
			if name == "" {
				t.Errorf("%q has a directive without a name", field)
			}
		}
		if age, err := StrictTransport([]string{field}); err == nil && age < 0 {
			t.Errorf("%q lasts %v", field, age)
		}
	})
}
