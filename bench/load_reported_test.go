package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/agent/collector"
	"github.com/stepwatch/stepwatch/agent/result"
)

// timedRole makes this test binary ask every target of a site once a second, in a process of its own, and print how long the
// slow ones took in its view.
const timedRole = "STEPWATCH_BENCH_TIMED"

// timing says what such a process asks: pages that are answered at once, and pages that are answered slowly.
type timing struct {
	Others, Slow []string // URLs
	Bare         bool     // by a loop of bare requests instead of an agent
	Seconds      int
}

// reported is how long the requests for each slow page took, in their order.
type reported [][]time.Duration

// reportTimes asks for as long as it is told, and prints a value of type reported.
func reportTimes(spec string) error {
	var t timing
	if err := json.Unmarshal([]byte(spec), &t); err != nil {
		return err
	}
	ask := t.askAsAgent
	if t.Bare {
		ask = t.askBare
	}
	all, err := ask()
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(all)
}

// askAsAgent lets an agent ask, as `stepwatch agent` does.
func (t timing) askAsAgent() (reported, error) {
	var text strings.Builder
	text.WriteString("@every:1s\nFeature: Reported\n")
	for i, url := range append(t.Slow[:len(t.Slow):len(t.Slow)], t.Others...) {
		fmt.Fprintf(&text, "  Scenario: %d\n    When I go to %q\n    Then I should see \"All is well\"\n", i, url)
	}
	plans, err := compileText(text.String())
	if err != nil {
		return nil, err
	}
	sink := &timeSink{all: make(reported, len(t.Slow))}
	a, _ := newAgent(plans, sink)
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(t.Seconds)*time.Second)
	defer cancel()
	collector.Pace(collector.Agent)
	a.Run(ctx)
	return sink.all, sink.err
}

// timeSink keeps the durations of the first steps of the first scenarios.
type timeSink struct {
	mu  sync.Mutex
	all reported
	err error
}

// Export implements agent.Sink.
func (s *timeSink) Export(r *result.Result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.State() != result.OK {
		s.err = fmt.Errorf("scenario %s: %s", r.Identity.Scenario, r.Summary())
	}
	var i int
	if _, err := fmt.Sscan(r.Identity.Scenario, &i); err == nil && i < len(s.all) {
		s.all[i] = append(s.all[i], r.Steps[0].Duration)
	}
}

// askBare asks in a loop.
func (t timing) askBare() (reported, error) {
	all := make(reported, len(t.Slow))
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	start := time.Now().Add(100 * time.Millisecond)
	end := start.Add(time.Duration(t.Seconds) * time.Second)
	failed := make(chan error, len(t.Slow)+len(t.Others))
	var loops sync.WaitGroup
	for i, url := range append(t.Slow[:len(t.Slow):len(t.Slow)], t.Others...) {
		phase := time.Second * time.Duration(i*7919%cap(failed)) / time.Duration(cap(failed)) // the slow ones among the others
		loops.Go(func() {
			for due := start.Add(phase); due.Before(end); due = due.Add(time.Second) {
				time.Sleep(time.Until(due))
				began := time.Now()
				if err := getWith(client, url, "All is well"); err != nil {
					failed <- err
					return
				}
				if i < len(all) {
					all[i] = append(all[i], time.Since(began))
				}
			}
		})
	}
	loops.Wait()
	close(failed)
	return all, <-failed
}

// BenchmarkLoadReported is how far the reported times of pages that are answered after 50 ms are from what the server took,
// while 1,000 other scenarios run once a second: 20 pages, half a minute (STEPWATCH_BENCH_SECONDS changes that). The same is
// done by a loop of bare requests. What is reported includes the connection, so it is never less.
func BenchmarkLoadReported(b *testing.B) {
	const others, slow = 1000, 20
	for _, bare := range []bool{true, false} {
		name := map[bool]string{true: "bare", false: "stepwatch"}[bare]
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				s := startSite(b, site{Targets: others + slow, Delay: 50 * time.Millisecond})
				t := timing{Bare: bare, Seconds: int(3 * windowTime().Seconds())}
				for i := range others {
					t.Others = append(t.Others, s.url(i))
				}
				for i := range slow {
					t.Slow = append(t.Slow, s.url(others+i)+"slow")
				}
				cmd, stdin, printed := play(b, timedRole, t)
				defer stdin.Close()
				var said reported
				if err := printed.Decode(&said); err != nil {
					b.Fatal(err)
				}
				if err := cmd.Wait(); err != nil {
					b.Fatal(err)
				}
				took := make(reported, slow)
				for _, a := range s.end() {
					if i := int(a[0]) - others; i >= 0 {
						took[i] = append(took[i], time.Duration(a[2]))
					}
				}
				var off []time.Duration
				for i := range said {
					if len(said[i]) > len(took[i]) || len(took[i])-len(said[i]) > 1 { // the agent drops what it stops
						b.Errorf("page %d: %d times were reported for %d requests", i, len(said[i]), len(took[i]))
						continue
					}
					for n, d := range said[i] {
						off = append(off, d-took[i][n])
					}
				}
				b.ReportMetric(float64(len(off)), "times")
				reportPercentiles(b, "off", off)
				b.ReportMetric(ms(percentile(off, 1)), "off-max-ms")
				b.ReportMetric(ms(percentile(off, 0)), "off-min-ms")
			}
		})
	}
}
