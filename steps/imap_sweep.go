package steps

import (
	"context"
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-imap/v2"
)

const (
	// foldersLimit bounds the look through folders that filters may have filed mail into. On a distant server with many it takes
	// several runs to see all of them.
	foldersLimit = time.Second

	// foldersEvery is how often a process looks through them although no message is missing.
	foldersEvery = time.Hour

	// senderEvery is how often a process looks for bounces of a scenario in a sender's mailbox that no step reads, and senderSoon
	// when it does so first. That takes a login of its own, two thirds of what a whole check costs, so of programs that run a
	// scenario once and end only one in senderShare does it.
	senderEvery = time.Hour
	senderSoon  = 5 * time.Minute
	senderShare = 8
)

// clearFolders removes the scenario's messages from the folder for spam, and says how many of them this run sent. When a message
// of the run is missing, in the process' first run and every foldersEvery it does so in all folders beside the INBOX. A folder
// without messages, and one that nothing came into since this process found none of the scenario's in it, is not opened. The
// INBOX is the selected mailbox again afterwards.
func (m *mailbox) clearFolders(ctx context.Context, missing bool) (filed int, err error) {
	now := time.Now()
	due := strings.Join([]string{"folders", m.account.Username, m.server(), m.w.Origin()}, "\x00")
	all := missing || now.Unix() >= swept.mark(due)
	list := m.folders
	if all {
		list = m.countedFolders
	}
	folders, err := list(ctx)
	if err != nil {
		return 0, err
	}
	rand.Shuffle(len(folders), func(i, j int) { //nolint:gosec // no secret: it only has each folder come first some time
		if !folders[i].junk && !folders[j].junk {
			folders[i], folders[j] = folders[j], folders[i]
		}
	})
	away := false
	for _, f := range folders {
		key := strings.Join([]string{"folder", m.account.Username, m.server(), f.name, m.w.Origin()}, "\x00")
		switch {
		case strings.EqualFold(f.name, "INBOX"), !f.junk && !all, f.counted && f.messages == 0, f.counted && swept.mark(key) == f.mark:
			continue
		case !f.junk && time.Since(now) > foldersLimit:
			all = false // the next run goes on
			continue
		}
		away = true
		n, left, err := m.clearFolder(ctx, f.name)
		filed += n
		if err != nil {
			return filed, err
		}
		if f.counted && left == 0 {
			swept.note(key, f.mark)
		}
	}
	switch {
	case missing && filed == 0: // it may come yet
		swept.note(due, 0)
	case all:
		swept.note(due, now.Add(foldersEvery).Unix())
	}
	if !away {
		return filed, nil
	}
	m.announce() // what came to the INBOX meanwhile was not announced
	return filed, m.choose(ctx, "INBOX")
}

// clearFolder removes the scenario's messages from one folder. It gives how many this run sent, and how many it had to leave.
func (m *mailbox) clearFolder(ctx context.Context, name string) (filed, left int, err error) {
	if err := m.choose(ctx, name); err != nil {
		if no := (*imap.Error)(nil); errors.As(err, &no) { // removed meanwhile, or closed to us: nothing of ours got there
			return 0, 1, nil
		}
		return 0, 1, err
	}
	all, err := m.search(ctx, headerOrigin, m.w.Origin())
	if err != nil || len(all) == 0 {
		return 0, 0, err
	}
	own, err := m.search(ctx, headerRun, m.w.Run())
	return len(own), 0, errors.Join(err, m.remove(ctx, all))
}

func (m *mailbox) choose(ctx context.Context, name string) error {
	return m.do(ctx, "SELECT "+strconv.Quote(name), func() error {
		_, err := m.client.Select(name, nil).Wait()
		return err
	})
}

// countedFolders lists the folders with what is in them, where the server tells that in one answer (LIST-STATUS, RFC 5819).
func (m *mailbox) countedFolders(ctx context.Context) (folders []listedFolder, err error) {
	if m.client.Caps().Has(imap.CapListStatus) {
		return m.list(ctx, &imap.StatusOptions{NumMessages: true, UIDNext: true, UIDValidity: true})
	}
	return m.list(ctx, nil)
}

// sweepSenders removes bounces of what the scenario's earlier runs sent from the mailboxes of its senders now and then: a run that
// was killed, or that ended before the bounce came, left them.
func (m *mail) sweepSenders(ctx context.Context, w *World) error {
	var errs []error
	seen := make(map[*Account]bool)
	for _, s := range m.sent {
		if seen[s.from] || s.from.IMAP == "" || s.from.Password == "" {
			continue
		}
		seen[s.from] = true
		key := strings.Join([]string{"bounces", s.from.Username, s.from.IMAP, w.Origin()}, "\x00")
		now := time.Now().Unix()
		due := swept.mark(key)
		if due == 0 && crc32.ChecksumIEEE([]byte(w.Run()))%senderShare != 0 { // by chance, as runs have random names
			due = now + int64(senderSoon.Seconds())
			swept.note(key, due)
		}
		if now < due {
			continue
		}
		box := &mailbox{w: w, mail: m, account: s.from, host: s.from.IMAP, port: portIMAPS}
		opening, cancel := context.WithTimeout(ctx, reopenLimit)
		err := box.open(opening)
		if err == nil {
			err = box.sweepReports(opening)
			_ = box.do(opening, "LOGOUT", func() error { return box.client.Logout().Wait() }) // it is asked, and closed in any case
		}
		cancel()
		box.close()
		if errors.Is(err, errNoUIDPlus) {
			errs = append(errs, err)
		}
		// Another error says nothing of this run: a sender's mailbox need not be open to it. The next run tries again.
		if err == nil {
			swept.note(key, now+int64(senderEvery.Seconds()))
		}
	}
	return errors.Join(errs...)
}

// swept is what this process found swept. What a killed process left, the next one finds, as that knows nothing.
var swept sweptMarks

// sweptMarks holds a number for each thing that was swept. It is safe for use by several goroutines.
type sweptMarks struct {
	mu    sync.Mutex
	marks map[string]int64
}

// sweptLimit caps how many are kept. Beyond that all are forgotten, which only costs the next sweeps time.
const sweptLimit = 50_000

func (s *sweptMarks) mark(key string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.marks[key]
}

func (s *sweptMarks) note(key string, mark int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.marks == nil || len(s.marks) >= sweptLimit {
		s.marks = make(map[string]int64)
	}
	s.marks[key] = mark
}
