package mail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/lack"
	"github.com/stepwatch/stepwatch/steps/limit"
	"github.com/stepwatch/stepwatch/steps/maildir"
	"github.com/stepwatch/stepwatch/steps/message"
	"github.com/stepwatch/stepwatch/steps/wording"
)

func init() {
	const (
		does = "The directory is on this machine and contains new, cur and tmp. stepwatch's user must be allowed to read and change it. The first delivery may create it. " +
			"Fails when the message is not there in time, with the reason of the bounce if the sender got one, or with the folder below (Maildir++) that a filter put it into, and when the directory cannot be read. The message is removed afterwards, " +
			"and so are messages that an earlier run of the scenario left behind."
		measures = "From the start of the step to the arrival of the message. Measures mail_detection_lag_seconds, mail_delivery_seconds (from the acceptance of the message), and the way of the message like \"receives it over IMAP\"."
	)
	steps.Register(
		steps.Definition{
			Area: "mail", Sentence: `it is in the Maildir {text} within {duration}`, Pattern: `^it is in the Maildir "([^"]+)" within {duration}$`,
			Does: "Waits until the last sent message is in this Maildir, as it was delivered and before any IMAP server has seen it. " + does, Measures: measures,
			Example: `Then it is in the Maildir "/var/mail/bob/Maildir" within 60s`,
			Waits:   true, Prepare: prepareMaildir(maildirNamed), Func: receiveInMaildir(maildirNamed),
		},
		steps.Definition{
			Area: "mail", Sentence: `{account} receives it in the Maildir within {duration}`,
			Does: "Waits until the last message sent to this account is in the account's Maildir (maildir in stepwatch.yml), as it was delivered and before any IMAP server has seen it. " + does, Measures: measures,
			Example: `Then "bob" receives it in the Maildir within 60s`,
			Waits:   true, Prepare: prepareMaildir(maildirOf), Func: receiveInMaildir(maildirOf),
		},
	)
}

// maildirLimit limits one of our messages, which servers may have made longer.
var maildirLimit = limit.Define(limit.Limit{Subject: "Maildir", What: "the message", Unit: "bytes", Most: 32 << 20, Setting: "limits.message"})

const (
	// maildirHeader limits the bytes read of a message to recognise it.
	maildirHeader = 64 << 10

	// maildirGap is the minimum pause between two looks.
	maildirGap = 5 * time.Millisecond

	// maildirSwept is how far back the sweep goes, the same as for IMAP mailboxes.
	maildirSwept = 48 * time.Hour
)

// maildirBox is a Maildir that a scenario reads.
type maildirBox struct {
	w       *steps.World
	mail    *Session
	path    string
	account *steps.Account // the owner; nil when the step names only the directory

	folder   *maildir.Folder // nil until it exists
	ready    bool            // it was read before anything was sent
	err      error           // why that failed
	found    map[int][]string
	stale    []string // messages of earlier runs
	others   int      // new messages that are not this scenario's
	awaited  []*Submission
	sweepErr error
}

// maildirBoxes are the Maildirs of the scenario.
type maildirBoxes []*maildirBox

// String returns the name of the mailbox in messages.
func (b *maildirBox) String() string {
	if b.account != nil {
		return fmt.Sprintf("%s's Maildir %q", b.account.Name, b.path)
	}
	return fmt.Sprintf("the Maildir %q", b.path)
}

// maildirNamed returns the Maildir that a step names by its path.
func maildirNamed(w *steps.World, a steps.Args) (*maildirBox, error) {
	return maildirAt(w, a.Text(0), nil), nil
}

// maildirOf returns the Maildir of the account that a step names.
func maildirOf(w *steps.World, a steps.Args) (*maildirBox, error) {
	account, err := w.Target().Account(a.Text(0))
	if err != nil {
		return nil, err
	}
	path, err := account.Require("maildir", account.Maildir)
	if err != nil {
		return nil, err
	}
	return maildirAt(w, path, account), nil
}

