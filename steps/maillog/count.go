package maillog

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/steps/regex"
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
	daemonsMax    = 50  // number of daemons with unknown lines counted separately
	sampleMax     = 300 // bytes of a line that is quoted
)

// bucket holds the counts of a short span of time.
type bucket struct {
	At       int64          `json:"at"`                 // start of the span, in seconds of the Unix epoch
	N        map[string]int `json:"n,omitempty"`        // by kind, "rejected 554", "in", "in tls", "out", "unknown logins", "signed" …
	Refused  map[string]int `json:"refused,omitempty"`  // logins by address; "" for those beyond addressesMax
	Asked    map[string]int `json:"asked,omitempty"`    // those of Refused by a server that had to ask another one
	Unjudged map[string]int `json:"unjudged,omitempty"` // logins by address that nobody judged
	Deferred map[string]int `json:"deferred,omitempty"` // recipients by domain, or by the service of this machine that failed
	Bounced  map[string]int `json:"bounced,omitempty"`
}

// Keys of counts that are not a Kind.
const (
	countIn      = "in"                  // connections of clients that began a message
	countInTLS   = "in tls"              // encrypted ones of these
	countOut     = "out"                 // deliveries to another host
	countOutTLS  = "out tls"             // encrypted ones of these
	countAsked   = "login_refused asked" // refusals by a server that had to ask another one
	countMailbox = "mailbox"             // deliveries to a mailbox of this machine
)

// countUnknown is the key of lines that may be about a subject.
func countUnknown(s Subject) string { return string(KindUnknown) + " " + s.name() }

// Use is a user of the host, who logged in to a mailbox or submitted a message.
type Use struct {
	User   string    `json:"user"`
	Local  string    `json:"local,omitempty"` // IP address that the user connected to, where the log has it
	Client string    `json:"client"`          // IP address of the last connection
	Last   time.Time `json:"last"`
	Times  int       `json:"times"`
}

// unread is what a daemon logged in a wording that is not known.
type unread struct {
	N    int64     `json:"n"`
	May  Subject   `json:"may,omitempty"` // what any of the lines may be about
	Last time.Time `json:"last"`
}

// sample is a line that is quoted.
type sample struct {
	Daemon string    `json:"daemon"`
	Line   string    `json:"line"`
	At     time.Time `json:"at"`
}

// fault is what the log says last of an authentication service that failed.
type fault struct {
	Service string    `json:"service"`
	Reply   string    `json:"reply,omitempty"`
	At      time.Time `json:"at"`
	Down    bool      `json:"down,omitempty"` // the service itself says so, which names the cause
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

	Any      time.Time          `json:"any"`                // stamp of the newest line of any program
	Seen     map[string]bool    `json:"seen,omitempty"`     // servers with a line, by product
	Unread   map[string]*unread `json:"unread,omitempty"`   // by daemon
	Samples  map[string]sample  `json:"samples,omitempty"`  // the last unknown line, by subject
	Faults   map[string]fault   `json:"faults,omitempty"`   // by service
	Clients  map[string]string  `json:"clients,omitempty"`  // of sessions that Event.Session names: the address
	Previous string             `json:"previous,omitempty"` // the last line, which may be repeated

	daemon string // of the last line
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
		return
	case ClassForeign:
		c.Foreign++
	case ClassMail:
		c.Mail++
		if e.Time.After(c.Newest) {
			c.Newest = e.Time
		}
		c.seen(e.Daemon)
	}
	if e.Time.After(c.Any) {
		c.Any = e.Time
	}
	switch {
	case e.Kind == KindOther:
	case e.Kind == KindUnknown:
		c.unread(e, line, p.now.Sub(e.Time) < Kept)
	case class == ClassMail && p.now.Sub(e.Time) < Kept:
		c.add(e)
	}
}

// seen records that a daemon wrote a line.
func (c *counts) seen(daemon string) {
	if daemon == c.daemon { // nearly always one of the last few
		return
	}
	c.daemon = daemon
	if name := product(daemon); !c.Seen[name] {
		if c.Seen == nil {
			c.Seen = make(map[string]bool)
		}
		c.Seen[strings.Clone(name)] = true
	}
}

