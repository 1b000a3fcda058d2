package api

import (
	"cmp"
	"net/http"
	"net/url"
	"time"

	"github.com/stepwatch/stepwatch/agent/history"
	"github.com/stepwatch/stepwatch/agent/silence"
)

// The bounds of what clients add to the history.
const (
	authorMost   = 100  // characters
	titleMost    = 200  // characters of what was deployed
	textMost     = 1000 // characters
	linkMost     = 500  // bytes
	aheadMost    = time.Minute
	accountRange = 24 * time.Hour // of what happened, unless asked otherwise
)

var eventRoutes = []route{
	{http.MethodGet, "/api/history", []string{"since", "until", "scenario"}, getHistory},
	{http.MethodPost, "/api/deployments", nil, addDeployment},
	{http.MethodPost, "/api/notes", nil, addNote},
}

// getHistory says what happened: which scenarios were not OK, alerts, deployments and notes, and when an agent ran.
func getHistory(s *Sources, r *request) (any, error) {
	kept, err := s.history()
	if err != nil {
		return nil, err
	}
	since, until, err := r.span(accountRange)
	if err != nil {
		return nil, err
	}
	ids := r.query["scenario"]
	for _, id := range ids {
		if _, err := s.scenario(id); err != nil {
			return nil, err
		}
	}
	return kept.Account(r.Context(), since, until, ids)
}

// span returns the range of time of the parameters since and until. Without them it ends now and is so long.
func (r *request) span(long time.Duration) (since, until time.Time, err error) {
	now := time.Now()
	if since, err = r.moment("since", now); err != nil {
		return since, until, err
	}
	if until, err = r.moment("until", now); err != nil {
		return since, until, err
	}
	if until.IsZero() {
		until = now
	}
	if since.IsZero() {
		since = until.Add(-long)
	}
	if !since.Before(until) {
		return since, until, bad("until", "until is not after since: nothing can be between them")
	}
	return since, until, nil
}

// Noted is the answer to what was added to the history.
type Noted struct {
	At       time.Time `json:"at"`
	Kind     string    `json:"kind"`
	Scenario string    `json:"scenario_id,omitempty"`
	Title    string    `json:"title"`
	Text     string    `json:"text,omitempty"`
	Author   string    `json:"author"`
	Link     string    `json:"link,omitempty"`
}

// deploymentBody is what a client sends about a deployment.
type deploymentBody struct {
	At     time.Time `json:"at"` // default: now
	What   string    `json:"what"`
	Text   string    `json:"text"`
	Author string    `json:"author"` // default: the login
	Link   string    `json:"link"`
}

// addDeployment keeps that something was deployed.
func addDeployment(s *Sources, r *request) (any, error) {
	kept, err := s.history()
	if err != nil {
		return nil, err
	}
	var body deploymentBody
	if err := r.body(&body); err != nil {
		return nil, err
	}
	n := Noted{At: body.At, Kind: history.KindDeployment, Title: body.What, Text: body.Text, Author: cmp.Or(body.Author, s.User(r.Context())), Link: body.Link}
	if err := silence.CheckText("what", n.Title, titleMost, `say what was deployed, such as "webmail 2.4.1"`); err != nil {
		return nil, err
	}
	if n.Text != "" {
		if err := silence.CheckText("text", n.Text, textMost, ""); err != nil {
			return nil, err
		}
	}
	if err := n.check(s.User(r.Context()), "say who deployed it"); err != nil {
		return nil, err
	}
	if n.Link != "" { // the page makes it a link
		if at, err := url.Parse(n.Link); err != nil || at.Scheme != "https" && at.Scheme != "http" || at.Host == "" || at.User != nil || len(n.Link) > linkMost {
			return nil, bad("link", "link is %q: write an address that begins with https:// or http://, without a password, of at most %d bytes", shorten(n.Link), linkMost)
		}
	}
	return n.kept(kept.Deployment(n.At, n.Title, n.Text, n.Author, n.Link))
}

// noteBody is what a client sends to have it remembered.
type noteBody struct {
	At       time.Time `json:"at"`          // default: now
	Scenario string    `json:"scenario_id"` // default: none
	Text     string    `json:"text"`
	Author   string    `json:"author"` // default: the login
}

// addNote keeps what a person wants to be remembered.
func addNote(s *Sources, r *request) (any, error) {
	kept, err := s.history()
	if err != nil {
		return nil, err
	}
	var body noteBody
	if err := r.body(&body); err != nil {
		return nil, err
	}
	n := Noted{At: body.At, Kind: history.KindNote, Scenario: body.Scenario, Title: body.Text, Author: cmp.Or(body.Author, s.User(r.Context()))}
	if err := silence.CheckText("text", n.Title, textMost, "say what should be remembered"); err != nil {
		return nil, err
	}
	if err := n.check(s.User(r.Context()), "say who writes the note"); err != nil {
		return nil, err
	}
	if n.Scenario != "" {
		if _, err := s.scenario(n.Scenario); err != nil {
			return nil, err
		}
	}
	return n.kept(kept.Note(n.At, n.Scenario, n.Title, n.Author))
}

// check checks who adds an event and when it was. Without a time it is now. A login that gives another name is kept beside it.
func (n *Noted) check(login, who string) error {
	now := time.Now()
	if n.At.IsZero() {
		n.At = now
	}
	if n.At.After(now.Add(aheadMost)) {
		return bad("at", "at is %s, which has not come yet: the history has what happened", n.At.Format(time.RFC3339))
	}
	if n.At.Unix() < 0 {
		return bad("at", "at is %s: is the year right?", n.At.Format(time.RFC3339))
	}
	if err := silence.CheckText("author", n.Author, authorMost, who); err != nil {
		return err
	}
	if login != "" && n.Author != login {
		n.Author += " (login " + login + ")"
	}
	return nil
}

// kept returns the answer to an event that the history has taken, or why it has not. It has it in memory at this moment.
func (n *Noted) kept(err error) (any, error) {
	if err != nil {
		return nil, &Problem{Status: http.StatusServiceUnavailable, Detail: err.Error()}
	}
	return accepted{*n}, nil
}
