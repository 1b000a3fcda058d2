package agent

import (
	"fmt"
	"github.com/stepwatch/stepwatch/steps/builtin"
	"net/http"
	"net/http/httptest"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/browser"
)

// TestBrowserBreaks kills the browser while a page loads: the run is done again and passes, and a browser that breaks
// each time is UNKNOWN and never the website's fault.
func TestBrowserBreaks(t *testing.T) {
	if _, err := browser.Find(); err != nil {
		t.Skip(err)
	}
	before := goleak.IgnoreCurrent()
	defer goleak.VerifyNone(t, before)
	b := browser.New(browser.Options{Dir: t.TempDir()})
	defer b.Close()
	var kills atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" && kills.Add(-1) >= 0 {
			_ = syscall.Kill(b.Stats().PID, syscall.SIGKILL)
		}
		fmt.Fprint(w, "<p>Welcome")
	}))
	defer server.Close()
	s := scenario("Home", `I go to "`+server.URL+`/"`, `I should see "Welcome"`)
	s.Policy.Browser, s.Policy.Timeout = true, time.Minute
	r := &Runner{Target: new(steps.Target).Set(b)}
	for killed, want := range map[int32]string{
		0: "OK passed  : \npassed ran=true   \npassed ran=true   \n",
		1: "OK passed  : \npassed ran=true   \npassed ran=true   \n",
		2: "UNKNOWN failed browser monitor: GET " + server.URL + "/: use the browser: the browser ended\n" +
			"failed ran=true browser monitor GET " + server.URL + "/: use the browser: the browser ended\nskipped ran=false   \n",
	} {
		kills.Store(killed)
		expect(t, run(t, r, s, builtin.Library()), want)
	}
	pid := b.Stats().PID
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); pid != 0 && err == nil {
		t.Errorf("the browser %d still runs", pid)
	}
}
