package date

import (
	"strings"
	"time"
)

// Cookie returns the date of the Expires attribute of a cookie, in UTC, by the algorithm of RFC 6265 section 5.1.1,
// which browsers follow: it looks for a time, a day, a month and a year in any order, ignores everything else, and a
// zone too.
func Cookie(text string) (t time.Time, valid bool) {
	f := &fields{}
	var day, month, year bool
	for word := range strings.FieldsFuncSeq(text, cookieDelimiter) {
		switch {
		case !f.timed && f.cookieTime(word):
			f.timed = true
		case !day && leading(word, 1, 2, &f.day):
			day = true
		case !month && len(word) >= 3 && monthOf(word[:3]) != 0:
			f.month, month = monthOf(word[:3]), true
		case !year && leading(word, 2, 4, &f.year):
			year = true
		}
	}
	switch {
	case f.year >= 70 && f.year <= 99:
		f.year += 1900
	case f.year >= 0 && f.year <= 69:
		f.year += 2000
	}
	if !f.timed || !day || !month || !year || f.year < 1601 || f.hour > 23 || f.minute > 59 || f.second > 59 {
		return time.Time{}, false
	}
	t, err := f.time(text)
	return t, err == nil
}

// cookieDelimiter reports whether r separates the parts of a cookie's date.
func cookieDelimiter(r rune) bool {
	return r == '\t' || 0x20 <= r && r <= 0x2f || 0x3b <= r && r <= 0x40 || 0x5b <= r && r <= 0x60 || 0x7b <= r && r <= 0x7e
}

// leading reads the number at the beginning of word, of so many digits, unless more digits follow.
func leading(word string, least, most int, into *int) bool {
	end := 0
	for end < len(word) && digit(word[end]) {
		end++
	}
	if end < least || end > most {
		return false
	}
	n, err := number(word[:end], most)
	if err == nil {
		*into = n
	}
	return err == nil
}

// cookieTime reads a time of day: hour, minute and second of one or two digits; anything may follow the second.
func (f *fields) cookieTime(word string) bool {
	parts := strings.SplitN(word, ":", 3)
	var hour, minute, second int
	if len(parts) < 3 || !leading(parts[0], 1, 2, &hour) || !leading(parts[1], 1, 2, &minute) || !leading(parts[2], 1, 2, &second) ||
		len(parts[0]) > 2 || len(parts[1]) > 2 {
		return false
	}
	f.hour, f.minute, f.second = hour, minute, second
	return true
}
