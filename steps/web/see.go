package web

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/httpwire"
	"github.com/stepwatch/stepwatch/steps/pagetree"
	"github.com/stepwatch/stepwatch/steps/wording"
)

// The sentences about the visible content of a page.

func init() {
	registerWeb(
		steps.Definition{Area: "web", Sentence: "I should see {text}",
			Does:    "Fails unless the page's visible text, frames included, contains the text. White space and no-break spaces count as one space. Text that is transparent, clipped, scaled or folded to nothing, or far left of the page is not visible; in doubt it is, as below the fold or while it is animated. In a project marked as cucumber-nagios compatible, the text is a regular expression over the page's source.",
			Example: `Then I should see "Contact us"`, Func: see(true)},
		steps.Definition{Area: "web", Sentence: "I should not see {text}",
			Does:    "Fails when the page's visible text contains the text; see `I should see`. In a browser, waits for the text to disappear." + atRest + " Fails when a frame cannot be loaded, because its text is unknown. The content of `<object>` and `<embed>` is read only in a browser.",
			Example: `Then I should not see "Internal error"`, Func: see(false)},
		steps.Definition{Area: "web", Sentence: "I should see {text} within {duration}", Waits: true,
			Does:     "Fails unless the page's visible text contains the text within this time. Over HTTP alone a page does not change, so the text must be there at once.",
			Measures: "Time until the text appeared.",
			Example:  `Then I should see "Your order is on its way" within 20s`, Func: seeWithin},
		steps.Definition{Area: "web", Sentence: "within {text} I should see {text}",
			Does: "Fails unless a region of the page shows the text. The region is found by its id, a landmark (header, navigation, main, aside, footer, search, dialog), its label, legend, caption or summary, " +
				"or the heading above it; otherwise by a CSS selector or an XPath (which begins with / or a parenthesis), and is everything that this selects.",
			Example: `Then within "Opening hours" I should see "Monday"`, Func: seeIn(true)},
		steps.Definition{Area: "web", Sentence: "within {text} I should not see {text}",
			Does:    "Fails when a region of the page shows the text, or there is no such region; see `within {text} I should see {text}`." + atRest,
			Example: `Then within "footer" I should not see "Copyright 1999"`, Func: seeIn(false)},
		steps.Definition{Area: "web", Sentence: "I should see an {word} message", Pattern: `^I should see an? (\w+) message$`,
			Does:    "Fails unless the page shows an element of this class.",
			Example: `Then I should see an error message`, Func: seeMessage},
	)
	for _, thing := range []struct {
		kind, by   string
		candidates func(*search, *html.Node) []candidate
	}{
		{"link", "its text, the text of its image, its aria-label or title", (*search).links},
		{"button", "its text, value, the text of its image, its aria-label or title", (*search).buttons},
		{"heading", "its text or aria-label", (*search).headings},
		{"image", "its alternative text, aria-label or title, or its file name; an image that a browser could not load, or has not loaded yet, does not count", (*search).images},
	} {
		registerWeb(
			steps.Definition{Area: "web", Sentence: "I should see the " + thing.kind + " {text}",
				Does:    "Fails unless the page shows a " + thing.kind + " with this text: " + thing.by + ". A part of the text is enough, ignoring case.",
				Example: `Then I should see the ` + thing.kind + ` "Contact"`, Func: seeThing(thing.kind, thing.candidates, true)},
			steps.Definition{Area: "web", Sentence: "I should not see the " + thing.kind + " {text}",
				Does:    "Fails when the page shows a " + thing.kind + " with this text; see `I should see the " + thing.kind + "`." + atRest,
				Example: `Then I should not see the ` + thing.kind + ` "Contact"`, Func: seeThing(thing.kind, thing.candidates, false)},
		)
	}
	registerWeb(
		steps.Definition{Area: "web", Sentence: "the title should be {text}",
			Does:    "Fails unless the page's title is exactly this, ignoring white space.",
			Example: `Then the title should be "Contact – Example Ltd."`, Func: titleShould("be", func(title, text string) bool { return title == text })},
		steps.Definition{Area: "web", Sentence: "the title should contain {text}",
			Does:    "Fails unless the page's title contains the text.",
			Example: `Then the title should contain "Contact"`, Func: titleShould("contain", strings.Contains)},
		steps.Definition{Area: "web", Sentence: "there should be {int} elements {text}", Pattern: `^there should be (\d+) elements? {text}$`,
			Does:     "Fails unless the page shows exactly this many elements that a CSS selector or an XPath (1.0) selects. An XPath begins with / or a parenthesis." + atRest,
			Measures: "Measurement http_elements.",
			Example:  `Then there should be 3 elements "ul.news > li"`, Func: countElements("", func(n, wanted int) bool { return n == wanted })},
		steps.Definition{Area: "web", Sentence: "there should be at least {int} elements {text}", Pattern: `^there should be at least (\d+) elements? {text}$`,
			Does:     "Fails unless the page shows at least this many elements that a CSS selector or an XPath selects.",
			Measures: "Measurement http_elements.",
			Example:  `Then there should be at least 10 elements ".product"`, Func: countElements("at least ", func(n, wanted int) bool { return n >= wanted })},
		steps.Definition{Area: "web", Sentence: "the table {text} should have the rows:",
			Does: "Fails unless a table of the page has each row of the table below, in any order, possibly among others. The first row below names the columns to compare. " +
				"The page's table is found by its id, caption, label or the heading above it, otherwise by a CSS selector or an XPath. Its header is the last row of thead, or its first row.",
			Example: "Then the table \"Prices\" should have the rows:\n  | Article | Price |\n  | Tea | 3.20 |", Func: tableShould("have the rows", (*search).haveRows)},
		steps.Definition{Area: "web", Sentence: "the table {text} should have exactly the rows:",
			Does:    "Fails unless a table of the page has exactly the rows of the table below, in this order; see `the table {text} should have the rows:`." + atRest,
			Example: "Then the table \"Prices\" should have exactly the rows:\n  | Article |\n  | Tea |\n  | Coffee |", Func: tableShould("have exactly the rows", (*search).beRows)},
		steps.Definition{Area: "web", Sentence: "the table {text} should have {int} rows", Pattern: `^the table {text} should have (\d+) rows?$`,
			Does:     "Fails unless a table of the page has this many rows, without its header." + atRest,
			Measures: "Measurement http_table_rows.",
			Example:  `Then the table "Prices" should have 12 rows`, Func: tableRows},
	)
}

