package browser

import (
	"context"
	"crypto/sha256"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/remote"

	"github.com/stepwatch/stepwatch/steps/limit"
	"github.com/stepwatch/stepwatch/steps/program"
	"github.com/stepwatch/stepwatch/steps/scratch"
	"github.com/stepwatch/stepwatch/steps/statedir"
)

// process is one running browser. The Browser's lock guards the fields in the second block.
type process struct {
	owner  *Browser
	ctx    context.Context // chromedp's, with the browser in it; it ends with the process
	cancel context.CancelFunc
	dir    *profile // nil for a remote browser
	pid    int
	once   sync.Once
	agent  string                // the user agent of its tabs
	fault  atomic.Pointer[error] // why it was ended during its work
	leader func() int            // the leader of its process group, 0 when none was started; call it after cancel

	uses     int // tabs in all
	tabs     int // open
	retired  bool
	tooLarge bool
}

// start starts the browser, or connects to a remote one.
func start(ctx context.Context, b *Browser) (*process, error) {
	p := &process{owner: b, leader: func() int { return 0 }}
	b.running.Store(p, nil)
	o := b.options
	// The browser outlives its start.
	base := context.WithoutCancel(ctx)
	var cancelAllocator context.CancelFunc
	if o.Remote != "" {
		base, cancelAllocator = remote.NewAllocator(base, o.Remote)
	} else {
		err := program.Forbidden()
		path := ""
		if err == nil {
			path, err = o.locate()
		}
		if err == nil {
			p.dir, err = newProfile(ctx, o)
		}
		if err != nil {
			b.running.Delete(p)
			return nil, &Broken{"start the browser", err}
		}
		base, cancelAllocator = chromedp.NewExecAllocator(base, p.flags(path, o)...)
	}
	options := []chromedp.ContextOption{chromedp.WithBrowserOption(quietly...)}
	if o.Remote != "" { // a tab in the browser's own context would remain there if we are killed
		options = append(options, chromedp.WithNewBrowserContext())
	}
	browserCtx, cancel := chromedp.NewContext(base, options...)
	p.ctx = browserCtx
	p.cancel = func() {
		cancel()
		cancelAllocator()
	}
	started := make(chan error, 1)
	go func() { started <- p.connect() }()
	timer := time.NewTimer(o.Start)
	defer timer.Stop()
	var err error
	select {
	case err = <-started:
	case <-timer.C:
		err = fmt.Errorf("it did not respond within %s", o.Start)
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		p.stop()
		return nil, &Broken{"start the browser", explainStart(err, o)}
	}
	c := chromedp.FromContext(browserCtx)
	if process := c.Browser.Process(); process != nil {
		p.pid = process.Pid
	}
	return p, nil
}

// connect starts the browser and makes it report its tabs, once for all, except the initial blank one.
func (p *process) connect() error {
	if err := chromedp.Do(p.ctx); err != nil {
		return err
	}
	c := chromedp.FromContext(p.ctx)
	if _, err := cdp.Call(p.ctx, c.Browser, target.SetDiscoverTargets, target.SetDiscoverTargetsParams{Discover: true}); err != nil {
		return err
	}
	_, err := cdp.Call(p.ctx, c.Target, target.SetDiscoverTargets, target.SetDiscoverTargetsParams{})
	return err
}

func explainStart(err error, o Options) error {
	switch text := err.Error(); {
	case o.Remote != "":
		return fmt.Errorf("connect to %s (browser.remote in stepwatch.yml; start one there with --headless --remote-debugging-port): %w", o.Remote, err)
	case errors.Is(err, os.ErrPermission), strings.Contains(text, "No usable sandbox"):
		return fmt.Errorf("%w; its sandbox requires user namespaces (sysctl kernel.unprivileged_userns_clone=1)", err)
	}
	return err
}

