package web

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/address"
	"github.com/stepwatch/stepwatch/steps/browser"
	"github.com/stepwatch/stepwatch/steps/cookie"
	"github.com/stepwatch/stepwatch/steps/lack"
)

// The sentences about the loading of a page. All but the first need the browser.

const (
	// quietTime is how long a page must make no request to count as idle, as in common browser tools.
	quietTime = 500 * time.Millisecond

	// paintWait is how long after its load event a page may take for its first paint before it is measured without one.
	paintWait = 200 * time.Millisecond

	// slowThirdParty is the duration from which the note of a navigation names another site's server.
	slowThirdParty = 500 * time.Millisecond
)

const (
	rests       = " Waits until the page is idle: half a second without a request."
	onlyBrowser = " Needs @browser."
)

func init() {
	registerWeb(
		steps.Definition{Area: "web", Sentence: "the page should load within {duration}",
			Does:    "Fails when loading the current page, redirects included, took longer than this. Loading ends in a browser with the load event, over HTTP alone with the end of the document and those in its frames.",
			Example: `Then the page should load within 2s`, Func: loadWithin},
		steps.Definition{Area: "web", Sentence: "the first paint should come within {duration}", Waits: true,
			Does:     "Fails when the page painted its first text or image later than this after the start of the navigation." + onlyBrowser,
			Measures: "Measurement web_first_contentful_paint_seconds.",
			Example:  `Then the first paint should come within 1s`, Func: paintWithin("first paint")},
		steps.Definition{Area: "web", Sentence: "the largest paint should come within {duration}", Waits: true,
			Does:     "Fails when the page painted its largest text or image later than this after the start of the navigation (Largest Contentful Paint)." + rests + onlyBrowser,
			Measures: "Measurement web_largest_contentful_paint_seconds.",
			Example:  `Then the largest paint should come within 2.5s`, Func: paintWithin("largest paint")},
		steps.Definition{Area: "web", Sentence: "the layout should shift by less than {number}",
			Does:     "Fails unless the content of the page moved by less than this without a click or key press (Cumulative Layout Shift)." + rests + onlyBrowser,
			Measures: "Measurement web_layout_shift.",
			Example:  `Then the layout should shift by less than 0.1`, Func: shiftLess},
		steps.Definition{Area: "web", Sentence: "no request fails",
			Does: "Fails when a request of the current page, one of its workers or its service worker failed or got a status of 400 or more, and lists these requests. A WebSocket that does not open is a failed request. Images and frames that load only when a visitor scrolls to them are loaded first. Requests that the page aborted itself, or that are still open, do not count." +
				rests + onlyBrowser,
			Measures: "Measurements web_requests, web_failed_requests.",
			Example:  `Then no request fails`, Func: noRequestFails},
		steps.Definition{Area: "web", Sentence: "nothing is logged as an error",
			Does: "Fails when the current page wrote an error to the console, an exception was not caught, or the browser blocked something, for example because of a Content-Security-Policy. The same for its workers and its service worker. A WebSocket that does not open is such an error. For other failed requests, use `no request fails`." +
				rests + onlyBrowser,
			Measures: "Measurement web_console_errors.",
			Example:  `Then nothing is logged as an error`, Func: nothingLogged},
		steps.Definition{Area: "web", Sentence: "the page should make at most {int} requests",
			Does:     "Fails when the current page made more requests than this, its document and redirects included. Responses from the browser's cache do not count." + rests + onlyBrowser,
			Measures: "Measurement web_requests.",
			Example:  `Then the page should make at most 50 requests`, Func: requestsAtMost},
		steps.Definition{Area: "web", Sentence: "the page should weigh at most {size}",
			Does:     "Fails when more than this was transferred for the current page and everything that it loads, headers included." + rests + onlyBrowser,
			Measures: "Measurement web_transfer_bytes.",
			Example:  `Then the page should weigh at most 2 MB`, Func: weighAtMost},
		steps.Definition{Area: "web", Sentence: "no third party should take longer than {duration}",
			Does:     "Fails when a request of the current page to another site took longer than this, and names the hosts. A site is a domain directly below a public suffix, with all its hosts." + rests + onlyBrowser,
			Measures: "Measurement web_third_party_seconds.",
			Example:  `Then no third party should take longer than 1s`, Func: thirdPartiesWithin},
	)
}

