package cmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"slices"
	"time"

	"github.com/stepwatch/stepwatch/agent"
	"github.com/stepwatch/stepwatch/agent/alert"
	"github.com/stepwatch/stepwatch/agent/collector"
	"github.com/stepwatch/stepwatch/agent/evidence"
	"github.com/stepwatch/stepwatch/agent/jobs"
	"github.com/stepwatch/stepwatch/agent/latest"
	"github.com/stepwatch/stepwatch/agent/recent"
	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/cmd/httpserver"
	"github.com/stepwatch/stepwatch/exporters"
	"github.com/stepwatch/stepwatch/features"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/jobreport"
	"github.com/stepwatch/stepwatch/steps/lack"
)

func init() {
	registerVerb(verb{name: "agent", args: "[PATH…]", summary: "run scenarios on their schedules and export the results", place: 40, run: agentVerb})
}

func agentVerb(ctx context.Context, t *terminal, args []string) int {
	f := flagSet("agent")
	load := loadFlags(t, f)
	load.runFlags(f, true)
	listen := f.String("listen", "", "host:port of the HTTP server (default: listen of stepwatch.yml, 127.0.0.1:9469)")
	webConfig := f.String("web.config.file", "", "TLS and logins of the HTTP server, in the file format of the Prometheus exporters (default: web_config of stepwatch.yml)")
	profiles := f.Bool("pprof", false, "serve /debug/pprof/ to whoever is logged in or on this machine")
	watch := f.Bool("watch", true, "reload when the configuration, a feature or another file that they need changes")
	if code, done := parse(t, f, "[PATH…]", args, exitNotRun); done {
		return code
	}
	hangups := onHangup(t)
	defer t.hangup.Store(nil)
	collector.Pace(collector.Agent)
	begun, unread := time.Now(), load.unread(f.Args(), *watch)
	set, err := load.watched(f.Args())
	if err != nil {
		return notRun(t, err)
	}
	log := slog.New(slog.NewTextHandler(t.err, nil))
	claim, mine, err := claimState(set, log)
	if err != nil {
		return notRun(t, err)
	}
	defer claim.Close()
	mistakes := make(map[string]int)
	for _, found := range set.found {
		if found.severity != mistaken {
			fmt.Fprintln(t.err, found)
			continue
		}
		if found.Rule == features.RuleNeeds {
			log.Error("a tag has a mistake: it explains no failure until it is fixed", "file", found.Path, "line", found.Line, "rule", string(found.Rule), "mistake", printable(found.Message))
			continue
		}
		mistakes[found.Path]++
		log.Error("a feature has a mistake: it is UNKNOWN until it is fixed", "file", found.Path, "line", found.Line, "rule", string(found.Rule), "mistake", printable(found.Message))
	}
	if *listen == "" {
		*listen = set.config.Listen
	}
	if set.usesBrowser() && os.Getuid() == 0 && set.browser().Local() {
		log.Warn("the browser runs without its sandbox because stepwatch runs as root: run stepwatch as an ordinary user")
	}
	loadOnce(ctx, log)
	keep, err := openKeeping(ctx, set, mine, log)
	if err != nil {
		return notRun(t, err)
	}
	defer keep.close(log)
	s, err := newService(ctx, set, keep, serverOptions{listen: *listen, webConfig: cmp.Or(*webConfig, set.config.WebConfig), profiles: *profiles}, log)
	if err != nil {
		return notRun(t, err)
	}
	s.agent.Mistakes = mistakes
	reloads := newReloader(load, f.Args(), set, s.runner, s.agent, log, unread, begun)
	defer reloads.stop()
	s.reloads = reloads
	s.mux.Handle("/-/reload", reloads.handler())
	kept := evidence.New(set.config.EvidenceDir(), set.config.Evidence, log)
	s.agent.Sinks["evidence"] = kept
	reloads.applied = append(reloads.applied, s.apply, evidenceLimits(kept))
	kept.Lacking = func(own *result.Lack) { s.agent.Lacking("evidence", own) }
	for _, w := range limitWarnings(lack.Read(), set.plans, s.agent.Stats().Workers, set.usesBrowser() && set.browser().Local()) {
		log.Warn("a limit of this machine is low: " + w)
	}
	fmt.Fprintf(t.err, "stepwatch watches %s, metrics are at %s\n", scheduled(set.plans), s.server.URL("/metrics"))
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	go kept.SweepHourly(ctx) // nobody waits for a slow disk
	go hangups.serve(ctx, reloads, stop)
	if *watch {
		go reloads.watchFiles(ctx)
	}
	t.serving(s.agent)
	set.release()
	debug.FreeOSMemory() // reading the features leaves several times as much garbage as they need
	if err := s.run(ctx); err != nil {
		return notRun(t, err)
	}
	return exitPassed
}

