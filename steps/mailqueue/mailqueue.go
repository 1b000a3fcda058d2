// Package mailqueue reads the mail queues of Postfix (by the socket of showq(8) or by postqueue(1)) and of Exim (by its -bp
// or from its spool), and of anything else whose HTTP API tells the same in JSON.
//
// A queue that cannot be read is an error, never an empty queue: no permission, a mail system that is down, an answer that
// ends early, a format that is not known. Errors say what to do, and wrap one of the Err values.
//
// What is read is added up at once, so that memory does not grow with the number of messages; only those that are asked for by
// their ids are kept. None of the sources is a
// snapshot: a message that moves from one queue to another meanwhile can be counted twice.
package mailqueue

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"time"
)

// Why a queue could not be read.
var (
	ErrDenied     = errors.New("permission denied")
	ErrDown       = errors.New("nothing answers")
	ErrMissing    = errors.New("not found")
	ErrFormat     = errors.New("unknown format")
	ErrIncomplete = errors.New("the answer ends early")
	ErrTooLarge   = errors.New("too large")
)

// The queues, by the servers' own names. Exim has one queue, in which a message is frozen or waits.
const (
	Maildrop = "maildrop"
	Incoming = "incoming"
	Active   = "active"
	Deferred = "deferred"
	Hold     = "hold"
	Waiting  = "waiting"
	Frozen   = "frozen"
)

// The queues of each server.
var (
	postfixQueues = []string{Active, Deferred, Hold, Incoming, Maildrop}
	eximQueues    = []string{Frozen, Waiting}
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
	Reason  string // why it waits, as the server has it; empty when it does not say
}

// Queue is what was read, added up.
type Queue struct {
	Counts       map[string]int // messages in each queue that was read, zero included
	Bytes        int64
	Oldest       time.Time // when the oldest message arrived; zero when there is none
	Destinations map[string]*Destination
	Warning      string              // what the server said beside its answer; normally empty
	Sought       map[string]*Message // those of the messages asked for by id that are in the queue

	// What the source does not tell. Postfix and Exim tell all of it.
	NoBytes, NoAge, NoDestinations bool

	sought []string // ids
	total  int      // from an API that counts more than its queues' names; otherwise zero
}

// Destination is what waits for one domain.
type Destination struct {
	Messages int
	reasons  map[string]int
}

// reasonLimit is how many different reasons are kept for one domain; many hold the address, and so differ for each.
const reasonLimit = 100

// domainless stands for recipients without a domain, which are the machine's own users.
const domainless = "localhost"

func newQueue(names []string, sought ...string) *Queue {
	q := &Queue{Counts: make(map[string]int, len(names)), Destinations: make(map[string]*Destination), Sought: make(map[string]*Message), sought: sought}
	for _, name := range names {
		q.Counts[name] = 0
	}
	return q
}

// add counts a message in. It is false when the server has no queue of that name.
func (q *Queue) add(m *Message) bool {
	if _, known := q.Counts[m.Queue]; !known {
		return false
	}
	if slices.Contains(q.sought, m.ID) {
		q.Sought[m.ID] = m
	}
	q.Counts[m.Queue]++
	q.Bytes += m.Size
	if q.Oldest.IsZero() || m.Arrived.Before(q.Oldest) {
		q.Oldest = m.Arrived
	}
	var counted []*Destination
	for _, r := range m.Recipients {
		name := domainOf(r.Address)
		d := q.Destinations[name]
		if d == nil {
			d = &Destination{}
			q.Destinations[name] = d
		}
		if !slices.Contains(counted, d) {
			d.Messages++
			counted = append(counted, d)
		}
		d.because(r.Reason)
	}
	return true
}

func (d *Destination) because(reason string) {
	if reason == "" {
		return
	}
	if d.reasons == nil {
		d.reasons = make(map[string]int, 1)
	}
	if _, known := d.reasons[reason]; known || len(d.reasons) < reasonLimit {
		d.reasons[reason]++
	}
}

// Reason is the reason that most recipients of the domain wait for, or empty when none is known.
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
	return strings.ToLower(address[at+1:])
}

// Messages is the number of messages in all queues.
func (q *Queue) Messages() int {
	sum := 0
	for _, n := range q.Counts {
		sum += n
	}
	return max(sum, q.total)
}

// Names lists the queues that were read.
func (q *Queue) Names() []string { return slices.Sorted(maps.Keys(q.Counts)) }

// Waiting gives how many messages wait for a domain.
func (q *Queue) Waiting(domain string) int {
	if d := q.Destinations[strings.ToLower(domain)]; d != nil {
		return d.Messages
	}
	return 0
}

// Worst gives the domain that most messages wait for, or empty when nothing waits. Of equals it is the first by name.
func (q *Queue) Worst() (domain string, d *Destination) {
	for _, name := range slices.Sorted(maps.Keys(q.Destinations)) {
		if d == nil || q.Destinations[name].Messages > d.Messages {
			domain, d = name, q.Destinations[name]
		}
	}
	return domain, d
}
