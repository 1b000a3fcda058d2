package mail

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/mailhost"
	"github.com/stepwatch/stepwatch/steps/message"
	"github.com/stepwatch/stepwatch/steps/wording"
)

func init() {
	const times = " The times are from Received headers and queue ids, corrected for the clock of each host."
	steps.Register(
		steps.Definition{
			Area: "mail", Sentence: `every hop used TLS`,
			Does: "Fails unless each Received header of the last received message shows TLS. A hop inside one machine does not need TLS: a hop through a socket " +
				"or a pipe, or to a filter on the same machine. A header that is unreadable or does not say also fails the step. " +
				"Of the hop that stepwatch itself made it knows whether it used TLS, whatever the header says.",
			Example: `And every hop used TLS`,
			Func:    everyHopUsedTLS,
		},
		steps.Definition{
			Area: "mail", Sentence: `no hop took longer than {duration}`,
			Does: "Fails when the last received message spent longer than this on one leg of its way: submission, the queue of the server that accepted it, each " +
				"later host, and from the last host to the mailbox." + times + " Headers have whole seconds, so a leg only counts as too long when that is certain. What may be " +
				"stepwatch's own lag in noticing the message, such as where POP3 allows few logins, never counts.",
			Example: `And no hop took longer than 10s`,
			Func:    legsWithin(anyLeg),
		},
		steps.Definition{
			Area: "mail", Sentence: `the queue held it for at most {duration}`,
			Does: "Fails when the server that accepted the message kept it longer than this." + times + " When no other server wrote a Received header, " +
				"all the time until the arrival in the mailbox counts as queue time.",
			Example: `And the queue held it for at most 5s`,
			Func:    legsWithin(leg.inQueue),
		},
		steps.Definition{
			Area: "mail", Sentence: `it went through {text}`,
			Does:    "Fails unless the Received headers of the last received message name this host by its full name, the first part of its name, or its address.",
			Example: `And it went through "mx2.example.org"`,
			Func:    wentThrough,
		},
		steps.Definition{
			Area: "mail", Sentence: `it did not go through {text}`,
			Does:    "Fails when the Received headers of the last received message name this host by its full name, the first part of its name, or its address.",
			Example: `And it did not go through "old.example.org"`,
			Func:    didNotGoThrough,
		},
		steps.Definition{
			Area: "mail", Sentence: `it took {int} hops`,
			Does:    "Fails unless the last received message has this number of Received headers. Each server that accepts a message adds one.",
			Example: `And it took 2 hops`,
			Func:    tookHops,
		},
	)
}

// way is the route of a message into the mailbox, with times of our own clock.
type way struct {
	hops       []message.Hop // in the order of travel
	unreadable []string
	legs       []leg
	skews      []skew
	own        int  // the index in hops of the hop that stepwatch itself made, or -1 if it made none or it is unknown
	ownTLS     bool // whether that one used TLS
}

// leg is a part of the way: the time that the message spent in one place.
type leg struct {
	label string // for metrics: "submission", "queue", "transfer", "transfer_2", …, "inbox"
	name  string // for a person: the same, or the host's short name
	host  string
	blame result.Blame
	took  time.Duration
	least time.Duration // the certain minimum: headers have whole seconds, and clocks differ
	most  time.Duration
	ours  time.Duration // of took, what may be our own lag in noticing the message: never held against the target
}

// skew is the minimum by which a host's clock is ahead of ours. A host whose clock agrees with ours has none.
type skew struct {
	label string // of the leg that begins at the host
	host  string
	ahead time.Duration
}

// moment is the time when a message reached a host: between two limits, most likely at the time between them.
type moment struct{ earliest, likely, latest time.Time }

func exactly(t time.Time) moment { return moment{t, t, t} }

// clockNoise is the usual difference between synchronised clocks.
const clockNoise = 50 * time.Millisecond

// receivedLimit limits the Received headers from which a way is calculated: the work grows with their square. Servers take a
// message with 100 of them for one in a loop (RFC 5321 section 6.3).
const receivedLimit = 200

// tooManyReceived returns the failure of a message with more Received headers than receivedLimit, or nil.
func tooManyReceived(received []string) error {
	if len(received) <= receivedLimit {
		return nil
	}
	return steps.Fail(result.ReasonTooLarge, result.BlameTransfer, "the message has %d Received headers, the limit is %d; servers take 100 for a loop (RFC 5321 section 6.3)", len(received), receivedLimit)
}