func maildirAt(w *steps.World, path string, account *steps.Account) *maildirBox {
	boxes := steps.State[maildirBoxes](w)
	for _, box := range *boxes {
		if box.path == path && box.account == account {
			return box
		}
	}
	box := &maildirBox{w: w, mail: steps.State[Session](w), path: path, account: account, found: make(map[int][]string)}
	*boxes = append(*boxes, box)
	w.Cleanup("remove the test mail in "+path, box.cleanup)
	return box
}

// prepareMaildir records the existing messages before anything is sent, and removes those that earlier runs left.
func prepareMaildir(of func(*steps.World, steps.Args) (*maildirBox, error)) func(context.Context, *steps.World, steps.Args) {
	return func(_ context.Context, w *steps.World, a steps.Args) {
		box, err := of(w, a)
		if err != nil || box.ready || box.err != nil {
			return // the step itself reports a wrong argument
		}
		box.err = box.look(time.Now().Add(-maildirSwept))
		box.ready = box.err == nil
		if box.ready {
			box.sweepErr = box.remove(box.stale)
			box.stale, box.others = nil, 0
		}
	}
}

// look records the new messages. It does not open messages from before since.
func (b *maildirBox) look(since time.Time) error {
	if b.folder == nil {
		folder, err := maildir.Open(b.path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // the first delivery creates it
		}
		if err != nil {
			return b.failure(err)
		}
		b.folder = folder
	}
	names, err := b.folder.Fresh()
	if err != nil {
		return b.failure(err)
	}
	for _, name := range names {
		if at := maildir.Delivered(name); !at.IsZero() && at.Before(since) {
			continue
		}
		content, err := b.folder.Read(name, maildirHeader)
		if errors.Is(err, fs.ErrPermission) {
			return b.failure(err)
		}
		if err != nil {
			continue // somebody removed it, or it is not a message
		}
		header, _ := message.Read(content)
		switch {
		case header.Line(headerRun) == b.w.Run():
			number := ownNumber(header.Line(headerMessage))
			b.found[number] = append(b.found[number], name)
		case header.Line(headerOrigin) == b.w.Origin():
			b.stale = append(b.stale, name)
		default:
			b.others++
		}
	}
	return nil
}

// failure says why the directory is not usable, which proves nothing about the mail system.
func (b *maildirBox) failure(err error) error {
	remedy := "is that a Maildir, the directory above new, cur and tmp?"
	if errors.Is(err, fs.ErrPermission) {
		remedy = "permit stepwatch's user to read and change it, for example with setfacl -R -m u:stepwatch:rwX,d:u:stepwatch:rwX, and to enter the directories above"
	}
	return steps.Fail(result.ReasonConfig, result.BlameScenario, "read %s: %w: %s", b, err, remedy)
}

func receiveInMaildir(of func(*steps.World, steps.Args) (*maildirBox, error)) func(context.Context, *steps.World, steps.Args) error {
	return func(ctx context.Context, w *steps.World, a steps.Args) error {
		box, err := of(w, a)
		if err != nil {
			return err
		}
		within, err := a.Duration(1)
		if err != nil {
			return err
		}
		return box.receive(ctx, within)
	}
}

// receive waits for the last sent message, which later steps then call "it".
func (b *maildirBox) receive(ctx context.Context, within time.Duration) error {
	if b.err != nil {
		return b.err
	}
	s := b.mail.Last(b.account)
	switch {
	case s == nil && b.account != nil:
		return steps.FailScenario("nothing was sent to %q before this step: begin with \"I send a message from … to %q via …\"", b.account.Name, b.account.Name)
	case s == nil:
		return steps.FailScenario("nothing was sent before this step: begin with \"I send a message from …\"")
	case !b.ready:
		return steps.Fail(result.ReasonInternal, result.BlameMonitor, "%s was not read before the first step", b)
	}
	if err := b.await(ctx, s, within); err != nil {
		return err
	}
	name := b.found[s.Number][0]
	b.mail.Receive(b.w, &Arrival{Account: s.To, sent: s, Where: b.String(), Folder: "INBOX", At: time.Now(),
		Read: func(context.Context) ([]byte, error) { return b.read(name) }})
	return nil
}

