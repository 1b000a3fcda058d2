package maillog

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// Kept is how long counts are kept, which is also the longest window.
	Kept = 48 * time.Hour

	// Detailed is how long counts are kept by address, which is also the longest window of "from any one address".
	Detailed = 2 * time.Hour

	fine          = 10 * time.Second // the span of a detailed bucket; later a minute
	addressesMax  = 500              // number of addresses counted separately in one bucket
	domainsMax    = 50               // the same for domains
	usesMax       = 10000            // number of users counted separately
	sessionsMax   = 5000
	userLengthMax = 200
)

// bucket holds the counts of a short span of time.
type bucket struct {
	At      int64          `json:"at"`                // start of the span, in seconds of the Unix epoch
	N       map[string]int `json:"n,omitempty"`       // by kind, "rejected 554", "in", "in tls", "out", "out tls", "signed" …
	Refused map[string]int `json:"refused,omitempty"` // logins by address; "" for those beyond addressesMax
	Failed  map[string]int `json:"failed,omitempty"`  // recipients deferred or bounced, by domain
}

// Keys of counts that are not a Kind.
const (
	countIn     = "in"      // connections of clients that began a message
	countInTLS  = "in tls"  // encrypted ones of these
	countOut    = "out"     // deliveries to another host
	countOutTLS = "out tls" // encrypted ones of these
)

// Use is a user of the host, who logged in to a mailbox or submitted a message.
type Use struct {
	User   string    `json:"user"`
	Local  string    `json:"local,omitempty"` // IP address that the user connected to, where the log has it
	Client string    `json:"client"`          // IP address of the last connection
	Last   time.Time `json:"last"`
	Times  int       `json:"times"`
}

// gap is a span in which lines may be missing or counted twice.
type gap struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// counts are everything known about a log.
type counts struct {
	Buckets  []*bucket         `json:"buckets,omitempty"` // by time
	Uses     map[string]*Use   `json:"uses,omitempty"`
	Sessions map[string]string `json:"sessions,omitempty"` // of smtpd and smtp processes with an encrypted connection: the peer
	Gaps     []gap             `json:"gaps,omitempty"`
	Mail     int64             `json:"mail"` // lines of mail servers
	Foreign  int64             `json:"foreign"`
	Unknown  int64             `json:"unknown"`
	Newest   time.Time         `json:"newest"`            // stamp of the newest line of a mail server
	Sample   string            `json:"sample,omitempty"`  // the last unknown line
	Crowded  bool              `json:"crowded,omitempty"` // more users than usesMax
}

func (c *counts) at(t time.Time) *bucket {
	at := t.Unix() - t.Unix()%int64(fine/time.Second)
	i := len(c.Buckets)
	for i > 0 && c.Buckets[i-1].At > at { // nearly always the last one
		i--
	}
	if i > 0 && c.Buckets[i-1].At == at {
		return c.Buckets[i-1]
	}
	b := &bucket{At: at, N: make(map[string]int)}
	c.Buckets = slices.Insert(c.Buckets, i, b)
	return b
}

// line counts one line.
func (c *counts) line(p *Parser, line string) {
	e, class := p.Parse(line)
	switch class {
	case ClassUnknown:
		c.Unknown++
		c.Sample = line[:min(len(line), 100)]
	case ClassForeign:
		c.Foreign++
	case ClassMail:
		c.Mail++
		if e.Time.After(c.Newest) {
			c.Newest = e.Time
		}
		if p.now.Sub(e.Time) < Kept {
			c.add(e)
		}
	}
}

