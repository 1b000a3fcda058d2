package config

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/stepwatch/stepwatch/agent"
	"github.com/stepwatch/stepwatch/agent/evidence"
	"github.com/stepwatch/stepwatch/agent/history"
	"github.com/stepwatch/stepwatch/agent/silence"
	"github.com/stepwatch/stepwatch/agent/state"
	"github.com/stepwatch/stepwatch/agent/target"
	"github.com/stepwatch/stepwatch/agent/vault"
	"github.com/stepwatch/stepwatch/steps"
)

// build checks the values of a file and converts them. The error has every mistake. before is the configuration that the
// program already runs with, or nil.
func build(d *document, before *Config) (*Config, error) {
	f, v, dir := &d.file, &invalid{path: d.path, source: d.source}, filepath.Dir(d.path)
	// The browser gets paths below the state directory, and has a working directory of its own. Other paths stay as they
	// were written: messages quote them, and those of features are in the identity of each scenario.
	base, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("resolve the paths in %s: %w", d.path, err)
	}
	c := &Config{Path: d.path, Listen: cmp.Or(f.Listen, "127.0.0.1:9469"), Name: f.Name,
		Limits:    agent.Limits{Workers: f.Workers, Parallel: f.Parallel, At: f.At},
		exporters: f.Exporters, values: d.values,
		Target: &steps.Target{ConnectTo: f.ConnectTo, Resolver: f.Resolver, StateDir: stateDir(base, f.State)}}
	secrets := vault.New(dir)
	c.Secrets = secrets
	env := &steps.Env{Target: c.Target, Dir: dir, Report: v.report,
		Keep: func(name string, source any) error { return secrets.AddSetting(name, *source.(*vault.Source)) }}
	env.HostPort("listen", c.Listen)
	if f.WebConfig != "" {
		c.WebConfig = within(dir, f.WebConfig)
	}
	if f.Resolver != "" {
		env.HostPort("resolver", f.Resolver)
	}
	for from, to := range f.ConnectTo {
		env.HostPort("connect_to", from)
		env.HostPort("connect_to", to)
	}
	if c.Name == "" {
		c.Name, _ = os.Hostname() // a missing host name is no error: the name only distinguishes agents
	}
	if before != nil {
		c.keep("listen", &c.Listen, before.Listen)
		c.keep("web_config", &c.WebConfig, before.WebConfig)
		c.keep("name", &c.Name, before.Name)
		c.keep("state", &c.Target.StateDir, before.Target.StateDir)
	}
	if f.Workers < 0 {
		env.Refuse("workers", "is %d: it must be at least 1", f.Workers)
	}
	if f.Parallel < 0 {
		env.Refuse("parallel", "is %d: it must be at least 1", f.Parallel)
	}
	for address, most := range f.At {
		setting := "parallel_at." + strings.Map(printable, address)
		if _, port, err := net.SplitHostPort(address); err != nil || port == "" {
			env.Refuse(setting, "%q is not a host and port: write it as \"mail.example.org:993\"", address)
		}
		if most < 1 {
			env.Refuse(setting, "is %d: it must be at least 1", most)
		}
	}
	c.Defaults = agent.Defaults{
		Every:   env.Duration("defaults.every", f.Defaults.Every, time.Minute),
		Timeout: env.Duration("defaults.timeout", f.Defaults.Timeout, time.Minute),
		Retries: f.Defaults.Retries,
	}
	if f.Defaults.Retries < 0 {
		env.Refuse("defaults.retries", "is %d: it must be at least 0", f.Defaults.Retries)
	}
	for _, p := range f.Features {
		c.Features = append(c.Features, within(dir, p))
	}
	for _, p := range f.Sentences {
		c.Sentences = append(c.Sentences, within(dir, p))
	}
	for name, source := range f.Secrets {
		if source == nil {
			source = &vault.Source{}
		}
		if err := secrets.Add(name, *source); err != nil {
			env.Refuse("secrets."+strings.Map(printable, name), "%v", err)
		}
	}
	if len(f.TLS.CA) > 0 {
		env.Authorities = authorities(env, f.TLS.CA)
		c.authorities = env.Authorities
		c.Target.Roots = pool(env.Authorities)
		if before != nil && slices.EqualFunc(c.authorities, before.authorities, bytes.Equal) {
			c.Target.Roots = before.Target.Roots // then the chains that were verified with them stay known
		}
		for _, name := range f.TLS.CA {
			c.Files = append(c.Files, within(dir, name))
		}
	}
	for _, block := range d.blocks {
		if reads, does := block.(readerOfFiles); does {
			for _, name := range reads.Files() {
				c.Files = append(c.Files, within(dir, name))
			}
		}
	}
	c.Evidence = f.Evidence.limits(env)
	c.Flapping = f.Flapping.thresholds(env)
	for i, address := range f.Uplink.References {
		setting := fmt.Sprintf("uplink.references[%d]", i)
		if host, port, err := net.SplitHostPort(address); err != nil || host == "" || port == "" {
			env.Refuse(setting, "%q is not a host and port: write it as \"192.0.2.53:53\"", address)
		}
	}
	c.References = f.Uplink.References
	c.Maintenance = silence.NewWindows(f.Maintenance, time.Now(), func(setting, format string, args ...any) {
		env.Refuse("maintenance"+setting, format, args...)
	})
	for i, w := range c.Maintenance {
		w.Line = lineOf(d.source, fmt.Sprintf("maintenance[%d].name", i))
	}
	if f.Probe != nil {
		c.Probe = f.Probe.allowed(env)
	}
	c.History = f.History.limits(env)
	env.Validate(d.blocks)
	c.Target.Hosts = make(map[string]*steps.Host, len(d.hosts))
	for name, h := range d.hosts {
		c.Target.Hosts[name] = h.known(env, name)
	}
	if err := v.err(); err != nil {
		return nil, err
	}
	return c, nil
}

