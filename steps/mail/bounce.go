package mail

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/imapclient"
	"github.com/stepwatch/stepwatch/steps/lack"
	"github.com/stepwatch/stepwatch/steps/message"
	"github.com/stepwatch/stepwatch/steps/wording"
)

func init() {
	const (
		does = " about a message that this scenario sent from the account, recognised by the returned headers, the envelope id, the reference, " +
			"the queue id or the run's number anywhere in it. Reports are recognised by what they hold: the status part of RFC 3464 in a message of any type, or the text of a server " +
			"that writes no such part. Reads via port 993, TLS from the first byte. Fails when none comes in time, after a search of all folders on a new connection, and at once when the envelope of the message does not ask for such a report (NOTIFY, RFC 3461). Removes the report afterwards, and also one that came " +
			"after the end of an earlier run."
		measures = "From the start of the step to the arrival of the report. Measures mail_bounce_seconds (from the acceptance of the message) and " +
			"mail_detection_lag_seconds."
	)
	steps.Register(
		steps.Definition{
			Area: "mail", Sentence: `{account} receives a bounce within {duration}`,
			Does:     "Waits for a report with the action \"failed\" in the account's INBOX" + does,
			Measures: measures,
			Example:  `Then "alice" receives a bounce within 60s`,
			Waits:    true,
			Prepare:  prepareBounce,
			Func:     receiveReport("failed"),
		},
		steps.Definition{
			Area: "mail", Sentence: `{account} receives a delay notice within {duration}`,
			Does:     "Waits for a report with the action \"delayed\" in the account's INBOX" + does,
			Measures: measures,
			Example:  `Then "alice" receives a delay notice within 10 minutes`,
			Waits:    true,
			Prepare:  prepareBounce,
			Func:     receiveReport("delayed"),
		},
		steps.Definition{
			Area: "mail", Sentence: `{account} receives a delivery confirmation within {duration}`,
			Does: "Waits for a report with the action \"delivered\", \"relayed\" or \"expanded\" in the account's INBOX" + does +
				" Servers send one only for mail that requests it (NOTIFY=SUCCESS, RFC 3461).",
			Measures: measures,
			Example:  `Then "alice" receives a delivery confirmation within 60s`,
			Waits:    true,
			Prepare:  prepareBounce,
			Func:     receiveReport("delivered", "relayed", "expanded"),
		},
		steps.Definition{
			Area: "mail", Sentence: `the bounce says {text}`,
			Does: "Fails unless the last received report has this status (5.1.1), or contains this text in the refusing server's answer or in its own readable text. " +
				"Case is ignored.",
			Example: `Then the bounce says "5.1.1"`,
			Func:    bounceSays,
		},
		steps.Definition{
			Area: "mail", Sentence: `the bounce names the host {text}`,
			Does:    "Fails unless this host caused the last received report: the host that refused the message (Remote-MTA). If the report names no such host, the reporter itself may have refused it and counts.",
			Example: `Then the bounce names the host "mx.example.org"`,
			Func:    bounceNames,
		},
	)
}

// bounces holds the reports that the scenario received.
type bounces struct{ received []receivedReport }

type receivedReport struct {
	*message.Report
	to message.Recipient // the first with an awaited action
}

func prepareBounce(ctx context.Context, w *steps.World, a steps.Args) {
	prepareMailbox(ctx, w, a)
	box, _, err := mailboxOf(w, a)
	if err != nil || box.client == nil || box.err != nil {
		return // the step reports it
	}
	ctx, cancel := context.WithTimeout(ctx, prepareLimit)
	defer cancel()
	box.bounces = true
	box.sweepErr = errors.Join(box.sweepErr, box.sweepReports(ctx))
}

// sweepReports removes reports about messages of earlier runs of this scenario. Before the first step it removes the
// existing ones, in the cleanup those that came later.
func (m *mailbox) sweepReports(ctx context.Context) error {
	uids, err := m.searchReports(ctx, m.w.Origin())
	if err != nil {
		return err
	}
	reports, err := m.readReports(ctx, uids[max(0, len(uids)-sweptReports):])
	if err != nil {
		return err
	}
	return m.remove(ctx, slices.Sorted(maps.Keys(reports)))
}

// sweptReports is the number of the newest messages about a scenario that one sweep reads.
const sweptReports = 100

