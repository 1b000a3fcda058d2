package web

import (
	"cmp"
	"context"
	"encoding/json"
	"encoding/xml"
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/address"
	"github.com/stepwatch/stepwatch/steps/form"
	"github.com/stepwatch/stepwatch/steps/regex"
)

// The sentences about requests that no visitor sends by hand: other methods, bodies, and header fields. A browser
// cannot send them, so they are sent outside its tab, with its cookies.

func init() {
	steps.RegisterKind(steps.Kind{Name: "method", Means: "a method of HTTP: GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS",
		Pattern: `GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS`, Sample: "GET"})
	const (
		does = " The body is the doc string below, or a table of form fields, one per row: name and value. A value `the secret \"members\"` is replaced by the secret from stepwatch.yml: " +
			"as a form field, as a whole value in JSON (`{\"password\": the secret \"members\"}`), as the text of an XML element, or as all of another body. Redirects are followed while the last two labels of the host stay the same. " +
			"The response becomes the current page; in a browser, it is sent outside the tab and stays the current page until a step visits another."
		kind   = " A doc string is sent with this media type."
		untold = " The media type of a doc string is the one after its opening quotes (`\"\"\"json`); JSON is detected."
	)
	for _, way := range []struct {
		act, does string
		any       bool
	}{
		{"I send {method} to {url}", "Sends a request with this method (GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS) to a whole address, or to a path on the current host. Fails unless the final status is 2xx or 3xx.", false},
		{"I try to send {method} to {url}", "Sends a request as `I send` does, and accepts any status.", true},
	} {
		example := "When " + strings.NewReplacer("{method}", "PUT", "{url}", `"https://api.example.org/orders/1"`).Replace(way.act)
		registerWeb(
			steps.Definition{Area: "web", Sentence: way.act, Does: way.does + does + untold,
				Table:    steps.Optional,
				Measures: webMeasures, Example: example + "\n  \"\"\"json\n  {\"amount\": 2}\n  \"\"\"", Func: send(way.any)},
			steps.Definition{Area: "web", Sentence: way.act + " as {text}", Does: way.does + does + kind,
				Table: steps.Optional, DocString: steps.Required,
				Measures: webMeasures, Example: example + " as \"application/merge-patch+json\"\n  \"\"\"\n  {\"amount\": 2}\n  \"\"\"", Func: send(way.any)},
		)
	}
	registerWeb(
		steps.Definition{Area: "web", Sentence: "I set the request header {text} to {text}",
			Does: "From now on sends this header field with each request of the scenario, and replaces a default one. " +
				"Credentials (Authorization, Cookie) do not belong in a feature file: see the sentence with a secret, and `I authenticate`.",
			Example: `Given I set the request header "Accept-Language" to "de"`, Func: setHeader},
		steps.Definition{Area: "web", Sentence: "I set the request header {text} for {url} to the secret {secret}",
			Does:    "Sends a secret from stepwatch.yml in this header field with each request to the server at this address (scheme, host and port), and to no other server. No output shows it.",
			Example: `Given I set the request header "X-Api-Key" for "https://api.example.org/" to the secret "api"`, Func: setSecretHeader},
	)
}

// send returns the function of a sentence that sends a request.
func send(anyStatus bool) func(context.Context, *steps.World, steps.Args) error {
	return func(ctx context.Context, w *steps.World, a steps.Args) error {
		u, err := resolve(ctx, w, a.Text(1))
		if err != nil {
			return err
		}
		v := visit{method: a.Text(0), url: u, anyStatus: anyStatus, sent: true}
		if err := v.takeBody(ctx, w, a); err != nil {
			return err
		}
		return engineOf(w).ask(ctx, w, v)
	}
}

