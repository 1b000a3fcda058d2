package steps

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
	"github.com/stepwatch/stepwatch/steps/message"
)

func init() {
	Register(
		Definition{
			Area: "mail", Sentence: `{account} receives it in the folder {text} over IMAP within {duration}`, Pattern: `^"([^"]+)" receives it in the folder "([^"]+)" over IMAP within {duration}$`,
			Does: "Waits until the message that was sent last to this account is in this folder, where a filter such as Sieve (RFC 5228) files it. The folder may come into being with the message. " +
				"Reads via port 993, TLS from the first byte. Fails when it is not there in time, and names the folder in which it is instead. The message is removed afterwards.",
			Measures: "From the start of the step until the message is in the folder. Measures mail_detection_lag_seconds and mail_delivery_seconds; the opening of the mailbox stands " +
				"in the phases mailbox_dns and so on.",
			Example: `Then "bob" receives it in the folder "Lists" over IMAP within 60s`,
			Waits:   true,
			Prepare: prepareFolder,
			Func:    receiveInFolder,
		},
		Definition{
			Area: "mail", Sentence: `it is in the inbox`,
			Does:    "Fails unless the message that was received last lies in the INBOX.",
			Example: `Then it is in the inbox`,
			Func:    isInInbox,
		},
		Definition{
			Area: "mail", Sentence: `it is not in the spam folder`,
			Does: "Fails when the message that was received last, or a copy of it, lies in the folder that filters put spam into: the one with the attribute \\Junk " +
				"(RFC 6154), or called Junk or Spam.",
			Example: `Then it is not in the spam folder`,
			Func:    isNotSpamFolder,
		},
		Definition{
			Area: "mail", Sentence: `it arrived once`,
			Does: "Fails when the message that was received last lies in its folder more than once. It looks until two seconds after the arrival, as a duplicate comes " +
				"behind the first.",
			Measures: "Up to two seconds of looking. Measures mail_copies.",
			Example:  `Then it arrived once`,
			Func:     arrivedOnce,
		},
		Definition{
			Area: "mail", Sentence: `it is unread`,
			Does:    "Fails when the message that was received last has the flag \\Seen: something reads the mailbox beside its owner.",
			Example: `Then it is unread`,
			Func:    isUnread,
		},
		Definition{
			Area: "mail", Sentence: `it has the flag {text}`,
			Does:    "Fails unless the message that was received last has this IMAP flag or keyword, as a filter sets it: \"\\Flagged\", \"$Junk\".",
			Example: `Then it has the flag "\Flagged"`,
			Func:    hasFlag,
		},
		Definition{
			Area: "mail", Sentence: `the mailbox of {account} is less than {number} % full`,
			Does: "Asks the IMAP server, via port 993, how much the mailbox holds and may hold (QUOTA, RFC 9208), and fails at this share of any limit, or when " +
				"the server tells none.",
			Measures: "From looking up the name to the end of the dialogue, in the phases dns, connect, tls, greeting, login and select. Measures mail_quota_used_bytes, mail_quota_limit_bytes and mail_quota_used_ratio.",
			Example:  `Then the mailbox of "bob" is less than 90 % full`,
			Func:     isBelowQuota,
		},
	)
}

func folderArgs(w *World, a Args) (box *mailbox, folder string, within time.Duration, err error) {
	box, within, err = mailboxOf(w, Args{Captured: []string{a.Text(0), a.Text(2)}})
	return box, a.Text(1), within, err
}

// folderStart is where a folder ended when the mailbox was opened.
type folderStart map[string]imap.UID // by account and folder

