package fail2ban

import (
	"errors"
	"net/netip"
	"testing"
)

const status = "Status for the jail: sshd\n|- Filter\n|  |- Currently failed:\t3\n|  |- Total failed:\t12\n|  `- File list:\t/run/auth.log\n" +
	"`- Actions\n   |- Currently banned:\t3\n   |- Total banned:\t4\n   `- Banned IP list:\t192.0.2.1 2001:db8::1 198.51.100.0/24\n"

func TestParse(t *testing.T) {
	j, err := parse([]byte(status))
	if err != nil {
		t.Fatal(err)
	}
	if j.Failed != 3 || len(j.Banned) != 3 {
		t.Errorf("got %+v", j)
	}
	for address, want := range map[string]bool{"192.0.2.1": true, "::ffff:192.0.2.1": true, "192.0.2.2": false, "2001:db8::1": true, "2001:db8:0::1": true, "198.51.100.7": true} {
		if got := j.Bans(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: got %t", address, got)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                      `unknown format: "Currently failed" is ""`,
		"Currently failed: 0\n": `unknown format: "Currently banned" is ""`,
		"Currently failed: 0\nCurrently banned: x\n":                             `unknown format: "Currently banned" is "x"`,
		"Currently failed: 0\nCurrently banned: 0\n":                             "unknown format: there is no list of banned addresses",
		"Currently failed: 0\nCurrently banned: 2\nBanned IP list: 192.0.2.1\n":  "unknown format: 2 are banned, but the list has 1",
		"Currently failed: 0\nCurrently banned: 1\nBanned IP list: example.test": `unknown format: "example.test" is banned, which is not an address`,
	} {
		if _, err := parse([]byte(text)); !errors.Is(err, ErrFormat) || err.Error() != want {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(status))
	f.Fuzz(func(t *testing.T, output []byte) {
		j, err := parse(output)
		if err != nil && !errors.Is(err, ErrFormat) {
			t.Error(err)
		}
		if err == nil {
			for _, prefix := range j.Banned {
				if !prefix.IsValid() {
					t.Errorf("got %v", prefix)
				}
			}
		}
	})
}
