package mail

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/imapclient"
	"github.com/stepwatch/stepwatch/steps/message"
	"github.com/stepwatch/stepwatch/steps/wording"
)

const (
	// lookAgainLimit limits the time of the second look for a missing message.
	lookAgainLimit = 5 * time.Second

	// foldersSearched limits the number of folders that the second look searches.
	foldersSearched = 20
)

// sighting is the result of the second look for a missing message.
type sighting struct {
	found  bool
	folder listedFolder
	stored time.Time // when the server stored it; zero when that is not known
	err    error     // why the look is incomplete; nil when it looked everywhere

	folders int // number of searched folders
	more    int // number of folders that it did not search
}

// extent says how far a look that found nothing went: " in 2 folders".
func (s sighting) extent() string {
	switch {
	case s.more > 0:
		return fmt.Sprintf(" in %d of %d folders", s.folders, s.folders+s.more)
	case s.folders == 1:
		return " in 1 folder"
	default:
		return fmt.Sprintf(" in %d folders", s.folders)
	}
}

// lookAgain looks for a message that did not come, in another way than the wait did: it opens the mailbox on a new connection and
// searches the wanted folders, and then the others, the spam folder first.
//
// A server need not announce what came (RFC 9051 section 7 only says that it should do so at NOOP), and a filter may file mail
// anywhere. So "it did not come" is said only after this look, or the failure says why there was none.
func (m *mailbox) lookAgain(ctx context.Context, s *Submission, wanted ...string) sighting {
	return m.lookAround(ctx, true, func(ctx context.Context, other *mailbox, folder string) ([]imapclient.UID, error) {
		return other.seek(ctx, m, folder, s.Number)
	}, wanted...)
}

// reportsAgain looks for reports about this run's messages like lookAgain, by the run's token. take returns whether a report is
// about them, and whether it is one to stop at. Those about them are removed.
func (m *mailbox) reportsAgain(ctx context.Context, take func(*message.Report) (ours, enough bool)) sighting {
	return m.lookAround(ctx, false, func(ctx context.Context, other *mailbox, folder string) (enough []imapclient.UID, err error) {
		if folder != other.selected {
			if err := other.choose(ctx, folder); err != nil {
				return nil, err
			}
		}
		uids, err := other.searchReports(ctx, m.w.Run())
		if err != nil {
			return nil, err
		}
		if folder == inbox && other.validity == m.validity {
			judged := setOf(m.reports)
			uids = slices.DeleteFunc(uids, func(uid imapclient.UID) bool { return judged[uid] })
		}
		reports, err := other.readReports(ctx, uids[max(0, len(uids)-sweptReports):])
		if err != nil {
			return nil, err
		}
		var all []imapclient.UID
		for _, uid := range slices.Sorted(maps.Keys(reports)) {
			ours, stop := take(reports[uid])
			if ours {
				all = append(all, uid)
			}
			if stop {
				enough = append(enough, uid)
			}
		}
		m.sweepErr = errors.Join(m.sweepErr, other.remove(ctx, all), other.stay())
		return enough, nil
	}, inbox)
}

// lookAround opens the mailbox on a new connection, read only if looking is true, and calls seek for the wanted folders and then
// for the others, until it returns a message.
func (m *mailbox) lookAround(ctx context.Context, looking bool, seek func(ctx context.Context, other *mailbox, folder string) ([]imapclient.UID, error), wanted ...string) (seen sighting) {
	if ctx.Err() != nil {
		seen.err = fmt.Errorf("no time was left")
		return seen
	}
	ctx, cancel := context.WithTimeout(ctx, lookAgainLimit)
	defer cancel()
	other := &mailbox{w: m.w.Aside(), mail: m.mail, account: m.account, host: m.host, port: m.port, looking: looking}
	defer func() {
		other.log.Attach(m.w, "imap transcript of the second look")
		other.close()
	}()
	if seen.err = other.open(ctx); seen.err != nil {
		return seen
	}
	folders, unread, err := other.list(ctx, true)
	if err != nil {
		seen.err = err
	} else if unread != nil {
		seen.err = unread
	}
	if !slices.ContainsFunc(folders, func(f listedFolder) bool { return f.name == inbox }) {
		folders = slices.Insert(folders, 0, listedFolder{name: inbox})
	}
	isWanted := func(f listedFolder) bool {
		return slices.ContainsFunc(wanted, func(name string) bool { return strings.EqualFold(name, f.name) })
	}
	slices.SortStableFunc(folders, func(a, b listedFolder) int {
		switch {
		case isWanted(a) == isWanted(b):
			return 0
		case isWanted(a):
			return -1
		default:
			return 1
		}
	})
	for _, f := range folders {
		if f.counted && f.messages == 0 && !isWanted(f) {
			seen.folders++
			continue
		}
		if seen.folders >= foldersSearched && !isWanted(f) {
			seen.more++
			continue
		}
		uids, err := seek(ctx, other, f.name)
		if isRefusal(err) && !isWanted(f) {
			continue // not open to us, so none of our messages got there
		}
		if err != nil {
			seen.err = err
			if !other.alive() {
				break
			}
			continue
		}
		seen.folders++
		if len(uids) == 0 {
			continue
		}
		seen.found, seen.folder = true, f
		_ = other.dates(ctx, uids[:1], func(_ imapclient.UID, at time.Time) { seen.stored = at }) // the place matters more
		break
	}
	other.logout(ctx)
	return seen
}