func prepareFolder(ctx context.Context, w *World, a Args) {
	box, folder, _, err := folderArgs(w, a)
	if err != nil {
		return // a wrong argument the step itself reports
	}
	prepareMailbox(ctx, w, Args{Captured: []string{a.Text(0), a.Text(2)}})
	if strings.EqualFold(folder, "INBOX") {
		return // it is what receives without a folder read
	}
	if box.client == nil || box.err != nil {
		return // likewise
	}
	ctx, cancel := context.WithTimeout(ctx, prepareLimit)
	defer cancel()
	starts := State[folderStart](w)
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

// nextIn tells where new messages of a folder will begin, and 1 when it does not exist.
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

// visit does something in another folder. The INBOX is the selected mailbox again afterwards.
func (m *mailbox) visit(ctx context.Context, folder string, do func() error) error {
	if strings.EqualFold(folder, "INBOX") {
		// Dovecot answers from what it last announced, so what came since must be asked for.
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
	m.announce() // what came to the INBOX meanwhile was not announced
	return err
}

func receiveInFolder(ctx context.Context, w *World, a Args) error {
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
	s, err := box.awaited(State[mail](w))
	if err != nil {
		return err
	}
	watch := box.mail.watchReturn(ctx, w, s)
	defer watch.end()
	uids, err := box.awaitInFolder(ctx, s, folder, within, watch)
	if err != nil {
		box.log.attach(w, "imap transcript")
		return err
	}
	w.Cleanup("remove the test mail of "+box.account.Name, func(ctx context.Context) error {
		s.removed = true
		return box.visit(ctx, folder, func() error { return box.remove(ctx, uids) })
	})
	State[mail](w).receive(w, &arrival{account: box.account, sent: s, where: fmt.Sprintf("%s's folder %q at %s", box.account.Name, folder, box.server()),
		folder: folder, at: time.Now(), box: box, uid: uids[0], read: func(ctx context.Context) (raw []byte, err error) {
			err = box.visit(ctx, folder, func() error {
				raw, err = box.fetchMessage(ctx, uids[0])
				return err
			})
			return raw, err
		}})
	return nil
}

// awaited is the message that a step waits for in m, which must be open.
func (m *mailbox) awaited(all *mail) (*submission, error) {
	s := all.last(m.account)
	switch {
	case s == nil:
		return nil, scenarioFault("nothing was sent to %q before this step: begin with \"I send a message from … to %q via …\"", m.account.Name, m.account.Name)
	case m.client == nil:
		return nil, Fail(result.ReasonInternal, result.BlameMonitor, "the mailbox of %q was not opened before the first step", m.account.Name)
	}
	return s, nil
}

// awaitInFolder waits until s is in the folder and gives its UIDs there.
func (m *mailbox) awaitInFolder(ctx context.Context, s *submission, folder string, within time.Duration, watch *returnWatch) (uids []imap.UID, err error) {
	start := time.Now()
	next := max((*State[folderStart](m.w))[m.account.Name+"\x00"+folder], 1)
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
			uids, err = m.numbered(ctx, next, s.number)
			return err
		})
		if len(uids) == 0 {
			next = now
		}
		return len(uids) > 0, err
	})
	if err == nil {
		m.w.Measure("mail_detection_lag_seconds", "How much later than the message's arrival the step can have noticed it, at most.", lag.Seconds())
		m.w.Measure("mail_delivery_seconds", "From the server's acceptance of the message until it was seen in the mailbox.", time.Since(s.accepted).Seconds())
		return uids, nil
	}
	if !errors.Is(err, errNotThere) {
		return nil, err
	}
	if elsewhere, found := m.locate(ctx, folder); found {
		return nil, Fail(result.ReasonNotReceived, result.BlameFiltering, "the message is in %s's folder %q at %s, wanted in %q: no filter filed it there",
			m.account.Name, elsewhere.name, m.server(), folder)
	}
	missing := ""
	if !exists {
		missing = ", which does not exist,"
	}
	err = Fail(result.ReasonNotReceived, result.BlameDelivery, "no message in %s's folder %q%s at %s after %s, nor in another: %s accepted it%s at %s; %s",
		m.account.Name, folder, missing, m.server(), seconds(time.Since(start)), s.server, s.queued(), s.accepted.UTC().Format("15:04:05.000 MST"), s.known(time.Now()))
	return nil, watch.explain(ctx, err)
}

