package web

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/address"
	"github.com/stepwatch/stepwatch/steps/limit"
	"github.com/stepwatch/stepwatch/steps/selector"
	"github.com/stepwatch/stepwatch/steps/wording"
	"github.com/stepwatch/stepwatch/steps/xmldoc"
)

// The sentences about the XML of a page or an API, and about two kinds of it that every site has: feeds and sitemaps.

func init() {
	registerWeb(
		steps.Definition{Area: "web", Sentence: "the XML at {text} should be {text}",
			Does: "Fails unless every node that this XPath (1.0) selects in the response has this text, ignoring white space around it. A prefix in the path is one that the " +
				"document uses; for elements of a default namespace write `*[local-name()='entry']`. Fails when nothing is selected.",
			Example: `Then the XML at "/status/service[@name='db']/state" should be "up"`, Func: xmlShouldBe},
		steps.Definition{Area: "web", Sentence: "the XML at {text} should be below {number}",
			Does:     "Fails unless every node that this XPath selects in the response is a number below this one. Fails when nothing is selected.",
			Measures: "Measurement web_xml_value: the number, or the largest of several.",
			Example:  `Then the XML at "//queue/length" should be below 100`,
			Func:     steps.CompareWorst(xmlNumber, worstXML, "below", func(got, limit float64) bool { return got < limit }, func(a, b float64) bool { return a > b })},
		steps.Definition{Area: "web", Sentence: "the XML at {text} should be above {number}",
			Does:     "Fails unless every node that this XPath selects in the response is a number above this one. Fails when nothing is selected.",
			Measures: "Measurement web_xml_value: the number, or the smallest of several.",
			Example:  `Then the XML at "//worker/@free" should be above 0`,
			Func:     steps.CompareWorst(xmlNumber, worstXML, "above", func(got, limit float64) bool { return got > limit }, func(a, b float64) bool { return a < b })},
		steps.Definition{Area: "web", Sentence: "the XML should have {int} nodes at {text}",
			Does:     "Fails unless this XPath selects exactly this many nodes in the response. 0 means none.",
			Measures: "Measurement web_xml_nodes.",
			Example:  `Then the XML should have 0 nodes at "//error"`, Func: selectionCounts(xmlCount, countXML, true)},
		steps.Definition{Area: "web", Sentence: "the XML should have at least {int} nodes at {text}",
			Does:     "Fails unless this XPath selects at least this many nodes in the response.",
			Measures: "Measurement web_xml_nodes.",
			Example:  `Then the XML should have at least 1 nodes at "//service"`, Func: selectionCounts(xmlCount, countXML, false)},

		steps.Definition{Area: "web", Sentence: "the feed should have at least {int} items",
			Does:     "Fails unless the response is a feed (RSS 0.9 to 2.0, RFC 4287 Atom) with at least this many items.",
			Measures: "Measurement web_feed_items.",
			Example:  `Then the feed should have at least 10 items`, Func: feedHas},
		steps.Definition{Area: "web", Sentence: "the feed should have an item younger than {duration}",
			Does: "Fails unless the response is a feed and its newest item (pubDate, published, updated or dc:date) is younger than this. Fails when its date is more than a day in the future, " +
				"or cannot be read: a zone name must be one that means the same everywhere (RFC 5322 section 4.3, CET, JST …), unless all its meanings lead to the same result (IST of last year).",
			Measures: "Measurement web_feed_age_seconds: the age of the newest item, unless its zone name has several meanings.",
			Example:  `Then the feed should have an item younger than 1 day`, Func: feedYounger},
		steps.Definition{Area: "web", Sentence: "the sitemap should list at least {int} pages",
			Does:     "Fails unless the response is a sitemap (sitemaps.org) with at least this many addresses. An index of sitemaps does not count: go to a sitemap that it lists.",
			Measures: "Measurement web_sitemap_pages.",
			Example:  `Then the sitemap should list at least 20 pages`, Func: sitemapHas},
		steps.Definition{Area: "web", Sentence: "the sitemap should list {url}",
			Does:    "Fails unless the response is a sitemap that lists this address.",
			Example: `Then the sitemap should list "https://www.example.org/contact"`, Func: sitemapLists},
	)
}