func (c *counts) add(e Event) {
	if e.Kind == KindOther {
		return
	}
	b := c.at(e.Time)
	b.N[string(e.Kind)] += e.Count
	process := e.Program + "[" + e.PID + "]"
	switch e.Kind {
	case KindRejected:
		if e.Code != 0 {
			b.N[rejectedWith(strconv.Itoa(e.Code))]++
		}
		if e.Status != "" {
			b.N[rejectedWith(e.Status)]++
		}
	case KindLoginRefused:
		if b.Refused = tally(b.Refused, e.Client, e.Count, addressesMax); e.Client == "" {
			b.Refused[""] += 0
		}
	case KindLogin, KindSubmitted:
		c.used(e)
	}
	switch e.Kind {
	case KindSent, KindDeferred, KindBounced:
		if e.Kind != KindSent {
			_, domain, _ := strings.Cut(e.Recipient, "@")
			b.Failed = tally(b.Failed, strings.ToLower(domain), 1, domainsMax)
		}
		c.delivered(b, e, process)
	case KindReceived, KindSubmitted:
		if e.Program == "exim" && e.Client != "" {
			b.N[countIn]++
			if e.TLS {
				b.N[countInTLS]++
			}
		}
	case KindTLS:
		c.secured(process, cmp.Or(e.Relay, e.Client))
	case KindNoTLS, KindConnected:
		delete(c.Sessions, process)
	case KindDisconnected:
		if e.Mails > 0 {
			b.N[countIn]++
			// Ports with TLS from the first byte log it once, and only with smtpd_tls_loglevel = 1.
			wrapped := strings.Contains(e.Program, "/smtps/") || strings.Contains(e.Program, "/submissions/")
			if e.TLS || wrapped || c.Sessions[process] != "" {
				b.N[countInTLS]++
			}
		}
		delete(c.Sessions, process)
	}
}

func rejectedWith(code string) string { return string(KindRejected) + " " + code }

// delivered counts the deliveries over the network, and the encrypted ones.
func (c *counts) delivered(b *bucket, e Event, process string) {
	if e.Relay == "" || e.Relay == "none" || e.Kind != KindSent {
		return
	}
	switch {
	case e.Program == "exim":
		b.N[countOut]++
		if e.TLS {
			b.N[countOutTLS]++
		}
	case strings.HasSuffix(e.Program, "/smtp") && bracketed(e.Relay) != "":
		b.N[countOut]++
		if c.Sessions[process] == e.Relay {
			b.N[countOutTLS]++
		}
	}
}

// secured records that the process's connection is encrypted.
func (c *counts) secured(process, peer string) {
	if c.Sessions == nil || len(c.Sessions) >= sessionsMax { // processes that ended; living ones log it again with their next connection
		c.Sessions = make(map[string]string)
	}
	c.Sessions[process] = peer
}

func (c *counts) used(e Event) {
	key := e.User + "\x00" + e.Local
	u := c.Uses[key]
	switch {
	case u != nil:
	case len(c.Uses) >= usesMax || len(e.User) > userLengthMax:
		c.Crowded = true
		return
	default:
		u = &Use{User: e.User, Local: e.Local}
		if c.Uses == nil {
			c.Uses = make(map[string]*Use)
		}
		c.Uses[key] = u
	}
	u.Times += e.Count
	if !e.Time.Before(u.Last) {
		u.Last, u.Client = e.Time, e.Client
	}
}

// tally adds to a map of limited size. Without space for key it counts under "".
func tally(m map[string]int, key string, n, limit int) map[string]int {
	if m == nil {
		m = make(map[string]int)
	}
	if _, known := m[key]; !known && len(m) >= limit || len(key) > userLengthMax {
		key = ""
	}
	m[key] += n
	return m
}

// age drops what is too old, and merges buckets that need no detail any more into minutes. If the clock was set back, a
// time after now counts as now.
func (c *counts) age(now time.Time) {
	oldest, detailed := now.Add(-Kept).Unix(), now.Add(-Detailed).Unix()
	old := c.Buckets
	c.Buckets = make([]*bucket, 0, len(old))
	for _, b := range old {
		switch {
		case b.At < oldest:
			continue
		case b.At > now.Unix():
			b.At = now.Unix() - now.Unix()%int64(fine/time.Second)
		case b.At < detailed-60:
			b.At -= b.At % 60
			b.Refused, b.Failed = nil, nil
		}
		if last := len(c.Buckets) - 1; last >= 0 && c.Buckets[last].At == b.At {
			c.Buckets[last].merge(b)
			continue
		}
		c.Buckets = append(c.Buckets, b)
	}
	for key, u := range c.Uses {
		if u.Last.Unix() < oldest {
			delete(c.Uses, key)
		}
	}
	c.Crowded = c.Crowded && len(c.Uses) >= usesMax
	c.Gaps = slices.DeleteFunc(c.Gaps, func(g gap) bool { return g.To.Unix() < oldest })
	if c.Newest.After(now) {
		c.Newest = now
	}
}

func (b *bucket) merge(other *bucket) {
	for key, n := range other.N {
		b.N[key] += n
	}
	for key, n := range other.Refused {
		b.Refused = tally(b.Refused, key, n, addressesMax)
	}
	for key, n := range other.Failed {
		b.Failed = tally(b.Failed, key, n, domainsMax)
	}
}

