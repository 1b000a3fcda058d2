package imapclient

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/stepwatch/stepwatch/steps/limit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server answers each line of a client with the next text. "@" at the beginning of a line becomes the client's tag. It returns
// what the client wrote, without tags, once the client is closed.
func server(t *testing.T, answers ...string) (c *Client, said func() []string, transcript *[]string) {
	t.Helper()
	ours, theirs := net.Pipe()
	lines, done := make([]string, 0, len(answers)), make(chan struct{})
	go func() {
		defer close(done)
		defer func() { _ = theirs.Close() }()
		r := bufio.NewReader(theirs)
		tag := ""
		for _, answer := range answers {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			line = strings.TrimRight(line, "\r\n")
			if first, rest, _ := strings.Cut(line, " "); len(first) > 1 && first[0] == 's' && strings.Trim(first[1:], "0123456789") == "" {
				tag, line = first, rest
			}
			lines = append(lines, line)
			if answer == "" {
				continue // a pipe would wait for a reader of nothing
			}
			answer = strings.ReplaceAll("\n"+strings.ReplaceAll(answer, "\n@ ", "\n"+tag+" "), "\n@ ", "\n"+tag+" ")[1:]
			if _, err := io.WriteString(theirs, strings.ReplaceAll(strings.ReplaceAll(answer, "\r\n", "\n"), "\n", "\r\n")); err != nil {
				return
			}
		}
	}()
	transcript = new([]string)
	c = New(ours, func(fromServer bool, line string) {
		who := "C: "
		if fromServer {
			who = "S: "
		}
		*transcript = append(*transcript, who+line)
	})
	said = func() []string {
		_ = ours.Close()
		<-done
		return lines
	}
	t.Cleanup(func() { said() })
	return c, said, transcript
}

