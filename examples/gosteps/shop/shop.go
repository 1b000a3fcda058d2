// Package shop is what a team's own sentences mean: they order from the API of a shop.
package shop

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/cucumber/godog"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
)

// Steps registers the sentences. It is called anew for each run of a scenario: what the steps of one run know lives in here.
func Steps(sc *godog.ScenarioContext) {
	s := &shop{}
	sc.Step(`^the shop at "([^"]+)"$`, s.at)
	sc.Step(`^I order:$`, s.place)
	sc.Step(`^the order comes to (\d+\.\d\d)$`, s.comesTo)
	sc.Step(`^at most (\d+) orders are open$`, s.open)
	sc.After(s.cancel)
}

type shop struct {
	url   string
	order *order // what was ordered; nil before
}

type order struct {
	ID    int     `json:"id"`
	Total float64 `json:"total"`
}

func (s *shop) at(url string) { s.url = strings.TrimSuffix(url, "/") }

// place orders what stands in the table: an article and a number of pieces a row, beneath a header.
func (s *shop) place(ctx context.Context, table *godog.Table) error {
	pieces := make(map[string]string)
	for _, row := range table.Rows[1:] {
		pieces[row.Cells[0].Value] = row.Cells[1].Value
	}
	s.order = &order{}
	return s.call(ctx, http.MethodPost, "/orders", pieces, s.order)
}

// comesTo fails with a plain error: the reason is then "unexpected", the blame "target".
func (s *shop) comesTo(want float64) error {
	if s.order == nil {
		return steps.Fail(result.ReasonScenario, result.BlameScenario, "nothing was ordered: begin with \"I order:\"")
	}
	if s.order.Total != want {
		return fmt.Errorf("order %d comes to %.2f, want %.2f", s.order.ID, s.order.Total, want)
	}
	return nil
}

// open measures what it reads, which becomes a metric whether or not the step passes.
func (s *shop) open(ctx context.Context, most int) error {
	var open int
	if err := s.call(ctx, http.MethodGet, "/orders/open", nil, &open); err != nil {
		return err
	}
	steps.WorldFrom(ctx).Measure("shop_orders_open", "Orders that nobody has packed yet.", float64(open))
	if open > most {
		return steps.Fail(result.ReasonUnexpected, result.BlameQueue, "%d orders are open, want at most %d: look at the packing station", open, most)
	}
	return nil
}

// cancel takes the order back after the scenario, whatever became of it.
func (s *shop) cancel(ctx context.Context, _ *godog.Scenario, _ error) (context.Context, error) {
	if s.order == nil || s.order.ID == 0 {
		return ctx, nil
	}
	return ctx, s.call(ctx, http.MethodDelete, fmt.Sprintf("/orders/%d", s.order.ID), nil, nil)
}

// call sends a request, with what is given as JSON, and reads the answer into got. It ends with ctx, the run's time.
func (s *shop) call(ctx context.Context, method, path string, give, got any) error {
	body, err := json.Marshal(give)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, method, s.url+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err // the network's errors keep their reason
	}
	defer response.Body.Close()
	if response.StatusCode >= http.StatusBadRequest {
		return steps.Fail(result.ReasonHTTPStatus, result.BlameWeb, "%s %s: answered %s", method, path, response.Status)
	}
	if got == nil {
		return nil
	}
	if err := json.NewDecoder(response.Body).Decode(got); err != nil {
		return steps.Fail(result.ReasonProtocol, result.BlameWeb, "%s %s: the answer is not the JSON of the API: %w", method, path, err)
	}
	return nil
}
