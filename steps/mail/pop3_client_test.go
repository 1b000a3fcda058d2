package mail

import "testing"

func TestParseUIDL(t *testing.T) {
	list, err := parseUIDL("1 00000001\r\n2 a b\r\n")
	if err != nil || len(list) != 2 || list[0] != (pop3Message{1, "00000001"}) || list[1] != (pop3Message{2, "a b"}) {
		t.Errorf("%v, %v", list, err)
	}
	for _, body := range []string{"1\r\n", "x y\r\n", "0 a\r\n", "-1 a\r\n", "99999999999999999999 a\r\n", "1  \r\n", "\r\n"} {
		if list, err := parseUIDL(body); err == nil {
			t.Errorf("%q: %v", body, list)
		}
	}
}

func FuzzParseUIDL(f *testing.F) {
	f.Add("1 00000001\r\n2 a b\r\n")
	f.Fuzz(func(t *testing.T, body string) {
		list, err := parseUIDL(body)
		if err != nil {
			return
		}
		for _, m := range list {
			if m.number < 1 || m.id == "" {
				t.Errorf("%+v", m)
			}
		}
	})
}