// evidenceLimits takes the limits of the evidence from a later set.
func evidenceLimits(kept *evidence.Store) func(*set) {
	return func(later *set) { kept.SetLimits(later.config.Evidence) }
}

// serving says how many runs are in progress, for a second signal.
func (t *terminal) serving(a *agent.Agent) {
	busy := func() string {
		if n := a.Stats().Running; n > 0 {
			return counted(n, "run")
		}
		return ""
	}
	t.busy.Store(&busy)
}

// service is an agent with its exporters and its HTTP server.
type service struct {
	agent   *agent.Agent
	runner  *agent.Runner // the first
	mux     *http.ServeMux
	health  health
	server  *httpserver.Server
	closers []exporters.Closer
	keep    *keeping
	inbox   *jobs.Inbox
	probes  *probing
	reloads *reloader // nil if nothing is loaded again
	recent  *recent.Recorder
	latest  *latest.Results
	log     *slog.Logger
}

// apply takes what a later set says about what is not part of the runs.
func (s *service) apply(later *set) {
	s.keep.apply(later)
	s.agent.References.Set(later.config.References)
	s.inbox.Set(steps.SettingsOf[jobreport.Jobs](later.target()), later.config.Secrets)
	s.probes.take(later)
}

// serverOptions say what the HTTP server of a service is like.
type serverOptions struct {
	listen    string // host:port
	webConfig string // the path of a web configuration file; empty for neither TLS nor a login
	profiles  bool   // serve /debug/pprof/
}