func see(wanted bool) func(context.Context, *steps.World, steps.Args) error {
	return func(ctx context.Context, w *steps.World, a steps.Args) error {
		return looking(ctx, w, wanted, func(_ webEngine, p *page) error {
			if steps.SettingsOf[httpwire.Web](w.Target()).CucumberNagios {
				return seePattern(p, a.Text(0), wanted)
			}
			return seeText(p, a.Text(0), wanted)
		})
	}
}

func seeWithin(ctx context.Context, w *steps.World, a steps.Args) error {
	limit, err := a.Duration(1)
	if err != nil {
		return err
	}
	return eventuallyWithin(ctx, w, limit, func(_ webEngine, p *page) error {
		if steps.SettingsOf[httpwire.Web](w.Target()).CucumberNagios {
			return seePattern(p, a.Text(0), true)
		}
		return seeText(p, a.Text(0), true)
	})
}

// searching judges something on the page that has a name.
func searching(ctx context.Context, w *steps.World, wanted bool, act, name string, judge func(*search, *html.Node) error) error {
	return looking(ctx, w, wanted, func(_ webEngine, p *page) error {
		doc, err := p.tree()
		if err != nil {
			return err
		}
		return judge(&search{ctx: ctx, page: p, act: act, name: name, lax: steps.SettingsOf[httpwire.Web](w.Target()).CucumberNagios, judged: true}, doc)
	})
}

