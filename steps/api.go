package steps

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
)

func init() {
	const phases = "Phases dns, connect, tls, processing, transfer; measurement http_status_code."
	Register(
		Definition{
			Area: "api", Sentence: `I ask the API of {host} for {text}`,
			Does: "Sends a GET request for this path below the API's URL (hosts.NAME.api.url in stepwatch.yml), with its token, if it has one, as \"Authorization: Bearer\". " +
				"Fails unless the status is 2xx. It follows no redirects, because they would receive the token. The sentences about its answer follow.",
			Measures: phases,
			Example:  `When I ask the API of "mx1" for "/queue/stats"`,
			Func:     askAPI,
		},
		Definition{
			Area: "api", Sentence: `its answer has {text} below {number}`,
			Does:     "Fails unless everything that this JSONPath (RFC 9535) selects in the API's answer is a number below this one. It also fails when nothing is selected.",
			Measures: "Measurement api_value: the number, or the largest of several.",
			Example:  `Then its answer has "$.deferred" below 100`,
			Func:     selectionCompares(apiNumber, worstAPI, "below", func(got, limit float64) bool { return got < limit }, func(a, b float64) bool { return a > b }),
		},
		Definition{
			Area: "api", Sentence: `its answer has {text} above {number}`,
			Does:     "Fails unless everything that this JSONPath (RFC 9535) selects in the API's answer is a number above this one. It also fails when nothing is selected.",
			Measures: "Measurement api_value: the number, or the smallest of several.",
			Example:  `Then its answer has "$.workers[*].free" above 0`,
			Func:     selectionCompares(apiNumber, worstAPI, "above", func(got, limit float64) bool { return got > limit }, func(a, b float64) bool { return a < b }),
		},
		Definition{
			Area: "api", Sentence: `its answer has {text} equal to {text}`,
			Does: "Fails unless everything that this JSONPath (RFC 9535) selects in the API's answer equals this text: strings by content, numbers by value, " +
				"anything else as in JSON (true, null). It also fails when nothing is selected.",
			Example: `Then its answer has "$.status" equal to "ok"`,
			Func:    answerEquals,
		},
		Definition{
			Area: "api", Sentence: `the API answered within {duration}`,
			Does:    "Fails when the API's last answer took longer, from the connection to its last byte.",
			Example: `Then the API answered within 500ms`,
			Func:    answeredWithin,
		},
		Definition{
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

// apiAnswer is the last answer of a host's API.
type apiAnswer struct {
	what string // "the answer of https://mx1.example.org/api/queue/stats"; empty until a step asks an API
	body []byte
	took time.Duration
}

func askAPI(ctx context.Context, w *World, a Args) error {
	h, err := w.target.Host(a.Text(0))
	if err != nil {
		return err
	}
	_, err = askHost(ctx, w, h, a.Text(1))
	return err
}

// askHost sends a GET request for a path below the URL of a host's API, with its token, and keeps the answer for the next
// steps.
func askHost(ctx context.Context, w *World, h *Host, path string) (*apiAnswer, error) {
	kept := State[apiAnswer](w)
	*kept = apiAnswer{}
	settings := PartOf[*API](h)
	if settings == nil {
		return nil, h.Missing("api")
	}
	if !strings.HasPrefix(path, "/") {
		return nil, scenarioFault("%q is not a path: write it as \"/queue/stats\"", path)
	}
	u, err := url.Parse(strings.TrimSuffix(settings.URL, "/") + path)
	if err != nil {
		return nil, scenarioFault("%q is not a path of an API: %w", path, err)
	}
	header := http.Header{"Accept": {"application/json"}}
	if settings.Token != "" {
		token, err := w.Secret(ctx, settings.Token)
		if err != nil {
			return nil, err
		}
		header.Set("Authorization", "Bearer "+token.Reveal())
	}
	start := time.Now()
	answer, err := w.fetch(ctx, u, header)
	if err != nil {
		return nil, err
	}
	*kept = apiAnswer{what: "the answer of " + shownURL(u), body: answer.body, took: time.Since(start)}
	return kept, judgeAPIStatus(h, u, answer)
}

func judgeAPIStatus(h *Host, u *url.URL, answer *reply) error {
	switch status := answer.StatusCode; {
	case status >= 200 && status < 300:
		return nil
	case (status == http.StatusUnauthorized || status == http.StatusForbidden) && PartOf[*API](h).Token == "":
		return Fail(result.ReasonAuth, result.BlameScenario, "GET %s: %s: it needs a token: set hosts.%s.api.token in stepwatch.yml", shownURL(u), answer.Status, h.Name)
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return Fail(result.ReasonAuth, result.BlameWeb, "GET %s: the token of hosts.%s.api.token was refused with %s", shownURL(u), h.Name, answer.Status)
	case status >= 300 && status < 400:
		return Fail(result.ReasonRedirect, result.BlameWeb, "GET %s: %s to %.100q, which must not receive the token: set hosts.%s.api.url to the API's URL", shownURL(u), answer.Status, answer.Header.Get("Location"), h.Name)
	default:
		return Fail(result.ReasonHTTPStatus, result.BlameWeb, "GET %s: status %s, wanted 2xx", shownURL(u), answer.Status)
	}
}

// fetch sends one GET request for something other than a page, over its own connection. It follows no redirects and
// reports the phases and the status.
func (w *World) fetch(ctx context.Context, u *url.URL, header http.Header) (*reply, error) {
	act := "GET " + shownURL(u)
	c, err := dialHTTP(ctx, w, u, httpWay{direct: true})
	if err != nil {
		return nil, err
	}
	defer c.close()
	header["User-Agent"], header["Accept-Encoding"] = userAgent, gzipOnly
	request := &http.Request{Method: http.MethodGet, URL: u, Host: u.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: header}
	answer, err := c.exchange(ctx, w, request, intake{limit: bodyLimit(w)})
	if err != nil {
		err = c.refusal(ctx, err, act)
	}
	switch {
	case errors.Is(err, errHeaderTooLarge):
		return nil, Fail(result.ReasonTooLarge, result.BlameWeb, "%s: %w", act, err)
	case err != nil:
		return nil, FailNet(ctx, err, result.BlameWeb, act)
	}
	w.Measure("http_status_code", "Status code of the last answer.", float64(answer.StatusCode))
	switch {
	case errors.Is(answer.broken, errBodyTooLarge):
		return nil, Fail(result.ReasonTooLarge, result.BlameWeb, "%s: the answer is larger than the limit of %d bytes; web.body_limit in stepwatch.yml raises it", act, bodyLimit(w))
	case errors.Is(answer.broken, errEncoding):
		return nil, Fail(result.ReasonProtocol, result.BlameWeb, "%s: %w", act, answer.broken)
	case answer.broken != nil:
		return nil, FailNet(ctx, answer.broken, result.BlameWeb, fmt.Sprintf("%s: read the answer, got %d bytes", act, len(answer.body)))
	}
	return answer, nil
}

// lastAPIAnswer returns the last answer of an API. Without one, the scenario's steps are in the wrong order.
func lastAPIAnswer(w *World) (*apiAnswer, error) {
	answer := State[apiAnswer](w)
	if answer.what == "" {
		return nil, scenarioFault("no API has been asked yet: write `I ask the API of \"mx1\" for \"/queue/stats\"` before this step")
	}
	return answer, nil
}

var apiNumber = selection{metric: "api_value", help: "The number that the step read in an API's answer, or the worst of several."}

// worstAPI is the worstSelected for a JSONPath in an API's answer.
func worstAPI(_ context.Context, w *World, path string, worse func(a, b float64) bool) (what string, worst float64, at string, err error) {
	answer, err := lastAPIAnswer(w)
	if err != nil {
		return "", 0, "", err
	}
	values, err := selectJSON(answer.body, path, answer.what, result.BlameWeb)
	if err != nil {
		return "", 0, "", err
	}
	worst, at, err = worstNumber(values, answer.what, worse)
	return answer.what, worst, at, err
}

func shownNumber(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) }

func answerEquals(_ context.Context, w *World, a Args) error {
	answer, err := lastAPIAnswer(w)
	if err != nil {
		return err
	}
	values, err := selectJSON(answer.body, a.Text(0), answer.what, result.BlameWeb)
	if err != nil {
		return err
	}
	for _, v := range values {
		if !v.equals(a.Text(1)) {
			return Fail(result.ReasonUnexpected, result.BlameWeb, "%s has %s at %s, wanted %q", answer.what, shownJSON(v.value), v.path, a.Text(1))
		}
	}
	return nil
}

func answeredWithin(_ context.Context, w *World, a Args) error {
	answer, err := lastAPIAnswer(w)
	if err != nil {
		return err
	}
	limit, err := a.Duration(0)
	if err != nil {
		return err
	}
	if answer.took > limit {
		return Fail(result.ReasonSlow, result.BlameWeb, "%s took %s, wanted at most %s", answer.what, answer.took.Round(10*time.Microsecond), limit)
	}
	return nil
}

func apiIsHealthy(ctx context.Context, w *World, a Args) error {
	h, err := w.target.Host(a.Text(0))
	if err != nil {
		return err
	}
	answer, err := askHost(ctx, w, h, "/health")
	if err != nil {
		return err
	}
	var said struct {
		Status any `json:"status"`
	}
	// Without JSON, or without such a member, only the HTTP status counts.
	known := json.Unmarshal(answer.body, &said) == nil && said.Status != nil
	word, _ := said.Status.(string)
	if known && !slices.Contains(healthy, strings.ToLower(word)) {
		return Fail(result.ReasonUnexpected, result.BlameWeb, "%s has the status %s, wanted %s", answer.what, shownJSON(said.Status), strings.Join(healthy, ", "))
	}
	return nil
}
