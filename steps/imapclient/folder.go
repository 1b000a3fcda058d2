package imapclient

import (
	"bytes"
	"context"
	"slices"
	"strconv"
	"strings"
)

// Contents is what a server reports about a folder (RFC 9051 sections 6.3.2 and 6.3.11).
type Contents struct {
	Messages    uint32
	UIDNext     UID    // 0 when the server does not report it, which IMAP4rev1 permits
	UIDValidity uint32 // UIDs keep their meaning while it stays the same
	ReadOnly    bool   // it was selected, and cannot be changed
}

// mailbox returns the name of a folder for a command.
func (c *Client) mailbox(name string) part {
	sent, known := c.raw[name]
	switch {
	case known:
	case c.utf8:
		sent = name
	default:
		sent = encodeName(name)
	}
	if quoted, ok := quote(sent); ok {
		return part{text: quoted}
	}
	if c.utf8 || known { // RFC 6855 section 3 permits UTF-8 in quoted strings
		if !strings.ContainsAny(sent, "\r\n\x00") {
			return part{text: `"` + escapes.Replace(sent) + `"`}
		}
	}
	return part{text: sent, literal: true}
}

// about sends a command about a folder: verb, name, rest.
func (c *Client) about(ctx context.Context, verb, name, rest string, take func(*response) error) (Status, error) {
	shown := verb + " " + strconv.Quote(name) + rest
	folder := c.mailbox(name)
	command := []part{{text: verb + " " + folder.text + rest}}
	if folder.literal {
		command = []part{{text: verb + " "}, folder, {text: rest}}
	}
	return c.converse(ctx, command, shown, take, nil)
}

// name returns the name of a folder as people write it. Names that are not in the form of the protocol stay as they are, and are
// sent back as they came.
func (c *Client) name(sent []byte) string {
	name := string(sent)
	if c.utf8 {
		return name
	}
	decoded, ok := decodeName(name)
	if ok && encodeName(decoded) == name {
		return decoded
	}
	if !ok {
		decoded = strings.ToValidUTF8(name, "?")
	}
	if c.raw == nil {
		c.raw = make(map[string]string)
	}
	if len(c.raw) < int(FolderLimit.Most) {
		c.raw[decoded] = name
	}
	return decoded
}

// Select opens a folder; readOnly does so without any change to it (EXAMINE).
func (c *Client) Select(ctx context.Context, name string, readOnly bool) (Contents, error) {
	verb := "SELECT"
	if readOnly {
		verb = "EXAMINE"
	}
	c.exists = 0
	var found Contents
	s, err := c.about(ctx, verb, name, "", func(r *response) error {
		_, rest := cutWord(r.text)
		status, ok := parseStatus(rest)
		if !ok || status.Kind != OK {
			return nil
		}
		n, err := strconv.ParseUint(status.Args, 10, 32)
		switch {
		case err != nil: // as if it were not reported
		case status.Code == "UIDNEXT":
			found.UIDNext = UID(n)
		case status.Code == "UIDVALIDITY":
			found.UIDValidity = uint32(n)
		}
		return nil //nolint:nilerr // a number that cannot be read is as if it were not reported
	})
	found.Messages, found.ReadOnly = c.exists, readOnly || s.Code == ReadOnly
	c.news = false
	return found, err
}

// Unselect closes the selected folder without removing anything (RFC 3691). Without the capability it does nothing.
func (c *Client) Unselect(ctx context.Context) error {
	if !c.Has("UNSELECT") && !c.Has("IMAP4REV2") {
		return nil
	}
	_, err := c.exchange(ctx, "UNSELECT", "UNSELECT", nil)
	return err
}

// Status asks for the contents of a folder that need not be selected.
func (c *Client) Status(ctx context.Context, name string) (Contents, error) {
	var found Contents
	got := false
	_, err := c.about(ctx, "STATUS", name, " (MESSAGES UIDNEXT UIDVALIDITY)", func(r *response) error {
		s := scanner{r: r}
		s.word()
		if !equal(s.word(), "STATUS") {
			return nil
		}
		if _, _, ok := s.str(); !ok {
			return r.broken("the name of a folder cannot be read", "RFC 9051 section 7.3.4")
		}
		contents, ok := parseStatusItems(&s)
		if !ok {
			return r.broken("the status of a folder cannot be read", "RFC 9051 section 7.3.4")
		}
		found, got = contents, true
		return nil
	})
	if err == nil && !got {
		err = &ProtocolError{What: "the server answers STATUS with OK and no status", Rule: "RFC 9051 section 6.3.11"}
	}
	return found, err
}

