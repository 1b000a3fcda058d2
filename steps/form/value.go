package form

import (
	"math"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"github.com/stepwatch/stepwatch/steps/pagetree"
	"github.com/stepwatch/stepwatch/steps/regex"
)

// inputType returns the type of an input, "text" when it has none that is known.
func inputType(n *html.Node) string {
	kind, _ := pagetree.Attribute(n, "type")
	switch kind = strings.ToLower(kind); kind {
	case "hidden", "search", "tel", "url", "email", "password", "date", "month", "week", "time", "datetime-local", "number", "range", "color",
		"checkbox", "radio", "file", "submit", "image", "reset", "button":
		return kind
	}
	return "text"
}

// Sanitized returns what an input makes of a value (HTML §4.10.5.1, value sanitization algorithm).
func Sanitized(input *html.Node, value string) string {
	if input.DataAtom != atom.Input {
		return value
	}
	switch inputType(input) {
	case "text", "search", "tel", "password":
		return oneLine(value)
	case "url":
		return trimmed(oneLine(value))
	case "email":
		if _, multiple := pagetree.Attribute(input, "multiple"); !multiple {
			return trimmed(oneLine(value))
		}
		parts := strings.Split(oneLine(value), ",")
		for i := range parts {
			parts[i] = trimmed(parts[i])
		}
		return strings.Join(parts, ",")
	case "date":
		return kept(value, isDate(value))
	case "month":
		return kept(value, isMonth(value))
	case "week":
		return kept(value, isWeek(value))
	case "time":
		return kept(value, isTime(value))
	case "datetime-local":
		return dateTime(value)
	case "number":
		return kept(value, number.MatchString(value) && finite(value))
	case "range":
		return inRange(input, value)
	case "color":
		if color.MatchString(value) {
			return strings.ToLower(value)
		}
		return "#000000"
	}
	return value
}

func kept(value string, valid bool) string {
	if valid {
		return value
	}
	return ""
}

func oneLine(value string) string { return strings.NewReplacer("\r", "", "\n", "").Replace(value) }

// trimmed removes white space as HTML knows it, which is less than Unicode's.
func trimmed(value string) string { return strings.Trim(value, " \t\n\f\r") }

var (
	number = regex.Lazy(`^-?(\d+(\.\d+)?|\.\d+)([eE][-+]?\d+)?$`)
	color  = regex.Lazy(`^#[0-9a-fA-F]{6}$`)
	date   = regex.Lazy(`^(\d{4,})-(\d\d)-(\d\d)$`)
	month  = regex.Lazy(`^(\d{4,})-(\d\d)$`)
	week   = regex.Lazy(`^(\d{4,})-W(\d\d)$`)
	clock  = regex.Lazy(`^(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,3}))?)?$`)
)

func finite(value string) bool {
	f, err := strconv.ParseFloat(value, 64)
	return err == nil && !math.IsInf(f, 0)
}

// lastYear is the last year that browsers know (ECMAScript, time values).
const lastYear = 275760

// numbers returns the numbers in the groups of a match, and false when the first is not a year.
func numbers(m []string) (n []int, valid bool) {
	if m == nil {
		return nil, false
	}
	for _, digits := range m[1:] {
		number, err := strconv.Atoi(digits)
		if err != nil {
			return nil, false
		}
		n = append(n, number)
	}
	return n, n[0] >= 1 && n[0] <= lastYear
}

func isMonth(value string) bool {
	n, valid := numbers(month.FindStringSubmatch(value))
	return valid && n[1] >= 1 && n[1] <= 12
}

func isDate(value string) bool {
	n, valid := numbers(date.FindStringSubmatch(value))
	return valid && n[1] >= 1 && n[1] <= 12 && n[2] >= 1 && n[2] <= time.Date(n[0], time.Month(n[1]+1), 0, 0, 0, 0, 0, time.UTC).Day()
}

func isWeek(value string) bool {
	n, valid := numbers(week.FindStringSubmatch(value))
	if !valid {
		return false
	}
	_, last := time.Date(n[0], time.December, 28, 0, 0, 0, 0, time.UTC).ISOWeek() // always in the last week
	return n[1] >= 1 && n[1] <= last
}

func isTime(value string) bool {
	m := clock.FindStringSubmatch(value)
	return m != nil && m[1] <= "23" && m[2] <= "59" && m[3] <= "59"
}

// dateTime returns the shortest form of a local date and time, or "" when it is none.
func dateTime(value string) string {
	at := strings.IndexAny(value, "T ")
	if at < 0 || !isDate(value[:at]) || !isTime(value[at+1:]) {
		return ""
	}
	m := clock.FindStringSubmatch(value[at+1:])
	short := m[1] + ":" + m[2]
	fraction := strings.TrimRight(m[4], "0")
	if m[3] != "" && (m[3] != "00" || fraction != "") {
		short += ":" + m[3]
		if fraction != "" {
			short += "." + fraction
		}
	}
	return value[:at] + "T" + short
}

// inRange returns the value of a slider, which always has one (HTML §4.10.5.1.13): within its limits and on a step.
func inRange(input *html.Node, value string) string {
	setting := func(key string, otherwise float64) float64 {
		if text, found := pagetree.Attribute(input, key); found && number.MatchString(text) {
			if f, err := strconv.ParseFloat(text, 64); err == nil {
				return f
			}
		}
		return otherwise
	}
	least, most := setting("min", 0), setting("max", 100)
	at := least
	if most >= least {
		at += (most - least) / 2
	}
	if number.MatchString(value) && finite(value) {
		at, _ = strconv.ParseFloat(value, 64)
	}
	at = max(min(at, max(most, least)), least)
	step := setting("step", 1)
	if text, _ := pagetree.Attribute(input, "step"); strings.EqualFold(text, "any") {
		return strconv.FormatFloat(at, 'f', -1, 64)
	}
	if step <= 0 {
		step = 1
	}
	steps := math.Floor((at-least)/step + 0.5)
	if rounded := least + steps*step; rounded <= max(most, least) {
		at = rounded
	} else {
		at = least + (steps-1)*step
	}
	return strconv.FormatFloat(math.Round(at*1e9)/1e9, 'f', -1, 64)
}