// readerOfFiles is a steps.Block that reads files when it is validated.
type readerOfFiles interface {
	Files() []string // as written
}

// keep leaves a setting that needs a restart as it was.
func (c *Config) keep(name string, setting *string, before string) {
	if *setting != before {
		*setting = before
		c.Kept = append(c.Kept, name)
	}
}

// allowed returns the targets that probes may have.
func (p *probeSection) allowed(env *steps.Env) *target.List {
	all := make(target.List, 0, len(p.Targets))
	for i, text := range p.Targets {
		one, err := target.ParseList([]string{text})
		if err != nil {
			env.Refuse(fmt.Sprintf("probe.targets[%d]", i), "%v", err)
			continue
		}
		all = append(all, one...)
	}
	return &all
}

// printable replaces control characters, for messages.
func printable(r rune) rune {
	if unicode.IsControl(r) {
		return '?'
	}
	return r
}

// known returns the host with the name of features.
func (h *hostDocument) known(env *steps.Env, name string) *steps.Host {
	known := &steps.Host{Name: name, Address: cmp.Or(h.Address, name)}
	if strings.ContainsAny(known.Address, " /\r\n") {
		env.Refuse("hosts."+name+".address", "%q is not a host name or IP address", known.Address)
	}
	its := *env
	its.Host = known
	its.Validate(h.blocks)
	return known
}

// stateDir returns the configured directory, that of the systemd unit (systemd.exec(5), StateDirectory=), or that of the XDG
// Base Directory Specification.
func stateDir(dir, configured string) string {
	if configured != "" {
		return within(dir, configured)
	}
	if given := os.Getenv("STATE_DIRECTORY"); given != "" {
		first, _, _ := strings.Cut(given, ":")
		return within(dir, first)
	}
	if state := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(state) {
		return filepath.Join(state, "stepwatch")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return filepath.Join(os.TempDir(), fmt.Sprintf("stepwatch-%d", os.Getuid()))
	}
	return filepath.Join(home, ".local", "state", "stepwatch")
}