// newWay calculates the way of a message that was seen at the time at. s is nil when the sender and the time of sending
// are unknown.
//
// The times of acceptance and of detection are of our own clock. The first host's clock is compared with ours by its
// stamp of the acceptance, every other clock by the order of events, since no message arrives before it was sent. A
// stamp that breaks the order shows the skew of a clock, and never becomes a negative time.
//
// lag is how long before at the message may have been there already.
func newWay(s *Submission, received []string, at time.Time, lag time.Duration) *way {
	w := &way{own: -1}
	w.hops, w.unreadable = message.ReadReceived(received)
	first := 0 // the hop to the server that accepted it from us
	var reached []moment
	clocks := make(map[string]time.Duration)
	start := time.Time{}
	if s != nil {
		first = max(0, slices.IndexFunc(w.hops, func(h message.Hop) bool { return h.ID != "" && h.ID == s.Reply.QueueID() }))
		start = s.Accepted.Add(-s.Took)
		if first < len(w.hops) && (w.hops[first].ID != "" && w.hops[first].ID == s.Reply.QueueID() || len(w.unreadable) == 0) {
			w.own, w.ownTLS = first, s.secure
		}
		w.legs = append(w.legs, leg{"submission", "submission", s.Server, result.BlameSubmission, s.Took, s.Took, s.Took, 0})
		reached = append(reached, exactly(s.Accepted))
	}
	hops := w.hops[min(first, len(w.hops)):]
	for i, h := range hops {
		label := legLabel(i, len(hops))
		if i == 0 && s != nil {
			if ahead, ok := skewOf(h, start, s.Accepted); ok {
				clocks[clockOf(h)] = ahead
				w.skews = append(w.skews, skew{label, h.By, ahead})
			}
			continue
		}
		earliest, latest, bound := start, at, start
		if len(reached) > 0 {
			before := reached[len(reached)-1]
			if earliest = before.earliest; i != 1 || s == nil {
				bound = earliest // otherwise the message may have gone on before we received the acceptance
			}
		}
		for _, next := range hops[i+1:] { // a host with a known clock bounds those before it
			if ahead, known := clocks[clockOf(next)]; known && !next.At.IsZero() {
				latest = earlier(latest, next.At.Add(next.Resolution-ahead))
			}
		}
		latest = later(latest, earliest)
		ahead, known := clocks[clockOf(h)]
		m, off, ok := momentOf(h, ahead, bound, earliest, latest)
		if len(reached) > 0 {
			m.likely = later(m.likely, reached[len(reached)-1].likely)
			m.latest = later(m.latest, m.likely)
		}
		if ok && (off != 0 || !known) {
			clocks[clockOf(h)] = ahead + off
			w.skews = append(w.skews, skew{label, h.By, ahead + off})
		}
		reached = append(reached, m)
	}
	seen := moment{at.Add(-lag), at, at}
	if len(reached) > 0 { // not before it was there
		last := reached[len(reached)-1]
		seen.earliest = earlier(later(seen.earliest, last.earliest), at)
	}
	w.measure(hops, append(reached, seen), s)
	if len(w.legs) > 0 {
		w.legs[len(w.legs)-1].ours = max(0, at.Sub(seen.earliest))
	}
	return w
}

// measure adds a leg for each time between two moments.
func (w *way) measure(hops []message.Hop, reached []moment, s *Submission) {
	for i := range len(reached) - 1 {
		from, to := reached[i], reached[i+1]
		l := leg{label: legLabel(i, len(hops)), took: max(0, to.likely.Sub(from.likely)), least: max(0, to.earliest.Sub(from.latest)), most: max(0, to.latest.Sub(from.earliest))}
		if i < len(hops) {
			l.host = hops[i].By
		}
		if l.host == "" && s != nil {
			l.host = s.Server
		}
		l.host = wording.OneLine(cmp.Or(l.host, "an unnamed host"), 100)
		switch {
		case len(hops) <= 1:
			l.name, l.blame = "queue and inbox", result.BlameQueue
		case i == 0:
			l.name, l.blame = "queue", result.BlameQueue
		case i == len(hops)-1:
			l.name, l.blame = "inbox", result.BlameDelivery
		default:
			l.name, l.blame = shortHost(l.host), result.BlameTransfer
		}
		w.legs = append(w.legs, l)
	}
}

