package steps

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"github.com/stepwatch/stepwatch/agent/result"
)

// The sentences about what a visitor sees.

func init() {
	registerWeb(
		Definition{Area: "web", Sentence: "I should see {text}",
			Does:    "Fails unless the page's visible text, that of its frames included, has the text, white space and no-break spaces taken for one space. In a project marked as cucumber-nagios compatible it is a regular expression over the page's source.",
			Example: `Then I should see "Contact us"`, Func: see(true)},
		Definition{Area: "web", Sentence: "I should not see {text}",
			Does:    "Fails when the page's visible text has the text; see `I should see`. In a browser it waits for the text to go. A frame that could not be loaded fails it too, since nobody knows what that would show. What `<object>` and `<embed>` show is read in a browser alone.",
			Example: `Then I should not see "Internal error"`, Func: see(false)},
		Definition{Area: "web", Sentence: "I should see {text} within {duration}", Waits: true,
			Does:     "Fails unless the page's visible text has the text, or gets it within that time. Over HTTP alone a page stays as it is, so it has to be there.",
			Measures: "Time until the text was there.",
			Example:  `Then I should see "Your order is on its way" within 20s`, Func: seeWithin},
		Definition{Area: "web", Sentence: "within {text} I should see {text}",
			Does: "Fails unless a region of the page shows the text. A region is found by its id, a landmark (header, navigation, main, aside, footer, search, dialog), its label, legend, caption or summary, " +
				"or the heading over it; or else by a CSS selector or an XPath (one that begins with / or a parenthesis), all that it selects taken together.",
			Example: `Then within "Opening hours" I should see "Monday"`, Func: seeIn(true)},
		Definition{Area: "web", Sentence: "within {text} I should not see {text}",
			Does:    "Fails when a region of the page shows the text, or there is no such region; see `within {text} I should see {text}`.",
			Example: `Then within "footer" I should not see "Copyright 1999"`, Func: seeIn(false)},
		Definition{Area: "web", Sentence: "I should see an {word} message", Pattern: `^I should see an? (\w+) message$`,
			Does:    "Fails unless the page shows an element of that class.",
			Example: `Then I should see an error message`, Func: seeMessage},
	)
	for _, thing := range []struct {
		kind, by   string
		candidates func(*search, *html.Node) []candidate
	}{
		{"link", "its text, the text of its image, its aria-label or title", (*search).links},
		{"button", "its text, value, the text of its image, its aria-label or title", (*search).buttons},
		{"heading", "its text or aria-label", (*search).headings},
		{"image", "its alternative text, aria-label or title, or the name of its file; one that a browser could not load does not count", (*search).images},
	} {
		registerWeb(
			Definition{Area: "web", Sentence: "I should see the " + thing.kind + " {text}",
				Does:    "Fails unless the page shows such a " + thing.kind + ", known by " + thing.by + ". A part of the text will do, in any case of letters.",
				Example: `Then I should see the ` + thing.kind + ` "Contact"`, Func: seeThing(thing.kind, thing.candidates, true)},
			Definition{Area: "web", Sentence: "I should not see the " + thing.kind + " {text}",
				Does:    "Fails when the page shows such a " + thing.kind + "; see `I should see the " + thing.kind + "`.",
				Example: `Then I should not see the ` + thing.kind + ` "Contact"`, Func: seeThing(thing.kind, thing.candidates, false)},
		)
	}
	registerWeb(
		Definition{Area: "web", Sentence: "the title should be {text}",
			Does:    "Fails unless the page's title is exactly that, white space aside.",
			Example: `Then the title should be "Contact – Example Ltd."`, Func: titleShould("be", func(title, text string) bool { return title == text })},
		Definition{Area: "web", Sentence: "the title should contain {text}",
			Does:    "Fails unless the page's title has the text.",
			Example: `Then the title should contain "Contact"`, Func: titleShould("contain", strings.Contains)},
		Definition{Area: "web", Sentence: "there should be {int} elements {text}", Pattern: `^there should be (\d+) elements? "(.*)"$`,
			Does:     "Fails unless the page shows exactly that many elements that a CSS selector selects, or an XPath (1.0), which is told by the / or the parenthesis that it begins with.",
			Measures: "Measurement http_elements.",
			Example:  `Then there should be 3 elements "ul.news > li"`, Func: countElements("", func(n, wanted int) bool { return n == wanted })},
		Definition{Area: "web", Sentence: "there should be at least {int} elements {text}", Pattern: `^there should be at least (\d+) elements? "(.*)"$`,
			Does:     "Fails unless the page shows that many elements, or more, that a CSS selector or an XPath selects.",
			Measures: "Measurement http_elements.",
			Example:  `Then there should be at least 10 elements ".product"`, Func: countElements("at least ", func(n, wanted int) bool { return n >= wanted })},
		Definition{Area: "web", Sentence: "the table {text} should have the rows:",
			Does: "Fails unless a table of the page has each row of the table beneath, in any order and among others. The first row beneath names the columns that count. " +
				"The page's table is found by its id, caption, label or the heading over it, or else by a CSS selector or an XPath; its header is the last row of thead or else its first row.",
			Example: "Then the table \"Prices\" should have the rows:\n  | Article | Price |\n  | Tea | 3.20 |", Func: tableShould("have the rows", (*search).haveRows)},
		Definition{Area: "web", Sentence: "the table {text} should have exactly the rows:",
			Does:    "Fails unless a table of the page has the rows of the table beneath, in this order and no others; see `the table {text} should have the rows:`.",
			Example: "Then the table \"Prices\" should have exactly the rows:\n  | Article |\n  | Tea |\n  | Coffee |", Func: tableShould("have exactly the rows", (*search).beRows)},
		Definition{Area: "web", Sentence: "the table {text} should have {int} rows", Pattern: `^the table "(.*)" should have (\d+) rows?$`,
			Does:     "Fails unless a table of the page has that many rows, its header not counted.",
			Measures: "Measurement http_table_rows.",
			Example:  `Then the table "Prices" should have 12 rows`, Func: tableRows},
	)
}

