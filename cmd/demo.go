package cmd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stepwatch/stepwatch/agent"
	"github.com/stepwatch/stepwatch/agent/config"
	"github.com/stepwatch/stepwatch/agent/cucumber"
	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/features"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/stepstest"
)

func init() {
	registerVerb(verb{name: "demo", summary: "run a mail server, a website and an agent that watches both", place: 10, run: demoVerb})
}

// breakages maps the values of demo --break to their effects.
var breakages = map[string]struct {
	says string
	do   func(*stepstest.MailServer, *stepstest.Website) error
}{
	"mail": {"the mail server refuses every recipient: the sending step fails, and the error shows the refusal",
		func(m *stepstest.MailServer, _ *stepstest.Website) error {
			return m.Break(stepstest.FaultRejectRecipient)
		}},
	"web": {"the website answers 500: the visits fail, and the error shows the status",
		func(_ *stepstest.MailServer, w *stepstest.Website) error {
			w.SetBroken(stepstest.Status500)
			return nil
		}},
	"slow": {"the website takes 1.2 s for each page: the steps pass, but exceed their budget of @warn:1s",
		func(_ *stepstest.MailServer, w *stepstest.Website) error {
			w.SetDelay(1200 * time.Millisecond)
			return nil
		}},
}

// demoVerb starts a mail server and a website on loopback, runs the built-in demo features against them once, shows each
// step, and then runs an agent. It needs no root, no other program and no network.
func demoVerb(ctx context.Context, t *terminal, args []string) int {
	f := flagSet("demo")
	listen := f.String("listen", "", "host:port of the agent's HTTP server (default: 127.0.0.1:9469, or a free port if that is in use)")
	broken := f.String("break", "", "make one thing fail: "+strings.Join(slices.Sorted(maps.Keys(breakages)), ", "))
	once := f.Bool("once", false, "run the features once and stop")
	if code, done := parse(t, f, "", args, exitNotRun); done {
		return code
	}
	breakage, known := breakages[*broken]
	if !known && *broken != "" {
		return notRun(t, fmt.Errorf("--break %q: choose one of %s", *broken, strings.Join(slices.Sorted(maps.Keys(breakages)), ", ")))
	}
	d, err := startDemo(t.glue)
	if err != nil {
		return notRun(t, err)
	}
	defer d.close()
	p := &pretty{out: t.out, colour: t.colour}
	fmt.Fprintf(t.out, "%s A mail server (mail.demo.test) and a website (www.demo.test) run in this process,\non loopback, and stepwatch watches them.\n",
		p.paint(bold, "stepwatch demo."))
	if known {
		if err := breakage.do(d.mail, d.web); err != nil {
			return notRun(t, fmt.Errorf("break the %s: %w", *broken, err))
		}
		fmt.Fprintf(t.out, "%s %s.\n", p.paint(yellow, "Broken on purpose:"), breakage.says)
	}
	fmt.Fprintln(t.out)
	runner := d.set.runner()
	for _, plan := range d.set.plans {
		t.working(plan)
		p.begin(plan)
		p.end(runner.Run(ctx, plan, agent.Occasion{Observer: p}))
	}
	p.summary()
	if *once || ctx.Err() != nil {
		return p.exitCode()
	}
	service, err := d.serve(ctx, *listen, t)
	if err != nil {
		return notRun(t, err)
	}
	fmt.Fprintf(t.out, `
The agent now runs these scenarios on their schedules. It prints one line for each run. Press Ctrl-C to stop.

  metrics     http://%[1]s/metrics
  each step   curl -s http://%[1]s/metrics | grep stepwatch_step_last_duration_seconds
  break it    stepwatch demo --break mail     (or web, or slow)
  sentences   stepwatch steps
  your own    write a .feature file, then: stepwatch run FILE

`, service.server.Address())
	t.serving(service.agent)
	if err := service.run(ctx); err != nil {
		return notRun(t, err)
	}
	return exitPassed
}

// demo is the watched servers and the features that watch them.
type demo struct {
	mail *stepstest.MailServer
	web  *stepstest.Website
	set  *set
}

func startDemo(glue []cucumber.Glue) (*demo, error) {
	ca, err := stepstest.NewCA("stepwatch demo root")
	if err != nil {
		return nil, fmt.Errorf("make the demo's certificates: %w", err)
	}
	passwords := map[string]string{"alice": rand.Text(), "bob": rand.Text()}
	mail, err := stepstest.NewMailServer(stepstest.MailOptions{Domain: "demo.test", CA: ca,
		Users: passwords})
	if err != nil {
		return nil, fmt.Errorf("start the demo's mail server: %w", err)
	}
	web, err := stepstest.NewWebsite(stepstest.WebsiteOptions{CA: ca, Username: "alice", Password: passwords["alice"]})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start the demo's website: %w", err), mail.Close())
	}
	d := &demo{mail: mail, web: web}
	c := config.Default()
	c.Target.Roots = ca.Roots
	c.Target.ConnectTo = mail.ConnectTo()
	maps.Copy(c.Target.ConnectTo, web.ConnectTo())
	c.Target.Accounts = make(map[string]*steps.Account)
	for name := range passwords {
		address := name + "@demo.test"
		c.Target.Accounts[name] = &steps.Account{Name: name, Address: address, Username: address, Password: name,
			SMTP: mail.Host(), IMAP: mail.Host()}
	}
	c.Secrets = stepstest.Secrets(passwords)
	loaded, err := features.Load([]string{"demo"}, features.Options{FS: features.Shipped})
	if err != nil {
		d.close()
		return nil, fmt.Errorf("load the demo's features: %w", err)
	}
	if d.set, err = newSet(c, loaded, glue); err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

func (d *demo) close() {
	if d.set != nil {
		d.set.close()
	}
	_ = d.mail.Close() // the process ends with it
	_ = d.web.Close()
}

// serve starts the agent. If the default port is in use, it takes another one.
func (d *demo) serve(ctx context.Context, listen string, t *terminal) (*service, error) {
	log := slog.New(slog.NewTextHandler(t.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	lines := &runLines{out: t.out, colour: t.colour}
	if listen != "" {
		return newService(ctx, d.set, serverOptions{listen: listen}, log, lines)
	}
	s, err := newService(ctx, d.set, serverOptions{listen: d.set.config.Listen}, log, lines)
	if err != nil && errors.As(err, new(*net.OpError)) {
		return newService(ctx, d.set, serverOptions{listen: "127.0.0.1:0"}, log, lines)
	}
	return s, err
}

// runLines is a sink that writes one line for each run.
type runLines struct {
	mu     sync.Mutex
	out    io.Writer
	colour bool
}

// Export implements agent.Sink.
func (l *runLines) Export(r *result.Result) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := &pretty{colour: l.colour}
	colour := map[result.State]string{result.OK: green, result.Warning: yellow, result.Critical: red, result.Unknown: yellow}[r.State()]
	fmt.Fprintf(l.out, "%s  %s  %s: %s\n", r.Started.Format(time.TimeOnly), p.paint(colour, fmt.Sprintf("%-8s", r.State())),
		r.Identity.Scenario, printable(r.Summary()))
}
