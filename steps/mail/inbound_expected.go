package mail

import (
	"context"
	"fmt"
	"net/textproto"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/daily"
	"github.com/stepwatch/stepwatch/steps/imapclient"
	"github.com/stepwatch/stepwatch/steps/message"
	"github.com/stepwatch/stepwatch/steps/regex"
)

func init() {
	const (
		table = " The table describes the message: each row has a header field and a regular expression that must match a part of its value, case ignored " +
			"(| Subject | backup .* ok |). Somebody else sends the message: a backup, a report, a cron job. Searches over IMAP via port 993, TLS from the first byte. Neither removes nor marks the message. " +
			"The time that counts is the arrival at the server (INTERNALDATE)."
		day = "Fails unless such a message arrived in the account's INBOX between these times of the day. Before the second time today's message counts if it is already there, otherwise yesterday's. " +
			"A late message fails the step until the next one can arrive. The second time may be on the next day (between 22:00 and 06:30). "
		measures = "The search in the mailbox. Measures mail_expected_arrival_timestamp_seconds, mail_expected_age_seconds"
		late     = " and mail_expected_late_seconds: how late the message came, or how long it is overdue while it is missing; 0 when it came in time."
	)
	steps.Register(
		steps.Definition{
			Area: "mail", Sentence: `{account} has received a message like this between {clock} and {clock}`,
			Does: day + "The times are in this machine's time zone." + table, Measures: measures + late,
			Table:   steps.Required,
			Example: "Then \"ops\" has received a message like this between 02:00 and 06:30\n  | Subject | backup .* ok |",
			Func:    hasReceivedDaily,
		},
		steps.Definition{
			Area: "mail", Sentence: `{account} has received a message like this between {clock} and {clock} in {zone}`,
			Does: day + "The time zone is from the tz database, with daylight saving time." + table, Measures: measures + late,
			Table:   steps.Required,
			Example: "Then \"ops\" has received a message like this between 02:00 and 06:30 in Europe/Berlin\n  | Subject | backup .* ok |",
			Func:    hasReceivedDaily,
		},
		steps.Definition{
			Area: "mail", Sentence: `{account} has received a message like this in the last {duration}`,
			Does: "Fails unless such a message arrived in the account's INBOX in that time." + table, Measures: measures + ".",
			Table:   steps.Required,
			Example: "Then \"ops\" has received a message like this in the last 26 hours\n  | Subject | backup .* ok |",
			Func:    hasReceivedLately,
		},
	)
}

// likeness describes a message: a regular expression for each of some header fields.
type likeness []likenessField

type likenessField struct {
	name    string
	pattern *regexp.Regexp
	written string
}

func likenessOf(table [][]string) (like likeness, err error) {
	for _, row := range table {
		if len(row) != 2 || strings.ContainsFunc(row[0], func(r rune) bool { return r <= ' ' || r >= 0x7f || r == ':' }) || row[0] == "" {
			return nil, steps.FailScenario("a row of the table is %q, wanted a header field and a regular expression: | Subject | backup .* ok |", row)
		}
		pattern, err := regex.Compile("(?i)"+row[1], 0)
		if err != nil {
			return nil, steps.FailScenario("%q is not a regular expression: %w", row[1], err)
		}
		like = append(like, likenessField{textproto.CanonicalMIMEHeaderKey(row[0]), pattern, row[1]})
	}
	if len(like) == 0 {
		return nil, steps.FailScenario("the step has no table that describes the message: | Subject | backup .* ok |")
	}
	return like, nil
}

// String describes the likeness for messages: `Subject "backup .* ok" and From "backup@"`.
func (l likeness) String() string {
	words := make([]string, len(l))
	for i, f := range l {
		words[i] = fmt.Sprintf("%s %q", f.name, f.written)
	}
	return strings.Join(words, " and ")
}

// fields returns the header fields that must be read.
func (l likeness) fields() (names []string) {
	for _, f := range l {
		if !slices.Contains(names, f.name) {
			names = append(names, f.name)
		}
	}
	return names
}

// matches reports whether a header fits. If a field occurs several times, one of them must match.
func (l likeness) matches(header message.Header) bool {
	for _, f := range l {
		if !slices.ContainsFunc(header, func(h message.Field) bool {
			return strings.EqualFold(h.Name, f.name) && f.pattern.MatchString(message.Decode(h.Line()))
		}) {
			return false
		}
	}
	return true
}

func hasReceivedDaily(ctx context.Context, w *steps.World, a steps.Args) error {
	window, err := steps.ParseWindow(a.Captured[1:])
	if err != nil {
		return err
	}
	now := time.Now()
	due, next := window.Spans(now)
	search, err := lookFor(ctx, w, a, due.From, now, func(at time.Time) bool { return !at.Before(next.From) || !at.After(due.By) })
	if err != nil {
		return err
	}
	v := window.Judge(now, search.arrivals)
	show := func(t time.Time) string { return t.In(window.Zone).Format("15:04:05 MST on 2 Jan") }
	if v.State != daily.Missing {
		search.measure(w, v.At, now)
	}
	w.Measure("mail_expected_late_seconds", "How late the expected message came, or how long it is overdue; 0 when it came in time.", v.Late.Seconds())
	span := fmt.Sprintf("between %s and %s", show(v.Span.From), show(v.Span.By))
	switch v.State {
	case daily.InTime:
		w.Note(fmt.Sprintf("it came at %s; the next is due by %s", show(v.At), show(v.Next)))
		return nil
	case daily.WasLate:
		w.Note(fmt.Sprintf("the last message came at %s, %s too late; the next is not due before %s", show(v.At), v.Late.Round(time.Second), show(v.Next)))
		return nil
	case daily.Late:
		return steps.Fail(result.ReasonSlow, result.BlameTarget, "the message with %s came to %s at %s, %s too late: it was due %s",
			search.like, search.box, show(v.At), v.Late.Round(time.Second), span)
	default:
		return steps.Fail(result.ReasonNotReceived, result.BlameTarget, "no message with %s in %s %s: it is overdue by %s, and none of the %d messages since then matches: did the sending program run, and does its mail go out?",
			search.like, search.box, span, v.Late.Round(time.Second), search.seen)
	}
}

