package mail

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/address"
	"github.com/stepwatch/stepwatch/steps/lack"
	"github.com/stepwatch/stepwatch/steps/wording"
)

func init() {
	const (
		does = "Waits until POP3 (RFC 1939) returns the last message sent to this account. A session sees only the messages that existed when it began, so the step logs in " +
			"again for each look, at most four times a second. Where the server demands a pause between logins (LOGIN-DELAY, RFC 2449) each login is planned: none before the step, one a few seconds " +
			"after the message was sent, and the next after the pause, even if that is after the duration; a message that was there in time passes. When the server allows no login until the run ends the step is UNKNOWN. Fails when the message is not there in time and when the mailbox cannot be read. Before it says that nothing came, it looks again in one more session, if the server allows a login, " +
			"and over IMAP in all folders, if the account has it. " +
			"The message is removed afterwards, and so are messages of earlier runs among the newest twenty."
		measures = "From the start of the step until a session has the message. The first session is before the scenario's first step (without a login where the server demands a pause), outside this duration, in the phases mailbox_dns, mailbox_connect, " +
			"mailbox_tls, mailbox_greeting, mailbox_stls and mailbox_login. Measures mail_detection_lag_seconds and mail_delivery_seconds."
	)
	steps.Register(
		steps.Definition{
			Area: "mail", Sentence: `{account} receives it over POP3 within {duration}`,
			Does: does + " Reads via port 995, TLS from the first byte (RFC 8314).", Measures: measures,
			Example: `Then "bob" receives it over POP3 within 60s`,
			Waits:   true, Prepare: preparePOP3, Func: receivePOP3,
		},
		steps.Definition{
			Area: "mail", Sentence: `{account} receives it over POP3 via {port} within {duration}`,
			Does: does + " Port 995 is TLS from the first byte; 110 and any other port require STLS (RFC 2595).", Measures: measures,
			Example: `Then "bob" receives it over POP3 via 110 within 60s`,
			Waits:   true, Prepare: preparePOP3, Func: receivePOP3,
		},
	)
}

// pop3Gap is the minimum pause between two sessions.
const pop3Gap = 250 * time.Millisecond

// pop3Sweep is the number of the newest messages that are examined for leftovers of earlier runs.
const pop3Sweep = 20

// pop3Mailbox is an account's mailbox as POP3 shows it.
type pop3Mailbox struct {
	w       *steps.World
	mail    *Session
	account *steps.Account
	host    string
	port    int
	log     transcript

	first    bool  // the account's other POP3 mailboxes are the same
	err      error // of the first session
	opening  steps.Report
	ready    bool
	known    map[string]bool // unique ids of messages that are not awaited
	delay    time.Duration   // between two logins, as the server announces it
	sparse   bool            // the server allows few logins, so none is spent before the step that waits
	examined int             // messages whose header was read
	skipped  int             // older messages that were not examined
	taken    map[int]*taken  // messages that were read and removed when they were found, by their number
	sweepErr error
}

// pop3Mailboxes are the POP3 mailboxes that a scenario reads.
type pop3Mailboxes []*pop3Mailbox

// String returns the name of the mailbox in messages.
func (p *pop3Mailbox) String() string { return p.account.Name + "'s POP3 mailbox at " + p.server() }

func (p *pop3Mailbox) server() string {
	return net.JoinHostPort(p.host, strconv.Itoa(p.port))
}

func pop3Of(w *steps.World, a steps.Args) (box *pop3Mailbox, within time.Duration, err error) {
	account, port, within, err := waitOf(w, a, address.PortPOP3S)
	if err != nil {
		return nil, 0, err
	}
	return pop3At(w, account, account.POP3, port), within, nil
}

