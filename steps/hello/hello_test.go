package hello

import (
	"errors"
	"io"
	"strings"
	"testing"
)

func TestAnswersThatAreNone(t *testing.T) {
	for answer, want := range map[string]string{
		strings.Repeat("\x15\x03\x01\x00\x02\x01\x70", 5): "the answer is not TLS: 4 warnings and no answer",
		"":                         "EOF",
		"220 mail":                 `the answer is not TLS: it begins with "220 m"`,
		"\x16\x03\x01\x00\x04\x02": "the answer is not TLS: a record of 4 bytes",
		"\x16\x03\x01\x00\x31\x0b\x00\x00\x00\x03\x01": "the answer is not TLS: message 11 instead of the server's hello",
		"\x16\x03\x01\x00\x31\x02\x00\x00\x00\x04\x01": "the answer is not TLS: version 0x0401",
		"\x15\x03\x01\x00\x02\x02":                     "unexpected EOF",
		"\x17\x03\x01\x00\x02\x02\x00":                 `the answer is not TLS: it begins with "\x17\x03\x01\x00\x02"`,
	} {
		if got, err := readAnswer(strings.NewReader(answer)); err == nil || err.Error() != want {
			t.Errorf("%q: got %+v, %v, want %s", answer, got, err, want)
		}
	}
}

func TestWarningsComeBeforeTheAnswer(t *testing.T) {
	got, err := readAnswer(strings.NewReader("\x15\x03\x01\x00\x02\x01\x70" + "\x16\x03\x01\x00\x31\x02\x00\x00\x2d\x03\x01"))
	if err != nil || got.Version != TLS10 {
		t.Errorf("got %+v, %v, want TLS 1.0", got, err)
	}
}

// FuzzReadAnswer checks that no answer of a server does harm.
func FuzzReadAnswer(f *testing.F) {
	f.Add([]byte("\x15\x03\x01\x00\x02\x02\x46"))
	f.Add([]byte("\x16\x03\x01\x00\x31\x02\x00\x00\x2d\x03\x01"))
	f.Fuzz(func(t *testing.T, answer []byte) {
		got, err := readAnswer(strings.NewReader(string(answer)))
		if err != nil && !errors.Is(err, ErrProtocol) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("unknown error %v", err)
		}
		if err == nil && got.Version != 0 && (got.Version < SSL30 || got.Version > TLS12) {
			t.Errorf("version %#x", got.Version)
		}
	})
}
