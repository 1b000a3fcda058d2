package imapclient

import (
	"bytes"
	"strconv"
	"strings"
)

// scanner reads the parts of a response, one after the other. It skips blanks before each part, and more of them than the
// grammar has.
type scanner struct {
	r       *response
	at      int
	literal int // index of the first literal that may be ahead
}

// announcementLimit is the length of the longest announcement of a literal.
const announcementLimit = len("~{18446744073709551615+}")

// literalAt returns the literal whose announcement begins at the current position.
func (s *scanner) literalAt() (span, bool) {
	if s.at >= len(s.r.text) || s.r.text[s.at] != '{' && s.r.text[s.at] != '~' {
		return span{}, false
	}
	for s.literal < len(s.r.literals) && s.r.literals[s.literal].from <= s.at {
		s.literal++
	}
	if s.literal == len(s.r.literals) {
		return span{}, false
	}
	next := s.r.literals[s.literal]
	announcement := s.r.text[s.at:min(next.from, s.at+announcementLimit)]
	if s.at+len(announcement) != next.from || bytes.IndexByte(announcement, '}') != len(announcement)-1 {
		return span{}, false // a word with a brace
	}
	return next, true
}

func (s *scanner) blanks() {
	for s.at < len(s.r.text) && (s.r.text[s.at] == ' ' || s.r.text[s.at] == '\t') {
		s.at++
	}
}

// peek returns the next byte after blanks, or 0 at the end.
func (s *scanner) peek() byte {
	s.blanks()
	if s.at >= len(s.r.text) {
		return 0
	}
	return s.r.text[s.at]
}

// take consumes c if it comes next.
func (s *scanner) take(c byte) bool {
	if s.peek() != c || s.at >= len(s.r.text) {
		return false
	}
	s.at++
	return true
}

// word reads up to a blank, a parenthesis or the end. It may be empty.
func (s *scanner) word() []byte {
	s.blanks()
	from := s.at
	for s.at < len(s.r.text) && !strings.ContainsRune(" \t()", rune(s.r.text[s.at])) {
		s.at++
	}
	return s.r.text[from:s.at]
}

// number reads a number of at most 64 bits without a sign.
func (s *scanner) number() (uint64, bool) {
	n, err := strconv.ParseUint(string(s.word()), 10, 64)
	return n, err == nil
}

// str reads a string in any form: quoted, literal, or a word. missing is true for NIL.
func (s *scanner) str() (value []byte, missing, ok bool) {
	c := s.peek()
	if literal, found := s.literalAt(); found {
		s.at = literal.to
		return s.r.text[literal.from:literal.to], false, true
	}
	switch c {
	case 0, '(', ')':
		return nil, false, false
	case '"':
		value, ok = s.quoted()
		return value, false, ok
	}
	value = s.word()
	if strings.EqualFold(string(value), "NIL") {
		return nil, true, true
	}
	return value, false, true
}

// quoted reads a quoted string (RFC 9051 section 4.3). ok is false when it does not end.
func (s *scanner) quoted() (value []byte, ok bool) {
	text := s.r.text[s.at+1:]
	end := bytes.IndexByte(text, '"')
	if end < 0 {
		return nil, false
	}
	if slash := bytes.IndexByte(text[:end], '\\'); slash < 0 {
		s.at += end + 2
		return text[:end], true
	}
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			s.at += i + 2
			return value, true
		case '\\':
			if i++; i == len(text) {
				return nil, false
			}
		}
		value = append(value, text[i])
	}
	return nil, false
}

// skip consumes one value of any form: a string, a number, or a list with everything in it. ok is false when a list does not
// end or is nested too deeply.
func (s *scanner) skip() bool {
	for depth := 0; ; {
		switch c := s.peek(); c {
		case 0:
			return false
		case '(':
			s.at++
			if depth++; depth > DepthLimit {
				return false
			}
			continue
		case ')':
			if depth--; depth < 0 {
				return false
			}
			s.at++
		default:
			if _, _, ok := s.str(); !ok {
				return false
			}
		}
		if depth == 0 {
			return true
		}
	}
}

// rest returns what was not read yet, without blanks around it.
func (s *scanner) rest() []byte { return bytes.TrimSpace(s.r.text[s.at:]) }