func ctxOf(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// A message is found in whatever form and order a server reports it.
func TestFetchReadsEveryForm(t *testing.T) {
	const head = "X-Run: a\r\n\r\n"
	literal := fmt.Sprintf("{%d}\n%s", len(head), head)
	at := time.Date(2026, 11, 30, 7, 0, 0, 0, time.FixedZone("", 3600))
	for name, test := range map[string]struct {
		answer string
		want   Message
	}{
		"UID first":                       {"* 4 FETCH (UID 12 BODY[HEADER.FIELDS (X-RUN)] " + literal + ")", Message{UID: 12}},
		"UID behind the literal":          {"* 4 FETCH (BODY[HEADER.FIELDS (X-RUN)] " + literal + " UID 12)", Message{UID: 12}},
		"UID right behind it":             {"* 4 FETCH (BODY[HEADER.FIELDS (X-RUN)] " + literal + "UID 12)", Message{UID: 12}},
		"in lower case":                   {"* 4 fetch (uid 12 body[header.fields (x-run)] " + literal + ")", Message{UID: 12}},
		"quoted names in the section":     {"* 4 FETCH (UID 12 BODY[HEADER.FIELDS (\"X-]Run\")] " + literal + ")", Message{UID: 12}},
		"a literal in the section":        {"* 4 FETCH (UID 12 BODY[HEADER.FIELDS ({5}\nX-Run)] " + literal + ")", Message{UID: 12}},
		"an origin":                       {"* 4 FETCH (UID 12 BODY[]<0> " + literal + ")", Message{UID: 12}},
		"literal8":                        {"* 4 FETCH (UID 12 BODY[] ~" + literal + ")", Message{UID: 12}},
		"a literal with a plus":           {"* 4 FETCH (UID 12 BODY[] " + strings.Replace(literal, "}", "+}", 1) + ")", Message{UID: 12}},
		"blanks everywhere":               {"*  4  FETCH  ( UID  12   BODY[HEADER.FIELDS (X-RUN)]  " + literal + "  )", Message{UID: 12}},
		"no end":                          {"* 4 FETCH (UID 12 BODY[HEADER.FIELDS (X-RUN)] " + literal, Message{UID: 12}},
		"in two responses":                {"* 4 FETCH (UID 12)\n* 4 FETCH (BODY[HEADER.FIELDS (X-RUN)] " + literal + ")", Message{UID: 12}},
		"the section first, then the UID": {"* 4 FETCH (BODY[HEADER.FIELDS (X-RUN)] " + literal + ")\n* 4 FETCH (UID 12)", Message{UID: 12}},
		"flags changed meanwhile": {"* 4 FETCH (FLAGS (\\Seen) UID 12)\n* 4 FETCH (UID 12 BODY[HEADER.FIELDS (X-RUN)] " + literal + ")",
			Message{UID: 12, Flags: []string{`\Seen`}}},
		"another message's flags, without its UID": {"* 3 FETCH (FLAGS (\\Seen))\n* 4 FETCH (UID 12 BODY[] " + literal + ")", Message{UID: 12}},
		"a message removed between":                {"* 4 FETCH (UID 11)\n* 4 EXPUNGE\n* 4 FETCH (UID 12 BODY[] " + literal + ")\n* 9 EXISTS", Message{UID: 12}},
		"items that nobody asked for": {"* 4 FETCH (MODSEQ (624140003) X-GM-LABELS (\"\\\\Inbox\" \"Sent (2026)\") BODYSTRUCTURE ((\"text\" \"plain\" NIL NIL NIL \"7bit\" 3 1) \"mixed\") THREADID NIL UID 12 BODY[] " + literal + ")",
			Message{UID: 12}},
		"an unknown item that does not end": {"* 4 FETCH (X-FOO bad(stuff UID 12 BODY[] " + literal + ")", Message{UID: 12}},
		"quotes in the quotes of one":       {"* 4 FETCH (ENVELOPE (\"a \"b\" c\" NIL (\"( \") UID 12 BODY[] " + literal + ")", Message{UID: 12}},
		"the flag of a mail program": {"* 4 FETCH (FLAGS (\\Seen OIB-Seen-[Gmail]/Trash) UID 12 BODY[] " + literal + ")",
			Message{UID: 12, Flags: []string{`\Seen`, "OIB-Seen-[Gmail]/Trash"}}},
		"a quoted flag": {"* 4 FETCH (FLAGS (\"my flag\" \\Seen) UID 12 BODY[] " + literal + ")", Message{UID: 12, Flags: []string{"my flag", `\Seen`}}},
		"a parenthesis in a flag": {"* 4 FETCH (FLAGS (\\Seen foo(bar) UID 12 BODY[] " + literal + ")",
			Message{UID: 12, Flags: []string{`\Seen`, "foo(bar"}}},
		"two parentheses in a flag": {"* 4 FETCH (BODY[] " + literal + " UID 12 FLAGS (\\Seen foo(bar)))", Message{UID: 12, Flags: []string{`\Seen`, "foo(bar)"}}},
		"two, and an item":          {"* 4 FETCH (FLAGS (foo(bar) \\Seen) UID 12 BODY[] " + literal + ")", Message{UID: 12, Flags: []string{"foo(bar)", `\Seen`}}},
		"a quote in a flag":         {"* 4 FETCH (FLAGS (it\"s) UID 12 BODY[] " + literal + ")", Message{UID: 12, Flags: []string{`it"s`}}},
		"a brace in a flag":         {"* 4 FETCH (FLAGS (a{5}) UID 12 BODY[] " + literal + ")", Message{UID: 12, Flags: []string{"a{5}"}}},
		"flags in UTF-8":            {"* 4 FETCH (FLAGS (gelöscht %x) UID 12 BODY[] " + literal + ")", Message{UID: 12, Flags: []string{"gelöscht", "%x"}}},
		"a flag as a literal":       {"* 4 FETCH (FLAGS ({3}\nfoo \\Seen) UID 12 BODY[] " + literal + ")", Message{UID: 12, Flags: []string{"foo", `\Seen`}}},
		"no flags":                  {"* 4 FETCH (FLAGS () UID 12 BODY[] " + literal + ")", Message{UID: 12, Flags: []string{}}},
		"a date":                    {"* 4 FETCH (INTERNALDATE \"30-Nov-2026 07:00:00 +0100\" UID 12 RFC822.SIZE 77 BODY[] " + literal + ")", Message{UID: 12, InternalDate: at, Size: 77}},
		"other responses": {"* 4 EXISTS\n* 1 RECENT\n* VANISHED (EARLIER) 1:5\n* ESEARCH (TAG \"x\") UID\n* OK Still here\n* LIST () \"/\" {5}\nINBOX\n* FLAGS (\\Seen foo(bar ])\n* OK [PERMANENTFLAGS (OIB-Seen-[Gmail]/Trash \\*)] x\n\ns999 OK of somebody else\n* 4 FETCH (UID 12 BODY[] " + literal + ")",
			Message{UID: 12}},
		"a text that looks like a literal": {"* OK see {5}\n* 4 FETCH (UID 12 BODY[] " + literal + ")", Message{UID: 12}},
		"a stray line":                     {"* 4 FETCH (UID 12 BODY[] " + literal + ")\n  rest of something", Message{UID: 12}},
	} {
		t.Run(name, func(t *testing.T) {
			c, said, _ := server(t, test.answer+"\n@ OK done\n", "@ OK still in step\n")
			messages, err := c.Fetch(ctxOf(t), From(12), HeaderFields("X-Run"))
			if err != nil {
				t.Fatal(err)
			}
			test.want.Body, test.want.HasBody = []byte(head), true
			messages = slices.DeleteFunc(messages, func(m Message) bool { return m.UID != 12 })
			if len(messages) != 1 || !messages[0].InternalDate.Equal(test.want.InternalDate) {
				t.Fatalf("got %+v\nwant %+v", messages, test.want)
			}
			messages[0].InternalDate = test.want.InternalDate
			if !reflect.DeepEqual(messages[0], test.want) {
				t.Errorf("got  %+v\nwant %+v", messages[0], test.want)
			}
			if err := c.Noop(ctxOf(t)); err != nil {
				t.Errorf("the next command: %v", err)
			}
			if got := said(); got[0] != "UID FETCH 12:* (UID BODY.PEEK[HEADER.FIELDS (X-RUN)])" {
				t.Errorf("said %q", got)
			}
		})
	}
}

// A literal keeps its bytes, also when its end looks like that of a line and nothing follows it.
func TestLiteralsKeepTheirBytes(t *testing.T) {
	for _, content := range []string{"", "\r", "\n", "\r\n", "a\r", "a\n", "\r\n\r\n", "{5}", "* BYE\r\n", "\x00\xff"} {
		for _, end := range []string{"", ")", " UID 12)"} {
			said := fmt.Sprintf("* 4 FETCH (UID 12 BODY[] {%d}\r\n%s%s\r\ns1 OK\r\n", len(content), content, end)
			messages, err := New(recorded{Reader: strings.NewReader(said)}, nil).Fetch(ctxOf(t), "12", WholeMessage)
			if err != nil || len(messages) != 1 || string(messages[0].Body) != content {
				t.Errorf("%q with %q: got %v, %v", content, end, messages, err)
			}
		}
	}
}

// What is needed and cannot be read is quoted, with the rule.
func TestUnreadableAnswersAreQuoted(t *testing.T) {
	fetch := func(ctx context.Context, c *Client) error {
		_, err := c.Fetch(ctx, "1:*", "INTERNALDATE", WholeMessage)
		return err
	}
	search := func(ctx context.Context, c *Client) error { _, err := c.Search(ctx, Deleted); return err }
	status := func(ctx context.Context, c *Client) error { _, err := c.Status(ctx, "Lists"); return err }
	quota := func(ctx context.Context, c *Client) error { _, err := c.QuotaRoot(ctx, "INBOX"); return err }
	for name, test := range map[string]struct {
		do     func(context.Context, *Client) error
		answer string
		want   string
	}{
		"a UID that is a word":    {fetch, "* 1 FETCH (UID abc)\n@ OK\n", `the UID of a message is not a number (RFC 9051 section 7.5.2): the server sent "* 1 FETCH (UID abc)"`},
		"a UID of 0":              {fetch, "* 1 FETCH (UID 0)\n@ OK\n", `the UID of a message is not a number (RFC 9051 section 7.5.2): the server sent "* 1 FETCH (UID 0)"`},
		"a date that is none":     {fetch, "* 1 FETCH (UID 1 INTERNALDATE \"yesterday\")\n@ OK\n", `INTERNALDATE is not a date and time (RFC 9051 section 9, date-time): the server sent "* 1 FETCH (UID 1 INTERNALDATE \"yesterday\")"`},
		"a section without a UID": {fetch, "* 1 FETCH (BODY[] {6}\nsecret)\n@ OK\n", `a message comes without its UID (RFC 9051 section 6.4.9): the server sent "* 1 FETCH (BODY[] {6})"`},
		"no list":                 {fetch, "* 1 FETCH UID 1\n@ OK\n", `the items of a message are not a list (RFC 9051 section 7.5.2): the server sent "* 1 FETCH UID 1"`},
		"a search for words":      {search, "* SEARCH 1 two\n@ OK\n", `the result of a search is not a number (RFC 3501 section 7.2.5): the server sent "* SEARCH 1 two"`},
		"an odd set":              {search, "* ESEARCH (TAG \"a\") UID ALL 1:x\n@ OK\n", `the result of a search is not a set of numbers (RFC 9051 section 7.3.4): the server sent "* ESEARCH (TAG \"a\") UID ALL 1:x"`},
		"no status":               {status, "@ OK\n", `the server answers STATUS with OK and no status (RFC 9051 section 6.3.11)`},
		"an odd status":           {status, "* STATUS Lists (MESSAGES many)\n@ OK\n", `the status of a folder cannot be read (RFC 9051 section 7.3.4): the server sent "* STATUS Lists (MESSAGES many)"`},
		"an odd quota":            {quota, "* QUOTA \"\" (STORAGE 1 unlimited)\n@ OK\n", `the usage or the limit of a quota root is not a number (RFC 9208 section 4.2.1): the server sent "* QUOTA \"\" (STORAGE 1 unlimited)"`},
	} {
		t.Run(name, func(t *testing.T) {
			c, _, _ := server(t, test.answer, "@ OK\n")
			err := test.do(ctxOf(t), c)
			if err == nil || err.Error() != test.want {
				t.Fatalf("got  %v\nwant %s", err, test.want)
			}
			if err := c.Noop(ctxOf(t)); err != nil {
				t.Errorf("the connection is out of step: %v", err)
			}
		})
	}
}

// The reasons why a connection or an answer ends.
func TestEnds(t *testing.T) {
	noop := func(ctx context.Context, c *Client) error { return c.Noop(ctx) }
	for name, test := range map[string]struct {
		answer string
		want   string
		is     any
	}{
		"a refusal":          {"@ NO [UNAVAILABLE] try later\n", "NOOP: NO [UNAVAILABLE] try later", new(*Refusal)},
		"BAD":                {"@ BAD what?\n", "NOOP: BAD what?", new(*Refusal)},
		"in lower case":      {"@ no [unavailable] try later\n", "NOOP: NO [UNAVAILABLE] try later", new(*Refusal)},
		"BYE":                {"* BYE [UNAVAILABLE] shutting down\n", "BYE [UNAVAILABLE] shutting down", new(*ByeError)},
		"BYE and no word":    {"* BYE\n", "BYE", new(*ByeError)},
		"the end":            {"", "EOF", nil},
		"the end of a line":  {"* OK half", "unexpected EOF", nil},
		"a web page":         {"<html>\n", "a line is not a response (RFC 9051 section 2.2.2): the server sent \"<html>\"\nEOF", new(*ProtocolError)},
		"neither OK nor NO":  {"@ FINE\n", `the answer to NOOP is neither OK, NO nor BAD (RFC 9051 section 7.1): the server sent "s1 FINE"`, new(*ProtocolError)},
		"a continuation":     {"+ go on\n", `the server asks for more of the command NOOP (RFC 9051 section 7.6): the server sent "+ go on"`, new(*ProtocolError)},
		"only stray lines":   {strings.Repeat("x\n", StrayLimit+1), `lines are not responses (RFC 9051 section 2.2.2): the server sent "x"`, new(*ProtocolError)},
		"a huge literal":     {"* 1 FETCH (BODY[] {8388609}\n", "a literal of the answer has 8388609 bytes, the limit is 8388608; limits.message in stepwatch.yml raises it", new(*limit.Error)},
		"a literal of 2^99":  {"* X {633825300114114700748351602688}\n", "a literal of the answer has 9223372036854775807 bytes, the limit is 8388608; limits.message in stepwatch.yml raises it", new(*limit.Error)},
		"a long line":        {"* " + strings.Repeat("x", int(LineLimit.Most)) + "\n", "a line of the answer has more than 1048576 bytes, the limit", new(*limit.Error)},
		"a long answer":      {strings.Repeat("* "+strings.Repeat("x", 1<<19)+"\n", 19), "the answer to one command has more than 9437184 bytes, the limit; limits.message in stepwatch.yml raises it", new(*limit.Error)},
		"a lot of responses": {strings.Repeat("* x\n", int(ResponseLimit.Most)+1), "the answer to one command has more than 200000 responses, the limit", new(*limit.Error)},
		"many literals":      {"* x" + strings.Repeat(" {0}\n", int(ItemLimit.Most)+1) + "\n", "a response has more than 50000 literals, the limit", new(*limit.Error)},
	} {
		t.Run(name, func(t *testing.T) {
			c, _, _ := server(t, test.answer)
			err := noop(ctxOf(t), c)
			if err == nil || err.Error() != test.want {
				t.Fatalf("got  %v\nwant %s", err, test.want)
			}
			if test.is != nil && !errors.As(err, test.is) {
				t.Errorf("%T", err)
			}
			refused := strings.HasPrefix(test.want, "NOOP: ")
			if c.Usable() != refused {
				t.Errorf("usable: %t", c.Usable())
			}
		})
	}
}

func TestSets(t *testing.T) {
	for name, test := range map[string]struct {
		answer string
		want   []UID
		err    string
	}{
		"SEARCH":           {"* SEARCH 3 1 2", []UID{3, 1, 2}, ""},
		"several":          {"* SEARCH 3\n* SEARCH 4", []UID{3, 4}, ""},
		"with MODSEQ":      {"* SEARCH 3 4 (MODSEQ 917162500)", []UID{3, 4}, ""},
		"in lower case":    {"* search 5", []UID{5}, ""},
		"nothing":          {"* SEARCH", nil, ""},
		"blanks":           {"* SEARCH 3  4 ", []UID{3, 4}, ""},
		"no answer":        {"* OK x", nil, ""},
		"ESEARCH":          {`* ESEARCH (TAG "s1") UID COUNT 4 ALL 1:3,9`, []UID{1, 2, 3, 9}, ""},
		"ESEARCH, nothing": {`* ESEARCH (TAG "s1") UID`, nil, ""},
		"reversed":         {`* ESEARCH (TAG "s1") UID ALL 3:1`, []UID{1, 2, 3}, ""},
		"too many":         {`* ESEARCH (TAG "s1") UID ALL 1:1048577`, nil, "a set of messages in the answer has 1048577 numbers, the limit is 1048576"},
		"all there are":    {`* ESEARCH (TAG "s1") UID ALL 1:4294967295`, nil, "a set of messages in the answer has 4294967295 numbers, the limit is 1048576"},
	} {
		t.Run(name, func(t *testing.T) {
			c, _, _ := server(t, test.answer+"\n@ OK\n")
			got, err := c.Search(ctxOf(t), Deleted)
			if test.err != "" {
				if err == nil || err.Error() != test.err {
					t.Errorf("got %v, want %s", err, test.err)
				}
				return
			}
			if err != nil || !slices.Equal(got, test.want) {
				t.Errorf("got %v, %v, want %v", got, err, test.want)
			}
		})
	}
	if got := Set(7, 1, 2, 3, 9, 9, 8); got != "1:3,7:9" {
		t.Errorf("got %q", got)
	}
	many := make([]UID, 5000)
	for i := range many {
		many[i] = UID(4_000_000_000 + 2*i)
	}
	total := 0
	for _, set := range SetsOf(many) {
		total += strings.Count(string(set), ",") + 1
		if len(set) > 8000 {
			t.Errorf("a set of %d bytes", len(set))
		}
	}
	if total != len(many) {
		t.Errorf("%d of %d messages", total, len(many))
	}
}

func TestFolders(t *testing.T) {
	c, said, _ := server(t, "@ OK [CAPABILITY IMAP4rev1 NAMESPACE SPECIAL-USE LIST-EXTENDED LIST-STATUS] in\n",
		`* list (\HasNoChildren) "." inbox
* LIST (\HasNoChildren \Junk) "." "INBOX.Spam"
* STATUS "INBOX.Spam" (MESSAGES 3 UIDNEXT 7 UIDVALIDITY 2 HIGHESTMODSEQ 9 MAILBOXID (abc))
* LIST (\NoSelect) "." INBOX.Old
* LIST () NIL {7}
INBOX.x
* LIST () "\\" "a\"b\\c" ("CHILDINFO" ("SUBSCRIBED"))
* LIST () "." Sent Items
* LIST () "." "INBOX.Entw&APw-rfe"
* LIST () "." "INBOX.Entwürfe2"
* LIST () "." "R&D"
* LIST () "." "&AP8A"
* LIST () "." NIL
* LIST oops
* LSUB () "." INBOX
@ OK
`, "* NAMESPACE ((\"INBOX.\" \".\" \"X-PARAM\" (\"a\" \"b\"))(\"#mh/\" \"/\")) NIL ((\"shared.\" \".\"))\n@ OK\n", "* NAMESPACE NIL NIL NIL\n@ OK\n",
		"@ NO [NONEXISTENT] no\n", "@ NO\n", "@ NO\n", "* STATUS INBOX (MESSAGES 2 UIDNEXT 9 RECENT 1)\n@ OK\n")
	ctx := ctxOf(t)
	if err := c.Login(ctx, "a", "b"); err != nil {
		t.Fatal(err)
	}
	folders, unread, err := c.List(ctx, true)
	if err != nil || unread == nil || unread.Line != "* LIST oops" {
		t.Fatal(err, unread)
	}
	var names []string
	for _, f := range folders {
		names = append(names, f.Name)
	}
	want := []string{"INBOX", "INBOX.Spam", "INBOX.Old", "INBOX.x", `a"b\c`, "Sent Items", "INBOX.Entwürfe", "INBOX.Entwürfe2", "R&D", "&AP8A", "NIL"}
	if !slices.Equal(names, want) {
		t.Errorf("got  %q\nwant %q", names, want)
	}
	if f := folders[1]; !f.Has(`\junk`) || f.Delimiter != "." || f.Contents == nil || *f.Contents != (Contents{Messages: 3, UIDNext: 7, UIDValidity: 2}) {
		t.Errorf("%+v", f)
	}
	if folders[2].Selectable() || !folders[1].Selectable() {
		t.Error("which folders hold messages")
	}
	own, err := c.Namespace(ctx)
	if err != nil || !slices.Equal(own, []Namespace{{"INBOX.", "."}, {"#mh/", "/"}}) {
		t.Errorf("%v %v", own, err)
	}
	if own, err := c.Namespace(ctx); err != nil || own != nil {
		t.Errorf("%v %v", own, err)
	}
	for _, name := range []string{"INBOX.Entwürfe", "INBOX.Entwürfe2", "R&D"} {
		var refused *Refusal
		if _, err := c.Select(ctx, name, false); !errors.As(err, &refused) {
			t.Error(err)
		}
	}
	if contents, err := c.Status(ctx, "INBOX"); err != nil || contents != (Contents{Messages: 2, UIDNext: 9}) {
		t.Errorf("%+v %v", contents, err)
	}
	got := said()[4:7]
	if want := []string{`SELECT "INBOX.Entw&APw-rfe"`, `SELECT "INBOX.Entwürfe2"`, `SELECT "R&D"`}; !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestNames(t *testing.T) {
	for name, encoded := range map[string]string{"INBOX": "INBOX", "Entwürfe": "Entw&APw-rfe", "a&b": "a&-b", "台北": "&U,BTFw-", "😀": "&2D3eAA-", "~peter/mail/日本語": "~peter/mail/&ZeVnLIqe-"} {
		if got := encodeName(name); got != encoded {
			t.Errorf("%s: %q, want %q", name, got, encoded)
		}
		if got, ok := decodeName(encoded); !ok || got != name {
			t.Errorf("%s: %q", encoded, got)
		}
	}
	for _, odd := range []string{"a&b", "&AP8A", "&AP-", "&!-", "ü", "&2D0-"} {
		if got, ok := decodeName(odd); ok {
			t.Errorf("%q is %q", odd, got)
		}
	}
}

func TestSelect(t *testing.T) {
	c, _, transcript := server(t, "* 3 EXISTS\n* 0 RECENT\n* FLAGS (\\Answered OIB-Seen-[Gmail]/Trash \"x y\" foo(bar)\n"+
		"* OK [PERMANENTFLAGS (\\Answered OIB-Seen-[Gmail]/Trash \"x y\" foo(bar \\*)] Flags permitted.\n* OK [UIDVALIDITY 7] UIDs valid\n* ok [uidnext 12]\n@ OK [READ-ONLY] done\n",
		"* 4 EXISTS\n* 4 EXPUNGE\n@ OK\n", "@ OK\n")
	got, err := c.Select(ctxOf(t), "INBOX", true)
	if err != nil || got != (Contents{Messages: 3, UIDNext: 12, UIDValidity: 7, ReadOnly: true}) || c.News() {
		t.Errorf("%+v %v", got, err)
	}
	if (*transcript)[0] != `C: EXAMINE "INBOX"` || (*transcript)[len(*transcript)-1] != "S: s1 OK [READ-ONLY] done" {
		t.Errorf("%q", *transcript)
	}
	if err := c.Noop(ctxOf(t)); err != nil || !c.News() || c.News() {
		t.Error(err)
	}
}

func TestQuota(t *testing.T) {
	for answer, want := range map[string][]Resource{
		"* QUOTAROOT INBOX \"User quota\"\n* QUOTA \"User quota\" (STORAGE 10 20 MESSAGE 5 1000)": {{"STORAGE", 10, 20}, {"MESSAGE", 5, 1000}},
		"* QUOTAROOT INBOX ROOT\n* QUOTA \"ROOT\"":                                                nil,
		"* QUOTAROOT INBOX ROOT\n* QUOTA \"ROOT\" ":                                               nil,
		"* QUOTA \"ROOT\" ()":              nil,
		"* QUOTAROOT INBOX":                nil,
		"* quota \"\" (storage  1 2 )":     {{"STORAGE", 1, 2}},
		"* QUOTA {1}\nx (\"STORAGE\" 1 2)": {{"STORAGE", 1, 2}},
	} {
		c, _, _ := server(t, answer+"\n@ OK\n")
		if got, err := c.QuotaRoot(ctxOf(t), "INBOX"); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: got %v, %v, want %v", answer, got, err, want)
		}
	}
}

func TestLogins(t *testing.T) {
	c, said, transcript := server(t,
		"+ go\n", "+ go on\n", "@ OK [CAPABILITY IMAP4rev1 LITERAL+] in\n", "", "", "* CAPABILITY IMAP4rev1 SASL-IR\n@ OK in\n",
		"@ OK\n", "@ OK in, and everything is different\n", "* CAPABILITY imap4rev1 uidplus AUTH=plain\n@ OK\n")
	ctx := ctxOf(t)
	if err := c.Login(ctx, "jürgen", "pass\nwörd"); err != nil || !c.Has("literal+") {
		t.Fatal(err)
	}
	if err := c.Login(ctx, "jürgen", "p\"a\\s"); err != nil || !c.Has("SASL-IR") || c.Has("LITERAL+") {
		t.Fatal(err)
	}
	_ = c.Noop(ctx)
	if err := c.Authenticate(ctx, "PLAIN", []byte("\x00a\x00b"), nil); err != nil {
		t.Fatal(err)
	}
	if err := c.Capability(ctx); err != nil || !c.Has("UIDPLUS") || !c.HasAny("auth=") || !c.Has("AUTH=PLAIN") {
		t.Error(err, c.capabilities)
	}
	want := []string{"LOGIN {7}", "jürgen {10}", "pass", "wörd", "LOGIN {7+}", "jürgen \"p\\\"a\\\\s\"", "NOOP", "AUTHENTICATE PLAIN AGEAYg==", "CAPABILITY"}
	if got := said(); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if text := strings.Join(*transcript, "\n"); strings.Contains(text, "wörd") || strings.Contains(text, "AGEA") || !strings.Contains(text, `C: LOGIN "jürgen" [hidden]`) {
		t.Error(text)
	}
}

// A mechanism talks without an initial response in the command, answers challenges, and cancels.
func TestAuthenticate(t *testing.T) {
	why := base64.StdEncoding.EncodeToString([]byte(`{"status":"400"}`))
	c, said, _ := server(t, "+\n", "+ "+why+"\n", "@ NO [AUTHENTICATIONFAILED] no\n", "+ !\n", "@ BAD cancelled\n", strings.Repeat("+ \n", 1), "+ \n", "@ OK\n")
	ctx := ctxOf(t)
	var got []string
	var refused *Refusal
	err := c.Authenticate(ctx, "XOAUTH2", []byte("user"), func(challenge []byte) ([]byte, error) {
		got = append(got, string(challenge))
		return nil, nil
	})
	if !errors.As(err, &refused) || refused.Code != AuthenticationFailed || !slices.Equal(got, []string{`{"status":"400"}`}) {
		t.Error(err, got)
	}
	stop := errors.New("no")
	if err := c.Authenticate(ctx, "CRAM-MD5", nil, func([]byte) ([]byte, error) { return nil, stop }); !errors.Is(err, stop) {
		t.Error(err)
	}
	_ = said
	if lines := said(); !slices.Equal(lines[:5], []string{"AUTHENTICATE XOAUTH2", "dXNlcg==", "", "AUTHENTICATE CRAM-MD5", "*"}) {
		t.Errorf("%q", lines)
	}
}

func TestGreetings(t *testing.T) {
	for greeting, want := range map[string]string{
		"* OK [CAPABILITY IMAP4rev1] hi\r\n": "",
		"* ok hi\n":                          "",
		"\r\n* OK hi\r\n":                    "",
		"* PREAUTH hi\r\n":                   "",
		"* BYE [UNAVAILABLE] full\r\n":       "BYE [UNAVAILABLE] full",
		"220 mail ESMTP\r\n":                 `the greeting is neither OK, PREAUTH nor BYE (RFC 9051 section 7.1): the server sent "220 mail ESMTP"`,
		"* NO hi\r\n":                        `the greeting is neither OK, PREAUTH nor BYE (RFC 9051 section 7.1): the server sent "* NO hi"`,
		"":                                   "EOF",
	} {
		ours, theirs := net.Pipe()
		go func() {
			_, _ = io.WriteString(theirs, greeting)
			_ = theirs.Close()
		}()
		c := New(ours, nil)
		_, _, err := c.Greeting(ctxOf(t))
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", greeting, got, want)
		}
		_ = ours.Close()
	}
}

