package mail

import (
	"bufio"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/limit"
)

// A message that is larger than the limit is read to the limit, and counted until the end of the session.
func TestPOP3MessageLimit(t *testing.T) {
	for _, test := range []struct {
		setting, size int64
		want          string
	}{
		{0, 8 << 20, ""},
		{0, 8<<20 + 1, "RETR 1 at :0: a message has more than 8388608 bytes, the limit; limits.message in stepwatch.yml raises it"},
		{1000, 1001, "RETR 1 at :0: a message has more than 1000 bytes, the limit; limits.message in stepwatch.yml raises it"},
		{20 << 20, 20 << 20, ""},
	} {
		w := steps.NewWorld(new(steps.Target).Set(steps.Limits{Message: test.setting}), nil, "run", "scenario")
		c := newPOP3Client(t.Context(), &pop3Mailbox{w: w, account: &steps.Account{}})
		if test.setting == 0 && c.messages.Most != pop3MessageLimit.Most {
			t.Error(c.messages)
		}
		ours, theirs := net.Pipe()
		go func() {
			defer theirs.Close()
			_, _ = bufio.NewReader(theirs).ReadString('\n')
			lines, rest := int(test.size/1000)-1, int(test.size%1000)+998
			_, _ = io.WriteString(theirs, "+OK\r\n"+strings.Repeat(strings.Repeat("x", 998)+"\r\n", lines)+strings.Repeat("x", rest)+"\r\n.\r\n")
		}()
		c.use(ours)
		raw, err := c.message(1)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != test.want || err != nil && !errors.As(err, new(*limit.Error)) {
			t.Errorf("%d bytes: got %v\nwant %s", test.size, err, test.want)
		}
		if held := w.Memory().Used(); err == nil && held < int64(cap(raw)) || held != c.held {
			t.Errorf("%d bytes are counted for %d", held, cap(raw))
		}
		_ = ours.Close()
	}
}

func TestParseUID(t *testing.T) {
	for line, want := range map[string]pop3Message{"1 00000001": {1, "00000001"}, "2 a b\r": {2, "a b"}} {
		if m, err := parseUID(line); err != nil || m != want {
			t.Errorf("%q: %v, %v", line, m, err)
		}
	}
	for _, line := range []string{"1", "x y", "0 a", "-1 a", "99999999999999999999 a", "1  ", ""} {
		if m, err := parseUID(line); err == nil {
			t.Errorf("%q: %v", line, m)
		}
	}
}

func TestWithCRLF(t *testing.T) {
	for text, want := range map[string]string{"": "", "a": "a", "a\nb\r\n": "a\r\nb\r\n", "a\r": "a\r", "\n\n": "\r\n\r\n", "a\r\r\nb": "a\r\r\nb"} {
		if got := string(withCRLF([]byte(text))); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func FuzzParseUID(f *testing.F) {
	f.Add("1 00000001")
	f.Add("2 a b\r")
	f.Fuzz(func(t *testing.T, line string) {
		if m, err := parseUID(line); err == nil && (m.number < 1 || m.id == "") {
			t.Errorf("%+v", m)
		}
	})
}
