package silence

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/stepwatch/stepwatch/agent/result"
)

func TestMatchers(t *testing.T) {
	id := result.Identity{Feature: "Mail for example.org", Scenario: "Log in at <port>", Example: "port=993", File: "features/mail/access.feature",
		Owner: "mail", Severity: "page", Location: "eu"}
	tags := []string{"@mail", "@every:1m", "@owner:mail"}
	for _, test := range []struct {
		matchers string
		want     bool
	}{
		{`{"all": true}`, true},
		{`{"name": "Log in at <port>"}`, true},
		{`{"name": "Log in at <port> (port=993)"}`, true},
		{`{"name": "Log in at <port> (port=143)"}`, false},
		{`{"name": "Mail for example.org: Log in at <port> (port=993)"}`, true},
		{`{"name": "log in at <port>"}`, false},
		{`{"name": "Log in"}`, false},
		{`{"name": "Log in*"}`, true},
		{`{"name": "*in at*"}`, true},
		{`{"name": "*"}`, true},
		{`{"name": "Log*in*port>"}`, true},
		{`{"name": "Log*Log*"}`, false},
		{`{"name": ["Other", "Log in*"]}`, true},
		{`{"feature": "Mail for example.org"}`, true},
		{`{"feature": "Mail*", "owner": "web"}`, false},
		{`{"feature": "Mail*", "owner": "mail", "severity": "page", "location": "eu"}`, true},
		{`{"location": "us"}`, false},
		{`{"severity": "mail"}`, false},
		{`{"file": "features/mail/access.feature"}`, true},
		{`{"file": "mail/access.feature"}`, true},
		{`{"file": "access.feature"}`, true},
		{`{"file": "ccess.feature"}`, false},
		{`{"file": "mail/*"}`, true},
		{`{"file": "features/web/*"}`, false},
		{`{"tags": "@mail and not @slow"}`, true},
		{`{"tags": "@every"}`, false},
		{`{"tags": "@every:1m"}`, true},
		{`{"tags": "@mail", "owner": "web"}`, false},
	} {
		var m Matchers
		if err := json.Unmarshal([]byte(test.matchers), &m); err != nil {
			t.Errorf("%s: %v", test.matchers, err)
			continue
		}
		c, err := m.compile()
		if err != nil {
			t.Errorf("%s: %v", test.matchers, err)
		} else if got := c.match(&subject{id: &id, tags: tags}); got != test.want {
			t.Errorf("%s: got %v", test.matchers, got)
		}
	}
}

// TestUnsetLabelsMatchNothing holds that a matcher of an owner does not select scenarios without one.
func TestUnsetLabelsMatchNothing(t *testing.T) {
	c, err := Matchers{Owner: Values{"mail"}}.compile()
	if err != nil || c.match(&subject{id: &result.Identity{Scenario: "x"}}) {
		t.Errorf("got a match, %v", err)
	}
}

func TestBadMatchers(t *testing.T) {
	for _, test := range []struct {
		matchers Matchers
		want     string
	}{
		{Matchers{}, "no scenario is selected: set name, feature, owner, severity, location, file or tags, or all for every scenario"},
		{Matchers{All: true, Owner: Values{"mail"}}, "all stands next to other matchers, which would have no effect: remove one or the others"},
		{Matchers{Name: Values{""}}, "name is empty"},
		{Matchers{Name: Values{"ok", "a\nb"}}, "name contains a line break or another control character: write it in one line"},
		{Matchers{Name: Values{"a\u202eb"}}, "name contains a line break or another control character: write it in one line"},
		{Matchers{Owner: Values{"\xff"}}, "owner is not valid UTF-8"},
		{Matchers{File: Values{strings.Repeat("ä", 501)}}, "file has 501 characters, more than 500: shorten it"},
		{Matchers{File: make(Values, 51)}, `file has 51 values, more than 50: use an asterisk ("Mail *"), or a tag expression`},
		{Matchers{Tags: "@mail and"}, `tags has a mistake: tag expression "@mail and": it ends where a tag is expected`},
		{Matchers{Tags: "mail"}, `tags has a mistake: tag expression "mail": "mail" is neither a tag (@name) nor "and", "or" or "not"`},
	} {
		_, err := test.matchers.compile()
		var field *FieldError
		if err == nil || err.Error() != test.want || !errors.As(err, &field) {
			t.Errorf("%+v: got %v, want %s", test.matchers, err, test.want)
		}
	}
}

func TestAcknowledgement(t *testing.T) {
	for _, test := range [][3]string{
		{"alice", "the relay is being replaced", ""},
		{"", "x", "author is empty: say who acknowledges the alert"},
		{"alice", " ", "comment is empty: say what is done about the alert"},
		{"alice\x1b[2J", "x", "author contains a line break or another control character: write it in one line"},
		{"alice", strings.Repeat("x", 1001), "comment has 1001 characters, more than 1000: shorten it"},
	} {
		got := ""
		if err := (&Acknowledgement{Author: test[0], Comment: test[1]}).Check(); err != nil {
			got = err.Error()
		}
		if got != test[2] {
			t.Errorf("%q: got %s", test, got)
		}
	}
}

// FuzzGlob holds that a pattern without an asterisk fits itself alone, and that one made of parts of a text fits the text.
func FuzzGlob(f *testing.F) {
	f.Add("Log in", 1, 3)
	f.Add("a*b**", 0, 2)
	f.Fuzz(func(t *testing.T, text string, from, to int) {
		if from < 0 || to < from || to > len(text) {
			return
		}
		for _, pattern := range []string{text, text[:from] + "*" + text[to:], "*" + text[from:to] + "*", text[:from] + "*" + text[from:to] + "*" + text[to:]} {
			if !Glob(pattern, text) {
				t.Errorf("%q does not fit %q", pattern, text)
			}
		}
		if !strings.Contains(text, "*") && (Glob(text, text+"x") || Glob(text+"*x", text)) {
			t.Errorf("%q fits more than itself", text)
		}
	})
}
