// Package api is the JSON API of a running agent: its scenarios and their states, alerts, history, silences and maintenance, and how
// the agent itself does. It reads and changes what other packages keep, through small interfaces, and keeps nothing itself.
//
// openapi.yaml documents it, and a test holds that file and the routes together. Errors are problem details (RFC 9457) that
// say what was wrong and what to do. Every list has a limit and a cursor. Query parameters and fields that are not known are
// refused by name, because a misspelt filter would otherwise select everything. Who may change something is not decided
// here, but by the HTTP server before (cmd/httpserver).
package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// The bounds of an answer and of a request.
const (
	limitDefault = 1000     // elements of a list
	limitMost    = 5000     // same, at most
	valueMost    = 500      // bytes of the value of a query parameter
	valuesMost   = 20       // values of one parameter
	bodyMost     = 64 << 10 // bytes of a body; the HTTP server has the same limit
	quotedMost   = 60       // characters of what a client sent, in an error
	queryTime    = 20 * time.Second
)

// Sources are what the API shows and changes. A field that is nil is answered with 503 and the reason.
type Sources struct {
	Scenarios Scenarios
	Latest    Latest
	Alerts    Alerts
	Silences  Silences
	History   History
	NoHistory string                           // why History is nil: "history is off in stepwatch.yml"
	Agent     func() Agent                     // how the agent does
	User      func(ctx context.Context) string // who is logged in; "" without a login
	Log       *slog.Logger
}

// route is an operation of the API.
type route struct {
	method, path string
	query        []string // the parameters that it knows
	serve        func(s *Sources, r *request) (any, error)
}

// routes lists every operation. openapi.yaml documents each of them.
func routes() []route {
	return slices.Concat(scenarioRoutes, resultRoutes, runRoutes, figureRoutes, eventRoutes, alertRoutes, silenceRoutes, agentRoutes)
}

// New returns the handler of everything below /api/.
func New(s Sources) http.Handler {
	if s.User == nil {
		s.User = func(context.Context) string { return "" }
	}
	mux := http.NewServeMux()
	methods := make(map[string][]string)
	for _, route := range routes() {
		methods[route.path] = append(methods[route.path], route.method)
		mux.HandleFunc(route.method+" "+route.path, func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, &route) })
	}
	mux.HandleFunc("GET /api/openapi.yaml", serveDescription)
	methods["/api/openapi.yaml"] = []string{http.MethodGet}
	for path, known := range methods {
		if slices.Contains(known, http.MethodGet) {
			known = append(known, http.MethodHead)
		}
		slices.Sort(known)
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Allow", strings.Join(known, ", "))
			fail(w, &Problem{Status: http.StatusMethodNotAllowed, Detail: fmt.Sprintf("%s cannot be used with %s: use %s", shorten(r.URL.Path), shorten(r.Method), strings.Join(known, ", "))})
		})
	}
	mux.HandleFunc("/api/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, &Problem{Status: http.StatusNotFound, Detail: fmt.Sprintf("the API has no %s: GET /api/openapi.yaml describes what it has", shorten(r.URL.Path))})
	})
	return mux
}

// request is a request whose parameters have been checked.
type request struct {
	*http.Request
	query url.Values
	s     *Sources
}

// created is an answer with the status 201 and the address of what was created.
type created struct {
	location string
	body     any
}

// accepted is an answer with the status 202: what it has is written a moment later.
type accepted struct{ body any }

// serve answers a request to an operation.
func (s *Sources) serve(w http.ResponseWriter, r *http.Request, route *route) {
	query, err := parameters(r, route.query)
	if err != nil {
		fail(w, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), queryTime)
	defer cancel()
	answer, err := route.serve(s, &request{r.WithContext(ctx), query, s})
	if err != nil {
		if problemOf(err).Status >= http.StatusInternalServerError && !errors.As(err, new(*Problem)) { // the others say it to who asked
			s.Log.Error("the API could not answer", "method", r.Method, "path", shorten(r.URL.Path), "error", err)
		}
		fail(w, err)
		return
	}
	status := http.StatusOK
	if made, is := answer.(created); is {
		status, answer = http.StatusCreated, made.body
		w.Header().Set("Location", made.location)
	}
	if later, is := answer.(accepted); is {
		status, answer = http.StatusAccepted, later.body
	}
	if answer == nil {
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusNoContent)
		return
	}
	send(w, status, "application/json", answer)
}

// send writes an answer. What encoding/json escapes includes everything that HTML could take for its own.
func send(w http.ResponseWriter, status int, media string, body any) {
	text, err := json.Marshal(body)
	if err != nil { // a number that is not finite, which nothing here is
		text, status, media = []byte(`{"title":"Internal Server Error","status":500,"detail":"the answer cannot be written as JSON"}`), http.StatusInternalServerError, problemMedia
	}
	h := w.Header()
	h.Set("Content-Type", media)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n')) // the client may have left
}

