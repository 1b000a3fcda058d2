package maillog

import (
	"strings"
	"time"
)

// heading is the part of a line before its message.
type heading struct {
	at      time.Time
	program string // empty where the format has none
	pid     string
	own     bool   // from a mail server's own file: no host, no tag
	repeat  string // what a syslog daemon says by itself, without a tag
}

var months = map[string]time.Month{"Jan": 1, "Feb": 2, "Mar": 3, "Apr": 4, "May": 5, "Jun": 6, "Jul": 7, "Aug": 8, "Sep": 9, "Oct": 10, "Nov": 11, "Dec": 12}

// ahead is how much later than now a stamp may be. A later one is from the year before, or a mistake.
const ahead = 24 * time.Hour

// parseHead reads the stamp, the host and the tag of a line. It knows three stamps: RFC 3339 with a zone; BSD syslog
// (RFC 3164), in local time and without a year; and "2006-01-02 15:04:05", with or without a fraction and a zone. A
// priority may come first, and then the fields of RFC 5424.
func (p *Parser) parseHead(line string) (h heading, message string, ok bool) {
	var rest string
	if len(line) > 5 && line[0] == '<' {
		pri, after, found := strings.Cut(line[1:min(len(line), 8)], ">")
		if _, digits := number(pri); !found || !digits {
			return h, "", false
		}
		line = line[len("<>")+len(pri):]
		if strings.HasPrefix(after, "1 ") {
			return protocol23(line[len("1 "):])
		}
	}
	switch {
	case len(line) > 20 && line[4] == '-' && line[10] == 'T':
		stamp, after, found := strings.Cut(line, " ")
		at, err := time.Parse(time.RFC3339Nano, stamp)
		if !found || err != nil || at.Year() < 1970 {
			return h, "", false
		}
		h.at, rest = at, after
		if end := strings.IndexByte(rest, ' '); end > 0 && rest[end-1] == ':' {
			if _, _, own := dovecotService(rest); own {
				h.own = true
				return h, rest, true
			}
		}
	case len(line) > 20 && line[4] == '-' && line[10] == ' ':
		if h.at, rest, ok = p.longStamp(line); !ok {
			return h, "", false
		}
		h.own = true
		return h, rest, true
	case len(line) > 16 && line[3] == ' ' && line[6] == ' ' && line[15] == ' ':
		month, known := months[line[:3]]
		if !known || !clock(line[7:15]) {
			return h, "", false
		}
		day, ok := number(strings.TrimLeft(line[4:6], " "))
		if !ok || day < 1 || day > 31 {
			return h, "", false
		}
		if line[:15] != p.stamp { // many lines are of the second of the previous one
			p.stamp, p.stampAt = line[:15], p.yearless(month, day, line[7:15])
		}
		h.at, rest = p.stampAt, line[16:]
		if end := strings.IndexByte(rest, ' '); end > 0 && rest[end-1] == ':' { // no host has a colon there
			if _, _, own := dovecotService(rest); own {
				h.own = true
				return h, rest, true
			}
		}
	default:
		return h, "", false
	}
	_, rest, found := strings.Cut(rest, " ") // the host
	if !found || rest == "" {
		return h, "", false
	}
	tag, message, found := strings.Cut(rest, ": ")
	if strings.ContainsRune("lL-", rune(rest[0])) && strings.Contains(rest[:min(len(rest), len("--- last message "))], "ast message ") { // by the syslog daemon
		h.repeat = rest
		return h, "", true
	}
	if !found {
		if tag, found = strings.CutSuffix(rest, ":"); !found {
			return h, "", false
		}
	}
	h.program = tag
	if open := strings.IndexByte(tag, '['); open >= 0 && strings.HasSuffix(tag, "]") {
		h.program, h.pid = tag[:open], tag[open+1:len(tag)-1]
	}
	if h.program == "" || strings.ContainsAny(h.program, " \t") {
		return h, "", false
	}
	return h, message, true
}