// read returns a whole message, with CRLF line ends.
func (b *maildirBox) read(name string) ([]byte, error) {
	most := maildirLimit.With(steps.SettingsOf[steps.Limits](b.w.Target()).Message)
	raw, err := b.folder.Read(name, most.Most+1)
	if errors.Is(err, maildir.ErrGone) {
		return nil, steps.Fail(result.ReasonUnexpected, result.BlameAccess, "read the message from %s: it is gone; somebody else removed it", b)
	}
	if err != nil {
		return nil, b.failure(err)
	}
	if int64(len(raw)) > most.Most {
		return nil, steps.FailFor(result.BlameDelivery, fmt.Errorf("read the message from %s: %w", b, most.Exceeded()))
	}
	defer b.w.Memory().Free(int64(len(raw)))
	if err := b.w.Memory().Take(int64(len(raw))); err != nil {
		return nil, steps.FailFor(result.BlameDelivery, fmt.Errorf("read the message from %s: %w", b, err))
	}
	return withCRLF(raw), nil
}

// withCRLF returns a text whose lines end in LF or CRLF with CRLF at the end of each.
func withCRLF(text []byte) []byte {
	out := make([]byte, 0, len(text)+bytes.Count(text, []byte("\n")))
	for line := range bytes.Lines(text) {
		content, ended := bytes.CutSuffix(line, []byte("\n"))
		if !ended {
			out = append(out, line...)
			break
		}
		out = append(append(out, bytes.TrimSuffix(content, []byte("\r"))...), "\r\n"...)
	}
	return out
}

// await waits until s is in the Maildir.
func (b *maildirBox) await(ctx context.Context, s *Submission, within time.Duration) error {
	b.awaited = append(b.awaited, s)
	start := time.Now()
	watch := b.mail.watchReturn(ctx, b.w, s)
	defer watch.end()
	lag, err := awaitThere(ctx, within, maildirGap, func(context.Context) (bool, error) {
		err := b.look(start.Add(-maildirSwept))
		if err == nil && len(b.found[s.Number]) == 0 {
			err = watch.bounced()
		}
		return len(b.found[s.Number]) > 0, err
	})
	if err == nil {
		b.w.Measure("mail_detection_lag_seconds", "Maximum time between the arrival of the message and its detection by the step.", lag.Seconds())
		b.w.Measure("mail_delivery_seconds", "Time from the server's acceptance of the message until it was seen in the mailbox.", time.Since(s.Accepted).Seconds())
		return nil
	}
	if !errors.Is(err, errNotThere) {
		return err
	}
	waited := time.Since(start)
	b.w.Untimed(func() { err = b.notReceived(ctx, s, waited, watch) })
	return err
}

