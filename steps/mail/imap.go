package mail

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/address"
	"github.com/stepwatch/stepwatch/steps/lack"
	"github.com/stepwatch/stepwatch/steps/mailhost"
	"github.com/stepwatch/stepwatch/steps/wording"
)

func init() {
	const (
		measures = "From the start of the step until the server reports the message. The mailbox is opened before the first " +
			"step of the scenario, outside this duration. The time for that is in the phases mailbox_dns, mailbox_connect, mailbox_tls, mailbox_greeting, " +
			"mailbox_starttls, mailbox_login and mailbox_select. Measures mail_detection_lag_seconds (by how much the duration is too long at most), " +
			"mail_delivery_seconds (from the acceptance of the message) and, from the message after this duration, mail_hop_seconds for each leg of its way " +
			"(submission, queue, transfer, inbox), mail_clock_skew_seconds for the host of each leg, mail_hops and mail_received_unreadable."
		does = "Waits until the last message sent to this account is in its INBOX. Fails when it is not there in time, when a filter put it into the spam folder, " +
			"when the mailbox cannot be read, and when the server ends the connection. A bounce in the sender's mailbox ends the wait and is the reason of the failure. Before it says that nothing came, it looks " +
			"again on a new connection, in the other folders too; that is no part of the duration. The message is removed afterwards, and so are messages that an earlier run of the " +
			"scenario left behind."
	)
	steps.Register(
		steps.Definition{
			Area: "mail", Sentence: `{account} receives it over IMAP within {duration}`,
			Does:     does + " Reads via port 993, TLS from the first byte (RFC 8314).",
			Measures: measures,
			Example:  `Then "bob" receives it over IMAP within 60s`,
			Waits:    true,
			Prepare:  prepareMailbox,
			Func:     receive,
		},
		steps.Definition{
			Area: "mail", Sentence: `{account} receives it over IMAP via {port} within {duration}`,
			Does:     does + " Port 993 is TLS from the first byte; 143 and any other port require STARTTLS.",
			Measures: measures,
			Example:  `Then "bob" receives it over IMAP via 143 within 60s`,
			Waits:    true,
			Prepare:  prepareMailbox,
			Func:     receive,
		},
	)
}

// mailboxOf returns the mailbox that a step reads and, if the step waits, for how long.
func mailboxOf(w *steps.World, a steps.Args) (box *mailbox, within time.Duration, err error) {
	account, port, within, err := waitOf(w, a, address.PortIMAPS)
	if err != nil {
		return nil, 0, err
	}
	return steps.State[Session](w).mailboxAt(w, account, account.IMAP, port), within, nil
}

// prepareLimit limits the time to open a mailbox, so that a silent IMAP server does not use up the time of the steps
// before the one that reads: those steps show whether the server accepts mail at all.
const prepareLimit = 15 * time.Second

func prepareMailbox(ctx context.Context, w *steps.World, a steps.Args) {
	if box, _, err := mailboxOf(w, a); err == nil { // the step itself reports a wrong argument
		box.prepare(ctx)
	}
}

// prepare opens the mailbox before the scenario's first step, unless it was opened already, and sweeps it. It keeps the
// error.
func (m *mailbox) prepare(ctx context.Context) {
	if m.client != nil || m.err != nil {
		return
	}
	limit := prepareLimit
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(deadline)/3)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	m.w.TakeReport() // the phases that follow are kept for the step that waits
	if m.err = m.open(ctx); m.err == nil {
		m.fresh = true
		m.sweepErr = m.sweep(ctx)
	}
	if m.err != nil {
		m.log.Attach(m.w, "imap transcript")
	}
	m.opening = m.w.TakeReport()
}

// receive runs "… receives it over IMAP".
func receive(ctx context.Context, w *steps.World, a steps.Args) error {
	box, within, err := mailboxOf(w, a)
	if err != nil {
		return err
	}
	return box.receive(ctx, within)
}

// receive waits for the last message sent to the account, which later steps then call "it".
func (m *mailbox) receive(ctx context.Context, within time.Duration) error {
	w := m.w
	m.reportOpening()
	if m.err != nil {
		return m.err
	}
	s, err := m.awaited(m.mail)
	if err != nil {
		return err
	}
	watch := m.mail.watchReturn(ctx, w, s)
	defer watch.end()
	if err := m.await(ctx, s, within, watch); err != nil {
		m.log.Attach(w, "imap transcript")
		return err
	}
	m.mail.Receive(w, m.arrival(s))
	return nil
}

// arrival returns s as it was found in the INBOX.
func (m *mailbox) arrival(s *Submission) *Arrival {
	uid := m.found[s.Number][0]
	return &Arrival{Account: m.account, sent: s, Where: m.String(), Folder: "INBOX", At: time.Now(), lag: s.lag, box: m, uid: uid,
		key:  fmt.Sprintf("UIDVALIDITY %d, UID %d", m.validity, uid),
		Read: func(ctx context.Context) ([]byte, error) { return m.fetchMessage(ctx, uid) }}
}

// reportOpening reports how the mailbox was opened, once, with the step that reads it.
func (m *mailbox) reportOpening() { reportOpening(m.w, &m.opening) }