// unread counts a line in a wording that is not known.
func (c *counts) unread(e Event, line string, recent bool) {
	u := c.Unread[e.Daemon]
	switch {
	case u != nil:
	case len(c.Unread) >= daemonsMax || len(e.Daemon) > userLengthMax:
		return
	default:
		u = &unread{}
		if c.Unread == nil {
			c.Unread = make(map[string]*unread)
		}
		c.Unread[strings.Clone(e.Daemon)] = u
	}
	u.N += int64(e.Count)
	u.May |= e.May
	u.Last = e.Time
	if !recent {
		return
	}
	for _, s := range subjects {
		if e.May&s.Subject == 0 {
			continue
		}
		c.at(e.Time).N[countUnknown(s.Subject)] += e.Count
		if c.Samples == nil {
			c.Samples = make(map[string]sample)
		}
		c.Samples[s.name] = sample{strings.Clone(e.Daemon), quoted(line), e.Time}
	}
}

func (c *counts) add(e Event) {
	b := c.at(e.Time)
	b.N[string(e.Kind)] += e.Count
	process := e.Program + "[" + e.PID + "]"
	if e.Session != "" {
		process = e.Session
		e.Client = cmp.Or(e.Client, c.Clients[process])
	}
	switch e.Kind {
	case KindRejected:
		if e.Code != 0 {
			b.N[rejectedWith(strconv.Itoa(e.Code))] += e.Count
		}
		if e.Status != "" {
			b.N[rejectedWith(e.Status)] += e.Count
		}
	case KindLoginRefused:
		if b.Refused = tally(b.Refused, e.Client, e.Count, addressesMax); e.Client == "" {
			b.Refused[""] += 0
		}
		if strings.HasPrefix(e.Daemon, "postfix/") || e.Program == "courier" {
			b.N[countAsked] += e.Count
			b.Asked = tally(b.Asked, e.Client, e.Count, addressesMax)
		}
	case KindLoginUnjudged:
		b.Unjudged = tally(b.Unjudged, e.Client, e.Count, addressesMax)
		c.fault(e)
	case KindAuthDown:
		c.fault(e)
	case KindLogin, KindSubmitted, KindSession:
		c.used(e)
	}
	switch e.Kind {
	case KindSent, KindDeferred, KindBounced:
		_, domain, _ := strings.Cut(e.Recipient, "@")
		switch domain = cmp.Or(e.Here, strings.ToLower(domain)); e.Kind {
		case KindDeferred:
			b.Deferred = tally(b.Deferred, domain, e.Count, domainsMax)
		case KindBounced:
			b.Bounced = tally(b.Bounced, domain, e.Count, domainsMax)
		}
		c.delivered(b, e, process)
	case KindReceived, KindSubmitted:
		switch {
		case loopback(e.Client): // of this machine, or a filter that hands a message back
		case e.Program == "exim" && e.Client != "", e.Program == "smtpd" && e.Kind == KindReceived, e.Program == "sendmail" && e.Kind == KindReceived && e.Client != "":
			b.N[countIn] += e.Count
			if e.TLS || e.Session != "" && c.Sessions[process] != "" || e.Program == "sendmail" && c.Sessions[process] != "" {
				b.N[countInTLS] += e.Count
			}
		}
	case KindTLS:
		c.secured(process, cmp.Or(e.Relay, e.Client, e.Session))
	case KindNoTLS:
		delete(c.Sessions, process)
	case KindConnected:
		delete(c.Sessions, process)
		if e.Session != "" && e.Client != "" {
			if c.Clients == nil || len(c.Clients) >= sessionsMax {
				c.Clients = make(map[string]string)
			}
			c.Clients[strings.Clone(process)] = strings.Clone(e.Client)
		}
	case KindDisconnected:
		if e.Mails > 0 && !loopback(e.Client) {
			b.N[countIn] += e.Count
			// Ports with TLS from the first byte log it once, and only with smtpd_tls_loglevel = 1.
			wrapped := strings.Contains(e.Program, "/smtps/") || strings.Contains(e.Program, "/submissions/")
			if e.TLS || wrapped || c.Sessions[process] != "" {
				b.N[countInTLS] += e.Count
			}
		}
		delete(c.Sessions, process)
		delete(c.Clients, process)
	}
}

