package mail

import (
	"context"
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/address"
)

const (
	// foldersLimit limits the time to search the folders into which filters may have filed mail. On a distant server
	// with many folders it takes several runs to search all of them.
	foldersLimit = time.Second

	// foldersEvery is how often a process searches the folders although no message is missing.
	foldersEvery = time.Hour

	// senderEvery is how often a process looks for bounces of a scenario in a sender's mailbox that no step reads, and
	// senderSoon is the time before the first look. It takes a separate login, two thirds of the cost of a whole check.
	// So of programs that run a scenario once and end, only one in senderShare looks.
	senderEvery = time.Hour
	senderSoon  = 5 * time.Minute
	senderShare = 8
)

// clearFolders removes the scenario's messages from the spam folder, and returns how many of them this run sent. It
// searches all folders other than the INBOX when a message of the run is missing, in the process's first run, and every
// foldersEvery. It does not open an empty folder, or one without new messages since this process found none of the
// scenario's in it. Afterwards the INBOX is the selected mailbox again.
func (m *mailbox) clearFolders(ctx context.Context, missing bool) (filed int, err error) {
	now := time.Now()
	due := strings.Join([]string{"folders", m.account.Username, m.server(), m.w.Origin()}, "\x00")
	all := missing || now.Unix() >= swept.mark(due)
	folders, _, err := m.list(ctx, all)
	if err != nil {
		return 0, err
	}
	rand.Shuffle(len(folders), func(i, j int) { //nolint:gosec // no secret: each folder comes first sometimes
		if !folders[i].junk && !folders[j].junk {
			folders[i], folders[j] = folders[j], folders[i]
		}
	})
	bin := ""
	if m.moves() {
		if bin, err = m.bin(ctx); err != nil {
			return 0, err
		}
	}
	away := false
	for _, f := range folders {
		if f.name == bin { // a killed run left it, and what it holds is ours
			if err := m.failure(ctx, m.client.Delete(ctx, bin)); err != nil {
				return filed, err
			}
			continue
		}
		key := strings.Join([]string{"folder", m.account.Username, m.server(), f.name, m.w.Origin()}, "\x00")
		switch {
		case strings.EqualFold(f.name, "INBOX"), !f.junk && !all, f.counted && f.messages == 0, f.counted && swept.mark(key) == f.mark:
			continue
		case !f.junk && time.Since(now) > foldersLimit:
			all = false // the next run continues
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
	case missing && filed == 0: // it may still come
		swept.note(due, 0)
	case all:
		swept.note(due, now.Add(foldersEvery).Unix())
	}
	if !away {
		return filed, nil
	}
	m.announce() // new messages in the INBOX were not announced meanwhile
	return filed, m.choose(ctx, "INBOX")
}

// clearFolder removes the scenario's messages from one folder. It returns how many this run sent, and how many it had
// to leave.
func (m *mailbox) clearFolder(ctx context.Context, name string) (filed, left int, err error) {
	if err := m.choose(ctx, name); err != nil {
		if isRefusal(err) { // removed meanwhile, or not open to us: none of our messages got there
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

// choose selects another folder.
func (m *mailbox) choose(ctx context.Context, name string) error {
	if !m.alive() {
		return steps.Fail(result.ReasonDisconnected, result.BlameAccess, "the connection to %s has ended", m)
	}
	if _, err := m.client.Select(ctx, name, m.looking); err != nil {
		return m.failure(ctx, err)
	}
	m.selected = name
	return nil
}

// sweepSenders sometimes removes bounces of messages of earlier runs from the mailboxes of the scenario's senders. A
// run that was killed, or that ended before the bounce came, left them.
func (m *Session) sweepSenders(ctx context.Context, w *steps.World) error {
	var errs []error
	seen := make(map[*steps.Account]bool)
	for _, s := range m.Sent {
		if seen[s.from] || s.from.IMAP == "" || s.from.Password == "" {
			continue
		}
		seen[s.from] = true
		key := strings.Join([]string{"bounces", s.from.Username, s.from.IMAP, w.Origin()}, "\x00")
		now := time.Now().Unix()
		due := swept.mark(key)
		if due == 0 && crc32.ChecksumIEEE([]byte(w.Run()))%senderShare != 0 { // random, because the names of runs are random
			due = now + int64(senderSoon.Seconds())
			swept.note(key, due)
		}
		if now < due {
			continue
		}
		box := &mailbox{w: w, mail: m, account: s.from, host: s.from.IMAP, port: address.PortIMAPS}
		opening, cancel := context.WithTimeout(ctx, reopenLimit)
		err := box.open(opening)
		if err == nil {
			err = box.sweepReports(opening)
			box.logout(opening)
		}
		cancel()
		box.close()
		if left := box.stay(); left != nil {
			errs = append(errs, left)
		}
		// Other errors do not concern this run: it need not have access to a sender's mailbox. The next run tries
		// again.
		if err == nil {
			swept.note(key, now+int64(senderEvery.Seconds()))
		}
	}
	return errors.Join(errs...)
}

// swept records what this process has swept. A new process knows nothing, so it finds what a killed process left.
var swept sweptMarks

// sweptMarks holds a number for each swept item. It is safe for concurrent use.
type sweptMarks struct {
	mu    sync.Mutex
	marks map[string]int64
}

// sweptLimit limits the number of marks. Beyond that all marks are dropped, which only makes the next sweeps slower.
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
