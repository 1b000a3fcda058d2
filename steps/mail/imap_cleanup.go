package mail

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/imapclient"
)

// sweep removes messages of earlier runs of this scenario, which crashed or ended before the mail came. Two days are
// enough for a scenario that runs at least daily, and keep the search quick in a large mailbox. The cleanup removes
// messages that come during this run and those in the spam folder.
func (m *mailbox) sweep(ctx context.Context) error {
	uids, err := m.search(ctx, headerOrigin, m.w.Origin())
	if err != nil {
		return err
	}
	if err := m.measureLate(ctx, uids); err != nil {
		return err
	}
	return m.remove(ctx, uids)
}

// search returns the messages of the last two days with this value in a header field.
func (m *mailbox) search(ctx context.Context, field, value string) (uids []imapclient.UID, err error) {
	return m.find(ctx, imapclient.Header(field, value))
}

// find returns the messages of the last two days in the selected folder that match keys.
func (m *mailbox) find(ctx context.Context, keys ...imapclient.Key) (uids []imapclient.UID, err error) {
	keys = append([]imapclient.Key{imapclient.Since(time.Now().AddDate(0, 0, -2))}, keys...)
	if !m.removes() {
		// What has the flag \Deleted is as much removed as we can. On other servers a run ended between the flag and EXPUNGE.
		keys = append(keys, imapclient.Undeleted)
	}
	uids, err = m.client.Search(ctx, keys...)
	return uids, m.failure(ctx, err)
}

// lastLook is how long after its acceptance the cleanup still looks for a message that no step waited for.
const lastLook = 2 * time.Second

// reopenLimit limits the time to open a mailbox in the cleanup, because a dead server must not delay the next run.
const reopenLimit = 3 * time.Second

// cleanup removes the messages that the run sent, all duplicates, and messages of earlier runs that came since the
// sweep. It reopens a broken connection once.
func (m *mailbox) cleanup(ctx context.Context) error {
	defer m.close()
	sent := m.mail.sentTo(m.account)
	main := m.mail.mailbox(m.w, m.account, 0) // it also covers the account's other mailboxes, which are the same
	first := m == main
	err := m.sweepErr
	if m.host != main.host && m.alive() {
		err = errors.Join(err, m.removeFound(ctx)) // another host may show another mailbox
	}
	if first && (len(sent) > 0 || m.alive()) {
		err = errors.Join(err, m.removeSent(ctx, sent))
	}
	if first {
		err = errors.Join(err, m.mail.sweepSenders(ctx, m.w))
	}
	if len(m.reports) > 0 && m.alive() {
		err = errors.Join(err, m.remove(ctx, m.reports))
	}
	if m.bounces && m.alive() {
		err = errors.Join(err, m.sweepReports(ctx))
	}
	m.logout(ctx)
	return errors.Join(err, m.stay())
}

// removeFound removes the messages that were seen here, and marks them as removed.
func (m *mailbox) removeFound(ctx context.Context) error {
	for _, s := range m.mail.sentTo(m.account) {
		if uids := m.found[s.Number]; len(uids) > 0 {
			if err := m.remove(ctx, uids); err != nil {
				return err
			}
			s.removed = true
		}
	}
	return nil
}

func (m *mailbox) removeSent(ctx context.Context, sent []*Submission) error {
	if failure := (*steps.Failure)(nil); errors.As(m.err, &failure) && failure.Reason == result.ReasonAuth {
		// A second wrong login would slow down the account's next good one, or lock it.
		return fmt.Errorf("%s stays in %s, which cannot be opened: %s", describe(sent), m, m.later())
	}
	var missing []*Submission
	var err error
	for attempt := 0; ; attempt++ {
		if !m.alive() {
			m.close()
			m.fresh = false
			reopen, cancel := context.WithTimeout(ctx, reopenLimit)
			err = m.open(reopen)
			cancel()
			if err != nil {
				return fmt.Errorf("%s may stay in %s until %s: %w", describe(sent), m, m.later(), err)
			}
			attempt++
		}
		if missing, err = m.removeOnce(ctx, sent); err == nil || m.alive() || attempt > 0 {
			break
		}
	}
	switch {
	case err != nil:
		return fmt.Errorf("%s may stay in %s until %s: %w", describe(sent), m, m.later(), err)
	case len(missing) > 0:
		return fmt.Errorf("%s had not arrived in %s when the run ended: %s", describe(missing), m, m.later())
	}
	return nil
}

// removeOnce looks for the sent messages, removes those that it finds, and returns the others.
func (m *mailbox) removeOnce(ctx context.Context, sent []*Submission) (missing []*Submission, err error) {
	for {
		var lost error
		if m.fresh {
			lost = m.look(ctx)
		} else {
			lost = m.lookAnywhere(ctx)
		}
		if lost != nil {
			return nil, lost
		}
		missing = missing[:0]
		wait := time.Duration(0)
		for _, s := range sent {
			if _, found := m.found[s.Number]; !found {
				missing = append(missing, s)
				if !s.Accepted.IsZero() && !m.strayed {
					wait = max(wait, lastLook-time.Since(s.Accepted))
				}
			}
		}
		if len(missing) == 0 || wait <= 0 {
			break
		}
		if err := steps.Pause(ctx, min(wait, 50*time.Millisecond)); err != nil {
			break
		}
	}
	uids := m.stale
	for _, copies := range m.found {
		uids = append(uids, copies...)
	}
	if err := m.remove(ctx, uids); err != nil {
		return missing, err
	}
	m.stale = nil
	filed, err := m.clearFolders(ctx, len(missing) > 0)
	if filed >= len(missing) {
		missing = nil
	}
	return missing, err
}

// lookAnywhere looks for the scenario's messages in a mailbox that was opened after they were sent, so that UIDs do not
// help.
func (m *mailbox) lookAnywhere(ctx context.Context) error {
	clear(m.found)
	m.stale = nil
	uids, err := m.search(ctx, headerOrigin, m.w.Origin())
	if err != nil || len(uids) == 0 {
		return err
	}
	m.next = slices.Min(uids)
	for _, set := range imapclient.SetsOf(uids) {
		if err := m.fetch(ctx, set); err != nil {
			return err
		}
	}
	return nil
}

func describe(sent []*Submission) string {
	if len(sent) == 0 {
		return "mail of earlier runs"
	}
	names := make([]string, len(sent))
	for i, s := range sent {
		names[i] = "message " + strconv.Itoa(s.Number)
		if id := s.Reply.QueueID(); id != "" {
			names[i] += " (" + id + ")"
		}
	}
	return strings.Join(names, ", ")
}
