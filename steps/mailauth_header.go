package steps

import (
	"context"
	"net/netip"
	"strings"

	"golang.org/x/net/publicsuffix"

	"github.com/stepwatch/stepwatch/steps/message"
)

// tagsOf parses "tag=value" pairs separated by semicolons, as in DKIM, ARC and DMARC (RFC 6376 section 3.2). White
// space around a value is not part of it. If a tag occurs twice, the first one is kept.
func tagsOf(list string) map[string]string {
	tags := map[string]string{}
	for pair := range strings.SplitSeq(list, ";") {
		tag, value, found := strings.Cut(pair, "=")
		tag = strings.TrimSpace(tag)
		if _, twice := tags[tag]; found && !twice {
			tags[tag] = strings.TrimSpace(value)
		}
	}
	return tags
}

// organisation returns the registered domain of name by the public suffix list: "example.org" for "mx1.example.org". It
// returns a name without one, such as an address, as it is. DMARC defines its own organisational domain, in DNS
// (maildns.DMARCWalk).
func organisation(name string) string {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if _, err := netip.ParseAddr(name); err == nil {
		return name
	}
	if domain, err := publicsuffix.EffectiveTLDPlusOne(name); err == nil {
		return domain
	}
	return name
}

// servedBy maps the domain at which mailboxes of large providers are read to the domain in their servers' headers.
var servedBy = map[string]string{
	"gmail.com":     "google.com",
	"office365.com": "outlook.com",
	"me.com":        "icloud.com",
	"fastmail.com":  "messagingengine.com",
}

// handovers returns the Received fields that name both sides, the topmost first.
func handovers(fields message.Header) []hop {
	var hops []hop
	for i, f := range fields {
		if !strings.EqualFold(f.Name, "Received") {
			continue
		}
		h, ok := parseReceived(f.Value)
		if !ok || h.from == "" || h.by == "" {
			continue // a handover inside one server
		}
		h.line = i
		hops = append(hops, h)
	}
	return hops
}

// receivingSide says which fields of a message the receiving servers wrote: those above the first handover from another
// organisation. Anybody may have written the fields below.
type receivingSide struct {
	ids      []string // the trusted authserv-ids, including the names below them
	unnamed  bool     // whether Authentication-Results without an authserv-id are trusted
	border   *hop     // the handover to the receiving side; nil if no Received field has it
	lastLine int      // fields from this index on are not from the receiving side
}

// receivingSideOf returns the receiving side of a message. By default that is the organisation of the host from which
// the mailbox is read, or of the address if no host is known. The receiving side always wrote the topmost handover.
func receivingSideOf(a *Account, fields message.Header) receivingSide {
	side := receivingSide{lastLine: len(fields)}
	if a.AuthservID == "" {
		host := a.IMAP
		if host == "" {
			_, host, _ = cutLast(a.Address, "@")
		}
		home := organisation(host)
		side.ids = append(side.ids, home)
		if other, found := servedBy[home]; found {
			side.ids = append(side.ids, other)
		}
		side.unnamed = home == "office365.com" || home == "outlook.com" // Exchange Online writes no authserv-id
	} else if side.unnamed = strings.EqualFold(a.AuthservID, "none"); !side.unnamed {
		side.ids = append(side.ids, strings.ToLower(a.AuthservID))
	}
	hops := handovers(fields)
	for i, h := range hops {
		if i > 0 && organisation(h.by) != organisation(hops[0].by) && !side.trusts(h.by) {
			side.lastLine = h.line
			break
		}
		side.border = &h
	}
	return side
}

// trusts reports whether an authserv-id is the receiving server's.
func (s receivingSide) trusts(id string) bool {
	id = strings.ToLower(strings.TrimSuffix(id, "."))
	for _, trusted := range s.ids {
		if id == trusted || strings.HasSuffix(id, "."+trusted) {
			return true
		}
	}
	return id == "" && s.unnamed
}

// String returns the trusted authserv-ids for messages.
func (s receivingSide) String() string {
	if len(s.ids) == 0 {
		return "those without an authserv-id"
	}
	return strings.Join(s.ids, " or ")
}

// letter is a received message, for the steps that judge it.
type letter struct {
	*arrival
	fields message.Header
	body   []byte
	side   receivingSide
}

// receivedLetter reads the message that was received last. It reports the phase "read" if it was not read before.
func receivedLetter(ctx context.Context, w *World) (*letter, error) {
	a, err := State[mail](w).received()
	if err != nil {
		return nil, err
	}
	if a.raw == nil {
		err = w.Timed("read", func() (string, error) {
			_, err := a.message(ctx)
			return "", err
		})
		if err != nil {
			return nil, err
		}
	}
	fields, body := message.Read(a.raw)
	return &letter{arrival: a, fields: fields, body: body, side: receivingSideOf(a.account, fields)}, nil
}

// sender names the sending server, for failures of the sending side.
func (l *letter) sender() string {
	if l.sent != nil {
		return l.sent.server
	}
	return "the sender's server"
}
