// Package message reads the parts of mail messages that say what became of them: Received fields, queue ids, delivery reports.
// It knows no run and asks no server.
package message

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/steps/date"
	"github.com/stepwatch/stepwatch/steps/regex"
)

// Hop is a Received header: how one server got the message (RFC 5321 section 4.4, RFC 5322 section 3.6.7).
type Hop struct {
	Line     int        // its index among the message's fields, if requested
	From     string     // the client's first name in the header; empty if there is none
	Helo     string     // the name that the client sent
	Address  netip.Addr // the client's address; zero if the header has none
	By       string     // the server that wrote the header
	Protocol string     // in upper case if RFC 3848 lists it: "ESMTPS"; others unchanged: "Microsoft SMTP Server"
	TLS      TLSSaid
	version  string // "TLSv1.3", or empty
	cipher   string // or empty
	ID       string // the server's id of the message
	At       time.Time
	// resolution is how much later than at it may have been: headers have whole seconds, some ids microseconds.
	Resolution time.Duration
}

// TLSSaid is what a Received header says about TLS.
type TLSSaid int

// What a header says: TLSNo names a protocol without TLS, TLSYes one with it.
const (
	tlsUnknown TLSSaid = iota // nothing
	TLSNo                     // a protocol without TLS
	TLSYes
)

// ReadReceived parses the Received headers of a message, the topmost first, and returns the hops in the order in which
// the message travelled. It returns the headers that it cannot parse in unreadable.
func ReadReceived(headers []string) (hops []Hop, unreadable []string) {
	for _, header := range slices.Backward(headers) {
		if h, ok := ParseReceived(header); ok {
			hops = append(hops, h)
		} else {
			unreadable = append(unreadable, header)
		}
	}
	return hops, unreadable
}

// receivedClause is a part of the header: the words after a keyword, and the comments among them.
type receivedClause struct{ words, comments []string }

// ParseReceived parses one header. It accepts any order and unknown words, because real servers write far more forms
// than the RFCs define. ok is false if the header has neither the server nor a time.
func ParseReceived(header string) (h Hop, ok bool) {
	text, stamp := splitReceivedDate(header)
	clauses := receivedClauses(text)
	first := func(keyword string) string {
		if c := clauses[keyword]; c != nil && len(c.words) > 0 {
			return strings.TrimRight(c.words[0], ".,;")
		}
		return ""
	}
	h.From, h.By = strings.Trim(first("from"), "[]"), strings.Trim(first("by"), "[]")
	h.ID = strings.Trim(first("id"), "<>")
	if from := clauses["from"]; from != nil {
		h.Address = receivedAddress(from)
		for i, c := range from.comments { // qmail writes the HELO name next to the looked-up one
			for _, keyword := range []string{"HELO ", "EHLO "} {
				if name, found := strings.CutPrefix(c, keyword); found && i == 0 {
					h.From = strings.TrimSpace(name)
				}
			}
		}
		h.Helo = h.From
		for _, c := range from.comments {
			if m := heloInside.FindStringSubmatch(c); m != nil {
				h.Helo = m[1]
			}
		}
	}
	h.readProtocol(clauses)
	if at, err := date.Mail(stamp); err == nil && at.Year() >= 1980 && at.Year() < 2200 {
		h.At, h.Resolution = at, time.Second
		if !withSeconds.MatchString(stamp) {
			h.Resolution = time.Minute
		}
		h.sharpen()
	}
	return h, h.By != "" || !h.At.IsZero()
}

// sharpen replaces the header's whole second by the time in the id, if the id has a time that fits.
func (h *Hop) sharpen() {
	exact, ok := queueIDTime(h.ID)
	if !ok && strings.HasPrefix(h.Protocol, "LMTP") {
		exact, ok = sessionIDTime(h.ID)
	}
	// The server does not read the clock for both at the same moment.
	if off := exact.Sub(h.At); ok && off > -2*time.Second && off < 2*time.Second {
		h.At, h.Resolution = exact, 0
	}
}

// splitReceivedDate splits the header at its last semicolon outside comments.
func splitReceivedDate(header string) (text, date string) {
	depth, cut := 0, -1
	for i := 0; i < len(header); i++ {
		switch header[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			depth = max(0, depth-1)
		case ';':
			if depth == 0 {
				cut = i
			}
		}
	}
	if cut < 0 {
		return header, ""
	}
	return header[:cut], header[cut+1:]
}

// receivedClauses splits the header's text by its keywords. The text before the first keyword is under "". Only the
// first occurrence of a keyword counts, so that a host with a keyword as its name cannot fake a clause.
func receivedClauses(text string) map[string]*receivedClause {
	current := new(receivedClause)
	clauses := map[string]*receivedClause{"": current}
	for text != "" {
		text = strings.TrimLeft(text, " \t\r\n")
		if text == "" {
			break
		}
		if text[0] == '(' {
			var comment string
			comment, text = cutComment(text)
			current.comments = append(current.comments, comment)
			continue
		}
		end := strings.IndexAny(text, " \t\r\n(")
		if end < 0 {
			end = len(text)
		}
		word := text[:end]
		text = text[end:]
		switch keyword := strings.ToLower(word); keyword {
		case "from", "by", "via", "with", "id", "for", "tls":
			if clauses[keyword] == nil {
				current = new(receivedClause)
				clauses[keyword] = current
				continue
			}
		}
		current.words = append(current.words, word)
	}
	return clauses
}

