package maildns

import (
	"errors"
	"net"
	"testing"
)

// TestTexts checks that Texts remembers failed look-ups, but not names that are invalid in DNS.
func TestTexts(t *testing.T) {
	texts := NewTexts(zone(t, `key.test. TXT "p=1"`+"\n"))
	if got, err := texts.Lookup(t.Context(), "key.test"); err != nil || len(got) != 1 || got[0] != "p=1" {
		t.Errorf("got %q, %v", got, err)
	}
	for _, name := range []string{"none.test", "a..test", "", "\xff.test"} {
		missing := (*net.DNSError)(nil)
		if _, err := texts.Lookup(t.Context(), name); !errors.As(err, &missing) || !missing.IsNotFound || texts.Trouble() != nil {
			t.Errorf("%q: got %v, and the trouble %v", name, err, texts.Trouble())
		}
	}
	if _, err := texts.Lookup(t.Context(), "a.servfail.test"); !errors.Is(err, errNoAnswer) || !errors.Is(texts.Trouble(), errNoAnswer) {
		t.Errorf("got %v, and the trouble %v", err, texts.Trouble())
	}
}