// newService creates the configured exporters and always the Prometheus exporter, and opens the port. sinks also get the
// results.
func newService(ctx context.Context, set *set, keep *keeping, o serverOptions, log *slog.Logger, sinks ...agent.Sink) (*service, error) {
	runner := set.agentRunner()
	s := &service{log: log, runner: runner, keep: keep, mux: http.NewServeMux(), agent: &agent.Agent{Runner: runner, Plans: set.plans, Name: set.config.Name, Sinks: make(map[string]agent.Sink),
		States: keep.states, References: agent.NewReferences(set.config.References), Rules: alert.Builtin.Sources(), Limits: set.limits(), Log: log}}
	s.recent = recent.New(s.agent.Stats)
	runner.Log = log
	host := exporters.Host{Stats: s.stats, Version: version(), Log: log}
	var web *httpserver.WebConfig
	if o.webConfig != "" {
		var err error
		if web, err = httpserver.OpenWebConfig(o.webConfig, log); err != nil {
			return nil, err
		}
		for _, w := range web.Warnings() {
			log.Warn("the web configuration is probably not as it was meant: "+w, "file", o.webConfig)
		}
	}
	mux, pages := s.mux, new(httpserver.Pages)
	names := set.config.Exporters()
	if !slices.Contains(names, "prometheus") {
		names = append(names, "prometheus")
	}
	var paths []string
	for _, name := range names {
		config, err := exporters.Builtin.Configure(name, func(into any) error { return set.config.DecodeExporter(name, into) })
		if err != nil {
			return nil, err
		}
		exporter, err := config.New(host)
		if err != nil {
			return nil, fmt.Errorf("start the exporter %q: %w", name, err)
		}
		s.agent.Sinks[name] = exporter
		if endpoint, ok := exporter.(exporters.Endpoint); ok {
			mux.Handle("GET "+endpoint.Path(), pages.Bound(endpoint.Handler()))
			paths = append(paths, endpoint.Path())
		}
		if closer, ok := exporter.(exporters.Closer); ok {
			s.closers = append(s.closers, closer)
		}
	}
	s.latest = keepResults(s.agent)
	s.probes = answerProbes(s.agent, mux, set, log)
	for i, sink := range sinks {
		s.agent.Sinks[fmt.Sprintf("sink %d", i+1)] = sink
	}
	if keep.history != nil {
		s.agent.Sinks["history"] = keep.history
	}
	s.health.serve(mux)
	mux.Handle("/api/", pages.Bound(s.api(set.config.Name, web)))
	mux.Handle("GET /{$}", landing(append(paths, "/api/scenarios", "/api/alerts", "/api/agent", "/api/openapi.yaml")))
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.listen)
	if err != nil {
		return nil, fmt.Errorf("open the HTTP server's port (%s; choose another with --listen): %w", o.listen, err)
	}
	s.inbox = takeReports(set, log)
	s.server = httpserver.New(listener, httpserver.Options{Handler: mux, OwnSecret: map[string]http.Handler{jobs.Prefix: s.inbox}, Web: web, ListenHost: httpserver.Host(o.listen),
		Connections: httpserver.Connections(lack.Read().OpenFiles), Profiles: o.profiles, Log: log})
	return s, nil
}

// stats returns how the agent and its history work.
func (s *service) stats() result.Stats {
	stats := s.agent.Stats()
	if s.keep.history != nil {
		stats.History = s.keep.history.Stats()
	}
	return stats
}

// run runs the agent until ctx ends. Then it waits for the runs, flushes the exporters and closes the port.
func (s *service) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go s.recent.Run(ctx)
	served := make(chan error, 1)
	go func() {
		err := s.server.Serve()
		cancel(err) // without the server nobody can query the agent: stop, so that the service manager restarts it
		served <- err
	}()
	s.health.isReady()
	context.AfterFunc(ctx, s.health.isStopping)
	s.agent.Run(ctx)

	flush, done := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer done()
	var errs []error
	for _, c := range s.closers {
		errs = append(errs, c.Close(flush))
	}
	if h := s.keep.history; h != nil {
		errs = append(errs, h.Close(flush))
	}
	return errors.Join(append(errs, s.server.Shutdown(flush), <-served, s.inbox.Close())...)
}

// scheduled counts the scenarios on a schedule, and those that run only when somebody probes them.
func scheduled(plans []*agent.Plan) string {
	manual := 0
	for _, p := range plans {
		if p.Scenario.Policy.Manual {
			manual++
		}
	}
	text := counted(len(plans)-manual, "scenario")
	if manual > 0 {
		text += fmt.Sprintf(" (%d more tagged @manual)", manual)
	}
	return text
}

// landing returns the handler of the page at "/", which links to the other pages.
func landing(paths []string) http.Handler {
	page := template.Must(template.New("landing").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><title>stepwatch</title>
<style>body{font:16px/1.5 system-ui,sans-serif;margin:3em auto;max-width:40em;padding:0 1em}</style>
<h1>stepwatch</h1>
<p>This agent runs scenarios on their schedules. Its results are at:</p>
<ul>{{range .}}<li><a href="{{.}}">{{.}}</a></li>{{end}}<li><a href="/-/healthy">/-/healthy</a></li><li><a href="/-/ready">/-/ready</a></li></ul>
</html>
`))
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_ = page.Execute(w, paths) // the client disconnected
	})
}
