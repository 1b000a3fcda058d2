package redact

import "sync"

// pairs is a set of pairs of bytes, apart and with blanks between them.
type pairs [blanks << 9 / 64]uint64

// blanks is added to the first byte of a pair if blanks follow it.
const blanks = 1 << 8

func (p *pairs) add(first int, second byte) {
	at := first<<8 | int(second)
	p[at/64] |= 1 << (at % 64)
}

// next reads text from i on, with last before it, up to the second byte of a pair, and returns the place and the first byte
// of that, shifted, or the length of the text. Most bytes of most texts are read only here: the only branch that depends on
// them is the one that leaves.
func (p *pairs) next(text []byte, i int, last uint32) (place int, first uint32) {
	for ; i < len(text); i++ {
		c := text[i]
		if at := last | uint32(c); p[at/64%uint32(len(p))]>>(at%64)&1 != 0 {
			return i, last
		}
		last = carry(last, c)
	}
	return i, last
}

// carry returns what next has before the byte after c: c, shifted, or if c is a blank, the byte before it and that blanks
// follow.
func carry(last uint32, c byte) uint32 { return last&carried[c].keep | carried[c].add }

var carried = func() (of [256]struct{ keep, add uint32 }) {
	for c := range of {
		of[c].add = uint32(c) << 8
		if specials[c] == blank {
			of[c].keep, of[c].add = (blanks|0xff)<<8, blanks<<8
		}
	}
	return of
}()

// escaped returns the pairs with which what may be an escape, or may be left out, begins in any text.
var escaped = sync.OnceValue(func() (of pairs) {
	for i := range 256 * 256 {
		c, next := byte(i>>8), byte(i)
		if isOpener(c) && mayOpen(c, next) || specials[c] == high && mayDrop(c, next) || aside(c) && mayLeave(c, next) || c == '+' && inBase64(next) {
			of.add(int(c), next)
		}
	}
	return of
})

// pair collects the pairs with which a form of a secret may begin in a text: its first two characters; the first one and
// what may be left out; and the beginnings of escapes.
func (a *automaton) pair() {
	a.starts = escaped()
	var firsts, only [256]bool // first characters, and those that are the whole form
	for i := range a.patterns {
		p := &a.patterns[i]
		if p.kind > hex {
			continue
		}
		for _, first := range p.cases(0) {
			firsts[first], only[first] = true, only[first] || len(p.text) == 1
			if len(p.text) == 1 {
				continue
			}
			for _, second := range p.cases(1) {
				a.starts.add(int(first), second)
				a.starts.add(int(first)|blanks, second)
			}
		}
	}
	for c, first := range firsts {
		for i := 0; first && i < 256; i++ {
			next := byte(i)
			if only[c] || next == '+' || next == '<' || next == '_' || specials[next] == high {
				a.starts.add(c, next)
				a.starts.add(c|blanks, next)
			}
			if beginsPrefix(next) {
				a.starts.add(c|blanks, next)
			}
		}
	}
}

// cases returns the bytes that a text may have for one of the pattern.
func (p *pattern) cases(i int) []byte {
	c := p.text[i]
	if l := lower(c); p.rule == loose && isLetter(c) {
		return []byte{l, l - 'a' + 'A'}
	}
	return []byte{c}
}