func see(wanted bool) func(context.Context, *World, Args) error {
	return func(ctx context.Context, w *World, a Args) error {
		if err := noOtherSentence(w, a.Text(0)); err != nil {
			return err
		}
		return looking(ctx, w, wanted, func(_ webEngine, p *page) error {
			if SettingsOf[Web](w.target).CucumberNagios {
				return seePattern(p, a.Text(0), wanted)
			}
			return seeText(p, a.Text(0), wanted)
		})
	}
}

// noOtherSentence refuses a text that a scenario's author cannot have meant: a text may hold quotes, so what other programs
// write for a region would be looked for as it stands, and never be seen.
func noOtherSentence(w *World, text string) error {
	if before, region, found := strings.Cut(text, `" within "`); found && !SettingsOf[Web](w.target).CucumberNagios {
		return scenarioFault("see %q within %q: write it as `within %q I should see %q`", before, region, region, before)
	}
	return nil
}

func seeWithin(ctx context.Context, w *World, a Args) error {
	limit, err := a.Duration(1)
	if err != nil {
		return err
	}
	return eventuallyWithin(ctx, w, limit, func(_ webEngine, p *page) error {
		if SettingsOf[Web](w.target).CucumberNagios {
			return seePattern(p, a.Text(0), true)
		}
		return seeText(p, a.Text(0), true)
	})
}

// searching looks at something that the page has under a name.
func searching(ctx context.Context, w *World, wanted bool, act, name string, judge func(*search, *html.Node) error) error {
	return looking(ctx, w, wanted, func(_ webEngine, p *page) error {
		doc, err := p.tree()
		if err != nil {
			return err
		}
		return judge(&search{ctx: ctx, page: p, act: act, name: name, lax: SettingsOf[Web](w.target).CucumberNagios, judged: true}, doc)
	})
}

func seeIn(wanted bool) func(context.Context, *World, Args) error {
	return func(ctx context.Context, w *World, a Args) error {
		name := normalText(a.Text(1))
		if name == "" {
			return scenarioFault("see %q: the text is empty", a.Text(1))
		}
		act := fmt.Sprintf("see %q within %q", a.Text(1), a.Text(0))
		if !wanted {
			act = "not " + act
		}
		return searching(ctx, w, wanted, act, a.Text(0), func(s *search, doc *html.Node) error {
			r, err := s.findRegion(doc)
			if err != nil {
				return err
			}
			text := r.text()
			at := bytes.Index(text, []byte(name))
			if at < 0 {
				shown, err := s.page.drawn(r)
				if err != nil {
					return err
				}
				if at = bytes.Index(shown, []byte(name)); at >= 0 {
					text = shown
				}
			}
			switch {
			case at < 0 && !wanted:
				return s.page.whole(act, r.nodes...)
			case at >= 0 && wanted:
				return nil
			case !wanted:
				return s.failure(result.ReasonUnexpected, result.BlameWeb, "the region shows it: %s", quoteAround(text, at, len(name)))
			case len(text) == 0:
				return s.failure(result.ReasonUnexpected, result.BlameWeb, "the region shows no text at all")
			}
			return s.failure(result.ReasonUnexpected, result.BlameWeb, "the region does not show it; it begins %s%s", quote(string(text[:min(len(text), 240)])), s.page.without())
		})
	}
}

