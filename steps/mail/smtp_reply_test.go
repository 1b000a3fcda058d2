package mail

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/stepwatch/stepwatch/steps/wording"
)

func TestReadReply(t *testing.T) {
	for in, want := range map[string]string{
		"220 mx.example.org ESMTP\r\n":               "220 mx.example.org ESMTP",
		"250-mx\r\n250-SIZE 10\r\n250 HELP\r\n":      "250 mx SIZE 10 HELP",
		"250\r\n":                                    "250",
		"250-\r\n250 ok\r\n":                         "250  ok",
		"250 bare line feed\n":                       "250 bare line feed",
		"550 5.1.1 Gr\xc3\xbc\xc3\x9fe \xff\x00\r\n": "550 5.1.1 Grüße ??",
		"":                             "EOF",
		"250-and then nothing\r\n":     "EOF",
		"HTTP/1.1 400 Bad Request\r\n": `the answer is not an SMTP reply: "HTTP/1.1 400 Bad Request" does not begin with a code`,
		"2500 ok\r\n":                  `the answer is not an SMTP reply: "2500 ok" does not begin with a code`,
		"199 ok\r\n":                   `the answer is not an SMTP reply: "199 ok" does not begin with a code`,
		"250-one\r\n251 two\r\n":       "the answer is not an SMTP reply: its lines have the codes 250 and 251",
		"250 " + strings.Repeat("x", 5000) + "\r\n":                 "a line of the reply has more than 4096 bytes, the limit",
		strings.Repeat("250-"+strings.Repeat("x", 1018)+"\r\n", 65): "the reply has more than 65536 bytes, the limit", // replyBytesLimit
		strings.Repeat("250-x\r\n", 300) + "250 x\r\n":              "the reply has more than 200 lines, the limit",
	} {
		reply, err := readReply(bufio.NewReaderSize(strings.NewReader(in), int(replyLineLimit.Most)))
		got := reply.String()
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%.60q gives\n%q\nwant\n%q", in, got, want)
		}
	}
}

func TestQueueID(t *testing.T) {
	for text, want := range map[string]string{
		"250 2.0.0 Ok: queued as 4jWnKx59XYz1VF5k":                                       "4jWnKx59XYz1VF5k", // Postfix, long
		"250 2.0.0 Ok: queued as 764D49C6071":                                            "764D49C6071",      // Postfix, short
		"250 2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as A1B2C3D4E5": "A1B2C3D4E5",       // behind amavisd
		"250 OK id=1qXyZa-0001Ab-2C":                                                     "1qXyZa-0001Ab-2C", // Exim 4
		"250 OK id=1rTmlE-00000000Ovn-2cSK":                                              "1rTmlE-00000000Ovn-2cSK",
		"250 2.0.0 38A1B2C3012345 Message accepted for delivery":                         "38A1B2C3012345", // sendmail
		"250 2.0.0 7bd8a0c5 Message accepted for delivery":                               "7bd8a0c5",       // OpenSMTPD
		"250 2.0.0 <alice@example.test> IeVWJ8Zq0mYAAAAAcVZ+QA Saved":                    "IeVWJ8Zq0mYAAAAAcVZ+QA",
		"250 2.6.0 <a@b.example> [InternalId=123456789, Hostname=X.example] 1234 bytes in 0.1, 10 KB/sec Queued mail for delivery": "123456789",
		"250 2.0.0 OK  1700000000 a1-20020a05600c.123 - gsmtp":                                                                     "a1-20020a05600c.123",
		"250 ok 1700000000 qp 12345":                           "12345",
		"250 Ok 0100018c5d6e7f80-1a2b3c4d-000000":              "0100018c5d6e7f80-1a2b3c4d-000000",
		"250 Message Queued (3F2A6B7C-1234-4A5B.1)":            "3F2A6B7C-1234-4A5B.1",
		"250 Queued (3F2A6B7C-1234.1)":                         "3F2A6B7C-1234.1",
		"250 Mail accepted, message-id: <abc.def@example.org>": "abc.def@example.org",
		"250 Ok":                    "",
		"250":                       "",
		"550 5.7.1 rejected, id=17": "",
	} {
		reply, err := readReply(bufio.NewReader(strings.NewReader(text + "\r\n")))
		if err != nil {
			t.Fatal(err)
		}
		if got := reply.QueueID(); got != want {
			t.Errorf("%q names %q, want %q", text, got, want)
		}
	}
}

func FuzzReadReply(f *testing.F) {
	for _, seed := range []string{"220 mx\r\n", "250-a\r\n250 2.0.0 Ok: queued as 764D49C6071\r\n", "354\n", "250-\r\n\r\n", "550 \xff\x1b[2J\r\n",
		"250 OK id=1qXyZa-0001Ab-2C\r\n", "\r\n", "25", "250-a\r\n251 b\r\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		r := bufio.NewReaderSize(strings.NewReader(in), int(replyLineLimit.Most))
		reply, err := readReply(r)
		if err != nil && !errors.Is(err, errReply) && !errors.Is(err, io.EOF) {
			t.Fatalf("%q: an error of an unknown kind: %v", in, err)
		}
		if err == nil && (reply.Code < 200 || reply.Code > 599 || len(reply.Lines) == 0 || len(reply.Lines) > int(replyLinesLimit.Most)) {
			t.Fatalf("%q gives %+v", in, reply)
		}
		if text := reply.String(); strings.ContainsFunc(text, func(r rune) bool { return r < ' ' }) {
			t.Fatalf("%q gives control characters: %q", in, text)
		}
		if id := reply.QueueID(); strings.ContainsAny(id, " \r\n<>") || err == nil && !strings.Contains(reply.String(), id) {
			t.Fatalf("%q names %q", in, id)
		}
		_ = reply.enhanced()
		if err == nil { // it reads its own output again
			wire := ""
			for i, line := range reply.Lines {
				sep := "-"
				if i == len(reply.Lines)-1 {
					sep = " "
				}
				wire += fmt.Sprintf("%03d%s%s\r\n", reply.Code, sep, line)
			}
			if again, err := readReply(bufio.NewReaderSize(strings.NewReader(wire), 4*int(replyLineLimit.Most))); err == nil && !slices.Equal(again.Lines, reply.Lines) {
				t.Fatalf("%q is read as %q, then as %q", in, reply, again)
			}
		}
	})
}

func FuzzOneLine(f *testing.F) {
	f.Add("a\r\nb\x00\xff", 3)
	f.Fuzz(func(t *testing.T, in string, limit int) {
		if limit < 0 || limit > 10000 {
			return
		}
		out := wording.OneLine(in, limit)
		if strings.ContainsAny(out, "\r\n\x00\x1b") || len([]rune(out)) > limit+1 {
			t.Fatalf("wording.OneLine(%q, %d) is %q", in, limit, out)
		}
	})
}
