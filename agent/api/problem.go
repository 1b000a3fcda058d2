package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/stepwatch/stepwatch/agent/silence"
	"github.com/stepwatch/stepwatch/agent/state"
)

const problemMedia = "application/problem+json"

// Problem says what was wrong with a request and what to do (RFC 9457, section 3). Its type is "about:blank", so the title is
// that of the status.
type Problem struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Field  string `json:"field,omitempty"` // the field of the body or the query parameter, if it is about one
}

// Error returns the detail.
func (p *Problem) Error() string { return p.Detail }

// bad returns the problem with a field of a request, or with the whole of it.
func bad(field, format string, args ...any) error {
	return &Problem{Status: http.StatusBadRequest, Detail: fmt.Sprintf(format, args...), Field: field}
}

// missing returns the problem that there is nothing with an id.
func missing(what, id, remedy string) error {
	return &Problem{Status: http.StatusNotFound, Detail: fmt.Sprintf("there is no %s %q: %s", what, shorten(id), remedy)}
}

// absent returns the problem that this agent does not have what was asked for.
func absent(why string) error {
	return &Problem{Status: http.StatusServiceUnavailable, Detail: why}
}

// fail answers with a problem. An error of another kind is not the client's fault, and its words are for the log.
func fail(w http.ResponseWriter, err error) {
	p := problemOf(err)
	p.Title = http.StatusText(p.Status)
	send(w, p.Status, problemMedia, p)
}

// problemOf returns the problem that describes an error.
func problemOf(err error) Problem {
	var (
		p       *Problem
		field   *silence.FieldError
		noAlert *state.NoAlertError
	)
	switch {
	case errors.As(err, &p):
	case errors.As(err, &field):
		p = &Problem{Status: http.StatusBadRequest, Detail: field.Error(), Field: field.Field}
	case errors.As(err, &noAlert):
		p = &Problem{Status: http.StatusNotFound, Detail: noAlert.Error() + " (GET /api/alerts)"}
	case errors.Is(err, silence.ErrUnknown):
		p = &Problem{Status: http.StatusNotFound, Detail: err.Error()}
	case errors.Is(err, silence.ErrEnded):
		p = &Problem{Status: http.StatusConflict, Detail: err.Error()}
	case errors.Is(err, silence.ErrFull):
		p = &Problem{Status: http.StatusConflict, Detail: err.Error()}
	case errors.Is(err, context.DeadlineExceeded):
		p = &Problem{Status: http.StatusServiceUnavailable, Detail: fmt.Sprintf("the answer took longer than %s: ask for less at once (since, until, limit)", queryTime)}
	default:
		p = &Problem{Status: http.StatusInternalServerError, Detail: "the agent could not answer: its log says why"}
	}
	return *p
}
