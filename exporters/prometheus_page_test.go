package exporters_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"google.golang.org/protobuf/proto"

	"github.com/stepwatch/stepwatch/agent/alert"
	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/exporters"
	"github.com/stepwatch/stepwatch/exporters/exporterstest"
)

// normal returns the lines about stepwatch on a page: those about families as they are, and those of samples with sorted
// labels and all numbers written in one way. Families keep their order, and the samples within one are sorted.
func normal(t *testing.T, page string) []string {
	t.Helper()
	number := func(text string) string {
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			t.Errorf("%q is not a number", text)
		}
		return fmt.Sprint(v)
	}
	var all []string
	head := 0 // where the samples of the family begin
	for line := range strings.Lines(page) {
		line = strings.TrimSuffix(line, "\n")
		if rest, isHead := strings.CutPrefix(line, "# "); isHead {
			_, about, _ := strings.Cut(rest, " ")
			if strings.HasPrefix(about, "stepwatch_") {
				slices.Sort(all[head:])
				all = append(all, line)
				head = len(all)
			}
			continue
		}
		if !strings.HasPrefix(line, "stepwatch_") {
			continue
		}
		name, labels, values := sample(t, line)
		slices.Sort(labels)
		for i, l := range labels {
			if le, isBound := strings.CutPrefix(l, "le="); isBound {
				labels[i] = "le=" + number(strings.Trim(le, `"`))
			}
		}
		value, exemplar, _ := strings.Cut(values, " # ")
		if fields := strings.Fields(exemplar); len(fields) > 0 {
			exemplar = fmt.Sprint(fields[0], number(fields[1]), number(fields[2]))
		}
		all = append(all, fmt.Sprint(name, labels, number(value), exemplar))
	}
	slices.Sort(all[head:])
	return all
}

// sample takes a line of a sample apart.
func sample(t *testing.T, line string) (name string, labels []string, rest string) {
	t.Helper()
	end := strings.IndexAny(line, "{ ")
	name, rest = line[:end], line[end:]
	if rest[0] == '{' {
		rest = rest[1:]
		begin, quoted := 0, false
		for i := 0; ; i++ {
			switch c := rest[i]; {
			case c == '\\':
				i++
			case c == '"':
				quoted = !quoted
			case !quoted && (c == ',' || c == '}'):
				labels = append(labels, rest[begin:i])
				begin = i + 1
			}
			if !quoted && rest[i] == '}' {
				rest = rest[i+1:]
				break
			}
		}
	}
	if rest == "" || rest[0] != ' ' {
		t.Fatalf("no space before the value: %s", line)
	}
	return name, labels, rest[1:]
}

// everything returns an exporter with every kind of series, and results of every kind, several times.
func everything(config exporters.PrometheusConfig) *exporters.Prometheus {
	stats := exporterstest.Stats()
	stats.Mistakes = map[string]int{"a \"b\"\\\n.feature": 2}
	for _, name := range []string{"huge texts", "hostile texts", "a status from elsewhere", "nothing at all"} {
		stats.Scenarios = append(stats.Scenarios, result.ScenarioStats{Identity: exporterstest.Odd()[name].Identity, Late: 3})
	}
	p := exporters.NewPrometheus(config, exporters.Host{Stats: func() result.Stats { return stats }})
	for range 2 {
		for _, r := range exporterstest.Odd() {
			p.Export(r)
		}
	}
	p.Export(exporterstest.Passing())
	p.Alert(alert.Alert{Rule: "failures", Identity: exporterstest.Typical().Identity, State: alert.Hard})
	p.Alert(alert.Alert{Rule: "lack", State: alert.Hard, Lack: &result.Lack{Kind: "ports"}})
	return p
}

// TestPrometheusPageIsThatOfExpfmt compares the pages that the exporter writes itself with those that the library of
// Prometheus writes of the same metrics.
func TestPrometheusPageIsThatOfExpfmt(t *testing.T) {
	for name, config := range configurations() {
		p := everything(config)
		for accept, write := range map[string]func(*bytes.Buffer, *dto.MetricFamily) error{
			acceptText: func(b *bytes.Buffer, f *dto.MetricFamily) error {
				_, err := expfmt.MetricFamilyToText(b, f)
				return err
			},
			acceptOpen: func(b *bytes.Buffer, f *dto.MetricFamily) error {
				_, err := expfmt.MetricFamilyToOpenMetrics(b, f)
				return err
			},
		} {
			families, err := p.Gather()
			if err != nil {
				t.Fatal(err)
			}
			var library bytes.Buffer
			for _, f := range families {
				if err := write(&library, asSummary(f)); err != nil {
					t.Fatal(err)
				}
			}
			got, want := normal(t, page(t, p, accept)), normal(t, library.String())
			for i := range min(len(got), len(want)) {
				if got[i] != want[i] {
					t.Errorf("%s, Accept %q: got\n%s\nwant\n%s", name, accept, got[i], want[i])
					break
				}
			}
			if len(got) != len(want) || len(got) < 150 {
				t.Errorf("%s, Accept %q: got %d lines, want %d", name, accept, len(got), len(want))
			}
		}
	}
}

