package bench

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/agent"
	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/browser"
)

// BenchmarkBrowserSee is how much later than by the page's own clock a step in the browser is done that waits for a text. A
// timer or half a second of script on the page's only thread brings the text.
func BenchmarkBrowserSee(b *testing.B) {
	if _, err := browser.Find(); err != nil {
		b.Skip(err)
	}
	shown := make(chan float64, 1) // milliseconds since 1970 by the page's clock
	const show = `const at = performance.timeOrigin + performance.now(); document.body.append("All is well"); navigator.sendBeacon("/shown", String(at));`
	pages := map[string]string{
		"/timer":  `<!doctype html><body><script>setTimeout(() => {` + show + `}, 500)</script>`,
		"/script": `<!doctype html><body><script>setTimeout(() => { const until = performance.now() + 500; while (performance.now() < until); ` + show + `}, 10)</script>`,
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/shown" {
			var text [32]byte
			n, _ := r.Body.Read(text[:])
			at, _ := strconv.ParseFloat(string(text[:n]), 64)
			shown <- at
			return
		}
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, pages[r.URL.Path])
	}))
	defer server.Close()
	chromium := browser.New(browser.Options{Dir: b.TempDir()})
	defer chromium.Close()
	runner := &agent.Runner{Direct: true, Target: new(steps.Target).Set(chromium)}
	for path := range pages {
		plan := compile(b, fmt.Sprintf("@browser @timeout:60s\nFeature: See\n  Scenario: Late\n    When I go to \"%s%s\"\n    Then I should see \"All is well\" within 10s\n",
			server.URL, path))[0]
		b.Run(path[1:], func(b *testing.B) {
			var late []time.Duration
			for b.Loop() {
				seen := &lastStep{}
				res := runner.Run(context.Background(), plan, agent.Occasion{Observer: seen})
				if res.State() != result.OK {
					b.Fatal(res.Error)
				}
				late = append(late, seen.ended.Sub(time.UnixMicro(int64(<-shown*1000))))
			}
			reportPercentiles(b, "late", late)
		})
	}
}

// lastStep is when the last step of a run ended.
type lastStep struct{ ended time.Time }

func (*lastStep) StepStarting(int) {}

func (*lastStep) InnerStarting(int, *steps.Bound) {}

func (*lastStep) InnerEnded(int, result.StepResult) {}

func (l *lastStep) StepEnded(int, result.StepResult) { l.ended = time.Now() }
