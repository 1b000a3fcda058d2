package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/stepwatch/stepwatch/agent/apiclient"
	"github.com/stepwatch/stepwatch/agent/result"
)

func init() {
	registerVerb(verb{name: "acknowledge", args: "ALERT", summary: "note in a running agent that somebody takes care of an alert", place: 44, run: acknowledgeVerb})
}

// openAlert is what the verb needs of an element of GET /api/alerts.
type openAlert struct {
	ID       string `json:"id"`
	State    string `json:"state"`
	Severity string `json:"severity"`
	Summary  string `json:"summary"`
	Identity struct {
		Feature  string `json:"feature"`
		Scenario string `json:"scenario"`
		Example  string `json:"example"`
	} `json:"identity"`
	Acknowledged *struct {
		Author  string `json:"author"`
		Comment string `json:"comment"`
	} `json:"acknowledged"`
}

// identity returns what the alert is about; the zero value is stepwatch itself.
func (a *openAlert) identity() result.Identity {
	return result.Identity{Feature: a.Identity.Feature, Scenario: a.Identity.Scenario, Example: a.Identity.Example}
}

// String returns the alert for people.
func (a *openAlert) String() string {
	about := "stepwatch itself"
	if id := a.identity(); id != (result.Identity{}) {
		about = id.String()
	}
	return fmt.Sprintf("%s (%s, %s: %s)", a.ID, about, a.State, a.Summary)
}

// acknowledgeVerb acknowledges an open alert, or withdraws that.
func acknowledgeVerb(ctx context.Context, t *terminal, args []string) int {
	f := flagSet("acknowledge")
	comment := f.String("comment", "", "what is done about the alert")
	withdraw := f.Bool("withdraw", false, "nobody takes care of the alert any more")
	c := remoteFlags(f)
	if code, done := parse(t, f, "ALERT|SCENARIO", args, exitNotRun); done {
		return code
	}
	switch {
	case f.NArg() != 1:
		return notRun(t, fmt.Errorf("name one alert by its id, or by its scenario: got %d arguments", f.NArg()))
	case *withdraw && *comment != "":
		return notRun(t, errors.New("--withdraw takes no --comment"))
	case !*withdraw && *comment == "":
		return notRun(t, errors.New(`say what is done about the alert: --comment "the relay is being replaced"`))
	}
	agent, err := apiclient.New(*c.options)
	if err != nil {
		return notRun(t, err)
	}
	defer agent.Close()
	alerts, err := allOf[*openAlert](ctx, agent, "/api/alerts", "alerts", nil)
	if err != nil {
		return notRun(t, err)
	}
	a, err := findAlert(alerts, f.Arg(0), agent.URL())
	if err != nil {
		return notRun(t, err)
	}
	path, method, body := "/api/alerts/"+url.PathEscape(a.ID)+"/acknowledgement", http.MethodPost, any(map[string]string{"author": c.author, "comment": *comment})
	if *withdraw {
		method, body = http.MethodDelete, nil
	}
	var answer json.RawMessage
	if err := agent.Do(ctx, method, path, nil, body, &answer); err != nil {
		return notRun(t, err)
	}
	switch {
	case c.json && len(answer) > 0:
		return c.write(t, answer)
	case c.json:
		return c.write(t, struct{}{}) // the answer to DELETE has no content
	case *withdraw:
		fmt.Fprintf(t.out, "nobody takes care of %s any more\n", printable(a.String()))
	default:
		fmt.Fprintf(t.out, "acknowledged: %s\n", printable(a.String()))
		if before := a.Acknowledged; before != nil {
			fmt.Fprintf(t.err, "stepwatch: warning: %s had already acknowledged it: %s\n", printable(before.Author), printable(before.Comment))
		}
	}
	return exitPassed
}

// findAlert returns the open alert with an id, or the only one of a scenario.
func findAlert(alerts []*openAlert, wanted, agent string) (*openAlert, error) {
	var found []*openAlert
	for _, a := range alerts {
		if a.ID == wanted {
			return a, nil
		}
		if id := a.identity(); id != (result.Identity{}) && id.Named(wanted) {
			found = append(found, a)
		}
	}
	list := func(some []*openAlert) string {
		const most = 10
		var lines strings.Builder
		for i, a := range some {
			if i == most {
				fmt.Fprintf(&lines, "\n  and %d more", len(some)-most)
				break
			}
			fmt.Fprintf(&lines, "\n  %s", printable(a.String()))
		}
		return lines.String()
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return nil, fmt.Errorf("%q means %d alerts: name one by its id:%s", wanted, len(found), list(found))
	case len(alerts) == 0:
		return nil, fmt.Errorf("%s has no open alert: there is nothing to acknowledge", agent)
	default:
		return nil, fmt.Errorf("no open alert of %s has the id or the scenario %q; these are open:%s", agent, wanted, list(alerts))
	}
}
