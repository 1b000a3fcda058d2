package mail

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/message"
	"github.com/stepwatch/stepwatch/steps/wording"
)

func init() {
	steps.Register(
		steps.Definition{
			Area: "mail", Sentence: `{account} receives it in the folder {text} over IMAP within {duration}`, Pattern: `^"([^"]+)" receives it in the folder "([^"]+)" over IMAP within {duration}$`,
			Does: "Waits until the last message sent to this account is in this folder, where a filter such as Sieve (RFC 5228) files it. The folder need not exist before the message arrives. " +
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
type folderStart map[string]imap.UID // by account and folder

func prepareFolder(ctx context.Context, w *steps.World, a steps.Args) {
	box, folder, _, err := folderArgs(w, a)
	if err != nil {
		return // the step itself reports a wrong argument
	}
	prepareMailbox(ctx, w, steps.Args{Captured: []string{a.Text(0), a.Text(2)}})
	if strings.EqualFold(folder, "INBOX") {
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
	next, exists, err := box.nextIn(ctx, folder)
	if err == nil && exists {
		err = box.visit(ctx, folder, func() error { return box.sweep(ctx) })
	}
	box.sweepErr = errors.Join(box.sweepErr, err)
	(*starts)[box.account.Name+"\x00"+folder] = next
}

// nextIn returns the UID of the next message in a folder, or 1 when the folder does not exist.
func (m *mailbox) nextIn(ctx context.Context, folder string) (next imap.UID, exists bool, err error) {
	next = 1
	err = m.do(ctx, "STATUS "+strconv.Quote(folder)+" (UIDNEXT)", func() error {
		data, err := m.client.Status(folder, &imap.StatusOptions{UIDNext: true}).Wait()
		if no := (*imap.Error)(nil); errors.As(err, &no) && no.Type == imap.StatusResponseTypeNo {
			return nil
		}
		if err == nil {
			next, exists = max(data.UIDNext, 1), true
		}
		return err
	})
	return next, exists, err
}

// visit calls do with another folder selected. Afterwards the INBOX is the selected mailbox again.
func (m *mailbox) visit(ctx context.Context, folder string, do func() error) error {
	if strings.EqualFold(folder, "INBOX") {
		// Dovecot answers with what it last announced, so NOOP asks for later changes.
		if err := m.do(ctx, "NOOP", func() error { return m.client.Noop().Wait() }); err != nil {
			return err
		}
		return do()
	}
	if err := m.choose(ctx, folder); err != nil {
		return err
	}
	err := do()
	if m.alive() {
		err = errors.Join(err, m.choose(ctx, "INBOX"))
	}
	m.announce() // new messages in the INBOX were not announced meanwhile
	return err
}

func receiveInFolder(ctx context.Context, w *steps.World, a steps.Args) error {
	box, folder, within, err := folderArgs(w, a)
	if err != nil {
		return err
	}
	if strings.EqualFold(folder, "INBOX") {
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
	uids, err := box.awaitInFolder(ctx, s, folder, within, watch)
	if err != nil {
		box.log.Attach(w, "imap transcript")
		return err
	}
	w.Cleanup("remove the test mail of "+box.account.Name, func(ctx context.Context) error {
		s.removed = true
		return box.visit(ctx, folder, func() error { return box.remove(ctx, uids) })
	})
	steps.State[Session](w).Receive(w, &Arrival{Account: box.account, sent: s, Where: fmt.Sprintf("%s's folder %q at %s", box.account.Name, folder, box.server()),
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

// awaitInFolder waits until s is in the folder and returns its UIDs there.
func (m *mailbox) awaitInFolder(ctx context.Context, s *Submission, folder string, within time.Duration, watch *returnWatch) (uids []imap.UID, err error) {
	start := time.Now()
	next := max((*steps.State[folderStart](m.w))[m.account.Name+"\x00"+folder], 1)
	exists := false
	lag, err := awaitThere(ctx, within, 5*time.Millisecond, func(ctx context.Context) (bool, error) {
		now, found, err := m.nextIn(ctx, folder)
		exists = found
		if err == nil {
			err = watch.bounced()
		}
		if err != nil || now <= next {
			return false, err
		}
		err = m.visit(ctx, folder, func() error {
			uids, err = m.numbered(ctx, next, s.Number)
			return err
		})
		if len(uids) == 0 {
			next = now
		}
		return len(uids) > 0, err
	})
	if err == nil {
		s.lag = lag
		m.w.Measure("mail_detection_lag_seconds", "Maximum time between the arrival of the message and its detection by the step.", lag.Seconds())
		m.w.Measure("mail_delivery_seconds", "Time from the server's acceptance of the message until it was seen in the mailbox.", time.Since(s.Accepted).Seconds())
		return uids, nil
	}
	if !errors.Is(err, errNotThere) {
		return nil, err
	}
	if elsewhere, found := m.locate(ctx, folder); found {
		if elsewhere.rejects {
			return nil, watch.explainRefused(ctx, m.refusedInto(elsewhere, s))
		}
		return nil, steps.Fail(result.ReasonNotReceived, result.BlameFiltering, "the message is in %s's folder %q at %s, wanted in %q: no filter filed it there",
			m.account.Name, elsewhere.name, m.server(), folder)
	}
	missing := ""
	if !exists {
		missing = ", which does not exist,"
	}
	err = steps.Fail(result.ReasonNotReceived, result.BlameDelivery, "no message in %s's folder %q%s at %s after %s, nor in another folder: %s accepted it%s at %s; %s",
		m.account.Name, folder, missing, m.server(), wording.Seconds(time.Since(start)), s.Server, s.queued(), s.Accepted.UTC().Format("15:04:05.000 MST"), s.known(time.Now()))
	return nil, watch.explain(ctx, err)
}

// numbered returns the UIDs, from next on in the selected folder, of this run's message with that number.
func (m *mailbox) numbered(ctx context.Context, next imap.UID, number int) (uids []imap.UID, err error) {
	set := imap.UIDSet{imap.UIDRange{Start: next, Stop: 0}}
	own := &imap.FetchItemBodySection{Specifier: imap.PartSpecifierHeader, HeaderFields: []string{headerRun, headerMessage}, Peek: true}
	err = m.do(ctx, fmt.Sprintf("UID FETCH %d:* (BODY.PEEK[HEADER.FIELDS (%s %s)])", next, headerRun, headerMessage), func() error {
		messages, err := m.client.Fetch(set, &imap.FetchOptions{UID: true, BodySection: []*imap.FetchItemBodySection{own}}).Collect()
		for _, found := range messages {
			if found.UID < next || len(found.BodySection) == 0 {
				continue
			}
			header, _ := message.Read(found.BodySection[0].Bytes)
			if header.Line(headerRun) == m.w.Run() && ownNumber(header.Line(headerMessage)) == number {
				uids = append(uids, found.UID)
			}
		}
		return err
	})
	return uids, err
}

// foldersSearched limits the number of folders that are searched for a missing message.
const foldersSearched = 20

// locate finds a folder, other than the given one, that has a message of this run, so that a failure can name it.
// Errors are ignored: the message is missing where it should be in any case.
func (m *mailbox) locate(ctx context.Context, other string) (folder listedFolder, found bool) {
	if ctx.Err() != nil || !m.alive() {
		return listedFolder{}, false
	}
	ctx, cancel := context.WithTimeout(ctx, explainLimit)
	defer cancel()
	folders, err := m.folders(ctx)
	if err != nil {
		return listedFolder{}, false
	}
	for _, f := range folders[:min(len(folders), foldersSearched)] {
		if strings.EqualFold(f.name, other) {
			continue
		}
		var uids []imap.UID
		err := m.visit(ctx, f.name, func() (err error) {
			uids, err = m.search(ctx, headerRun, m.w.Run())
			return err
		})
		if err == nil && len(uids) > 0 {
			return f, true
		}
	}
	return listedFolder{}, false
}

type listedFolder struct {
	name string
	junk bool // filters put spam here

	rejects bool // the server keeps copies of mail here that it refused

	counted  bool   // the server reported the contents
	messages uint32 // number of messages
	mark     int64  // changes when a message arrives: UIDVALIDITY and UIDNEXT
}

// folders lists the selectable folders, with the INBOX and the spam folders first.
func (m *mailbox) folders(ctx context.Context) (folders []listedFolder, err error) {
	return m.list(ctx, nil)
}

// list lists the folders, with the status of each if status is not nil.
func (m *mailbox) list(ctx context.Context, status *imap.StatusOptions) (folders []listedFolder, err error) {
	command := `LIST "" *`
	options := &imap.ListOptions{ReturnSpecialUse: m.special, ReturnStatus: status}
	if status != nil {
		command += " RETURN (STATUS)"
	}
	if !m.special && status == nil {
		options = nil // the plain command, which every server knows
	}
	err = m.do(ctx, command, func() error {
		list, err := m.client.List("", "*", options).Collect()
		for _, f := range list {
			if slices.Contains(f.Attrs, imap.MailboxAttrNoSelect) || slices.Contains(f.Attrs, imap.MailboxAttrNonExistent) {
				continue
			}
			name := strings.ToLower(f.Mailbox)
			if f.Delim != 0 {
				name = name[strings.LastIndex(name, string(f.Delim))+1:]
			}
			listed := listedFolder{name: f.Mailbox,
				rejects: slices.Contains([]string{"rejects", "rejected", "reject", "refused"}, name),
				junk:    slices.Contains(f.Attrs, imap.MailboxAttrJunk) || slices.Contains([]string{"junk", "spam", "junk e-mail", "junk email"}, name)}
			if f.Status != nil && f.Status.NumMessages != nil {
				listed.counted, listed.messages = true, *f.Status.NumMessages
				listed.mark = int64(f.Status.UIDValidity)<<32 | int64(f.Status.UIDNext)
			}
			folders = append(folders, listed)
		}
		return err
	})
	rank := func(f listedFolder) int {
		switch {
		case strings.EqualFold(f.name, "INBOX"):
			return 0
		case f.junk:
			return 1
		default:
			return 2
		}
	}
	slices.SortStableFunc(folders, func(a, b listedFolder) int { return rank(a) - rank(b) })
	return folders, err
}

// inMailbox returns the last received message, if it is in a mailbox that can still be queried.
func inMailbox(w *steps.World) (*Arrival, error) {
	it, err := steps.State[Session](w).received()
	switch {
	case err != nil:
		return nil, err
	case it.box == nil:
		return nil, steps.FailScenario("%s was not received over IMAP, and only IMAP has folders and flags", it.Where)
	case it.box.client == nil || !it.box.alive():
		return nil, steps.Fail(result.ReasonDisconnected, result.BlameAccess, "the connection to %s has ended", it.box)
	}
	return it, nil
}

func isInInbox(_ context.Context, w *steps.World, _ steps.Args) error {
	it, err := steps.State[Session](w).received()
	if err != nil || strings.EqualFold(it.Folder, "INBOX") {
		return err
	}
	return steps.Fail(result.ReasonUnexpected, result.BlameFiltering, "the message is in %s, not in the INBOX", it.Where)
}

func isNotSpamFolder(ctx context.Context, w *steps.World, _ steps.Args) error {
	it, err := inMailbox(w)
	if err != nil {
		return err
	}
	folders, err := it.box.folders(ctx)
	if err != nil {
		return err
	}
	for _, f := range folders {
		if !f.junk {
			continue
		}
		var uids []imap.UID
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
	var uids []imap.UID
	_, err = awaitThere(ctx, time.Until(it.At.Add(duplicateWait)), 50*time.Millisecond, func(ctx context.Context) (bool, error) {
		if strings.EqualFold(it.Folder, "INBOX") {
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
func (a *Arrival) copies(ctx context.Context, uids []imap.UID) string {
	came := make(map[imap.UID]string)
	_ = a.box.visit(ctx, a.Folder, func() error { // without it only the UIDs are named
		return a.box.do(ctx, "UID FETCH "+imap.UIDSetNum(uids...).String()+" (INTERNALDATE)", func() error {
			messages, err := a.box.client.Fetch(imap.UIDSetNum(uids...), &imap.FetchOptions{UID: true, InternalDate: true}).Collect()
			for _, fetched := range messages {
				came[fetched.UID] = fetched.InternalDate.UTC().Format(" of 15:04:05 MST")
			}
			return err
		})
	})
	names := make([]string, len(uids))
	for i, uid := range uids {
		names[i] = fmt.Sprintf("UID %d%s", uid, came[uid])
	}
	return strings.Join(names, " and ")
}

// flags returns the flags of a received message.
func (a *Arrival) flags(ctx context.Context) (flags []imap.Flag, err error) {
	gone := true
	err = a.box.visit(ctx, a.Folder, func() error {
		return a.box.do(ctx, fmt.Sprintf("UID FETCH %d (FLAGS)", a.uid), func() error {
			messages, err := a.box.client.Fetch(imap.UIDSetNum(a.uid), &imap.FetchOptions{UID: true, Flags: true}).Collect()
			for _, fetched := range messages {
				if fetched.UID == a.uid {
					flags, gone = fetched.Flags, false
				}
			}
			return err
		})
	})
	if err == nil && gone {
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
	if slices.Contains(flags, imap.FlagSeen) {
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
	if slices.ContainsFunc(flags, func(f imap.Flag) bool { return strings.EqualFold(string(f), a.Text(0)) }) {
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
	box := &mailbox{w: w, mail: steps.State[Session](w), account: account, host: account.IMAP, port: steps.PortIMAPS} // a separate one: there is nothing to remove from it
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
	_ = box.do(ctx, "LOGOUT", func() error { return box.client.Logout().Wait() }) // a request; the connection is closed in any case
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
	var roots []imapQuota
	err = m.do(ctx, "GETQUOTAROOT INBOX", func() error {
		if !m.client.Caps().Has(imap.CapQuota) {
			return steps.Fail(result.ReasonUnexpected, result.BlameAccess, "%s reports no quota: it lacks QUOTA (RFC 9208)", m.server())
		}
		data, err := m.client.GetQuotaRoot("INBOX").Wait()
		for _, root := range data {
			for kind, r := range root.Resources {
				roots = append(roots, imapQuota{kind, r.Usage, r.Limit})
			}
		}
		return err
	})
	if err != nil {
		return worst, err
	}
	worst.ratio = -1
	storage := int64(-1)
	for _, r := range roots {
		if r.limit <= 0 || r.usage < 0 {
			continue
		}
		ratio := float64(r.usage) / float64(r.limit)
		unit := strings.ToLower(string(r.kind)) + "s"
		if r.kind == imap.QuotaResourceStorage { // in units of 1024 bytes (RFC 9208 section 5.1)
			unit = "KiB"
			if storage < 0 { // with several limits on storage only the first is measured: the mailbox's own
				m.w.Measure("mail_quota_used_bytes", "Used space of the mailbox.", float64(r.usage)*1024)
				m.w.Measure("mail_quota_limit_bytes", "Space limit of the mailbox.", float64(r.limit)*1024)
			}
			storage = r.usage
		}
		if ratio > worst.ratio {
			worst = quotaUse{ratio, fmt.Sprintf("%d of %d %s", r.usage, r.limit, unit)}
		}
	}
	if worst.ratio < 0 {
		return worst, steps.Fail(result.ReasonUnexpected, result.BlameAccess, "%s sets no limit for the mailbox of %s, so it cannot be full", m.server(), m.account.Name)
	}
	m.w.Measure("mail_quota_used_ratio", "Used share of the mailbox: 1 is full.", worst.ratio)
	return worst, nil
}

type imapQuota struct {
	kind         imap.QuotaResourceType
	usage, limit int64
}
