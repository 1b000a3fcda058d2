package steps

import (
	"context"
	"net/netip"
	"strings"

	"golang.org/x/net/publicsuffix"

	"github.com/stepwatch/stepwatch/steps/message"
)

// tagsOf reads a list of "tag=value" pairs between semicolons, as DKIM, ARC and DMARC have them (RFC 6376 section 3.2).
// White space at the edges is not part of a value. Of a tag that occurs twice the first is kept.
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

// organisation is the domain that a registry gave away, by the public suffix list: "example.org" of "mx1.example.org". A
// name that has none, such as an address, is its own. DMARC has its own idea of it, which is in DNS (maildns.DMARCWalk).
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

// servedBy has the large providers whose mailboxes are read under another domain than their servers write into headers.
var servedBy = map[string]string{
	"gmail.com":     "google.com",
	"office365.com": "outlook.com",
	"me.com":        "icloud.com",
	"fastmail.com":  "messagingengine.com",
}

// handovers reads the Received fields that name both sides, the topmost first.
func handovers(fields message.Header) []hop {
	var hops []hop
	for i, f := range fields {
		if !strings.EqualFold(f.Name, "Received") {
			continue
		}
		h, ok := parseReceived(f.Value)
		if !ok || h.from == "" || h.by == "" {
			continue // a server that hands over within itself
		}
		h.line = i
		hops = append(hops, h)
	}
	return hops
}

// receivingSide knows which of a message's fields the servers wrote that received it: those above the first handover to
// somebody else. Everything beneath may have been written by anybody.
type receivingSide struct {
	ids      []string // the authserv-ids that are believed, with the names beneath them
	unnamed  bool     // whether Authentication-Results without an authserv-id are the receiving server's
	border   *hop     // by which the message came to the receiving side; nil when no Received field tells
	lastLine int      // fields from this index on are not the receiving side's
}

// receivingSideOf finds the receiving side of a message. By default that is the organisation of the host from which the
// mailbox is read, or of the address when no host is known. The topmost handover was always written there.
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

// trusts says whether an authserv-id is the receiving server's.
func (s receivingSide) trusts(id string) bool {
	id = strings.ToLower(strings.TrimSuffix(id, "."))
	for _, trusted := range s.ids {
		if id == trusted || strings.HasSuffix(id, "."+trusted) {
			return true
		}
	}
	return id == "" && s.unnamed
}

// String names who is believed, for messages.
func (s receivingSide) String() string {
	if len(s.ids) == 0 {
		return "those without an authserv-id"
	}
	return strings.Join(s.ids, " or ")
}

// letter is a received message for the steps that judge it.
type letter struct {
	*arrival
	fields message.Header
	body   []byte
	side   receivingSide
}

// receivedLetter reads the message that was received last. The phase "read" is there when it was not read before.
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

// sender names who sent the message out, for failures of the sending side.
func (l *letter) sender() string {
	if l.sent != nil {
		return l.sent.server
	}
	return "the sender's server"
}