// searchReports returns the messages of the last two days that contain this token: reports that return a message, answers
// to it, and the message itself.
func (m *mailbox) searchReports(ctx context.Context, token string) (uids []imapclient.UID, err error) {
	// TEXT, because Dovecot does not count the header of a returned message as part of BODY.
	return m.find(ctx, imapclient.Text(token))
}

func receiveReport(actions ...string) func(context.Context, *steps.World, steps.Args) error {
	return func(ctx context.Context, w *steps.World, a steps.Args) error {
		box, within, err := mailboxOf(w, a)
		if err != nil {
			return err
		}
		box.reportOpening()
		if box.err != nil {
			return box.err
		}
		var sent []*Submission
		for _, s := range steps.State[Session](w).Sent {
			if s.from == box.account && s.sent {
				sent = append(sent, s)
			}
		}
		if len(sent) == 0 {
			return steps.FailScenario("nothing was sent from %q before this step: begin with \"I send a message from %q to … via …\"", box.account.Name, box.account.Name)
		}
		if !slices.ContainsFunc(sent, func(s *Submission) bool { return s.asksFor(actions) }) {
			return notAsked(sent[len(sent)-1], event(actions[0]))
		}
		if box.client == nil {
			return steps.Fail(result.ReasonInternal, result.BlameMonitor, "the mailbox of %q was not opened before the first step", box.account.Name)
		}
		if err := box.awaitReport(ctx, sent, within, actions); err != nil {
			box.log.Attach(w, "imap transcript")
			return err
		}
		return nil
	}
}

// notAsked returns the scenario's mistake when a step waits for a report that no message asked for.
func notAsked(s *Submission, event string) error {
	asked := "does not say NOTIFY"
	if s.notify != "" {
		asked = "says NOTIFY=" + s.notify
	}
	return steps.FailScenario("no server reports that on the message to %s, because its envelope %s (RFC 3461 section 4.1): add the row | NOTIFY | %s | to the step that sends it",
		s.To.Address, asked, event)
}

// awaitReport waits for a report about one of the sent messages with one of these actions.
func (m *mailbox) awaitReport(ctx context.Context, sent []*Submission, within time.Duration, actions []string) error {
	start := time.Now()
	examined := make(map[imapclient.UID]bool)
	var others []receivedReport // about the same messages, with another action
	var strange *receivedReport // about the same recipient, and about no known message
	judge := func(report *message.Report) (ours, awaited bool) {
		number := aboutOurs(report, m.w.Run(), sent)
		if number == 0 {
			if got := aboutNothing(report, sent); got != nil {
				strange = got
			}
			return false, false
		}
		for _, to := range report.Recipients {
			got := receivedReport{report, to}
			if !slices.Contains(actions, to.Action) {
				others = append(others, got)
				continue
			}
			for _, s := range sent {
				if s.Number == number {
					s.returned = to.Action == "failed"
					m.w.Measure("mail_bounce_seconds", "Time from the server's acceptance of the message until the report on it was seen.", time.Since(s.Accepted).Seconds())
				}
			}
			received := steps.State[bounces](m.w)
			received.received = append(received.received, got)
			return true, true
		}
		return true, false
	}
	take := func(reports map[imapclient.UID]*message.Report) bool {
		for _, uid := range slices.Sorted(maps.Keys(reports)) {
			ours, awaited := judge(reports[uid])
			if ours {
				m.reports = append(m.reports, uid)
			}
			if awaited {
				return true
			}
		}
		return false
	}
	lag, err := awaitThere(ctx, within, 5*time.Millisecond, func(ctx context.Context) (bool, error) {
		if err := m.look(ctx); err != nil {
			return false, err
		}
		reports, err := m.newReports(ctx, examined)
		return err == nil && take(reports), err
	})
	if err == nil {
		m.w.Measure("mail_detection_lag_seconds", "Maximum time between the arrival of the message and its detection by the step.", lag.Seconds())
		return nil
	}
	if !errors.Is(err, errNotThere) {
		return err
	}
	waited := time.Since(start)
	var seen sighting
	m.w.Untimed(func() { seen = m.reportsAgain(ctx, judge) })
	switch {
	case seen.found && seen.folder.name == inbox:
		m.w.Note("seen after the time was over, by a search on a new connection: it came just then, or the server did not announce it on the connection that was open")
		return nil
	case seen.found:
		return steps.Fail(result.ReasonNotReceived, result.BlameFiltering, "the report is in %s, not in the INBOX: a filter filed it there", m.folder(seen.folder.name))
	}
	last := sent[len(sent)-1]
	said := "no report on it came"
	switch {
	case len(others) > 0:
		said = fmt.Sprintf("the report that came says %s: %s", wording.OneLine(others[0].to.Action, 40), others[0].Reason(others[0].to))
	case strange != nil:
		said += fmt.Sprintf("; a report about <%s> came that names no message, so whose message it is about is unknown: %s", wording.OneLine(strange.to.Address, 100), strange.Reason(strange.to))
	}
	err = steps.Fail(result.ReasonNotReceived, result.BlameQueue, "no report %q in %s after %s: %s accepted the message to %s%s, %s%s",
		strings.Join(actions, " or "), m, wording.Seconds(waited), last.Server, last.To.Address, last.queued(), said, seen.confirmation())
	return lack.With(err, seen.err)
}

