// Package mailqueue reads the mail queues of Postfix (by the socket of showq(8) or by postqueue(1)), of Exim (by its -bp
// or from its spool) and of OpenSMTPD (by smtpctl(8)), and of any other server whose HTTP API reports the same in JSON.
//
// An unreadable queue is an error, never an empty queue: no permission, a mail system that is down, an answer that ends
// early, an unknown format. Errors say what to do, and wrap one of the Err values.
//
// The messages are counted as they are read, so that memory does not grow with their number. Only messages that are
// requested by id are kept. No source is a snapshot: a message that moves from one queue to another during the read can
// count twice.
package mailqueue

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/steps/wording"
)

// Reasons why a queue is not readable.
var (
	ErrDenied     = errors.New("permission denied")
	ErrDown       = errors.New("nothing answers")
	ErrMissing    = errors.New("not found")
	ErrFormat     = errors.New("unknown format")
	ErrIncomplete = errors.New("the answer ends early")
)

// The queues, by the servers' own names. Exim has one queue, in which a message is frozen or waits. OpenSMTPD has one
// too: a message is pending or in flight, held because too many others wait for the same host, or suspended by an
// administrator.
const (
	Maildrop = "maildrop"
	Incoming = "incoming"
	Active   = "active"
	Deferred = "deferred"
	Hold     = "hold"
	Waiting  = "waiting"
	Frozen   = "frozen"

	Suspended = "suspended"
	Held      = "held"
	Inflight  = "inflight"
	Pending   = "pending"
)

// The queues of each server.
var (
	postfixQueues = []string{Active, Deferred, Hold, Incoming, Maildrop}
	eximQueues    = []string{Frozen, Waiting}

	opensmtpdQueues = []string{Suspended, Held, Inflight, Pending} // in the order in which a state of a message counts
)

// Message is one message of a queue.
type Message struct {
	ID         string
	Queue      string // one of the constants
	Arrived    time.Time
	Size       int64 // bytes
	Recipients []Recipient
}

// Recipient is one address that a message still waits for.
type Recipient struct {
	Address string
	Reason  string // why it waits, in the server's words; empty when unknown
}

// Queue is the sum of what was read.
type Queue struct {
	Counts       map[string]int // number of messages in each queue that was read, zero included
	Bytes        int64
	Oldest       time.Time // arrival of the oldest message; zero when there is none
	Destinations map[string]*Destination
	Warning      string              // the server's message besides its answer; normally empty
	Sought       map[string]*Message // those of the messages requested by id that are in the queue

	// What the source does not report. Postfix and Exim report all of it, and OpenSMTPD all but sizes.
	NoBytes, NoAge, NoDestinations bool

	sought  []string // ids
	reasons int      // kept for all destinations
	names   int64    // bytes of the names of all destinations
	added   int      // messages
	total   int      // from an API with more queues than names; otherwise zero
}

// Destination is the mail that waits for one domain.
type Destination struct {
	Messages int
	reasons  map[string]int
	last     int // the last message counted
}

// Limits of what is kept to explain why messages wait. Many reasons contain the address, so each recipient has a different one.
const (
	reasonLimit  = 100    // different reasons of one domain
	reasonsLimit = 20_000 // and of all
	reasonLength = 300    // bytes of a reason
	nameLength   = 255    // bytes of the name of a destination; a domain has at most 253 (RFC 1035 section 2.3.4)
)

// Held returns about how many bytes of memory the queue takes.
func (q *Queue) Held() int64 {
	const destination = 180 // without its name
	return int64(len(q.Destinations))*destination + q.names + int64(q.reasons)*reasonLength
}

// domainless is the name for recipients without a domain, which are the machine's own users.
const domainless = "localhost"

func newQueue(names []string, sought ...string) *Queue {
	q := &Queue{Counts: make(map[string]int, len(names)), Destinations: make(map[string]*Destination), Sought: make(map[string]*Message), sought: sought}
	for _, name := range names {
		q.Counts[name] = 0
	}
	return q
}

// add counts a message.
func (q *Queue) add(m *Message) error {
	if _, known := q.Counts[m.Queue]; !known {
		return fmt.Errorf("%w: message %s is in a queue called %s", ErrFormat, wording.OneLine(m.ID, 60), wording.Quote(m.Queue))
	}
	if slices.Contains(q.sought, m.ID) {
		q.Sought[m.ID] = m
	}
	q.Counts[m.Queue]++
	q.Bytes += m.Size
	if q.Oldest.IsZero() || m.Arrived.Before(q.Oldest) {
		q.Oldest = m.Arrived
	}
	q.added++
	for _, r := range m.Recipients {
		name := domainOf(r.Address)
		d := q.Destinations[name]
		if d == nil {
			if int64(len(q.Destinations)) == destinationLimit.Most {
				return destinationLimit.Exceeded()
			}
			d = &Destination{}
			q.Destinations[strings.Clone(name)] = d // it is a part of the address, which may be long
			q.names += int64(len(name))
		}
		if d.last != q.added {
			d.Messages++
			d.last = q.added
		}
		q.because(d, r.Reason)
	}
	return nil
}

// wait adds a recipient to a message.
func (m *Message) wait(r Recipient) error {
	if int64(len(m.Recipients)) == recipientLimit.Most {
		return recipientLimit.Exceeded()
	}
	m.Recipients = append(m.Recipients, r)
	return nil
}

func (q *Queue) because(d *Destination, reason string) {
	if reason == "" {
		return
	}
	if len(reason) > reasonLength {
		reason = strings.ToValidUTF8(reason[:reasonLength], "")
	}
	if d.reasons == nil {
		d.reasons = make(map[string]int, 1)
	}
	switch _, known := d.reasons[reason]; {
	case known:
	case len(d.reasons) == reasonLimit, q.reasons == reasonsLimit && len(d.reasons) > 0:
		return
	default:
		q.reasons++
	}
	d.reasons[strings.Clone(reason)]++
}

// Reason returns the reason for which most recipients of the domain wait, or an empty string if none is known.
func (d *Destination) Reason() string {
	most := ""
	for _, reason := range slices.Sorted(maps.Keys(d.reasons)) {
		if d.reasons[reason] > d.reasons[most] {
			most = reason
		}
	}
	return most
}

func domainOf(address string) string {
	at := strings.LastIndexByte(address, '@')
	if at < 0 || at == len(address)-1 {
		return domainless
	}
	return strings.ToLower(strings.ToValidUTF8(address[at+1:min(len(address), at+1+nameLength)], ""))
}

// Messages returns the number of messages in all queues.
func (q *Queue) Messages() int {
	sum := 0
	for _, n := range q.Counts {
		sum += n
	}
	return max(sum, q.total)
}

// Names lists the queues that were read.
func (q *Queue) Names() []string { return slices.Sorted(maps.Keys(q.Counts)) }

// Waiting returns how many messages wait for a domain.
func (q *Queue) Waiting(domain string) int {
	if d := q.Destinations[strings.ToLower(domain)]; d != nil {
		return d.Messages
	}
	return 0
}

// Worst returns the domain for which most messages wait, or an empty string when none waits. Of equal domains it
// returns the first by name.
func (q *Queue) Worst() (domain string, d *Destination) {
	for _, name := range slices.Sorted(maps.Keys(q.Destinations)) {
		if d == nil || q.Destinations[name].Messages > d.Messages {
			domain, d = name, q.Destinations[name]
		}
	}
	return domain, d
}
