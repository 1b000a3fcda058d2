package wording

import (
	"fmt"
	"strconv"
	"time"
)

// Number writes n without an exponent and without zeros at its end.
func Number(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) }

// Span formats a duration for people, in its two largest units.
func Span(d time.Duration) string {
	switch d = max(d, 0); {
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm %ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh %dm", int(d.Hours()), int(d.Minutes())%60)
	default:
		return fmt.Sprintf("%d days", int(d/(24*time.Hour)))
	}
}

// Delay formats d with about three digits: "0.012s", "1.25s", "41.2s".
func Delay(d time.Duration) string {
	digits := 1
	switch {
	case d < time.Second:
		digits = 3
	case d < 10*time.Second:
		digits = 2
	}
	return strconv.FormatFloat(d.Seconds(), 'f', digits, 64) + "s"
}

// Percent writes n of a number as a percentage with one digit.
func Percent(n, of int) string {
	return strconv.FormatFloat(100*float64(n)/float64(of), 'f', 1, 64)
}

// Seconds writes d in seconds with three digits: "0.120s".
func Seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', 3, 64) + "s" }
