package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stepwatch/stepwatch/agent"
	"github.com/stepwatch/stepwatch/agent/latest"
	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/agent/target"
	"github.com/stepwatch/stepwatch/exporters"
	"github.com/stepwatch/stepwatch/steps"
)

// probing answers /probe: it runs one scenario and answers with the metrics of this run, for those who let Prometheus schedule.
// Only loaded scenarios tagged @manual may be probed, because the agent runs the others itself and two runs of a scenario at
// once take each other's mail. Only the targets of the configuration may be asked.
type probing struct {
	agent *agent.Agent
	set   atomic.Pointer[set] // the loaded scenarios and the configuration of the moment
	log   *slog.Logger
	slots chan struct{}

	mu      sync.Mutex
	running map[*agent.Plan]chan struct{} // closed when the probe of a plan has ended
	made    map[aim]*agent.Plan           // those with a target
}

// aim is a scenario with a target.
type aim struct {
	plan   *agent.Plan
	target target.Target
}

// The bounds of probes, beside those of all runs.
const (
	probesAtOnce   = 16                     // requests that are answered or wait at once: they must leave connections to scrapes
	probeOffset    = 500 * time.Millisecond // the answer is there this long before the scraper gives up, as in blackbox_exporter
	probeLeast     = 100 * time.Millisecond // less time proves nothing
	probeTargets   = 1000                   // scenarios with a target that are kept for the next time
	probeResponse  = 20 * time.Second       // to clean up after the deadline of a run, and to take the answer
	scraperTimeout = "X-Prometheus-Scrape-Timeout-Seconds"
)

// answerProbes registers /probe.
func answerProbes(a *agent.Agent, mux *http.ServeMux, loaded *set, log *slog.Logger) *probing {
	p := &probing{agent: a, log: log, slots: make(chan struct{}, probesAtOnce), running: make(map[*agent.Plan]chan struct{}), made: make(map[aim]*agent.Plan)}
	p.take(loaded)
	mux.Handle("GET /probe", p)
	return p
}

// take replaces what may be probed. It keeps nothing of a set that allows no probes.
func (p *probing) take(loaded *set) {
	kept := &set{config: loaded.config}
	if loaded.config.Probe != nil {
		kept.plans, kept.library = loaded.plans, loaded.library
	}
	p.set.Store(kept)
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.made)
}

// refusal is why a probe is not run, with the status of HTTP.
type refusal struct {
	status int
	text   string
}

// Error returns why.
func (r *refusal) Error() string { return r.text }

func refuse(status int, format string, args ...any) error {
	return &refusal{status, fmt.Sprintf(format, args...)}
}

// ServeHTTP implements http.Handler.
func (p *probing) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	default:
		p.fail(w, refuse(http.StatusServiceUnavailable, "%d probes are being answered, the limit: ask again later", probesAtOnce))
		return
	}
	asked := time.Now()
	plan, shown, debug, err := p.wanted(r)
	if err != nil {
		p.fail(w, err)
		return
	}
	limit, err := probeTime(r, plan.Timeout)
	if err != nil {
		p.fail(w, err)
		return
	}
	_ = http.NewResponseController(w).SetWriteDeadline(asked.Add(limit + probeResponse)) // without it, a long probe is cut off
	ctx, cancel := context.WithDeadline(r.Context(), asked.Add(limit))
	defer cancel()
	res, err := p.run(ctx, plan)
	if err != nil {
		p.fail(w, err)
		return
	}
	if res.Reason == result.ReasonCanceled {
		p.fail(w, refuse(http.StatusServiceUnavailable, "the run was stopped: the agent stops, or who asked is gone"))
		return
	}
	of := *res
	of.Identity = shown.Identity // the target is in the scraper's own label
	if !debug {
		if err := exporters.ProbePage(w, r, &of); err != nil && r.Context().Err() == nil {
			p.log.Error("write the page of a probe", "scenario", plan.Identity.String(), "error", err)
		}
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	showProbe(w, plan, limit, &of)
}

// fail answers with why there is no result.
func (p *probing) fail(w http.ResponseWriter, err error) {
	status := http.StatusServiceUnavailable
	var r *refusal
	if errors.As(err, &r) {
		status = r.status
	}
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "10")
	}
	http.Error(w, printable(err.Error()), status)
}

// wanted returns the plan that the query selects, and that of the same scenario without a target.
func (p *probing) wanted(r *http.Request) (plan, shown *agent.Plan, debug bool, err error) {
	asked := r.WithContext(r.Context()) // a GET request that makes something happen
	asked.Method = http.MethodPost
	if err := new(http.CrossOriginProtection).Check(asked); err != nil {
		return nil, nil, false, refuse(http.StatusForbidden, "a page of another site asks for this probe in a browser: that would let every page that you visit run scenarios")
	}
	query := r.URL.Query()
	for name, values := range query {
		if !slices.Contains([]string{"feature", "scenario", "target", "debug"}, name) {
			return nil, nil, false, refuse(http.StatusBadRequest, "the query has no %q: use feature, scenario, target and debug", name)
		}
		if len(values) > 1 {
			return nil, nil, false, refuse(http.StatusBadRequest, "the query has %d times %q: give it once", len(values), name)
		}
	}
	switch query.Get("debug") {
	case "", "false":
	case "true":
		debug = true
	default:
		return nil, nil, false, refuse(http.StatusBadRequest, "debug is %q: write true or false", query.Get("debug"))
	}
	loaded := p.set.Load()
	if loaded.config.Probe == nil {
		return nil, nil, false, refuse(http.StatusForbidden, "probes are off: to let others run scenarios tagged @manual, add the block \"probe: {}\" to stepwatch.yml")
	}
	if shown, err = chosen(loaded.plans, query.Get("feature"), query.Get("scenario")); err != nil {
		return nil, nil, false, err
	}
	if text := query.Get("target"); text != "" {
		plan, err = p.aimed(loaded, shown, text)
		return plan, shown, debug, err
	}
	return shown, shown, debug, nil
}