func currentXML(ctx context.Context, w *steps.World) (*page, *xmldoc.Document, error) {
	p, body, err := currentBody(ctx, w)
	if err != nil {
		return nil, nil, err
	}
	parse := xmldoc.Parse
	if p.live != nil && utf8.Valid(body) {
		parse = xmldoc.ParseDecoded // a browser returns text as UTF-8, and the raw bytes only of what it does not take for text
	}
	root, err := parse(ctx, body)
	if unread := (*limit.Error)(nil); ctx.Err() != nil || errors.As(err, &unread) {
		return nil, nil, readingIn(ctx, w).failure(cmp.Or(err, context.Cause(ctx)), "read "+p.String())
	}
	if err != nil {
		return nil, nil, steps.Fail(result.ReasonProtocol, result.BlameWeb, "%s is not XML: %s: it begins with %.80q", p, wording.Syntax(body, err), body)
	}
	return p, root, nil
}

// readXML returns the texts that an XPath selects in the current response. It fails when there are none.
func readXML(ctx context.Context, w *steps.World, path string) (*page, []string, error) {
	p, root, err := currentXML(ctx, w)
	if err != nil {
		return nil, nil, err
	}
	texts, err := selectXML(ctx, w, p, root, path)
	switch {
	case err != nil:
	case len(texts) == 0:
		err = steps.Fail(result.ReasonNotFound, result.BlameWeb, "%s has nothing at %s; its root is %s", p, path, wording.Excerpt(root.Root()))
	}
	return p, texts, err
}

func xmlShouldBe(ctx context.Context, w *steps.World, a steps.Args) error {
	p, texts, err := readXML(ctx, w, a.Text(0))
	if err != nil {
		return err
	}
	for _, text := range texts {
		if text != a.Text(1) {
			return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "%s has %s at %s, wanted %q", p, wording.Quote(text), a.Text(0), a.Text(1))
		}
	}
	return nil
}

// worstXML is the steps.WorstSelected of an XPath in the current response; at is the path.
func worstXML(ctx context.Context, w *steps.World, path string, worse func(a, b float64) bool) (what string, worst float64, at string, err error) {
	p, texts, err := readXML(ctx, w, path)
	if err != nil {
		return "", 0, "", err
	}
	for i, text := range texts {
		n, err := strconv.ParseFloat(text, 64)
		if err != nil || math.IsNaN(n) { // NaN compares with nothing
			return "", 0, "", steps.Fail(result.ReasonUnexpected, result.BlameWeb, "%s has %s at %s, which is not a number", p, wording.Quote(text), path)
		}
		if i == 0 || worse(n, worst) {
			worst = n
		}
	}
	return p.String(), worst, path, nil
}

func countXML(ctx context.Context, w *steps.World, path string) (*page, int, error) {
	p, root, err := currentXML(ctx, w)
	if err != nil {
		return nil, 0, err
	}
	texts, err := selectXML(ctx, w, p, root, path)
	return p, len(texts), err
}

// selectXML returns what an XPath selects in a response.
func selectXML(ctx context.Context, w *steps.World, p *page, doc *xmldoc.Document, path string) ([]string, error) {
	texts, err := doc.Select(w.Memory(), path)
	switch slow := tooSlow(ctx, err, "read "+p.String()); {
	case err == nil:
		return texts, nil
	case slow != nil:
		return nil, slow
	case errors.As(err, new(*selector.PathError)):
		return nil, steps.FailScenario("%w", err)
	}
	return nil, readingIn(ctx, w).failure(err, "read "+p.String())
}

func currentFeed(ctx context.Context, w *steps.World) (*page, []xmldoc.Item, error) {
	p, doc, err := currentXML(ctx, w)
	if err != nil {
		return nil, nil, err
	}
	items, err := doc.Feed()
	if unread := (*limit.Error)(nil); ctx.Err() != nil || errors.As(err, &unread) {
		return nil, nil, readingIn(ctx, w).failure(cmp.Or(err, context.Cause(ctx)), "read the feed "+p.String())
	}
	if err != nil {
		return nil, nil, steps.Fail(result.ReasonUnexpected, result.BlameWeb, "%s is not a feed: %w", p, err)
	}
	return p, items, nil
}

func feedHas(ctx context.Context, w *steps.World, a steps.Args) error {
	wanted, err := a.Int(0)
	if err != nil {
		return err
	}
	p, items, err := currentFeed(ctx, w)
	if err != nil {
		return err
	}
	w.Measure("web_feed_items", "How many items the feed has.", float64(len(items)))
	if len(items) < wanted {
		return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "the feed %s has %d items, wanted at least %d", p, len(items), wanted)
	}
	return nil
}

