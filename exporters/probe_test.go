package exporters_test

import (
	"bytes"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/exporters"
	"github.com/stepwatch/stepwatch/exporters/exporterstest"
)

// TestProbePage holds what the page of one run has, in the format that the scraper asks for.
func TestProbePage(t *testing.T) {
	slow := exporterstest.Passing()
	slow.Budget.Warn = 1
	unknown := exporterstest.Passing()
	unknown.Steps = nil
	for _, c := range []struct {
		res  *result.Result
		want []string
	}{
		{exporterstest.Passing(), []string{"probe_success 1\n", "probe_duration_seconds 0.083021\n",
			`stepwatch_step_last_duration_seconds{feature="The website",scenario="<page> is there",example="page=Contact",step="I follow \"<page>\"",order="01"} 0.083` + "\n",
			`stepwatch_scenario_state{feature="The website",scenario="<page> is there",example="page=Contact"} 0` + "\n",
			`stepwatch_http_status_code{feature="The website",scenario="<page> is there",example="page=Contact",step="I follow \"<page>\""} 200` + "\n"}},
		{exporterstest.Typical(), []string{"probe_success 0\n", "probe_duration_seconds 60.524\n", `reason="not_received",blame="delivery"} 1` + "\n"}},
		{slow, []string{"probe_success 1\n", `} 1` + "\n"}},
		{unknown, []string{"probe_success 0\n"}},
	} {
		for _, accept := range []string{acceptText, acceptOpen, ""} {
			w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/probe", nil)
			r.Header.Set("Accept", accept)
			if err := exporters.ProbePage(w, r, c.res); err != nil {
				t.Fatal(err)
			}
			page := w.Body.String()
			for _, want := range c.want {
				if !strings.Contains(page, want) {
					t.Errorf("Accept %q: the page has no %s:\n%s", accept, want, page)
				}
			}
			for _, unwanted := range []string{"_total", "_count", "_sum", "go_", "scenario_info"} {
				if strings.Contains(page, unwanted) {
					t.Errorf("Accept %q: the page has %s:\n%s", accept, unwanted, page)
				}
			}
			if open := accept == acceptOpen; strings.HasSuffix(page, "# EOF\n") != open {
				t.Errorf("Accept %q: %s", accept, w.Header())
			}
		}
	}
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed (Debian: package prometheus), so it does not check the page")
	}
	var page bytes.Buffer
	if err := exporters.ProbeText(&page, exporterstest.Typical()); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), promtool, "check", "metrics")
	cmd.Stdin = &page
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}