// notReceived returns the failure for a missing message, after a look in a second way: the directory and the folders below it are
// opened anew, and everything of the last days in them is read.
func (b *maildirBox) notReceived(ctx context.Context, s *Submission, waited time.Duration, watch *returnWatch) error {
	if b.folder == nil {
		absent := steps.Fail(result.ReasonNotReceived, result.BlameDelivery, "no message in %s after %s, which does not exist: %s accepted it%s at %s: is mail delivered there? Otherwise check the mail log",
			b, wording.Seconds(waited), s.Server, s.queued(), s.Accepted.UTC().Format("15:04:05.000 MST"))
		if explained := watch.explain(ctx, absent); watch.found != nil || watch.late != nil {
			return explained
		}
		return absent
	}
	below, err := filepath.Glob(filepath.Join(escapeGlob(b.path), ".*", "cur"))
	if err != nil {
		below = nil // the pattern is ours
	}
	looked := 0
	var unread error
	for i, dir := range slices.Insert(below, 0, filepath.Join(b.path, "cur")) {
		other := &maildirBox{w: b.w, path: filepath.Dir(dir), account: b.account, found: make(map[int][]string)}
		if err := other.look(time.Now().Add(-maildirSwept)); err != nil {
			unread = errors.Join(unread, err)
			continue
		}
		if other.folder == nil {
			continue // somebody removed it
		}
		looked++
		names := other.found[s.Number]
		err := other.remove(names)
		err = errors.Join(err, other.folder.Close())
		switch {
		case len(names) == 0:
			continue
		case err == nil:
			s.removed = true
		default:
			b.sweepErr = errors.Join(b.sweepErr, err)
		}
		if i == 0 {
			return steps.Fail(result.ReasonNotReceived, result.BlameDelivery, "the message is in %s, but was not seen there within %s: it came just then; %s", b, wording.Seconds(waited), s.known(time.Now()))
		}
		return steps.Fail(result.ReasonNotReceived, result.BlameFiltering, "the message is in %s, in the folder below %q: a filter filed it there; it was sent from %s and accepted by %s",
			b, strings.TrimPrefix(filepath.Base(filepath.Dir(dir)), "."), s.from.Address, s.Server)
	}
	again := sighting{folders: looked}
	confirmation := again.confirmation()
	if unread != nil {
		confirmation += ", not in all: " + wording.OneLine(unread.Error(), 200)
	}
	err = steps.Fail(result.ReasonNotReceived, result.BlameDelivery, "no message in %s after %s: %s accepted it%s at %s, %s%s: check the mail log and the queue; %s",
		b, wording.Seconds(waited), s.Server, s.queued(), s.Accepted.UTC().Format("15:04:05.000 MST"), cameMeanwhile(b.others), confirmation, s.known(time.Now()))
	return watch.explain(ctx, lack.With(err, unread))
}

// escapeGlob returns a path as a pattern that matches it alone.
func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// cameMeanwhile says how many other messages came to a mailbox.
func cameMeanwhile(others int) string {
	switch others {
	case 0:
		return "nothing else came meanwhile"
	case 1:
		return "one other message came meanwhile"
	default:
		return fmt.Sprintf("%d other messages came meanwhile", others)
	}
}

// cleanup removes the messages that the run sent, all duplicates, and messages of earlier runs that came since the
// sweep. For messages that an IMAP server also shows the IMAP cleanup has already looked.
func (b *maildirBox) cleanup(ctx context.Context) error {
	if !b.ready {
		return nil // the step reported the reason
	}
	var missing []*Submission
	for {
		if err := b.look(time.Now().Add(-maildirSwept)); err != nil {
			return errors.Join(b.sweepErr, fmt.Errorf("the message may stay until a later run removes it: %w", err))
		}
		missing = slices.DeleteFunc(slices.Clone(b.awaited), func(s *Submission) bool {
			return len(b.found[s.Number]) > 0 || s.returned || s.removed || !s.sent || b.mail.reads(s.To)
		})
		wait := time.Duration(0)
		for _, s := range missing {
			if !s.Accepted.IsZero() {
				wait = max(wait, lastLook-time.Since(s.Accepted))
			}
		}
		if wait <= 0 || steps.Pause(ctx, min(wait, 50*time.Millisecond)) != nil {
			break
		}
	}
	ours := b.stale
	for _, s := range b.mail.Sent {
		ours = append(ours, b.found[s.Number]...)
		s.removed = s.removed || len(b.found[s.Number]) > 0
	}
	err := errors.Join(b.sweepErr, b.remove(ours))
	if len(missing) > 0 {
		err = errors.Join(err, fmt.Errorf("%s had not arrived in %s when the run ended: a later run removes it", describe(missing), b))
	}
	if b.folder != nil {
		_ = b.folder.Close() // the run is judged
	}
	return err
}

func (b *maildirBox) remove(names []string) error {
	for _, name := range names {
		if err := b.folder.Remove(name); err != nil {
			return b.failure(err)
		}
	}
	return nil
}