// legLabelsMax limits the number of values of the label hop.
const legLabelsMax = 9

// legLabel returns the label of leg i of n, which is also the label of the host where the leg begins. There are few
// labels.
func legLabel(i, n int) string {
	switch {
	case n <= 1 || i == n-1:
		return "inbox"
	case i == 0:
		return "queue"
	case i == 1:
		return "transfer"
	default:
		return "transfer_" + strconv.Itoa(min(i, legLabelsMax))
	}
}

func clockOf(h message.Hop) string { return strings.ToLower(h.By) }

// skewOf compares a host's stamp of an event with the two times of our clock between which the event happened.
func skewOf(h message.Hop, from, to time.Time) (ahead time.Duration, ok bool) {
	if h.At.IsZero() {
		return 0, false
	}
	return beyond(h.At, h.At.Add(h.Resolution), from, to), true
}

// beyond returns how far the first span lies outside the second: negative before it, positive after it, zero if they
// overlap or differ by no more than clockNoise.
func beyond(earliest, latest, from, to time.Time) time.Duration {
	off := time.Duration(0)
	switch {
	case latest.Before(from):
		off = latest.Sub(from)
	case earliest.After(to):
		off = earliest.Sub(to)
	}
	if off.Abs() <= clockNoise {
		return 0
	}
	return off
}

// momentOf returns when the message reached h between two times, if its clock is ahead of ours by ahead. off is how much
// further ahead the clock must be, because the message cannot have arrived before bound. ok is false when the hop has
// no time.
func momentOf(h message.Hop, ahead time.Duration, bound, from, to time.Time) (m moment, off time.Duration, ok bool) {
	if h.At.IsZero() {
		return moment{from, from, to}, 0, false
	}
	m.earliest, m.latest = h.At.Add(-ahead), h.At.Add(h.Resolution-ahead)
	off = beyond(m.earliest, m.latest, bound, to)
	switch {
	case off < 0: // only the order is known; the least skew means that it arrived at once
		return moment{from, from, to}, off, true
	case off > 0:
		return moment{from, to, to}, off, true
	}
	m.earliest = later(earlier(m.earliest, to), from)
	m.latest = later(earlier(m.latest, to), from)
	m.likely = m.earliest.Add(m.latest.Sub(m.earliest) / 2)
	return m, 0, true
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// shortHost returns a host's name without its domain. An address stays whole.
func shortHost(name string) string {
	if _, err := netip.ParseAddr(name); err == nil {
		return name
	}
	short, _, _ := strings.Cut(name, ".")
	return cmp.Or(short, name)
}

// String returns the way on one line: "submission 0.010s → queue 41.2s → mx2 0.30s → inbox 0.10s". A tilde marks a time
// that is known less well than its digits say: headers with whole seconds leave open where a message spent its time.
func (w *way) String() string {
	parts := make([]string, len(w.legs))
	for i, l := range w.legs {
		parts[i] = l.name + " " + l.time()
		if l.ours >= time.Second {
			parts[i] += " (up to " + wording.Delay(l.ours) + " of it our own lag)"
		}
	}
	text := strings.Join(parts, " → ")
	for _, s := range w.skews {
		if s.ahead != 0 {
			text += "; " + s.String()
		}
	}
	if oursDiffers(w.skews) {
		text += "; these clocks agree with each other, so that of this machine may be the one that is wrong"
	}
	if n := len(w.unreadable); n > 0 {
		text += fmt.Sprintf("; %d of %d Received headers are unreadable: %q", n, n+len(w.hops), wording.OneLine(w.unreadable[0], 100))
	}
	return text
}

// String reports the wrong clock: "the clock of mx2.example.org is 90.0s behind".
func (s skew) String() string {
	host := wording.OneLine(cmp.Or(s.host, "an unnamed host"), 100)
	if s.ahead < 0 {
		return "the clock of " + host + " is at least " + wording.Delay(-s.ahead) + " behind"
	}
	return "the clock of " + host + " is at least " + wording.Delay(s.ahead) + " ahead"
}

// What counts as clocks that agree with each other and not with ours.
const (
	clockMinute = time.Minute     // the least difference that is worth a word
	clocksAgree = 5 * time.Second // between the hosts: skews are minimums
)

// oursDiffers reports whether the clocks of at least two hosts differ from ours by the same minutes, and none agrees with it.
func oursDiffers(skews []skew) bool {
	if len(skews) == 0 {
		return false
	}
	least, most, hosts := skews[0].ahead, skews[0].ahead, make(map[string]bool)
	for _, s := range skews {
		least, most = min(least, s.ahead), max(most, s.ahead)
		hosts[strings.ToLower(s.host)] = true
	}
	return len(hosts) > 1 && most-least <= clocksAgree && (least >= clockMinute || most <= -clockMinute)
}

// time returns the leg's time with as many digits as are certain, or nearly so.
func (l leg) time() string {
	switch unknown := l.most - l.least; {
	case unknown > 100*time.Millisecond:
		return "~" + strconv.FormatFloat(l.took.Seconds(), 'f', 1, 64) + "s"
	case unknown > 5*time.Millisecond && l.took < time.Second: // Delay has more digits below a second
		return "~" + wording.Delay(l.took)
	default:
		return wording.Delay(l.took)
	}
}

// exceeds reports whether the leg certainly took longer than limit, although headers have whole seconds.
func (l leg) exceeds(limit time.Duration) bool {
	return l.least > limit || l.took-l.ours-time.Second > limit
}

// route names the hosts in order.
func (w *way) route() string {
	if len(w.hops) == 0 {
		return "no Received header is readable"
	}
	names := make([]string, 0, len(w.hops)+1)
	for i, h := range w.hops {
		if i == 0 && h.From != "" {
			names = append(names, h.From)
		}
		names = append(names, cmp.Or(h.By, "?"))
	}
	return "it went " + wording.OneLine(strings.Join(names, " → "), 500)
}

// reportWay reports the way of a message that has arrived, after the end of the step that received it.
func (a *Arrival) reportWay(ctx context.Context, w *steps.World) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	way, err := a.travelled(ctx)
	remark := ""
	if a.remark != "" {
		remark = a.remark + "; "
	}
	if err != nil {
		w.Note(remark + "the way is unknown: " + wording.OneLine(err.Error(), 200))
		return
	}
	hop := func(label string) result.Label { return result.Label{Name: "hop", Value: label} }
	for _, l := range way.legs {
		w.Measure("mail_hop_seconds", "Time that the message spent on this leg of its way, corrected for the clock of each host.", l.took.Seconds(), hop(l.label))
	}
	for _, s := range way.skews {
		w.Measure("mail_clock_skew_seconds", "Minimum by which the clock of the host where this leg begins is ahead of the monitor's; negative when it is behind.",
			s.ahead.Seconds(), hop(s.label))
	}
	w.Measure("mail_hops", "Number of readable Received headers of the message.", float64(len(way.hops)))
	w.Measure("mail_received_unreadable", "Number of unreadable Received headers of the message.", float64(len(way.unreadable)))
	text := way.String()
	if s := a.sent; s != nil {
		if delays := mailhost.QueueDelays(ctx, w, s.Server, s.Reply.QueueID(), s.Accepted.Add(-s.Took)); delays != "" {
			text += "; " + delays
		}
	}
	w.Note(remark + text)
}

