package steps

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/features"
	"github.com/stepwatch/stepwatch/steps/daily"
	"github.com/stepwatch/stepwatch/steps/wording"
)

// Args has the arguments of a step: the values of the parameters, and the doc string or table below it.
type Args struct {
	Captured  []string
	DocString *features.DocString
	Table     [][]string
	Dir       string // of the feature file, the base of relative paths; empty means the working directory
}

// Path returns parameter i, a file, as a path to open.
func (a Args) Path(i int) string {
	if filepath.IsAbs(a.Captured[i]) {
		return a.Captured[i]
	}
	return filepath.Join(a.Dir, a.Captured[i])
}

// Text returns parameter i, from 0, as written.
func (a Args) Text(i int) string { return a.Captured[i] }

// Int returns parameter i as a whole number. A number too large for an int is a Failure.
func (a Args) Int(i int) (int, error) {
	n, err := strconv.Atoi(a.Captured[i])
	if err != nil {
		return 0, FailScenario("%q is not a whole number that fits", a.Captured[i])
	}
	return n, nil
}

// Number returns parameter i as a number. A number that does not fit a float64 is a Failure.
func (a Args) Number(i int) (float64, error) {
	n, err := strconv.ParseFloat(a.Captured[i], 64)
	if err != nil {
		return 0, FailScenario("%q is not a number that fits", a.Captured[i])
	}
	return n, nil
}

// Port returns parameter i as the number of a port, 1 to 65535.
func (a Args) Port(i int) (int, error) { return ParsePort(a.Captured[i]) }

// Duration returns parameter i as a duration: "60s", "1.5 minutes", "200 milliseconds".
func (a Args) Duration(i int) (time.Duration, error) { return ParseDuration(a.Captured[i]) }

// ParseDuration parses a duration of a sentence, in words or in Go's syntax.
func ParseDuration(s string) (time.Duration, error) {
	number := strings.TrimRight(s, "abcdefghijklmnopqrstuvwxyz ")
	unit := strings.TrimSpace(s[len(number):])
	scale, known := map[string]time.Duration{"ms": time.Millisecond, "millisecond": time.Millisecond, "s": time.Second, "sec": time.Second,
		"second": time.Second, "m": time.Minute, "min": time.Minute, "minute": time.Minute, "h": time.Hour, "hour": time.Hour, "d": Day, "day": Day}[unit]
	if !known {
		scale, known = map[string]time.Duration{"milliseconds": time.Millisecond, "secs": time.Second, "seconds": time.Second,
			"mins": time.Minute, "minutes": time.Minute, "hours": time.Hour, "days": Day}[unit]
	}
	n, err := strconv.ParseFloat(number, 64)
	if !known || err != nil || n < 0 || n*float64(scale) > float64(1<<62) {
		return 0, FailScenario("%q is not a duration: write it as \"60s\" or \"5 minutes\"", s)
	}
	return time.Duration(n * float64(scale)), nil
}

// ParseWindow reads "between {clock} and {clock}", and the zone after it if there is one.
func ParseWindow(captured []string) (daily.Window, error) {
	window := daily.Window{Zone: time.Local}
	var err error
	if window.From, err = daily.ParseClock(captured[0]); err != nil {
		return window, FailScenario("%w", err)
	}
	if window.By, err = daily.ParseClock(captured[1]); err != nil {
		return window, FailScenario("%w", err)
	}
	if len(captured) > 2 {
		if window.Zone, err = time.LoadLocation(captured[2]); err != nil {
			return window, FailScenario("the time zone %q is unknown here: %w: is it spelt like Europe/Berlin, and is tzdata installed?", captured[2], err)
		}
	}
	return window, nil
}

// Day is 24 hours, as durations in sentences count days.
const Day = 24 * time.Hour

// ParsePercentage reads a share in percent, 0 to 100.
func ParsePercentage(text string) (float64, error) {
	p, err := strconv.ParseFloat(text, 64)
	if err != nil || p < 0 || p > 100 {
		return 0, FailScenario("%s%% is not a share: write 0 to 100", text)
	}
	return p, nil
}

// ParseSize reads "512 KB"; the units are powers of 1024. A size of more than most GB is a mistake.
func ParseSize(text string, most int64) (int64, error) {
	number := strings.TrimRight(text, "BKMG ")
	scale := map[string]float64{"B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}[strings.TrimSpace(text[len(number):])]
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || n*scale < 1 || n*scale > float64(most<<30) {
		return 0, FailScenario("%q is not a size from 1 B to %d GB", text, most)
	}
	return int64(n * scale), nil
}

// Selection describes the values that a sentence counts or compares, for its measurement and its messages.
type Selection struct{ Metric, Help, Noun string }

// WorstSelected returns the worst number that a path selects in a response, where it is, and the name of the response.
type WorstSelected func(ctx context.Context, w *World, path string, worse func(a, b float64) bool) (what string, worst float64, at string, err error)

// CompareWorst judges the worst number that a path selects in a response of any format.
func CompareWorst(of Selection, read WorstSelected, word string, fits, worse func(a, b float64) bool) func(context.Context, *World, Args) error {
	return func(ctx context.Context, w *World, a Args) error {
		limit, err := a.Number(1)
		if err != nil {
			return err
		}
		what, worst, at, err := read(ctx, w, a.Text(0), worse)
		if err != nil {
			return err
		}
		w.Measure(of.Metric, of.Help, worst)
		if !fits(worst, limit) {
			return Fail(result.ReasonUnexpected, result.BlameWeb, "%s has %s at %s, wanted it %s %s", what, wording.Number(worst), at, word, a.Text(1))
		}
		w.Note(fmt.Sprintf("%s is %s", at, wording.Number(worst)))
		return nil
	}
}
