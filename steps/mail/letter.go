package mail

import (
	"context"
	"net/netip"
	"strings"

	"golang.org/x/net/publicsuffix"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/message"
	"github.com/stepwatch/stepwatch/steps/wording"
)

// AttachHeader attaches the message's header to the failure.
func (l *Letter) AttachHeader(w *steps.World) {
	var header strings.Builder
	for _, f := range l.Fields {
		header.WriteString(f.Raw)
	}
	w.Attach("message header", "text/plain; charset=utf-8", []byte(header.String()))
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

// Handovers returns the Received fields that name both sides, the topmost first.
func Handovers(fields message.Header) []message.Hop {
	var hops []message.Hop
	for i, f := range fields {
		if !strings.EqualFold(f.Name, "Received") {
			continue
		}
		h, ok := message.ParseReceived(f.Value)
		if !ok || h.From == "" || h.By == "" {
			continue // a handover inside one server
		}
		h.Line = i
		hops = append(hops, h)
	}
	return hops
}

// receivingSide says which fields of a message the receiving servers wrote: those above the first handover from another
// organisation. Anybody may have written the fields below.
type receivingSide struct {
	ids      []string     // the trusted authserv-ids, including the names below them
	unnamed  bool         // whether Authentication-Results without an authserv-id are trusted
	Border   *message.Hop // the handover to the receiving side; nil if no Received field has it
	LastLine int          // fields from this index on are not from the receiving side
}

// ReceivingSideOf returns the receiving side of a message. By default that is the organisation of the host from which
// the mailbox is read, or of the address if no host is known. The receiving side always wrote the topmost handover.
func ReceivingSideOf(a *steps.Account, fields message.Header) receivingSide {
	side := receivingSide{LastLine: len(fields)}
	if a.AuthservID == "" {
		host := a.IMAP
		if host == "" {
			_, host, _ = wording.CutLast(a.Address, "@")
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
	hops := Handovers(fields)
	for i, h := range hops {
		if i > 0 && organisation(h.By) != organisation(hops[0].By) && !side.Trusts(h.By) {
			side.LastLine = h.Line
			break
		}
		side.Border = &h
	}
	return side
}

// Trusts reports whether an authserv-id is the receiving server's.
func (s receivingSide) Trusts(id string) bool {
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

// Letter is a received message, for the steps that judge it.
type Letter struct {
	*Arrival
	Fields message.Header
	Body   []byte
	Side   receivingSide
}

// ReceivedLetter reads the message that was received last. It reports the phase "read" if it was not read before.
func ReceivedLetter(ctx context.Context, w *steps.World) (*Letter, error) {
	a, err := steps.State[Session](w).received()
	if err != nil {
		return nil, err
	}
	if a.Raw == nil {
		err = w.Timed("read", func() (string, error) {
			_, err := a.message(ctx)
			return "", err
		})
		if err != nil {
			return nil, err
		}
	}
	fields, body := message.Read(a.Raw)
	return &Letter{Arrival: a, Fields: fields, Body: body, Side: ReceivingSideOf(a.Account, fields)}, nil
}

// EnvelopeSender returns the sender in the envelope, which is empty for a report (RFC 5321 section 4.5.5): from Return-Path,
// which the final server adds, or for a message that this run sent as it was sent. known is false if neither shows it.
func (l *Letter) EnvelopeSender() (sender string, known bool) {
	if paths := l.Fields.Values("Return-Path"); len(paths) > 0 {
		return strings.Trim(paths[0], "<> "), true
	}
	if l.sent == nil {
		return "", false
	}
	sender, err := Address(l.sent.from)
	return sender, err == nil
}

// Sender names the sending server, for failures of the sending side.
func (l *Letter) Sender() string {
	if l.sent != nil {
		return l.sent.Server
	}
	return "the sender's server"
}
