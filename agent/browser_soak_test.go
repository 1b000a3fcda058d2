package agent

import (
	"fmt"
	"github.com/stepwatch/stepwatch/steps/builtin"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/browser"
)

// TestBrowserSoak runs scenarios in a browser one after the other, and kills the browser or one of its processes under
// some of them: each gets a result, none blames the website, the memory stays as it is, and nothing is left running.
// STEPWATCH_SOAK says how many; STEPWATCH_SOAK_KILLS how many in a thousand are disturbed.
func TestBrowserSoak(t *testing.T) {
	if _, err := browser.Find(); err != nil {
		t.Skip(err)
	}
	runs, kills := 20, 200
	if n, err := strconv.Atoi(os.Getenv("STEPWATCH_SOAK")); err == nil {
		runs = n
	}
	if n, err := strconv.Atoi(os.Getenv("STEPWATCH_SOAK_KILLS")); err == nil {
		kills = n
	}
	before := goleak.IgnoreCurrent()
	defer goleak.VerifyNone(t, before)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		if r.URL.Path == "/contact" {
			fmt.Fprint(w, "<h1>Contact us</h1>")
			return
		}
		fmt.Fprint(w, "<h1>Welcome</h1><a href=/contact>Contact</a>"+strings.Repeat("<p>Some text of the page.</p>", 100))
	}))
	defer server.Close()
	dir := t.TempDir()
	b := browser.New(browser.Options{Dir: dir})
	defer b.Close()
	s := scenario("Contact", `I go to "`+server.URL+`/"`, `I follow "Contact"`, `I should see "Contact us"`)
	s.Policy.Browser, s.Policy.Timeout = true, time.Minute
	r := &Runner{Target: new(steps.Target).Set(b)}
	states := map[result.State]int{}
	killed := 0
	start := time.Now()
	for i := range runs {
		var disturb *time.Timer
		if rand.IntN(1000) < kills {
			killed++
			disturb = time.AfterFunc(time.Duration(rand.IntN(300))*time.Millisecond, func() { killOne(dir) })
		}
		res := run(t, r, s, builtin.Library())
		if disturb != nil {
			disturb.Stop()
		}
		states[res.State()]++
		if state := res.State(); state != result.OK && (state != result.Unknown || res.Reason != result.ReasonBrowser) || state != result.OK && kills == 0 {
			t.Errorf("run %d: %s", i, outline(res))
		}
		if (i+1)%500 == 0 || i+1 == runs {
			t.Logf("%d runs in %s, %d disturbed: %v; browser %d MB in %d starts", i+1, time.Since(start).Round(time.Second), killed, states,
				b.Stats().Memory>>20, b.Stats().Starts)
			if i+1 < runs && disturb == nil && len(processes(dir)) < 4 {
				t.Errorf("found %d processes of a browser that runs: the check below could not fail", len(processes(dir)))
			}
		}
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if left := processes(dir); len(left) > 0 {
		t.Errorf("%d processes of the browser still run: %v", len(left), left)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// killOne kills one process of the browser, whichever.
func killOne(dir string) {
	if all := processes(dir); len(all) > 0 {
		_ = syscall.Kill(all[rand.IntN(len(all))], syscall.SIGKILL)
	}
}

// processes finds the browser's processes by their working directory beneath dir, which none of them leaves.
func processes(dir string) []int {
	var found []int
	all, _ := filepath.Glob("/proc/[0-9]*/cwd")
	for _, path := range all {
		cwd, err := os.Readlink(path)
		if err != nil || !strings.HasPrefix(cwd, dir) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
			found = append(found, pid)
		}
	}
	return found
}