// reportNavigation reports the phases of each request for the document, as over HTTP, and the measurements that only a
// browser has.
func reportNavigation(w *steps.World, tab *browser.Tab, n *browser.Navigation) {
	for _, r := range n.Chain {
		for _, phase := range []struct {
			name string
			took time.Duration
		}{{"dns", r.DNS}, {"connect", r.Connect}, {"tls", r.Handshake}, {"processing", r.Processing}, {"transfer", r.Transfer()}} {
			if phase.took >= 0 && !r.Reused || phase.took >= 0 && (phase.name == "processing" || phase.name == "transfer") {
				note := ""
				if phase.name == "processing" && r.Status > 0 {
					note = fmt.Sprintf("%d %s", r.Status, r.StatusText)
				}
				w.Phase(phase.name, phase.took, note)
			}
		}
	}
	if rest := n.Rest(); rest >= 0 && n.Loaded {
		w.Phase("load", rest, "")
	}
	if n.Committed && n.Failed == "" && len(n.Chain) > 0 {
		w.After(func(ctx context.Context) { measurePage(ctx, w, tab) })
	}
	if answer := n.Response(); answer != nil && answer.Status > 0 {
		w.Measure("http_status_code", "Status code of the last response.", float64(answer.Status))
		measureRedirects(w, len(n.Chain)-1)
		w.Measure("http_content_length_bytes", "Length of the page's body as transferred.", float64(answer.Body()))
		if answer.TLS != nil {
			if u, err := url.Parse(answer.URL); err == nil { // a browser's URL always parses
				w.MeasureExpiry(u.Hostname(), answer.TLS.Expires)
			}
		}
	}
}

// measureRedirects measures the redirects that were followed, if any: for most pages it would be a series of zeros.
func measureRedirects(w *steps.World, followed int) {
	if followed > 0 {
		w.Measure("http_redirects", "Redirects followed to the page; absent when there were none.", float64(followed))
	}
}

// measurePage reports the browser's measurements of the current page, and the page's requests.
func measurePage(ctx context.Context, w *steps.World, tab *browser.Tab) {
	ctx, cancel := context.WithTimeout(ctx, evidenceTime)
	defer cancel()
	if v, err := tab.Vitals(ctx, paintWait); err == nil { // a page that a script keeps busy does not respond
		for _, m := range []struct {
			name, help string
			at         time.Duration
		}{
			{"web_dom_content_loaded_seconds", "Time from the start of the navigation to the DOMContentLoaded event.", v.Ready},
			{"web_load_seconds", "Time from the start of the navigation to the load event.", v.Load},
			{firstPaintName, firstPaintHelp, v.FirstPaint},
			{largestPaintName, largestPaintHelp, v.LargestPaint},
		} {
			if m.at >= 0 {
				w.Measure(m.name, m.help, m.at.Seconds())
			}
		}
		measureShift(w, v)
	}
	a := tab.Activity()
	if a == nil {
		return
	}
	measureRequests(w, a)
	measureWeight(w, a)
	measureErrors(w, a)
	others := thirdParties(tab.URL(), a.Requests)
	measureThirdParties(w, others)
	var slow []string
	for _, o := range others {
		if o.took >= slowThirdParty {
			slow = append(slow, o.String())
		}
	}
	if len(slow) > 0 {
		w.Note("slow third parties: " + theFirst(slow, 3))
	}
}

const (
	firstPaintName   = "web_first_contentful_paint_seconds"
	firstPaintHelp   = "Time from the start of the navigation to the first text or image on the screen."
	largestPaintName = "web_largest_contentful_paint_seconds"
	largestPaintHelp = "Time from the start of the navigation to the largest text or image on the screen."
)

func measureShift(w *steps.World, v *browser.Vitals) {
	w.Measure("web_layout_shift", "Cumulative layout shift: how much of the page moved, and how far, without a click or key press.", v.Shift)
}

func measureRequests(w *steps.World, a *browser.Activity) {
	w.Measure("web_requests", "Requests that the page made over the network, its document and redirects included.", float64(len(a.Requests)+a.Dropped))
	w.Measure("web_failed_requests", "Requests of the page that failed or got a status of 400 or more.", float64(len(failedRequests(a.Requests))))
}

func measureWeight(w *steps.World, a *browser.Activity) int64 {
	var bytes int64
	for _, r := range a.Requests {
		bytes += r.Bytes
	}
	w.Measure("web_transfer_bytes", "Bytes of all responses to the page's requests as transferred, headers included.", float64(bytes))
	return bytes
}

