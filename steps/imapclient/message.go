package imapclient

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"strings"
	"time"
)

// Message is what FETCH returned about a message.
type Message struct {
	UID          UID
	Flags        []string  // nil when they were not asked for
	InternalDate time.Time // when the server received it; zero when it was not asked for
	Body         []byte    // the section that was asked for
	HasBody      bool      // the answer has that section
	Size         int64     // in bytes; 0 when it was not asked for
}

// HeaderFields returns the item of Fetch for these fields of the header, without setting \Seen.
func HeaderFields(names ...string) string {
	return "BODY.PEEK[HEADER.FIELDS (" + strings.ToUpper(strings.Join(names, " ")) + ")]"
}

// WholeMessage is the item of Fetch for a message, without setting \Seen.
const WholeMessage = "BODY.PEEK[]"

// Beginning returns the item of Fetch for the first bytes of a message, without setting \Seen.
func Beginning(bytes int) string { return "BODY.PEEK[]<0." + strconv.Itoa(bytes) + ">" }

// Fetch reads items of messages of the selected folder: "FLAGS", "INTERNALDATE", "RFC822.SIZE", and at most one section of the
// body. What the server sends about one message in several responses is joined. Messages about which it says something else only
// are included, without what was asked for.
func (c *Client) Fetch(ctx context.Context, set UIDSet, items ...string) ([]Message, error) {
	var messages []Message
	byUID := make(map[UID]int)
	bySeq := make(map[uint64]int) // sequence numbers to indices in messages
	section := false
	for _, item := range items {
		section = section || strings.HasPrefix(item, "BODY")
	}
	command := "UID FETCH " + string(set) + " (" + strings.Join(append([]string{"UID"}, items...), " ") + ")"
	shown := command
	if len(set) > 200 {
		shown = "UID FETCH " + string(set[:200]) + "… (" + strings.Join(items, " ") + ")"
	}
	var nameless *ProtocolError // a section of a message whose UID is not known yet
	s, err := c.exchange(ctx, command, shown, func(r *response) error {
		s := scanner{r: r}
		s.word()
		seq, ok := s.number()
		if !ok {
			return nil
		}
		switch kind := s.word(); {
		case equal(kind, "EXPUNGE"):
			clear(bySeq) // the numbers behind it have changed
			return nil
		case !equal(kind, "FETCH"):
			return nil
		}
		var m Message
		if err := parseFetch(&s, &m); err != nil {
			return err
		}
		i, known := bySeq[seq]
		if j, found := byUID[m.UID]; m.UID != 0 && found {
			i, known = j, true
		} else if known && m.UID != 0 && messages[i].UID != 0 && messages[i].UID != m.UID {
			known = false
		}
		if !known {
			i = len(messages) // at most one for each response
			messages = append(messages, Message{})
		}
		messages[i].join(m)
		if err := c.reader.keep(messageSize + int64(len(m.Body)) + int64(len(m.Flags))*stringSize); err != nil {
			return err
		}
		bySeq[seq] = i
		if messages[i].UID != 0 {
			byUID[messages[i].UID] = i
		} else if m.HasBody && nameless == nil {
			nameless = r.broken("a message comes without its UID", "RFC 9051 section 6.4.9")
		}
		return nil
	})
	if refused := (*Refusal)(nil); err != nil && s.Code == ExpungeIssued && s.Kind == NO && asRefusal(err, &refused) {
		err = nil // some messages are gone, and the answer has the others (RFC 5530)
	}
	if err != nil {
		return nil, err
	}
	kept := messages[:0]
	for _, m := range messages {
		switch {
		case m.UID != 0:
			kept = append(kept, m)
		case section && m.HasBody && nameless != nil:
			return nil, nameless
		}
	}
	return kept, nil
}

func asRefusal(err error, target **Refusal) bool {
	refused, ok := err.(*Refusal) //nolint:errorlint // it comes straight from exchange
	*target = refused
	return ok
}

