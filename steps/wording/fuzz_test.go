package wording

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// FuzzOneLine words what servers send: each result is one printable line of limited length, and doing it twice changes nothing.
func FuzzOneLine(f *testing.F) {
	for _, text := range []string{"a\r\nb", "\x00\x1b[31m", "\xff\xfe", strings.Repeat("ä", 1100), "tls: x", "local error: tls: bad record MAC\n", "stream error: stream ID 1; X; \n", "Verbindung\u2028"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for name, got := range map[string]string{"OneLine": OneLine(text, 100), "Excerpt": Excerpt(text), "after Library": OneLine(Library(text), 100)} {
			if !utf8.ValidString(got) || strings.ContainsFunc(got, unicode.IsControl) || utf8.RuneCountInString(got) > 210 {
				t.Errorf("%s of %q is %q", name, text, got)
			}
		}
		if once := OneLine(text, 100); OneLine(once, 101) != once {
			t.Errorf("OneLine of %q changes it again", once)
		}
		if len(Library(text)) > 3*len(text)+200 {
			t.Errorf("Library makes %d bytes of %d", len(Library(text)), len(text))
		}
	})
}