// protocol23 reads the fields of RFC 5424 section 6 after the version: time, host, program, process, message's id,
// structured data, message.
func protocol23(line string) (h heading, message string, ok bool) {
	fields := strings.SplitN(line, " ", 6)
	if len(fields) < 6 {
		return h, "", false
	}
	at, err := time.Parse(time.RFC3339Nano, fields[0])
	if err != nil || at.Year() < 1970 || fields[2] == "-" {
		return h, "", false
	}
	h.at, h.program = at, fields[2]
	if fields[3] != "-" {
		h.pid = fields[3]
	}
	rest := fields[5]
	for strings.HasPrefix(rest, "[") {
		end := 1
		for quoted := false; end < len(rest) && (quoted || rest[end] != ']'); end++ {
			switch {
			case quoted && rest[end] == '\\':
				end++
			case rest[end] == '"':
				quoted = !quoted
			}
		}
		rest = rest[min(end+1, len(rest)):]
	}
	message = strings.TrimPrefix(strings.TrimLeft(strings.TrimPrefix(rest, "-"), " "), "\ufeff")
	return h, message, message != ""
}

// clock reports whether s is "15:04:05".
func clock(s string) bool {
	if len(s) != 8 || s[2] != ':' || s[5] != ':' {
		return false
	}
	h, ok1 := number(s[:2])
	m, ok2 := number(s[3:5])
	sec, ok3 := number(s[6:8])
	return ok1 && ok2 && ok3 && h < 24 && m < 60 && sec < 61
}

// number reads a few digits.
func number(s string) (n int, ok bool) {
	if s == "" || len(s) > 9 {
		return 0, false
	}
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, true
}

// yearless adds to a local time the year that makes it the latest possible one: a log has no lines from the future.
func (p *Parser) yearless(month time.Month, day int, hms string) time.Time {
	h, _ := number(hms[:2])
	m, _ := number(hms[3:5])
	s, _ := number(hms[6:8])
	at := time.Date(p.now.Year(), month, day, h, m, s, 0, p.zone)
	if at.After(p.now.Add(ahead)) {
		at = time.Date(p.now.Year()-1, month, day, h, m, s, 0, p.zone)
	} else if month == time.January && p.now.Month() == time.December {
		if next := time.Date(p.now.Year()+1, month, day, h, m, s, 0, p.zone); !next.After(p.now.Add(ahead)) {
			at = next // from a clock that is a little ahead
		}
	}
	return p.ambiguous(at)
}

// ambiguous resolves a local time that occurs twice, when clocks are set back: it takes the one that is not before the
// previous line.
func (p *Parser) ambiguous(at time.Time) time.Time {
	first, second := at, at
	const hour = time.Hour // clocks are set back by this, except on Lord Howe Island
	if earlier := at.Add(-hour); sameClock(earlier, at) {
		first = earlier
	} else if later := at.Add(hour); sameClock(later, at) {
		second = later
	}
	switch {
	case first.Equal(second):
		return at
	case p.last.IsZero():
		if second.After(p.now.Add(time.Minute)) {
			return first
		}
		return second
	case first.Before(p.last.Add(-disorder)):
		return second
	default:
		return first
	}
}

// disorder is how far out of order the lines of several processes may be.
const disorder = time.Minute

func sameClock(a, b time.Time) bool {
	return a.Day() == b.Day() && a.Hour() == b.Hour() && a.Minute() == b.Minute()
}

// longStamp reads "2006-01-02 15:04:05[.000][ -0700] ".
func (p *Parser) longStamp(line string) (at time.Time, rest string, ok bool) {
	year, ok1 := number(line[:4])
	month, ok2 := number(line[5:7])
	day, ok3 := number(line[8:10])
	if !ok1 || !ok2 || !ok3 || line[7] != '-' || year < 1970 || month < 1 || month > 12 || day < 1 || day > 31 || !clock(line[11:19]) {
		return at, "", false
	}
	end := 19
	var nanos int
	if line[end] == '.' || line[end] == ',' {
		scale := int(time.Second)
		for end++; end < len(line) && line[end] >= '0' && line[end] <= '9'; end++ {
			scale /= 10
			nanos += int(line[end]-'0') * scale
		}
	}
	if end >= len(line) || line[end] != ' ' {
		return at, "", false
	}
	rest = line[end+1:]
	h, _ := number(line[11:13])
	m, _ := number(line[14:16])
	s, _ := number(line[17:19])
	if len(rest) > 5 && (rest[0] == '+' || rest[0] == '-') && rest[5] == ' ' {
		hours, ok1 := number(rest[1:3])
		minutes, ok2 := number(rest[3:5])
		if ok1 && ok2 {
			offset := hours*3600 + minutes*60
			if rest[0] == '-' {
				offset = -offset
			}
			return time.Date(year, time.Month(month), day, h, m, s, nanos, time.FixedZone("", offset)), rest[6:], true
		}
	}
	return p.ambiguous(time.Date(year, time.Month(month), day, h, m, s, nanos, p.zone)), rest, true
}