// chosen returns the only plan of a name.
func chosen(plans []*agent.Plan, feature, scenario string) (*agent.Plan, error) {
	if scenario == "" {
		return nil, refuse(http.StatusBadRequest, "no scenario is named: ask for /probe?scenario=NAME, and add feature=NAME if several have this name")
	}
	var found []*agent.Plan
	var among []result.Identity
	for _, plan := range plans {
		if feature != "" && plan.Identity.Feature != feature {
			continue
		}
		among = append(among, plan.Identity)
		if plan.Identity.Named(scenario) {
			found = append(found, plan)
		}
	}
	switch {
	case len(among) == 0:
		return nil, refuse(http.StatusNotFound, "no loaded feature is called %q", feature)
	case len(found) == 0:
		return nil, refuse(http.StatusNotFound, "%s", latest.NobodyNamed(scenario, among).Error())
	case len(found) > 1:
		return nil, refuse(http.StatusBadRequest, "%d scenarios are called %q: add feature=NAME, or the row as in \"%s (port=25)\"", len(found), scenario, scenario)
	case !found[0].Scenario.Policy.Manual:
		return nil, refuse(http.StatusConflict, "the agent runs %q itself, every %s, and two runs at once would disturb each other: its results are on the page of metrics; tag it @manual to leave it to whoever probes",
			found[0].Identity.String(), found[0].Interval)
	}
	return found[0], nil
}

// aimed returns the plan with a target in it.
func (p *probing) aimed(loaded *set, plan *agent.Plan, text string) (*agent.Plan, error) {
	to, err := target.Parse(text)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "%s", err.Error())
	}
	if !loaded.config.Probe.Allows(to) {
		return nil, refuse(http.StatusForbidden, "the target %q is not allowed: add it to probe.targets in stepwatch.yml", to.String())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	key := aim{plan, to}
	if made := p.made[key]; made != nil {
		return made, nil
	}
	scenario, err := to.Into(plan.Scenario)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "%s", err.Error())
	}
	// Its own name keeps its mail apart from that of other targets.
	scenario.Example = strings.TrimPrefix(scenario.Example+", target="+to.String(), ", ")
	made := agent.NewPlan(scenario, loaded.library, loaded.config.Defaults)
	if len(p.made) >= probeTargets {
		clear(p.made) // they are made again
	}
	p.made[key] = made
	return made, nil
}

// probeTime returns how long a probe may take in all: what the scraper waits, less the way back, and no longer than a run.
func probeTime(r *http.Request, timeout time.Duration) (time.Duration, error) {
	header := r.Header.Get(scraperTimeout)
	if header == "" {
		return timeout, nil
	}
	seconds, err := strconv.ParseFloat(header, 64)
	if err != nil || !(seconds > 0 && seconds < 1e6) {
		return 0, refuse(http.StatusBadRequest, "the header %s is %q: want a number of seconds", scraperTimeout, header)
	}
	limit := time.Duration(seconds*float64(time.Second)) - probeOffset
	if limit < probeLeast {
		return 0, refuse(http.StatusBadRequest, "the scraper waits only %s (%s), of which %s are kept for the way back: raise scrape_timeout", header+"s", scraperTimeout, probeOffset)
	}
	return min(limit, timeout), nil
}

// run runs a plan when it is its turn. Two Prometheus servers may ask for the same.
func (p *probing) run(ctx context.Context, plan *agent.Plan) (*result.Result, error) {
	mine := make(chan struct{})
	for {
		p.mu.Lock()
		other := p.running[plan]
		if other == nil {
			p.running[plan] = mine
			p.mu.Unlock()
			break
		}
		p.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, refuse(http.StatusServiceUnavailable, "another probe of %q did not end in time: ask less often, or raise scrape_timeout", plan.Identity.String())
		}
	}
	defer func() {
		p.mu.Lock()
		delete(p.running, plan)
		p.mu.Unlock()
		close(mine)
	}()
	return p.agent.Probe(ctx, plan)
}

// showProbe writes a run as "run" shows it, and its metrics.
func showProbe(w io.Writer, plan *agent.Plan, limit time.Duration, res *result.Result) {
	p := &pretty{out: w, phases: true}
	p.begin(plan)
	for i, step := range res.Steps {
		if step.Ran {
			showStep(p, plan, i, step)
		}
	}
	p.end(res)
	p.summary()
	if whose := strings.TrimSpace(string(res.Reason) + " " + string(res.Blame)); whose != "" {
		fmt.Fprintf(w, "State %s (%s).", res.State(), whose)
	} else {
		fmt.Fprintf(w, "State %s.", res.State())
	}
	fmt.Fprintf(w, " The run had %s.\n\nMetrics without debug=true:\n\n", limit.Round(time.Millisecond))
	_ = exporters.ProbeText(w, res) // who asked is gone
}

// showStep shows a step of a run that is over.
func showStep(p *pretty, plan *agent.Plan, index int, step result.StepResult) {
	p.StepStarting(index)
	showInner(p, 1, plan.Steps()[index], step)
	p.StepEnded(index, step)
}

// showInner shows the steps inside one.
func showInner(p *pretty, depth int, above *steps.Bound, step result.StepResult) {
	for i, inner := range step.Steps {
		if inner.Ran && above != nil && i < len(above.Inner) {
			p.InnerStarting(depth, above.Inner[i])
			showInner(p, depth+1, above.Inner[i], inner)
			p.InnerEnded(depth, inner)
		}
	}
}
