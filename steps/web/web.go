// Package web holds the sentences about websites, over HTTP alone and in a browser.
//
// The two engines share one matching: a link, a button or a text is looked for in a tree of HTML, which over HTTP is the parsed
// document and in a browser a snapshot of what is rendered. Only what acts on the page differs.
package web

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"golang.org/x/net/html"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/address"
	"github.com/stepwatch/stepwatch/steps/httpwire"
	"github.com/stepwatch/stepwatch/steps/pagetree"
	"github.com/stepwatch/stepwatch/steps/selector"
)

// The sentences about websites. They work the same over HTTP alone and in a browser (@browser). Each is written once:
// it reads the tree and the text of the current page and leaves the actions to the engine.

// webEngine visits websites: httpSession over HTTP alone, browserSession with a real browser.
//
// Over HTTP, an engine loads documents and those in their frames, but not the resources they refer to, and no script
// runs. So a latency over HTTP is that of the documents, and in a browser that of the whole page.
type webEngine interface {
	// load makes v the current page and follows redirects. It fails as `I go to` documents.
	load(ctx context.Context, w *steps.World, v visit) error

	// now returns the current page as it is at this moment, nil before the first one.
	now(ctx context.Context, w *steps.World) (*page, error)

	// ask sends a request that no visitor sends by hand, and makes the response the current page.
	ask(ctx context.Context, w *steps.World, v visit) error

	// await waits until the page may differ from the last result of now. It returns false when the page can no longer
	// change or ctx is done.
	await(ctx context.Context, w *steps.World) bool

	// complete loads all of the current page, also the parts that a visitor has to scroll to.
	complete(ctx context.Context) error

	// settle waits until the current page has come to rest, as atRest describes it.
	settle(ctx context.Context, w *steps.World) error

	// Actions of a visitor on the current page. f names the action in errors; the node is in the tree of the page that
	// now returned.
	follow(ctx context.Context, w *steps.World, f *search, link *html.Node) error
	press(ctx context.Context, w *steps.World, f *search, button *html.Node) error
	click(ctx context.Context, w *steps.World, f *search, n *html.Node) error
	submit(ctx context.Context, w *steps.World, f *search, form *html.Node) error
	// fill types a text into a field and returns what the field has then, which may be less.
	fill(ctx context.Context, f *search, field *html.Node, value string) (taken string, err error)
	selectOption(ctx context.Context, f *search, option *html.Node) error
	check(ctx context.Context, f *search, box *html.Node, on bool) error
	attach(ctx context.Context, f *search, field *html.Node, path string) error

	// downloadBehind downloads the file that a click on n leads to.
	downloadBehind(ctx context.Context, w *steps.World, f *search, n *html.Node) (*download, error)

	// cookiesOf returns the cookies that a visitor of p has.
	cookiesOf(ctx context.Context, p *page) ([]webCookie, error)

	// withoutCookie says why a visitor of p does not have a cookie of this name that a response set, or "".
	withoutCookie(ctx context.Context, p *page, name string) string

	// back goes to the previous page, reload loads the current one again.
	back(ctx context.Context, w *steps.World) error
	reload(ctx context.Context, w *steps.World) error
}

// engineOf returns the engine of the scenario.
func engineOf(w *steps.World) webEngine {
	if w.InBrowser {
		return steps.State[browserSession](w)
	}
	return steps.State[httpSession](w)
}

// waitInBrowser is how long a step waits for something to appear on a page.
func waitInBrowser(w *steps.World) time.Duration {
	return cmp.Or(steps.SettingsOf[httpwire.Web](w.Target()).Patience, httpwire.DefaultPatience)
}

// evidenceTime is the part of the scenario's time that a waiting step reserves for the evidence of a failure.
const evidenceTime = 2 * time.Second

// eventually calls try with the current page until it passes, the page can no longer change or the step has waited long
// enough. Over HTTP it calls try once.
func eventually(ctx context.Context, w *steps.World, try func(e webEngine, p *page) error) error {
	return eventuallyWithin(ctx, w, waitInBrowser(w), try)
}

