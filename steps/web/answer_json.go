package web

import (
	"context"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/jsonpath"
)

// The sentences about the JSON of a page or an API.

func init() {
	registerWeb(
		steps.Definition{Area: "web", Sentence: "the JSON at {text} should be {text}",
			Does: "Fails unless every value that this JSONPath (RFC 9535) selects in the response is this: a string by its content, a number by its value, " +
				"anything else as in JSON (true, null). Fails when nothing is selected.",
			Example: `Then the JSON at "$.status" should be "ok"`, Func: jsonShouldBe},
		steps.Definition{Area: "web", Sentence: "the JSON at {text} should be below {number}",
			Does:     "Fails unless every value that this JSONPath selects in the response is a number below this one. Fails when nothing is selected.",
			Measures: "Measurement web_json_value: the number, or the largest of several.",
			Example:  `Then the JSON at "$.queue.length" should be below 100`,
			Func:     steps.CompareWorst(jsonNumber, worstJSON, "below", func(got, limit float64) bool { return got < limit }, func(a, b float64) bool { return a > b })},
		steps.Definition{Area: "web", Sentence: "the JSON at {text} should be above {number}",
			Does:     "Fails unless every value that this JSONPath selects in the response is a number above this one. Fails when nothing is selected.",
			Measures: "Measurement web_json_value: the number, or the smallest of several.",
			Example:  `Then the JSON at "$.workers[*].free" should be above 0`,
			Func:     steps.CompareWorst(jsonNumber, worstJSON, "above", func(got, limit float64) bool { return got > limit }, func(a, b float64) bool { return a < b })},
		steps.Definition{Area: "web", Sentence: "the JSON should have {int} values at {text}",
			Does:     "Fails unless this JSONPath selects exactly this many values in the response: `$.items[*]` counts the elements of an array. 0 means none.",
			Measures: "Measurement web_json_values.",
			Example:  `Then the JSON should have 0 values at "$.errors[*]"`, Func: selectionCounts(jsonCount, countJSON, true)},
		steps.Definition{Area: "web", Sentence: "the JSON should have at least {int} values at {text}",
			Does:     "Fails unless this JSONPath selects at least this many values in the response.",
			Measures: "Measurement web_json_values.",
			Example:  `Then the JSON should have at least 5 values at "$.items[*]"`, Func: selectionCounts(jsonCount, countJSON, false)},
	)
}

// sentBody returns the body as the server sent it, decompressed.
func (p *page) sentBody() ([]byte, error) {
	if p.live == nil {
		return p.Content, nil
	}
	if p.live.request == nil {
		return nil, steps.Fail(result.ReasonUnexpected, result.BlameWeb, "no server sent %s", p)
	}
	body, err := p.live.tab.Body(p.live.ctx, p.live.request)
	if err != nil {
		return nil, browserFailure(p.live.ctx, err, "read the body of "+p.String())
	}
	return body, nil
}

// currentBody returns the current page and its body.
func currentBody(ctx context.Context, w *steps.World) (*page, []byte, error) {
	p, err := currentPage(ctx, w)
	if err != nil {
		return nil, nil, err
	}
	body, err := p.sentBody()
	return p, body, err
}

func jsonShouldBe(ctx context.Context, w *steps.World, a steps.Args) error {
	p, body, err := currentBody(ctx, w)
	if err != nil {
		return err
	}
	values, err := jsonpath.Select(ctx, w.Memory(), body, a.Text(0), p.String())
	if err != nil {
		return readFailure(ctx, err, p.String())
	}
	for _, v := range values {
		if !v.Equals(a.Text(1)) {
			return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "%s has %s at %s, wanted %q", p, jsonpath.Show(v.Value), v.Path(), a.Text(1))
		}
	}
	return nil
}

// worstJSON is the steps.WorstSelected of a JSONPath in the current response.
func worstJSON(ctx context.Context, w *steps.World, path string, worse func(a, b float64) bool) (what string, worst float64, at string, err error) {
	p, body, err := currentBody(ctx, w)
	if err != nil {
		return "", 0, "", err
	}
	values, err := jsonpath.Select(ctx, w.Memory(), body, path, p.String())
	if err != nil {
		return "", 0, "", readFailure(ctx, err, p.String())
	}
	worst, at, err = jsonpath.Worst(values, p.String(), worse)
	return p.String(), worst, at, steps.FailFor(result.BlameWeb, err)
}

func countJSON(ctx context.Context, w *steps.World, path string) (*page, int, error) {
	p, body, err := currentBody(ctx, w)
	if err != nil {
		return nil, 0, err
	}
	values, _, err := jsonpath.Query(ctx, w.Memory(), body, path, p.String())
	if err != nil {
		return nil, 0, readFailure(ctx, err, p.String())
	}
	return p, len(values), nil
}

// readFailure returns the failure of reading values in a response.
func readFailure(ctx context.Context, err error, what string) error {
	return steps.FailNet(ctx, steps.FailFor(result.BlameWeb, err), result.BlameWeb, "read "+what)
}

var (
	jsonNumber = steps.Selection{Metric: "web_json_value", Help: "The number that the step read in the JSON of a response, or the worst of several."}
	jsonCount  = steps.Selection{Metric: "web_json_values", Help: "How many values the step selected in the JSON of a response.", Noun: "values"}
	xmlNumber  = steps.Selection{Metric: "web_xml_value", Help: "The number that the step read in the XML of a response, or the worst of several."}
	xmlCount   = steps.Selection{Metric: "web_xml_nodes", Help: "How many nodes the step selected in the XML of a response.", Noun: "nodes"}
)

// selectionCounts judges how many values a path selects in the current response.
func selectionCounts(of steps.Selection, count func(context.Context, *steps.World, string) (*page, int, error), exactly bool) func(context.Context, *steps.World, steps.Args) error {
	word := "at least "
	if exactly {
		word = ""
	}
	return func(ctx context.Context, w *steps.World, a steps.Args) error {
		wanted, err := a.Int(0)
		if err != nil {
			return err
		}
		p, got, err := count(ctx, w, a.Text(1))
		if err != nil {
			return err
		}
		w.Measure(of.Metric, of.Help, float64(got))
		if got == wanted || !exactly && got > wanted {
			return nil
		}
		return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "%s has %d %s at %s, wanted %s%d", p, got, of.Noun, a.Text(1), word, wanted)
	}
}