// parseStatusItems reads "(MESSAGES 3 UIDNEXT 7)" and skips items that it does not know.
func parseStatusItems(s *scanner) (found Contents, ok bool) {
	if !s.take('(') {
		return found, false
	}
	for !s.take(')') {
		name := s.word()
		if len(name) == 0 {
			return found, false
		}
		target := uint64(0)
		switch {
		case equal(name, "MESSAGES"), equal(name, "UIDNEXT"), equal(name, "UIDVALIDITY"):
			n, ok := s.number()
			if !ok || n > 1<<32-1 {
				return found, false
			}
			target = n
		default:
			if !s.skip() {
				return found, false
			}
		}
		switch {
		case equal(name, "MESSAGES"):
			found.Messages = uint32(target)
		case equal(name, "UIDNEXT"):
			found.UIDNext = UID(target)
		case equal(name, "UIDVALIDITY"):
			found.UIDValidity = uint32(target)
		}
	}
	return found, true
}

// Folder is a folder of the account, as LIST shows it.
type Folder struct {
	Name       string
	Delimiter  string   // between the levels of the name; empty when there is one level
	Attributes []string // in lower case: "\\junk", "\\hasnochildren"
	Contents   *Contents
}

// Has reports whether the folder has an attribute, which is in lower case.
func (f Folder) Has(attribute string) bool { return slices.Contains(f.Attributes, attribute) }

// Selectable reports whether the folder can hold messages.
func (f Folder) Selectable() bool { return !f.Has(`\noselect`) && !f.Has(`\nonexistent`) }

// List lists the folders. With counted, and if the server can do so in one answer (LIST-STATUS, RFC 5819), each has its contents.
// unread is the first line that cannot be read as a folder, or nil; its folder is missing in the list.
func (c *Client) List(ctx context.Context, counted bool) (folders []Folder, unread *ProtocolError, err error) {
	command := `LIST "" *`
	var options []string
	if c.Has("SPECIAL-USE") { // RFC 6154
		options = append(options, "SPECIAL-USE")
	}
	if counted && c.Has("LIST-STATUS") {
		options = append(options, "STATUS (MESSAGES UIDNEXT UIDVALIDITY)")
	}
	if len(options) > 0 && (c.Has("LIST-EXTENDED") || c.Has("LIST-STATUS") || c.Has("IMAP4REV2")) {
		command += " RETURN (" + strings.Join(options, " ") + ")"
	}
	at := make(map[string]int) // the last folder of a name
	_, err = c.exchange(ctx, command, command, func(r *response) error {
		s := scanner{r: r}
		s.word()
		switch kind := s.word(); {
		case equal(kind, "LIST"):
			if len(folders) == int(FolderLimit.Most) {
				return FolderLimit.Exceeded()
			}
			folder, ok := c.parseFolder(&s)
			if ok {
				at[folder.Name] = len(folders)
				folders = append(folders, folder)
				return c.reader.keep(folderSize + int64(len(folder.Attributes))*stringSize)
			} else if unread == nil {
				unread = r.broken("a folder cannot be read", "RFC 9051 section 7.3.1")
			}
		case equal(kind, "STATUS"):
			name, _, ok := s.str()
			contents, read := parseStatusItems(&s)
			if !ok || !read {
				return nil // an uncounted folder is looked into
			}
			if i, listed := at[c.name(name)]; listed { // it follows its LIST
				folders[i].Contents = &contents
			}
		}
		return nil
	})
	return folders, unread, err
}