// pop3At returns the account's mailbox as read via port at a host, which need not be the account's own.
func pop3At(w *steps.World, account *steps.Account, host string, port int) *pop3Mailbox {
	boxes := steps.State[pop3Mailboxes](w)
	for _, box := range *boxes {
		if box.account == account && box.host == host && box.port == port {
			return box
		}
	}
	first := !slices.ContainsFunc(*boxes, func(box *pop3Mailbox) bool { return box.account == account })
	box := &pop3Mailbox{first: first, w: w, mail: steps.State[Session](w), account: account, host: host, port: port, known: make(map[string]bool)}
	*boxes = append(*boxes, box)
	w.Cleanup("remove the test mail of "+account.Name, box.cleanup)
	return box
}

// preparePOP3 records the existing messages before anything is sent.
func preparePOP3(ctx context.Context, w *steps.World, a steps.Args) {
	if box, _, err := pop3Of(w, a); err == nil { // the step itself reports a wrong argument
		box.prepare(ctx)
	}
}

// prepare records the existing messages before the scenario's first step, unless that was done, and sweeps. It keeps
// the error.
func (p *pop3Mailbox) prepare(ctx context.Context) {
	if p.ready || p.err != nil {
		return
	}
	limit := prepareLimit
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(deadline)/3)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	p.w.TakeReport() // the phases that follow are kept for the step that waits
	p.err = p.sessionUnless(ctx, func(c *pop3Client) (bool, error) {
		var err error
		p.delay, err = c.loginDelay()
		p.delay = max(p.delay, time.Duration(pop3Pauses.mark(p.loginKey())))
		p.sparse = p.delay > 0
		return p.sparse, err
	}, func(c *pop3Client) (err error) {
		if p.delay, err = c.loginDelay(); err != nil { // some servers announce it only now
			return err
		}
		p.sparse = p.delay > 0
		list, err := c.list()
		if err != nil {
			return err
		}
		for _, m := range list {
			p.known[m.id] = true
		}
		if err := p.w.Memory().Take(int64(len(list)) * uidSize); err != nil { // they are known until the end of the run
			return c.failure("UIDL", err)
		}
		// The leftovers of earlier runs are among the newest messages. This run does not depend on their removal.
		p.sweepErr = p.sweep(c, list[max(0, len(list)-pop3Sweep):])
		return nil
	})
	if errors.Is(p.err, errTooSoon) { // what a server demands is no failure
		p.sparse, p.err = true, nil
	}
	p.ready = p.err == nil
	if p.err != nil {
		p.log.Attach(p.w, "pop3 transcript")
	}
	p.opening = p.w.TakeReport()
}

func (p *pop3Mailbox) sweep(c *pop3Client, list []pop3Message) error {
	for _, m := range list {
		header, err := c.header(m.number)
		if err != nil {
			return err
		}
		if header.Line(headerOrigin) != p.w.Origin() {
			continue
		}
		if err := c.remove(m.number); err != nil {
			return err
		}
	}
	return nil
}

func receivePOP3(ctx context.Context, w *steps.World, a steps.Args) error {
	box, within, err := pop3Of(w, a)
	if err != nil {
		return err
	}
	return box.receive(ctx, within)
}

// receive waits for the last message sent to the account, which later steps then call "it".
func (p *pop3Mailbox) receive(ctx context.Context, within time.Duration) error {
	w := p.w
	reportOpening(w, &p.opening)
	if p.err != nil {
		return p.err
	}
	s := p.mail.Last(p.account)
	switch {
	case s == nil:
		return steps.FailScenario("nothing was sent to %q before this step: begin with \"I send a message from … to %q via …\"", p.account.Name, p.account.Name)
	case !p.ready:
		return steps.Fail(result.ReasonInternal, result.BlameMonitor, "the POP3 mailbox of %q was not read before the first step", p.account.Name)
	}
	if t := p.taken[s.Number]; t != nil { // an earlier step found it here
		p.mail.Receive(w, p.arrival(s, t))
		return nil
	}
	wait := p.await
	if p.sparse {
		wait = p.awaitSparsely
	}
	ids, err := wait(ctx, s, within)
	if err != nil {
		p.log.Attach(w, "pop3 transcript")
		return err
	}
	t := p.taken[s.Number]
	if t == nil {
		t = &taken{id: ids[0]}
	}
	if !s.removed && !(p.sparse && p.mail.reads(p.account)) { // IMAP removes it without a login that the server may refuse
		w.Cleanup("remove the test mail of "+p.account.Name, func(ctx context.Context) error {
			s.removed = true
			return p.remove(ctx, ids)
		})
	}
	p.mail.Receive(w, p.arrival(s, t))
	return nil
}

