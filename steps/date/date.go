// Package date reads the dates that mail, HTTP and feeds contain. It knows what a zone name means from a fixed table
// and never asks the machine's own zone, as [time.Parse] does: there "EST" is UTC unless the machine stands in New
// York.
//
// It follows RFC 5322 section 3.3 with the obsolete forms of section 4.3, RFC 9110 section 5.6.7, RFC 3339 with the
// shorter forms of W3CDTF, and RFC 6265 section 5.1.1. It reads more than they allow where the meaning is certain. A
// zone that is unknown, ambiguous or missing is an error that says so, because a guess would be wrong by hours. For an
// ambiguous one it is an [*AmbiguousError], which has the bounds of what the date may mean.
package date

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// longest is the longest text that is read as a date, in bytes.
const longest = 200

// Mail returns the date of a mail's header field, in UTC. It accepts comments, missing days of the week and seconds,
// years of two digits and zone names.
func Mail(text string) (time.Time, error) {
	f, err := read(text)
	switch {
	case err != nil:
		return time.Time{}, refuse(text, err)
	case !f.timed:
		return time.Time{}, refuse(text, errors.New("it has no time of day (RFC 5322 section 3.3)"))
	case !f.zoned:
		return time.Time{}, refuse(text, errors.New("it has no zone (RFC 5322 section 3.3)"))
	}
	f.expandYear()
	return f.time(text)
}

// HTTP returns the date of an HTTP header field, in UTC. It accepts all three forms of RFC 9110 section 5.6.7 and, as
// browsers do, what a mail may contain. A date without a zone is in GMT.
func HTTP(text string) (time.Time, error) { return httpDate(text, time.Now()) }

func httpDate(text string, now time.Time) (time.Time, error) {
	f, err := read(text)
	switch {
	case err != nil:
		return time.Time{}, refuse(text, err)
	case !f.timed:
		return time.Time{}, refuse(text, errors.New("it has no time of day (RFC 9110 section 5.6.7)"))
	}
	if f.yearDigits == 2 {
		// A year that appears to be more than 50 years in the future is the most recent one with these digits.
		f.year += now.Year() / 100 * 100
		if f.year > now.Year()+50 {
			f.year -= 100
		}
	} else {
		f.expandYear()
	}
	return f.time(text)
}

// Feed returns the date of an item of a feed, in UTC: RFC 3339 and W3CDTF as in Atom, Dublin Core and sitemaps, or the
// form of mail as in RSS. A date without a time of day is the beginning of that day or, in W3CDTF, of that month or
// year.
func Feed(text string) (time.Time, error) {
	if t, is, err := readISO(strings.TrimSpace(text)); is {
		if err != nil {
			return time.Time{}, refuse(text, err)
		}
		return t, nil
	}
	f, err := read(text)
	switch {
	case err != nil:
		return time.Time{}, refuse(text, err)
	case f.timed && !f.zoned:
		return time.Time{}, refuse(text, errors.New("it has no zone (RFC 822 section 5.1)"))
	}
	f.expandYear()
	return f.time(text)
}

// refuse returns the error for a text that is not a date.
func refuse(text string, why error) error { return fmt.Errorf("%.80q is not a date: %w", text, why) }

// fields are what a text says about a date.
type fields struct {
	year, month, day     int
	yearDigits           int // how many digits the year is written with
	hour, minute, second int
	nanoseconds          int
	offset               int // seconds east of UTC
	timed, zoned         bool
	ambiguous            *AmbiguousError // the zone has a name that means several offsets, or nil
}

// expandYear completes a year of two or three digits (RFC 5322 section 4.3).
func (f *fields) expandYear() {
	switch {
	case f.yearDigits == 2 && f.year < 50:
		f.year += 2000
	case f.yearDigits == 2 || f.yearDigits == 3:
		f.year += 1900
	}
}