// travelled returns the way of the message. The way is calculated once.
func (a *Arrival) travelled(ctx context.Context) (*way, error) {
	if a.way == nil {
		header, err := a.headers(ctx)
		if err != nil {
			return nil, err
		}
		received := header.Values("Received")
		if err := tooManyReceived(received); err != nil {
			return nil, err
		}
		a.way = newWay(a.sent, received, a.At, a.lag)
	}
	return a.way, nil
}

// wayOfReceived returns the way of the last received message.
func wayOfReceived(ctx context.Context, w *steps.World) (*way, error) {
	a, err := steps.State[Session](w).received()
	if err != nil {
		return nil, err
	}
	return a.travelled(ctx)
}

func everyHopUsedTLS(ctx context.Context, w *steps.World, _ steps.Args) error {
	way, err := wayOfReceived(ctx, w)
	if err != nil {
		return err
	}
	switch {
	case len(way.unreadable) > 0:
		return steps.Fail(result.ReasonUnexpected, result.BlameTransfer, "%d of %d Received headers are unreadable, so not every hop is known: %q",
			len(way.unreadable), len(way.unreadable)+len(way.hops), wording.OneLine(way.unreadable[0], 200))
	case len(way.hops) == 0:
		return steps.Fail(result.ReasonUnexpected, result.BlameTransfer, "the message has no Received header, so its hops are unknown")
	}
	for i, h := range way.hops {
		blame := result.BlameTransfer
		switch {
		case strings.HasPrefix(h.Protocol, "LMTP"):
			blame = result.BlameDelivery
		case i == 0:
			blame = result.BlameSubmission
		}
		which := fmt.Sprintf("hop %d of %d, from %s to %s", i+1, len(way.hops), wording.OneLine(cmp.Or(h.From, "?"), 100), wording.OneLine(cmp.Or(h.By, "?"), 100))
		switch {
		case i == way.own && way.ownTLS: // whatever the server writes: the message left us inside TLS
			if h.TLS != message.TLSYes && !h.Inside() {
				w.Note(fmt.Sprintf("%s, used TLS, although its Received header says %q: stepwatch itself sent it there", which, wording.OneLine(h.Protocol, 50)))
			}
		case h.Inside() || h.TLS == message.TLSYes:
		case h.TLS == message.TLSNo:
			return steps.Fail(result.ReasonTLS, blame, "%s, was not encrypted (with %s): make TLS mandatory there", which, wording.OneLine(h.Protocol, 50))
		default:
			return steps.Fail(result.ReasonUnexpected, blame, "%s, does not say whether it used TLS (with %q)", which, wording.OneLine(h.Protocol, 50))
		}
	}
	return nil
}

