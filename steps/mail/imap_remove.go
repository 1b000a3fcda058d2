package mail

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/imapclient"
)

// removes reports whether the server can remove a message without touching others.
func (m *mailbox) removes() bool { return m.uidPlus || m.moves() }

// moves reports whether messages are removed by MOVE.
func (m *mailbox) moves() bool {
	return !m.uidPlus && m.unmoved == nil && m.client != nil && m.client.Has("MOVE")
}

// later says what later runs do with a message that stays.
func (m *mailbox) later() string {
	if m.client != nil && !m.removes() {
		return "a later run flags it as deleted"
	}
	return "a later run removes it"
}

// remove removes these messages of the selected folder and no others.
//
// With UIDPLUS (RFC 4315) that is UID EXPUNGE. Without it EXPUNGE would also remove the messages that other people have flagged
// as deleted, and no look before it is safe: they may do so at any moment. A server with MOVE (RFC 6851) moves ours into a folder
// of our own, which is then deleted. On any other server they can only be flagged, and each run says that they stay.
func (m *mailbox) remove(ctx context.Context, uids []imapclient.UID) error {
	if len(uids) == 0 {
		return nil
	}
	if m.readOnly && m.selected == inbox {
		return steps.Fail(result.ReasonRefused, result.BlameAccess, "remove the test mail from %s: the server opened it read only (RFC 9051 section 6.3.2)", m)
	}
	for _, set := range imapclient.SetsOf(uids) {
		if m.moves() {
			err := m.moveAway(ctx, set)
			if err == nil {
				continue
			}
			if !isRefusal(err) {
				return err
			}
			m.unmoved = err
		}
		if err := m.failure(ctx, m.client.AddFlags(ctx, set, `\Deleted`)); err != nil {
			return err
		}
		if m.uidPlus {
			if err := m.failure(ctx, m.client.Expunge(ctx, set)); err != nil {
				return err
			}
		}
	}
	if m.removes() {
		return nil
	}
	all, err := m.client.Search(ctx, imapclient.Deleted, imapclient.Header(headerOrigin, m.w.Origin()))
	if err != nil {
		return m.failure(ctx, err)
	}
	if m.staying == nil {
		m.staying = make(map[string]int)
	}
	m.staying[m.selected] = max(len(all), len(uids)) // bounces have no header of ours
	return nil
}

// bin returns the name of the folder by way of which messages are removed. It is the same for all runs of the scenario, so that
// one that a killed run left is used again.
func (m *mailbox) bin(ctx context.Context) (string, error) {
	own, err := m.namespaces(ctx)
	if err != nil {
		return "", err
	}
	return own[0].Prefix + "stepwatch-" + m.w.Origin()[:16], nil
}

// moveAway removes messages by MOVE.
func (m *mailbox) moveAway(ctx context.Context, set imapclient.UIDSet) error {
	bin, err := m.bin(ctx)
	if err != nil {
		return err
	}
	created := m.client.Create(ctx, bin)
	if created != nil && !isRefusal(created) {
		return m.failure(ctx, created)
	}
	if err := m.client.Move(ctx, set, bin); err != nil {
		if created != nil { // it is no folder that a killed run left
			return m.failure(ctx, created)
		}
		return errors.Join(m.failure(ctx, err), m.failure(ctx, m.client.Delete(ctx, bin)))
	}
	if err := m.client.Delete(ctx, bin); err != nil {
		return fmt.Errorf("test mail stays in %s: %w", m.folder(bin), m.failure(ctx, err))
	}
	return nil
}

// stay returns an error that says how many messages stay, or nil.
func (m *mailbox) stay() error {
	var texts []string
	for _, folder := range slices.Sorted(maps.Keys(m.staying)) {
		n, what, whom := m.staying[folder], "test messages of this scenario stay", "them"
		if n == 1 {
			what, whom = "test message of this scenario stays", "it"
		}
		lacks := "has neither UIDPLUS (RFC 4315) nor MOVE (RFC 6851)"
		if m.unmoved != nil {
			lacks = fmt.Sprintf("lacks UIDPLUS (RFC 4315), does not let %s be moved away (%s)", whom, m.unmoved)
		}
		texts = append(texts, fmt.Sprintf("%d %s in %s, flagged as deleted: no run can remove %s, because the server %s, "+
			"and EXPUNGE would also remove what others have deleted: compact the folder with a mail program", n, what, m.folder(folder), whom, lacks))
	}
	if texts == nil {
		return nil
	}
	return errors.New(strings.Join(texts, "; "))
}