// numbered gives the UIDs, from next on in the selected folder, of the run's message of that number.
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

// foldersSearched caps in how many folders a missing message is looked for.
const foldersSearched = 20

// locate names a folder, another than one, that has a message of this run, for a failure to tell. What goes wrong takes nothing
// from the message being missing where it should be.
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
	junk bool // filters put spam there

	counted  bool   // the server told what is in it
	messages uint32 // how many
	mark     int64  // changes when one comes: UIDVALIDITY and UIDNEXT
}

// folders lists the folders that can be selected: the INBOX and those for spam first.
func (m *mailbox) folders(ctx context.Context) (folders []listedFolder, err error) {
	return m.list(ctx, nil)
}

// list does that, with the status of each where that is asked for.
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
				junk: slices.Contains(f.Attrs, imap.MailboxAttrJunk) || slices.Contains([]string{"junk", "spam", "junk e-mail", "junk email"}, name)}
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

// inMailbox is the message that was received last, in a mailbox that can still be asked about it.
func inMailbox(w *World) (*arrival, error) {
	it, err := State[mail](w).received()
	switch {
	case err != nil:
		return nil, err
	case it.box == nil:
		return nil, scenarioFault("%s was not received over IMAP, and only that knows folders and flags", it.where)
	case it.box.client == nil || !it.box.alive():
		return nil, Fail(result.ReasonDisconnected, result.BlameAccess, "the connection to %s has ended", it.box)
	}
	return it, nil
}

func isInInbox(_ context.Context, w *World, _ Args) error {
	it, err := State[mail](w).received()
	if err != nil || strings.EqualFold(it.folder, "INBOX") {
		return err
	}
	return Fail(result.ReasonUnexpected, result.BlameFiltering, "the message is in %s, not in the INBOX", it.where)
}

func isNotSpamFolder(ctx context.Context, w *World, _ Args) error {
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
			return Fail(result.ReasonUnexpected, result.BlameFiltering, "the message is in %s's folder %q at %s: a filter took it for spam", it.account.Name, f.name, it.box.server())
		}
	}
	return nil
}

// duplicateWait is how long behind a message its duplicate is looked for.
const duplicateWait = 2 * time.Second

func arrivedOnce(ctx context.Context, w *World, _ Args) error {
	it, err := inMailbox(w)
	if err != nil {
		return err
	}
	if it.sent == nil {
		return scenarioFault("only a message that the scenario sent can be told from others")
	}
	var uids []imap.UID
	_, err = awaitThere(ctx, time.Until(it.at.Add(duplicateWait)), 50*time.Millisecond, func(ctx context.Context) (bool, error) {
		if strings.EqualFold(it.folder, "INBOX") {
			if err := it.box.look(ctx); err != nil {
				return false, err
			}
			uids = it.box.found[it.sent.number]
			return len(uids) > 1, nil
		}
		err := it.box.visit(ctx, it.folder, func() (err error) {
			uids, err = it.box.numbered(ctx, it.uid, it.sent.number)
			return err
		})
		return len(uids) > 1, err
	})
	if err != nil && !errors.Is(err, errNotThere) {
		return err
	}
	w.Measure("mail_copies", "How often the message lies in the folder.", float64(len(uids)))
	if len(uids) > 1 {
		return Fail(result.ReasonUnexpected, result.BlameTransfer, "the message lies %d times in %s, %s: a server sent it again although the next one had it, or two ways lead there",
			len(uids), it.where, it.copies(ctx, uids))
	}
	return nil
}