// legsWithin fails at the first leg that counts and took longer than the step allows.
func legsWithin(counts func(leg) bool) func(context.Context, *steps.World, steps.Args) error {
	return func(ctx context.Context, w *steps.World, a steps.Args) error {
		limit, err := a.Duration(0)
		if err != nil {
			return err
		}
		way, err := wayOfReceived(ctx, w)
		if err != nil {
			return err
		}
		for _, l := range way.legs {
			if counts(l) && l.exceeds(limit) {
				return steps.Fail(result.ReasonSlow, l.blame, "%s at %s took %s, wanted at most %s: %s", l.name, l.host, l.time(), limit, way)
			}
		}
		return nil
	}
}

func anyLeg(leg) bool { return true }

func (l leg) inQueue() bool { return l.blame == result.BlameQueue }

func (w *way) through(host string) bool {
	address, _ := netip.ParseAddr(host)
	same := func(name string) bool {
		return name != "" && (strings.EqualFold(name, host) || !strings.Contains(host, ".") && strings.EqualFold(shortHost(name), host))
	}
	return slices.ContainsFunc(w.hops, func(h message.Hop) bool {
		return same(h.By) || same(h.From) || address.IsValid() && h.Address.WithZone("") == address.Unmap()
	})
}

func wentThrough(ctx context.Context, w *steps.World, a steps.Args) error {
	way, err := wayOfReceived(ctx, w)
	if err != nil || way.through(a.Text(0)) {
		return err
	}
	return steps.Fail(result.ReasonUnexpected, result.BlameTransfer, "the message did not go through %q: %s", a.Text(0), way.route())
}

func didNotGoThrough(ctx context.Context, w *steps.World, a steps.Args) error {
	way, err := wayOfReceived(ctx, w)
	if err != nil {
		return err
	}
	if way.through(a.Text(0)) {
		return steps.Fail(result.ReasonUnexpected, result.BlameTransfer, "the message went through %q: %s", a.Text(0), way.route())
	}
	if len(way.hops) == 0 || len(way.unreadable) > 0 {
		return steps.Fail(result.ReasonUnexpected, result.BlameTransfer, "whether the message went through %q is unknown: it has %d readable and %d unreadable Received headers",
			a.Text(0), len(way.hops), len(way.unreadable))
	}
	return nil
}

func tookHops(ctx context.Context, w *steps.World, a steps.Args) error {
	wanted, err := a.Int(0)
	if err != nil {
		return err
	}
	way, err := wayOfReceived(ctx, w)
	if err != nil {
		return err
	}
	if n := len(way.hops) + len(way.unreadable); n != wanted {
		return steps.Fail(result.ReasonUnexpected, result.BlameTransfer, "the message took %d hops, wanted %d: %s", n, wanted, way.route())
	}
	return nil
}

// known returns what is known about the way of a missing message.
func (s *Submission) known(now time.Time) string {
	return fmt.Sprintf("submission %s → in transit for %s", wording.Delay(s.Took), wording.Delay(now.Sub(s.Accepted)))
}
