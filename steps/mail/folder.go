package mail

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	steps.Register(
		steps.Definition{
			Area: "mail", Sentence: `{account} receives it in the folder {text} over IMAP within {duration}`, Pattern: `^"([^"]+)" receives it in the folder "([^"]+)" over IMAP within {duration}$`,
			Does: "Waits until the last message sent to this account is in this folder, where a filter such as Sieve (RFC 5228) files it. The folder need not exist before the message arrives. " +
				"A name without the prefix of the account's folders (\"Lists\" where the server has \"INBOX.Lists\") is found below it. " +
				"Reads via port 993, TLS from the first byte. Fails when it is not there in time, and names the folder that has it instead. The message is removed afterwards.",
			Measures: "From the start of the step until the message is in the folder. Measures mail_detection_lag_seconds and mail_delivery_seconds. The time to open the mailbox is " +
				"in the phases mailbox_dns and so on.",
			Example: `Then "bob" receives it in the folder "Lists" over IMAP within 60s`,
			Waits:   true,
			Prepare: prepareFolder,
			Func:    receiveInFolder,
		},
		steps.Definition{
			Area: "mail", Sentence: `it is in the inbox`,
			Does:    "Fails unless the last received message is in the INBOX.",
			Example: `Then it is in the inbox`,
			Func:    isInInbox,
		},
		steps.Definition{
			Area: "mail", Sentence: `it is not in the spam folder`,
			Does: "Fails when the last received message, or a copy of it, is in the spam folder: the folder with the attribute \\Junk " +
				"(RFC 6154), or with the name Junk or Spam.",
			Example: `Then it is not in the spam folder`,
			Func:    isNotSpamFolder,
		},
		steps.Definition{
			Area: "mail", Sentence: `it arrived once`,
			Does: "Fails when the last received message is in its folder more than once. Checks until two seconds after the arrival, because a duplicate comes " +
				"after the first.",
			Measures: "Up to two seconds of checking. Measures mail_copies.",
			Example:  `Then it arrived once`,
			Func:     arrivedOnce,
		},
		steps.Definition{
			Area: "mail", Sentence: `it is unread`,
			Does:    "Fails when the last received message has the flag \\Seen: another program reads the mailbox.",
			Example: `Then it is unread`,
			Func:    isUnread,
		},
		steps.Definition{
			Area: "mail", Sentence: `it has the flag {text}`,
			Does:    "Fails unless the last received message has this IMAP flag or keyword, which a filter can set: \"\\Flagged\", \"$Junk\".",
			Example: `Then it has the flag "\Flagged"`,
			Func:    hasFlag,
		},
		steps.Definition{
			Area: "mail", Sentence: `the mailbox of {account} is less than {number} % full`,
			Does: "Asks the IMAP server, via port 993, for the usage and limits of the mailbox (QUOTA, RFC 9208). Fails when the usage reaches this share of any limit, or when " +
				"the server reports no limit.",
			Measures: "From the name lookup to the end of the dialogue, in the phases dns, connect, tls, greeting, login and select. Measures mail_quota_used_bytes, mail_quota_limit_bytes and mail_quota_used_ratio.",
			Example:  `Then the mailbox of "bob" is less than 90 % full`,
			Func:     isBelowQuota,
		},
	)
}

func folderArgs(w *steps.World, a steps.Args) (box *mailbox, folder string, within time.Duration, err error) {
	box, within, err = mailboxOf(w, steps.Args{Captured: []string{a.Text(0), a.Text(2)}})
	return box, a.Text(1), within, err
}

// folderStart holds the next UID of each folder at the time when the mailbox was opened.
type folderStart map[string]imapclient.UID // by account and folder

func prepareFolder(ctx context.Context, w *steps.World, a steps.Args) {
	box, folder, _, err := folderArgs(w, a)
	if err != nil {
		return // the step itself reports a wrong argument
	}
	prepareMailbox(ctx, w, steps.Args{Captured: []string{a.Text(0), a.Text(2)}})
	if strings.EqualFold(folder, inbox) {
		return // as for a step that names no folder
	}
	if box.client == nil || box.err != nil {
		return // the step itself reports it
	}
	ctx, cancel := context.WithTimeout(ctx, prepareLimit)
	defer cancel()
	starts := steps.State[folderStart](w)
	if *starts == nil {
		*starts = make(folderStart)
	}
	names, err := box.namesOf(ctx, folder)
	for _, name := range names {
		var next imapclient.UID
		var exists bool
		if next, exists, err = box.nextIn(ctx, name); err == nil && exists {
			err = box.visit(ctx, name, func() error { return box.sweep(ctx) })
		}
		if err != nil {
			break
		}
		(*starts)[box.account.Name+"\x00"+name] = next
	}
	box.sweepErr = errors.Join(box.sweepErr, err)
}

