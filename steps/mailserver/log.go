// Package mailserver holds the sentences about a mail server's queue and log.
package mailserver

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/mailhost"
	"github.com/stepwatch/stepwatch/steps/maillog"
	"github.com/stepwatch/stepwatch/steps/wording"
)

func init() {
	steps.RegisterArea(steps.Area{Name: "log", Title: "Mail log", Place: 60})
	steps.Register(steps.Definition{
		Area: "log", Sentence: `I read the mail log of {host}`,
		Does: "Reads what Postfix, Dovecot, Exim, OpenSMTPD, sendmail, Courier, Cyrus and OpenDKIM logged since the last read by any scenario or process, across rotation. " +
			"The first time it reads the last 48 hours. A log that is unreadable, is empty, or has no line of these servers fails the step, and the run is UNKNOWN. " +
			"Lines of these servers in a wording that is not known are counted, and the step names the servers. " +
			"A sentence about the log is UNKNOWN when its verdict depends on such lines, or when no server wrote to the log that could have logged what the sentence looks for.",
		Measures: "mail_log_lines by class (mail, foreign: of other programs, unknown: not a log line), all since the first read, " +
			"mail_log_age_seconds, the age of the newest line, and mail_log_unread_lines by daemon, the lines in a wording that is not known.",
		Example: `When I read the mail log of "mx1"`,
		Func:    readMailLog,
	})
	for _, r := range mailRatios {
		steps.Register(
			steps.Definition{
				Area: "log", Sentence: `less than {number}% ` + r.verb + ` in the last {duration}`,
				Does:     "Judges the last log read: fails when " + r.does + " With none at all it passes and says so.",
				Measures: r.measures(),
				Example:  `Then less than 5% ` + r.verb + ` in the last 60 minutes`,
				Func: func(_ context.Context, w *steps.World, a steps.Args) error {
					return r.judge(w, a.Text(0), "1", a.Text(1))
				},
			},
			steps.Definition{
				Area: "log", Sentence: `less than {number}% of at least {int} ` + r.verb + ` in the last {duration}`,
				Does:     "Judges the last log read: fails when " + r.does + " With fewer than this number it passes and says so, because one of three proves nothing.",
				Measures: r.measures(),
				Example:  `Then less than 5% of at least 20 ` + r.verb + ` in the last 60 minutes`,
				Func: func(_ context.Context, w *steps.World, a steps.Args) error {
					return r.judge(w, a.Text(0), a.Text(1), a.Text(2))
				},
			},
		)
	}
	steps.Register(
		steps.Definition{
			Area: "log", Sentence: `fewer than {int} logins were refused in the last {duration}`,
			Does: "Judges the last log read: fails when a server refused a wrong name or password this often. Names the addresses with the most refusals. " +
				"Logins that nobody judged, because an authentication service or its account lookup failed, count too, and the failure then names that service; " +
				"so do refusals of another server at that time, if both log to this file or the scenario read both logs. " +
				"A login that was refused before a password was judged, for lack of TLS or for its mechanism, does not count.",
			Measures: "mail_log_logins_refused, mail_log_logins_refused_worst, the number of the worst address, and mail_log_logins_unjudged.",
			Example:  `Then fewer than 100 logins were refused in the last 10 minutes`,
			Func:     fewLoginsRefused,
		},
		steps.Definition{
			Area: "log", Sentence: `fewer than {int} logins were refused from any one address in the last {duration}`,
			Does: "Judges the last log read: fails when an IP address was refused this often for wrong names or passwords. The time is at most 2 hours. " +
				"Logins that nobody judged count as in the sentence without \"from any one address\".",
			Measures: "mail_log_logins_refused, mail_log_logins_refused_worst, the number of the worst address, and mail_log_logins_unjudged.",
			Example:  `Then fewer than 20 logins were refused from any one address in the last 10 minutes`,
			Func:     fewLoginsRefusedFromOne,
		},
		steps.Definition{
			Area: "log", Sentence: `fewer than {int} messages were rejected in the last {duration}`,
			Does:     "Judges the last log read: fails when clients were refused this often, temporarily or permanently. Each refused command or message counts.",
			Measures: "mail_log_rejected.",
			Example:  `Then fewer than 500 messages were rejected in the last 10 minutes`,
			Func:     fewRejected,
		},
		steps.Definition{
			Area: "log", Sentence: `fewer than {int} messages were rejected with {status} in the last {duration}`,
			Does: "Judges the last log read: fails when clients were refused this often with this reply code or enhanced status code. " +
				"Exim logs no code for most of its own refusals. They count as 550, or as 451 when temporary.",
			Measures: "mail_log_rejected.",
			Example:  `Then fewer than 50 messages were rejected with 554 in the last 10 minutes`,
			Func:     fewRejected,
		},
		steps.Definition{
			Area: "log", Sentence: `at least {number}% of incoming mail connections used TLS in the last {duration}`,
			Does: "Judges the last log read: fails when a smaller share of the SMTP connections that began a message was encrypted. With none at all it passes and says so. " +
				"Exim's connections count by message. For ports with TLS from the first byte Postfix needs smtpd_tls_loglevel = 1, or a syslog_name with submissions or smtps in it.",
			Measures: "mail_log_tls_ratio and mail_log_tls_connections, their total number, by direction.",
			Example:  `Then at least 95% of incoming mail connections used TLS in the last 24 hours`,
			Func:     incomingTLS,
		},
		steps.Definition{
			Area: "log", Sentence: `at least {number}% of outgoing deliveries used TLS in the last {duration}`,
			Does: "Judges the last log read: fails when a smaller share of the deliveries to other hosts was encrypted. Each recipient counts. With none at all it passes and says so. " +
				"Postfix needs smtp_tls_loglevel = 1.",
			Measures: "mail_log_tls_ratio and mail_log_tls_connections, their total number, by direction.",
			Example:  `Then at least 95% of outgoing deliveries used TLS in the last 24 hours`,
			Func:     outgoingTLS,
		},
		steps.Definition{
			Area: "log", Sentence: `the mail log has a line of the last {duration}`,
			Does:    "Judges the last log read: fails when no mail server wrote to it for longer. A log without new lines shows no bounces either.",
			Example: `And the mail log has a line of the last 15 minutes`,
			Func:    logIsAlive,
		},
	)
}

