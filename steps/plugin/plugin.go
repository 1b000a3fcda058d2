// Package plugin parses the output of a Nagios plugin, by the Monitoring Plugins Development Guidelines ("Plugin Output
// for Nagios", "Performance data", "Plugin Return Codes"): a status line, more text, and performance data.
//
// The quality of plugins varies, so nothing is refused. Unreadable performance data is reported and left out. It never
// changes the status.
package plugin

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"
)

// Output is the parsed output of a plugin.
type Output struct {
	Line     string  // the status line, without performance data
	Text     string  // the lines after it, without performance data
	Perfdata []Value // in the order of the output
	Unread   []string
}

// Value is one value of the performance data, in its original unit.
type Value struct {
	Label string
	Value float64
	Unit  string // "s", "ms", "us", "%", "B", "KB", …, "c", or empty
	Warn  float64
	Crit  float64 // upper ends of the ranges; NaN when there is none, or it is not a plain number
	Min   float64
	Max   float64 // NaN when not given
}

// Limits of the parsed output. Useful plugins stay far below them.
const (
	maxValues = 200
	maxLabel  = 100
)

// Parse reads a plugin's standard output.
func Parse(stdout string) *Output {
	o := &Output{}
	var text, data []string
	inData := false // after the bar in the long text, every line is performance data
	for i, line := range strings.Split(strings.ReplaceAll(stdout, "\r\n", "\n"), "\n") {
		words, perf, found := strings.Cut(line, "|")
		if inData {
			words, perf, found = "", line, true
		}
		if i == 0 {
			o.Line = strings.TrimSpace(words)
		} else if !inData {
			text = append(text, strings.TrimRight(words, " \t"))
			inData = found
		}
		if found {
			data = append(data, perf)
		}
	}
	o.Text = strings.Trim(strings.Join(text, "\n"), "\n")
	for _, token := range split(strings.Join(data, " ")) {
		v, err := parseValue(token)
		switch {
		case err != nil || len(o.Perfdata) == maxValues:
			o.Unread = append(o.Unread, token)
		default:
			o.Perfdata = append(o.Perfdata, v)
		}
	}
	return o
}

// split splits performance data at blanks outside single quotes. A quote inside a quoted label is doubled.
func split(data string) []string {
	var tokens []string
	var b strings.Builder
	quoted := false
	for _, r := range data {
		switch {
		case r == '\'':
			quoted = !quoted
			b.WriteRune(r)
		case unicode.IsSpace(r) && !quoted:
			if b.Len() > 0 {
				tokens = append(tokens, b.String())
			}
			b.Reset()
		default:
			b.WriteRune(r)
		}
	}
	if b.Len() > 0 {
		tokens = append(tokens, b.String())
	}
	return tokens
}

// parseValue reads 'label'=value[unit];[warn];[crit];[min];[max].
func parseValue(token string) (Value, error) {
	var label, rest string
	if strings.HasPrefix(token, "'") {
		end := strings.LastIndex(token, "'=")
		if end < 1 {
			return Value{}, fmt.Errorf("a quoted label without its end")
		}
		label, rest = strings.ReplaceAll(token[1:end], "''", "'"), token[end+2:]
	} else {
		var found bool
		if label, rest, found = strings.Cut(token, "="); !found {
			return Value{}, fmt.Errorf("no equals sign")
		}
	}
	if label == "" || len(label) > maxLabel {
		return Value{}, fmt.Errorf("a label of %d bytes", len(label))
	}
	fields := strings.Split(rest, ";")
	number := strings.TrimRightFunc(fields[0], func(r rune) bool { return r != '.' && (r < '0' || r > '9') })
	n, err := parseNumber(number)
	if err != nil {
		return Value{}, err // "U" is a value that could not be determined
	}
	v := Value{Label: label, Value: n, Unit: fields[0][len(number):], Warn: math.NaN(), Crit: math.NaN(), Min: math.NaN(), Max: math.NaN()}
	for i, into := range []*float64{&v.Warn, &v.Crit, &v.Min, &v.Max} {
		if i+1 >= len(fields) {
			break
		}
		limit := fields[i+1]
		if i < 2 {
			limit = upperEnd(limit)
		}
		if n, err := parseNumber(limit); err == nil {
			*into = n
		}
	}
	return v, nil
}

// upperEnd returns the upper end of a range ("10", "10:20", "~:10"). An inverted range ("@10:20") and one without an
// upper end ("10:") have none.
func upperEnd(limits string) string {
	if strings.HasPrefix(limits, "@") {
		return ""
	}
	if _, end, found := strings.Cut(limits, ":"); found {
		return end
	}
	return limits
}

// parseNumber reads a decimal number. Old plugins write a comma in some locales.
func parseNumber(s string) (float64, error) {
	s = strings.Replace(s, ",", ".", 1)
	if strings.ContainsAny(s, "xXpPiInN_") {
		return 0, fmt.Errorf("%q is not a number", s)
	}
	n, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsInf(n, 0) {
		return 0, fmt.Errorf("%q is not a number", s)
	}
	return n, nil
}

// Base returns the value in its base unit, and the name of that unit in metrics: "seconds", "bytes", "ratio" or
// "total". For a plain number or an unknown unit the name is empty and the value unchanged.
func (v Value) Base() (value float64, unit string) {
	factor, unit := v.scale()
	return v.Value * factor, unit
}

// Limits returns Warn and Crit in the unit of Base.
func (v Value) Limits() (warn, crit float64) {
	factor, _ := v.scale()
	return v.Warn * factor, v.Crit * factor
}

func (v Value) scale() (factor float64, unit string) {
	switch v.Unit {
	case "s":
		return 1, "seconds"
	case "ms":
		return 1e-3, "seconds"
	case "us", "µs":
		return 1e-6, "seconds"
	case "ns":
		return 1e-9, "seconds"
	case "%":
		return 0.01, "ratio"
	case "c":
		return 1, "total"
	}
	for power, prefix := range []string{"", "K", "M", "G", "T", "P"} {
		switch v.Unit {
		case prefix + "B": // plugins mean powers of 1024 with both
			return math.Pow(1024, float64(power)), "bytes"
		case prefix + "iB":
			return math.Pow(1024, float64(power)), "bytes"
		}
	}
	return 1, ""
}
