package steps

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestTypesOfPlaceholders holds that each type has a sample that it takes, and stands in docs/own-sentences.md.
func TestTypesOfPlaceholders(t *testing.T) {
	page, err := os.ReadFile("../docs/own-sentences.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range placeholderTypes() {
		if k := kinds[kind]; !regexp.MustCompile("^(?:" + k.group(false) + ")$").MatchString(k.Sample) {
			t.Errorf("the sample %q of {%s} does not match %s", k.Sample, kind, k.group(false))
		}
		if !strings.Contains(string(page), "`"+kind+"`") {
			t.Errorf("docs/own-sentences.md does not name the type %q", kind)
		}
	}
}