// time returns the moment that the fields describe, or why there is none.
func (f *fields) time(text string) (time.Time, error) {
	day := time.Date(f.year, time.Month(f.month), f.day, 0, 0, 0, 0, time.UTC)
	switch {
	case f.day < 1 || day.Day() != f.day:
		return time.Time{}, refuse(text, fmt.Errorf("%s %d has no day %d", time.Month(f.month), f.year, f.day))
	case f.hour > 23 || f.minute > 59 || f.second > 60: // 60 is a leap second
		return time.Time{}, refuse(text, fmt.Errorf("%02d:%02d:%02d is not a time of day", f.hour, f.minute, f.second))
	}
	moment := time.Date(f.year, time.Month(f.month), f.day, f.hour, f.minute, f.second, f.nanoseconds, time.UTC)
	if f.ambiguous == nil {
		return moment.Add(-time.Duration(f.offset) * time.Second), nil
	}
	several := *f.ambiguous
	for i, m := range several.meanings {
		at := moment.Add(-time.Duration(m.offset) * time.Second)
		if i == 0 || at.Before(several.Earliest) {
			several.Earliest = at
		}
		if at.After(several.Latest) {
			several.Latest = at
		}
	}
	return time.Time{}, refuse(text, &several)
}

// read reads a date with the name of its month: "Thu, 26 Nov 2026 07:00:00 +0100", "Thursday, 26-Nov-26 07:00:00 GMT",
// or "Thu Nov 26 07:00:00 2026".
func read(text string) (*fields, error) {
	words, err := wordsOf(text)
	if err != nil {
		return nil, err
	}
	if len(words) > 0 && !digit(words[0][0]) && monthOf(words[0]) == 0 {
		words = words[1:] // the day of the week follows from the date
	}
	if len(words) == 0 {
		return nil, errors.New("it has no day")
	}
	f := &fields{}
	if parts := strings.Split(words[0], "-"); len(parts) == 3 {
		words = append(parts, words[1:]...) // RFC 850
	}
	yearLast := monthOf(words[0]) != 0 // asctime
	if yearLast && len(words) > 1 {
		words[0], words[1] = words[1], words[0]
	}
	if len(words) < 2 {
		return nil, errors.New("it has no month")
	}
	if f.day, err = number(words[0], 2); err != nil {
		return nil, fmt.Errorf("its day is %.20q", words[0])
	}
	if f.month = monthOf(words[1]); f.month == 0 {
		return nil, fmt.Errorf("its month is %.20q (RFC 5322 section 3.3 has Jan to Dec)", words[1])
	}
	words = words[2:]
	year := func() error {
		if len(words) == 0 {
			return errors.New("it has no year")
		}
		if f.year, err = number(words[0], 4); err != nil || len(words[0]) < 2 {
			return fmt.Errorf("its year is %.20q", words[0])
		}
		f.yearDigits, words = len(words[0]), words[1:]
		return nil
	}
	if !yearLast {
		if err := year(); err != nil {
			return nil, err
		}
	}
	if len(words) > 0 && strings.Contains(words[0], ":") {
		rest, err := f.readTime(words[0])
		if err != nil {
			return nil, err
		}
		if words = words[1:]; rest != "" { // "07:00:00Z", "07:00+0100"
			words = append([]string{rest}, words...)
		}
	}
	if yearLast {
		for i, word := range words { // "Thu Nov 26 07:00:00 CET 2026", as date(1) prints it
			if _, err := number(word, 4); err == nil {
				words = append([]string{word}, append(append([]string(nil), words[:i]...), words[i+1:]...)...)
				break
			}
		}
		if err := year(); err != nil {
			return nil, err
		}
	}
	return f, f.readZone(words)
}

// wordsOf returns the words of a date, without comments (RFC 5322 section 3.2.2).
func wordsOf(text string) ([]string, error) {
	if len(text) > longest {
		return nil, fmt.Errorf("it is longer than %d bytes", longest)
	}
	var plain strings.Builder
	depth := 0
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '(':
			depth++
			plain.WriteByte(' ')
		case c == ')' && depth > 0:
			depth--
		case c == '\\' && depth > 0:
			i++
		case depth > 0:
		case c == ',' || c == '"':
			plain.WriteByte(' ')
		default:
			plain.WriteByte(c)
		}
	}
	return strings.Fields(plain.String()), nil
}

