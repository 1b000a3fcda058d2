package mail

import (
	"bytes"
	"strings"
	"testing"
)

func TestMessageDifference(t *testing.T) {
	const message = "From: a\r\nSubject: b\r\n c\r\n\r\nbody\r\n"
	for _, c := range []struct{ other, want string }{
		{message, ""},
		{strings.ReplaceAll(message, "\r\n", "\n"), ""},
		{"X-UID: 7\r\nStatus: RO\r\n" + message, ""},
		{strings.Replace(message, "Subject: b", "Subject: [SPAM] b", 1), `the header field "Subject"`},
		{"X-Proxy: yes\r\n" + message, `the header field "X-Proxy"`},
		{strings.Replace(message, "body", "body\r\n-- \r\nadvertisement", 1), "the body, of 5 and 23 bytes,"},
		{"", `the header field "From"`},
	} {
		if got := messageDifference([]byte(message), []byte(c.other)); got != c.want {
			t.Errorf("%q: got %q, want %q", c.other, got, c.want)
		}
	}
}

func FuzzMessageDifference(f *testing.F) {
	f.Add([]byte("From: a\r\n\r\nbody"), []byte(" a\n\n"))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		if what := messageDifference(a, bytes.Clone(a)); what != "" {
			t.Errorf("%q differs from itself in %s", a, what)
		}
		messageDifference(a, b)
	})
}