// credentials matches what a line may say of a password: OpenSMTPD logs refused commands as they came.
var credentials = regex.Lazy(`(?i)((?:\bAUTH +[A-Z0-9-]+|\bpass(?:word)?[=:]) *)[^\s"(,;]+`)

// quoted returns the part of a line that may be shown.
func quoted(line string) string {
	return strings.ToValidUTF8(credentials.ReplaceAllString(strings.Clone(line[:min(len(line), sampleMax)]), "${1}[hidden]"), "?")
}

// fault remembers which authentication service failed, and how.
func (c *counts) fault(e Event) {
	if c.Faults == nil {
		c.Faults = make(map[string]fault)
	}
	if _, known := c.Faults[e.Service]; known || len(c.Faults) < daemonsMax {
		service := strings.Clone(e.Service)
		c.Faults[service] = fault{service, quoted(e.Reply), e.Time, e.Kind == KindAuthDown}
	}
}

func rejectedWith(code string) string { return string(KindRejected) + " " + code }

// delivered counts the deliveries over the network, and the encrypted ones.
func (c *counts) delivered(b *bucket, e Event, process string) {
	if e.Kind != KindSent {
		return
	}
	if e.Mailbox {
		b.N[countMailbox] += e.Count
		return
	}
	if e.Relay == "" || e.Relay == "none" {
		return
	}
	out, encrypted := false, false
	switch {
	case e.Program == "exim":
		out, encrypted = true, e.TLS
	case strings.HasSuffix(e.Program, "/smtp") && bracketed(e.Relay) != "":
		out, encrypted = true, c.Sessions[process] == e.Relay
	case e.Session != "":
		out, encrypted = true, c.Sessions[process] != ""
	case e.Program == "sendmail": // one process delivers to many hosts; it names them "mx.example.net." and "mx.example.net. [192.0.2.9]"
		host, _, _ := strings.Cut(e.Relay, " [")
		out, encrypted = true, c.Sessions[process] == e.Relay || c.Sessions[process] == host
	}
	if out {
		b.N[countOut] += e.Count
		if encrypted {
			b.N[countOutTLS] += e.Count
		}
	}
}

// secured records that the process's connection is encrypted.
func (c *counts) secured(process, peer string) {
	if c.Sessions == nil || len(c.Sessions) >= sessionsMax { // processes that ended; living ones log it again with their next connection
		c.Sessions = make(map[string]string)
	}
	c.Sessions[strings.Clone(process)] = strings.Clone(peer)
}

func (c *counts) used(e Event) {
	key := strings.ToLower(e.User) + "\x00" + e.Local
	if e.Kind == KindSession && c.Uses[key] == nil { // its login has more to say, unless it is too old
		for _, u := range c.Uses {
			if strings.EqualFold(u.User, e.User) {
				return
			}
		}
	}
	u := c.Uses[key]
	switch {
	case u != nil:
	case len(c.Uses) >= usesMax || len(e.User) > userLengthMax:
		c.Crowded = true
		return
	default:
		u = &Use{User: strings.Clone(e.User), Local: strings.Clone(e.Local)}
		if c.Uses == nil {
			c.Uses = make(map[string]*Use)
		}
		c.Uses[key] = u // the key is a string of its own
	}
	u.Times += e.Count
	if !e.Time.Before(u.Last) {
		u.Last = e.Time
		if u.Client != e.Client {
			u.Client = strings.Clone(e.Client)
		}
	}
}

