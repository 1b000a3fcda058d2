package steps

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/net/html"

	"github.com/stepwatch/stepwatch/agent/result"
)

// The sentences about what a visitor sees.

func init() {
	registerWeb(
		Definition{Area: "web", Sentence: "I should see {text}",
			Does:    "Fails unless the page's visible text has the text, white space and no-break spaces taken for one space. In a project marked as cucumber-nagios compatible it is a regular expression over the page's source.",
			Example: `Then I should see "Contact us"`, Func: see(true)},
		Definition{Area: "web", Sentence: "I should not see {text}",
			Does:    "Fails when the page's visible text has the text; see `I should see`.",
			Example: `Then I should not see "Internal error"`, Func: see(false)},
		Definition{Area: "web", Sentence: "I should see an {word} message", Pattern: `^I should see an? (\w+) message$`,
			Does:    "Fails unless the page shows an element of that class.",
			Example: `Then I should see an error message`, Func: seeMessage},
	)
}

func see(wanted bool) func(context.Context, *World, Args) error {
	return func(ctx context.Context, w *World, a Args) error {
		return eventually(ctx, w, func(_ webEngine, p *page) error {
			if w.target.CucumberNagios {
				return seePattern(p, a.Text(0), wanted)
			}
			return seeText(p, a.Text(0), wanted)
		})
	}
}

func seeText(p *page, text string, wanted bool) error {
	name := normalText(text)
	if name == "" {
		return scenarioFault("see %q: the text is empty", text)
	}
	visible, err := p.visibleText()
	if err != nil {
		return err
	}
	at := bytes.Index(visible, []byte(name))
	if at < 0 && p.live != nil {
		at = p.transformed(visible, name)
	}
	switch {
	case at >= 0 == wanted:
		return nil
	case !wanted:
		return Fail(result.ReasonUnexpected, result.BlameWeb, "not see %q on %s: the page shows it: %s", text, p, quoteAround(visible, at, len(name)))
	}
	why := "the page does not show it"
	switch folded := bytes.Index(bytes.ToLower(visible), bytes.ToLower([]byte(name))); {
	case folded >= 0 && folded+len(name) <= len(visible) && strings.EqualFold(string(visible[folded:folded+len(name)]), name):
		why = "the page shows it in other letters: " + quote(string(visible[folded:folded+len(name)]))
	case bytes.Contains(p.text(), []byte(text)), bytes.Contains(p.text(), []byte(html.EscapeString(text))):
		why = "only the page's source holds it, it is not visible"
	case len(visible) == 0:
		why = "the page shows no text at all"
	default:
		why += "; it begins " + quote(string(visible[:min(len(visible), 240)]))
	}
	return Fail(result.ReasonUnexpected, result.BlameWeb, "see %q on %s: %s", text, p, why)
}

// quoteAround quotes a place in a text with a little before and after it.
func quoteAround(text []byte, at, length int) string {
	from, to := max(0, at-20), min(len(text), at+length+20)
	return fmt.Sprintf("%q", "…"+strings.ToValidUTF8(string(text[from:to]), "")+"…")
}

// seePattern is the old meaning: a regular expression of Ruby over the source. There "." matches newlines (the old steps
// asked for that) and "^" and "$" match at every line.
func seePattern(p *page, pattern string, wanted bool) error {
	re, err := compileRuby(pattern)
	if err != nil {
		return err
	}
	switch matched := re.Match(p.text()); {
	case matched == wanted:
		return nil
	case wanted:
		return Fail(result.ReasonUnexpected, result.BlameWeb, "see %q on %s: the regular expression does not match the page's source", pattern, p)
	default:
		return Fail(result.ReasonUnexpected, result.BlameWeb, "not see %q on %s: the regular expression matches the page's source", pattern, p)
	}
}

func compileRuby(pattern string) (*regexp.Regexp, error) {
	re, err := regexp.Compile("(?sm)" + pattern)
	if err != nil {
		return nil, scenarioFault("%q is no regular expression that can be used (RE2 syntax): %w", pattern, err)
	}
	return re, nil
}

func seeMessage(ctx context.Context, w *World, a Args) error {
	choose := func(f *search, doc *html.Node) (*html.Node, error) {
		hiddenOne := false
		for n := range doc.Descendants() {
			classes, _ := attribute(n, "class")
			if !slices.Contains(strings.Fields(classes), f.name) {
				continue
			}
			if f.lax || !isHidden(n) {
				return n, nil
			}
			hiddenOne = true
		}
		if hiddenOne {
			return nil, f.failure(result.ReasonUnexpected, result.BlameWeb, "the element of that class is hidden")
		}
		return nil, f.failure(result.ReasonUnexpected, result.BlameWeb, "the page has no element of that class")
	}
	return acting(ctx, w, "see a message of class", a.Text(0), choose, func(webEngine, *search, *html.Node) error { return nil })
}
