package content

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"strings"
)

// Change describes how a part of a message changed on its way. It is empty when the part is unchanged.
type Change string

// Changed compares the received message with the sent one, and returns the first change. Headers added on the way are
// not changes.
func Changed(sent, arrived *Message) Change {
	for _, h := range sent.Headers {
		if c := headerChanged(sent, arrived, h.Name); c != "" {
			return c
		}
	}
	if c := TextChanged(sent, arrived); c != "" {
		return c
	}
	for _, a := range sent.Attachments {
		if c := AttachmentChanged(sent, arrived, a.Name); c != "" {
			return c
		}
	}
	if extra := len(arrived.Attachments) - len(sent.Attachments); extra > 0 {
		return Change(fmt.Sprintf("it has %d attachments, but %d were sent", len(arrived.Attachments), len(sent.Attachments)))
	}
	return ""
}

// headerChanged returns the change of the header fields of this name.
func headerChanged(sent, arrived *Message, name string) Change {
	got := values(arrived, name)
	for _, wanted := range values(sent, name) {
		found := false
		for _, value := range got {
			found = found || value == wanted
		}
		switch {
		case found:
		case len(got) == 0:
			return Change(fmt.Sprintf("the header %s is gone; it was %s", name, shown(wanted)))
		default:
			return Change(fmt.Sprintf("the header %s is %s; it was %s", name, shown(got[0]), shown(wanted)))
		}
	}
	return ""
}

// values returns the values of all fields of a name, with folding normalized.
func values(m *Message, name string) []string {
	var all []string
	for _, h := range m.Headers {
		if strings.EqualFold(h.Name, name) {
			all = append(all, strings.Join(strings.Fields(h.Value), " "))
		}
	}
	return all
}

// TextChanged returns the change of the text. Empty lines at its end are ignored, because servers add and drop them.
func TextChanged(sent, arrived *Message) Change {
	wanted, got := strings.TrimRight(sent.Text, "\n"), strings.TrimRight(arrived.Text, "\n")
	if wanted == got {
		return ""
	}
	before, after := strings.Split(wanted, "\n"), strings.Split(got, "\n")
	for i := range before {
		switch {
		case i >= len(after):
			return Change(fmt.Sprintf("the text ends before line %d, which was %s", i+1, shown(before[i])))
		case after[i] != before[i]:
			return Change(fmt.Sprintf("line %d of the text is %s; it was %s", i+1, shown(after[i]), shown(before[i])))
		}
	}
	return Change(fmt.Sprintf("after its end the text continues with %s", shown(strings.TrimLeft(strings.Join(after[len(before):], "\n"), "\n"))))
}

// AttachmentChanged returns the change of the attachment of this name, compared byte by byte. The first attachment of a
// name counts, and one that was not sent cannot change.
func AttachmentChanged(sent, arrived *Message, name string) Change {
	wanted, got := sent.Attachment(name), arrived.Attachment(name)
	switch {
	case wanted == nil:
		return ""
	case got == nil && len(arrived.Attachments) == 0:
		return Change(fmt.Sprintf("the attachment %q is gone: the message has none", name))
	case got == nil:
		names := make([]string, len(arrived.Attachments))
		for i, a := range arrived.Attachments {
			names[i] = shown(a.Name)
		}
		return Change(fmt.Sprintf("the attachment %q is gone: the message has %s", name, shortened(strings.Join(names, ", "))))
	case !bytes.Equal(got.Content, wanted.Content):
		return Change(fmt.Sprintf("the attachment %q has %s; it had %s", name, digest(got.Content), digest(wanted.Content)))
	}
	return ""
}

// Attachment returns the first attachment of this name, or nil.
func (m *Message) Attachment(name string) *Attachment {
	for i := range m.Attachments {
		if m.Attachments[i].Name == name {
			return &m.Attachments[i]
		}
	}
	return nil
}

// digest identifies content without showing it.
func digest(content []byte) string {
	sum := sha256.Sum256(content)
	return fmt.Sprintf("%d bytes (SHA-256 %x…)", len(content), sum[:6])
}

// shown quotes a value for a message of one line.
func shown(value string) string { return fmt.Sprintf("%q", shortened(value)) }

func shortened(value string) string {
	const limit = 120
	if runes := []rune(value); len(runes) > limit {
		return string(runes[:limit]) + "…"
	}
	return value
}