// tally adds to a map of limited size. Without space for key it counts under "". What is kept of a line, here and elsewhere, is
// cloned: a part of a string keeps all of it in memory, and a line may have 64 KB.
func tally(m map[string]int, key string, n, limit int) map[string]int {
	if m == nil {
		m = make(map[string]int)
	}
	switch _, known := m[key]; {
	case !known && len(m) >= limit, len(key) > userLengthMax:
		key = ""
	case !known:
		key = strings.Clone(key)
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
			b.Refused, b.Asked, b.Unjudged, b.Deferred, b.Bounced = nil, nil, nil, nil, nil
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
	if c.Any.After(now) {
		c.Any = now
	}
	maps.DeleteFunc(c.Unread, func(_ string, u *unread) bool { return u.Last.Unix() < oldest })
	maps.DeleteFunc(c.Samples, func(_ string, s sample) bool { return s.At.Unix() < oldest })
	maps.DeleteFunc(c.Faults, func(_ string, f fault) bool { return f.At.Unix() < oldest })
}

func (b *bucket) merge(other *bucket) {
	for key, n := range other.N {
		b.N[key] += n
	}
	for key, n := range other.Refused {
		b.Refused = tally(b.Refused, key, n, addressesMax)
	}
	for key, n := range other.Asked {
		b.Asked = tally(b.Asked, key, n, addressesMax)
	}
	for key, n := range other.Unjudged {
		b.Unjudged = tally(b.Unjudged, key, n, addressesMax)
	}
	for key, n := range other.Deferred {
		b.Deferred = tally(b.Deferred, key, n, domainsMax)
	}
	for key, n := range other.Bounced {
		b.Bounced = tally(b.Bounced, key, n, domainsMax)
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

// Logins are the login attempts in a window that did not succeed.
type Logins struct {
	Refused    int     // for a wrong name or password, as far as the log knows
	Doubtful   int     // of Refused: by another server, while the account lookup failed that it asks
	Unjudged   int     // nobody judged the password, because a service failed
	Incomplete int     // nobody judged a password: it came without TLS, by an unknown mechanism, or never
	From       []Tally // addresses with refused logins that are not doubtful, the worst first
	Nowhere    int     // of Refused: without a known address, because there were too many addresses or the log names none
	Failing    []Tally // addresses whose logins are doubtful or unjudged, the worst first
}

// Logins returns the login attempts that did not succeed. Addresses are known for the last part of the window only, as
// long as Detailed. Other logs may be those of the services that were asked.
func (r *Reading) Logins(window time.Duration, beside ...*Reading) (l Logins) {
	buckets := r.within(window)
	detailed := len(buckets) - len(r.within(min(window, Detailed)))
	from, failing := make(map[string]int), make(map[string]int)
	for i, b := range buckets {
		l.Refused += b.N[string(KindLoginRefused)]
		l.Unjudged += b.N[string(KindLoginUnjudged)]
		l.Incomplete += b.N[string(KindLoginIncomplete)]
		asked := b.N[countAsked]
		doubtful := asked > 0 && (r.faulty(b.At) || slices.ContainsFunc(beside, func(other *Reading) bool { return other.faulty(b.At) }))
		if doubtful {
			l.Doubtful += asked
		}
		if i < detailed {
			continue
		}
		for address, n := range b.Refused {
			if doubtful {
				n -= b.Asked[address]
				failing[address] += b.Asked[address]
			}
			if n > 0 {
				from[address] += n
			}
		}
		for address, n := range b.Unjudged {
			failing[address] += n
		}
	}
	l.From, l.Nowhere = sorted(from)
	l.Failing, _ = sorted(failing)
	return l
}

// faulty reports whether an account lookup failed at that time, give or take a bucket.
func (r *Reading) faulty(at int64) bool {
	i, _ := slices.BinarySearchFunc(r.counts.Buckets, at, func(b *bucket, at int64) int { return cmp.Compare(b.At, at) })
	for _, near := range r.counts.Buckets[max(i-1, 0):min(i+2, len(r.counts.Buckets))] {
		if d := near.At - at; (d >= -60 && d <= 60) && near.N[string(KindAuthDown)]+near.N[string(KindLoginUnjudged)] > 0 {
			return true
		}
	}
	return false
}

// Faults describes the authentication services and account lookups that failed within the window, first those that say
// why themselves, and of them the latest first:
// "dovecot's account lookup passwd-file: open(/etc/dovecot/users) failed: Permission denied".
func (r *Reading) Faults(window time.Duration) (said []string) {
	from := r.At.Add(-window)
	faults := slices.SortedFunc(maps.Values(r.counts.Faults), func(a, b fault) int {
		if a.Down != b.Down {
			return map[bool]int{true: -1, false: 1}[a.Down]
		}
		return cmp.Or(b.At.Compare(a.At), cmp.Compare(a.Service, b.Service))
	})
	for _, f := range faults {
		if f.At.Before(from) {
			continue
		}
		text := f.Service
		if f.Reply != "" {
			text += ": " + f.Reply
		}
		said = append(said, text)
	}
	return said
}

// FailedTo returns the domains with recipients that were deferred, or bounced, within the window and Detailed, the worst
// first. For recipients whose message a service of this machine did not take, such as a filter, it returns that service.
func (r *Reading) FailedTo(window time.Duration, deferred, bounced bool) []Tally {
	sums := make(map[string]int)
	for _, b := range r.within(min(window, Detailed)) {
		for _, of := range []struct {
			wanted bool
			failed map[string]int
		}{{deferred, b.Deferred}, {bounced, b.Bounced}} {
			for domain, n := range of.failed {
				if of.wanted {
					sums[domain] += n
				}
			}
		}
	}
	to, _ := sorted(sums)
	return to
}

// sorted returns the names with the largest numbers first, and the number without a name.
func sorted(sums map[string]int) (list []Tally, beyond int) {
	for key, n := range sums {
		if key == "" {
			beyond = n
			continue
		}
		list = append(list, Tally{key, n})
	}
	slices.SortFunc(list, func(a, b Tally) int { return cmp.Or(cmp.Compare(b.N, a.N), strings.Compare(a.Name, b.Name)) })
	return list, beyond
}

// Uses lists the users of the host in the window, the latest first; with local addresses, only users who connected to
// one of them. elsewhere is the number of users whose lines do not have the address that they connected to. crowded
// reports that there were too many to keep.
func (r *Reading) Uses(window time.Duration, local ...string) (uses []Use, elsewhere int, crowded bool) {
	from := r.At.Add(-window)
	users, unplaced := make(map[string]*Use), make(map[string]bool)
	for _, u := range r.counts.Uses {
		switch name := strings.ToLower(u.User); {
		case u.Last.Before(from):
		case len(local) > 0 && u.Local == "":
			unplaced[name] = true
		case len(local) > 0 && !slices.Contains(local, u.Local):
		case users[name] == nil:
			one := *u
			users[name] = &one
		default: // one person, at several addresses
			one := users[name]
			times := one.Times + u.Times
			if u.Last.After(one.Last) {
				*one = *u
			}
			one.Times = times
		}
	}
	for name, u := range users {
		uses = append(uses, *u)
		delete(unplaced, name)
	}
	slices.SortFunc(uses, func(a, b Use) int { return cmp.Or(b.Last.Compare(a.Last), strings.Compare(a.User, b.User)) })
	return uses, len(unplaced), r.counts.Crowded
}

// Unknown returns how many lines of the window may be about a subject, in a wording that is not known, with the newest
// of them and the daemon that wrote it.
func (r *Reading) Unknown(s Subject, window time.Duration) (n int, daemon, line string) {
	if n = r.sum(countUnknown(s), window); n > 0 {
		sample := r.counts.Samples[s.name()]
		daemon, line = sample.Daemon, sample.Line
	}
	return n, daemon, line
}

// Unread returns the daemons that wrote lines in a wording that is not known within Kept, with their numbers since they
// were first met.
func (r *Reading) Unread() []Tally {
	sums := make(map[string]int)
	for daemon, u := range r.counts.Unread {
		sums[daemon] = int(u.N)
	}
	list, _ := sorted(sums)
	return list
}

// Answers reports whether the log has a line of any server that logs about the subject, ever.
func (r *Reading) Answers(s Subject) bool {
	for name := range r.counts.Seen {
		if products[name]&s != 0 {
			return true
		}
	}
	return false
}

// Has reports whether the log has a line of a server, by the first part of its daemons' names, ever.
func (r *Reading) Has(server string) bool { return r.counts.Seen[server] }

// HasMailboxServer reports whether the log has a line of a server that gives users access to their mailboxes, ever.
func (r *Reading) HasMailboxServer() bool {
	for name := range r.counts.Seen {
		if products[name] == subjectsOfMailboxes {
			return true
		}
	}
	return false
}

// Mailboxes returns the number of deliveries to mailboxes of this machine.
func (r *Reading) Mailboxes(window time.Duration) int { return r.sum(countMailbox, window) }

// Written returns the stamp of the newest line of any program.
func (r *Reading) Written() time.Time { return r.counts.Any }

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