// The server's announcements outside any command are kept.
func TestAlerts(t *testing.T) {
	c, _, _ := server(t, "* NO [ALERT] read-only until noon\n@ NO [UNAVAILABLE] x\n", "@ OK [ALERT] 95 % full\n", "* NO [WEBALERT https://a.test/] Web login required\n@ OK\n", "@ NO [CONTACTADMIN] x\n")
	ctx := ctxOf(t)
	for _, want := range []string{"read-only until noon", "95 % full", "Web login required https://a.test/"} {
		_ = c.Noop(ctx)
		if c.Alert() != want {
			t.Errorf("got %q, want %q", c.Alert(), want)
		}
	}
	var refused *Refusal
	if err := c.Noop(ctx); !errors.As(err, &refused) || refused.Code != ContactAdmin {
		t.Error(err)
	}
}

func TestStatusCodes(t *testing.T) {
	for line, want := range map[string]Status{
		"OK done":                     {OK, "", "", "done"},
		"ok":                          {OK, "", "", ""},
		"OK [UIDNEXT 12] x":           {OK, "UIDNEXT", "12", "x"},
		"OK [uidnext 12]":             {OK, "UIDNEXT", "12", ""},
		"NO [ AUTHENTICATIONFAILED ]": {NO, "AUTHENTICATIONFAILED", "", ""},
		"OK [PERMANENTFLAGS (OIB-Seen-[Gmail]/Trash a]b \\*)] ok": {OK, "PERMANENTFLAGS", "(OIB-Seen-[Gmail]/Trash a]b \\*)", "ok"},
		"NO [see below":   {NO, "", "", "[see below"},
		"BAD  two blanks": {BAD, "", "", "two blanks"},
	} {
		if got, ok := parseStatus([]byte(line)); !ok || got != want {
			t.Errorf("%q: got %+v", line, got)
		}
	}
	if _, ok := parseStatus([]byte("OKAY")); ok {
		t.Error("OKAY is a status")
	}
}

