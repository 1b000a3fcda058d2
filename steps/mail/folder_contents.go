package mail

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/imapclient"
	"github.com/stepwatch/stepwatch/steps/wording"
)

func init() {
	const (
		does = " A name without the prefix of the account's folders (\"Spam\" where the server has \"INBOX.Spam\") is found below it. Reads over IMAP via port 993, TLS from the first byte, and changes nothing. " +
			"Fails when there is no such folder."
		measures = "From the name lookup to the end of the dialogue, in the phases dns, connect, tls, greeting, login, select and folder. Measures mail_folder_messages"
	)
	steps.Register(
		steps.Definition{
			Area: "mail", Sentence: `the folder {text} of {account} holds fewer than {int} messages`, Pattern: `^the folder "([^"]+)" of {account} holds fewer than {int} messages$`,
			Does:     "Fails when this folder of the account holds that many messages or more: nobody empties it, or a program that should process its mail does not." + does,
			Measures: measures + ".",
			Example:  `Then the folder "INBOX" of "orders" holds fewer than 100 messages`,
			Func:     holdsFewer,
		},
		steps.Definition{
			Area: "mail", Sentence: `the oldest message in the folder {text} of {account} is younger than {duration}`, Pattern: `^the oldest message in the folder "([^"]+)" of {account} is younger than {duration}$`,
			Does: "Fails when the server received a message in this folder that long ago or earlier (INTERNALDATE, which a message keeps when it is moved). An empty folder passes. " +
				"In a folder with more than 100000 messages only those are read that may be too old." + does,
			Measures: measures + " and mail_folder_oldest_age_seconds (absent for an empty folder, and for a folder with more messages than that in which none is too old).",
			Example:  `Then the oldest message in the folder "INBOX" of "orders" is younger than 2 hours`,
			Func:     oldestInFolder,
		},
	)
}

// datesLimit limits the number of messages of a folder whose dates are read.
const datesLimit = 100_000

// inFolder opens a folder of an account for reading and calls do with it.
func inFolder(ctx context.Context, w *steps.World, a steps.Args, do func(box *mailbox, contents imapclient.Contents) error) (err error) {
	folder := a.Text(0)
	account, err := w.Target().Account(a.Text(1))
	if err != nil {
		return err
	}
	box := apartBox(w, account)
	box.looking = true
	defer func() {
		if err != nil {
			box.log.Attach(w, "imap transcript")
		}
		box.close()
	}()
	if err := box.open(ctx); err != nil {
		return err
	}
	err = w.Timed("folder", func() (string, error) {
		contents, err := box.enterFolder(ctx, folder)
		if err != nil {
			return "", err
		}
		w.Measure("mail_folder_messages", "Number of messages in the folder.", float64(contents.Messages))
		return fmt.Sprintf("%d messages", contents.Messages), do(box, contents)
	})
	box.logout(ctx)
	return err
}

// enterFolder selects a folder of the scenario, under whichever of its names the server has it.
func (m *mailbox) enterFolder(ctx context.Context, folder string) (contents imapclient.Contents, err error) {
	names, err := m.namesOf(ctx, folder)
	if err != nil {
		return contents, err
	}
	for _, name := range names {
		contents, err = m.client.Select(ctx, name, m.looking)
		if err == nil {
			m.selected = name
			return contents, nil
		}
		if !isRefusal(err) {
			return contents, m.failure(ctx, err)
		}
	}
	refused := m.failure(ctx, err)
	list, _, err := m.list(ctx, false)
	if err != nil {
		return contents, err
	}
	has := make([]string, 0, len(list))
	for _, f := range list {
		for _, name := range names {
			if f.name == name { // it is there, and not for us
				return contents, refused
			}
		}
		has = append(has, f.name)
	}
	return contents, steps.Fail(result.ReasonNotFound, result.BlameAccess, "%s has no folder %q at %s: it has %s", m.account.Name, folder, m.server(),
		wording.OneLine(strings.Join(has, ", "), 500))
}

func holdsFewer(ctx context.Context, w *steps.World, a steps.Args) error {
	limit, err := a.Int(2)
	if err != nil {
		return err
	}
	return inFolder(ctx, w, a, func(box *mailbox, contents imapclient.Contents) error {
		if int64(contents.Messages) < int64(limit) {
			return nil
		}
		return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "%s holds %d messages, wanted fewer than %d", box.folder(box.selected), contents.Messages, limit)
	})
}

func oldestInFolder(ctx context.Context, w *steps.World, a steps.Args) error {
	limit, err := a.Duration(2)
	if err != nil {
		return err
	}
	return inFolder(ctx, w, a, func(box *mailbox, contents imapclient.Contents) error {
		if contents.Messages == 0 {
			return nil
		}
		now := time.Now()
		oldest, found, err := box.oldest(ctx, contents, now.Add(-limit))
		if err != nil || !found {
			return err
		}
		age := max(now.Sub(oldest), 0) // the server's clock may be fast
		w.Measure("mail_folder_oldest_age_seconds", "Time since the server received the oldest message in the folder.", age.Seconds())
		if age < limit {
			return nil
		}
		return steps.Fail(result.ReasonSlow, result.BlameTarget, "the oldest of %d messages in %s came at %s, %s ago, wanted younger than %s",
			contents.Messages, box.folder(box.selected), oldest.UTC().Format("15:04:05 MST on 2 Jan 2006"), wording.Span(age), a.Text(2))
	})
}

// oldest returns when the server received the oldest message of the selected folder. found is false when it is only known that no
// message is older than since.
func (m *mailbox) oldest(ctx context.Context, contents imapclient.Contents, since time.Time) (at time.Time, found bool, err error) {
	take := func(_ imapclient.UID, received time.Time) {
		if !found || received.Before(at) {
			at, found = received, true
		}
	}
	if contents.Messages <= datesLimit {
		if err := m.datesIn(ctx, "1:*", take); err != nil {
			return at, false, err
		}
		if !found {
			return at, false, steps.Fail(result.ReasonProtocol, result.BlameAccess, "%s says that %s holds %d messages and reports none (RFC 9051 section 7.4.1)", m.server(), m.folder(m.selected), contents.Messages)
		}
		return at, true, nil
	}
	// BEFORE compares days in the server's time zone (RFC 9051 section 6.4.4), which may be a day ahead of ours.
	uids, err := m.client.Search(ctx, imapclient.Before(since.UTC().AddDate(0, 0, 2)))
	if err != nil {
		return at, false, m.failure(ctx, err)
	}
	if len(uids) > datesLimit {
		return at, false, steps.Fail(result.ReasonTooLarge, result.BlameTarget, "%s holds %d messages that may be too old, the limit is %d: empty it", m.folder(m.selected), len(uids), datesLimit)
	}
	err = m.dates(ctx, uids, take)
	return at, found, err
}