// taken is a message as it was found.
type taken struct {
	id     string
	raw    []byte // nil if it was not read yet
	remark string // on the wait, for the step that found it
}

// arrival returns s as it was found.
func (p *pop3Mailbox) arrival(s *Submission, t *taken) *Arrival {
	remark := t.remark
	t.remark = ""
	return &Arrival{Account: p.account, sent: s, Where: p.String(), Folder: "INBOX", At: time.Now(), lag: s.lag, remark: remark, key: "UIDL " + t.id, Raw: t.raw,
		Read: func(ctx context.Context) (raw []byte, err error) { return p.fetch(ctx, t.id) }}
}

// cleanup looks once more for messages to an account that is read only over POP3, until they count as missing.
func (p *pop3Mailbox) cleanup(ctx context.Context) error {
	if !p.ready || !p.first || p.mail.reads(p.account) {
		return p.sweepErr
	}
	missing := p.mail.sentTo(p.account)
	if next := p.nextLogin(); p.sparse && len(missing) > 0 && time.Now().Before(next) {
		return errors.Join(p.sweepErr, fmt.Errorf("%s may stay in %s until a later run removes it: the server demands a pause of %s between logins (LOGIN-DELAY, RFC 2449)", describe(missing), p, p.delay))
	}
	for len(missing) > 0 {
		var left []*Submission
		err := p.another(ctx, func(c *pop3Client) error {
			found, others, err := p.find(c, missing)
			for _, m := range found {
				if err == nil {
					err = c.remove(m.number)
				}
			}
			left = others
			return err
		})
		if err != nil {
			return errors.Join(p.sweepErr, fmt.Errorf("%s may stay in %s until a later run removes it: %w", describe(missing), p, err))
		}
		for _, s := range missing {
			s.removed = !slices.Contains(left, s)
		}
		missing = left
		wait := time.Duration(0)
		for _, s := range missing {
			if !s.Accepted.IsZero() {
				wait = max(wait, lastLook-time.Since(s.Accepted))
			}
		}
		if wait <= 0 || steps.Pause(ctx, min(wait, max(pop3Gap, p.delay))) != nil {
			break
		}
	}
	if len(missing) > 0 {
		return errors.Join(p.sweepErr, fmt.Errorf("%s had not arrived in %s when the run ended: a later run removes it", describe(missing), p))
	}
	return p.sweepErr
}

// pop3Examined is the number of messages whose header one step reads at most, the newest first.
const pop3Examined = 1000

// find looks for awaited messages among those that are not known yet, the newest first, and returns those that it finds.
// Where no session came before the mail was sent it removes messages of earlier runs, too.
func (p *pop3Mailbox) find(c *pop3Client, awaited []*Submission) (found []pop3Message, missing []*Submission, err error) {
	list, err := c.list()
	if err != nil {
		return nil, nil, err
	}
	there := make(map[int]bool)
	p.skipped = 0
	for i, m := range slices.Backward(list) {
		if p.known[m.id] {
			continue
		}
		if p.examined++; p.examined > pop3Examined {
			p.skipped = i + 1
			break
		}
		header, err := c.header(m.number)
		if err != nil {
			return nil, nil, err
		}
		if header.Line(headerRun) != p.w.Run() {
			p.known[m.id] = true
			if p.sparse && header.Line(headerOrigin) == p.w.Origin() {
				if err := c.remove(m.number); err != nil {
					return nil, nil, err
				}
			}
			continue
		}
		number := ownNumber(header.Line(headerMessage))
		for _, s := range awaited {
			if s.Number == number {
				there[number] = true
				found = append(found, m)
			}
		}
	}
	slices.Reverse(found) // the oldest first
	for _, s := range awaited {
		if !there[s.Number] {
			missing = append(missing, s)
		}
	}
	return found, missing, nil
}