func seeIn(wanted bool) func(context.Context, *steps.World, steps.Args) error {
	return func(ctx context.Context, w *steps.World, a steps.Args) error {
		name := pagetree.Normal(a.Text(1))
		if name == "" {
			return steps.FailScenario("see %q: the text is empty", a.Text(1))
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
			text := r.text(false)
			at := bytes.Index(text, []byte(name))
			if at < 0 {
				shown, err := s.page.drawn(r)
				if err != nil {
					return err
				}
				if s.page.live != nil && s.page.live.generated {
					shown = append(append(shown, ' '), r.text(true)...)
				}
				// The browser's own text also has what is out of sight.
				if found := bytes.Index(shown, []byte(name)); found >= 0 {
					hides := false
					if s.page.live != nil && !containsFold(text, []byte(name)) && !containsFold(r.text(true), []byte(name)) {
						if hides, err = s.page.live.hides(name); err != nil {
							return err
						}
					}
					if !hides {
						at, text = found, shown
					}
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
			return s.failure(result.ReasonUnexpected, result.BlameWeb, "the region does not show it; it begins with %s%s", wording.Quote(string(text[:min(len(text), 240)])), s.page.without())
		})
	}
}

func seeThing(kind string, candidates func(*search, *html.Node) []candidate, wanted bool) func(context.Context, *steps.World, steps.Args) error {
	act := "see the " + kind
	if !wanted {
		act = "not " + act
	}
	return func(ctx context.Context, w *steps.World, a steps.Args) error {
		if kind == "image" && wanted { // it may load only when a visitor scrolls to it
			if err := engineOf(w).complete(ctx); err != nil {
				return err
			}
		}
		return searching(ctx, w, wanted, fmt.Sprintf("%s %q", act, a.Text(0)), a.Text(0), func(s *search, doc *html.Node) error {
			s.kind, s.byText = kind, true
			if err := s.seen(candidates(s, doc), wanted); err != nil || wanted {
				return err
			}
			return s.page.whole(s.act)
		})
	}
}

func titleShould(verb string, fits func(title, text string) bool) func(context.Context, *steps.World, steps.Args) error {
	return func(ctx context.Context, w *steps.World, a steps.Args) error {
		return searching(ctx, w, true, fmt.Sprintf("expect the title to %s %q", verb, a.Text(0)), "", func(s *search, doc *html.Node) error {
			switch title, found := titleOf(doc); {
			case !found:
				return s.failure(result.ReasonUnexpected, result.BlameWeb, "the page has no title")
			case !fits(title, pagetree.Normal(a.Text(0))):
				return s.failure(result.ReasonUnexpected, result.BlameWeb, "got %s", wording.Quote(title))
			}
			return nil
		})
	}
}

// titleOf returns the title of a page, and whether it has one.
func titleOf(doc *html.Node) (string, bool) {
	for n := range pagetree.Nodes(doc) {
		if n.DataAtom == atom.Title && n.Namespace == "" {
			return pagetree.Normal(pagetree.TextareaValue(n)), true
		}
	}
	return "", false
}

func countElements(bound string, fits func(n, wanted int) bool) func(context.Context, *steps.World, steps.Args) error {
	return func(ctx context.Context, w *steps.World, a steps.Args) error {
		wanted, err := a.Int(0)
		if err != nil {
			return err
		}
		count := -1
		err = searching(ctx, w, bound != "", fmt.Sprintf("expect %s%d elements %q", bound, wanted, a.Text(1)), a.Text(1), func(s *search, doc *html.Node) error {
			shown, hidden, err := s.elements(doc)
			if err != nil {
				return err
			}
			count = len(shown)
			if fits(count, wanted) {
				if bound != "" {
					return nil // already enough
				}
				return s.page.whole(s.act)
			}
			more := ""
			if hidden > 0 {
				more = fmt.Sprintf(", and %d hidden", hidden)
			}
			return s.failure(result.ReasonUnexpected, result.BlameWeb, "got %d%s%s", count, more, s.page.without())
		})
		if count >= 0 {
			w.Measure("http_elements", "Elements of the page that a CSS selector or an XPath selects.", float64(count))
		}
		return err
	}
}

func tableShould(verb string, judge func(*search, *pagetree.Grid, [][]string) error) func(context.Context, *steps.World, steps.Args) error {
	return func(ctx context.Context, w *steps.World, a steps.Args) error {
		if len(a.Table) == 0 || verb == "have the rows" && len(a.Table) < 2 {
			return steps.FailScenario("the step needs a table: column names in its first row, and the wanted rows below")
		}
		return searching(ctx, w, verb == "have the rows", fmt.Sprintf("expect the table %q to %s", a.Text(0), verb), a.Text(0), func(s *search, doc *html.Node) error {
			table, err := s.findTable(doc)
			if err != nil {
				return err
			}
			grid, err := pagetree.GridOf(table)
			if err != nil {
				return s.failure(result.ReasonTooLarge, result.BlameWeb, "%v", err)
			}
			if err := judge(s, grid, a.Table); err != nil {
				return err
			}
			return s.page.whole(s.act, table)
		})
	}
}

func tableRows(ctx context.Context, w *steps.World, a steps.Args) error {
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
		grid, err := pagetree.GridOf(table)
		if err != nil {
			return s.failure(result.ReasonTooLarge, result.BlameWeb, "%v", err)
		}
		if count = len(grid.Rows); count == wanted {
			return s.page.whole(s.act, table)
		}
		return s.failure(result.ReasonUnexpected, result.BlameWeb, "got %d", count)
	})
	if count >= 0 {
		w.Measure("http_table_rows", "Rows of a table of the page, without its header.", float64(count))
	}
	return err
}