func feedYounger(ctx context.Context, w *steps.World, a steps.Args) error {
	limit, err := a.Duration(0)
	if err != nil {
		return err
	}
	p, items, err := currentFeed(ctx, w)
	if err != nil {
		return err
	}
	var newest, latest xmldoc.Item // the same one, unless the zone of a date has several meanings
	var unread error
	for _, item := range items {
		if item.Date.After(newest.Date) {
			newest = item
		}
		if item.Latest.After(latest.Latest) {
			latest = item
		}
		unread = cmp.Or(unread, item.Unread)
	}
	age, least := time.Since(newest.Date), time.Since(latest.Latest)
	old, ahead := age >= limit, age < -steps.Day
	switch { // what cannot be read, or has several meanings, matters only where the verdict depends on it
	case unread != nil && old:
	case (least >= limit) != old, (least < -steps.Day) != ahead:
		unread = latest.Unsure
	default:
		unread = nil
	}
	if unread != nil {
		return steps.Fail(result.ReasonProtocol, result.BlameWeb, "the feed %s has an item whose age is unknown: %w", p, unread)
	}
	if newest.Date.IsZero() {
		return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "the feed %s has %d items, but none with a date", p, len(items))
	}
	title := cmp.Or(newest.Title, "without a title")
	dated := newest.Date.UTC().Format(time.RFC3339)
	if latest.Latest.After(newest.Date) {
		dated += " or up to " + latest.Latest.UTC().Format(time.RFC3339) + ", by what its zone may mean"
	} else {
		w.Measure("web_feed_age_seconds", "Age of the feed's newest item.", age.Seconds())
	}
	switch {
	case ahead:
		return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "the newest item of the feed %s, %s, is dated %s, in the future", p, wording.Quote(title), dated)
	case old:
		return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "the newest item of the feed %s, %s, is dated %s, wanted one younger than %s", p, wording.Quote(title), dated, a.Text(0))
	}
	return nil
}

// currentSitemap returns the addresses that a sitemap lists.
func currentSitemap(ctx context.Context, w *steps.World) (*page, []string, error) {
	p, doc, err := currentXML(ctx, w)
	if err != nil {
		return nil, nil, err
	}
	listed, index, err := doc.Sitemap()
	switch {
	case ctx.Err() != nil:
		return nil, nil, readingIn(ctx, w).failure(context.Cause(ctx), "read the sitemap "+p.String())
	case err != nil:
		return nil, nil, steps.Fail(result.ReasonUnexpected, result.BlameWeb, "%s is not a sitemap: %w", p, err)
	case index && len(listed) > 0:
		return nil, nil, steps.Fail(result.ReasonUnexpected, result.BlameWeb, "%s is an index of sitemaps: go to a sitemap that it lists, such as %s", p, wording.Quote(listed[0]))
	case index:
		return nil, nil, steps.Fail(result.ReasonUnexpected, result.BlameWeb, "%s is an index of sitemaps that lists none", p)
	}
	return p, listed, nil
}

func sitemapHas(ctx context.Context, w *steps.World, a steps.Args) error {
	wanted, err := a.Int(0)
	if err != nil {
		return err
	}
	p, listed, err := currentSitemap(ctx, w)
	if err != nil {
		return err
	}
	w.Measure("web_sitemap_pages", "How many pages the sitemap lists.", float64(len(listed)))
	if len(listed) < wanted {
		return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "the sitemap %s lists %d pages, wanted at least %d", p, len(listed), wanted)
	}
	return nil
}

func sitemapLists(ctx context.Context, w *steps.World, a steps.Args) error {
	p, listed, err := currentSitemap(ctx, w)
	if err != nil {
		return err
	}
	wanted, err := p.url.Join(a.Text(0), nil)
	if err != nil {
		return steps.FailScenario("%q is not an address: %w", address.Shown(a.Text(0)), err)
	}
	for i, text := range listed {
		if i%1000 == 0 && ctx.Err() != nil {
			return readingIn(ctx, w).failure(context.Cause(ctx), "read the sitemap "+p.String())
		}
		if u, err := address.Parse(text); err == nil && u.String() == wanted.String() {
			return nil
		}
	}
	// A sitemap lists whole addresses.
	if wanted, err := resolve(ctx, w, a.Text(0)); err == nil && slices.Contains(listed, wanted.String()) {
		return nil
	}
	return steps.Fail(result.ReasonNotFound, result.BlameWeb, "the sitemap %s does not list %q among its %d pages", p, wanted.String(), len(listed))
}
