package api

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/stepwatch/stepwatch/agent/silence"
)

// Silences are the silences that persons have made; *silence.Book is one.
type Silences interface {
	List() []silence.Listed
	Get(id string) (*silence.Listed, error)
	Add(ctx context.Context, r silence.Request, known []silence.Subject) (*silence.Added, error)
	End(ctx context.Context, id, by string) (*silence.Added, error)
	// Windows returns the maintenance windows of the configuration with their current or next times.
	Windows(now time.Time) []silence.Occurrence
}

// SilenceList is the answer to GET /api/silences.
type SilenceList struct {
	Silences []silence.Listed `json:"silences"`
	Next     string           `json:"next,omitempty"` // the cursor of the rest; empty at the end
}

var silenceRoutes = []route{
	{http.MethodGet, "/api/silences", []string{"state", "limit", "cursor"}, listSilences},
	{http.MethodPost, "/api/silences", nil, addSilence},
	{http.MethodGet, "/api/silences/{id}", nil, getSilence},
	{http.MethodDelete, "/api/silences/{id}", []string{"author"}, endSilence},
	{http.MethodGet, "/api/maintenance", nil, listWindows},
}

// WindowList is the answer to GET /api/maintenance. The configuration has a bounded number of windows.
type WindowList struct {
	Windows []silence.Occurrence `json:"windows"`
}

func listWindows(s *Sources, _ *request) (any, error) {
	if s.Silences == nil {
		return nil, absent("this agent keeps no maintenance windows")
	}
	return WindowList{s.Silences.Windows(time.Now())}, nil
}

func listSilences(s *Sources, r *request) (any, error) {
	if s.Silences == nil {
		return nil, absent("this agent keeps no silences")
	}
	limit, err := r.limit()
	if err != nil {
		return nil, err
	}
	for _, wanted := range r.query["state"] {
		if !slices.Contains([]silence.State{silence.Active, silence.Pending, silence.Ended}, silence.State(wanted)) {
			return nil, bad("state", "state is %q: there are active, pending and ended", shorten(wanted))
		}
	}
	after, err := r.single("cursor")
	if err != nil {
		return nil, err
	}
	all := s.Silences.List()
	if after != "" {
		i := slices.IndexFunc(all, func(l silence.Listed) bool { return l.ID == after })
		if i < 0 {
			return nil, bad("cursor", "the silence of the cursor %q is not kept any more: list from the beginning", shorten(after))
		}
		all = all[i+1:]
	}
	list := SilenceList{Silences: make([]silence.Listed, 0, min(len(all), limit))}
	for _, l := range all {
		if len(r.query["state"]) > 0 && !slices.Contains(r.query["state"], string(l.State)) {
			continue
		}
		if len(list.Silences) == limit {
			list.Next = list.Silences[limit-1].ID
			break
		}
		list.Silences = append(list.Silences, l)
	}
	return list, nil
}

func getSilence(s *Sources, r *request) (any, error) {
	if s.Silences == nil {
		return nil, absent("this agent keeps no silences")
	}
	return found(s.Silences.Get(r.PathValue("id")))
}

// found returns a value as any, without a typed nil.
func found[T any](value *T, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return value, nil
}

func addSilence(s *Sources, r *request) (any, error) {
	if s.Silences == nil {
		return nil, absent("this agent keeps no silences")
	}
	var body silence.Request
	if err := r.body(&body); err != nil {
		return nil, err
	}
	body.Login = s.User(r.Context())
	body.Author = cmp.Or(body.Author, body.Login)
	var known []silence.Subject
	if s.Scenarios != nil {
		for _, scenario := range s.Scenarios.Snapshot() {
			known = append(known, silence.Subject{Identity: scenario.Identity, Tags: scenario.Tags})
		}
	}
	added, err := s.Silences.Add(r.Context(), body, known)
	if err != nil {
		return nil, err
	}
	return created{"/api/silences/" + added.ID, added}, nil
}

// endSilence ends a silence; it is kept for a while, to show who has silenced what.
func endSilence(s *Sources, r *request) (any, error) {
	if s.Silences == nil {
		return nil, absent("this agent keeps no silences")
	}
	by, err := r.single("author")
	if err != nil {
		return nil, err
	}
	return found(s.Silences.End(r.Context(), r.PathValue("id"), cmp.Or(by, s.User(r.Context()))))
}