// flags returns the command line options. Chromium's own background work is off: it would affect the measurements and,
// without access to the internet, fill its log.
func (p *process) flags(path string, o Options) []chromedp.ExecAllocatorOption {
	options := slices.Concat(chromedp.DefaultExecAllocatorOptions[:], []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(path),
		chromedp.UserDataDir(p.dir.user()),
		chromedp.ModifyCmdFunc(func(cmd *exec.Cmd) {
			cmd.Dir = p.dir.path // so that its children can be found by it, and for their core dumps
			isolate(cmd)
			if err := bounded(cmd, p.fail); err != nil {
				p.fault.CompareAndSwap(nil, &err)
				cmd.Err = err // it does not start
			}
			p.leader = func() int {
				if cmd.Process == nil {
					return 0
				}
				return cmd.Process.Pid
			}
		}),
		chromedp.Env("HOME="+p.dir.path, "TMPDIR="+p.dir.path, "XDG_CONFIG_HOME="+p.dir.path, "XDG_CACHE_HOME="+p.dir.path),
		chromedp.WindowSize(1280, 800),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-domain-reliability", true),
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("mute-audio", true),
		chromedp.Flag("hide-scrollbars", true),
		chromedp.Flag("no-pings", true),
		// A frame of another site stays in the process of its page, so that the same steps can read it.
		chromedp.Flag("disable-site-isolation-trials", true),
		chromedp.Flag("disable-features", "Translate,BlinkGenPropertyTrees,IsolateOrigins,site-per-process,OptimizationHints,MediaRouter,DialMediaRouteProvider,BackForwardCache,PaintHolding,AcceptCHFrame,AvoidUnnecessaryBeforeUnloadCheckSync,LensOverlay"),
	})
	if len(o.MapHosts) > 0 {
		var rules []string
		for from, to := range o.MapHosts {
			rules = append(rules, "MAP "+from+" "+to)
		}
		slices.Sort(rules)
		options = append(options, chromedp.Flag("host-resolver-rules", strings.Join(rules, ",")))
	}
	if o.Proxy != "" {
		var direct []string // as over HTTP alone: mapped addresses are reached without the proxy
		for from := range o.MapHosts {
			direct = append(direct, from)
		}
		slices.Sort(direct)
		options = append(options, chromedp.ProxyServer(o.Proxy), chromedp.Flag("proxy-bypass-list", strings.Join(direct, ";")))
	} else {
		options = append(options, chromedp.Flag("no-proxy-server", true)) // also not one from the environment
	}
	return options
}

// memoryEvery is after how many tabs the memory is checked. While a tab is open longer than guardEvery, it is checked
// at this interval as well.
const (
	memoryEvery = 10
	guardEvery  = 500 * time.Millisecond
)

// watchMemory lets the process be replaced before the next tab when it uses too much memory.
func (p *process) watchMemory() {
	b := p.owner
	b.mu.Lock()
	look := p.uses%memoryEvery == 0
	b.mu.Unlock()
	if look {
		p.outgrown()
	}
}

// outgrown returns the memory of the process and its children when it exceeds the limit, and then marks the process for
// replacement; otherwise it returns 0. The memory of a remote browser is unknown.
func (p *process) outgrown() int64 {
	b := p.owner
	if p.pid == 0 {
		return 0
	}
	held := above(p.pid, b.options.Memory)
	if held > 0 {
		b.mu.Lock()
		defer b.mu.Unlock()
		p.tooLarge = true
	}
	return held
}

// guard ends the process when it uses so much memory while a tab is open that the machine is in danger.
func (p *process) guard(tab context.Context) {
	if p.pid == 0 {
		return
	}
	tick := time.NewTicker(guardEvery)
	defer tick.Stop()
	for {
		select {
		case <-tab.Done():
			return
		case <-tick.C:
		}
		if most := 2 * p.owner.options.Memory; p.outgrown() > most {
			p.fail(fmt.Errorf("the browser took more than %s, twice browser.memory in stepwatch.yml", size(most)))
			return
		}
	}
}

// size formats bytes in a suitable unit.
func size(bytes int64) string {
	if bytes >= 1<<30 {
		return strings.TrimSuffix(fmt.Sprintf("%.1f", float64(bytes)/(1<<30)), ".0") + " GB"
	}
	return fmt.Sprintf("%d MB", bytes>>20)
}

// answerLimit is how long a browser may take for the simplest response before it counts as hung. It is less than the
// time that a step gets after its deadline.
const answerLimit = 500 * time.Millisecond

// check asks a browser that was too slow whether it still works. One that does not is ended, and the next tab gets
// another, unless it is busy: the answer is behind the events of a page that reports more than can be read.
func (p *process) check(ctx context.Context, busy func() bool) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerLimit)
	defer cancel()
	_, err := cdp.Call(ctx, chromedp.FromContext(p.ctx).Browser, browser.GetVersion, cdp.Empty{}) //nolint:contextcheck // p.ctx only says which browser
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil && !p.gone() && busy():
		return nil
	case ctx.Err() != nil && !p.gone():
		p.fail(errors.New("the browser hangs"))
	}
	return broken(p.why())
}

// broken returns the error for a browser or a tab that ended: that of a limit if the page exceeded one, otherwise a Broken.
func broken(cause error) error {
	if errors.As(cause, new(*limit.Error)) || errors.As(cause, new(*limit.PoolError)) {
		return cause
	}
	return &Broken{"use the browser", cause}
}

// fail ends the process with a reason, which every tab in it then returns. It does not wait.
func (p *process) fail(why error) {
	p.fault.CompareAndSwap(nil, &why)
	p.owner.forget(p)
	go p.stop() // Close waits for it
}

// why returns why the process ended.
func (p *process) why() error {
	if why := p.fault.Load(); why != nil {
		return *why
	}
	if remote := p.owner.options.Remote; remote != "" {
		return fmt.Errorf("the connection to the browser at %s was lost", remote)
	}
	return errors.New("the browser ended")
}

