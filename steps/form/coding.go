package form

import (
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/transform"
)

// The Encoding standard (§9.1.2, §12.1.2, §12.2.2) lets browsers decode more of Big5 and EUC-JP than they send: the characters of
// Hong Kong's additions and of JIS X 0212 are not sent in them. Package encoding knows no such difference.

// narrow is an encoding that sends only a part of what it has.
type narrow struct {
	encoding.Encoding
	unsent func(coded []byte) bool
}

// narrowed returns the encoding as browsers send it.
func narrowed(coding encoding.Encoding) encoding.Encoding {
	switch name, _ := htmlindex.Name(coding); name {
	case "big5":
		return narrow{coding, func(coded []byte) bool { return coded[0] >= utf8.RuneSelf && coded[0] < 0xa1 }}
	case "euc-jp":
		return narrow{coding, func(coded []byte) bool { return coded[0] == 0x8f }}
	}
	return coding
}

// NewEncoder implements encoding.Encoding.
func (n narrow) NewEncoder() *encoding.Encoder {
	return &encoding.Encoder{Transformer: &narrowEncoder{n.Encoding.NewEncoder(), n.unsent}}
}

// narrowEncoder encodes one character at a time: these encodings keep no state between characters.
type narrowEncoder struct {
	transform.Transformer
	unsent func(coded []byte) bool
}

// Transform implements transform.Transformer.
func (e *narrowEncoder) Transform(dst, src []byte, atEOF bool) (wrote, read int, err error) {
	var coded [8]byte
	for read < len(src) {
		if !atEOF && !utf8.FullRune(src[read:]) {
			return wrote, read, transform.ErrShortSrc
		}
		_, size := utf8.DecodeRune(src[read:])
		n, _, err := e.Transformer.Transform(coded[:], src[read:read+size], true)
		switch {
		case err != nil:
			return wrote, read, err
		case n > 0 && e.unsent(coded[:n]):
			return wrote, read, unsentError{}
		case wrote+n > len(dst):
			return wrote, read, transform.ErrShortDst
		}
		wrote += copy(dst[wrote:], coded[:n])
		read += size
	}
	return wrote, read, nil
}

// unsentError is what package encoding replaces by a reference.
type unsentError struct{}

func (unsentError) Error() string { return "the encoding does not have the character" }

// Replacement tells package encoding that a character is missing and nothing else is wrong.
func (unsentError) Replacement() byte { return encoding.ASCIISub }