// parameters reads the query. Every parameter must be known.
func parameters(r *http.Request, known []string) (url.Values, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, bad("", "the query of the address cannot be read: write & between parameters and %%26 for an ampersand in a value")
	}
	for _, name := range slices.Sorted(maps.Keys(query)) {
		if !slices.Contains(known, name) {
			if len(known) == 0 {
				return nil, bad(shorten(name), "there is no query parameter %q, and none at all here", shorten(name))
			}
			return nil, bad(shorten(name), "there is no query parameter %q: there are %s", shorten(name), strings.Join(known, ", "))
		}
		if len(query[name]) > valuesMost {
			return nil, bad(name, "%s is given %d times, the limit is %d", name, len(query[name]), valuesMost)
		}
		for _, value := range query[name] {
			if len(value) > valueMost || !utf8.ValidString(value) {
				return nil, bad(name, "%s must be UTF-8 and have at most %d bytes", name, valueMost)
			}
		}
	}
	return query, nil
}

// single returns the value of a parameter that is given at most once.
func (r *request) single(name string) (string, error) {
	switch values := r.query[name]; len(values) {
	case 0:
		return "", nil
	case 1:
		return values[0], nil
	default:
		return "", bad(name, "%s is given %d times: give it once", name, len(values))
	}
}

// limit returns how many elements of a list are wanted at most.
func (r *request) limit() (int, error) {
	value, err := r.single("limit")
	if err != nil || value == "" {
		return limitDefault, err
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 || n > limitMost {
		return 0, bad("limit", "limit is %q: it must be a number from 1 to %d", shorten(value), limitMost)
	}
	return n, nil
}

// flag returns the value of a parameter that is true or false.
func (r *request) flag(name string) (bool, error) {
	switch value, err := r.single(name); {
	case err != nil:
		return false, err
	case value == "true":
		return true, nil
	case value == "" && !r.query.Has(name), value == "false":
		return false, nil
	default:
		return false, bad(name, "%s is %q: write true or false", name, shorten(value))
	}
}

// moment returns the value of a parameter that is a time, or a duration before now ("24h"); zero without it.
func (r *request) moment(name string, now time.Time) (time.Time, error) {
	value, err := r.single(name)
	if err != nil || value == "" {
		return time.Time{}, err
	}
	if ago, err := time.ParseDuration(value); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	at, err := time.Parse(time.RFC3339, value)
	if err != nil {
		return time.Time{}, bad(name, "%s is %q: write a time such as %s (RFC 3339; a + is %%2B in an address), or how long ago it was, such as 24h", name, shorten(value), now.UTC().Format(time.RFC3339))
	}
	return at, nil
}

// body decodes the body, which must be one JSON object with known fields.
func (r *request) body(into any) error {
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return &Problem{Status: http.StatusUnsupportedMediaType, Detail: fmt.Sprintf("the Content-Type is %q: send JSON with \"Content-Type: application/json\" (curl --json does)", shorten(r.Header.Get("Content-Type")))}
	}
	text, err := io.ReadAll(io.LimitReader(r.Body, bodyMost+1))
	if too := (*http.MaxBytesError)(nil); errors.As(err, &too) || len(text) > bodyMost {
		return &Problem{Status: http.StatusRequestEntityTooLarge, Detail: fmt.Sprintf("the body has more than %d bytes, the limit", bodyMost)}
	}
	if err != nil {
		return bad("", "the body did not arrive whole")
	}
	if !utf8.Valid(text) {
		return bad("", "the body is not valid UTF-8 (RFC 8259, section 8.1)")
	}
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return misread(err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return bad("", "the body has more after the JSON object: send one object")
	}
	return nil
}

// misread words what is wrong with a body.
func misread(err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	var moment *time.ParseError
	switch {
	case errors.Is(err, io.EOF):
		return bad("", "the body is empty: send a JSON object")
	case errors.As(err, &syntax):
		return bad("", "the body is not JSON: there is a mistake at byte %d", syntax.Offset)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return bad("", "the body is not JSON: it ends too early")
	case errors.As(err, &moment):
		return bad("", "%q is not a time: write it as %s (RFC 3339)", shorten(strings.Trim(moment.Value, `"`)), time.Now().UTC().Format(time.RFC3339))
	case errors.As(err, &kind):
		return bad(kind.Field, "the field %q cannot be a JSON %s", shorten(kind.Field), kind.Value)
	}
	if _, name, found := strings.Cut(err.Error(), "unknown field "); found {
		name = strings.Trim(name, `"`)
		return bad(shorten(name), "there is no field %q: GET /api/openapi.yaml describes the fields", shorten(name))
	}
	return bad("", "the body cannot be read: GET /api/openapi.yaml describes the fields")
}

// shorten returns the beginning of what a client sent.
func shorten(text string) string {
	if utf8.RuneCountInString(text) <= quotedMost {
		return strings.ToValidUTF8(text, "?")
	}
	return string([]rune(text)[:quotedMost]) + "…"
}
