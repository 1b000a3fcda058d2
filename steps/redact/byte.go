package redact

// What scan must know of a byte beyond its class.
const (
	ordinary = iota
	blank    // is dropped
	opener   // may begin an escape
	lateral  // may be left out within a secret
	high     // is not ASCII, and may be dropped or a cut mark
)

var specials = func() (of [256]uint8) {
	for c := 0; c <= ' '; c++ {
		of[c] = blank
	}
	of[0x7f] = blank
	for _, c := range "%&\\=" {
		of[c] = opener
	}
	for _, c := range "+_<\"':-,0" {
		of[c] = lateral
	}
	for _, c := range []byte{0xc2, 0xe2, 0xe3, 0xef} {
		of[c] = high
	}
	return of
}()

func isOpener(c byte) bool { return specials[c] == opener }

// alphabet is a set of bytes. A byte may be in several.
type alphabet uint8

const (
	letter       alphabet = 1 << iota
	digit                 // decimal
	hexDigit              // of either case
	base64Digit           // of both alphabets (RFC 4648 sections 4 and 5), without "="
	escapeMiddle          // in the middle of an escape
	markup                // has a meaning in a tag
)

var alphabets = func() (of [256]alphabet) {
	for c := '0'; c <= '9'; c++ {
		of[c] = digit | hexDigit | base64Digit | escapeMiddle
	}
	for c := 'a'; c <= 'z'; c++ {
		of[c] = letter | base64Digit | escapeMiddle
		if c <= 'f' {
			of[c] |= hexDigit
		}
		of[c-'a'+'A'] = of[c]
	}
	for _, c := range "+/-_" {
		of[c] |= base64Digit
	}
	for _, c := range `#\;%` {
		of[c] |= escapeMiddle
	}
	for _, c := range `<>"'` {
		of[c] |= markup
	}
	return of
}()

// is reports whether c is in one of the alphabets.
func is(c byte, a alphabet) bool { return alphabets[c]&a != 0 }

func isLetter(c byte) bool { return is(c, letter) }
func isDigit(c byte) bool  { return is(c, digit) }
func inHex(c byte) bool    { return is(c, hexDigit) }
func inBase64(c byte) bool { return is(c, base64Digit) }
func inEscape(c byte) bool { return is(c, escapeMiddle) }