// mailLog is the log that a scenario judges.
type mailLog struct {
	host    *steps.Host
	reading *maillog.Reading
	beside  []*maillog.Reading // other logs that the scenario read, which may say why
}

func readMailLog(ctx context.Context, w *steps.World, a steps.Args) error {
	host, err := w.Target().Host(a.Text(0))
	if err != nil {
		return err
	}
	log, err := mailhost.OpenLog(w.Target(), host)
	if err != nil {
		return err
	}
	state := steps.State[mailLog](w)
	if state.reading != nil && state.host != host {
		state.beside = append(state.beside, state.reading)
	}
	state.reading = nil
	r, err := log.CatchUp(ctx)
	if err != nil {
		return mailhost.FailLog(host, err)
	}
	state.host, state.reading = host, r
	mail, foreign, unknown := r.LinesOf()
	const help = "Lines of the log since the first read: of mail servers, of other programs, and those that are not log lines."
	for _, c := range []struct {
		class string
		n     int64
	}{{"mail", mail}, {"foreign", foreign}, {"unknown", unknown}} {
		w.Measure("mail_log_lines", help, float64(c.n), result.Label{Name: "class", Value: c.class})
	}
	w.Measure("mail_log_age_seconds", "Age of the newest line of a mail server in the log.", r.At.Sub(r.Newest()).Seconds())
	unread := r.Unread()
	for _, t := range unread {
		w.Measure("mail_log_unread_lines", "Lines of a mail server in a wording that is not known, by daemon.", float64(t.N), result.Label{Name: "daemon", Value: t.Name})
	}
	if len(unread) > 0 {
		w.Note("lines in a wording that is not known: " + tallies(unread, 5))
	}
	if from, to, lost := r.Lost(maillog.Kept); lost {
		w.Note(fmt.Sprintf("lines between %s and %s may be missing or counted twice", logTime(from), logTime(to)))
	}
	return nil
}