func seeText(p *page, text string, wanted bool) error {
	name := pagetree.Normal(text)
	if name == "" {
		return steps.FailScenario("see %q: the text is empty", text)
	}
	visible, at, err := p.shows([]byte(name))
	if err != nil {
		return err
	}
	switch {
	case at < 0 && !wanted:
		return p.whole(fmt.Sprintf("not see %q", text))
	case at >= 0 && wanted:
		return nil
	case !wanted:
		return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "not see %q on %s: the page shows it: %s", text, p, quoteAround(visible, at, len(name)))
	}
	why := "the page does not show it"
	switch folded := bytes.Index(bytes.ToLower(visible), bytes.ToLower([]byte(name))); {
	case folded >= 0 && folded+len(name) <= len(visible) && strings.EqualFold(string(visible[folded:folded+len(name)]), name):
		why = "the page shows it in different case: " + wording.Quote(string(visible[folded:folded+len(name)]))
	case bytes.Contains(p.text(), []byte(text)), bytes.Contains(p.text(), []byte(html.EscapeString(text))):
		why = "only the page's source contains it, it is not visible"
	case len(visible) == 0:
		why = "the page shows no text at all"
	default:
		why += "; it begins with " + wording.Quote(string(visible[:min(len(visible), 240)]))
	}
	return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "see %q on %s: %s%s", text, p, why, p.without())
}

// quoteAround quotes a part of a text with a little before and after it.
func quoteAround(text []byte, at, length int) string {
	from, to := max(0, at-20), min(len(text), at+length+20)
	return fmt.Sprintf("%q", "…"+strings.ToValidUTF8(string(text[from:to]), "")+"…")
}

// seePattern implements the old meaning: a Ruby regular expression over the source. "." matches newlines there, as the
// old steps requested, and "^" and "$" match at every line.
func seePattern(p *page, pattern string, wanted bool) error {
	re, err := steps.CompileRuby(pattern)
	if err != nil {
		return err
	}
	switch matched := re.Match(p.text()); {
	case matched == wanted:
		return nil
	case wanted:
		return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "see %q on %s: the regular expression does not match the page's source", pattern, p)
	default:
		return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "not see %q on %s: the regular expression matches the page's source", pattern, p)
	}
}

func seeMessage(ctx context.Context, w *steps.World, a steps.Args) error {
	choose := func(f *search, doc *html.Node) (*html.Node, error) {
		hiddenOne := false
		for n := range doc.Descendants() {
			classes, _ := pagetree.Attribute(n, "class")
			if !slices.Contains(strings.Fields(classes), f.name) {
				continue
			}
			if f.lax || !pagetree.IsHidden(n) {
				return n, nil
			}
			hiddenOne = true
		}
		if hiddenOne {
			return nil, f.failure(result.ReasonUnexpected, result.BlameWeb, "the element of this class is hidden")
		}
		return nil, f.failure(result.ReasonUnexpected, result.BlameWeb, "the page has no element of this class")
	}
	return acting(ctx, w, "see a message of class", a.Text(0), choose, func(webEngine, *search, *html.Node) error { return nil })
}