// nextIn returns the UID of the next message in a folder, or 1 when the folder does not exist.
func (m *mailbox) nextIn(ctx context.Context, folder string) (next imapclient.UID, exists bool, err error) {
	contents, err := m.client.Status(ctx, folder)
	switch {
	case isRefusal(err):
		return 1, false, nil
	case err != nil:
		return 1, false, m.failure(ctx, err)
	case contents.UIDNext == 0 && contents.Messages > 0: // IMAP4rev1 permits a server to omit it
		next = 1
		err = m.visit(ctx, folder, func() error {
			last, err := m.client.Fetch(ctx, "*")
			for _, found := range last {
				next = max(next, found.UID+1)
			}
			return m.failure(ctx, err)
		})
		return next, true, err
	}
	return max(contents.UIDNext, 1), true, nil
}

// visit calls do with another folder selected. Afterwards the INBOX is the selected mailbox again.
func (m *mailbox) visit(ctx context.Context, folder string, do func() error) error {
	if strings.EqualFold(folder, inbox) {
		if !m.alive() {
			return m.choose(ctx, inbox)
		}
		// Dovecot answers with what it last announced, so NOOP asks for later changes.
		if err := m.failure(ctx, m.client.Noop(ctx)); err != nil {
			return err
		}
		return do()
	}
	if err := m.choose(ctx, folder); err != nil {
		return err
	}
	err := do()
	if m.alive() {
		err = errors.Join(err, m.choose(ctx, inbox))
	}
	m.announce() // new messages in the INBOX were not announced meanwhile
	return err
}

func receiveInFolder(ctx context.Context, w *steps.World, a steps.Args) error {
	box, folder, within, err := folderArgs(w, a)
	if err != nil {
		return err
	}
	if strings.EqualFold(folder, inbox) {
		return box.receive(ctx, within)
	}
	box.reportOpening()
	if box.err != nil {
		return box.err
	}
	s, err := box.awaited(steps.State[Session](w))
	if err != nil {
		return err
	}
	watch := box.mail.watchReturn(ctx, w, s)
	defer watch.end()
	uids, folder, err := box.awaitInFolder(ctx, s, folder, within, watch)
	if err != nil {
		box.log.Attach(w, "imap transcript")
		return err
	}
	w.Cleanup("remove the test mail of "+box.account.Name, func(ctx context.Context) error {
		s.removed = true
		return box.visit(ctx, folder, func() error { return box.remove(ctx, uids) })
	})
	steps.State[Session](w).Receive(w, &Arrival{Account: box.account, sent: s, Where: box.folder(folder),
		Folder: folder, At: time.Now(), lag: s.lag, box: box, uid: uids[0], Read: func(ctx context.Context) (raw []byte, err error) {
			err = box.visit(ctx, folder, func() error {
				raw, err = box.fetchMessage(ctx, uids[0])
				return err
			})
			return raw, err
		}})
	return nil
}

// awaited returns the message that a step waits for in m, which must be open.
func (m *mailbox) awaited(all *Session) (*Submission, error) {
	s := all.Last(m.account)
	switch {
	case s == nil:
		return nil, steps.FailScenario("nothing was sent to %q before this step: begin with \"I send a message from … to %q via …\"", m.account.Name, m.account.Name)
	case m.client == nil:
		return nil, steps.Fail(result.ReasonInternal, result.BlameMonitor, "the mailbox of %q was not opened before the first step", m.account.Name)
	}
	return s, nil
}

// awaitInFolder waits until s is in the folder and returns its UIDs there, and the folder's name on the server.
func (m *mailbox) awaitInFolder(ctx context.Context, s *Submission, folder string, within time.Duration, watch *returnWatch) (uids []imapclient.UID, name string, err error) {
	start := time.Now()
	names, err := m.namesOf(ctx, folder)
	if err != nil {
		return nil, "", err
	}
	nexts := make(map[string]imapclient.UID, len(names))
	for _, name := range names {
		nexts[name] = max((*steps.State[folderStart](m.w))[m.account.Name+"\x00"+name], 1)
	}
	exists := false
	lag, err := awaitThere(ctx, within, 5*time.Millisecond, func(ctx context.Context) (bool, error) {
		var now imapclient.UID
		var err error
		for _, name = range names {
			if now, exists, err = m.nextIn(ctx, name); exists || err != nil {
				break
			}
		}
		if err == nil {
			err = watch.bounced()
		}
		if err != nil || !exists || now <= nexts[name] {
			return false, err
		}
		err = m.visit(ctx, name, func() error {
			uids, err = m.numbered(ctx, nexts[name], s.Number)
			return err
		})
		if len(uids) == 0 {
			nexts[name] = now
		}
		return len(uids) > 0, err
	})
	if err == nil {
		s.lag = lag
		m.measureDelivery(s, lag)
		return uids, name, nil
	}
	if !errors.Is(err, errNotThere) {
		return nil, "", err
	}
	waited := time.Since(start)
	m.w.Untimed(func() { err = m.notInFolder(ctx, s, folder, names, exists, waited, watch) })
	return nil, "", err
}