// TestPrometheusProtobufIsThatOfGather compares the protobuf page, which the exporter writes itself, with the messages.
func TestPrometheusProtobufIsThatOfGather(t *testing.T) {
	ours := func(f *dto.MetricFamily) bool { return strings.HasPrefix(f.GetName(), "stepwatch_") }
	for name, config := range configurations() {
		p := everything(config)
		want, err := p.Gather()
		if err != nil {
			t.Fatal(err)
		}
		want = slices.DeleteFunc(want, func(f *dto.MetricFamily) bool { return !ours(f) })
		var got []*dto.MetricFamily
		decoder := expfmt.NewDecoder(strings.NewReader(page(t, p, acceptProtobuf)), expfmt.NewFormat(expfmt.TypeProtoDelim))
		for {
			f := new(dto.MetricFamily)
			if err := decoder.Decode(f); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			if ours(f) {
				got = append(got, f)
			}
		}
		if len(got) != len(want) || len(got) < 20 {
			t.Errorf("%s: got %d families, want %d", name, len(got), len(want))
		}
		for i := range min(len(got), len(want)) {
			if !proto.Equal(got[i], want[i]) {
				t.Errorf("%s: got\n%v\nwant\n%v", name, got[i], want[i])
			}
		}
	}
}

// asSummary returns a family as the text formats have it, which know no native histograms.
func asSummary(f *dto.MetricFamily) *dto.MetricFamily {
	if f.GetType() != dto.MetricType_HISTOGRAM || len(f.Metric[0].Histogram.Bucket) > 0 {
		return f
	}
	f = proto.CloneOf(f)
	f.Type = dto.MetricType_SUMMARY.Enum()
	for _, m := range f.Metric {
		m.Summary = &dto.Summary{SampleCount: m.Histogram.SampleCount, SampleSum: m.Histogram.SampleSum}
		m.Histogram = nil
	}
	return f
}

// stepDurations returns the distribution of the only step of the scenario.
func stepDurations(t *testing.T, p *exporters.Prometheus) *dto.Histogram {
	t.Helper()
	families, err := p.Gather()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(families, func(f *dto.MetricFamily) bool { return f.GetName() == "stepwatch_step_duration_seconds" })
	return families[i].Metric[0].Histogram
}

// TestPrometheusNativeHistogramIsThatOfTheClient compares distributions with those of Prometheus' own client, for
// durations of any order, within the number of buckets at which it begins to join or to reset them.
func TestPrometheusNativeHistogramIsThatOfTheClient(t *testing.T) {
	for name, draw := range map[string]func(i int) time.Duration{
		"a site":             spread,
		"one value":          func(int) time.Duration { return 250 * time.Millisecond },
		"powers of two":      func(i int) time.Duration { return time.Second << (i % 6) },
		"none":               func(int) time.Duration { return 0 },
		"nanoseconds":        func(i int) time.Duration { return time.Duration(1 + i%7) },
		"rising and falling": func(i int) time.Duration { return time.Duration(1+(i*37)%101) * 10 * time.Millisecond },
	} {
		p := plainPrometheus()
		client := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "x", NativeHistogramBucketFactor: 1.1, NativeHistogramMaxExemplars: -1})
		for i := range 500 {
			d := draw(i)
			p.Export(run(result.Passed, did("a", result.Passed, d)))
			client.Observe(d.Seconds())
		}
		var m dto.Metric
		if err := client.Write(&m); err != nil {
			t.Fatal(err)
		}
		got, want := stepDurations(t, p), m.Histogram
		if math.Abs(got.GetSampleSum()-want.GetSampleSum()) > 1e-9 {
			t.Errorf("%s: the sum is %v, want %v", name, got.GetSampleSum(), want.GetSampleSum())
		}
		got.SampleSum, got.CreatedTimestamp = want.SampleSum, want.CreatedTimestamp
		if !proto.Equal(got, want) {
			t.Errorf("%s: got\n%v\nwant\n%v", name, got, want)
		}
	}
}

// TestPrometheusNativeHistogramStaysSmall checks that durations of every size take at most 64 buckets, that none is lost,
// and that each bucket holds what lies within its bounds.
func TestPrometheusNativeHistogramStaysSmall(t *testing.T) {
	p := plainPrometheus()
	random := rand.New(rand.NewPCG(1, 2))
	var all []float64
	for range 3000 {
		d := time.Duration(math.Exp2(random.Float64() * 45)) // up to ten hours
		all = append(all, d.Seconds())
		p.Export(run(result.Passed, did("a", result.Passed, d)))
	}
	slices.Sort(all)
	h := stepDurations(t, p)
	base := math.Exp2(math.Exp2(-float64(h.GetSchema())))
	var index, used int32
	var count int64
	var below int
	delta := h.PositiveDelta
	for _, span := range h.PositiveSpan {
		index += span.GetOffset()
		for range span.GetLength() {
			count += delta[0]
			delta = delta[1:]
			upper := math.Pow(base, float64(index))
			for within := 0; below < len(all) && all[below] <= upper*(1+1e-12); below++ {
				if within++; int64(within) > count {
					t.Fatalf("the bucket up to %v holds %d, want more", upper, count)
				}
			}
			index++
			used++
		}
	}
	if used > 64 || below != len(all) || h.GetSampleCount() != uint64(len(all)) || h.GetSchema() >= 3 {
		t.Errorf("%d buckets of schema %d hold %d of %d", used, h.GetSchema(), below, len(all))
	}
}

// TestPrometheusExportAllocatesNothing holds that a run with the series of the previous one costs no garbage.
func TestPrometheusExportAllocatesNothing(t *testing.T) {
	for name, config := range configurations() {
		p := exporters.NewPrometheus(config, exporters.Host{})
		runs := []*result.Result{httpsRun(1), httpsRun(1)}
		runs[1].Steps[0].Duration += time.Millisecond
		for _, r := range runs {
			p.Export(r)
		}
		i := 0
		if n := testing.AllocsPerRun(100, func() { i++; p.Export(runs[i%2]) }); n > 0 {
			t.Errorf("%s: an export allocates %v times", name, n)
		}
	}
}