// authorities reads the files of certificate authorities.
func authorities(env *steps.Env, files []string) [][]byte {
	var pems [][]byte
	for i, name := range files {
		path := within(env.Dir, name)
		pem, err := os.ReadFile(path)
		if err == nil && !x509.NewCertPool().AppendCertsFromPEM(pem) {
			err = fmt.Errorf("%s contains no PEM certificate", path)
		}
		if err != nil {
			env.Refuse(fmt.Sprintf("tls.ca[%d]", i), "%v", err)
			continue
		}
		pems = append(pems, pem)
	}
	return pems
}

// pool trusts the certificate authorities of the machine and of the files. It is made on first use, because reading the
// machine's store takes milliseconds, and a run without TLS does not need it.
func pool(pems [][]byte) func() (*x509.CertPool, error) {
	return sync.OnceValues(func() (*x509.CertPool, error) {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool() // a machine without a store still trusts the files
		}
		for _, pem := range pems {
			pool.AppendCertsFromPEM(pem)
		}
		return pool, nil
	})
}

// limits returns how much evidence of failed runs is kept.
func (e *evidenceSection) limits(env *steps.Env) evidence.Limits {
	limits := evidence.Limits{Keep: cmp.Or(e.Keep, 20), Age: 7 * 24 * time.Hour,
		Size: cmp.Or(env.Size("evidence.size", e.Size), 500<<20)}
	if e.Keep < 0 {
		env.Refuse("evidence.keep", "is %d: it must be at least 1", e.Keep)
	}
	if e.Age != "" {
		age, err := steps.ParseDuration(e.Age)
		if err != nil || age <= 0 {
			env.Refuse("evidence.age", "%q is not a duration above zero: write it as 12h or 7d", e.Age)
		}
		limits.Age = age
	}
	return limits
}

// thresholds returns when a scenario flaps.
func (f *flappingSection) thresholds(env *steps.Env) state.Thresholds {
	t := state.DefaultThresholds()
	for name, given := range map[string]*float64{"low": f.Low, "high": f.High} {
		if given == nil {
			continue
		}
		if *given <= 0 || *given > 100 {
			env.Refuse("flapping."+name, "is %g: it must be a percentage above 0, at most 100", *given)
		}
		if name == "low" {
			t.Low = *given
		} else {
			t.High = *given
		}
	}
	if t.Low >= t.High {
		env.Refuse("flapping", "low is %g and high is %g: low must be less, or a scenario would begin and end to flap with each run", t.Low, t.High)
	}
	return t
}

// The least values of the settings of the history.
const (
	historyLeast     = time.Hour
	historyLeastSize = 16 << 20
)

func (h *historySection) limits(env *steps.Env) *history.Limits {
	if h.off {
		return nil
	}
	limits := &history.Limits{Runs: history.DefaultRuns, Keep: history.DefaultKeep, Size: cmp.Or(env.Size("history.size", h.Size), history.DefaultSize)}
	for _, s := range []struct {
		name, written string
		into          *time.Duration
	}{{"history.runs", h.Runs, &limits.Runs}, {"history.keep", h.Keep, &limits.Keep}} {
		if s.written == "" {
			continue
		}
		age, err := steps.ParseDuration(s.written)
		if err != nil || age < historyLeast {
			env.Refuse(s.name, "%q is not a duration of at least an hour: write it as 12h or 14d", s.written)
			continue
		}
		*s.into = age
	}
	if h.Keep == "" {
		limits.Keep = max(limits.Keep, limits.Runs)
	}
	if limits.Keep < limits.Runs && h.Keep != "" {
		env.Refuse("history.keep", "%q is less than history.runs: single runs are kept at most as long as everything else", h.Keep)
	}
	if limits.Size < historyLeastSize {
		env.Refuse("history.size", "%q is less than 16 MB, which is too little for the last hours: history: off keeps nothing", h.Size)
	}
	return limits
}

func within(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}