// takeBody reads the body below a step.
func (v *visit) takeBody(ctx context.Context, w *steps.World, a steps.Args) error {
	kind := ""
	if len(a.Captured) > 2 {
		if kind = a.Text(2); !strings.Contains(kind, "/") || !httpguts.ValidHeaderFieldValue(kind) {
			return steps.FailScenario("%q is not a media type: write it as \"application/json\"", kind)
		}
	}
	switch {
	case a.DocString == nil && len(a.Table) == 0:
		if kind != "" {
			return steps.FailScenario("there is no body to send as %s: write it below the step, between two lines of \"\"\"", kind)
		}
		return nil
	case v.method == http.MethodGet || v.method == http.MethodHead:
		return steps.FailScenario("a %s request has no body: remove the one below the step", v.method)
	case a.DocString == nil:
		if kind != "" {
			return steps.FailScenario("a table is sent as application/x-www-form-urlencoded: remove `as %q`", kind)
		}
		return v.takeForm(ctx, w, a.Table)
	}
	switch given := a.DocString.MediaType; {
	case kind != "":
	case strings.Contains(given, "/"):
		kind = given
	case given == "json", given == "xml":
		kind = "application/" + given
	}
	body, err := withSecrets(a.DocString.Content, cmp.Or(kind, "application/json"), func(name string) (string, error) {
		secret, err := w.Secret(ctx, name)
		return secret.Reveal(), err
	})
	if err != nil {
		return err
	}
	v.body, v.contentType = []byte(body), kind
	switch {
	case kind != "":
	case json.Valid(v.body):
		v.contentType = "application/json"
	default:
		return steps.FailScenario("the media type of the body is unknown: add `as \"text/plain\"` to the step")
	}
	return nil
}

// The references to secrets in a body. For JSON the pattern also matches whole strings, so that a reference inside
// another string is not replaced.
var (
	namedSecret = regex.Lazy(`^the secret "([^"]+)"$`)
	jsonSecret  = regex.Lazy(`(?s)the secret "([^"]+)"|"(?:[^"\\]|\\.)*"`)
	xmlSecret   = regex.Lazy(`>\s*the secret "([^"]+)"\s*<`)
	textSecret  = regex.Lazy(`^\s*the secret "([^"]+)"\s*$`)
)

// withSecrets replaces the values of a body that refer to secrets, according to its media type.
func withSecrets(body, kind string, reveal func(name string) (string, error)) (string, error) {
	kind, _, _ = strings.Cut(strings.ToLower(kind), ";")
	kind = strings.TrimSpace(kind)
	pattern, write := textSecret, func(secret string) string { return secret }
	switch {
	case strings.HasSuffix(kind, "json"):
		pattern, write = jsonSecret, func(secret string) string {
			text, _ := json.Marshal(secret) // a string never fails
			return string(text)
		}
	case strings.HasSuffix(kind, "xml"):
		pattern, write = xmlSecret, func(secret string) string {
			var text strings.Builder
			_ = xml.EscapeText(&text, []byte(secret)) // a Builder never fails
			return ">" + text.String() + "<"
		}
	}
	var failed error
	filled := pattern.ReplaceAllStringFunc(body, func(found string) string {
		name := pattern.FindStringSubmatch(found)[1]
		if name == "" { // a JSON string, which may itself be a reference
			var text string
			if json.Unmarshal([]byte(found), &text) != nil {
				return found
			}
			m := namedSecret.FindStringSubmatch(text)
			if m == nil {
				return found
			}
			name = m[1]
		}
		secret, err := reveal(name)
		if err != nil {
			failed = cmp.Or(failed, err)
			return found
		}
		return write(secret)
	})
	return filled, failed
}

func (v *visit) takeForm(ctx context.Context, w *steps.World, table [][]string) error {
	list := make([]form.Entry, len(table))
	for i, row := range table {
		if len(row) != 2 {
			return steps.FailScenario("row %d of the table has %d cells; write a field's name and its value, as in | name | Ann |", i+1, len(row))
		}
		list[i] = form.Entry{Name: row[0], Value: row[1]}
		if m := namedSecret.FindStringSubmatch(row[1]); m != nil {
			secret, err := w.Secret(ctx, m[1])
			if err != nil {
				return err
			}
			list[i].Value = secret.Reveal()
		}
	}
	v.body, v.contentType = []byte(form.URLEncoded(list, nil)), "application/x-www-form-urlencoded"
	return nil
}