// copies names copies of a message by their UIDs and when the server got them, as far as it tells that.
func (a *arrival) copies(ctx context.Context, uids []imap.UID) string {
	came := make(map[imap.UID]string)
	_ = a.box.visit(ctx, a.folder, func() error { // without it the UIDs are named alone
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

// flags asks for the flags of a received message.
func (a *arrival) flags(ctx context.Context) (flags []imap.Flag, err error) {
	gone := true
	err = a.box.visit(ctx, a.folder, func() error {
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
		err = Fail(result.ReasonUnexpected, result.BlameAccess, "read the flags of the message from %s: it is gone; somebody else removed it", a.where)
	}
	return flags, err
}

func isUnread(ctx context.Context, w *World, _ Args) error {
	it, err := inMailbox(w)
	if err != nil {
		return err
	}
	flags, err := it.flags(ctx)
	if err != nil {
		return err
	}
	if slices.Contains(flags, imap.FlagSeen) {
		return Fail(result.ReasonUnexpected, result.BlameAccess, "the message in %s has the flag \\Seen: another program reads the mailbox, or a filter sets it", it.where)
	}
	return nil
}

func hasFlag(ctx context.Context, w *World, a Args) error {
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
	return Fail(result.ReasonUnexpected, result.BlameFiltering, "the message in %s has the flags %q, wanted %q", it.where, flags, a.Text(0))
}

func isBelowQuota(ctx context.Context, w *World, a Args) error {
	account, err := w.target.Account(a.Text(0))
	if err != nil {
		return err
	}
	limit, err := a.Number(1)
	if err != nil {
		return err
	}
	box := &mailbox{w: w, mail: State[mail](w), account: account, host: account.IMAP, port: portIMAPS} // of its own: there is nothing in it to remove
	if err := box.open(ctx); err != nil {
		box.log.attach(w, "imap transcript")
		return err
	}
	defer box.close()
	worst, err := box.quota(ctx)
	if err != nil {
		box.log.attach(w, "imap transcript")
		return err
	}
	_ = box.do(ctx, "LOGOUT", func() error { return box.client.Logout().Wait() }) // it is asked, and closed in any case
	if worst.ratio*100 >= limit {
		return Fail(result.ReasonUnexpected, result.BlameDelivery, "the mailbox of %s at %s is %.1f %% full, wanted less than %s %%: %s; when it is full its mail is refused",
			account.Name, box.server(), worst.ratio*100, a.Text(1), worst.text)
	}
	return nil
}

type quotaUse struct {
	ratio float64
	text  string // "19.5 of 20 KiB"
}

// quota asks what the mailbox holds and may hold, and gives the resource that is nearest to its limit.
func (m *mailbox) quota(ctx context.Context) (worst quotaUse, err error) {
	var roots []imapQuota
	err = m.do(ctx, "GETQUOTAROOT INBOX", func() error {
		if !m.client.Caps().Has(imap.CapQuota) {
			return Fail(result.ReasonUnexpected, result.BlameAccess, "%s tells no quota: it lacks QUOTA (RFC 9208)", m.server())
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
			if storage < 0 { // several limits on storage are one measurement: the first is the mailbox's own
				m.w.Measure("mail_quota_used_bytes", "What the mailbox holds.", float64(r.usage)*1024)
				m.w.Measure("mail_quota_limit_bytes", "What the mailbox may hold.", float64(r.limit)*1024)
			}
			storage = r.usage
		}
		if ratio > worst.ratio {
			worst = quotaUse{ratio, fmt.Sprintf("%d of %d %s", r.usage, r.limit, unit)}
		}
	}
	if worst.ratio < 0 {
		return worst, Fail(result.ReasonUnexpected, result.BlameAccess, "%s sets no limit to the mailbox of %s: there is nothing that could be full", m.server(), m.account.Name)
	}
	m.w.Measure("mail_quota_used_ratio", "How full the mailbox is: 1 is full.", worst.ratio)
	return worst, nil
}

type imapQuota struct {
	kind         imap.QuotaResourceType
	usage, limit int64
}