func seeThing(kind string, candidates func(*search, *html.Node) []candidate, wanted bool) func(context.Context, *World, Args) error {
	act := "see the " + kind
	if !wanted {
		act = "not " + act
	}
	return func(ctx context.Context, w *World, a Args) error {
		return searching(ctx, w, wanted, fmt.Sprintf("%s %q", act, a.Text(0)), a.Text(0), func(s *search, doc *html.Node) error {
			s.kind, s.byText = kind, true
			if err := s.seen(candidates(s, doc), wanted); err != nil || wanted {
				return err
			}
			return s.page.whole(s.act)
		})
	}
}

func titleShould(verb string, fits func(title, text string) bool) func(context.Context, *World, Args) error {
	return func(ctx context.Context, w *World, a Args) error {
		return searching(ctx, w, true, fmt.Sprintf("expect the title to %s %q", verb, a.Text(0)), "", func(s *search, doc *html.Node) error {
			switch title, found := titleOf(doc); {
			case !found:
				return s.failure(result.ReasonUnexpected, result.BlameWeb, "the page has no title")
			case !fits(title, normalText(a.Text(0))):
				return s.failure(result.ReasonUnexpected, result.BlameWeb, "it is %s", quote(title))
			}
			return nil
		})
	}
}

// titleOf is the title of a page, and whether it has one.
func titleOf(doc *html.Node) (string, bool) {
	for n := range own(doc) {
		if n.DataAtom == atom.Title && n.Namespace == "" {
			return normalText(textareaValue(n)), true
		}
	}
	return "", false
}

func countElements(bound string, fits func(n, wanted int) bool) func(context.Context, *World, Args) error {
	return func(ctx context.Context, w *World, a Args) error {
		wanted, err := a.Int(0)
		if err != nil {
			return err
		}
		count := -1
		err = searching(ctx, w, false, fmt.Sprintf("expect %s%d elements %q", bound, wanted, a.Text(1)), a.Text(1), func(s *search, doc *html.Node) error {
			shown, hidden, err := s.elements(doc)
			if err != nil {
				return err
			}
			count = len(shown)
			if fits(count, wanted) {
				if bound != "" {
					return nil // there are enough of them already
				}
				return s.page.whole(s.act)
			}
			more := ""
			if hidden > 0 {
				more = fmt.Sprintf(", and %d that are hidden", hidden)
			}
			return s.failure(result.ReasonUnexpected, result.BlameWeb, "the page has %d%s%s", count, more, s.page.without())
		})
		if count >= 0 {
			w.Measure("http_elements", "Elements of the page that a CSS selector or an XPath selects.", float64(count))
		}
		return err
	}
}

func tableShould(verb string, judge func(*search, *grid, [][]string) error) func(context.Context, *World, Args) error {
	return func(ctx context.Context, w *World, a Args) error {
		if len(a.Table) == 0 || verb == "have the rows" && len(a.Table) < 2 {
			return scenarioFault("the step needs a table: the columns' names in its first row, and the wanted rows beneath")
		}
		return searching(ctx, w, false, fmt.Sprintf("expect the table %q to %s", a.Text(0), verb), a.Text(0), func(s *search, doc *html.Node) error {
			table, err := s.findTable(doc)
			if err != nil {
				return err
			}
			if err := judge(s, gridOf(table), a.Table); err != nil {
				return err
			}
			return s.page.whole(s.act, table)
		})
	}
}

func tableRows(ctx context.Context, w *World, a Args) error {
	wanted, err := a.Int(1)
	if err != nil {
		return err
	}
	count := -1
	err = searching(ctx, w, false, fmt.Sprintf("expect the table %q to have %d rows", a.Text(0), wanted), a.Text(0), func(s *search, doc *html.Node) error {
		table, err := s.findTable(doc)
		if err != nil {
			return err
		}
		if count = len(gridOf(table).rows); count == wanted {
			return s.page.whole(s.act, table)
		}
		return s.failure(result.ReasonUnexpected, result.BlameWeb, "it has %d", count)
	})
	if count >= 0 {
		w.Measure("http_table_rows", "Rows of a table of the page, its header not counted.", float64(count))
	}
	return err
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
	case at < 0 && !wanted:
		return p.whole(fmt.Sprintf("not see %q", text))
	case at >= 0 && wanted:
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
	return Fail(result.ReasonUnexpected, result.BlameWeb, "see %q on %s: %s%s", text, p, why, p.without())
}

// quoteAround quotes a place in a text with a little before and after it.
func quoteAround(text []byte, at, length int) string {
	from, to := max(0, at-20), min(len(text), at+length+20)
	return fmt.Sprintf("%q", "…"+strings.ToValidUTF8(string(text[from:to]), "")+"…")
}

// seePattern is the old meaning: a regular expression of Ruby over the source. There "." matches newlines (the old steps
// asked for that) and "^" and "$" match at every line.
func seePattern(p *page, pattern string, wanted bool) error {
	re, err := CompileRuby(pattern)
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