func logTime(t time.Time) string { return t.Format("2006-01-02 15:04:05") }

// judged returns the last log read and the window of a sentence. It fails if not every line in the window was counted
// exactly once: the numbers would be wrong.
func judged(w *steps.World, window string) (*maillog.Reading, time.Duration, error) {
	r, d, err := windowed(w, window)
	if err != nil {
		return nil, 0, err
	}
	if from, to, lost := r.Lost(d); lost {
		return nil, 0, steps.Fail(result.ReasonUnexpected, result.BlameMonitor, "the result is unknown: lines between %s and %s may be missing or counted twice, because %s was rotated before or during the read: "+
			"read it more often, or keep rotated files longer", logTime(from), logTime(to), r.Source)
	}
	return r, d, nil
}

// windowed returns the last log read and the window of a sentence, without that check.
func windowed(w *steps.World, window string) (*maillog.Reading, time.Duration, error) {
	r := steps.State[mailLog](w).reading
	if r == nil {
		return nil, 0, steps.FailScenario("no mail log was read before this step: begin with \"I read the mail log of …\"")
	}
	d, err := steps.ParseDuration(window)
	if err != nil {
		return nil, 0, err
	}
	if d > maillog.Kept || d <= 0 {
		return nil, 0, steps.FailScenario("a mail log is not remembered for %s: write at most %d hours", window, int(maillog.Kept.Hours()))
	}
	return r, d, nil
}

// mailRatio is a share of recipients.
type mailRatio struct {
	verb, of, does    string
	name              string
	deferred, bounced bool // which failures are named
	count             func(r *maillog.Reading, window time.Duration) (n, of int)
}

func (r mailRatio) measures() string {
	return "mail_log_" + r.name + "_ratio, unless there are no recipients, and mail_log_recipients, their total number."
}

// outcomes counts the results of recipients. The log does not list expired recipients one by one, so an expired message
// counts once.
func outcomes(r *maillog.Reading, window time.Duration) (sent, deferred, bounced int) {
	return r.Count(maillog.KindSent, window), r.Count(maillog.KindDeferred, window),
		r.Count(maillog.KindBounced, window) + r.Count(maillog.KindExpired, window)
}

var mailRatios = []mailRatio{
	{"bounced", "recipients with a final outcome", "this share of the recipients with a final outcome, delivered or given up, bounced.", "bounced", false, true,
		func(r *maillog.Reading, window time.Duration) (int, int) {
			sent, _, bounced := outcomes(r, window)
			return bounced, sent + bounced
		}},
	{"failed", "deliveries", "this share of the attempts to deliver to a recipient failed, temporarily or permanently. Each attempt counts.", "failed", true, true,
		func(r *maillog.Reading, window time.Duration) (int, int) {
			sent, deferred, bounced := outcomes(r, window)
			return deferred + bounced, sent + deferred + bounced
		}},
	{"were deferred", "deliveries", "this share of the attempts to deliver to a recipient was deferred. Each attempt counts.", "deferred", true, false,
		func(r *maillog.Reading, window time.Duration) (int, int) {
			sent, deferred, bounced := outcomes(r, window)
			return deferred, sent + deferred + bounced
		}},
}

