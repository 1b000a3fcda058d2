package api

import (
	"cmp"
	"net/http"
	"slices"
	"time"

	"github.com/stepwatch/stepwatch/agent/alert"
	"github.com/stepwatch/stepwatch/agent/silence"
)

// Alerts are the open alerts; *state.Tracker is one.
type Alerts interface {
	// Alerts returns them, soft and hard, the oldest first.
	Alerts() []alert.Alert
	// Acknowledge and Unacknowledge return a *state.NoAlertError if no open alert has the id.
	Acknowledge(alertID, author, comment string) error
	Unacknowledge(alertID string) error
}

// AlertList is the answer to GET /api/alerts.
type AlertList struct {
	Alerts []alert.Alert `json:"alerts"`
	Next   string        `json:"next,omitempty"` // the cursor of the rest; empty at the end
}

var alertRoutes = []route{
	{http.MethodGet, "/api/alerts", []string{"state", "limit", "cursor"}, listAlerts},
	{http.MethodPost, "/api/alerts/{id}/acknowledgement", nil, acknowledge},
	{http.MethodDelete, "/api/alerts/{id}/acknowledgement", nil, unacknowledge},
}

func listAlerts(s *Sources, r *request) (any, error) {
	if s.Alerts == nil {
		return nil, absent("this agent keeps no alerts")
	}
	limit, err := r.limit()
	if err != nil {
		return nil, err
	}
	wanted, err := r.single("state")
	if err != nil {
		return nil, err
	}
	if wanted != "" && wanted != string(alert.Soft) && wanted != string(alert.Hard) {
		return nil, bad("state", "state is %q: open alerts are soft or hard", shorten(wanted))
	}
	after, err := r.single("cursor")
	if err != nil {
		return nil, err
	}
	all := s.Alerts.Alerts()
	if after != "" {
		i := slices.IndexFunc(all, func(a alert.Alert) bool { return a.ID == after })
		if i < 0 {
			return nil, bad("cursor", "the alert of the cursor %q is not open any more: list from the beginning", shorten(after))
		}
		all = all[i+1:]
	}
	list := AlertList{Alerts: make([]alert.Alert, 0, min(len(all), limit))}
	for _, a := range all {
		if wanted != "" && string(a.State) != wanted {
			continue
		}
		if len(list.Alerts) == limit {
			list.Next = list.Alerts[limit-1].ID
			break
		}
		list.Alerts = append(list.Alerts, a)
	}
	return list, nil
}

// acknowledgementBody is what a client sends to acknowledge an alert.
type acknowledgementBody struct {
	Author  string `json:"author"` // default: the login
	Comment string `json:"comment"`
}

func acknowledge(s *Sources, r *request) (any, error) {
	if s.Alerts == nil {
		return nil, absent("this agent keeps no alerts")
	}
	var body acknowledgementBody
	if err := r.body(&body); err != nil {
		return nil, err
	}
	by := silence.Acknowledgement{Author: cmp.Or(body.Author, s.User(r.Context())), Comment: body.Comment, At: time.Now()}
	if err := by.Check(); err != nil {
		return nil, err
	}
	id := r.PathValue("id")
	if err := s.Alerts.Acknowledge(id, by.Author, by.Comment); err != nil {
		return nil, err
	}
	for _, a := range s.Alerts.Alerts() {
		if a.ID == id {
			return a, nil
		}
	}
	return nil, missing("open alert", id, "it has just been resolved")
}

func unacknowledge(s *Sources, r *request) (any, error) {
	if s.Alerts == nil {
		return nil, absent("this agent keeps no alerts")
	}
	return nil, s.Alerts.Unacknowledge(r.PathValue("id"))
}