// ask makes the response the current page, like a visit.
func (s *httpSession) ask(ctx context.Context, w *steps.World, v visit) error {
	return s.load(ctx, w, v)
}

func (s *browserSession) ask(ctx context.Context, w *steps.World, v visit) error {
	visitor, end, err := s.beside(ctx, w)
	if err != nil {
		return err
	}
	defer end()
	err = visitor.load(ctx, w, v)
	s.answer = visitor.page
	return err
}

// requestHeader is a header field to send with requests.
type requestHeader struct {
	origin      string // the servers it is for, in the form of address.URL.Origin; empty means all
	name, value string
}

// covers reports whether requests for u get the field.
func (h requestHeader) covers(u *address.URL) bool {
	return h.origin == "" || h.origin == u.Origin()
}

// refusedHeaders are fields that a step cannot set, and what to write instead.
var refusedHeaders = map[string]string{
	"Host":           "connect_to in stepwatch.yml connects a name to another address",
	"Content-Type":   "write the media type of the body after it: `as \"application/json\"`",
	"Content-Length": "", "Transfer-Encoding": "", "Connection": "", "Keep-Alive": "", "Te": "", "Trailer": "", "Upgrade": "", "Expect": "", "Proxy-Connection": "",
	"Proxy-Authorization": "",
}

// headerName returns the canonical name of a field that a step may set.
func headerName(text string) (string, error) {
	name := textproto.CanonicalMIMEHeaderKey(text)
	if !httpguts.ValidHeaderFieldName(text) {
		return "", steps.FailScenario("%q is not the name of a header field", text)
	}
	if instead, refused := refusedHeaders[name]; refused {
		if instead == "" {
			instead = "it belongs to the connection"
		}
		return "", steps.FailScenario("the header %q cannot be set: %s", name, instead)
	}
	return name, nil
}

func setHeader(ctx context.Context, w *steps.World, a steps.Args) error {
	name, err := headerName(a.Text(0))
	if err != nil {
		return err
	}
	if secretHeader(name) {
		return steps.FailScenario("the header %q contains credentials: write `I set the request header %q for \"https://www.example.org/\" to the secret \"…\"`, or `I authenticate`", name, name)
	}
	if !httpguts.ValidHeaderFieldValue(a.Text(1)) {
		return steps.FailScenario("%q cannot be the value of a header field", a.Text(1))
	}
	return sendHeader(ctx, w, requestHeader{name: name, value: a.Text(1)})
}

func setSecretHeader(ctx context.Context, w *steps.World, a steps.Args) error {
	name, err := headerName(a.Text(0))
	if err != nil {
		return err
	}
	origin, err := originOf(w, a.Text(1))
	if err != nil {
		return err
	}
	secret, err := w.Secret(ctx, a.Text(2))
	if err != nil {
		return err
	}
	if !httpguts.ValidHeaderFieldValue(secret.Reveal()) {
		return steps.Fail(result.ReasonConfig, result.BlameScenario, "the secret %q contains characters that are not allowed in a header field, such as line breaks", a.Text(2))
	}
	return sendHeader(ctx, w, requestHeader{origin: origin, name: name, value: secret.Reveal()})
}

// sendHeader adds a field to the scenario's requests from now on. It replaces an earlier one for the same servers.
func sendHeader(ctx context.Context, w *steps.World, h requestHeader) error {
	session := steps.State[httpSession](w)
	session.headers = append(slices.DeleteFunc(session.headers, func(o requestHeader) bool { return o.name == h.name && o.origin == h.origin }), h)
	if !w.InBrowser {
		return nil
	}
	tab, err := steps.State[browserSession](w).ready()
	if err != nil {
		return err
	}
	if err := tab.SetHeader(ctx, h.origin, h.name, h.value); err != nil {
		return browserFailure(ctx, err, "set the request header")
	}
	return nil
}