// join adds what another response says about the same message.
func (m *Message) join(other Message) {
	if other.UID != 0 {
		m.UID = other.UID
	}
	if other.Flags != nil {
		m.Flags = other.Flags
	}
	if !other.InternalDate.IsZero() {
		m.InternalDate = other.InternalDate
	}
	if other.HasBody {
		m.Body, m.HasBody = other.Body, true
	}
	if other.Size != 0 {
		m.Size = other.Size
	}
}

// parseFetch reads the items of a FETCH response in any order (RFC 9051 section 7.5.2). It skips those that it does not know, and
// those of which the form is odd: then it goes on at the next item that it knows.
func parseFetch(s *scanner, m *Message) error {
	if !s.take('(') {
		return s.r.broken("the items of a message are not a list", "RFC 9051 section 7.5.2")
	}
	for resumed := 0; ; {
		switch s.peek() {
		case 0, ')':
			return nil
		}
		before := s.at
		name := s.item()
		ok := len(name) > 0
		switch {
		case !ok:
		case equal(name, "UID"):
			n, numbered := s.number()
			if !numbered || n == 0 || n > 1<<32-1 {
				return s.r.broken("the UID of a message is not a number", "RFC 9051 section 7.5.2")
			}
			m.UID = UID(n)
		case equal(name, "FLAGS"):
			var flags []string
			if flags, ok = s.flags(); ok {
				m.Flags = flags
			}
		case equal(name, "INTERNALDATE"):
			value, _, read := s.str()
			at, dated := parseInternalDate(string(value))
			if !read || !dated {
				return s.r.broken("INTERNALDATE is not a date and time", "RFC 9051 section 9, date-time")
			}
			m.InternalDate = at
		case equal(name, "RFC822.SIZE"):
			n, numbered := s.number()
			if ok = numbered && n < 1<<62; ok {
				m.Size = int64(n) //nolint:gosec // see above
			}
		case len(name) >= len("BODY[") && equal(name[:len("BODY[")], "BODY["):
			value, _, read := s.str()
			if !read {
				return s.r.broken("a section of a message cannot be read", "RFC 9051 section 7.5.2")
			}
			if m.HasBody = true; cap(s.r.text) <= keptBuffer {
				value = bytes.Clone(value) // the buffer is used again
			}
			m.Body = value[:len(value):len(value)]
		default:
			ok = s.skip() && s.peek() != 0 // a quote that is none may have hidden the end of the value
		}
		if ok {
			continue
		}
		if resumed++; resumed > resumeLimit {
			return s.r.broken("the items of a message cannot be read", "RFC 9051 section 7.5.2")
		}
		if !s.resume(before) {
			return nil
		}
	}
}

// resumeLimit limits the number of items of a message that cannot be read: each may cost a pass over the response.
const resumeLimit = 50

// item reads the name of an item, with its section and its origin: "UID", "BODY[HEADER.FIELDS (DATE)]<0>".
func (s *scanner) item() []byte {
	s.blanks()
	from := s.at
	for s.at < len(s.r.text) {
		switch s.r.text[s.at] {
		case ' ', '\t', '(', ')':
			return s.r.text[from:s.at]
		case '[':
			if !s.section() {
				return nil
			}
			continue
		}
		s.at++
	}
	return s.r.text[from:s.at]
}

// section consumes a section in brackets, in which names may be quoted or literals.
func (s *scanner) section() bool {
	for s.at++; s.at < len(s.r.text); {
		switch s.r.text[s.at] {
		case ']':
			s.at++
			return true
		case '"':
			if _, ok := s.quoted(); !ok {
				return false
			}
			continue
		case '{', '~':
			if literal, found := s.literalAt(); found {
				s.at = literal.to
				continue
			}
		}
		s.at++
	}
	return false
}

// known are the items that a FETCH response may have after one that cannot be read.
var known = []string{"UID ", "FLAGS (", "INTERNALDATE \"", "RFC822.SIZE ", "BODY["}