// seek returns the UIDs of a message of this run in a folder. It searches by the run's token, and in the INBOX it also reads the
// headers of everything that came since before, which is the mailbox of the wait, was opened.
func (m *mailbox) seek(ctx context.Context, before *mailbox, folder string, number int) (uids []imapclient.UID, err error) {
	if folder != m.selected {
		if err := m.choose(ctx, folder); err != nil {
			return nil, err
		}
	}
	if folder == inbox && before.fresh && before.first > 0 && before.validity == m.validity {
		if uids, err = m.numbered(ctx, before.first, number); err != nil || len(uids) > 0 {
			return uids, err
		}
	}
	all, err := m.search(ctx, headerRun, m.w.Run())
	for _, set := range imapclient.SetsOf(all) {
		some, err := m.sent(ctx, set, 1, number)
		if err != nil {
			return nil, err
		}
		uids = append(uids, some...)
	}
	return uids, err
}

// overlooked returns the failure for a message that is where it was awaited, but was not seen there in time. asked is the command
// of the wait. known reports whether its connection sees the message by now: then it came late, otherwise the server did not
// announce it.
func (m *mailbox) overlooked(ctx context.Context, s *Submission, seen sighting, waited time.Duration, asked string, known func(context.Context) bool) error {
	where, stored := m.folder(seen.folder.name), ""
	if !seen.stored.IsZero() {
		stored = ", stored at " + seen.stored.UTC().Format("15:04:05 MST")
	}
	after := time.Since(s.Accepted)
	asking, cancel := context.WithTimeout(ctx, lookGrace)
	defer cancel()
	late := m.alive() && known(asking)
	// The cleanup must see it.
	m.close()
	m.fresh = false
	if late {
		return steps.Fail(result.ReasonNotReceived, result.BlameTarget, "the message came to %s late: it was not there after %s, and %s after %s had accepted it it is there%s; %s",
			where, wording.Seconds(waited), wording.Seconds(after), s.Server, stored, s.known(time.Now()))
	}
	return steps.Fail(result.ReasonNotReceived, result.BlameAccess,
		"the message is in %s, but the server did not announce it: %s on the connection that was open since before it was sent reported nothing for %s, and a new connection shows it%s: "+
			"mail programs that stay connected see it late or never", where, asked, wording.Seconds(waited), stored)
}

// confirmation says what the second look adds to "no message": in how many folders there is none either, or why that is not known.
// It is short, because the failure must fit into a status line with whom to ask at its end.
func (s sighting) confirmation() string {
	switch {
	case s.err != nil:
		return "; whether it is there all the same is unknown, because a second look failed: " + wording.OneLine(s.err.Error(), 300)
	case s.more > 0:
		return fmt.Sprintf("; looked again in %d folders, not in %d others", s.folders, s.more)
	case s.folders == 1:
		return "; looked again in 1 folder"
	default:
		return fmt.Sprintf("; looked again in %d folders", s.folders)
	}
}

// elsewhere is confirmation for a wait in one folder.
func (s sighting) elsewhere() string {
	if s.err == nil && s.more == 0 {
		return ", nor in another folder"
	}
	return s.confirmation()
}