// queued returns the queue id from the server's answer, worded for a message, or an empty string.
func (s *Submission) queued() string {
	if id := s.Reply.QueueID(); id != "" {
		return " as " + id
	}
	return ""
}

// reportLimit is the maximum number of bytes read of a report. The machine-readable part comes before the returned
// message.
const reportLimit = 512 << 10

// reportsAtOnce is how many of them are in one answer, which has a limit, too.
const reportsAtOnce = 8

// setOf returns these messages as a set.
func setOf(uids []imapclient.UID) map[imapclient.UID]bool {
	set := make(map[imapclient.UID]bool, len(uids))
	for _, uid := range uids {
		set[uid] = true
	}
	return set
}

// newReports reads the reports among the new messages. Of other people's mail it reads only a few header fields.
func (m *mailbox) newReports(ctx context.Context, examined map[imapclient.UID]bool) (map[imapclient.UID]*message.Report, error) {
	var fresh []imapclient.UID
	var likely []imapclient.UID
	for uid := range m.foreign {
		if !examined[uid] {
			fresh = append(fresh, uid)
		}
	}
	if len(fresh) == 0 {
		return nil, nil
	}
	unlikely := 0
	for _, set := range imapclient.SetsOf(fresh) {
		messages, err := m.client.Fetch(ctx, set, imapclient.HeaderFields(message.ReportFields...))
		if err != nil {
			return nil, m.failure(ctx, err)
		}
		for _, found := range messages {
			if !m.foreign[found.UID] || !found.HasBody {
				continue
			}
			examined[found.UID] = true
			header, _ := message.Read(found.Body)
			if message.MayBeReport(header) {
				likely = append(likely, found.UID)
			} else {
				unlikely++
			}
		}
	}
	if unlikely > 0 { // a report may look like any other message, but it returns something of ours
		about, err := m.searchReports(ctx, m.w.Run())
		if err != nil {
			return nil, err
		}
		wanted, taken := setOf(fresh), setOf(likely)
		for _, uid := range about {
			if wanted[uid] && !taken[uid] {
				likely, taken[uid] = append(likely, uid), true
			}
		}
	}
	return m.readReports(ctx, likely)
}

// readReports reads those of these messages that are reports.
func (m *mailbox) readReports(ctx context.Context, uids []imapclient.UID) (map[imapclient.UID]*message.Report, error) {
	reports := make(map[imapclient.UID]*message.Report)
	for some := range slices.Chunk(uids, reportsAtOnce) {
		messages, err := m.client.Fetch(ctx, imapclient.Set(some...), imapclient.Beginning(reportLimit))
		if err != nil {
			return nil, m.failure(ctx, err)
		}
		for _, fetched := range messages {
			if report, err := message.ParseReport(fetched.Body); err == nil {
				reports[fetched.UID] = report
			}
		}
	}
	return reports, nil
}

// reportsAnywhere reads the reports among all messages of the last days that contain the run's token, whether the server
// announced them or not.
func (m *mailbox) reportsAnywhere(ctx context.Context) (map[imapclient.UID]*message.Report, error) {
	uids, err := m.searchReports(ctx, m.w.Run())
	if err != nil {
		return nil, err
	}
	judged := setOf(m.reports)
	uids = slices.DeleteFunc(uids, func(uid imapclient.UID) bool { return judged[uid] })
	return m.readReports(ctx, uids[max(0, len(uids)-sweptReports):])
}

