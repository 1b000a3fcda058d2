package mail

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/wording"
)

func init() {
	steps.Register(
		steps.Definition{
			Area: "mail", Sentence: `it is the same message each time`,
			Does: "Compares the copies of the last received message that earlier steps received: through a proxy and directly, or over IMAP and over POP3. Fails unless the account received it " +
				"in at least two ways, each with the same header and body. All IMAP servers must have the same UIDVALIDITY and UID, and all POP3 servers the same unique id, because mail programs load a " +
				"mailbox again when those change. The fields Status, X-Status, X-Keywords, X-UID and X-UIDL, in which servers keep notes, may differ.",
			Measures: "Reading the message in each of the ways.",
			Example:  `Then it is the same message each time`,
			Func:     isSameMessage,
		},
	)
}

func isSameMessage(ctx context.Context, w *steps.World, _ steps.Args) error {
	all := steps.State[Session](w)
	last, err := all.received()
	if err != nil {
		return err
	}
	var ways []*Arrival
	for _, a := range all.Arrivals {
		if a.sent == last.sent && a.Account == last.Account && !slices.ContainsFunc(ways, func(b *Arrival) bool { return b.Where == a.Where }) {
			ways = append(ways, a)
		}
	}
	if len(ways) < 2 || last.sent == nil {
		return steps.FailScenario("the message was received in one way only, %s: receive it in another way before this step", last.Where)
	}
	reference, err := ways[0].message(ctx)
	if err != nil {
		return err
	}
	for _, a := range ways[1:] {
		message, err := a.message(ctx)
		if err != nil {
			return err
		}
		if what := messageDifference(reference, message); what != "" {
			return steps.Fail(result.ReasonUnexpected, result.BlameAccess, "%s differs in %s and %s: one of the servers alters mail, or they show different copies", what, ways[0].Where, a.Where)
		}
	}
	for i, a := range ways {
		for _, b := range ways[:i] {
			kind, _, _ := strings.Cut(a.key, " ")
			if a.key != b.key && strings.HasPrefix(b.key, kind+" ") {
				return steps.Fail(result.ReasonUnexpected, result.BlameAccess, "the message is %s in %s and %s in %s: these are different copies, or mail programs will load the mailbox again when they change servers",
					b.key, b.Where, a.key, a.Where)
			}
		}
	}
	return nil
}

// serversNotes are the fields in which servers keep notes about a message. Some servers show them over one protocol and
// hide them over the other.
var serversNotes = []string{"status", "x-status", "x-keywords", "x-uid", "x-uidl"}

// messageDifference names the first part in which two messages differ, or is empty. It ignores line endings.
func messageDifference(a, b []byte) (what string) {
	headerA, bodyA := headerLines(a)
	headerB, bodyB := headerLines(b)
	for i := range max(len(headerA), len(headerB)) {
		field := func(header []string) string {
			if i < len(header) {
				return header[i]
			}
			return ""
		}
		one := field(headerA)
		if one == field(headerB) {
			continue
		}
		if one == "" || slices.Contains(headerB, one) { // the other field was inserted
			one = field(headerB)
		}
		name, _, _ := strings.Cut(one, ":")
		return fmt.Sprintf("the header field %q", wording.OneLine(name, 80))
	}
	if !bytes.Equal(bodyA, bodyB) {
		return fmt.Sprintf("the body, of %d and %d bytes,", len(bodyA), len(bodyB))
	}
	return ""
}

// headerLines returns the fields of a message, folded lines included, without the servers' notes, and the body. Two copies
// differ in lines that are no field too, which message.Read leaves out.
func headerLines(raw []byte) (header []string, body []byte) {
	raw = bytes.ReplaceAll(raw, []byte("\r\n"), []byte("\n"))
	for len(raw) > 0 {
		var line []byte
		line, raw, _ = bytes.Cut(raw, []byte("\n"))
		if len(line) == 0 {
			break
		}
		if (line[0] == ' ' || line[0] == '\t') && len(header) > 0 {
			header[len(header)-1] += "\n" + string(line)
			continue
		}
		header = append(header, string(line))
	}
	header = slices.DeleteFunc(header, func(field string) bool {
		name, _, _ := strings.Cut(field, ":")
		return slices.Contains(serversNotes, strings.ToLower(strings.TrimSpace(name)))
	})
	return header, raw
}
