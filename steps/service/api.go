// Package service holds the sentences about databases, AMQP, exporters and HTTP APIs.
package service

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/httpwire"
	"github.com/stepwatch/stepwatch/steps/jsonpath"
)

func init() {
	steps.RegisterArea(steps.Area{Name: "api", Title: "HTTP APIs", Place: 30})
	const phases = "Phases dns, connect, tls, processing, transfer; measurement http_status_code."
	steps.Register(
		steps.Definition{
			Area: "api", Sentence: `I ask the API of {host} for {text}`,
			Does: "Sends a GET request for this path below the API's URL (hosts.NAME.api.url in stepwatch.yml), with its token, if it has one, as \"Authorization: Bearer\". " +
				"Fails unless the status is 2xx. It follows no redirects, because they would receive the token. The sentences about its answer follow.",
			Measures: phases,
			Example:  `When I ask the API of "mx1" for "/queue/stats"`,
			Func:     askAPI,
		},
		steps.Definition{
			Area: "api", Sentence: `its answer has {text} below {number}`,
			Does:     "Fails unless everything that this JSONPath (RFC 9535) selects in the API's answer is a number below this one. It also fails when nothing is selected.",
			Measures: "Measurement api_value: the number, or the largest of several.",
			Example:  `Then its answer has "$.deferred" below 100`,
			Func:     steps.CompareWorst(apiNumber, worstAPI, "below", func(got, limit float64) bool { return got < limit }, func(a, b float64) bool { return a > b }),
		},
		steps.Definition{
			Area: "api", Sentence: `its answer has {text} above {number}`,
			Does:     "Fails unless everything that this JSONPath (RFC 9535) selects in the API's answer is a number above this one. It also fails when nothing is selected.",
			Measures: "Measurement api_value: the number, or the smallest of several.",
			Example:  `Then its answer has "$.workers[*].free" above 0`,
			Func:     steps.CompareWorst(apiNumber, worstAPI, "above", func(got, limit float64) bool { return got > limit }, func(a, b float64) bool { return a < b }),
		},
		steps.Definition{
			Area: "api", Sentence: `its answer has {text} equal to {text}`,
			Does: "Fails unless everything that this JSONPath (RFC 9535) selects in the API's answer equals this text: strings by content, numbers by value, " +
				"anything else as in JSON (true, null). It also fails when nothing is selected.",
			Example: `Then its answer has "$.status" equal to "ok"`,
			Func:    answerEquals,
		},
		steps.Definition{
			Area: "api", Sentence: `the API answered within {duration}`,
			Does:    "Fails when the API's last answer took longer, from the connection to its last byte.",
			Example: `Then the API answered within 500ms`,
			Func:    answeredWithin,
		},
		steps.Definition{
			Area: "api", Sentence: `the API of {host} is healthy`,
			Does: "Sends a GET request for /health below the API's URL. Fails unless the status is 2xx. If the answer is a JSON object with a member status, that must be one of " +
				strings.Join(healthy, ", ") + ". The sentences about its answer may follow.",
			Measures: phases,
			Example:  `Then the API of "mx1" is healthy`,
			Func:     apiIsHealthy,
		},
	)
}

// healthy are the accepted values of status: those of the draft "Health Check Response Format for HTTP APIs" and other
// common ones.
var healthy = []string{"pass", "ok", "up", "healthy", "green"}

func askAPI(ctx context.Context, w *steps.World, a steps.Args) error {
	h, err := w.Target().Host(a.Text(0))
	if err != nil {
		return err
	}
	_, err = httpwire.AskHost(ctx, w, h, a.Text(1))
	return err
}

// lastAPIAnswer returns the last answer of an API. Without one, the scenario's steps are in the wrong order.
func lastAPIAnswer(w *steps.World) (*httpwire.APIAnswer, error) {
	answer := steps.State[httpwire.APIAnswer](w)
	if answer.What == "" {
		return nil, steps.FailScenario("no API has been asked yet: write `I ask the API of \"mx1\" for \"/queue/stats\"` before this step")
	}
	return answer, nil
}

var apiNumber = steps.Selection{Metric: "api_value", Help: "The number that the step read in an API's answer, or the worst of several."}

// worstAPI is the steps.WorstSelected for a JSONPath in an API's answer.
func worstAPI(ctx context.Context, w *steps.World, path string, worse func(a, b float64) bool) (what string, worst float64, at string, err error) {
	answer, err := lastAPIAnswer(w)
	if err != nil {
		return "", 0, "", err
	}
	values, err := jsonpath.Select(ctx, w.Memory(), answer.Body, path, answer.What)
	if err != nil {
		return "", 0, "", steps.FailNet(ctx, steps.FailFor(result.BlameWeb, err), result.BlameWeb, "read "+answer.What)
	}
	worst, at, err = jsonpath.Worst(values, answer.What, worse)
	return answer.What, worst, at, steps.FailFor(result.BlameWeb, err)
}

func answerEquals(ctx context.Context, w *steps.World, a steps.Args) error {
	answer, err := lastAPIAnswer(w)
	if err != nil {
		return err
	}
	values, err := jsonpath.Select(ctx, w.Memory(), answer.Body, a.Text(0), answer.What)
	if err != nil {
		return steps.FailNet(ctx, steps.FailFor(result.BlameWeb, err), result.BlameWeb, "read "+answer.What)
	}
	for _, v := range values {
		if !v.Equals(a.Text(1)) {
			return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "%s has %s at %s, wanted %q", answer.What, jsonpath.Show(v.Value), v.Path(), a.Text(1))
		}
	}
	return nil
}

func answeredWithin(_ context.Context, w *steps.World, a steps.Args) error {
	answer, err := lastAPIAnswer(w)
	if err != nil {
		return err
	}
	limit, err := a.Duration(0)
	if err != nil {
		return err
	}
	if answer.Took > limit {
		return steps.Fail(result.ReasonSlow, result.BlameWeb, "%s took %s, wanted at most %s", answer.What, answer.Took.Round(10*time.Microsecond), limit)
	}
	return nil
}

func apiIsHealthy(ctx context.Context, w *steps.World, a steps.Args) error {
	h, err := w.Target().Host(a.Text(0))
	if err != nil {
		return err
	}
	answer, err := httpwire.AskHost(ctx, w, h, "/health")
	if err != nil {
		return err
	}
	var said struct {
		Status any `json:"status"`
	}
	// Without JSON, or without such a member, only the HTTP status counts.
	known := json.Unmarshal(answer.Body, &said) == nil && said.Status != nil
	word, _ := said.Status.(string)
	if known && !slices.Contains(healthy, strings.ToLower(word)) {
		return steps.Fail(result.ReasonUnexpected, result.BlameWeb, "%s has the status %s, wanted %s", answer.What, jsonpath.Show(said.Status), strings.Join(healthy, ", "))
	}
	return nil
}