func reportOpening(w *steps.World, opening *steps.Report) {
	for i := range opening.Phases {
		opening.Phases[i].Name = "mailbox_" + opening.Phases[i].Name
	}
	w.AddReport(*opening)
	*opening = steps.Report{}
}

const (
	// pollLongest is the longest pause between two questions to a server that answers at once. Half of it is the usual
	// error. IDLE would cause less traffic, but Dovecot delays its notifications by 500 ms, and by half a minute when
	// inotify is used up, without a warning. The wait would then report a number that is not the mail's.
	pollLongest = 20 * time.Millisecond

	// pollApart is the minimum time between the questions of all long waits of this process together. When a mail
	// server is in trouble all of them wait, and they must not add to its load.
	pollApart = 2500 * time.Microsecond

	// answerShare is the pause for a slow or distant server, as a multiple of the time that it takes to answer.
	answerShare = 4

	// lookGrace is the time limit for the answer to the last question before the deadline.
	lookGrace = 500 * time.Millisecond
)

// pollGap returns the pause between two questions of one of several waits, which has waited this long for a server that
// takes answer for one answer. A small part of the time waited so far keeps the error below what matters: 1 ms in half
// a second. The growth ends where it suits the server: one nearby is asked 50 times a second, which costs Dovecot 1.5 %
// of a core, one that is 50 ms away 4 times. After four minutes the pause grows again, because an hour's wait needs no
// such precision.
func pollGap(waited, answer time.Duration, waits int64) time.Duration {
	longest := max(pollLongest, answerShare*answer, time.Duration(waits)*pollApart, waited/12000)
	return max(min(waited/250, longest), 2*time.Millisecond)
}

// waiting is the number of current waits, in all runs of this process.
var waiting atomic.Int64

// await waits until s is in the mailbox, or watch reports that it came back. When the message does not come the
// connection stays open for the removal.
func (m *mailbox) await(ctx context.Context, s *Submission, within time.Duration, watch *returnWatch) error {
	start := time.Now()
	lag, err := awaitThere(ctx, within, 0, func(ctx context.Context) (bool, error) {
		err := m.look(ctx)
		_, found := m.found[s.Number]
		if !found && err == nil {
			err = watch.bounced()
		}
		return found, err
	})
	switch {
	case errors.Is(err, errNotThere):
		waited := time.Since(start)
		m.w.Untimed(func() { err = m.notReceived(ctx, s, waited, watch) })
		return err
	case err != nil:
		return err
	}
	m.measureDelivery(s, lag)
	return nil
}

// measureDelivery measures how long the message took that was found just now, and the error of that.
func (m *mailbox) measureDelivery(s *Submission, lag time.Duration) {
	s.lag = lag
	m.w.Measure("mail_detection_lag_seconds", "Maximum time between the arrival of the message and its detection by the step.", lag.Seconds())
	m.w.Measure("mail_delivery_seconds", "Time from the server's acceptance of the message until it was seen in the mailbox.", time.Since(s.Accepted).Seconds())
}

// smooth returns the new average of answer times. One slow answer changes it only in part.
func smooth(average, took time.Duration) time.Duration {
	if average == 0 {
		return took
	}
	return average + (took-average)/8
}

// notReceived returns the failure for a missing message, and where it is or what to look for. watch is nil if a bounce does not
// matter.
func (m *mailbox) notReceived(ctx context.Context, s *Submission, waited time.Duration, watch *returnWatch) error {
	seen := m.lookAgain(ctx, s, inbox)
	switch {
	case seen.found && seen.folder.name == inbox:
		return m.overlooked(ctx, s, seen, waited, "NOOP", func(ctx context.Context) bool { return m.look(ctx) == nil && len(m.found[s.Number]) > 0 })
	case seen.found:
		m.strayed = true
		if seen.folder.rejects {
			return watch.explainRefused(ctx, m.refusedInto(seen.folder, s))
		}
		why := "a filter filed it there"
		if seen.folder.junk {
			why = "a filter took it for spam"
		}
		return steps.Fail(result.ReasonNotReceived, result.BlameFiltering,
			"the message is in %s's folder %q at %s, not in the INBOX: %s; it was sent from %s and accepted by %s",
			m.account.Name, seen.folder.name, m.server(), why, s.from.Address, s.Server)
	}
	id, ask := "", "the message "+m.w.Run()
	if q := s.Reply.QueueID(); q != "" {
		id, ask = " as "+q, q
	}
	ask = ": look for " + ask + " in the mail log and the queue there"
	if mailhost.TakenBy(m.w.Target(), s.Server, mailhost.Traces) != nil {
		ask = "" // explain has done that
	}
	err := steps.Fail(result.ReasonNotReceived, result.BlameDelivery, "no message in %s after %s: %s accepted it%s at %s, %s%s%s; %s",
		m, wording.Seconds(waited), s.Server, id, s.Accepted.UTC().Format("15:04:05.000 MST"), cameMeanwhile(len(m.foreign)), seen.confirmation()+m.alerted(), ask, s.known(time.Now()))
	err = lack.With(err, seen.err)
	if watch == nil {
		return err
	}
	return watch.explain(ctx, err)
}
