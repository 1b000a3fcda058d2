package web_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/browser"
	"github.com/stepwatch/stepwatch/steps/httpwire"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

// remoteBrowser starts a browser as an operator does to run it separately. It returns the browser's address and a
// function that kills it.
func remoteBrowser(t *testing.T, flags ...string) (address string, kill func()) {
	t.Helper()
	path, err := browser.Find()
	if err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	cmd := exec.Command(path, append([]string{"--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--no-proxy-server", "--remote-debugging-port=0", "--user-data-dir=" + dir}, flags...)...)
	cmd.Env = append(os.Environ(), "HOME="+dir, "TMPDIR="+dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	gone := false
	kill = func() {
		if !gone {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
		gone = true
	}
	t.Cleanup(kill)
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		said, err := os.ReadFile(filepath.Join(dir, "DevToolsActivePort"))
		if port, _, whole := strings.Cut(string(said), "\n"); err == nil && whole {
			return "http://127.0.0.1:" + port, kill
		}
	}
	t.Fatal("the browser did not report its address")
	return "", nil
}

// TestRemoteBrowser visits with a browser that was started without our flags: there, a frame of another site is in
// another process, which cannot be read.
func TestRemoteBrowser(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	var port string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		switch r.URL.Path {
		case "/":
			_, _ = fmt.Fprintf(w, `<p>Outside</p><a href="/near">On</a><iframe src="http://localhost:%s/far"></iframe>`, port)
		case "/near":
			_, _ = io.WriteString(w, `<p>Nearby</p><iframe src="/far"></iframe>`)
		case "/far":
			_, _ = io.WriteString(w, `<p>From afar</p>`)
		}
	}))
	t.Cleanup(server.Close)
	_, port, _ = net.SplitHostPort(server.Listener.Addr().String())
	address, kill := remoteBrowser(t, "--site-per-process")
	b := browser.New(browser.Options{Remote: address, Start: 5 * time.Second})
	t.Cleanup(func() { _ = b.Close() })
	s := &site{target: new(steps.Target).Set(b).Set(httpwire.Web{Patience: 300 * time.Millisecond})}
	home := "I go to " + server.URL + "/\n"
	apart := fmt.Sprintf("http://localhost:%s/far could not be loaded: another process of the browser shows it (browser.remote: start this browser with "+
		"--disable-site-isolation-trials --disable-features=IsolateOrigins,site-per-process)", port)
	for _, c := range []sentenceCase{
		{"outside", home + "I should see \"Outside\"\nI follow \"On\"\nI should see \"From afar\"\nI should not see \"Outside\"", ""},
		{"in the frame", home + `I should see "From afar"`, `browser monitor: see "From afar" on ` + server.URL + `/ (200 OK): the page does not show it; it begins with "Outside On"; its frame ` + apart},
		{"not in the frame", home + `I should not see "Nothing"`, `browser monitor: not see "Nothing" on ` + server.URL + `/ (200 OK): nothing was found, but its frame ` + apart},
		{"a link in the frame", home + `I follow "Onward"`, `browser monitor: follow "Onward" on ` + server.URL + `/ (200 OK): there is no such link; the page has "On"; its frame ` + apart},
		{"a file", home + `I download the file behind "On"`, `browser monitor: download the file behind "On": save a file: the browser at browser.remote saves files on its own machine: remove this setting from stepwatch.yml, or load the file by its address`},
	} {
		t.Run(c.name, func(t *testing.T) { fixture.Expect(t, s.run(t, c.text), c.want) })
	}
	kill()
	o := s.run(t, home)
	if err := o.Err(); err == nil || !strings.HasPrefix(err.Error(), "open a tab: start the browser: connect to "+address+" (browser.remote in stepwatch.yml; start one there with --headless --remote-debugging-port): ") {
		t.Errorf("after it was killed: got %v", err)
	}
}
