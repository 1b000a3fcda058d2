package maillog

import (
	"net/netip"
	"strings"
	"time"
)

// Parser reads the lines of one log in order.
type Parser struct {
	now  time.Time
	zone *time.Location
	last time.Time // of the previous line
}

// NewParser returns a Parser for lines that were written before now. zone is that of stamps without a zone; nil means
// the machine's own.
func NewParser(now time.Time, zone *time.Location) *Parser {
	if zone == nil {
		zone = time.Local
	}
	return &Parser{now: now.In(zone), zone: zone}
}

// Parse reads a line without its line break. No time is later than now: a later stamp is from a clock that is, or was,
// ahead of ours.
func (p *Parser) Parse(line string) (Event, Class) {
	h, message, ok := p.parseHead(line)
	if !ok {
		return Event{}, ClassUnknown
	}
	if h.at.After(p.now) {
		h.at = p.now
	}
	p.last = h.at
	return p.message(h, message)
}

// message reads what a program logged.
func (p *Parser) message(h heading, message string) (Event, Class) {
	e := Event{Time: h.at, Program: h.program, PID: h.pid, Kind: KindOther, Count: 1}
	if h.own {
		if service, text, ok := dovecotService(message); ok {
			e.Program = "dovecot"
			e.dovecot(service, text)
			return e, ClassMail
		}
		if e.exim(message) {
			e.Program = "exim"
			return e, ClassMail
		}
		return e, ClassUnknown
	}
	switch daemon := postfixDaemon(h.program); {
	case daemon != "":
		e.postfix(daemon, message)
	case h.program == "dovecot":
		service, text, ok := dovecotService(message)
		if !ok {
			service, text, _ = strings.Cut(message, ": ")
		}
		e.dovecot(service, text)
	case h.program == "exim" || h.program == "exim4":
		if len(message) > 20 && message[4] == '-' { // Exim repeats the time unless syslog_timestamp is off
			if _, rest, ok := p.longStamp(message); ok {
				message = rest
			}
		}
		e.exim(message)
	case h.program == "opendkim":
		e.opendkim(message)
	default:
		return e, ClassForeign
	}
	return e, ClassMail
}

// address returns an IP address in its canonical form, or an empty string.
func address(s string) string {
	a, err := netip.ParseAddr(strings.TrimPrefix(s, "IPv6:"))
	if err != nil {
		return ""
	}
	return a.Unmap().WithZone("").String()
}

// between returns the text between the first two marks.
func between(s, from, to string) string {
	_, after, ok := strings.Cut(s, from)
	if !ok {
		return ""
	}
	inside, _, ok := strings.Cut(after, to)
	if !ok {
		return ""
	}
	return inside
}

// bracketed returns the address in the first square brackets.
func bracketed(s string) string { return address(between(s, "[", "]")) }

// reply takes the SMTP reply code and the enhanced status code from the start of text.
func (e *Event) reply(text string) {
	if len(text) < 3 {
		return
	}
	if code, ok := number(text[:3]); ok && code >= 200 && code < 600 && (len(text) == 3 || text[3] == ' ' || text[3] == '-') {
		e.Code = code
		text = strings.TrimLeft(text[3:], " -")
	}
	if e.Status == "" {
		word, _, _ := strings.Cut(text, " ")
		if isStatus(word) {
			e.Status = word
		}
	}
}

// isStatus reports whether s is an enhanced status code: "5.1.1".
func isStatus(s string) bool {
	parts := strings.Split(s, ".")
	if len(parts) != 3 || len(parts[0]) != 1 || !strings.Contains("245", parts[0]) {
		return false
	}
	_, ok1 := number(parts[1])
	_, ok2 := number(parts[2])
	return ok1 && ok2
}

// queuedAs returns the next server's id of a message from its reply: "250 2.0.0 Ok: queued as 4jWm…", "250 OK
// id=1abc…".
func queuedAs(text string) string {
	for _, mark := range []string{"queued as ", "id="} {
		if _, after, ok := strings.Cut(text, mark); ok {
			id := after
			if end := strings.IndexFunc(after, func(r rune) bool { return !isIDRune(r) }); end >= 0 {
				id = after[:end]
			}
			if id != "" {
				return id
			}
		}
	}
	return ""
}

func isIDRune(r rune) bool {
	return r == '-' || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z'
}
