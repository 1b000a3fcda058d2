package date

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// readISO reads a date of RFC 3339 or W3CDTF: "2026-11-26T07:00:00Z", "2026-11-26T07:00+01:00", "2026-11-26",
// "2026-11", "2026". It accepts a blank for the T and an offset without a colon. is reports whether the text has that
// form at all.
func readISO(text string) (t time.Time, is bool, err error) {
	day, clock, timed := text, "", false
	if cut := strings.IndexAny(text, "Tt "); cut >= 0 {
		day, clock, timed = text[:cut], text[cut+1:], true
	}
	parts := strings.Split(day, "-")
	if len(parts) > 3 || len(parts[0]) != 4 {
		return time.Time{}, false, nil
	}
	f := &fields{month: 1, day: 1}
	for i, into := range []*int{&f.year, &f.month, &f.day}[:len(parts)] {
		if *into, err = number(parts[i], 4); err != nil || i > 0 && len(parts[i]) != 2 {
			return time.Time{}, false, nil //nolint:nilerr // it is no date of this form, which another reader may know
		}
	}
	switch {
	case f.month < 1 || f.month > 12:
		return time.Time{}, true, fmt.Errorf("its month is %d", f.month)
	case timed && len(parts) < 3:
		return time.Time{}, true, errors.New("it has a time of day and no day (RFC 3339 section 5.6)")
	}
	if timed {
		words := strings.Fields(clock)
		if len(words) == 0 {
			return time.Time{}, true, errors.New("it has no time of day (RFC 3339 section 5.6)")
		}
		rest, err := f.readTime(words[0])
		if err != nil {
			return time.Time{}, true, err
		}
		if words = words[1:]; rest != "" {
			words = append([]string{rest}, words...)
		}
		if err := f.readZone(words); err != nil {
			return time.Time{}, true, err
		}
		if !f.zoned {
			return time.Time{}, true, errors.New("it has no zone (RFC 3339 section 5.6)")
		}
	}
	t, err = f.time(text)
	return t, true, errors.Unwrap(err)
}