func measureErrors(w *steps.World, a *browser.Activity) {
	w.Measure("web_console_errors", "Errors in the page's console and uncaught exceptions.", float64(len(a.Errors)+a.Unkept))
}

func measureThirdParties(w *steps.World, others []thirdParty) {
	if len(others) > 0 {
		w.Measure("web_third_party_seconds", "Duration of the slowest request of the page to another site.", others[0].took.Seconds())
	}
}

// thirdParty is a host of another site, with its slowest request.
type thirdParty struct {
	host string
	took time.Duration
	url  string
	open bool
}

func (t thirdParty) String() string {
	if t.open {
		return fmt.Sprintf("%s %s so far", t.host, t.took.Round(time.Millisecond))
	}
	return fmt.Sprintf("%s %s", t.host, t.took.Round(time.Millisecond))
}

// thirdParties returns the hosts of other sites that a page requests from, the slowest first.
func thirdParties(page string, requests []browser.Request) []thirdParty {
	own := address.Reported(page)
	slowest := map[string]thirdParty{}
	for i := range requests {
		r := &requests[i]
		u := address.Reported(r.URL)
		if cookie.SiteOf(u.Hostname()) == cookie.SiteOf(own.Hostname()) {
			continue
		}
		t := thirdParty{host: u.Hostname(), took: r.Took(), url: r.URL}
		if t.took < 0 {
			t.took, t.open = time.Since(r.Started), true
		}
		if s, found := slowest[t.host]; !found || s.took < t.took {
			slowest[t.host] = t
		}
	}
	others := make([]thirdParty, 0, len(slowest))
	for _, t := range slowest {
		others = append(others, t)
	}
	slices.SortFunc(others, func(a, b thirdParty) int { return cmp.Or(cmp.Compare(b.took, a.took), strings.Compare(a.host, b.host)) })
	return others
}

// failedRequests lists the failed requests, with reasons.
func failedRequests(requests []browser.Request) []string {
	var failed []string
	for i := range requests {
		r := &requests[i]
		var why string
		switch {
		case r.Status >= 400:
			why = fmt.Sprintf("%d %s", r.Status, r.StatusText)
		case r.Failed != "" && !r.Canceled && r.Status != 204 && r.Status != 205:
			why = r.Failed
		default:
			continue
		}
		failed = append(failed, fmt.Sprintf("%s %s: %s", r.Method, cutURL(r.URL), why))
	}
	return failed
}

// ownFailures returns the number of requests that failed because the machine of the browser lacked something, and what the first
// of them lacked.
func ownFailures(requests []browser.Request) (count int, first error) {
	for i := range requests {
		r := &requests[i]
		if own := lack.InBrowser(r.Failed); own != nil && r.Status < 400 && !r.Canceled {
			first = cmp.Or(first, error(own))
			count++
		}
	}
	return count, first
}