// resume moves to the next item that is known, after the given position and outside literals. It is false when there is none.
func (s *scanner) resume(after int) bool {
	s.literal = 0
	for s.at = after; s.at < len(s.r.text); s.at++ {
		if literal, found := s.literalAt(); found {
			s.at = literal.to - 1
			continue
		}
		if s.at == after || s.r.text[s.at-1] != ' ' {
			continue
		}
		for _, name := range known {
			if len(s.r.text) >= s.at+len(name) && equal(s.r.text[s.at:s.at+len(name)], name) {
				return true
			}
		}
	}
	return false
}

// flags reads a list of flags. Mail programs set keywords that no standard permits, with quotes, brackets and parentheses, and
// servers send them as they are. So the list ends at the first parenthesis after which the response goes on as it can.
func (s *scanner) flags() (flags []string, ok bool) {
	if !s.take('(') {
		return nil, false
	}
	flags = []string{}
	for {
		switch s.peek() {
		case 0:
			return flags, false
		case ')':
			s.at++
			return flags, true
		}
		from := s.at
		if literal, found := s.literalAt(); found {
			s.at = literal.to
			flags = append(flags, string(s.r.text[literal.from:literal.to]))
			continue
		}
		if s.r.text[s.at] == '"' {
			if value, closed := s.quoted(); closed {
				flags = append(flags, string(value))
				continue
			}
		}
		for s.at < len(s.r.text) && s.r.text[s.at] != ' ' && !s.listEnds() {
			s.at++
		}
		if len(flags) < listLimit && s.at > from {
			flags = append(flags, string(s.r.text[from:s.at]))
		}
	}
}

// listEnds reports whether the current byte is the parenthesis that ends a list of flags: the end of the response, or a known
// item, follows.
func (s *scanner) listEnds() bool {
	if s.r.text[s.at] != ')' {
		return false
	}
	rest := bytes.TrimLeft(s.r.text[s.at+1:min(len(s.r.text), s.at+40)], " ")
	switch {
	case len(rest) == 0:
		return true
	case rest[0] == ')':
		return len(bytes.TrimSpace(rest[1:])) == 0 && s.at+1+len(rest) >= len(bytes.TrimRight(s.r.text, " "))
	case s.r.text[s.at+1] != ' ':
		return false
	}
	name, _ := cutWord(rest)
	for _, c := range name { // an item begins with a name in upper case, or with one that is known
		if c == '[' {
			break
		}
		if c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '-' {
			continue
		}
		for _, item := range known {
			if len(rest) >= len(item) && equal(rest[:len(item)], item) {
				return true
			}
		}
		return false
	}
	return len(name) > 0
}