func (c *Client) parseFolder(s *scanner) (f Folder, ok bool) {
	if !s.take('(') {
		return f, false
	}
	for !s.take(')') {
		attribute := s.word()
		if len(attribute) == 0 {
			return f, false
		}
		if len(f.Attributes) < listLimit {
			f.Attributes = append(f.Attributes, strings.ToLower(string(attribute)))
		}
	}
	delimiter, _, ok := s.str()
	if !ok {
		return f, false
	}
	f.Delimiter = string(delimiter)
	first := s.peek()
	name, missing, ok := s.str()
	if missing {
		name = []byte("NIL") // a folder may have that name: it is an atom like others
	}
	if !ok {
		return f, false
	}
	if first != '"' && first != '{' && first != '~' {
		if rest := s.rest(); len(rest) > 0 && rest[0] != '(' { // a name with blanks and without quotes
			name = bytes.TrimSpace(s.r.text[s.at-len(name):])
		}
	}
	f.Name = c.name(name)
	if equal([]byte(f.Name), "INBOX") {
		f.Name = "INBOX" // RFC 9051 section 5.1: in any case
	}
	return f, true
}

// Namespace is where an account's own folders are (RFC 2342).
type Namespace struct {
	Prefix    string // of their names: "INBOX."
	Delimiter string // between the levels of a name
}

// Namespace asks for the account's own namespaces. A server that cannot say returns none.
func (c *Client) Namespace(ctx context.Context) (own []Namespace, err error) {
	if !c.Has("NAMESPACE") && !c.Has("IMAP4REV2") {
		return nil, nil
	}
	_, err = c.exchange(ctx, "NAMESPACE", "NAMESPACE", func(r *response) error {
		s := scanner{r: r}
		s.word()
		if !equal(s.word(), "NAMESPACE") {
			return nil
		}
		if !s.take('(') {
			return nil // NIL: there are no own folders
		}
		for !s.take(')') {
			if !s.take('(') {
				return r.broken("a namespace cannot be read", "RFC 9051 section 7.3.3")
			}
			prefix, _, ok := s.str()
			delimiter, _, also := s.str()
			if !ok || !also {
				return r.broken("a namespace cannot be read", "RFC 9051 section 7.3.3")
			}
			if len(own) < listLimit {
				own = append(own, Namespace{c.name(prefix), string(delimiter)})
			}
			for !s.take(')') { // extensions
				if !s.skip() {
					return r.broken("a namespace cannot be read", "RFC 9051 section 7.3.3")
				}
			}
		}
		return nil
	})
	return own, err
}

// Create creates a folder, Delete deletes one with everything in it (RFC 9051 sections 6.3.4 and 6.3.5).
func (c *Client) Create(ctx context.Context, name string) error {
	_, err := c.about(ctx, "CREATE", name, "", nil)
	return err
}

// Delete deletes a folder with everything in it.
func (c *Client) Delete(ctx context.Context, name string) error {
	_, err := c.about(ctx, "DELETE", name, "", nil)
	return err
}

// Resource is a limited resource of a mailbox (RFC 9208). Storage is in units of 1024 bytes.
type Resource struct {
	Name         string // in upper case: "STORAGE", "MESSAGE"
	Usage, Limit int64
}

// QuotaRoot returns the resources of the quota roots that apply to a folder. Roots without limits have none.
func (c *Client) QuotaRoot(ctx context.Context, name string) (resources []Resource, err error) {
	_, err = c.about(ctx, "GETQUOTAROOT", name, "", func(r *response) error {
		s := scanner{r: r}
		s.word()
		if !equal(s.word(), "QUOTA") {
			return nil
		}
		if _, _, ok := s.str(); !ok {
			return r.broken("the name of a quota root cannot be read", "RFC 9208 section 4.2.1")
		}
		if s.peek() == 0 {
			return nil // no list, as Courier writes a root without limits
		}
		if !s.take('(') {
			return r.broken("the list of a quota root cannot be read", "RFC 9208 section 4.2.1")
		}
		for !s.take(')') {
			name, _, ok := s.str()
			usage, numbered := s.number()
			limit, limited := s.number()
			if !ok || !numbered || !limited || usage > 1<<63-1 || limit > 1<<63-1 {
				return r.broken("the usage or the limit of a quota root is not a number", "RFC 9208 section 4.2.1")
			}
			if len(resources) < listLimit {
				resources = append(resources, Resource{strings.ToUpper(string(name)), int64(usage), int64(limit)})
			}
		}
		return nil
	})
	return resources, err
}
