package network

import (
	"strings"
	"testing"
	"testing/iotest"
	"unicode"
	"unicode/utf8"
)

// FuzzReadBanner reads what servers send first. A banner is one printable line within the limit, however its bytes arrive.
func FuzzReadBanner(f *testing.F) {
	f.Add("SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", "SSH-2.0")
	f.Add("220", "220")
	f.Add("\x00\x1b[31m\xff\n", "")
	f.Add(strings.Repeat("x", bannerLimit+1), "y")
	f.Fuzz(func(t *testing.T, sent, wanted string) {
		whole, err := readBanner(strings.NewReader(sent), wanted)
		dripped, dripErr := readBanner(iotest.OneByteReader(strings.NewReader(sent)), wanted)
		for _, banner := range []string{whole, dripped} {
			if !utf8.ValidString(banner) || strings.ContainsFunc(banner, unicode.IsControl) || utf8.RuneCountInString(banner) > bannerLimit+1 {
				t.Errorf("the banner is %q", banner)
			}
		}
		if strings.Contains(sent[:min(len(sent), bannerLimit)], "\n") && (err != nil || dripErr != nil) {
			t.Errorf("a whole line is an error: %v, %v", err, dripErr)
		}
	})
}