// uniqueIDs returns the unique ids of messages.
func uniqueIDs(list []pop3Message) []string {
	ids := make([]string, len(list))
	for i, m := range list {
		ids[i] = m.id
	}
	return ids
}

// await waits until s is in the mailbox and returns the unique ids of its copies.
func (p *pop3Mailbox) await(ctx context.Context, s *Submission, within time.Duration) (ids []string, err error) {
	start := time.Now()
	watch := p.mail.watchReturn(ctx, p.w, s)
	defer watch.end()
	var busy error // the server's last temporary refusal
	lag, err := awaitThere(ctx, within, pop3Gap, func(ctx context.Context) (bool, error) {
		err := p.another(ctx, func(c *pop3Client) error {
			found, _, err := p.find(c, []*Submission{s})
			ids = uniqueIDs(found)
			return err
		})
		if failure := (*steps.Failure)(nil); errors.As(err, &failure) && failure.Reason == result.ReasonDeferred && !errors.Is(err, errTooSoon) {
			busy, err = err, nil
		}
		if err == nil && len(ids) == 0 {
			err = watch.bounced()
		}
		return len(ids) > 0, err
	})
	if err == nil {
		s.lag = lag
		p.w.Measure("mail_detection_lag_seconds", "Maximum time between the arrival of the message and its detection by the step.", lag.Seconds())
		p.w.Measure("mail_delivery_seconds", "Time from the server's acceptance of the message until it was seen in the mailbox.", time.Since(s.Accepted).Seconds())
		return ids, nil
	}
	if errors.Is(err, errTooSoon) { // it demands a pause that it does not announce
		watch.end()
		p.sparse = true
		return p.awaitSparsely(ctx, s, within-time.Since(start))
	}
	if !errors.Is(err, errNotThere) {
		return nil, err
	}
	if busy != nil {
		return nil, busy
	}
	waited := time.Since(start)
	p.w.Untimed(func() { err = p.notReceived(ctx, s, waited, watch) })
	return nil, err
}

// seekAgain looks for s in a second way: in one more session it reads the headers of the newest messages again, whatever their
// unique ids, because servers may use an id again. found reports whether s is there. The error says why there was no look.
func (p *pop3Mailbox) seekAgain(ctx context.Context, s *Submission) (found bool, err error) {
	switch {
	case ctx.Err() != nil:
		return false, errors.New("no time was left")
	case p.sparse && time.Now().Before(p.nextLogin()):
		return false, errors.New("the server demands a pause between logins (LOGIN-DELAY)")
	}
	ctx, cancel := context.WithTimeout(ctx, lookAgainLimit)
	defer cancel()
	err = p.another(ctx, func(c *pop3Client) error {
		list, err := c.list()
		if err != nil {
			return err
		}
		for _, m := range list[max(0, len(list)-pop3Sweep):] {
			header, err := c.header(m.number)
			if err != nil {
				return err
			}
			if header.Line(headerRun) == p.w.Run() && ownNumber(header.Line(headerMessage)) == s.Number {
				found = true
				if err := c.remove(m.number); err != nil {
					return err
				}
			}
		}
		return nil
	})
	s.removed = s.removed || found && err == nil
	return found, err
}

