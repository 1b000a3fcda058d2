package httpwire

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/address"
	"github.com/stepwatch/stepwatch/steps/limit"
)

// Fetch sends one GET request for something other than a page, over its own connection. It follows no redirects and
// reports the phases and the status. The caller calls Release when it no longer needs the body.
func Fetch(ctx context.Context, w *steps.World, u *address.URL, header http.Header) (*Reply, error) {
	act := "GET " + u.String()
	c, err := Dial(ctx, w, u, Way{direct: true})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	header["User-Agent"], header["Accept-Encoding"] = UserAgent, GzipOnly
	request := Request(http.MethodGet, u, header)
	answer, err := c.Exchange(ctx, w, request, Intake{Limit: BodyLimit(w)})
	if err != nil {
		err = c.Refusal(ctx, err, act)
	}
	if err != nil {
		return nil, steps.FailNet(ctx, err, result.BlameWeb, act)
	}
	w.Measure("http_status_code", "Status code of the last answer.", float64(answer.StatusCode))
	switch {
	case errors.As(answer.Broken, new(*limit.Error)):
		answer.Release()
		return nil, steps.FailNet(ctx, answer.Broken, result.BlameWeb, act)
	case errors.Is(answer.Broken, ErrEncoding):
		return nil, steps.Fail(result.ReasonProtocol, result.BlameWeb, "%s: %w", act, answer.Broken)
	case answer.Broken != nil:
		return nil, steps.FailNet(ctx, answer.Broken, result.BlameWeb, fmt.Sprintf("%s: read the answer, got %d bytes", act, len(answer.Content)))
	}
	return answer, nil
}

// UserAgent identifies the monitor, so that the owner of a site can distinguish its visits from others.
var (
	UserAgent = []string{"stepwatch (+https://github.com/stepwatch/stepwatch)"}
	Accept    = []string{"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
	GzipOnly  = []string{"gzip"}
	Identity  = []string{"identity"}
)