// notInFolder returns the failure for a message that is not in a folder, and says where it is.
func (m *mailbox) notInFolder(ctx context.Context, s *Submission, folder string, names []string, exists bool, waited time.Duration, watch *returnWatch) error {
	seen := m.lookAgain(ctx, s, names...)
	switch {
	case seen.found && slices.Contains(names, seen.folder.name):
		return m.overlooked(ctx, s, seen, waited, "STATUS", func(ctx context.Context) bool {
			var uids []imapclient.UID
			err := m.visit(ctx, seen.folder.name, func() (err error) {
				uids, err = m.numbered(ctx, 1, s.Number)
				return err
			})
			return err == nil && len(uids) > 0
		})
	case seen.found:
		m.strayed = true
		if seen.folder.rejects {
			return watch.explainRefused(ctx, m.refusedInto(seen.folder, s))
		}
		return steps.Fail(result.ReasonNotReceived, result.BlameFiltering, "the message is in %s's folder %q at %s, wanted in %q: no filter filed it there",
			m.account.Name, seen.folder.name, m.server(), folder)
	}
	missing := ""
	if !exists {
		missing = ", which does not exist,"
	}
	err := steps.Fail(result.ReasonNotReceived, result.BlameDelivery, "no message in %s's folder %q%s at %s after %s%s: %s accepted it%s at %s; %s",
		m.account.Name, folder, missing, m.server(), wording.Seconds(waited), seen.elsewhere(), s.Server, s.queued(), s.Accepted.UTC().Format("15:04:05.000 MST"), s.known(time.Now()))
	return watch.explain(ctx, lack.With(err, seen.err))
}

// numbered returns the UIDs, from next on in the selected folder, of this run's message with that number.
func (m *mailbox) numbered(ctx context.Context, next imapclient.UID, number int) (uids []imapclient.UID, err error) {
	return m.sent(ctx, imapclient.From(next), next, number)
}

// sent returns the UIDs, from next on in a set, of this run's message with that number.
func (m *mailbox) sent(ctx context.Context, set imapclient.UIDSet, next imapclient.UID, number int) (uids []imapclient.UID, err error) {
	messages, err := m.client.Fetch(ctx, set, imapclient.HeaderFields(headerRun, headerMessage))
	if err != nil {
		return nil, m.failure(ctx, err)
	}
	for _, found := range messages {
		if found.UID < next || !found.HasBody {
			continue
		}
		header, _ := message.Read(found.Body)
		if header.Line(headerRun) == m.w.Run() && ownNumber(header.Line(headerMessage)) == number {
			uids = append(uids, found.UID)
		}
	}
	return uids, nil
}

type listedFolder struct {
	name string
	junk bool // filters put spam here

	rejects bool // the server keeps copies of mail here that it refused

	counted  bool   // the server reported the contents
	messages uint32 // number of messages
	mark     int64  // changes when a message arrives: UIDVALIDITY and UIDNEXT
}

// list lists the selectable folders, with the INBOX and the spam folders first, and with their contents if counted is set and the
// server reports both in one answer. unread is a line of the list that cannot be read, or nil.
func (m *mailbox) list(ctx context.Context, counted bool) (folders []listedFolder, unread *imapclient.ProtocolError, err error) {
	list, unread, err := m.client.List(ctx, counted)
	if err != nil {
		return nil, nil, m.failure(ctx, err)
	}
	for _, f := range list {
		if !f.Selectable() {
			continue
		}
		name := strings.ToLower(f.Name)
		if f.Delimiter != "" {
			name = name[strings.LastIndex(name, f.Delimiter)+1:]
		}
		listed := listedFolder{name: f.Name,
			rejects: slices.Contains([]string{"rejects", "rejected", "reject", "refused"}, name),
			junk:    f.Has(`\junk`) || slices.Contains([]string{"junk", "spam", "junk e-mail", "junk email"}, name)}
		if f.Contents != nil {
			listed.counted, listed.messages = true, f.Contents.Messages
			listed.mark = int64(f.Contents.UIDValidity)<<32 | int64(f.Contents.UIDNext)
		}
		folders = append(folders, listed)
	}
	rank := func(f listedFolder) int {
		switch {
		case strings.EqualFold(f.name, inbox):
			return 0
		case f.junk:
			return 1
		default:
			return 2
		}
	}
	slices.SortStableFunc(folders, func(a, b listedFolder) int { return rank(a) - rank(b) })
	return folders, unread, nil
}

