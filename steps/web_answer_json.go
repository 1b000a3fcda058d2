package steps

import (
	"context"
	"fmt"

	"github.com/stepwatch/stepwatch/agent/result"
)

// The sentences about the JSON of a page or an API.

func init() {
	registerWeb(
		Definition{Area: "web", Sentence: "the JSON at {text} should be {text}",
			Does: "Fails unless every value that this JSONPath (RFC 9535) selects in the response is this: a string by its content, a number by its value, " +
				"anything else as in JSON (true, null). Fails when nothing is selected.",
			Example: `Then the JSON at "$.status" should be "ok"`, Func: jsonShouldBe},
		Definition{Area: "web", Sentence: "the JSON at {text} should be below {number}",
			Does:     "Fails unless every value that this JSONPath selects in the response is a number below this one. Fails when nothing is selected.",
			Measures: "Measurement web_json_value: the number, or the largest of several.",
			Example:  `Then the JSON at "$.queue.length" should be below 100`,
			Func:     selectionCompares(jsonNumber, worstJSON, "below", func(got, limit float64) bool { return got < limit }, func(a, b float64) bool { return a > b })},
		Definition{Area: "web", Sentence: "the JSON at {text} should be above {number}",
			Does:     "Fails unless every value that this JSONPath selects in the response is a number above this one. Fails when nothing is selected.",
			Measures: "Measurement web_json_value: the number, or the smallest of several.",
			Example:  `Then the JSON at "$.workers[*].free" should be above 0`,
			Func:     selectionCompares(jsonNumber, worstJSON, "above", func(got, limit float64) bool { return got > limit }, func(a, b float64) bool { return a < b })},
		Definition{Area: "web", Sentence: "the JSON should have {int} values at {text}",
			Does:     "Fails unless this JSONPath selects exactly this many values in the response: `$.items[*]` counts the elements of an array. 0 means none.",
			Measures: "Measurement web_json_values.",
			Example:  `Then the JSON should have 0 values at "$.errors[*]"`, Func: selectionCounts(jsonCount, countJSON, true)},
		Definition{Area: "web", Sentence: "the JSON should have at least {int} values at {text}",
			Does:     "Fails unless this JSONPath selects at least this many values in the response.",
			Measures: "Measurement web_json_values.",
			Example:  `Then the JSON should have at least 5 values at "$.items[*]"`, Func: selectionCounts(jsonCount, countJSON, false)},
	)
}

// sentBody returns the body as the server sent it, decompressed.
func (p *page) sentBody() ([]byte, error) {
	if p.live == nil {
		return p.body, nil
	}
	if p.live.request == nil {
		return nil, Fail(result.ReasonUnexpected, result.BlameWeb, "no server sent %s", p)
	}
	body, err := p.live.tab.Body(p.live.ctx, p.live.request)
	if err != nil {
		return nil, browserFailure(p.live.ctx, err, "read the body of "+p.String())
	}
	return body, nil
}

// currentBody returns the current page and its body.
func currentBody(ctx context.Context, w *World) (*page, []byte, error) {
	p, err := currentPage(ctx, w)
	if err != nil {
		return nil, nil, err
	}
	body, err := p.sentBody()
	return p, body, err
}

func jsonShouldBe(ctx context.Context, w *World, a Args) error {
	p, body, err := currentBody(ctx, w)
	if err != nil {
		return err
	}
	values, err := selectJSON(body, a.Text(0), p.String(), result.BlameWeb)
	if err != nil {
		return err
	}
	for _, v := range values {
		if !v.equals(a.Text(1)) {
			return Fail(result.ReasonUnexpected, result.BlameWeb, "%s has %s at %s, wanted %q", p, shownJSON(v.value), v.path, a.Text(1))
		}
	}
	return nil
}

// worstJSON is the worstSelected of a JSONPath in the current response.
func worstJSON(ctx context.Context, w *World, path string, worse func(a, b float64) bool) (what string, worst float64, at string, err error) {
	p, body, err := currentBody(ctx, w)
	if err != nil {
		return "", 0, "", err
	}
	values, err := selectJSON(body, path, p.String(), result.BlameWeb)
	if err != nil {
		return "", 0, "", err
	}
	worst, at, err = worstNumber(values, p.String(), worse)
	return p.String(), worst, at, err
}

func countJSON(ctx context.Context, w *World, path string) (*page, int, error) {
	p, body, err := currentBody(ctx, w)
	if err != nil {
		return nil, 0, err
	}
	values, _, err := queryJSON(body, path, p.String(), result.BlameWeb)
	return p, len(values), err
}

// selection describes the values that a sentence counts or compares, for its measurement and its messages.
type selection struct{ metric, help, noun string }

var (
	jsonNumber = selection{metric: "web_json_value", help: "The number that the step read in the JSON of a response, or the worst of several."}
	jsonCount  = selection{metric: "web_json_values", help: "How many values the step selected in the JSON of a response.", noun: "values"}
	xmlNumber  = selection{metric: "web_xml_value", help: "The number that the step read in the XML of a response, or the worst of several."}
	xmlCount   = selection{metric: "web_xml_nodes", help: "How many nodes the step selected in the XML of a response.", noun: "nodes"}
)

// worstSelected returns the worst number that a path selects in a response, where it is, and the name of the response.
type worstSelected func(ctx context.Context, w *World, path string, worse func(a, b float64) bool) (what string, worst float64, at string, err error)

// selectionCompares judges the worst number that a path selects in a response of any format.
func selectionCompares(of selection, read worstSelected, word string, fits, worse func(a, b float64) bool) func(context.Context, *World, Args) error {
	return func(ctx context.Context, w *World, a Args) error {
		limit, err := a.Number(1)
		if err != nil {
			return err
		}
		what, worst, at, err := read(ctx, w, a.Text(0), worse)
		if err != nil {
			return err
		}
		w.Measure(of.metric, of.help, worst)
		if !fits(worst, limit) {
			return Fail(result.ReasonUnexpected, result.BlameWeb, "%s has %s at %s, wanted it %s %s", what, shownNumber(worst), at, word, a.Text(1))
		}
		w.Note(fmt.Sprintf("%s is %s", at, shownNumber(worst)))
		return nil
	}
}

// selectionCounts judges how many values a path selects in the current response.
func selectionCounts(of selection, count func(context.Context, *World, string) (*page, int, error), exactly bool) func(context.Context, *World, Args) error {
	word := "at least "
	if exactly {
		word = ""
	}
	return func(ctx context.Context, w *World, a Args) error {
		wanted, err := a.Int(0)
		if err != nil {
			return err
		}
		p, got, err := count(ctx, w, a.Text(1))
		if err != nil {
			return err
		}
		w.Measure(of.metric, of.help, float64(got))
		if got == wanted || !exactly && got > wanted {
			return nil
		}
		return Fail(result.ReasonUnexpected, result.BlameWeb, "%s has %d %s at %s, wanted %s%d", p, got, of.noun, a.Text(1), word, wanted)
	}
}
