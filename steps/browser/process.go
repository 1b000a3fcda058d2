package browser

import (
	"context"
	"crypto/sha256"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/remote"

	"github.com/stepwatch/stepwatch/steps/program"
)

// process is one running browser. Its fields below are guarded by the Browser's lock.
type process struct {
	owner  *Browser
	ctx    context.Context // chromedp's, with the browser in it; it ends with the process
	cancel context.CancelFunc
	dir    *profile // nil for a remote browser
	pid    int
	once   sync.Once
	agent  string // the user agent that its tabs give
	memory atomic.Int64

	uses     int // tabs in all
	tabs     int // open
	retired  bool
	tooLarge bool
}

// start starts the browser, or connects to the one that runs elsewhere.
func start(ctx context.Context, b *Browser) (*process, error) {
	p := &process{owner: b}
	o := b.options
	// The browser outlives the step that happens to start it.
	base := context.WithoutCancel(ctx)
	var cancelAllocator context.CancelFunc
	if o.Remote != "" {
		base, cancelAllocator = remote.NewAllocator(base, o.Remote)
	} else {
		path, err := o.locate()
		if err != nil {
			return nil, &Broken{"start the browser", err}
		}
		dir, err := newProfile(ctx, o)
		if err != nil {
			return nil, &Broken{"start the browser", err}
		}
		p.dir = dir
		base, cancelAllocator = chromedp.NewExecAllocator(base, p.flags(path, o)...)
	}
	browserCtx, cancel := chromedp.NewContext(base, chromedp.WithBrowserOption(quietly...))
	p.ctx = browserCtx
	p.cancel = func() {
		cancel()
		cancelAllocator()
	}
	started := make(chan error, 1)
	go func() { started <- chromedp.Do(browserCtx) }()
	timer := time.NewTimer(o.Start)
	defer timer.Stop()
	var err error
	select {
	case err = <-started:
	case <-timer.C:
		err = fmt.Errorf("it did not answer within %s", o.Start)
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

func explainStart(err error, o Options) error {
	switch text := err.Error(); {
	case o.Remote != "":
		return fmt.Errorf("connect to %s (browser.remote in stepwatch.yml): %w", o.Remote, err)
	case errors.Is(err, os.ErrPermission), strings.Contains(text, "No usable sandbox"):
		return fmt.Errorf("%w; its sandbox needs user namespaces (sysctl kernel.unprivileged_userns_clone=1)", err)
	}
	return err
}

// flags are the command line. Chromium's own background work is off: it would show up in the figures and, without access to
// the internet, in its log.
func (p *process) flags(path string, o Options) []chromedp.ExecAllocatorOption {
	options := slices.Concat(chromedp.DefaultExecAllocatorOptions[:], []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(path),
		chromedp.UserDataDir(p.dir.user()),
		chromedp.Env("HOME="+p.dir.path, "TMPDIR="+p.dir.path, "XDG_CONFIG_HOME="+p.dir.path, "XDG_CACHE_HOME="+p.dir.path),
		chromedp.WindowSize(1280, 800),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-domain-reliability", true),
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("mute-audio", true),
		chromedp.Flag("hide-scrollbars", true),
		chromedp.Flag("no-pings", true),
		// A frame of another site stays in its page's process, so that the same steps reach into it everywhere.
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
		options = append(options, chromedp.ProxyServer(o.Proxy))
	}
	return options
}

// memoryEvery is after how many tabs the memory is looked at: reading it costs a millisecond.
const memoryEvery = 10

// watchMemory has the process replaced before the next tab when it holds too much.
func (p *process) watchMemory() {
	b := p.owner
	b.mu.Lock()
	look := p.pid != 0 && p.uses%memoryEvery == 0
	b.mu.Unlock()
	if !look {
		return
	}
	held := resident(p.pid)
	p.memory.Store(held)
	if held > b.options.Memory {
		b.mu.Lock()
		p.tooLarge = true
		b.mu.Unlock()
	}
}

// userAgent is the browser's own, so that pages give what they give to visitors, and the monitor's name behind it.
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
	agent = strings.Replace(version.UserAgent, "HeadlessChrome", "Chrome", 1) + " " + Agent
	p.owner.mu.Lock()
	p.agent = agent
	p.owner.mu.Unlock()
	return agent, nil
}

func (p *process) gone() bool { return p.ctx.Err() != nil }

// stop ends the process, its children and its directory. It returns when nothing is left.
func (p *process) stop() {
	p.once.Do(func() {
		p.cancel()
		if p.dir != nil {
			p.dir.remove()
		}
	})
}

// profile is the directory of one browser process: its home, its temporary files and its user data. A lock that the kernel
// gives up with this process says whether somebody still uses it.
type profile struct {
	path string
	lock *os.File
}

func (d *profile) user() string { return filepath.Join(d.path, "profile") }

const profilePrefix = "browser-"

// newProfile makes a directory beneath o.Dir and removes those whose owner was killed.
func newProfile(ctx context.Context, o Options) (*profile, error) {
	parent := o.Dir
	if parent == "" {
		parent = os.TempDir()
	}
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return nil, err
	}
	sweep(parent)
	path, err := os.MkdirTemp(parent, profilePrefix)
	if err != nil {
		return nil, err
	}
	d := &profile{path: path}
	if d.lock, err = lock(filepath.Join(path, "lock")); err == nil {
		err = trust(ctx, path, o.Roots)
	}
	if err != nil {
		d.remove()
		return nil, err
	}
	return d, nil
}

// sweep removes the directories of browsers whose owner is gone.
func sweep(parent string) {
	left, err := filepath.Glob(filepath.Join(parent, profilePrefix+"*"))
	if err != nil {
		return
	}
	for _, path := range left {
		file := filepath.Join(path, "lock")
		if _, err := os.Stat(file); err != nil {
			continue // being made or removed by somebody else
		}
		if held, err := lock(file); err == nil {
			(&profile{path: path, lock: held}).remove()
		}
	}
}

func (d *profile) remove() {
	// A child of the browser may still write while it dies.
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

// trust adds certificate authorities to the store that Chromium reads on Linux, NSS in its home directory. There they are
// judged as any other: name, dates and chain count.
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
			return fmt.Errorf("make the browser trust tls.ca of stepwatch.yml: %w (certutil comes with Debian's libnss3-tools)", err)
		case out.ExitCode != 0:
			return fmt.Errorf("make the browser trust tls.ca of stepwatch.yml: certutil: %s", strings.TrimSpace(string(out.Stderr)))
		}
		return nil
	}
	if err := certutil("-N", "--empty-password"); err != nil {
		return err
	}
	file := filepath.Join(home, "root.pem")
	known := map[[sha256.Size]byte]bool{}
	for _, root := range roots {
		for block, rest := pem.Decode(root); block != nil; block, rest = pem.Decode(rest) { // certutil reads the first one only
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