func eventuallyWithin(ctx context.Context, w *steps.World, wait time.Duration, try func(e webEngine, p *page) error) error {
	return watching(ctx, w, wait, false, try)
}

// watching is eventuallyWithin. If resting, each look at the page waits until it has come to rest.
func watching(ctx context.Context, w *steps.World, wait time.Duration, resting bool, try func(e webEngine, p *page) error) error {
	e, start := engineOf(w), time.Now()
	waiting := ctx
	if w.InBrowser { // over HTTP nothing waits
		var cancel context.CancelFunc
		waiting, cancel = patience(ctx, wait)
		defer cancel()
	}
	for {
		if resting {
			if err := e.settle(waiting, w); err != nil {
				return err
			}
		}
		p, err := e.now(ctx, w)
		if err != nil {
			return err
		}
		if p == nil {
			return noPage()
		}
		err = try(e, p)
		if err == nil || !mayPass(err) {
			return p.excused(err)
		}
		if !e.await(waiting, w) {
			if err = p.excused(err); w.InBrowser {
				err = hurried(err, waiting, start, wait)
			}
			return err
		}
	}
}

// hurried adds a note to err when the scenario's time was too short for the whole wait.
func hurried(err error, waiting context.Context, start time.Time, wait time.Duration) error {
	var failure *steps.Failure
	until, _ := waiting.Deadline()
	left := until.Sub(start)
	if waiting.Err() == nil || left >= wait-10*time.Millisecond || !errors.As(err, &failure) {
		return err
	}
	return steps.Fail(failure.Reason, failure.Blame, "%w; only %s of the wait of %s fit into the scenario's time", err, max(0, left).Round(10*time.Millisecond), wait)
}

// patience returns a context that ends after wait, or earlier to leave the scenario enough time for its evidence.
func patience(ctx context.Context, wait time.Duration) (context.Context, context.CancelFunc) {
	until := time.Now().Add(wait)
	if deadline, limited := ctx.Deadline(); limited && deadline.Add(-evidenceTime).Before(until) {
		until = deadline.Add(-evidenceTime)
	}
	return context.WithDeadline(ctx, until)
}

// looking judges the current page as eventually does. To find that something is absent, or to count it, the whole page
// is needed, so looking loads the rest of it first and judges it only when it has come to rest. Something wanted may be
// found before that.
func looking(ctx context.Context, w *steps.World, wanted bool, judge func(e webEngine, p *page) error) error {
	if !wanted {
		if w.InBrowser {
			steps.State[browserSession](w).thorough = true
		}
		if err := engineOf(w).complete(ctx); err != nil {
			return err
		}
	}
	var judged *page
	err := watching(ctx, w, waitInBrowser(w), !wanted, func(e webEngine, p *page) error {
		judged = p
		return judge(e, p)
	})
	if err == nil && !wanted && judged != nil && judged.live != nil && judged.doc != nil && pagetree.HasCanvas(judged.doc) {
		w.Note("judged without the drawing (<canvas>) on the page, which cannot be read")
	}
	return err
}

// A page is at rest in a browser when it is loaded, no request is open and for restTime none has begun or ended and nothing
// in its document has changed. A page that does not come to rest within restLimit is judged as it is.
const (
	restTime  = quietTime
	restLimit = 5 * time.Second

	atRest = " In a browser the page is judged when it has come to rest: when for half a second no request is open and its document does not change. A page that is not at rest after 5s is judged as it is, and a note says so. " +
		"The half second does not count in the duration of the step."
)

func noPage() error {
	return steps.FailScenario("there is no page yet: write `I go to \"https://www.example.org/\"` before this step")
}

// mayPass reports whether waiting may help: it does for what a page shows, not for how the server responded.
func mayPass(err error) bool {
	var failure *steps.Failure
	return errors.As(err, &failure) && failure.Blame == result.BlameWeb &&
		(failure.Reason == result.ReasonNotFound || failure.Reason == result.ReasonUnexpected)
}

