package overlap

import "testing"

func TestOverlapIsFound(t *testing.T) {
	for _, c := range []struct {
		a, b string
		both bool
	}{
		{`^I see "(.*)"$`, `^I see "(.*)" twice$`, false},
		{`^I see "(.*)"$`, `^I see "(.*)" twice "(.*)"$`, false},
		{`^I see "(.*)"$`, `^I see "?(\S+)"?$`, true},
		{`^I see "(.*)" twice$`, `^I see "(.*)" (\w+)$`, true},
		{`^I wait(?: for (\d+) s)?$`, `^I wait$`, true},
		{`^I wait (\d+) ?s$`, `^I wait (\d+) seconds$`, false},
		{`ends so$`, `^begins so`, true},
	} {
		if text, both := Find(compile(t, c.a), compile(t, c.b)); both != c.both {
			t.Errorf("%s and %s: both match %q: %v", c.a, c.b, text, both)
		}
	}
}

func compile(t *testing.T, pattern string) Program {
	t.Helper()
	p, err := Compile(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
