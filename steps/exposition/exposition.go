// Package exposition reads the metrics that another exporter serves, in Prometheus' text format, and finds samples in them
// by selector: a name, and in braces the labels that must be equal, `mta_queue_length{queue="deferred"}`.
package exposition

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Accept is the Accept header that asks for the format that Parse reads.
const Accept = "text/plain;version=0.0.4;q=1,text/plain;q=0.5"

// Sample is one line of an exposition.
type Sample struct {
	Name   string
	Labels map[string]string
	Value  float64
}

// String writes the sample's name and labels as the exposition has them.
func (s Sample) String() string {
	if len(s.Labels) == 0 {
		return s.Name
	}
	parts := make([]string, 0, len(s.Labels))
	for _, name := range slices.Sorted(maps.Keys(s.Labels)) {
		parts = append(parts, name+"="+strconv.Quote(s.Labels[name]))
	}
	return s.Name + "{" + strings.Join(parts, ",") + "}"
}

// Parse reads an exposition. The samples come in the order of their names. A text without any sample is an error, since no
// exporter serves one.
func Parse(text []byte) ([]Sample, error) {
	if len(text) > 0 && text[len(text)-1] != '\n' {
		return nil, fmt.Errorf("the last line has no end: %w", io.ErrUnexpectedEOF)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	var samples []Sample
	for _, name := range slices.Sorted(maps.Keys(families)) {
		// A histogram is taken apart into the samples that its exposition has.
		vector, err := expfmt.ExtractSamples(&expfmt.DecodeOptions{}, families[name])
		if err != nil {
			return nil, err
		}
		for _, s := range vector {
			samples = append(samples, newSample(s))
		}
	}
	if len(samples) == 0 {
		return nil, fmt.Errorf("it has no sample")
	}
	return samples, nil
}

func newSample(s *model.Sample) Sample {
	sample := Sample{Name: string(s.Metric[model.MetricNameLabel]), Labels: make(map[string]string, len(s.Metric)), Value: float64(s.Value)}
	for name, value := range s.Metric {
		if name != model.MetricNameLabel {
			sample.Labels[string(name)] = string(value)
		}
	}
	return sample
}

// Selector says which samples are meant.
type Selector struct {
	Name   string
	Labels map[string]string // that must be there with that value; others may be there too
}

// ParseSelector reads a selector. It is read as a line of an exposition is, so that what stands on the exporter's page can
// be copied from there.
func ParseSelector(text string) (Selector, error) {
	wrong := func(err error) (Selector, error) {
		return Selector{}, fmt.Errorf("%q is no sample: write it as mta_queue_length{queue=\"deferred\"}: %w", text, err)
	}
	if strings.ContainsAny(text, "\r\n#") || strings.TrimSpace(text) == "" {
		return wrong(fmt.Errorf("a name is missing, or too much there"))
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text + " 0\n"))
	if err != nil {
		return wrong(err)
	}
	for _, family := range families {
		if len(families) != 1 || len(family.GetMetric()) != 1 || family.GetMetric()[0].TimestampMs != nil {
			break
		}
		return newSelector(family), nil
	}
	return wrong(fmt.Errorf("it is more than a name and labels"))
}

func newSelector(family *dto.MetricFamily) Selector {
	s := Selector{Name: family.GetName(), Labels: make(map[string]string)}
	for _, label := range family.GetMetric()[0].GetLabel() {
		s.Labels[label.GetName()] = label.GetValue()
	}
	return s
}

// Select gives the samples that are meant.
func (s Selector) Select(samples []Sample) []Sample {
	var found []Sample
	for _, sample := range samples {
		if sample.Name == s.Name && s.fits(sample) {
			found = append(found, sample)
		}
	}
	return found
}

func (s Selector) fits(sample Sample) bool {
	for name, value := range s.Labels {
		if got, found := sample.Labels[name]; !found || got != value {
			return false
		}
	}
	return true
}

// Near gives the samples that may have been meant, at most three: those of the name with other labels, or those whose
// names have most in common with it.
func (s Selector) Near(samples []Sample) []string {
	const most = 3
	var near []string
	for _, sample := range samples {
		if sample.Name == s.Name && len(near) < most {
			near = append(near, sample.String())
		}
	}
	if near != nil {
		return near
	}
	var names []string
	for _, sample := range samples {
		if !slices.Contains(names[max(0, len(names)-1):], sample.Name) && alike(s.Name, sample.Name) > 0 {
			names = append(names, sample.Name)
		}
	}
	slices.SortStableFunc(names, func(a, b string) int { return alike(s.Name, b) - alike(s.Name, a) })
	return names[:min(most, len(names))]
}

// alike counts the words that two names share.
func alike(a, b string) int {
	words := strings.Split(b, "_")
	shared := 0
	for _, word := range strings.Split(a, "_") {
		if len(word) > 2 && slices.Contains(words, word) {
			shared++
		}
	}
	return shared
}
