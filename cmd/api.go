package cmd

import (
	"net/http"
	"time"

	"github.com/stepwatch/stepwatch/agent/api"
	"github.com/stepwatch/stepwatch/cmd/httpserver"
)

// api returns the handler of everything below /api/.
func (s *service) api(name string, web *httpserver.WebConfig) http.Handler {
	started := time.Now()
	return api.New(api.Sources{Scenarios: s.agent.States, Alerts: s.agent.States, User: httpserver.User, Log: s.log,
		Agent: func() api.Agent {
			a := api.Agent{Name: name, Version: version(), Started: started}
			a.Take(s.agent.Stats())
			if err := web.Err(); err != nil {
				a.Troubles = append(a.Troubles, "the web configuration has a mistake, and the last good one is used: "+err.Error())
			}
			if err := s.agent.States.Trouble(); err != nil {
				a.Troubles = append(a.Troubles, "the states of the scenarios are not kept: "+err.Error())
			}
			return a
		}})
}
