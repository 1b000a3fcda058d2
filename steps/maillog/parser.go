package maillog

import (
	"net/netip"
	"strings"
	"time"
)

// Parser reads the lines of one log in order.
type Parser struct {
	now      time.Time
	zone     *time.Location
	last     time.Time // of the previous line
	previous string    // the previous line, which a syslog daemon may say was repeated
	exim     bool      // a line of Exim's own file was read
	stamp    string    // the previous stamp without a year,
	stampAt  time.Time // and its time
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
	if n, ok := repeatsOfPrevious(h, message); ok {
		previous, at := p.previous, h.at
		if h, message, ok = p.parseHead(previous); previous == "" || !ok {
			return Event{}, ClassUnknown
		}
		h.at = at
		_, message = folded(message)
		e, class := p.message(h, message)
		e.Count *= n
		return e, class
	}
	p.previous = line
	n, message := folded(message)
	e, class := p.message(h, message)
	e.Count *= n
	return e, class
}

// repeatsMax limits the number that a line claims.
const repeatsMax = 1_000_000

// folded reads "message repeated 150 times: [ … ]", by which rsyslog and others count equal messages.
func folded(message string) (n int, inner string) {
	rest, ok := strings.CutPrefix(message, "message repeated ")
	if !ok {
		return 1, message
	}
	count, rest, ok := strings.Cut(rest, " times: [")
	n, digits := number(count)
	if !ok || !digits || n < 1 {
		return 1, message
	}
	return min(n, repeatsMax), strings.TrimSpace(strings.TrimSuffix(strings.TrimRight(rest, " "), "]"))
}

// repeatsOfPrevious reads "last message repeated 3 times", which has no tag or any, and syslog-ng's form of it.
func repeatsOfPrevious(h heading, message string) (n int, ok bool) {
	text := message
	if h.repeat != "" {
		text = h.repeat
	}
	if text == "" || !strings.ContainsRune("lL-", rune(text[0])) {
		return 0, false
	}
	rest, ok := strings.CutPrefix(strings.Trim(text, "- "), "last message ")
	if !ok {
		if rest, ok = strings.CutPrefix(text, "Last message '"); !ok || !strings.Contains(rest, "suppressed by syslog-ng") {
			return 0, false
		}
	}
	_, rest, ok = strings.Cut(rest, "repeated ")
	if !ok {
		return 0, false
	}
	count, _, _ := strings.Cut(rest, " time")
	n, ok = number(count)
	return min(max(n, 1), repeatsMax), ok
}

// message reads what a program logged.
func (p *Parser) message(h heading, message string) (Event, Class) {
	e := Event{Time: h.at, Program: h.program, PID: h.pid, Kind: KindOther, Count: 1}
	if h.own {
		if _, _, ok := dovecotService(message); ok {
			e.Program = "dovecot"
			e.dovecotLine(message)
			return e, ClassMail
		}
		e.Program, e.Daemon = "exim", "exim"
		if e.exim(message) {
			p.exim = true
			return e, ClassMail
		}
		if p.exim {
			e.unknown(suspect(subjectsOfMTA, message))
			return e, ClassMail
		}
		return Event{Time: h.at, Kind: KindOther, Count: 1}, ClassUnknown
	}
	daemon := postfixDaemon(h.program)
	switch name := h.program; {
	case daemon != "":
		e.postfix(daemon, message)
	case strings.HasPrefix(name, "dovecot"):
		e.Program = "dovecot"
		e.dovecotLine(message)
	case name == "exim" || name == "exim4":
		e.Daemon = "exim"
		part, rest := eximPart(message)
		if part > 1 { // of a line that began before
			break
		}
		message = rest
		if len(message) > 20 && message[4] == '-' { // Exim repeats the time unless syslog_timestamp is off
			if _, rest, ok := p.longStamp(message); ok {
				message = rest
			}
		}
		if !e.exim(message) {
			e.unknown(suspect(subjectsOfMTA, message))
		}
	case name == "opendkim":
		e.Daemon = "opendkim"
		e.opendkim(message)
	case name == "smtpd":
		e.opensmtpd(message)
	case name == "sendmail", name == "sm-mta", name == "sm-msp-queue", name == "sm-acceptingconnections":
		e.sendmail(message)
	case name == "imapd", name == "imapd-ssl", name == "pop3d", name == "pop3d-ssl", name == "courierpop3login", name == "imaplogin", name == "authdaemond", name == "esmtpd", name == "esmtpd-ssl", name == "esmtpd-msa":
		e.courier(name, message)
	case strings.HasPrefix(name, "cyrus/"), name == "imap", name == "imaps", name == "pop3", name == "pop3s", name == "timsieved", name == "lmtpunix":
		e.cyrus(name, message)
	case name == "saslauthd":
		e.saslauthd(message)
	default:
		e.otherServer(name, message)
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
	for _, mark := range []string{"forwarded as ", "queued as ", "id="} {
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