func (r mailRatio) judge(w *steps.World, percent, least, window string) error {
	log, d, err := judged(w, window)
	if err != nil {
		return err
	}
	limit, err := steps.ParsePercentage(percent)
	if err != nil {
		return err
	}
	enough, err := strconv.Atoi(least)
	if err != nil {
		return steps.FailScenario("%q is not a valid whole number", least)
	}
	n, of := r.count(log, d)
	thrown := ""
	if n := log.Count(maillog.KindDiscarded, d); n > 0 {
		thrown = fmt.Sprintf("; %s thrown away besides, as configured", counted(n, "message was", "messages were"))
	}
	w.Measure("mail_log_recipients", "Total number of recipients or attempts for the ratio of the same step.", float64(of))
	if of > 0 {
		w.Measure("mail_log_"+r.name+"_ratio", "Share of recipients or attempts that "+r.verb+", 0 to 1.", float64(n)/float64(of))
	}
	unread, unknown := unread(log, maillog.SubjectDeliveries, d, window)
	said := fmt.Sprintf("%d of %d %s %s in the last %s", n, of, r.of, r.verb, window)
	if of < max(enough, 1) {
		w.Note(said + ": too few to judge" + thrown)
		if of+unread >= max(enough, 1) {
			return unknown
		}
		return answers(log, maillog.SubjectDeliveries, d)
	}
	said += fmt.Sprintf(" (%s%%)", wording.Percent(n, of))
	if to := log.FailedTo(d, r.deferred, r.bounced); len(to) > 0 {
		said += ", most failures: " + tallies(to, 3)
	}
	w.Note(said + thrown)
	exceeds := func(n, of int) bool { return float64(n)*100 >= limit*float64(of) && n > 0 }
	if exceeds(n+unread, of+unread) != exceeds(n, of+unread) { // it depends on what those were
		return unknown
	}
	if exceeds(n, of) {
		return steps.Fail(result.ReasonUnexpected, result.BlameTransfer, "%s, wanted less than %s%%: %s says why", said, percent, log.Source)
	}
	return nil
}

// tallies names the first few: "dead.example 12, late.example 3 and 4 more".
func tallies(list []maillog.Tally, most int) string {
	var parts []string
	for _, t := range list[:min(most, len(list))] {
		parts = append(parts, fmt.Sprintf("%s %d", wording.OneLine(t.Name, 100), t.N))
	}
	text := strings.Join(parts, ", ")
	if more := len(list) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

func fewLoginsRefused(_ context.Context, w *steps.World, a steps.Args) error {
	r, d, err := judged(w, a.Text(1))
	if err != nil {
		return err
	}
	limit, err := a.Int(0)
	if err != nil {
		return err
	}
	l := refusedLogins(w, r, d, a.Text(1))
	unread, unknown := unread(r, maillog.SubjectRefusals, d, a.Text(1))
	switch {
	case l.certain() >= limit:
		return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "%s, wanted fewer than %d: somebody guesses passwords, or a program has an old password%s", l.said, limit, l.doubt)
	case l.certain()+l.failing() >= limit:
		return l.fail(limit, "")
	case l.certain()+l.failing()+unread >= limit:
		return unknown
	}
	return answers(r, maillog.SubjectRefusals, d)
}

// logins are the logins of a log that did not succeed, in words.
type logins struct {
	maillog.Logins
	said, window string
	faults       []string // of authentication services
	doubt        string   // another cause of the refusals, which this log cannot show
}

// certain returns the number of logins that were refused for a wrong name or password.
func (l *logins) certain() int { return l.Refused - l.Doubtful }

// failing returns the number of logins whose password nobody judged.
func (l *logins) failing() int { return l.Doubtful + l.Unjudged }

// services names the services that failed.
func (l *logins) services() string {
	if len(l.faults) == 0 {
		return "the log of the authentication service"
	}
	var said []string
	for _, fault := range l.faults[:min(len(l.faults), 2)] {
		said = append(said, wording.OneLine(fault, 200))
	}
	text := strings.Join(said, "; ")
	if more := len(l.faults) - len(said); more > 0 {
		text += fmt.Sprintf(", and %d more", more)
	}
	return text
}