// userAgent returns the browser's own user agent, so that pages are the same as for visitors, followed by the name of
// the monitor.
func (p *process) userAgent(ctx context.Context) (string, error) {
	p.owner.mu.Lock()
	agent := p.agent
	p.owner.mu.Unlock()
	if agent != "" {
		return agent, nil
	}
	version, err := cdp.Call(ctx, chromedp.FromContext(p.ctx).Browser, browser.GetVersion, cdp.Empty{}) //nolint:contextcheck // p.ctx only says which browser
	if err != nil {
		return "", err
	}
	agent = strings.Replace(version.UserAgent, "HeadlessChrome", "Chrome", 1) + " " + userAgent
	p.owner.mu.Lock()
	p.agent = agent
	p.owner.mu.Unlock()
	return agent, nil
}

func (p *process) gone() bool { return p.ctx.Err() != nil }

// stop ends the process and its children, and removes its directory. It returns when all are gone.
func (p *process) stop() {
	p.once.Do(func() {
		p.cancel()
		endGroup(p.leader())
		if p.dir != nil {
			p.dir.remove()
		}
		p.owner.running.Delete(p)
	})
}

// profile is the directory of one browser process: its home, its temporary files and its user data. A lock, which the
// kernel releases with this process, shows whether it is still in use.
type profile struct {
	path string
	lock *os.File
}

func (d *profile) user() string { return filepath.Join(d.path, "profile") }

const (
	profilePrefix = "browser-"
	lockFlags     = os.O_CREATE | os.O_RDWR
)

// newProfile creates a directory below o.Dir and removes those whose owner was killed.
func newProfile(ctx context.Context, o Options) (*profile, error) {
	parent := o.Dir
	if parent == "" {
		parent = os.TempDir()
	}
	parent, err := filepath.Abs(parent) // the browser has a working directory of its own
	if err != nil {
		return nil, err
	}
	check := statedir.Check
	if o.Dir == "" {
		check = statedir.CheckTemporary
	}
	if err := check(parent); err != nil {
		return nil, err
	}
	sweep(parent)
	path, err := os.MkdirTemp(parent, profilePrefix)
	if err != nil {
		return nil, err
	}
	d := &profile{path: path}
	if d.lock, err = scratch.Lock(filepath.Join(path, "lock"), lockFlags); err == nil {
		err = trust(ctx, path, o.Roots)
	}
	if err != nil {
		d.remove()
		return nil, err
	}
	return d, nil
}

// staleAfter is the age after which a directory without a lock counts as abandoned: one that is being created or
// removed is younger.
const staleAfter = time.Minute

// sweep removes the directories of browsers whose owner is gone, and ends their remaining processes.
func sweep(parent string) {
	left, err := filepath.Glob(filepath.Join(parent, profilePrefix+"*"))
	if err != nil {
		return
	}
	for _, path := range left {
		file := filepath.Join(path, "lock")
		if _, err := os.Stat(file); err != nil {
			if dir, err := os.Stat(path); err == nil && time.Since(dir.ModTime()) > staleAfter {
				(&profile{path: path}).remove()
			}
			continue
		}
		if held, err := scratch.Lock(file, lockFlags); err == nil {
			endWithin(path)
			(&profile{path: path, lock: held}).remove()
		}
	}
}

func (d *profile) remove() {
	// A child of the browser may still write while it ends.
	for range 20 {
		if os.RemoveAll(d.path) == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if d.lock != nil {
		_ = d.lock.Close()
	}
}

// trust adds certificate authorities to the store that Chromium reads on Linux, NSS in its home directory. Their
// certificates are verified as usual: name, dates and chain.
func trust(ctx context.Context, home string, roots [][]byte) error {
	if len(roots) == 0 {
		return nil
	}
	store := filepath.Join(home, ".pki", "nssdb")
	if err := os.MkdirAll(store, 0o700); err != nil {
		return err
	}
	certutil := func(args ...string) error {
		out, err := program.Run(ctx, program.Command{Path: "certutil", Args: append([]string{"-d", "sql:" + store}, args...)})
		switch {
		case err != nil:
			return fmt.Errorf("make the browser trust tls.ca in stepwatch.yml: %w (certutil comes with Debian's libnss3-tools)", err)
		case out.ExitCode != 0:
			return fmt.Errorf("make the browser trust tls.ca in stepwatch.yml: certutil: %s", strings.TrimSpace(string(out.Stderr)))
		}
		return nil
	}
	if err := certutil("-N", "--empty-password"); err != nil {
		return err
	}
	file := filepath.Join(home, "root.pem")
	known := map[[sha256.Size]byte]bool{}
	for _, root := range roots {
		for block, rest := pem.Decode(root); block != nil; block, rest = pem.Decode(rest) { // certutil reads only the first one
			sum := sha256.Sum256(block.Bytes)
			if block.Type != "CERTIFICATE" || known[sum] {
				continue
			}
			known[sum] = true
			if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
				return err
			}
			if err := certutil("-A", "-t", "C,,", "-n", fmt.Sprintf("stepwatch %x", sum), "-i", file); err != nil {
				return err
			}
		}
	}
	return nil
}
