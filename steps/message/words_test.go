package message

import (
	"mime"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestDecode(t *testing.T) {
	for value, want := range map[string]string{
		"":                                     "",
		"plain":                                "plain",
		"=?utf-8?q?Gr=C3=BC=C3=9Fe?= aus Wien": "Grüße aus Wien",
		"=?UTF-8?B?R3LDvMOfZQ==?=":             "Grüße",
		"=?iso-8859-1?Q?Gr=FC=DFe_!?=":         "Grüße !",
		"=?ISO-2022-JP?B?GyRCJDMbKEI=?=":       "こ",
		"=?koi8-r?B?0NLJ18XU?=":                "привет",
		"=?us-ascii?q?a?=":                     "a",
		// RFC 2047 section 8
		"(=?ISO-8859-1?Q?a?=)":                            "(a)",
		"(=?ISO-8859-1?Q?a?= b)":                          "(a b)",
		"(=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=)":         "(ab)",
		"(=?ISO-8859-1?Q?a?=  =?ISO-8859-1?Q?b?=)":        "(ab)",
		"(=?ISO-8859-1?Q?a?=\t\r\n   =?ISO-8859-1?Q?b?=)": "(ab)",
		"(=?ISO-8859-1?Q?a_b?=)":                          "(a b)",
		"(=?ISO-8859-1?Q?a?= =?ISO-8859-2?Q?_b?=)":        "(a b)",
		"=?utf-8?q?a?= x =?utf-8?q?b?=":                   "a x b",
		// Go's decoder rejects these, but mail programs show them.
		"=?utf-8*de?q?Gr=C3=BC=C3=9Fe?=":                     "Grüße",
		"=?utf-8?q?two words?=":                              "two words",
		"=?utf-8?B?R3LDvMOfZQ?=":                             "Grüße",
		"=?utf-8?B?R3LD?= =?utf-8?B?vMOfZQ==?=":              "Grüße",
		"=?utf-8?q?Gr=C3?=\r\n =?utf-8?q?=BC=C3=9Fe?=":       "Grüße",
		"=?x-unknown?q?a?= =?utf-8?q?=C3=BC?=":               "=?x-unknown?q?a?= ü",
		"=?utf-8?q?=C3=BC?= =?x-unknown?q?a?= =?utf-8?q?b?=": "ü =?x-unknown?q?a?= b",
		"=?utf-8?q?=FF?=":                                    "\uFFFD",
		"=?utf-8?q?a=ZZ?=":                                   "=?utf-8?q?a=ZZ?=",
		"=?utf-8?b?!?=":                                      "=?utf-8?b?!?=",
		"=?utf-8?x?a?=":                                      "=?utf-8?x?a?=",
		"=?utf-8?q?a":                                        "=?utf-8?q?a",
		"8 bit \xfc":                                         "8 bit \xfc",
	} {
		if got := Decode(value); got != want {
			t.Errorf("%q: got %q, want %q", value, got, want)
		}
	}
}

func TestAddresses(t *testing.T) {
	for value, want := range map[string]string{
		"a@example.org": "a@example.org",
		"=?x-unknown?q?A?= <a@example.org>, b@x.test": "a@example.org b@x.test",
		"=?koi8-r?B?0NLJ18XU?= <a@example.org>":       "a@example.org",
		"nobody":                                      "",
	} {
		list, err := Addresses(value)
		var got []string
		for _, address := range list {
			got = append(got, address.Address)
		}
		if g := strings.Join(got, " "); g != want || (err != nil) != (want == "") {
			t.Errorf("%q: got %q, %v, want %q", value, g, err, want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, value := range []string{"=?utf-8?q?Gr=C3=BC?= x", "=?iso-2022-jp?B?GyRCJDMbKEI=?=", "=?utf-8*de?b?w?==?utf-8?b?vA?=", "=?=?utf-8?q??=?="} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		got := Decode(value)
		if utf8.ValidString(value) && !utf8.ValidString(got) {
			t.Errorf("%q becomes %q", value, got)
		}
		if len(got) > 8*len(value)+8 {
			t.Errorf("%d bytes become %d", len(value), len(got))
		}
		if !strings.Contains(value, "=?") && got != value {
			t.Errorf("%q becomes %q", value, got)
		}
		// Decode reads what Go's encoder writes.
		if utf8.ValidString(value) {
			for _, encoding := range []mime.WordEncoder{mime.QEncoding, mime.BEncoding} {
				if written := encoding.Encode("utf-8", value); written != value && Decode(written) != value {
					t.Errorf("%q is written as %q and read as %q", value, written, Decode(written))
				}
			}
		}
	})
}