// fail returns the failure for logins that nobody judged. who is the address that they came from, or empty.
func (l *logins) fail(limit int, who string) error {
	n, from := l.failing(), ""
	if who != "" {
		n, from = l.Failing[0].N, " of "+who
	}
	wanted := fmt.Sprintf("wanted fewer than %d", limit)
	if n < limit {
		wanted = fmt.Sprintf("and %d were refused, wanted fewer than %d together", l.certain(), limit)
	}
	return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "nobody judged the password of %s%s in the last %s, because a service failed, %s: look at %s",
		counted(n, "login", "logins"), from, l.window, wanted, l.services())
}

// refusedLogins measures the logins that did not succeed, and describes them.
func refusedLogins(w *steps.World, r *maillog.Reading, window time.Duration, text string) *logins {
	beside := steps.State[mailLog](w).beside
	l := &logins{Logins: r.Logins(window, beside...), window: text, faults: r.Faults(window)}
	for _, other := range beside {
		l.faults = append(l.faults, other.Faults(window)...)
	}
	w.Measure("mail_log_logins_refused", "Number of logins refused for a wrong name or password.", float64(l.certain()))
	w.Measure("mail_log_logins_unjudged", "Number of logins whose password nobody judged, because a service failed.", float64(l.failing()))
	worst := 0
	if len(l.From) > 0 {
		worst = l.From[0].N
	}
	w.Measure("mail_log_logins_refused_worst", "Number of refused logins of the address with the most refusals, in at most the last two hours.", float64(worst))
	l.said = fmt.Sprintf("%d logins were refused in the last %s", l.certain(), text)
	if len(l.From) > 0 {
		l.said += ", most from " + tallies(l.From, 3)
	}
	note := l.said
	if n := l.failing(); n > 0 {
		note += fmt.Sprintf(", and nobody judged the password of %s more, because a service failed", counted(n, "login", "logins"))
		note += ": " + l.services()
	}
	if l.Incomplete > 0 {
		note += fmt.Sprintf(", and %s came without TLS or by a mechanism that is not offered, or gave up, before a password was judged", counted(l.Incomplete, "login", "logins"))
	}
	w.Note(note)
	if asksAnother(r, beside) {
		l.doubt = ", or the account lookup is down, which Postfix logs as a refusal: the log of Dovecot or saslauthd shows it"
	}
	return l
}

// asksAnother reports whether the refusals are Postfix's, and no log at hand is that of the service that it asks.
func asksAnother(r *maillog.Reading, beside []*maillog.Reading) bool {
	for _, each := range append([]*maillog.Reading{r}, beside...) {
		if each.Has("dovecot") || each.Has("saslauthd") {
			return false
		}
	}
	return r.Has("postfix")
}

func fewLoginsRefusedFromOne(_ context.Context, w *steps.World, a steps.Args) error {
	r, d, err := judged(w, a.Text(1))
	if err != nil {
		return err
	}
	limit, err := a.Int(0)
	if err != nil {
		return err
	}
	if d > maillog.Detailed {
		return steps.FailScenario("addresses are kept for %d hours only: shorten %q", int(maillog.Detailed.Hours()), a.Text(1))
	}
	l := refusedLogins(w, r, d, a.Text(1))
	unread, unknown := unread(r, maillog.SubjectRefusals, d, a.Text(1))
	worst := 0
	if len(l.From) > 0 {
		worst = l.From[0].N
	}
	switch {
	case worst >= limit:
		return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "%d logins of %s were refused in the last %s, wanted fewer than %d from any one address: ban it, or fix the program there that has an old password%s",
			worst, l.From[0].Name, a.Text(1), limit, l.doubt)
	case len(l.Failing) > 0 && l.Failing[0].N >= limit:
		return l.fail(limit, l.Failing[0].Name)
	case l.Nowhere >= limit:
		return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "%s, and the addresses of %d of them are unknown, because there were too many addresses or the log names none", l.said, l.Nowhere)
	case worst+unread >= limit:
		return unknown
	}
	return answers(r, maillog.SubjectRefusals, d)
}