// theFirst joins the first few of all.
func theFirst(all []string, most int) string {
	if len(all) <= most {
		return strings.Join(all, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(all[:most], ", "), len(all)-most)
}

func loadWithin(ctx context.Context, w *steps.World, a steps.Args) error {
	limit, err := a.Duration(0)
	if err != nil {
		return err
	}
	p, err := currentPage(ctx, w)
	if err != nil {
		return err
	}
	if p.live != nil && p.took < limit { // a script may have started to load another page
		waiting, cancel := context.WithTimeout(ctx, limit-p.took)
		defer cancel()
		if err := p.live.tab.Finish(waiting); err != nil && waiting.Err() == nil {
			return browserFailure(ctx, err, "wait for the page")
		}
		if p, err = currentPage(ctx, w); err != nil {
			return err
		}
	}
	if p.took <= limit {
		return nil
	}
	return steps.Fail(result.ReasonSlow, result.BlameWeb, "load %s within %s: took %s", p, a.Text(0), p.took.Round(time.Millisecond))
}

// livedPage returns the page and the tab that shows it. what names the property that only a browser knows.
func livedPage(ctx context.Context, w *steps.World, what string) (*page, *browser.Tab, error) {
	p, err := currentPage(ctx, w)
	if err != nil {
		return nil, nil, err
	}
	if p.live == nil {
		return nil, nil, steps.FailScenario("%s of %s: %s", what, p, needsBrowser)
	}
	return p, p.live.tab, nil
}

// restingPage waits until the page is idle, but not longer than a step waits for something to appear, so that the
// judged page no longer changes.
func restingPage(ctx context.Context, w *steps.World, what string) (*page, *browser.Tab, error) {
	_, tab, err := livedPage(ctx, w, what)
	if err != nil {
		return nil, nil, err
	}
	until := time.Now().Add(waitInBrowser(w))
	if deadline, limited := ctx.Deadline(); limited && deadline.Add(-evidenceTime).Before(until) {
		until = deadline.Add(-evidenceTime)
	}
	waiting, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	start := time.Now()
	since, err := tab.Quiet(waiting, quietTime)
	if err == nil {
		w.Idle(min(time.Since(since), time.Since(start)))
	}
	if err != nil && waiting.Err() == nil || errors.Is(context.Cause(ctx), steps.ErrStopped) {
		return nil, nil, browserFailure(ctx, err, "wait for the page")
	}
	p, err := currentPage(ctx, w) // it may have changed in the meantime
	return p, tab, err
}

func paintWithin(what string) func(context.Context, *steps.World, steps.Args) error {
	return func(ctx context.Context, w *steps.World, a steps.Args) error {
		limit, err := a.Duration(0)
		if err != nil {
			return err
		}
		look := restingPage
		if what == "first paint" {
			look = livedPage
		}
		p, tab, err := look(ctx, w, "the "+what)
		if err != nil {
			return err
		}
		v, err := tab.Vitals(ctx, max(paintWait, limit-time.Since(tab.Navigation().Begun)))
		if err != nil {
			return browserFailure(ctx, err, "read the page's measurements")
		}
		at, painted, name, help := v.FirstPaint, "", firstPaintName, firstPaintHelp
		if what == "largest paint" {
			at, painted, name, help = v.LargestPaint, v.Largest, largestPaintName, largestPaintHelp
		}
		if at < 0 {
			return steps.Fail(result.ReasonSlow, result.BlameWeb, "%s of %s within %s: no text or image was painted so far, %s after the start", what, p, a.Text(0),
				time.Since(tab.Navigation().Begun).Round(time.Millisecond))
		}
		w.Measure(name, help, at.Seconds())
		if at <= limit {
			return nil
		}
		if painted != "" {
			painted = ", " + painted
		}
		return steps.Fail(result.ReasonSlow, result.BlameWeb, "%s of %s within %s: it took %s%s", what, p, a.Text(0), at.Round(time.Millisecond), painted)
	}
}

func shiftLess(ctx context.Context, w *steps.World, a steps.Args) error {
	limit, err := a.Number(0)
	if err != nil {
		return err
	}
	p, tab, err := restingPage(ctx, w, "the layout's shift")
	if err != nil {
		return err
	}
	v, err := tab.Vitals(ctx, 0)
	if err != nil {
		return browserFailure(ctx, err, "read the page's measurements")
	}
	measureShift(w, v)
	if v.Shift < limit {
		return nil
	}
	most := ""
	if v.Shifted != "" {
		most = ", mostly " + v.Shifted
	}
	return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "expect the layout of %s to shift by less than %s, got %.3f%s", p, a.Text(0), v.Shift, most)
}

// restingActivity returns what the current page did until it was idle.
func restingActivity(ctx context.Context, w *steps.World, what string) (*page, *browser.Tab, *browser.Activity, error) {
	p, tab, err := restingPage(ctx, w, what)
	if err != nil {
		return nil, nil, nil, err
	}
	a := tab.Activity()
	if a == nil {
		return nil, nil, nil, noPage()
	}
	return p, tab, a, nil
}

func noRequestFails(ctx context.Context, w *steps.World, _ steps.Args) error {
	if p, _, err := livedPage(ctx, w, "the requests"); err != nil || p == nil {
		return err
	}
	if err := engineOf(w).complete(ctx); err != nil {
		return err
	}
	p, _, a, err := restingActivity(ctx, w, "the requests")
	if err != nil {
		return err
	}
	measureRequests(w, a)
	if failed := failedRequests(a.Requests); len(failed) > 0 {
		err := steps.Fail(result.ReasonUnexpected, result.BlameWeb, "expect no request of %s to fail: %d of %d failed: %s", p, len(failed), len(a.Requests)+a.Dropped, theFirst(failed, 5))
		if all, own := ownFailures(a.Requests); all == len(failed) {
			return lack.With(err, own)
		}
		return err
	}
	if err := unheard(a, fmt.Sprintf("expect no request of %s to fail", p)); err != nil {
		return err
	}
	if a.Dropped > 0 {
		return steps.Fail(result.ReasonTooLarge, result.BlameWeb, "expect no request of %s to fail: it makes more requests than the %d that are recorded", p, len(a.Requests))
	}
	return nil
}

