package httpwire

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/address"
)

// APIAnswer is the last answer of a host's API.
type APIAnswer struct {
	What string // "the answer of https://mx1.example.org/api/queue/stats"; empty until a step asks an API
	Body []byte
	Took time.Duration

	reply *Reply // that Body is of
}

// AskHost sends a GET request for a path below the URL of a host's API, with its token, and keeps the answer for the next
// steps.
func AskHost(ctx context.Context, w *steps.World, h *steps.Host, path string) (*APIAnswer, error) {
	kept := steps.State[APIAnswer](w)
	kept.reply.Release()
	*kept = APIAnswer{}
	settings := steps.PartOf[*API](h)
	if settings == nil {
		return nil, h.Missing("api")
	}
	if !strings.HasPrefix(path, "/") {
		return nil, steps.FailScenario("%q is not a path: write it as \"/queue/stats\"", path)
	}
	u, err := address.Parse(strings.TrimSuffix(settings.URL, "/") + path)
	if err != nil {
		return nil, steps.FailScenario("%q is not a path of an API: %w", path, err)
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
	answer, err := Fetch(ctx, w, u, header)
	if err != nil {
		return nil, err
	}
	*kept = APIAnswer{What: "the answer of " + u.String(), Body: answer.Content, Took: time.Since(start), reply: answer}
	return kept, judgeAPIStatus(h, u, answer)
}

func judgeAPIStatus(h *steps.Host, u *address.URL, answer *Reply) error {
	switch status := answer.StatusCode; {
	case status >= 200 && status < 300:
		return nil
	case (status == http.StatusUnauthorized || status == http.StatusForbidden) && steps.PartOf[*API](h).Token == "":
		return steps.Fail(result.ReasonAuth, result.BlameScenario, "GET %s: %s: it needs a token: set hosts.%s.api.token in stepwatch.yml", u, answer.Status, h.Name)
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return steps.Fail(result.ReasonAuth, result.BlameWeb, "GET %s: the token of hosts.%s.api.token was refused with %s", u, h.Name, answer.Status)
	case status >= 300 && status < 400:
		return steps.Fail(result.ReasonRedirect, result.BlameWeb, "GET %s: %s to %.100q, which must not receive the token: set hosts.%s.api.url to the API's URL", u, answer.Status, answer.Header.Get("Location"), h.Name)
	default:
		return steps.Fail(result.ReasonHTTPStatus, result.BlameWeb, "GET %s: status %s, wanted 2xx", u, answer.Status)
	}
}

func init() { steps.RegisterHostSettings("api", func() steps.Block { return new(apiSettings) }) }

// API is an HTTP API of a host.
type API struct {
	URL   string // its root: "https://mail.example.org/api"
	Token string // name of the secret that is sent as "Authorization: Bearer"; empty sends none
}

// apiSettings is the section api of stepwatch.yml.
type apiSettings struct {
	URL   string              `yaml:"url" doc:"its root: https://mail.example.org/api"`
	Token *steps.SecretSource `yaml:"token" doc:"sent as \"Authorization: Bearer\""`
}

// Validate implements Block.
func (a *apiSettings) Validate(env *steps.Env) {
	if u, err := address.Parse(a.URL); err != nil || !u.IsWeb() {
		env.Refuse("url", "%q is not a URL: write it as https://mail.example.org/api", a.URL)
	}
	env.Host.Set(&API{URL: a.URL, Token: env.Secret("token", a.Token)})
}