const webMeasures = "Time to load the document, redirects and frames included. Phases dns, connect, tls, processing, transfer, once for each request, and frames for the documents in the page's frames; " +
	"measurements http_status_code, http_redirects (if there were any), http_content_length_bytes, tls_certificate_not_after_timestamp_seconds (label host); with frames also http_frames, http_frames_failed. " +
	"In a browser: time until the load event; phases find and click before the request, load after the end of the document; measurements " +
	"web_dom_content_loaded_seconds, web_load_seconds, web_first_contentful_paint_seconds, web_largest_contentful_paint_seconds, web_layout_shift, " +
	"web_requests, web_transfer_bytes, web_failed_requests, web_console_errors, web_third_party_seconds."

// currentPage returns the page of the scenario. It fails when no step has loaded one.
func currentPage(ctx context.Context, w *steps.World) (*page, error) {
	p, err := engineOf(w).now(ctx, w)
	if err == nil && p == nil {
		err = noPage()
	}
	return p, err
}

// registerWeb registers definitions that open the engine before their first step and keep the current page as evidence
// when they fail.
func registerWeb(definitions ...steps.Definition) {
	for i := range definitions {
		do := definitions[i].Func
		definitions[i].Func = func(ctx context.Context, w *steps.World, a steps.Args) error {
			if w.InBrowser {
				s := steps.State[browserSession](w)
				s.began, s.thorough = time.Now(), false
			}
			err := do(ctx, w, a)
			if w.InBrowser {
				err = steps.State[browserSession](w).sound(ctx, err)
				err = steps.State[browserSession](w).tellDialogs(w, err)
				steps.State[browserSession](w).report(w, err)
			} else {
				steps.State[httpSession](w).report(w, err)
			}
			return err
		}
		definitions[i].Late = true
		definitions[i].Prepare = func(ctx context.Context, w *steps.World, _ steps.Args) {
			if w.InBrowser {
				steps.State[browserSession](w).open(ctx, w)
			}
		}
	}
	steps.Register(definitions...)
}

// acting acts on something that the page shows under name: choose finds it, do acts on it. It repeats both while the
// page may still change.
func acting(ctx context.Context, w *steps.World, act, name string, choose func(*search, *html.Node) (*html.Node, error), do func(webEngine, *search, *html.Node) error) error {
	return eventually(ctx, w, func(e webEngine, p *page) error {
		if w.InBrowser && p.live == nil {
			return steps.FailScenario("%s %q: %s is the response to a request outside the browser, which shows another page: write `I go to` before this step", act, name, p)
		}
		doc, err := p.tree()
		if err != nil {
			return err
		}
		f := &search{ctx: ctx, page: p, act: fmt.Sprintf("%s %q", act, name), name: name, lax: steps.SettingsOf[httpwire.Web](w.Target()).CucumberNagios}
		n, err := choose(f, doc)
		if ctx.Err() != nil && !errors.As(err, new(*selector.SlowError)) {
			return p.reading.failure(context.Cause(ctx), f.act+" on "+p.String()) // not all of the page was searched
		}
		if err != nil {
			return err
		}
		return do(e, f, n)
	})
}