// A call ends with its context, and the connection is unusable then.
func TestEndsWithItsContext(t *testing.T) {
	ours, theirs := net.Pipe()
	defer func() { _, _ = ours.Close(), theirs.Close() }()
	go func() { _, _ = io.Copy(io.Discard, theirs) }()
	c := New(ours, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := c.Noop(ctx); !errors.Is(err, context.DeadlineExceeded) || c.Usable() {
		t.Errorf("%v, usable %t", err, c.Usable())
	}
	if err := c.Noop(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}

func TestUTF8Only(t *testing.T) {
	c, said, _ := server(t, "@ OK [CAPABILITY IMAP4rev1 UTF8=ONLY] in\n", "* ENABLED UTF8=ACCEPT\n@ OK\n", "@ NO\n")
	ctx := ctxOf(t)
	_ = c.Login(ctx, "a", "b")
	if err := c.EnableUTF8(ctx); err != nil {
		t.Fatal(err)
	}
	_, _ = c.Select(ctx, "Entwürfe", false)
	if got := said(); got[1] != "ENABLE UTF8=ACCEPT" || got[2] != `SELECT "Entwürfe"` {
		t.Errorf("%q", got)
	}
}

func TestStartTLSReportsClearBytes(t *testing.T) {
	c, _, _ := server(t, "@ OK begin\n* CAPABILITY IMAP4rev1\n")
	if s, clear, err := c.StartTLS(ctxOf(t)); err != nil || clear == 0 || s.Text != "begin" {
		t.Error(s, clear, err)
	}
}

// What a client holds of an answer is counted until the next command, and the run's limit ends the command.
func TestMemory(t *testing.T) {
	for name, test := range map[string]struct {
		answer string
		do     func(context.Context, *Client) error
		least  int64 // bytes counted for an answer
	}{
		"messages": {strings.Repeat("* 1 FETCH (UID 1 FLAGS (\\a \\b))\n", 100) + "s1 OK\n", func(ctx context.Context, c *Client) error {
			_, err := c.Fetch(ctx, "1", "FLAGS")
			return err
		}, 100 * messageSize},
		"a message": {"* 1 FETCH (UID 1 BODY[] {10000}\n" + strings.Repeat("x", 10000) + ")\ns1 OK\n", func(ctx context.Context, c *Client) error {
			_, err := c.Fetch(ctx, "1", WholeMessage)
			return err
		}, 2 * 10000},
		"folders": {strings.Repeat("* LIST (\\a) NIL x\n", 100) + "s1 OK\n", func(ctx context.Context, c *Client) error {
			_, _, err := c.List(ctx, false)
			return err
		}, 100 * folderSize},
		"numbers": {"* ESEARCH UID ALL 1:10000\ns1 OK\n", func(ctx context.Context, c *Client) error {
			_, err := c.Search(ctx, Deleted)
			return err
		}, 10000 * numberSize},
	} {
		t.Run(name, func(t *testing.T) {
			memory := limit.NewMemory(1<<20, nil)
			c := New(recorded{Reader: strings.NewReader(test.answer)}, nil)
			c.SetMemory(memory)
			if err := test.do(ctxOf(t), c); err != nil || memory.Used() < test.least {
				t.Error(err, memory.Used())
			}
			if c.Close(); memory.Used() != 0 {
				t.Error(memory.Used())
			}
			c = New(recorded{Reader: strings.NewReader(test.answer)}, nil)
			c.SetMemory(limit.NewMemory(test.least/2, nil))
			err := test.do(ctxOf(t), c)
			exceeded := (*limit.Error)(nil)
			if !errors.As(err, &exceeded) || exceeded.Limit.What != limit.RunMemory.What || c.Usable() {
				t.Error(err, c.Usable())
			}
		})
	}
}

// Folders and their contents are joined in linear time: 50,000 of them with 150,000 contents of others took ten seconds.
func TestManyFolders(t *testing.T) {
	var answer strings.Builder
	for i := range 50_000 {
		fmt.Fprintf(&answer, "* LIST () NIL a%d\n", i)
	}
	answer.WriteString(strings.Repeat("* STATUS a0x (MESSAGES 1)\n", 149_000) + "* STATUS a7 (MESSAGES 5)\ns1 OK\n")
	c := New(recorded{Reader: strings.NewReader(answer.String())}, nil)
	begin := time.Now()
	folders, unread, err := c.List(ctxOf(t), true)
	if err != nil || unread != nil || len(folders) != 50_000 || folders[7].Contents == nil || folders[7].Contents.Messages != 5 {
		t.Error(unread, err, len(folders))
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Error(took)
	}
}

// A larger message is read with a larger limit.
func TestMessageLimit(t *testing.T) {
	answer := "* 1 FETCH (UID 1 BODY[] {1000}\n" + strings.Repeat("x", 1000) + ")\ns1 OK\n"
	for most, want := range map[int64]string{
		0: "", 1000: "", 999: "a literal of the answer has 1000 bytes, the limit is 999; limits.message in stepwatch.yml raises it",
	} {
		c := New(recorded{Reader: strings.NewReader(answer)}, nil)
		c.SetMessageLimit(most)
		_, err := c.Fetch(ctxOf(t), "1", WholeMessage)
		if (err != nil || want != "") && (err == nil || err.Error() != want) {
			t.Errorf("%d: %v", most, err)
		}
	}
	if LiteralLimit.Most+LineLimit.Most > AnswerLimit.Most {
		t.Error("the largest message does not fit into an answer")
	}
}

// Too much of anything ends the command, with the limit and the value.
func TestLimitsAreKept(t *testing.T) {
	for name, test := range map[string]struct {
		do     func(context.Context, *Client) error
		answer string
		want   string
	}{
		"folders": {func(ctx context.Context, c *Client) error { _, _, err := c.List(ctx, false); return err },
			strings.Repeat("* LIST () NIL a\n", int(FolderLimit.Most)+1), "the list of folders has more than 50000 folders, the limit"},
		"results": {func(ctx context.Context, c *Client) error { _, err := c.Search(ctx, Deleted); return err },
			strings.Repeat("* SEARCH"+strings.Repeat(" 1", 1000)+"\n", int(SearchLimit.Most)/1000+1), "the result of a search has more than 1048576 numbers, the limit"},
		"challenges": {func(ctx context.Context, c *Client) error {
			return c.Authenticate(ctx, "X", nil, func([]byte) ([]byte, error) { return nil, nil })
		}, strings.Repeat("+ \n", int(ChallengeLimit.Most)+1), "the login has more than 10 challenges, the limit"},
		"depth": {func(ctx context.Context, c *Client) error { _, err := c.Status(ctx, "a"); return err },
			"* STATUS a (X " + strings.Repeat("(", DepthLimit+1) + strings.Repeat(")", DepthLimit+1) + ")\ns1 OK\n",
			`the status of a folder cannot be read (RFC 9051 section 7.3.4): the server sent "* STATUS a (X ` + strings.Repeat("(", DepthLimit+1) + strings.Repeat(")", DepthLimit+1) + `)"`},
	} {
		c := New(recorded{Reader: strings.NewReader(test.answer)}, nil)
		if err := test.do(ctxOf(t), c); err == nil || err.Error() != test.want {
			t.Errorf("%s: got %v\nwant %s", name, err, test.want)
		}
	}
}
