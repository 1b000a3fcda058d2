// Package exposition parses the metrics of another exporter in Prometheus' text format, and selects samples by name
// and, in braces, by labels that must be equal: `mta_queue_length{queue="deferred"}`.
package exposition

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/stepwatch/stepwatch/steps/limit"
)

// Accept is the Accept header for the format that Parse reads.
const Accept = "text/plain;version=0.0.4;q=1,text/plain;q=0.5"

// Sample is one line of an exposition.
type Sample struct {
	Name   string
	Labels map[string]string
	Value  float64
}

// String returns the sample's name and labels in the text format.
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

// The limits of an exposition. The parser compares each label of a sample with all before it.
var (
	samplesLimit = limit.Define(limit.Limit{Subject: "exporter", What: "the page of metrics", Unit: "samples", Most: 100_000})
	labelsLimit  = limit.Define(limit.Limit{Subject: "exporter", What: "a sample", Unit: "labels", Most: 200})
)

// Size returns about how many bytes of memory the samples of an exposition take while it is parsed, or a *limit.Error. It
// takes every "=" for a label.
func Size(text []byte) (int64, error) {
	const perSample, perLabel = 1000, 120 // measured
	size, samples := int64(0), int64(0)
	for line := range bytes.Lines(text) {
		if line = bytes.TrimLeft(line, " \t\r\n"); len(line) == 0 || line[0] == '#' {
			continue
		}
		samples++
		labels := int64(bytes.Count(line, []byte("=")))
		if err := cmp.Or(samplesLimit.Check(samples), labelsLimit.Check(labels)); err != nil {
			return 0, err
		}
		size += perSample + labels*perLabel
	}
	return size, nil
}

// Parse parses an exposition. It returns the samples ordered by name. A text without any sample is an error, since no
// exporter serves one. The error is a *limit.Error if there are too many samples or labels.
func Parse(text []byte) ([]Sample, error) {
	if _, err := Size(text); err != nil {
		return nil, err
	}
	if len(text) > 0 && text[len(text)-1] != '\n' {
		return nil, errors.New("its last line has no end, so some of it is missing")
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	var samples []Sample
	for _, name := range slices.Sorted(maps.Keys(families)) {
		// A histogram is split into the samples of its exposition.
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

// Selector selects samples.
type Selector struct {
	Name   string
	Labels map[string]string // required labels with their values; a sample may have others too
}

// ParseSelector parses a selector. It has the format of a line of an exposition, so that it can be copied from the
// exporter's page.
func ParseSelector(text string) (Selector, error) {
	wrong := func(err error) (Selector, error) {
		return Selector{}, fmt.Errorf("%q is not a sample: write it as mta_queue_length{queue=\"deferred\"}: %w", text, err)
	}
	if strings.ContainsAny(text, "\r\n#") || strings.TrimSpace(text) == "" {
		return wrong(fmt.Errorf("it has no name, or more than a name and labels"))
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

// Select returns the samples that match the selector.
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

// Near returns at most three similar samples: those with the same name and other labels, or those whose names have most
// in common with it.
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

// alike returns the number of words that two names share.
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