func init() {
	steps.RegisterArea(steps.Area{Name: "web", Title: "Web", Place: 20})
	registerWeb(
		steps.Definition{Area: "web", Sentence: "I go to {url}",
			Does:     "Loads a page: the URL is a whole address, or a path on the current host. Fails unless the final status is 2xx or 3xx. Redirects are followed, up to 10 over HTTP alone and as many as a browser follows in a browser; in a project marked as cucumber-nagios compatible only while the last two labels of the host stay the same. A page that leads on by itself within a second (<meta http-equiv=refresh>, or the header Refresh) is followed; over HTTP alone a note names where a browser goes later.",
			Measures: webMeasures, Example: `When I go to "https://www.example.org/"`, Func: goTo(false)},
		steps.Definition{Area: "web", Sentence: "I go to {url} over {family}",
			Does:     "Loads a page as `I go to` does, but only from addresses of this family, also for redirects and frames of the same host. Fails when the host has none. Only without @browser: a browser chooses the family itself.",
			Measures: webMeasures, Example: `When I go to "https://www.example.org/" over IPv6`,
			Func: goToBy(func(a steps.Args) httpwire.Way { return httpwire.Way{Family: steps.Families[a.Text(1)]} })},
		steps.Definition{Area: "web", Sentence: "I go to {url} over HTTP/{number}", Pattern: `^I go to {url} over HTTP/(1\.1|2)$`,
			Does:     "Loads a page as `I go to` does, but offers the server only this version of HTTP, also for redirects and frames of the same server. Only without @browser: a browser chooses the version itself.",
			Measures: webMeasures, Example: `When I go to "https://www.example.org/" over HTTP/1.1`,
			Func: goToBy(func(a steps.Args) httpwire.Way { return httpwire.Way{Version: a.Text(1)} })},
		steps.Definition{Area: "web", Sentence: "I visit {url}",
			Does:     "The same as `I go to`.",
			Measures: webMeasures, Example: `When I visit "https://www.example.org/"`, Func: goTo(false)},
		steps.Definition{Area: "web", Sentence: "I try to go to {url}",
			Does:     "Loads a page as `I go to` does, and accepts any status.",
			Measures: webMeasures, Example: `When I try to go to "https://www.example.org/no-such-page"`, Func: goTo(true)},
		steps.Definition{Area: "web", Sentence: "I follow {text}",
			Does:     "Loads the page that a link leads to. The link is found by its text, a part of it, its title, aria-label or id; the shortest matching text wins. Fails when there is no such link or the page's status is not 2xx or 3xx.",
			Measures: webMeasures, Example: `When I follow "Contact"`, Func: follow},
		steps.Definition{Area: "web", Sentence: "I click {text}",
			Does: "Clicks a link or a button, found as `I follow` and `I press` do, or an element with such a role, or the summary of details; otherwise, in a browser, the innermost element with exactly that text. " +
				"If this leads to a page, waits for it.",
			Measures: webMeasures, Example: `When I click "Add to basket"`, Func: click},
		steps.Definition{Area: "web", Sentence: "I go back",
			Does:     "Goes back to the previous page, like the back button of a browser. Over HTTP the page is loaded again.",
			Measures: webMeasures, Example: `When I go back`, Func: func(ctx context.Context, w *steps.World, _ steps.Args) error { return engineOf(w).back(ctx, w) }},
		steps.Definition{Area: "web", Sentence: "I reload the page",
			Does:     "Loads the current page again. Form data is not sent again.",
			Measures: webMeasures, Example: `When I reload the page`, Func: func(ctx context.Context, w *steps.World, _ steps.Args) error { return engineOf(w).reload(ctx, w) }},
		steps.Definition{Area: "web", Sentence: "the request should succeed", Pattern: `^the (?:[\w-]+ ){0,3}request should succeed$`, Compat: `^the (?:.*) ?request should succeed`,
			Does:    "Fails unless the page's status is 2xx or 3xx. Up to three words may come before `request`, as in `the second request should succeed`.",
			Example: `Then the request should succeed`, Func: requestShould(true)},
		steps.Definition{Area: "web", Sentence: "the request should fail", Pattern: `^the (?:[\w-]+ ){0,3}request should fail$`, Compat: `^the (?:.*) ?request should fail`,
			Does:    "Fails when the page's status is 2xx or 3xx. Use it after `I try to go to`.",
			Example: `Then the request should fail`, Func: requestShould(false)},
		steps.Definition{Area: "web", Sentence: "the response status should be {int}",
			Does:    "Fails unless the page's status is this one. For 4xx and 5xx, use it after `I try to go to`.",
			Example: `Then the response status should be 404`, Func: statusShouldBe},
		steps.Definition{Area: "web", Sentence: "I should be on {url}",
			Does:    "Fails unless the page's address, after redirects, is this one: a path, or a whole address. Query and fragment are compared when given.",
			Example: `Then I should be on "/members"`, Func: shouldBeOn},
	)
}

