package cmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/stepstest"
)

// syncBuffer is a buffer that a program in the background writes while a test reads.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); {
		if time.Now().After(deadline) {
			t.Fatalf("gave up waiting for %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get(url)
	if err != nil {
		return ""
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// TestAgentServesMetricsAndStopsWhenTold runs the verb, looks at the page, breaks the site, sees the alert, and stops the
// agent in the middle of a visit that hangs.
func TestAgentServesMetricsAndStopsWhenTold(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir()) // where the evidence goes
	defer goleak.VerifyNone(t)
	site, err := stepstest.NewWebsite(stepstest.WebsiteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer site.Close()
	dir := t.TempDir()
	feature := "@every:1s @timeout:30s @retries:1\nFeature: Site\n  Scenario: Home\n    When I go to \"http://" + site.HTTPAddr + "/\"\n    Then I should see \"Welcome\"\n"
	if err := os.WriteFile(filepath.Join(dir, "site.feature"), []byte(feature), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancelCause(context.Background())
	defer stop(nil)
	var errs syncBuffer
	code := make(chan int, 1)
	go func() {
		code <- dispatch(ctx, &terminal{out: io.Discard, err: &errs}, []string{"agent", "--listen", "127.0.0.1:0", dir})
	}()
	address := regexp.MustCompile(`http://\S+/metrics`)
	until(t, "the address", func() bool { return address.MatchString(errs.String()) })
	metrics := address.FindString(errs.String())
	sample := func(name, value string) bool {
		return regexp.MustCompile(`(?m)^` + name + `\{.*\} ` + value + `$`).MatchString(get(t, metrics))
	}
	until(t, "a passed run", func() bool { return sample("stepwatch_scenario_success", "1") })
	until(t, "its step's time", func() bool {
		return strings.Contains(get(t, metrics), `stepwatch_step_last_duration_seconds{feature="Site",scenario="Home",step="I should see \"Welcome\"",order="02"}`)
	})
	site.SetBroken(stepstest.Status500)
	until(t, "the alert", func() bool { return sample("stepwatch_alert_firing", "1") })
	if page := get(t, metrics); !strings.Contains(page, `reason="http_status"`) || !strings.Contains(page, `blame="web"`) {
		t.Error("the page does not name the failure")
	}
	site.SetBroken(stepstest.Healthy)
	until(t, "the end of the alert", func() bool { return sample("stepwatch_alert_firing", "0") })
	site.SetBroken(stepstest.Silent)
	before := site.Requests()
	until(t, "a visit that hangs", func() bool { return site.Requests() > before })
	asked := time.Now()
	stop(steps.ErrStopped)
	select {
	case c := <-code:
		if c != exitPassed {
			t.Errorf("exit code %d: %s", c, errs.String())
		}
		if took := time.Since(asked); took > 10*time.Second {
			t.Errorf("it took %s to stop", took)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the agent did not stop")
	}
}

func TestAgentRefusesWhatIsWrong(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"good.feature":  "Feature: Good\n  Scenario: One\n    When I go to \"http://example.org/\"\n",
		"typo.feature":  "Feature: Typo\n  Scenario: One\n    When I goto \"http://example.org/\"\n",
		"stepwatch.yml": "exporters: {carrier_pigeon: {}}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"--listen", taken.Addr().String(), filepath.Join(dir, "good.feature")}, "choose another with --listen"},
		{[]string{"--strict", filepath.Join(dir, "typo.feature")}, `did you mean "I go to {url}"?`},
		{[]string{"--config", filepath.Join(dir, "stepwatch.yml"), filepath.Join(dir, "good.feature")}, `there is no exporter "carrier_pigeon"; there are: prometheus`},
		{nil, "no features"},
	} {
		var errs bytes.Buffer
		code := dispatch(context.Background(), &terminal{out: io.Discard, err: &errs}, append([]string{"agent"}, test.args...))
		if code != exitNotRun || !strings.Contains(errs.String(), test.want) {
			t.Errorf("%q: exit code %d, %q; want %d and %q", test.args, code, errs.String(), exitNotRun, test.want)
		}
	}
}

func TestStopOnSignalNamesTheCause(t *testing.T) {
	ctx, stop := stopOnSignal(context.Background(), &terminal{err: io.Discard})
	defer stop()
	process, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	<-ctx.Done()
	if cause := context.Cause(ctx); !errors.Is(cause, steps.ErrStopped) {
		t.Errorf("got %v", fmt.Sprint(cause))
	}
}