// lastReport returns the report that later steps call "the bounce".
func lastReport(w *steps.World) (receivedReport, error) {
	received := steps.State[bounces](w).received
	if len(received) == 0 {
		return receivedReport{}, steps.FailScenario("no bounce was received before this step: begin with \"… receives a bounce within …\"")
	}
	return received[len(received)-1], nil
}

func bounceSays(_ context.Context, w *steps.World, a steps.Args) error {
	r, err := lastReport(w)
	if err != nil {
		return err
	}
	want := strings.ToLower(a.Text(0))
	if message.StatusCode.FindString(want) == want && want != "" { // a status: 5.1.1 is not 5.1.10
		if r.to.Status == want || r.to.Stated == want || slices.Contains(message.StatusCode.FindAllString(r.to.Diagnostic, -1), want) {
			return nil
		}
	} else if strings.Contains(strings.ToLower(r.to.Diagnostic), want) || strings.Contains(strings.ToLower(strings.Join(strings.Fields(r.Text), " ")), want) {
		return nil
	}
	return steps.Fail(result.ReasonUnexpected, r.blame(), "the bounce does not say %q: %s", a.Text(0), r.Reason(r.to))
}

func bounceNames(_ context.Context, w *steps.World, a steps.Args) error {
	r, err := lastReport(w)
	if err != nil {
		return err
	}
	host, _, _ := strings.Cut(r.to.Remote, " ") // some servers write the address after it
	reporter, _, _ := strings.Cut(r.Reporter, " ")
	named := func(host string) bool {
		return host != "" && strings.EqualFold(strings.TrimSuffix(host, "."), a.Text(0))
	}
	switch {
	case named(host), host == "" && named(reporter):
		return nil
	case host == "":
		return steps.Fail(result.ReasonUnexpected, r.blame(), "the bounce names no host that refused the message, wanted %q: %s", a.Text(0), r.Reason(r.to))
	}
	return steps.Fail(result.ReasonUnexpected, r.blame(), "the bounce was caused by %q, wanted %q: %s", wording.OneLine(host, 100), a.Text(0), r.Reason(r.to))
}

// aboutOurs returns the number of the run's message that the report is about, or 0 if it is about another message. It
// checks the returned header first. A report without one is identified by the envelope id, by the message that it
// references, by the queue id in the server's reply, or by the run's token anywhere in it.
func aboutOurs(r *message.Report, run string, sent []*Submission) int {
	if run == "" {
		return 0
	}
	for _, s := range sent {
		id := MessageID(run, s.Number)
		ours := strings.TrimSpace(r.Original.Line(headerRun)) == run && ownNumber(r.Original.Line(headerMessage)) == s.Number ||
			strings.Contains(r.Original.Line("Message-ID"), "<"+id+"@") ||
			strings.Contains(r.References, "<"+id+"@") ||
			r.EnvelopeID == id || strings.HasPrefix(r.EnvelopeID, id+"@") ||
			r.Original == nil && r.QueueID != "" && r.QueueID == s.Reply.QueueID()
		if ours {
			return s.Number
		}
	}
	if !r.Quotes(run) || r.Original.Line(headerRun) != "" {
		return 0
	}
	numbered := false // whether it quotes the number of a message
	for _, m := range regexp.MustCompile(regexp.QuoteMeta(run)+`\.(\d{1,9})\b`).FindAllStringSubmatch(r.Content(), -1) {
		numbered = true
		for _, s := range sent {
			if strconv.Itoa(s.Number) == m[1] {
				return s.Number
			}
		}
	}
	if numbered || len(sent) == 0 {
		return 0
	}
	for _, s := range sent {
		if s.To != nil && slices.ContainsFunc(r.Recipients, func(to message.Recipient) bool { return strings.EqualFold(to.Address, s.To.Address) }) {
			return s.Number
		}
	}
	return sent[len(sent)-1].Number
}

// aboutNothing returns the outcome for the recipient of one of the sent messages in a report that names no message: not
// all servers return one. It may be about a message of somebody else.
func aboutNothing(r *message.Report, sent []*Submission) *receivedReport {
	if r.Original != nil || strings.TrimSpace(r.References) != "" || r.EnvelopeID != "" || r.QueueID != "" {
		return nil
	}
	for _, to := range r.Recipients {
		for _, s := range sent {
			if to.Address != "" && strings.EqualFold(to.Address, s.To.Address) {
				return &receivedReport{r, to}
			}
		}
	}
	return nil
}