// parseInternalDate reads a date-time (RFC 9051 section 9). Servers write the day with a zero or a blank before it, or with
// neither, and the zone with or without an offset.
func parseInternalDate(text string) (time.Time, bool) {
	text = strings.Join(strings.Fields(text), " ")
	for _, layout := range []string{"2-Jan-2006 15:04:05 -0700", "2-Jan-2006 15:04:05 -07:00", "2-Jan-2006 15:04:05 Z",
		"2-Jan-2006 15:04:05 GMT", "2-Jan-2006 15:04:05 UTC", "2-Jan-2006 15:04:05 UT"} { // no other names: time.Parse guesses them
		if t, err := time.Parse(layout, text); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// Key is a part of a search (RFC 9051 section 6.4.4).
type Key struct {
	text  string
	value string // an argument in the form of a string
	has   bool
}

// Since matches messages that the server received on the day of t or later, in its own time zone.
func Since(t time.Time) Key { return Key{text: "SINCE " + t.Format("2-Jan-2006")} }

// Before matches messages that the server received before the day of t, in its own time zone.
func Before(t time.Time) Key { return Key{text: "BEFORE " + t.Format("2-Jan-2006")} }

// Header matches messages with a header field that contains value.
func Header(field, value string) Key { return Key{"HEADER " + field, value, true} }

// Text matches messages that contain value anywhere.
func Text(value string) Key { return Key{"TEXT", value, true} }

// The flag \Deleted.
var (
	Deleted   = Key{text: "DELETED"}
	Undeleted = Key{text: "UNDELETED"}
)

// Search returns the messages of the selected folder that match all keys.
func (c *Client) Search(ctx context.Context, keys ...Key) (uids []UID, err error) {
	text, command := "UID SEARCH", []part(nil)
	shown := text
	for _, key := range keys {
		text += " " + key.text
		shown += " " + key.text
		if !key.has {
			continue
		}
		shown += " " + strconv.Quote(key.value)
		if quoted, ok := quote(key.value); ok {
			text += " " + quoted
			continue
		}
		command = append(command, part{text: text + " "}, part{text: key.value, literal: true})
		text = ""
	}
	command = append(command, part{text: text})
	_, err = c.converse(ctx, command, shown, func(r *response) (err error) {
		s := scanner{r: r}
		s.word()
		switch kind := s.word(); {
		case equal(kind, "SEARCH"):
			return c.keepNumbers(&uids, s.searched)
		case equal(kind, "ESEARCH"): // the form of IMAP4rev2 (RFC 9051 section 7.3.4)
			return c.keepNumbers(&uids, s.extended)
		}
		return nil
	}, nil)
	return uids, err
}

// keepNumbers calls read, which appends to uids, and counts what it appended.
func (c *Client) keepNumbers(uids *[]UID, read func(*[]UID) error) error {
	before := len(*uids)
	err := read(uids)
	return errors.Join(err, c.reader.keep(int64(len(*uids)-before)*numberSize))
}

// searched reads the numbers of a SEARCH response (RFC 3501 section 7.2.5). After them there may be a list (RFC 7162).
func (s *scanner) searched(uids *[]UID) error {
	for {
		switch s.peek() {
		case 0, '(':
			return nil
		}
		n, ok := s.number()
		if !ok || n == 0 || n > 1<<32-1 {
			return s.r.broken("the result of a search is not a number", "RFC 3501 section 7.2.5")
		}
		if len(*uids) == int(SearchLimit.Most) {
			return SearchLimit.Exceeded()
		}
		*uids = append(*uids, UID(n))
	}
}

func (s *scanner) extended(uids *[]UID) error {
	if s.peek() == '(' && !s.skip() { // the tag of the command
		return s.r.broken("the result of a search cannot be read", "RFC 9051 section 7.3.4")
	}
	for s.peek() != 0 {
		name := s.word()
		switch {
		case len(name) == 0:
			return s.r.broken("the result of a search cannot be read", "RFC 9051 section 7.3.4")
		case equal(name, "UID"):
		case equal(name, "ALL"):
			var ok bool
			var err error
			if *uids, ok, err = parseSet(*uids, s.word()); err != nil {
				return err
			}
			if !ok {
				return s.r.broken("the result of a search is not a set of numbers", "RFC 9051 section 7.3.4")
			}
		default:
			if !s.skip() {
				return s.r.broken("the result of a search cannot be read", "RFC 9051 section 7.3.4")
			}
		}
	}
	return nil
}

// AddFlags sets flags of messages.
func (c *Client) AddFlags(ctx context.Context, set UIDSet, flags ...string) error {
	command := "UID STORE " + string(set) + " +FLAGS.SILENT (" + strings.Join(flags, " ") + ")"
	_, err := c.exchange(ctx, command, command, nil)
	return err
}

// Expunge removes those of the messages that have the flag \Deleted, and no others (UIDPLUS, RFC 4315).
func (c *Client) Expunge(ctx context.Context, set UIDSet) error {
	command := "UID EXPUNGE " + string(set)
	_, err := c.exchange(ctx, command, command, nil)
	return err
}

// Move moves messages to another folder (RFC 6851). It touches no others.
func (c *Client) Move(ctx context.Context, set UIDSet, folder string) error {
	_, err := c.about(ctx, "UID MOVE "+string(set), folder, "", nil)
	return err
}
