package web

import (
	"path/filepath"
	"strings"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/address"
	"github.com/stepwatch/stepwatch/steps/browser"
	"github.com/stepwatch/stepwatch/steps/httpwire"
)

func init() { steps.RegisterSettings("browser", func() steps.Block { return new(browserSettings) }) }

// browserSettings is the section browser of stepwatch.yml, for the scenarios tagged @browser. SettingsOf returns the
// *browser.Browser, which starts with the first of them.
type browserSettings struct {
	Path   string `yaml:"path" doc:"default: the first one found, chromium-headless-shell before chromium"`
	Remote string `yaml:"remote" doc:"instead: the address of a running browser, started with --remote-debugging-port"`
	Tabs   int    `yaml:"tabs" doc:"concurrent scenarios in it; default: 1"`
	Runs   int    `yaml:"runs" doc:"number of runs after which it is restarted; default: 500"`
	Memory string `yaml:"memory" doc:"memory limit at which it is restarted; default: 2 GB"`
	Proxy  string `yaml:"proxy" doc:"default: web.proxy"`
}

// Validate implements Block.
func (b *browserSettings) Validate(env *steps.Env) {
	env.After("web")
	if through := steps.SettingsOf[httpwire.Web](env.Target).Proxy; through != nil && through.IsWeb() && b.Remote == "" && b.Proxy == "" {
		b.Proxy = through.Origin()
	}
	o := browser.Options{Remote: b.Remote, Dir: filepath.Join(env.Target.StateDir, "browser"), Roots: env.Authorities,
		MapHosts: env.Target.ConnectTo, Path: b.Path, Proxy: b.Proxy, Tabs: b.Tabs, Runs: b.Runs, Memory: env.Size("memory", b.Memory)}
	if strings.ContainsRune(b.Path, filepath.Separator) {
		o.Path = env.File(b.Path)
	}
	if b.Path != "" && b.Remote != "" {
		env.Refuse("", "has both path and remote: set one of them")
	}
	for setting, value := range map[string]string{"remote": b.Remote, "proxy": b.Proxy} {
		if u, err := address.Parse(value); value != "" && (err != nil || u.Host == "") {
			env.Refuse(setting, "%q is not a URL: write it as http://127.0.0.1:9222", value)
		}
	}
	if b.Tabs < 0 || b.Runs < 0 {
		env.Refuse("", "tabs and runs must not be negative")
	}
	env.Target.Set(browser.New(o))
}
