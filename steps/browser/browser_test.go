package browser_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/html"

	"github.com/stepwatch/stepwatch/steps/browser"
	"github.com/stepwatch/stepwatch/steps/stepstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// needsBrowser skips a test where there is no browser.
func needsBrowser(t *testing.T) {
	t.Helper()
	if _, err := browser.Find(); err != nil {
		t.Skip(err)
	}
}

// started returns a browser that ends with the test, and checks that nothing of it remains.
func started(t *testing.T, options browser.Options) *browser.Browser {
	t.Helper()
	needsBrowser(t)
	if options.Dir == "" {
		options.Dir = t.TempDir()
	}
	b := browser.New(options)
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		left, _ := filepath.Glob(filepath.Join(options.Dir, "*"))
		if len(left) > 0 {
			t.Errorf("still there: %s", left)
		}
	})
	return b
}

func opened(ctx context.Context, t *testing.T, b *browser.Browser) *browser.Tab {
	t.Helper()
	tab, err := b.Open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tab.Close() })
	return tab
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

const home = `<!DOCTYPE html><title>Home</title><h1>Welcome</h1>
<p style="display:none">secret text</p><p id=late></p>
<a href=/contact>Contact</a>
<form action=/search><label>Query <input name=q></label><input type=password name=p value=hunter2><button>Search</button></form>
<iframe src=/frame></iframe>
<script>setTimeout(() => { document.getElementById("late").textContent = "late text" }, 300)</script>`

func site(t *testing.T) string {
	t.Helper()
	mux := http.NewServeMux()
	page := func(path, body string) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			fmt.Fprint(w, body)
		})
	}
	page("/{$}", home)
	page("/contact", "<title>Contact</title><h1>Contact us</h1>")
	page("/frame", "<p>text in a frame</p><button onclick=\"this.textContent='pressed'\">Inner</button>")
	page("/hang", "<script>for(;;);</script>")
	mux.HandleFunc("/search", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, "<p>found %s</p>", r.FormValue("q"))
	})
	mux.Handle("/old", http.RedirectHandler("/contact", http.StatusMovedPermanently))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

// named returns an element of the document with this tag and text.
func named(t *testing.T, s *browser.Snapshot, tag, text string) (browser.Element, *html.Node) {
	t.Helper()
	for n := range s.Root.Descendants() {
		if n.Type == html.ElementNode && n.Data == tag && strings.Contains(textOf(n), text) {
			return s.Elements[n], n
		}
	}
	t.Fatalf("no <%s> with %q", tag, text)
	return browser.Element{}, nil
}

func textOf(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			b.WriteString(d.Data)
		}
	}
	return b.String()
}

func TestVisit(t *testing.T) {
	t.Parallel()
	b, url := started(t, browser.Options{}), site(t)
	ctx := within(t, 30*time.Second)
	tab := opened(ctx, t, b)
	if err := tab.Go(ctx, url+"/old", ""); err != nil {
		t.Fatal(err)
	}
	n := tab.Navigation()
	if len(n.Chain) != 2 || n.Chain[0].Status != 301 || n.Response().Status != 200 || tab.URL() != url+"/contact" {
		t.Errorf("got %d requests, %+v at %s", len(n.Chain), n.Response(), tab.URL())
	}
	if n.Response().Processing < 0 || !n.Loaded || n.Failed != "" {
		t.Errorf("got %+v", n)
	}
	if err := tab.Go(ctx, url+"/", ""); err != nil {
		t.Fatal(err)
	}
	text, err := tab.Text(ctx)
	if err != nil || !strings.Contains(text, "Welcome") || !strings.Contains(text, "text in a frame") || strings.Contains(text, "secret text") {
		t.Errorf("got %q, %v", text, err)
	}
	s, err := tab.Snapshot(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var rendered strings.Builder
	_ = html.Render(&rendered, s.Root)
	if strings.Contains(rendered.String(), "hunter2") {
		t.Error("the document holds a password")
	}
	inner, _ := named(t, s, "button", "Inner")
	if err := tab.Click(ctx, inner); err != nil {
		t.Fatal(err)
	}
	for text, err = tab.Text(ctx); err == nil && (!strings.Contains(text, "pressed") || !strings.Contains(text, "late text")); text, err = tab.Text(ctx) {
		if err := tab.Changed(ctx); err != nil {
			t.Fatalf("%v; the page shows %q", err, text)
		}
	}
	link, _ := named(t, s, "a", "Contact")
	before := tab.Navigation()
	if err := tab.Click(ctx, link); err != nil {
		t.Fatal(err)
	}
	navigated, err := tab.Settle(ctx, before)
	if err != nil || !navigated || tab.URL() != url+"/contact" {
		t.Errorf("navigated %t to %s, %v", navigated, tab.URL(), err)
	}
	if back, err := tab.Back(ctx); err != nil || !back || tab.URL() != url+"/" {
		t.Errorf("back %t to %s, %v", back, tab.URL(), err)
	}
	if s, err = tab.Snapshot(ctx); err != nil {
		t.Fatal(err)
	}
	for n, e := range s.Elements {
		if n.Data == "input" && strings.Contains(fmt.Sprint(n.Attr), "{ name q}") {
			if _, err := tab.Fill(ctx, e, "geese & ganders"); err != nil {
				t.Fatal(err)
			}
		}
	}
	button, _ := named(t, s, "button", "Search")
	before = tab.Navigation()
	if err := tab.Click(ctx, button); err != nil {
		t.Fatal(err)
	}
	if navigated, err := tab.Settle(ctx, before); err != nil || !navigated {
		t.Fatalf("navigated %t, %v", navigated, err)
	}
	if text, err := tab.Text(ctx); err != nil || !strings.Contains(text, "found geese & ganders") {
		t.Errorf("got %q, %v", text, err)
	}
	if picture, err := tab.Picture(ctx, []string{"geese"}, 1<<20); err != nil || len(picture) < 1000 {
		t.Errorf("picture: %d bytes, %v", len(picture), err)
	} else if path := os.Getenv("STEPWATCH_PICTURE"); path != "" {
		_ = os.WriteFile(path, picture, 0o600)
	}
}

// TestDownloadWithARelativeDirectory checks that a file is saved although the directory and the path of the browser are
// relative.
func TestDownloadWithARelativeDirectory(t *testing.T) {
	needsBrowser(t)
	t.Chdir(t.TempDir())
	program, err := browser.Find()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Dir(program), "bin"); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/list" {
			w.Header().Set("Content-Disposition", "attachment; filename=list.csv")
			fmt.Fprint(w, "a,b")
			return
		}
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<a href=/list>List</a>")
	}))
	t.Cleanup(server.Close)
	ctx := within(t, 30*time.Second)
	tab := opened(ctx, t, started(t, browser.Options{Dir: "state/browser", Path: "bin/" + filepath.Base(program)}))
	if err := tab.Go(ctx, server.URL, ""); err != nil {
		t.Fatal(err)
	}
	shot, err := tab.Snapshot(ctx)
	if err != nil {
		t.Fatal(err)
	}
	link, _ := named(t, shot, "a", "List")
	d, err := tab.Download(ctx, 5*time.Second, 1<<20, func() error { return tab.Click(ctx, link) })
	if err != nil || d == nil {
		t.Fatalf("got %v, %v", d, err)
	}
	defer d.Remove()
	var file strings.Builder
	if err := d.Read(&file); err != nil || file.String() != "a,b" {
		t.Errorf("got %q, %v", file.String(), err)
	}
}

