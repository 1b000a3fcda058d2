package exporters

import (
	"io"
	"net/http"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"github.com/stepwatch/stepwatch/agent/result"
)

// ProbePage writes the page of one run, for a scraper that asked for it: probe_success and probe_duration_seconds, as
// blackbox_exporter calls them, and the gauges of a scenario with the names and labels that they have on the page of the agent.
// Counters and histograms are left out: there is nothing to count in one run.
func ProbePage(w http.ResponseWriter, r *http.Request, res *result.Result) error {
	format := expfmt.NegotiateAccept(r.Header, expfmt.FmtOpenMetrics_1_0_0, expfmt.FmtOpenMetrics_0_0_1, expfmt.FmtText, expfmt.FmtText_1_0_0)
	w.Header().Set("Content-Type", string(format))
	return writeProbe(w, res, format.FormatType() == expfmt.TypeOpenMetrics)
}

// ProbeText writes the same page as text for people.
func ProbeText(w io.Writer, res *result.Result) error { return writeProbe(w, res, false) }

func writeProbe(w io.Writer, res *result.Result, open bool) error {
	config := *DefaultPrometheusConfig()
	config.Phases = "last"
	p := NewPrometheus(config, Host{})
	p.Export(res)
	view := p.look(false)
	view.others = nil
	success := &family{name: "probe_success", kind: dto.MetricType_GAUGE, help: "Whether every step of the run passed (1) or not (0)."}
	took := &family{name: "probe_duration_seconds", kind: dto.MetricType_GAUGE, help: "Time of the run: of its preparation and its steps."}
	view.agent = append(view.agent, agentSample{success, "", boolean(res.Status == result.Passed && res.State() != result.Unknown)},
		agentSample{took, "", (res.Prepare + res.Duration).Seconds()})
	page := pageWriter{to: w, open: open, buffer: make([]byte, 0, pageBuffer)}
	for _, f := range append([]*family{took, success}, p.shown()...) {
		if f.kind == dto.MetricType_GAUGE && f != p.families.info {
			page.family(view, f)
			continue
		}
		for range view.of(f) { // a view has all of its series in order
		}
	}
	if open {
		page.buffer = append(page.buffer, "# EOF\n"...)
	}
	page.flush()
	return page.err
}