func fewRejected(_ context.Context, w *steps.World, a steps.Args) error {
	window := a.Text(len(a.Captured) - 1)
	r, d, err := judged(w, window)
	if err != nil {
		return err
	}
	limit, err := a.Int(0)
	if err != nil {
		return err
	}
	n, with := r.Count(maillog.KindRejected, d), ""
	if len(a.Captured) == 3 {
		n, with = r.Rejected(a.Text(1), d), " with "+a.Text(1)
	}
	w.Measure("mail_log_rejected", "Number of refused commands or messages of clients.", float64(n))
	if n >= limit {
		return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "%d messages were rejected%s in the last %s, wanted fewer than %d: look for \"reject\" in %s", n, with, window, limit, r.Source)
	}
	if unread, unknown := unread(r, maillog.SubjectRejections, d, window); n+unread >= limit {
		return unknown
	}
	return answers(r, maillog.SubjectRejections, d)
}

func incomingTLS(_ context.Context, w *steps.World, a steps.Args) error {
	return usedTLS(w, a, maillog.SubjectIncoming, "in", "incoming mail connections", "smtpd_tls_loglevel", (*maillog.Reading).Incoming)
}

func outgoingTLS(_ context.Context, w *steps.World, a steps.Args) error {
	return usedTLS(w, a, maillog.SubjectOutgoing, "out", "outgoing deliveries", "smtp_tls_loglevel", (*maillog.Reading).Outgoing)
}

func usedTLS(w *steps.World, a steps.Args, subject maillog.Subject, direction, what, setting string, count func(*maillog.Reading, time.Duration) (int, int)) error {
	r, d, err := judged(w, a.Text(1))
	if err != nil {
		return err
	}
	limit, err := steps.ParsePercentage(a.Text(0))
	if err != nil {
		return err
	}
	all, encrypted := count(r, d)
	label := result.Label{Name: "direction", Value: direction}
	w.Measure("mail_log_tls_connections", "Total number of connections or deliveries for the share of TLS.", float64(all), label)
	said := fmt.Sprintf("%d of %d %s used TLS in the last %s", encrypted, all, what, a.Text(1))
	unread, unknown := unread(r, subject, d, a.Text(1))
	if all == 0 {
		w.Note(said)
		if unread > 0 {
			return unknown
		}
		return answers(r, subject, d)
	}
	w.Measure("mail_log_tls_ratio", "Share of connections or deliveries that was encrypted, 0 to 1.", float64(encrypted)/float64(all), label)
	said += fmt.Sprintf(" (%s%%)", wording.Percent(encrypted, all))
	w.Note(said)
	reached := func(encrypted, all int) bool { return float64(encrypted)*100 >= limit*float64(all) }
	if reached(min(encrypted+unread, all), all) != reached(encrypted, all+unread) { // it depends on what those were
		return unknown
	}
	if !reached(encrypted, all) {
		hint := ""
		if encrypted == 0 {
			hint = ", or Postfix does not log it: set " + setting + " = 1"
		}
		return steps.Fail(result.ReasonTLS, result.BlameTransfer, "%s, wanted at least %s%%: the others were not encrypted%s", said, a.Text(0), hint)
	}
	return nil
}

func logIsAlive(_ context.Context, w *steps.World, a steps.Args) error {
	r, d, err := windowed(w, a.Text(0))
	if err != nil {
		return err
	}
	if age := r.At.Sub(r.Newest()); age > d {
		return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "the newest line of %s is %s old, wanted one of the last %s: is the mail server down, or does it log elsewhere?",
			r.Source, age.Round(time.Second), a.Text(0))
	}
	return nil
}