func goTo(anyStatus bool) func(context.Context, *steps.World, steps.Args) error {
	return func(ctx context.Context, w *steps.World, a steps.Args) error {
		u, err := resolve(ctx, w, a.Text(0))
		if err != nil {
			return err
		}
		return engineOf(w).load(ctx, w, visit{method: http.MethodGet, url: u, anyStatus: anyStatus})
	}
}

// goToBy returns the function of a sentence that restricts how a page is requested.
func goToBy(way func(steps.Args) httpwire.Way) func(context.Context, *steps.World, steps.Args) error {
	return func(ctx context.Context, w *steps.World, a steps.Args) error {
		u, err := resolve(ctx, w, a.Text(0))
		if err != nil {
			return err
		}
		return engineOf(w).load(ctx, w, visit{method: http.MethodGet, url: u, way: way(a)})
	}
}

func follow(ctx context.Context, w *steps.World, a steps.Args) error {
	return acting(ctx, w, "follow", a.Text(0), (*search).findLink, func(e webEngine, f *search, link *html.Node) error {
		return e.follow(ctx, w, f, link)
	})
}

func click(ctx context.Context, w *steps.World, a steps.Args) error {
	return acting(ctx, w, "click", a.Text(0), (*search).findClickable, func(e webEngine, f *search, n *html.Node) error {
		return e.click(ctx, w, f, n)
	})
}

func requestShould(succeed bool) func(context.Context, *steps.World, steps.Args) error {
	wanted := "to fail: wanted 4xx or 5xx"
	if succeed {
		wanted = "to succeed: wanted 2xx or 3xx"
	}
	return func(ctx context.Context, w *steps.World, _ steps.Args) error {
		p, err := currentPage(ctx, w)
		if err != nil || p.accepted() == succeed {
			return err
		}
		return steps.Fail(result.ReasonHTTPStatus, result.BlameWeb, "expect the request %s, got %s", wanted, p)
	}
}

func statusShouldBe(ctx context.Context, w *steps.World, a steps.Args) error {
	p, err := currentPage(ctx, w)
	if err != nil {
		return err
	}
	wanted, err := a.Int(0)
	if err != nil || p.StatusCode == wanted {
		return err
	}
	return steps.Fail(result.ReasonHTTPStatus, result.BlameWeb, "expect status %d, got %s", wanted, p)
}

func shouldBeOn(ctx context.Context, w *steps.World, a steps.Args) error {
	asked := a.Text(0)
	if !isPathOrWhole(asked) {
		if base, _ := baseOf(w); base != nil { // only its path counts: the host may be another after a redirect
			if at, err := base.Join(asked, nil); err == nil {
				asked = at.Target() + at.Fragment
			}
		}
	}
	if !isPathOrWhole(asked) {
		return steps.FailScenario("%q is neither a path nor a whole address: write it as \"/members\" or \"https://www.example.org/members\"", address.Shown(asked))
	}
	return eventually(ctx, w, func(_ webEngine, p *page) error {
		wanted, err := p.url.Join(asked, nil)
		if err != nil {
			return steps.FailScenario("%q is not an address: %w", address.Shown(asked), err)
		}
		if wanted.Origin() == p.url.Origin() && wanted.Path == p.url.Path &&
			(wanted.Query == "" || wanted.Query == p.url.Query) &&
			(wanted.Fragment == "" || wanted.Fragment == p.url.Fragment) {
			return nil
		}
		return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "expect to be on %s, got %s", wanted, p)
	})
}

// isPathOrWhole reports whether an address in a step says by itself what it means: a path, or an address with scheme or host.
func isPathOrWhole(text string) bool {
	text = strings.TrimSpace(text)
	return strings.HasPrefix(text, "/") || strings.HasPrefix(text, `\`) || address.SchemeOf(text) == "http" || address.SchemeOf(text) == "https"
}