// cutComment cuts the comment at the beginning of text, with its nested comments (RFC 5322 section 3.2.2), unfolded and
// without its parentheses. An unclosed comment extends to the end.
func cutComment(text string) (comment, rest string) {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return strings.Join(strings.Fields(text[1:i]), " "), text[i+1:]
			}
		}
	}
	return strings.Join(strings.Fields(text[1:]), " "), ""
}

// receivedAddress returns the client's address: from a comment, as RFC 5321 requires, or in place of the name.
func receivedAddress(from *receivedClause) netip.Addr {
	for _, part := range append(slices.Clone(from.comments), from.words...) {
		for _, word := range strings.Fields(part) {
			if _, behind, found := strings.Cut(word, "["); found { // Exim writes "[192.0.2.1]:4711"
				word, _, _ = strings.Cut(behind, "]")
			}
			if len(word) > 5 && strings.EqualFold(word[:5], "IPv6:") {
				word = word[5:]
			}
			if address, err := netip.ParseAddr(word); err == nil {
				return address.Unmap()
			}
		}
	}
	return netip.Addr{}
}

var (
	// Exim writes the HELO name here if it differs from the looked-up name.
	heloInside = regex.Lazy(`(?i)\bhelo=([^\s()]+)`)
	// RFC 3848 and RFC 6531 section 4.3; patches of sendmail and qmail write SMTPS as well.
	mailProtocol = regex.Lazy(`^(?:UTF8)?(?:E?SMTP|LMTP)(S?)A?$`)
	tlsVersion   = regex.Lazy(`(?i)\b(TLS|SSL)v?(\d)(?:[._](\d))?\b`)
	// RFC 5322 section 3.3 lets the seconds be missing.
	withSeconds = regex.Lazy(`\d:\d\d:\d\d`)
	tlsCipher   = regex.Lazy(`(?i)\bcipher[= ]\s*([A-Z0-9_-]{5,})|\bTLSv?[\d._]+:([A-Z0-9_-]{5,}):|^([A-Z0-9_-]{5,}) encrypted`)
)

// readProtocol reads the protocol and the TLS parameters.
func (h *Hop) readProtocol(clauses map[string]*receivedClause) {
	var remarks []string // the comments in which servers describe TLS
	if with := clauses["with"]; with != nil {
		h.Protocol = strings.Join(with.words, " ")
		remarks = slices.Clone(with.comments)
	}
	for _, keyword := range []string{"tls", "id", "by", "for"} {
		if c := clauses[keyword]; c != nil {
			remarks = append(remarks, c.comments...)
		}
	}
	remarks = slices.DeleteFunc(remarks, func(remark string) bool { return strings.HasPrefix(remark, "envelope-from") }) // set by the sender
	if from := clauses["from"]; from != nil {
		for _, c := range from.comments { // Postfix
			if strings.HasPrefix(c, "using ") {
				remarks = append(remarks, c)
			}
		}
	}
	if m := mailProtocol.FindStringSubmatch(strings.ToUpper(h.Protocol)); m != nil {
		h.Protocol, h.TLS = strings.ToUpper(h.Protocol), TLSNo
		if m[1] != "" {
			h.TLS = TLSYes
		}
	}
	for _, remark := range remarks {
		if m := tlsVersion.FindStringSubmatch(remark); m != nil && h.version == "" {
			h.version, h.TLS = strings.ToUpper(m[1])+"v"+m[2], TLSYes
			if m[3] != "" {
				h.version += "." + m[3]
			}
		}
		if m := tlsCipher.FindStringSubmatch(remark); m != nil && h.cipher == "" {
			h.cipher, h.TLS = m[1]+m[2]+m[3], TLSYes
		}
	}
	if tls := clauses["tls"]; tls != nil && len(tls.words) > 0 && h.cipher == "" { // Exim
		h.cipher, h.TLS = tls.words[0], TLSYes
	}
}

// Authenticated reports whether the client had logged in (RFC 3848): a user's program, not another server.
func (h *Hop) Authenticated() bool {
	return mailProtocol.MatchString(h.Protocol) && strings.HasSuffix(h.Protocol, "A")
}

// Inside reports whether the message stayed on a machine or inside an organisation's system on this hop, so that TLS
// was not needed: no client is named, it came through a socket or a pipe, or from a filter next to the server.
func (h *Hop) Inside() bool {
	protocol := strings.ToUpper(h.Protocol)
	switch {
	case h.From == "", strings.HasPrefix(protocol, "LOCAL"), protocol == "MAPI":
		return true
	case strings.HasPrefix(protocol, "LMTP") && !h.Address.IsValid():
		return true
	}
	return h.Address.IsLoopback() && (strings.EqualFold(h.From, "localhost") || strings.EqualFold(h.By, "localhost") || strings.EqualFold(h.From, h.By))
}