func TestUnreachable(t *testing.T) {
	b := started(t, browser.Options{})
	ctx := within(t, 30*time.Second)
	tab := opened(ctx, t, b)
	if err := tab.Go(ctx, "http://127.0.0.1:1/", ""); err != nil {
		t.Fatal(err)
	}
	if n := tab.Navigation(); n.Failed != "net::ERR_UNSAFE_PORT" {
		t.Errorf("got %+v", n)
	}
	server := httptest.NewServer(nil)
	server.Close()
	if err := tab.Go(ctx, server.URL, ""); err != nil {
		t.Fatal(err)
	}
	if n := tab.Navigation(); n.Failed != "net::ERR_CONNECTION_REFUSED" {
		t.Errorf("got %+v", n)
	}
}

// TestBroken kills the browser and a renderer, and hangs a page. It checks that the errors report a broken browser, and
// that the next tab works.
func TestBroken(t *testing.T) {
	t.Parallel()
	b, url := started(t, browser.Options{}), site(t)
	ctx := within(t, 60*time.Second)
	var broken *browser.Broken

	tab := opened(ctx, t, b)
	if err := tab.Go(ctx, url, ""); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(b.Stats().PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := tab.Go(ctx, url, ""); !errors.As(err, &broken) {
		t.Errorf("a killed browser: got %v", err)
	}
	_ = tab.Close()

	tab = opened(ctx, t, b)
	if err := tab.Crash(ctx); !errors.As(err, &broken) {
		t.Errorf("a crashed page: got %v", err)
	}
	_ = tab.Close()

	tab = opened(ctx, t, b)
	soon, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	if err := tab.Go(soon, url+"/hang", ""); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a page that hangs: got %v", err)
	}
	_ = tab.Close()

	tab = opened(ctx, t, b)
	if err := tab.Go(ctx, url, ""); err != nil {
		t.Errorf("after all that: %v", err)
	}
	if got := b.Stats(); got.Starts != 2 || got.Opened != 4 && got.Opened != 5 {
		t.Errorf("got %+v", got)
	}
}

