package cmd

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestCheckLabels holds which labels the arguments of check ask for. Adding a scenario or a row changes no label.
func TestCheckLabels(t *testing.T) {
	site := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer site.Close()
	file := filepath.Join(t.TempDir(), "site.feature")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(strings.ReplaceAll(text, "SITE", site.URL)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	labels := func(arguments ...string) []string {
		var out bytes.Buffer
		dispatch(t.Context(), &terminal{out: &out, err: &out}, append([]string{"check"}, arguments...))
		var all []string
		for _, m := range regexp.MustCompile(`'([^']+)'=`).FindAllStringSubmatch(out.String(), -1) {
			all = append(all, strings.ReplaceAll(m[1], site.URL, "SITE"))
		}
		return all
	}
	const text = `Feature: Site
  Scenario: Home
    When I go to "SITE/"
    Then the response status should be 200
  Scenario Outline: Page <name>
    When I go to "SITE/<name>"
    Examples:
      | name |
      | a    |
`
	write(text)
	whole := []string{`Site/Home/I go to "SITE/"`, `Site/Home/the response status should be 200`, `Site/Page <name> (name:a)/I go to "SITE/<name>"`}
	rows := append(slices.Clone(whole), `Site/Page <name> (name:b)/I go to "SITE/<name>"`)
	for _, c := range []struct {
		args string
		want []string
		more []string // after a row and a scenario were added
	}{
		{"", whole, append(slices.Clone(rows), `Site/Other/I go to "SITE/"`)},
		{":1", whole, append(slices.Clone(rows), `Site/Other/I go to "SITE/"`)},
		{":2", []string{`I go to "SITE/"`, "the response status should be 200"}, nil},
		{":3", []string{`I go to "SITE/"`, "the response status should be 200"}, nil},
		{":5", whole[2:], rows[2:]},
		{":9", []string{`I go to "SITE/<name>"`}, nil},
	} {
		write(text)
		if got := labels(file + c.args); !slices.Equal(got, c.want) {
			t.Errorf("check FILE%s: labels %q, want %q", c.args, got, c.want)
		}
		write(text + "      | b    |\n  Scenario: Other\n    When I go to \"SITE/\"\n")
		want := c.more
		if want == nil {
			want = c.want
		}
		if got := labels(file + c.args); !slices.Equal(got, want) {
			t.Errorf("check FILE%s with more in the file: labels %q, want %q", c.args, got, want)
		}
	}
}