// notReceived returns the failure for a missing message, after a look over POP3 and, where the account has it, one over IMAP, which
// shows the other folders too.
func (p *pop3Mailbox) notReceived(ctx context.Context, s *Submission, waited time.Duration, watch *returnWatch) error {
	found, err := p.seekAgain(ctx, s)
	if found {
		return steps.Fail(result.ReasonNotReceived, result.BlameAccess, "the message is in %s, but was not seen there within %s: it came just then, or the server gives it the unique id of an earlier message (RFC 1939 section 7)",
			p, wording.Seconds(waited))
	}
	looked, unseen := "looked again in one more session", err
	if err != nil {
		looked = "no second look over POP3: " + wording.OneLine(err.Error(), 200)
	}
	hint := ": POP3 only shows the INBOX, so check the folders and the mail log"
	if p.account.IMAP != "" {
		box := apartBox(p.w, p.account)
		seen := box.lookAgain(ctx, s, inbox)
		if seen.found {
			return p.seenOverIMAP(s, seen, box, waited)
		}
		if seen.err != nil {
			unseen = cmp.Or(unseen, seen.err)
			looked += "; a look over IMAP is not complete: " + wording.OneLine(seen.err.Error(), 200)
		} else {
			looked += ", and over IMAP" + seen.extent()
			hint = ": check the mail log"
		}
	}
	return watch.explain(ctx, lack.With(p.missing(s, waited, looked, hint), unseen))
}

// seenOverIMAP returns the failure for a message that POP3 does not show and IMAP does.
func (p *pop3Mailbox) seenOverIMAP(s *Submission, seen sighting, box *mailbox, waited time.Duration) error {
	if seen.folder.name == inbox {
		return steps.Fail(result.ReasonNotReceived, result.BlameAccess, "POP3 did not show the message in %s within %s, but it is in %s over IMAP", p, wording.Seconds(waited), box)
	}
	why := "a filter filed it there"
	if seen.folder.junk {
		why = "a filter took it for spam"
	}
	return steps.Fail(result.ReasonNotReceived, result.BlameFiltering, "the message is in %s, which POP3 does not show: %s; it was sent from %s and accepted by %s",
		box.folder(seen.folder.name), why, s.from.Address, s.Server)
}

// missing returns the failure for a message that is not there. looked says what else was looked at.
func (p *pop3Mailbox) missing(s *Submission, waited time.Duration, looked, hint string) error {
	only := ""
	if p.skipped > 0 {
		only = fmt.Sprintf(" (of which the %d oldest messages were not examined)", p.skipped)
	}
	return steps.Fail(result.ReasonNotReceived, result.BlameDelivery, "no message in %s%s after %s: %s accepted it%s at %s; %s%s",
		p, only, wording.Seconds(waited), s.Server, s.queued(), s.Accepted.UTC().Format("15:04:05.000 MST"), looked, hint)
}

// another runs a session after the first one. Its phases would mean nothing, so they are dropped.
func (p *pop3Mailbox) another(ctx context.Context, do func(*pop3Client) error) error {
	report := p.w.TakeReport()
	defer func() {
		p.w.TakeReport()
		p.w.AddReport(report)
	}()
	return p.session(ctx, do)
}

// remove deletes the messages with these unique ids. A message that is already gone is not an error.
func (p *pop3Mailbox) remove(ctx context.Context, ids []string) error {
	err := p.another(ctx, func(c *pop3Client) error {
		list, err := c.list()
		if err != nil {
			return err
		}
		for _, m := range list {
			if slices.Contains(ids, m.id) {
				if err := c.remove(m.number); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("the message may stay in %s until a later run removes it: %w", p, err)
	}
	return nil
}

// fetch reads the whole message with this unique id.
func (p *pop3Mailbox) fetch(ctx context.Context, id string) (raw []byte, err error) {
	err = p.another(ctx, func(c *pop3Client) error {
		list, err := c.list()
		if err != nil {
			return err
		}
		for _, m := range list {
			if m.id == id {
				raw, err = c.message(m.number)
				return err
			}
		}
		return steps.Fail(result.ReasonUnexpected, result.BlameAccess, "read the message from %s: it is gone; somebody else removed it", p)
	})
	return raw, err
}
