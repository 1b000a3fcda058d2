package cmd

import (
	"bytes"
	"encoding/json"
	"github.com/stepwatch/stepwatch/steps/builtin"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestCatalogueForPrograms holds the names that docs/authoring.md promises, and that no sentence is missing.
func TestCatalogueForPrograms(t *testing.T) {
	t.Chdir(t.TempDir())
	var out, errOut bytes.Buffer
	if code := stepsVerb(t.Context(), &terminal{out: &out, err: &errOut}, []string{"--format", "json"}); code != exitPassed {
		t.Fatal(code, errOut.String())
	}
	var all []map[string]any
	if err := json.Unmarshal(out.Bytes(), &all); err != nil {
		t.Fatal(err)
	}
	known := []string{"area", "sentence", "parameters", "table", "doc_string", "waits", "also", "does", "measures", "example", "file", "line"}
	entries := map[any]map[string]any{}
	for _, entry := range all {
		for name := range entry {
			if !slices.Contains(known, name) {
				t.Errorf("%v has %q, which is not described", entry["sentence"], name)
			}
		}
		for _, name := range []string{"area", "sentence", "does", "example"} {
			if entry[name] == nil {
				t.Errorf("%v has no %q", entry["sentence"], name)
			}
		}
		entries[entry["sentence"]] = entry
	}
	for _, d := range builtin.Library().Definitions() {
		if entries[d.Sentence] == nil {
			t.Errorf("%q is missing", d.Sentence)
		}
	}
	mail, err := json.Marshal(entries["I send a message from {account} to {account} via {port}"]["parameters"])
	if err != nil || string(mail) != `["account","account","port"]` {
		t.Errorf("parameters %s, %v", mail, err)
	}
	if table := entries["the redirects should be:"]["table"]; table != "required" {
		t.Errorf("table is %v", table)
	}
	if waits := entries["{account} receives it over IMAP within {duration}"]["waits"]; waits != true {
		t.Errorf("waits is %v", waits)
	}
}

// TestCatalogueOrder checks that mail comes first, cucumber-nagios after all other built-in areas and own areas last, in
// each format, and that the page has a table of contents and a legend.
func TestCatalogueOrder(t *testing.T) {
	t.Chdir(t.TempDir())
	const feature = "@step\nFeature: All about us\n  Scenario: I call on \"<page>\"\n    When I go to \"https://www.example.org/<page>\"\n"
	if err := os.WriteFile("x.feature", []byte(feature), 0o600); err != nil {
		t.Fatal(err)
	}
	list := func(format string) string {
		var out, errOut bytes.Buffer
		if code := stepsVerb(t.Context(), &terminal{out: &out, err: &errOut}, []string{"--features", "x.feature", "--format", format}); code != exitPassed {
			t.Fatal(code, errOut.String())
		}
		return out.String()
	}
	for format, wanted := range map[string][]string{
		"text": {"MAIL\n", "\nWEB\n", "\nTLS\n", "\nCUCUMBER-NAGIOS\n", "\nALL ABOUT US\n"},
		"json": {`"area": "mail"`, `"area": "web"`, `"area": "tls"`, `"area": "cucumber-nagios"`, `"area": "All about us"`},
		"markdown": {"| [Mail](#mail) | ", "| [Certificates and TLS](#certificates-and-tls) | ", "| [All about us](#all-about-us) | 1 |\n",
			"\n## Placeholders\n", "| `{duration}` | a duration: ", "| `{family}` | an address family: IPv4 or IPv6 | `IPv4\\|IPv6` | `IPv4` |\n",
			"\n## Mail\n", "\n## Web\n", "\n## Certificates and TLS\n", "\n## cucumber-nagios\n", "\n## All about us\n"},
	} {
		rest := list(format)
		for _, text := range wanted {
			_, after, found := strings.Cut(rest, text)
			if !found {
				t.Errorf("%s: %q is missing, or is not in this order", format, text)
				break
			}
			rest = after
		}
	}
}

// TestCatalogueAsText holds that what stands beneath an example keeps its place there.
func TestCatalogueAsText(t *testing.T) {
	t.Chdir(t.TempDir())
	var out, errOut bytes.Buffer
	if code := stepsVerb(t.Context(), &terminal{out: &out, err: &errOut}, []string{"redirects should be"}); code != exitPassed {
		t.Fatal(code, errOut.String())
	}
	const want = "      Example: Then the redirects should be:\n        | status | location |\n"
	if !strings.Contains(out.String(), want) {
		t.Errorf("no\n%sin\n%s", want, out.String())
	}
}

// TestCatalogueOfOwnSentences holds how sentences of one's own look in Markdown, which takes what stands in angle brackets for HTML.
func TestCatalogueOfOwnSentences(t *testing.T) {
	t.Chdir(t.TempDir())
	const feature = "@step\nFeature: über uns\n  Scenario: I call on \"<page>\"\n    As guests do\n    When I go to \"https://www.example.org/<page>\"\n    And I run `echo <page>`\n"
	if err := os.WriteFile("x.feature", []byte(feature), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errOut bytes.Buffer
	if code := stepsVerb(t.Context(), &terminal{out: &out, err: &errOut}, []string{"--features", "x.feature", "--format", "markdown", "über"}); code != exitPassed || errOut.Len() > 0 {
		t.Fatal(code, errOut.String())
	}
	want := "\n## Über uns\n\n### `I call on \"<page>\"`\n\nAs guests do. Steps: `I go to \"https://www.example.org/<page>\"`; `` I run `echo <page>` ``.\n\n" +
		"```gherkin\nWhen I call on \"page\"\n```\n\nDefined in `x.feature`, line 3.\n"
	if !strings.HasSuffix(out.String(), want) {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}