// inMailbox returns the last received message, if it is in a mailbox that can still be queried.
func inMailbox(w *steps.World) (*Arrival, error) {
	it, err := steps.State[Session](w).received()
	switch {
	case err != nil:
		return nil, err
	case it.box == nil:
		return nil, steps.FailScenario("%s was not received over IMAP, and only IMAP has folders and flags", it.Where)
	case !it.box.alive():
		return nil, steps.Fail(result.ReasonDisconnected, result.BlameAccess, "the connection to %s has ended", it.box)
	}
	return it, nil
}

func isInInbox(_ context.Context, w *steps.World, _ steps.Args) error {
	it, err := steps.State[Session](w).received()
	if err != nil || strings.EqualFold(it.Folder, inbox) {
		return err
	}
	return steps.Fail(result.ReasonUnexpected, result.BlameFiltering, "the message is in %s, not in the INBOX", it.Where)
}

func isNotSpamFolder(ctx context.Context, w *steps.World, _ steps.Args) error {
	it, err := inMailbox(w)
	if err != nil {
		return err
	}
	folders, unread, err := it.box.list(ctx, false)
	if err != nil {
		return err
	}
	if unread != nil {
		return steps.Fail(result.ReasonProtocol, result.BlameAccess, "LIST at %s: %w: that may be the spam folder", it.box.server(), unread)
	}
	looked := 0
	for _, f := range folders {
		if !f.junk {
			continue
		}
		looked++
		var uids []imapclient.UID
		err := it.box.visit(ctx, f.name, func() (err error) {
			uids, err = it.box.search(ctx, headerRun, w.Run())
			return err
		})
		if err != nil {
			return err
		}
		if len(uids) > 0 {
			return steps.Fail(result.ReasonUnexpected, result.BlameFiltering, "the message is in %s's folder %q at %s: a filter took it for spam", it.Account.Name, f.name, it.box.server())
		}
	}
	if looked == 0 {
		w.Note("the account has no spam folder")
	}
	return nil
}

// duplicateWait is how long after a message its duplicate is searched for.
const duplicateWait = 2 * time.Second

func arrivedOnce(ctx context.Context, w *steps.World, _ steps.Args) error {
	it, err := inMailbox(w)
	if err != nil {
		return err
	}
	if it.sent == nil {
		return steps.FailScenario("only a message that the scenario sent can be recognised")
	}
	var uids []imapclient.UID
	_, err = awaitThere(ctx, time.Until(it.At.Add(duplicateWait)), 50*time.Millisecond, func(ctx context.Context) (bool, error) {
		if strings.EqualFold(it.Folder, inbox) {
			if err := it.box.look(ctx); err != nil {
				return false, err
			}
			uids = it.box.found[it.sent.Number]
			return len(uids) > 1, nil
		}
		err := it.box.visit(ctx, it.Folder, func() (err error) {
			uids, err = it.box.numbered(ctx, it.uid, it.sent.Number)
			return err
		})
		return len(uids) > 1, err
	})
	if err != nil && !errors.Is(err, errNotThere) {
		return err
	}
	w.Measure("mail_copies", "Number of copies of the message in the folder.", float64(len(uids)))
	if len(uids) > 1 {
		return steps.Fail(result.ReasonUnexpected, result.BlameTransfer, "there are %d copies of the message in %s, %s: a server sent it again although the next server had it, or two routes lead there",
			len(uids), it.Where, it.copies(ctx, uids))
	}
	return nil
}

// copies names copies of a message by their UIDs and, as far as the server reports it, their time of arrival.
func (a *Arrival) copies(ctx context.Context, uids []imapclient.UID) string {
	came := make(map[imapclient.UID]string)
	_ = a.box.visit(ctx, a.Folder, func() error { // without it only the UIDs are named
		return a.box.dates(ctx, uids, func(uid imapclient.UID, at time.Time) { came[uid] = at.UTC().Format(" of 15:04:05 MST") })
	})
	names := make([]string, len(uids))
	for i, uid := range uids {
		names[i] = fmt.Sprintf("UID %d%s", uid, came[uid])
	}
	return strings.Join(names, " and ")
}