func hasReceivedLately(ctx context.Context, w *steps.World, a steps.Args) error {
	age, err := a.Duration(1)
	if err != nil {
		return err
	}
	now := time.Now()
	search, err := lookFor(ctx, w, a, now.Add(-age), now, func(time.Time) bool { return true })
	if err != nil {
		return err
	}
	if len(search.arrivals) == 0 {
		return steps.Fail(result.ReasonNotReceived, result.BlameTarget, "no message with %s in %s in the last %s: none of the %d messages since then matches: did the sending program run, and does its mail go out?",
			search.like, search.box, a.Text(1), search.seen)
	}
	at := search.arrivals[0]
	search.measure(w, at, now)
	w.Note("it came at " + at.Local().Format("15:04:05 MST on 2 Jan"))
	return nil
}

// expectedSearch is the search for a message from somebody else.
type expectedSearch struct {
	like     likeness
	box      *mailbox
	since    time.Time
	arrivals []time.Time // of the matching messages, newest first
	seen     int         // number of examined messages
}

func (s *expectedSearch) measure(w *steps.World, at, now time.Time) {
	w.Measure("mail_expected_arrival_timestamp_seconds", "Time when the server received the expected message, in Unix time.", float64(at.Unix()))
	w.Measure("mail_expected_age_seconds", "Age of the expected message.", now.Sub(at).Seconds())
}

// lookFor looks for messages of the account since that time, the newest first, until enough accepts an arrival.
func lookFor(ctx context.Context, w *steps.World, a steps.Args, since, now time.Time, enough func(time.Time) bool) (*expectedSearch, error) {
	account, err := w.Target().Account(a.Text(0))
	if err != nil {
		return nil, err
	}
	like, err := likenessOf(a.Table)
	if err != nil {
		return nil, err
	}
	// A separate mailbox: there is nothing to remove from it.
	box := apartBox(w, account)
	box.looking = true
	s := &expectedSearch{like: like, box: box, since: since}
	if err := box.open(ctx); err != nil {
		box.log.Attach(w, "imap transcript")
		return nil, err
	}
	defer box.close()
	if err := w.Timed("search", func() (string, error) {
		err := s.run(ctx, now, enough)
		return fmt.Sprintf("%d messages", s.seen), err
	}); err != nil {
		box.log.Attach(w, "imap transcript")
		return nil, err
	}
	box.logout(ctx)
	return s, nil
}

const (
	// datesAtOnce and headersAtOnce are the numbers of messages whose dates or headers one command requests, so that
	// the answer stays far below imapAnswerLimit.
	datesAtOnce   = 20_000
	headersAtOnce = 500
)

type datedUID struct {
	uid imapclient.UID
	at  time.Time
}

// run asks the server for the messages of those days, which it knows without opening them, and reads the headers of
// those that arrived in the window.
func (s *expectedSearch) run(ctx context.Context, now time.Time, enough func(time.Time) bool) error {
	m := s.box
	// SINCE compares dates in the server's time zone (RFC 9051 section 6.4.4), which may be a day behind ours.
	uids, err := m.client.Search(ctx, imapclient.Since(s.since.UTC().AddDate(0, 0, -1)))
	if err != nil {
		return m.failure(ctx, err)
	}
	var messages []datedUID
	for some := range slices.Chunk(uids, datesAtOnce) {
		err := m.dates(ctx, some, func(uid imapclient.UID, at time.Time) {
			if at.After(now) { // the server's clock is fast, or a program that stored the message set the date
				at = now
			}
			if !at.Before(s.since) {
				messages = append(messages, datedUID{uid, at})
			}
		})
		if err != nil {
			return err
		}
	}
	slices.SortFunc(messages, func(a, b datedUID) int { return b.at.Compare(a.at) })
	for some := range slices.Chunk(messages, headersAtOnce) {
		like, err := s.fetch(ctx, some)
		if err != nil {
			return err
		}
		for _, message := range some {
			s.seen++
			if !like[message.uid] {
				continue
			}
			s.arrivals = append(s.arrivals, message.at)
			if enough(message.at) {
				return nil
			}
		}
	}
	return nil
}

// fetch reads the headers of some messages and returns which of them match.
func (s *expectedSearch) fetch(ctx context.Context, messages []datedUID) (like map[imapclient.UID]bool, err error) {
	uids := make([]imapclient.UID, len(messages))
	for i, message := range messages {
		uids[i] = message.uid
	}
	like = make(map[imapclient.UID]bool)
	for _, set := range imapclient.SetsOf(uids) {
		answer, err := s.box.client.Fetch(ctx, set, imapclient.HeaderFields(s.like.fields()...))
		if err != nil {
			return nil, s.box.failure(ctx, err)
		}
		for _, found := range answer {
			if !found.HasBody {
				return nil, s.box.lacks(found.UID, "the header fields")
			}
			if header, _ := message.Read(found.Body); s.like.matches(header) {
				like[found.UID] = true
			}
		}
	}
	return like, nil
}