// Reading is the state of a log at one moment.
type Reading struct {
	At     time.Time
	Lines  int64 // read in this call
	Source string
	counts *counts
}

// within returns the buckets of the window that ends now.
func (r *Reading) within(window time.Duration) []*bucket {
	from := r.At.Add(-window).Unix() - int64(fine/time.Second) // a bucket that reaches into the window counts
	i, _ := slices.BinarySearchFunc(r.counts.Buckets, from+1, func(b *bucket, at int64) int { return cmp.Compare(b.At, at) })
	return r.counts.Buckets[i:]
}

func (r *Reading) sum(key string, window time.Duration) (n int) {
	for _, b := range r.within(window) {
		n += b.N[key]
	}
	return n
}

// Count returns how often kind occurred in the window that ends now. Windows are exact to ten seconds, and to a minute
// if they are longer than Detailed.
func (r *Reading) Count(kind Kind, window time.Duration) int { return r.sum(string(kind), window) }

// Rejected returns the number of rejections with an SMTP reply code or an enhanced status code.
func (r *Reading) Rejected(code string, window time.Duration) int {
	return r.sum(rejectedWith(code), window)
}

// Incoming returns the number of connections of clients that began a message, and how many of them were encrypted.
func (r *Reading) Incoming(window time.Duration) (all, encrypted int) {
	return r.sum(countIn, window), r.sum(countInTLS, window)
}

// Outgoing returns the number of deliveries to other hosts, and how many of them were encrypted.
func (r *Reading) Outgoing(window time.Duration) (all, encrypted int) {
	return r.sum(countOut, window), r.sum(countOutTLS, window)
}

// Tally is a name with its count.
type Tally struct {
	Name string
	N    int
}

// RefusedFrom returns the addresses whose logins were refused, the worst first. beyond is the number of refusals
// without a known address, because there were too many addresses or the log names none.
func (r *Reading) RefusedFrom(window time.Duration) (from []Tally, beyond int) {
	return worst(r.within(window), func(b *bucket) map[string]int { return b.Refused })
}

// FailedTo returns the domains whose mail was deferred or bounced within the window and Detailed, the worst first.
func (r *Reading) FailedTo(window time.Duration) []Tally {
	to, _ := worst(r.within(min(window, Detailed)), func(b *bucket) map[string]int { return b.Failed })
	return to
}

func worst(buckets []*bucket, of func(*bucket) map[string]int) (sorted []Tally, beyond int) {
	sums := make(map[string]int)
	for _, b := range buckets {
		for key, n := range of(b) {
			sums[key] += n
		}
	}
	beyond = sums[""]
	delete(sums, "")
	for key, n := range sums {
		sorted = append(sorted, Tally{key, n})
	}
	slices.SortFunc(sorted, func(a, b Tally) int { return cmp.Or(cmp.Compare(b.N, a.N), strings.Compare(a.Name, b.Name)) })
	return sorted, beyond
}

// Uses lists the users of the host in the window, the latest first; with local addresses, only users who connected to
// one of them. crowded reports that there were too many to keep.
func (r *Reading) Uses(window time.Duration, local ...string) (uses []Use, crowded bool) {
	from := r.At.Add(-window)
	for _, u := range r.counts.Uses {
		if !u.Last.Before(from) && (len(local) == 0 || slices.Contains(local, u.Local)) {
			uses = append(uses, *u)
		}
	}
	slices.SortFunc(uses, func(a, b Use) int { return cmp.Or(b.Last.Compare(a.Last), strings.Compare(a.User, b.User)) })
	return uses, r.counts.Crowded
}

// LinesOf returns the total number of lines of each class.
func (r *Reading) LinesOf() (mail, foreign, unknown int64) {
	return r.counts.Mail, r.counts.Foreign, r.counts.Unknown
}

// Newest returns the stamp of the newest line of a mail server, or zero if there is none.
func (r *Reading) Newest() time.Time { return r.counts.Newest }

// Lost returns in which part of the window lines may be missing or counted twice: they were rotated away or dropped by
// the journal before they were read, or it is not certain which file is which.
func (r *Reading) Lost(window time.Duration) (from, to time.Time, lost bool) {
	begin := r.At.Add(-window)
	for _, g := range r.counts.Gaps {
		if g.To.After(begin) {
			if !lost || g.From.Before(from) {
				from = g.From
			}
			if g.To.After(to) {
				to = g.To
			}
			lost = true
		}
	}
	return from, to, lost
}
