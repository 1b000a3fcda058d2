package steps

import (
	"context"
	"fmt"

	"github.com/stepwatch/stepwatch/agent/result"
)

// The sentences about JSON that a page or an API answered with.

func init() {
	registerWeb(
		Definition{Area: "web", Sentence: "the JSON at {text} should be {text}",
			Does: "Fails unless everything that this JSONPath (RFC 9535) selects in the answer is this: a text by its content, a number by its value, " +
				"anything else as JSON writes it (true, null). What is not there fails too.",
			Example: `Then the JSON at "$.status" should be "ok"`, Func: jsonShouldBe},
		Definition{Area: "web", Sentence: "the JSON at {text} should be below {number}",
			Does:     "Fails unless everything that this JSONPath selects in the answer is a number below this one. What is not there fails too.",
			Measures: "Measurement web_json_value: the number, the largest of several.",
			Example:  `Then the JSON at "$.queue.length" should be below 100`,
			Func:     selectionCompares(jsonNumber, worstJSON, "below", func(got, limit float64) bool { return got < limit }, func(a, b float64) bool { return a > b })},
		Definition{Area: "web", Sentence: "the JSON at {text} should be above {number}",
			Does:     "Fails unless everything that this JSONPath selects in the answer is a number above this one. What is not there fails too.",
			Measures: "Measurement web_json_value: the number, the smallest of several.",
			Example:  `Then the JSON at "$.workers[*].free" should be above 0`,
			Func:     selectionCompares(jsonNumber, worstJSON, "above", func(got, limit float64) bool { return got > limit }, func(a, b float64) bool { return a < b })},
		Definition{Area: "web", Sentence: "the JSON should have {int} values at {text}",
			Does:     "Fails unless this JSONPath selects that many values in the answer: `$.items[*]` counts the elements of a list. 0 means that there must be none.",
			Measures: "Measurement web_json_values.",
			Example:  `Then the JSON should have 0 values at "$.errors[*]"`, Func: selectionCounts(jsonCount, countJSON, true)},
		Definition{Area: "web", Sentence: "the JSON should have at least {int} values at {text}",
			Does:     "Fails unless this JSONPath selects that many values in the answer, or more.",
			Measures: "Measurement web_json_values.",
			Example:  `Then the JSON should have at least 5 values at "$.items[*]"`, Func: selectionCounts(jsonCount, countJSON, false)},
	)
}

// sentBody is the body as the server sent it, without its compression.
func (p *page) sentBody() ([]byte, error) {
	if p.live == nil {
		return p.body, nil
	}
	if p.live.request == nil {
		return nil, Fail(result.ReasonUnexpected, result.BlameWeb, "%s was sent by no server", p)
	}
	body, err := p.live.tab.Body(p.live.ctx, p.live.request)
	if err != nil {
		return nil, browserFailure(p.live.ctx, err, "read what "+p.String()+" was sent with")
	}
	return body, nil
}

// currentBody gives the current answer and its body.
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

// worstJSON is the worstSelected of a JSONPath in the current answer.
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

// selection says what of an answer a sentence counts or compares, for its measurement and its messages.
type selection struct{ metric, help, noun string }

var (
	jsonNumber = selection{metric: "web_json_value", help: "The number that the step read in the JSON of an answer, the worst of several."}
	jsonCount  = selection{metric: "web_json_values", help: "How many values the step selected in the JSON of an answer.", noun: "values"}
	xmlNumber  = selection{metric: "web_xml_value", help: "The number that the step read in the XML of an answer, the worst of several."}
	xmlCount   = selection{metric: "web_xml_nodes", help: "How many nodes the step selected in the XML of an answer.", noun: "nodes"}
)

// worstSelected gives the worst number that a path selects in an answer, where it stands, and what answered.
type worstSelected func(ctx context.Context, w *World, path string, worse func(a, b float64) bool) (what string, worst float64, at string, err error)

// selectionCompares judges the worst number that a path selects in an answer, in whatever format that is.
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

// selectionCounts judges how many a path selects in the current answer.
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