// flags returns the flags of a received message.
func (a *Arrival) flags(ctx context.Context) (flags []string, err error) {
	known := false
	err = a.box.visit(ctx, a.Folder, func() error {
		messages, err := a.box.client.Fetch(ctx, imapclient.Set(a.uid), "FLAGS")
		for _, fetched := range messages {
			if fetched.UID == a.uid && fetched.Flags != nil {
				flags, known = fetched.Flags, true
			}
		}
		return a.box.failure(ctx, err)
	})
	if err == nil && !known {
		err = steps.Fail(result.ReasonUnexpected, result.BlameAccess, "read the flags of the message from %s: it is gone; somebody else removed it", a.Where)
	}
	return flags, err
}

func isUnread(ctx context.Context, w *steps.World, _ steps.Args) error {
	it, err := inMailbox(w)
	if err != nil {
		return err
	}
	flags, err := it.flags(ctx)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(flags, func(f string) bool { return strings.EqualFold(f, `\Seen`) }) {
		return steps.Fail(result.ReasonUnexpected, result.BlameAccess, "the message in %s has the flag \\Seen: another program reads the mailbox, or a filter sets it", it.Where)
	}
	return nil
}

func hasFlag(ctx context.Context, w *steps.World, a steps.Args) error {
	it, err := inMailbox(w)
	if err != nil {
		return err
	}
	flags, err := it.flags(ctx)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(flags, func(f string) bool { return strings.EqualFold(f, a.Text(0)) }) {
		return nil
	}
	return steps.Fail(result.ReasonUnexpected, result.BlameFiltering, "the message in %s has the flags %q, wanted %q", it.Where, flags, a.Text(0))
}

func isBelowQuota(ctx context.Context, w *steps.World, a steps.Args) error {
	account, err := w.Target().Account(a.Text(0))
	if err != nil {
		return err
	}
	limit, err := a.Number(1)
	if err != nil {
		return err
	}
	box := apartBox(w, account)
	if err := box.open(ctx); err != nil {
		box.log.Attach(w, "imap transcript")
		return err
	}
	defer box.close()
	worst, err := box.quota(ctx)
	if err != nil {
		box.log.Attach(w, "imap transcript")
		return err
	}
	box.logout(ctx)
	if worst.ratio*100 >= limit {
		return steps.Fail(result.ReasonUnexpected, result.BlameDelivery, "the mailbox of %s at %s is %.1f %% full, wanted less than %s %%: %s; a full mailbox refuses mail",
			account.Name, box.server(), worst.ratio*100, a.Text(1), worst.text)
	}
	return nil
}

type quotaUse struct {
	ratio float64
	text  string // "19.5 of 20 KiB"
}

// quota returns the mailbox's resource that is nearest to its limit.
func (m *mailbox) quota(ctx context.Context) (worst quotaUse, err error) {
	if !m.client.HasAny("QUOTA") {
		return worst, steps.Fail(result.ReasonUnexpected, result.BlameAccess, "%s reports no quota: it lacks QUOTA (RFC 9208)", m.server())
	}
	resources, err := m.client.QuotaRoot(ctx, inbox)
	if err != nil {
		return worst, m.failure(ctx, err)
	}
	worst.ratio = -1
	storage := int64(-1)
	for _, r := range resources {
		if r.Limit == 0 {
			continue
		}
		ratio := float64(r.Usage) / float64(r.Limit)
		unit := strings.ToLower(r.Name) + "s"
		if r.Name == "STORAGE" { // in units of 1024 bytes (RFC 9208 section 5.1)
			unit = "KiB"
			if storage < 0 { // with several limits on storage only the first is measured: the mailbox's own
				m.w.Measure("mail_quota_used_bytes", "Used space of the mailbox.", float64(r.Usage)*1024)
				m.w.Measure("mail_quota_limit_bytes", "Space limit of the mailbox.", float64(r.Limit)*1024)
			}
			storage = r.Usage
		}
		if ratio > worst.ratio {
			worst = quotaUse{ratio, fmt.Sprintf("%d of %d %s", r.Usage, r.Limit, unit)}
		}
	}
	if worst.ratio < 0 {
		return worst, steps.Fail(result.ReasonUnexpected, result.BlameAccess, "%s sets no limit for the mailbox of %s, so it cannot be full", m.server(), m.account.Name)
	}
	m.w.Measure("mail_quota_used_ratio", "Used share of the mailbox: 1 is full.", worst.ratio)
	return worst, nil
}