// readTime reads a time of day and returns what follows it in the word.
func (f *fields) readTime(word string) (rest string, err error) {
	end := 0
	for end < len(word) && (digit(word[end]) || word[end] == ':' || word[end] == '.') {
		end++
	}
	clock, rest := word[:end], word[end:]
	if end < len(word) && strings.Contains(word[end:], ":") && word[end] != '+' && word[end] != '-' {
		return "", fmt.Errorf("its time of day is %.20q", word)
	}
	clock, fraction, _ := strings.Cut(clock, ".")
	parts := strings.Split(clock, ":")
	if len(parts) != 2 && len(parts) != 3 {
		return "", fmt.Errorf("its time of day is %.20q", word)
	}
	for i, into := range []*int{&f.hour, &f.minute, &f.second}[:len(parts)] {
		if *into, err = number(parts[i], 2); err != nil {
			return "", fmt.Errorf("its time of day is %.20q", word)
		}
	}
	f.nanoseconds, f.timed = nanoseconds(fraction), true
	return rest, nil
}

// readZone reads the words after the time of day: an offset, a zone name, or both.
func (f *fields) readZone(words []string) error {
	var unknown error
	for _, word := range words {
		if offset, is, err := offsetOf(word); is {
			if err != nil {
				return err
			}
			if !f.zoned || unknown != nil {
				f.offset, f.zoned = offset, true
			}
			return nil // what follows an offset only repeats it: "+0100 CET"
		}
		if f.zoned || unknown != nil {
			return fmt.Errorf("%.20q follows its zone", word)
		}
		if f.offset, unknown = zoneOf(word); unknown == nil {
			f.zoned = true
		}
	}
	if errors.As(unknown, &f.ambiguous) {
		f.zoned, unknown = true, nil // what else is wrong with the date comes first
	}
	return unknown
}

// offsetOf reads an offset: "+0100", "+01:00", "-5", "GMT+0100". is reports whether the word is one.
func offsetOf(word string) (seconds int, is bool, err error) {
	for _, prefix := range []string{"GMT", "UTC", "UT"} {
		if len(word) > len(prefix) && strings.EqualFold(word[:len(prefix)], prefix) {
			word = word[len(prefix):]
			break
		}
	}
	if word[0] != '+' && word[0] != '-' {
		return 0, false, nil
	}
	wrong := fmt.Errorf("its zone is %.20q (RFC 5322 section 3.3 has four digits, up to 59 minutes)", word)
	digits, minutesText, colon := strings.Cut(word[1:], ":")
	minutes := 0
	if colon {
		if minutes, err = number(minutesText, 2); err != nil || len(minutesText) != 2 || len(digits) > 2 {
			return 0, true, wrong
		}
	} else if len(digits) > 2 {
		cut := len(digits) - 2
		if minutes, err = number(digits[cut:], 2); err != nil {
			return 0, true, wrong
		}
		digits = digits[:cut]
	}
	hours, err := number(digits, 2)
	if err != nil || hours > 24 || minutes > 59 {
		return 0, true, wrong
	}
	seconds = hours*3600 + minutes*60
	if word[0] == '-' {
		seconds = -seconds
	}
	return seconds, true, nil
}

var months = []string{"january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december"}

// monthOf returns the number of the month with this English name or the first letters of one, or 0.
func monthOf(word string) int {
	word = strings.ToLower(strings.TrimSuffix(word, "."))
	if len(word) < 3 {
		return 0
	}
	for i, name := range months {
		if word == name[:3] || word == name || word == "sept" && i == 8 {
			return i + 1
		}
	}
	return 0
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

var errNumber = errors.New("not a number")

// number reads a number of at most so many digits.
func number(text string, digits int) (int, error) {
	if text == "" || len(text) > digits {
		return 0, errNumber
	}
	n := 0
	for i := range len(text) {
		if !digit(text[i]) {
			return 0, errNumber
		}
		n = 10*n + int(text[i]-'0')
	}
	return n, nil
}

// nanoseconds returns the digits after a decimal point as nanoseconds.
func nanoseconds(fraction string) int {
	n, _ := strconv.Atoi((fraction + "000000000")[:9]) // "" is no fraction
	return n
}