// unheard fails when a part of the page does things that the browser does not report to its tab.
func unheard(a *browser.Activity, act string) error {
	if a.Unheard == 0 {
		return nil
	}
	return steps.Fail(result.ReasonBrowser, result.BlameMonitor, "%s: none was seen, but %d parts of the page cannot be watched: shared workers, frames in another process of the browser, or workers beyond 100", act, a.Unheard)
}

func nothingLogged(ctx context.Context, w *steps.World, _ steps.Args) error {
	p, _, a, err := restingActivity(ctx, w, "the console")
	if err != nil {
		return err
	}
	measureErrors(w, a)
	if len(a.Errors) == 0 {
		return unheard(a, fmt.Sprintf("expect %s to log no errors", p))
	}
	var logged []string
	for _, m := range a.Errors {
		line, _, _ := strings.Cut(m.Text, "\n") // the stack follows
		if r := []rune(line); len(r) > 160 {
			line = string(r[:160]) + "…"
		}
		logged = append(logged, `"`+line+`"`)
	}
	return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "expect %s to log no errors, got %d: %s", p, len(a.Errors)+a.Unkept, theFirst(logged, 3))
}

func requestsAtMost(ctx context.Context, w *steps.World, args steps.Args) error {
	limit, err := args.Int(0)
	if err != nil {
		return err
	}
	p, _, a, err := restingActivity(ctx, w, "the requests")
	if err != nil {
		return err
	}
	measureRequests(w, a)
	made := len(a.Requests) + a.Dropped
	if made <= limit {
		return nil
	}
	kinds := map[string]int{}
	for _, r := range a.Requests {
		kinds[strings.ToLower(r.Kind)]++
	}
	var shares []string
	for kind, n := range kinds {
		shares = append(shares, fmt.Sprintf("%d %s", n, kind))
	}
	slices.SortFunc(shares, func(a, b string) int { // by number, then by name
		var x, y int
		_, _ = fmt.Sscan(a, &x)
		_, _ = fmt.Sscan(b, &y)
		return cmp.Or(y-x, strings.Compare(a, b))
	})
	return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "expect %s to make at most %d requests, got %d (%s)", p, limit, made, theFirst(shares, 5))
}

func weighAtMost(ctx context.Context, w *steps.World, args steps.Args) error {
	limit, err := steps.ParseSize(args.Text(0), 1)
	if err != nil {
		return err
	}
	p, _, a, err := restingActivity(ctx, w, "the weight")
	if err != nil {
		return err
	}
	weight := measureWeight(w, a)
	if weight > limit {
		heaviest := slices.MaxFunc(a.Requests, func(a, b browser.Request) int { return cmp.Compare(a.Bytes, b.Bytes) })
		return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "expect %s to weigh at most %s, got %d bytes, %d of them %s", p, args.Text(0), weight, heaviest.Bytes, cutURL(heaviest.URL))
	}
	if a.Dropped > 0 {
		return steps.Fail(result.ReasonTooLarge, result.BlameWeb, "expect %s to weigh at most %s: it makes more requests than the %d that are recorded", p, args.Text(0), len(a.Requests))
	}
	return nil
}

func thirdPartiesWithin(ctx context.Context, w *steps.World, args steps.Args) error {
	limit, err := args.Duration(0)
	if err != nil {
		return err
	}
	p, tab, a, err := restingActivity(ctx, w, "the third parties")
	if err != nil {
		return err
	}
	others := thirdParties(tab.URL(), a.Requests)
	measureThirdParties(w, others)
	var slow []string
	for _, o := range others {
		if o.took > limit {
			slow = append(slow, fmt.Sprintf("%s (%s)", o, cutURL(o.url)))
		}
	}
	if len(slow) > 0 {
		return steps.Fail(result.ReasonSlow, result.BlameWeb, "expect no third party of %s to take longer than %s: %s", p, args.Text(0), theFirst(slow, 3))
	}
	if a.Dropped > 0 {
		return steps.Fail(result.ReasonTooLarge, result.BlameWeb, "expect no third party of %s to take longer than %s: it makes more requests than the %d that are recorded", p, args.Text(0), len(a.Requests))
	}
	return nil
}
