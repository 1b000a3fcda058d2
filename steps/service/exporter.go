package service

import (
	"context"
	"net"
	"net/http"
	"strings"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/address"
	"github.com/stepwatch/stepwatch/steps/exposition"
	"github.com/stepwatch/stepwatch/steps/httpwire"
	"github.com/stepwatch/stepwatch/steps/wording"
)

func init() {
	steps.RegisterArea(steps.Area{Name: "exporter", Title: "Prometheus exporters", Place: 160})
	const selects = " Write the name as on the exporter's page, with the labels in braces that select it: mta_queue_length{queue=\"deferred\"}, in single quotes because of the quotes inside. " +
		"If several samples match, each must pass. A missing sample fails, and the message names similar ones. NaN always fails."
	const measures = "Measurement sample_value: the sample, or the worst of several."
	steps.Register(
		steps.Definition{
			Area: "exporter", Sentence: `I scrape {text}`,
			Does: "Reads another exporter's metrics at this URL, in Prometheus' text format. The URL may contain the name of a host of stepwatch.yml. " +
				"Fails unless the status is 200 and the answer is in this format. The sentences about samples follow.",
			Measures: "Phases dns, connect, tls, processing, transfer; measurement http_status_code.",
			Example:  `When I scrape "http://mx1:8080/metrics"`,
			Func:     scrape,
		},
		steps.Definition{
			Area: "exporter", Sentence: `the sample {text} is below {number}`,
			Does:     "Fails unless the sample is below this number." + selects,
			Measures: measures,
			Example:  `Then the sample "mta_queue_length" is below 1000`,
			Func:     judgeSample("below", func(got, limit float64) bool { return got < limit }, func(a, b float64) bool { return a > b }),
		},
		steps.Definition{
			Area: "exporter", Sentence: `the sample {text} is above {number}`,
			Does:     "Fails unless the sample is above this number." + selects,
			Measures: measures,
			Example:  `Then the sample "mta_workers_idle" is above 0`,
			Func:     judgeSample("above", func(got, limit float64) bool { return got > limit }, func(a, b float64) bool { return a < b }),
		},
		steps.Definition{
			Area: "exporter", Sentence: `the sample {text} is {number}`,
			Does:     "Fails unless the sample is this number." + selects,
			Measures: measures,
			Example:  `Then the sample 'up{job="mta"}' is 1`,
			Func:     judgeSample("to be", func(got, wanted float64) bool { return got == wanted }, nil),
		},
	)
}

// scraped holds what the scenario scraped last.
type scraped struct {
	what    string // "https://mx1.example.org:8080/metrics"; empty until a step scrapes
	samples []exposition.Sample
	size    int64 // in the run's memory
}

func scrape(ctx context.Context, w *steps.World, a steps.Args) error {
	page := steps.State[scraped](w)
	w.Memory().Free(page.size)
	*page = scraped{}
	u, err := address.Parse(a.Text(0))
	if err != nil || !u.IsWeb() {
		return steps.FailScenario("%q is not a URL: write it as \"http://mx1.example.org:8080/metrics\"", address.Shown(a.Text(0)))
	}
	if at := w.Target().AddressOf(u.Hostname()); at != u.Hostname() {
		port := u.Port()
		if u.Host = at; strings.Contains(at, ":") {
			u.Host = "[" + at + "]"
		}
		if port != "" {
			u.Host = net.JoinHostPort(at, port)
		}
	}
	answer, err := httpwire.Fetch(ctx, w, u, http.Header{"Accept": {exposition.Accept}})
	if err != nil {
		return err
	}
	defer answer.Release()
	if answer.StatusCode != http.StatusOK {
		return steps.Fail(result.ReasonHTTPStatus, result.BlameWeb, "scrape %s: status %s, wanted 200", u, answer.Status)
	}
	size, err := exposition.Size(answer.Content)
	if err == nil {
		page.size, err = size, w.Memory().Take(size)
	}
	if err != nil {
		return steps.FailNet(ctx, err, result.BlameWeb, "scrape "+u.String())
	}
	samples, err := exposition.Parse(answer.Content)
	if err != nil {
		return steps.Fail(result.ReasonProtocol, result.BlameWeb, "scrape %s: the answer (%s) is not a page of metrics: %w", u, wording.Excerpt(answer.Header.Get("Content-Type")), err)
	}
	page.what, page.samples = u.String(), samples
	return nil
}

// judgeSample returns the function of a sentence about a sample. Of several samples it measures and names the worst by
// worse. If worse is nil, that is the first one that does not fit.
func judgeSample(word string, fits, worse func(a, b float64) bool) func(context.Context, *steps.World, steps.Args) error {
	return func(_ context.Context, w *steps.World, a steps.Args) error {
		page := steps.State[scraped](w)
		if page.what == "" {
			return steps.FailScenario("no step has scraped anything yet: write `I scrape \"http://mx1.example.org:8080/metrics\"` before this step")
		}
		selector, err := exposition.ParseSelector(a.Text(0))
		if err != nil {
			return steps.FailScenario("%w", err)
		}
		limit, err := a.Number(1)
		if err != nil {
			return err
		}
		found := selector.Select(page.samples)
		if len(found) == 0 {
			return steps.Fail(result.ReasonNotFound, result.BlameWeb, "%s has no sample %s%s", page.what, a.Text(0), didYouMean(selector.Near(page.samples)))
		}
		worst := found[0]
		for _, s := range found[1:] {
			if fits(worst.Value, limit) && !fits(s.Value, limit) || worse != nil && worst.Value == worst.Value && worse(s.Value, worst.Value) {
				worst = s
			}
		}
		w.Measure("sample_value", "The sample that the step read from another exporter, or the worst of several.", worst.Value)
		if !fits(worst.Value, limit) {
			return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "%s has %s %s, wanted it %s %s", page.what, wording.Excerpt(worst.String()), wording.Number(worst.Value), word, a.Text(1))
		}
		w.Note(wording.Excerpt(worst.String()) + " is " + wording.Number(worst.Value))
		return nil
	}
}

func didYouMean(near []string) string {
	if len(near) == 0 {
		return " and no similar one"
	}
	return "; similar ones are " + wording.Excerpt(strings.Join(near, ", "))
}