// TestStopped checks that a browser that no longer responds between two tabs is replaced, long before a scenario's time
// ends, and then ended.
func TestStopped(t *testing.T) {
	t.Parallel()
	b, url := started(t, browser.Options{}), site(t)
	ctx := within(t, 15*time.Second)
	if err := opened(ctx, t, b).Close(); err != nil {
		t.Fatal(err)
	}
	stopped := b.Stats().PID
	if err := syscall.Kill(stopped, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := opened(ctx, t, b).Go(ctx, url, ""); err != nil {
		t.Error(err)
	}
	if got := b.Stats(); got.Starts != 2 || got.PID == stopped {
		t.Errorf("got %+v, with the stopped one %d", got, stopped)
	}
	if err := syscall.Kill(stopped, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the stopped browser is still there: %v", err)
	}
}

// TestSlowStart uses a browser that takes longer to start than two scenarios allow: neither waits longer than allowed,
// nor starts it again, and the third one gets it.
func TestSlowStart(t *testing.T) {
	b, appear := lateBrowser(t)
	for range 2 {
		var broken *browser.Broken
		if _, err := b.Open(within(t, 100*time.Millisecond)); !errors.As(err, &broken) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "it was not ready after ") {
			t.Errorf("got %v", err)
		}
	}
	if got := b.Stats(); got.Starts != 0 || got.PID != 0 {
		t.Errorf("got %+v", got)
	}
	appear()
	if err := opened(within(t, 60*time.Second), t, b).Go(within(t, 60*time.Second), site(t), ""); err != nil {
		t.Error(err)
	}
	if got := b.Stats(); got.Starts != 1 {
		t.Errorf("got %+v", got)
	}
}

// TestClosedWhileStarting checks that nothing remains of a browser that was closed during its start.
func TestClosedWhileStarting(t *testing.T) {
	b, _ := lateBrowser(t)
	if _, err := b.Open(within(t, 100*time.Millisecond)); err == nil {
		t.Fatal("it started")
	}
	failed := make(chan error)
	ctx := within(t, 60*time.Second)
	go func() {
		_, err := b.Open(ctx)
		failed <- err
	}()
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if err := <-failed; err == nil || !strings.Contains(err.Error(), "stepwatch is shutting down") {
		t.Errorf("got %v", err)
	}
}

// lateBrowser returns a browser that does not start before appear is called. It checks that the browser was started
// once and that nothing of it remains.
func lateBrowser(t *testing.T) (b *browser.Browser, appear func()) {
	t.Helper()
	chromium, err := browser.Find()
	if err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	gate, pid, program := filepath.Join(dir, "gate"), filepath.Join(dir, "pid"), filepath.Join(dir, "browser")
	script := fmt.Sprintf("#!/bin/sh\necho $$ >> %s\nuntil [ -e %s ]; do sleep 0.05; done\nexec %s \"$@\"\n", pid, gate, chromium)
	if err := os.WriteFile(program, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		number, err := os.ReadFile(pid)
		if errors.Is(err, fs.ErrNotExist) { // it was ended before its first line
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		process, err := strconv.Atoi(strings.TrimSpace(string(number)))
		if err != nil {
			t.Fatalf("the browser was begun as %q, and not once: %v", number, err)
		}
		if err := syscall.Kill(process, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("the browser is still there: %v", err)
		}
	})
	return started(t, browser.Options{Path: program}), func() {
		if err := os.WriteFile(gate, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestPrivateRoot checks that a configured private certificate authority is trusted, and nothing else.
func TestPrivateRoot(t *testing.T) {
	if _, err := exec.LookPath("certutil"); err != nil {
		t.Skip("needs certutil:", err)
	}
	ca, err := stepstest.NewCA("browser test root")
	if err != nil {
		t.Fatal(err)
	}
	serve := func(certificate tls.Certificate) string {
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "private") }))
		server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
		server.Config.ErrorLog = log.New(io.Discard, "", 0)
		server.StartTLS()
		t.Cleanup(server.Close)
		return server.Listener.Addr().String()
	}
	good, err := ca.Issue("private.example.test")
	if err != nil {
		t.Fatal(err)
	}
	expired, err := ca.IssueExpired("private.example.test")
	if err != nil {
		t.Fatal(err)
	}
	other, err := stepstest.NewCA("another root")
	if err != nil {
		t.Fatal(err)
	}
	strange, err := other.Issue("private.example.test")
	if err != nil {
		t.Fatal(err)
	}
	b := started(t, browser.Options{Roots: [][]byte{append(ca.PEM(), ca.PEM()...)}, MapHosts: map[string]string{
		"private.example.test:443": serve(good), "expired.example.test:443": serve(expired), "private.example.test:444": serve(expired),
		"wrong.example.test:443": serve(good), "private.example.test:445": serve(strange)}})
	ctx := within(t, 60*time.Second)
	tab := opened(ctx, t, b)
	for url, want := range map[string]string{
		"https://private.example.test/":     "",
		"https://wrong.example.test/":       "net::ERR_CERT_COMMON_NAME_INVALID",
		"https://private.example.test:444/": "net::ERR_CERT_DATE_INVALID",
		"https://private.example.test:445/": "net::ERR_CERT_AUTHORITY_INVALID",
	} {
		if err := tab.Go(ctx, url, ""); err != nil {
			t.Fatal(err)
		}
		n := tab.Navigation()
		if n.Failed != want {
			t.Errorf("%s: got %q, want %q", url, n.Failed, want)
		}
		if want == "" && (n.Response().TLS == nil || n.Response().TLS.Version != "TLS 1.3" || n.Response().Protocol == "") {
			t.Errorf("%s: got %+v", url, n.Response())
		}
	}
}
