package imapclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/stepwatch/stepwatch/steps/limit"
)

// recorded is a connection on which a server has said everything already.
type recorded struct {
	io.Reader
	net.Conn
}

func (r recorded) Read(p []byte) (int, error)      { return r.Reader.Read(p) }
func (r recorded) Write(p []byte) (int, error)     { return len(p), nil }
func (r recorded) SetDeadline(time.Time) error     { return nil }
func (r recorded) SetReadDeadline(time.Time) error { return nil }

// calls are the commands whose answers are parsed.
var calls = []func(context.Context, *Client) error{
	func(ctx context.Context, c *Client) error {
		messages, err := c.Fetch(ctx, "1:*", "FLAGS", "INTERNALDATE", WholeMessage)
		for _, m := range messages {
			if m.UID == 0 {
				return errors.New("a message has no UID")
			}
		}
		return err
	},
	func(ctx context.Context, c *Client) error {
		uids, err := c.Search(ctx, Header("X-Run", "a"), Undeleted)
		if len(uids) > int(SetLimit.Most) {
			return errors.New("too many messages")
		}
		return err
	},
	func(ctx context.Context, c *Client) error {
		folders, _, err := c.List(ctx, true)
		for _, f := range folders {
			if !utf8.ValidString(f.Name) {
				return errors.New("a name is not valid UTF-8")
			}
			_ = c.mailbox(f.Name)
		}
		return err
	},
	func(ctx context.Context, c *Client) error { _, err := c.Select(ctx, "INBOX", false); return err },
	func(ctx context.Context, c *Client) error { _, err := c.Status(ctx, "INBOX"); return err },
	func(ctx context.Context, c *Client) error { _, err := c.Namespace(ctx); return err },
	func(ctx context.Context, c *Client) error { _, err := c.QuotaRoot(ctx, "INBOX"); return err },
	func(ctx context.Context, c *Client) error { _, _, err := c.Greeting(ctx); return err },
	func(ctx context.Context, c *Client) error { return c.Login(ctx, "a", "b") },
	func(ctx context.Context, c *Client) error {
		return c.Authenticate(ctx, "X", nil, func(challenge []byte) ([]byte, error) { return challenge, nil })
	},
}

// FuzzAnswers checks that no answer makes a command panic, exceed a limit, or end in an error that cannot be printed on a line.
func FuzzAnswers(f *testing.F) {
	for _, seed := range []string{
		"* 4 FETCH (BODY[HEADER.FIELDS (X-RUN)] {10}\r\nX-Run: a\r\n UID 12 FLAGS (\\Seen foo(bar) INTERNALDATE \"30-Nov-2026 07:00:00 +0100\")\r\ns1 OK done\r\n",
		"* 4 FETCH (X bad(stuff UID 12 MODSEQ (1) ENVELOPE (\"a\" NIL ((\"b\" NIL \"c\" \"d\"))))\r\n* 4 EXPUNGE\r\ns1 OK done\r\n",
		"* SEARCH 1 2 3 (MODSEQ 5)\r\n* ESEARCH (TAG \"s1\") UID ALL 1:3,7 COUNT 4\r\ns1 OK done\r\n",
		"* LIST (\\HasNoChildren \\Junk) \"/\" \"Entw&APw-rfe\" (\"CHILDINFO\" (\"SUBSCRIBED\"))\r\n* STATUS \"Junk\" (MESSAGES 3 UIDNEXT 7)\r\ns1 OK done\r\n",
		"* 3 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\n* OK [PERMANENTFLAGS (OIB-Seen-[Gmail]/Trash \\*)] x\r\ns1 OK [READ-WRITE] done\r\n",
		"* NAMESPACE ((\"INBOX.\" \".\")) NIL NIL\r\ns1 OK\r\n",
		"* QUOTAROOT INBOX \"ROOT\"\r\n* QUOTA \"ROOT\"\r\ns1 OK\r\n",
		"* QUOTA \"\" (STORAGE 10 20)\r\ns1 OK\r\n",
		"* BYE [UNAVAILABLE] x\r\n", "+ aGk=\r\ns1 NO [ALERT] x\r\n", "* PREAUTH [CAPABILITY IMAP4rev1] x\r\n", "<html>\r\n\r\ns9 OK\r\n",
	} {
		f.Add(byte(0), seed)
		f.Add(byte(strings.Count(seed, "*")), seed)
	}
	f.Fuzz(func(t *testing.T, call byte, said string) {
		c := New(recorded{Reader: strings.NewReader(said)}, nil)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		start := time.Now()
		err := calls[int(call)%len(calls)](ctx, c)
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%d bytes took %s", len(said), took)
		}
		var (
			refused *Refusal
			bye     *ByeError
			wrong   *ProtocolError
			large   *limit.Error
		)
		switch {
		case err == nil, errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &refused), errors.As(err, &bye), errors.As(err, &wrong), errors.As(err, &large):
		default:
			t.Errorf("unknown error %v", err)
		}
		if len(said) < 2<<10 { // the same in pieces
			pieces := New(recorded{Reader: iotest.OneByteReader(strings.NewReader(said))}, nil)
			if again := calls[int(call)%len(calls)](ctx, pieces); fmt.Sprint(again) != fmt.Sprint(err) || pieces.Alert() != c.Alert() {
				t.Errorf("whole: %v, %q; in pieces: %v, %q", err, c.Alert(), again, pieces.Alert())
			}
		}
		if wrong != nil && strings.ContainsFunc(wrong.Line, unicode.IsControl) {
			t.Errorf("the quotation %q is not printable", wrong.Line)
		}
	})
}

// FuzzNames checks that a folder's name comes back as it was sent.
func FuzzNames(f *testing.F) {
	for _, seed := range []string{"INBOX", "Entwürfe", "a&b", "&AP8A", "&-", "ü"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, sent string) {
		c := &Client{}
		name := c.name([]byte(sent))
		got := c.raw[name]
		if _, kept := c.raw[name]; !kept {
			got = encodeName(name)
		}
		if got != sent {
			t.Errorf("%q became %q and then %q", sent, name, got)
		}
	})
}
