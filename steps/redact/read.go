package redact

import (
	"bytes"
	"html"
	"unicode/utf16"
	"unicode/utf8"
)

// Limits of what is read as one thing. They bound the work of a character.
const (
	mostLevels = 8   // of encodings of encodings
	mostName   = 32  // characters of a name of HTML; the longest is CounterClockwiseContourIntegral
	mostWord   = 128 // bytes of an encoded word or of UTF-7
	mostTag    = 4 << 10

	mostBetween = 8 // bytes of a quotation mark and blanks between character strings of DNS

	mostEscapedTag = 256 // characters
	mostTruncated  = 12  // bytes of an escape before a cut mark
)

// value is what an escape stands for: one or two characters. It is small, so that it is returned in registers.
type value struct {
	first  int32 // a character, nothing, blankValue, or rawValue and a byte that is not ASCII
	second int32 // 0 for none
}

const (
	nothing    = -1
	blankValue = -2
	rawValue   = -1 << 10
)

func byteValue(c byte) value {
	if c < utf8.RuneSelf {
		return value{first: int32(c)}
	}
	return value{first: rawValue + int32(c)}
}

func runeValue(r rune) value { return value{first: r} }

// ascii returns the only byte of a value, or 0.
func (v value) ascii() byte {
	if v.second == 0 && v.first >= 0 && v.first < utf8.RuneSelf {
		return byte(v.first)
	}
	return 0
}

// bytes appends a value.
func (v value) bytes(to []byte) []byte {
	switch {
	case v.first >= 0 && v.first < utf8.RuneSelf:
		to = append(to, byte(v.first))
	case v.first >= 0:
		to = utf8.AppendRune(to, v.first)
	case v.first < blankValue:
		to = append(to, byte(v.first-rawValue)) //nolint:gosec // see byteValue
	}
	if v.second != 0 {
		to = utf8.AppendRune(to, v.second)
	}
	return to
}

// opens reports whether the byte at i, an opener, may begin an escape that takes a state to one of more than depth
// characters, or that may be left out after it.
func (s *scan) opens(i int, state int32, depth uint8) bool {
	if state != 0 && s.cut <= i+1+mostTruncated {
		return true
	}
	c, at := s.text[i], i+1
	if c == '\\' && state == 0 && !s.begins('\\') { // several that stand for one cannot begin a secret
		at = s.slashes(i)
	}
	for range mostLevels {
		v, next := s.direct(c, at)
		if next == 0 {
			return s.opensDeep(c, at, state, depth)
		}
		if next < 0 {
			return false
		}
		if s.matters(v, state, depth, next) {
			return true
		}
		if c, at = v.ascii(), next; !isOpener(c) {
			return false
		}
	}
	return true
}

// direct reads the most frequent escapes as escape does: those of which no character is escaped itself. For others it
// returns 0 for next, and -1 if there is no escape.
func (s *scan) direct(c byte, i int) (v value, next int) {
	if i+1 >= len(s.text) {
		return v, 0
	}
	first, second := s.text[i], s.text[i+1]
	if !mayOpen(c, first) {
		return v, -1
	}
	switch c {
	case '&':
		if first == 'a' && second == 'm' && i+3 < len(s.text) && s.text[i+2] == 'p' && s.text[i+3] == ';' {
			return byteValue('&'), i + 4
		}
		end := i
		for end < len(s.text) && end < i+mostName && is(s.text[end], letter|digit) {
			end++
		}
		if end == i || end == i+mostName || end == len(s.text) {
			return v, 0
		}
		switch last := s.text[end]; {
		case last == ';':
			return s.named(s.text[i:end]), end + 1
		case last != '-' && last != '+' && last != ',' && !s.mayOpen(end) && short(s.text[i:end]) == nil:
			return v, -1
		}
	case '=', '%':
		switch {
		case inHex(first) && inHex(second):
			return byteValue(nibble(first)<<4 | nibble(second)), i + 2
		case inHex(first) && !isOpener(second):
			return v, -1
		}
	case '\\':
		switch {
		case first == 'x' && i+2 < len(s.text) && inHex(second) && inHex(s.text[i+2]):
			return byteValue(nibble(second)<<4 | nibble(s.text[i+2])), i + 3
		case first == 'u' && i+5 <= len(s.text) && inHex(second) && inHex(s.text[i+2]) && inHex(s.text[i+3]) && inHex(s.text[i+4]) && lower(second) != 'd':
			high, low := nibble(second)<<4|nibble(s.text[i+2]), nibble(s.text[i+3])<<4|nibble(s.text[i+4])
			return runeValue(rune(high)<<8 | rune(low)), i + 5
		case first == 'n' || first == 't' || first == 'r':
			return value{first: blankValue}, i + 1
		case first > ' ' && first < 0x7f && !is(first, letter|digit) && !isOpener(first):
			return byteValue(first), i + 1
		}
	}
	return v, 0
}

// mayOpen reports whether there may be an escape at i.
func (s *scan) mayOpen(i int) bool {
	c := s.text[i]
	if !isOpener(c) || i+2 >= len(s.text) {
		return isOpener(c)
	}
	next := s.text[i+1]
	return mayOpen(c, next) && (c != '=' || !inHex(next) || inHex(s.text[i+2]) || isOpener(s.text[i+2]))
}

// opensDeep is opens for any escape of c, which goes on at i.
func (s *scan) opensDeep(c byte, i int, state int32, depth uint8) bool {
	switch {
	case i >= len(s.text):
		return false
	case c == '=' && s.text[i] == '?', c == '\\' && s.text[i] == '\\', c == '&' && s.sevenths(i):
		return true
	case c == '=' && s.text[i] == ' ' && state != 0:
		return true
	}
	for range mostLevels {
		v, next := s.escape(c, i, 2)
		if next == 0 {
			return false
		}
		if s.matters(v, state, depth, next) {
			return true
		}
		if c, i = v.ascii(), next; !isOpener(c) {
			return false
		}
	}
	return true
}

// matters reports whether an escape with this value, which ends before next, may take a state to one of more than depth
// characters, or be left out.
func (s *scan) matters(v value, state int32, depth uint8, next int) bool {
	if c := v.ascii(); c != 0 && (!leftOut(c) || (c == '"' || c == '<') && !s.leavesEscaped(c, next)) {
		after := s.step(state, s.class[c])
		return s.states[after].depth > depth && (after > s.shallow || s.goesOn(after, next))
	}
	if v.first < 0 && v.first >= blankValue {
		return state != 0
	}
	var text [2 * utf8.UTFMax]byte
	for k, c := range v.bytes(text[:0]) {
		if k == 0 && state != 0 && leftOut(c) || s.states[s.step(state, s.class[c])].depth > depth {
			return true
		}
	}
	return false
}

// leavesEscaped reports whether an escaped '"' or "<", which ends before i, may be left out.
func (s *scan) leavesEscaped(c byte, i int) bool {
	for c == '"' && i < len(s.text) && s.text[i] == ' ' {
		if i++; i < len(s.text) && s.text[i] == '"' {
			return true
		}
	}
	return i >= len(s.text) || isOpener(s.text[i]) || c == '<' && beginsTag(s.text[i])
}

// leftOut reports whether a character that begins with c may be left out if it is escaped.
func leftOut(c byte) bool {
	return c == '+' || c == '<' || c == '"' || specials[c] == blank || specials[c] == high
}

// begins reports whether a form of a secret begins with c.
func (s *scan) begins(c byte) bool { return s.table[s.class[c]] != 0 }

// sevenths reports whether there may be UTF-7 of IMAP at i, after its "&".
func (s *scan) sevenths(i int) bool {
	end := min(len(s.text), i+mostWord)
	for i < end && (isLetter(s.text[i]) || isDigit(s.text[i]) || s.text[i] == '+' || s.text[i] == ',') {
		i++
	}
	return i < end && s.text[i] == '-'
}

// mayOpen reports whether an escape may begin with an opener and the byte after it.
func mayOpen(opener, next byte) bool {
	switch opener {
	case '=':
		return inHex(next) || next == '\r' || next == '\n' || next == ' ' || next == '\t' || next == '?' || next == '%' || next == '&' || next == '\\'
	case '%':
		return inHex(next) || next == 'u' || next == 'U' || isOpener(next)
	case '&':
		return next == '#' || next == '-' || next == '+' || next == ',' || isLetter(next) || isDigit(next) || isOpener(next)
	}
	return true
}

// truncated reports whether an escape, of which the first byte is before i, ends at a cut mark.
func (s *scan) truncated(i int) bool {
	if s.cut > i+mostTruncated || s.cut == len(s.text) {
		return false
	}
	for _, c := range s.text[i:s.cut] {
		if !inEscape(c) {
			return false
		}
	}
	return true
}

// open reads the escape at i, in each of the levels that it may be encoded in.
func (s *scan) open(i int) {
	c, at := s.text[i], i+1
	if s.truncated(at) {
		s.reads(nil, false, i, s.cut)
	}
	switch {
	case c == '=' && at < len(s.text) && s.text[at] == '?':
		s.words = true
		s.word(i)
	case c == '=' && at < len(s.text) && s.text[at] == ' ': // a soft line break in a text that was made one line
		s.reads(nil, true, i, at)
	case c == '&':
		s.seven(i, ',')
	}
	if c == '\\' {
		at = s.backslashes(i)
	}
	for range mostLevels {
		v, next := s.direct(c, at)
		if next == 0 {
			v, next = s.escape(c, at, 2)
		}
		if next <= 0 {
			return
		}
		var text [2 * utf8.UTFMax]byte
		s.reads(v.bytes(text[:0]), v.first == blankValue, i, next)
		if c, at = v.ascii(), next; !isOpener(c) {
			s.leaveOutEscaped(v, i, next)
			return
		}
	}
}

// leaveOutEscaped is leaveOut for an escaped character at i, which ends before next.
func (s *scan) leaveOutEscaped(v value, i, next int) {
	if s.idle() {
		return
	}
	switch c := v.ascii(); c {
	case '+': // a blank that form encoding wrote so, encoded again
		s.reads(nil, true, i, next)
	case '<':
		if end := s.escapedTag(next); end > 0 {
			s.reads(nil, false, i, end)
		}
	case '"':
		after, blank := next, false
		for range 8 {
			c, end := s.character(after, 2)
			if c == '"' && blank { // the next character string of a DNS record
				s.reads(nil, false, i, end)
			}
			if c != ' ' {
				break
			}
			after, blank = end, true
		}
	case 0:
		if v.first == nothing {
			s.prefixesAt(i, next)
		}
		if v.first >= blankValue {
			return
		}
		bytes := v.bytes(make([]byte, 0, utf8.UTFMax)) // one of several
		for len(bytes) < 3 && next < len(s.text) && isOpener(s.text[next]) {
			more, end := s.escape(s.text[next], next+1, 2)
			if end == 0 || more.first >= blankValue {
				return
			}
			bytes, next = more.bytes(bytes), end
			if size, gap := dropped(bytes, 0); size == len(bytes) {
				s.reads(nil, gap, i, next)
				return
			}
		}
	}
}

// idle reports whether nothing of a secret has been read in any way.
func (s *scan) idle() bool {
	for _, t := range s.active {
		if t.state != 0 {
			return false
		}
	}
	return true
}

// escapedTag returns where a tag or comment ends, after its "<", if it is escaped like that.
func (s *scan) escapedTag(i int) (end int) {
	first, _ := s.character(i, 2)
	if !beginsTag(first) {
		return 0
	}
	var last [3]byte
	for range mostEscapedTag {
		c, next := s.character(i, 2)
		s.tags -= next - i
		if c == 0 || s.tags <= 0 {
			return 0
		}
		last[0], last[1], last[2] = last[1], last[2], c
		if i = next; c == '>' && (first != '!' || string(last[:2]) == "--") {
			return i
		}
	}
	return 0
}

// backslashes reads several backslashes that stand for one, at i, and returns where they end: a string may be quoted again
// and again.
func (s *scan) backslashes(i int) (end int) {
	end = s.slashes(i)
	if end > i+1 {
		s.reads(s.text[i:i+1], false, i, i+2)
	}
	if end > i+2 {
		s.reads(s.text[i:i+1], false, i, end)
	}
	return end
}

// slashes returns where the backslashes at i end.
func (s *scan) slashes(i int) int {
	if i >= s.slashed {
		for s.slashed = i + 1; s.slashed < len(s.text) && s.text[s.slashed] == '\\'; s.slashed++ {
		}
	}
	return s.slashed
}

// character returns the ASCII character at i, decoded at most depth levels deep, and where it ends, or 0.
func (s *scan) character(i, depth int) (c byte, next int) {
	for range mostLevels {
		if i >= len(s.text) || s.text[i] >= utf8.RuneSelf {
			return 0, i
		}
		if c, next = s.text[i], i+1; depth == 0 || !isOpener(c) {
			return c, next
		}
		for range mostLevels {
			v, end := s.escape(c, next, depth-1)
			if end == 0 {
				return c, next
			}
			if v.first == nothing { // a soft line break
				c, i = 0, end
				break
			}
			if c, next = v.ascii(), end; !isOpener(c) {
				return c, next
			}
		}
		if c != 0 {
			return c, next
		}
	}
	return 0, i
}

// digits reads between least and most digits of a base, 8, 10 or 16. It returns 0 for next if there are fewer.
func (s *scan) digits(i int, base rune, least, most, depth int) (number rune, next int) {
	count := 0
	for count < most {
		var c byte
		end := i + 1
		if i < len(s.text) && inHex(s.text[i]) {
			c = s.text[i]
		} else {
			c, end = s.character(i, depth)
		}
		digit := rune(99)
		switch {
		case isDigit(c):
			digit = rune(c - '0')
		case inHex(c):
			digit = rune(lower(c)-'a') + 10
		}
		if digit >= base {
			break
		}
		number, i = min(number*base+digit, utf8.MaxRune+1), end
		count++
	}
	if count < least {
		return 0, 0
	}
	return number, i
}

// escape returns what an escape stands for that begins with c, goes on at i, and ends before next. Its own characters may
// be escaped depth levels deep. If there is none, next is 0.
func (s *scan) escape(c byte, i, depth int) (v value, next int) {
	switch c {
	case '%':
		if mark, end := s.character(i, depth); mark == 'u' || mark == 'U' {
			return s.unicode(end, false, '%', depth)
		}
		return s.hexByte(i, depth)
	case '=':
		if next = s.softBreak(i); next > 0 {
			return value{first: nothing}, next
		}
		return s.hexByte(i, depth)
	case '&':
		return s.reference(i, depth)
	case '\\':
		return s.backslash(i, depth)
	}
	return v, 0
}

func (s *scan) hexByte(i, depth int) (v value, next int) {
	if i+1 < len(s.text) && inHex(s.text[i]) && inHex(s.text[i+1]) {
		return byteValue(nibble(s.text[i])<<4 | nibble(s.text[i+1])), i + 2
	}
	if number, next := s.digits(i, 16, 2, 2, depth); next > 0 {
		return byteValue(byte(number)), next //nolint:gosec // of two digits
	}
	return v, 0
}

// softBreak returns where a soft line break of quoted-printable (RFC 2045 section 6.7) ends, after its "=".
func (s *scan) softBreak(i int) (next int) {
	for end := min(len(s.text), i+16); i < end; i++ {
		switch s.text[i] {
		case ' ', '\t', '\r':
		case '\n':
			return i + 1
		default:
			return 0
		}
	}
	return 0
}

// withoutSemicolon are names that browsers read without one too.
var withoutSemicolon = [][]byte{[]byte("amp"), []byte("lt"), []byte("gt"), []byte("quot"), []byte("nbsp"), []byte("AMP"), []byte("LT"), []byte("GT"), []byte("QUOT")}

// short returns the name without a semicolon that a text begins with, or nil.
func short(text []byte) []byte {
	if len(text) == 0 || bytes.IndexByte([]byte("alfgqnALGQ"), text[0]) < 0 {
		return nil
	}
	for _, name := range withoutSemicolon {
		if bytes.HasPrefix(text, name) {
			return name
		}
	}
	return nil
}

// reference reads a character reference of HTML after its "&". The semicolon may be absent from numbers and from the names
// of the characters that every page has to escape.
func (s *scan) reference(i, depth int) (v value, next int) {
	var c byte
	if i < len(s.text) {
		c, next = s.text[i], i+1
	}
	if isOpener(c) {
		c, next = s.character(i, depth)
	}
	if c == '#' {
		base := rune(10)
		if x, end := s.character(next, depth); x == 'x' || x == 'X' {
			base, next = 16, end
		}
		r, end := s.digits(next, base, 1, 12, depth)
		if end == 0 || r == 0 {
			return v, 0
		}
		if c, next = s.character(end, depth); c != ';' {
			next = end
		}
		return runeValue(r), next
	}
	end := min(i, len(s.text))
	for end < len(s.text) && end < i+mostName && (isLetter(s.text[end]) || isDigit(s.text[end])) {
		end++
	}
	if end == len(s.text) || !isOpener(s.text[end]) { // no character of the name is escaped
		if end < len(s.text) && s.text[end] == ';' && end < i+mostName {
			return s.named(s.text[i:end]), end + 1
		}
		if name := short(s.text[min(i, end):end]); name != nil {
			return s.named(name), i + len(name)
		}
		return v, 0
	}
	var name [mostName]byte
	size := 0
	for at := i; size < mostName; {
		if c, next = 0, at+1; at < len(s.text) {
			c = s.text[at]
		}
		if isOpener(c) {
			c, next = s.character(at, depth)
		}
		if !isLetter(c) && !isDigit(c) {
			if c != ';' {
				break
			}
			return s.named(name[:size]), next
		}
		name[size] = c
		size, at = size+1, next
	}
	if name := short(name[:size]); name != nil {
		for range name {
			_, i = s.character(i, depth)
		}
		return s.named(name), i
	}
	return v, 0
}

// named returns what a name of HTML stands for. An unknown one stands for a character that is in no secret.
func (s *scan) named(name []byte) (v value) {
	switch string(name) {
	case "amp", "AMP":
		return byteValue('&')
	case "lt", "LT":
		return byteValue('<')
	case "gt", "GT":
		return byteValue('>')
	case "quot", "QUOT":
		return byteValue('"')
	case "apos":
		return byteValue('\'')
	case "nbsp":
		return value{first: blankValue}
	}
	if v, ok := s.names[string(name)]; ok {
		return v
	}
	reference := "&" + string(name) + ";"
	text := html.UnescapeString(reference)
	if text == reference {
		return runeValue(utf8.RuneError)
	}
	first, size := utf8.DecodeRuneInString(text)
	if len(text) > size {
		v.second, _ = utf8.DecodeRuneInString(text[size:])
	}
	v.first = first
	if s.names == nil {
		s.names = make(map[string]value)
	}
	s.names[string(name)] = v
	return v
}

// backslash reads an escape of JSON, C, a shell or SQL after its backslash.
func (s *scan) backslash(i, depth int) (v value, next int) {
	if i < len(s.text) && (s.text[i] == '\n' || s.text[i] == '\r') { // the line goes on
		next = i + 1
		if s.text[i] == '\r' && next < len(s.text) && s.text[next] == '\n' {
			next++
		}
		return value{first: nothing}, next
	}
	c, next := s.character(i, 0)
	if isOpener(c) && c != '\\' {
		if d, end := s.character(i, depth); d != 0 {
			c, next = d, end
		}
	}
	switch c {
	case 0:
		return v, 0
	case 'n', 't', 'r', 'f', 'v', 'b', 'a', 'e':
		return value{first: blankValue}, next
	case 'x', 'X':
		return s.hexByte(next, depth)
	case 'u', 'U':
		return s.unicode(next, c == 'U', '\\', depth)
	}
	if c >= '0' && c <= '7' {
		number, end := s.digits(i, 8, 1, 3, depth)
		if end == 0 || number > 0xff {
			return v, 0
		}
		return byteValue(byte(number)), end //nolint:gosec // see above
	}
	if isLetter(c) || isDigit(c) {
		return v, 0
	}
	return byteValue(c), next
}

// unicode reads the digits of "\u0022", "\u{22}", "\U00000022" or "%u0022", also of a surrogate pair, of which each begins
// with mark.
func (s *scan) unicode(i int, long bool, mark byte, depth int) (v value, next int) {
	if c, end := s.character(i, depth); c == '{' {
		if r, at := s.digits(end, 16, 1, 8, depth); at > 0 {
			if c, next = s.character(at, depth); c == '}' {
				return runeValue(r), next
			}
		}
		return v, 0
	}
	if long {
		if r, next := s.digits(i, 16, 8, 8, depth); next > 0 {
			return runeValue(r), next
		}
	}
	r, next := s.digits(i, 16, 4, 4, depth)
	if next == 0 {
		return v, 0
	}
	if r >= 0xd800 && r < 0xdc00 {
		at, marks := next, 0
		for ; marks < mostLevels; marks++ {
			c, end := s.character(at, 0)
			if c != mark {
				break
			}
			at = end
		}
		if c, end := s.character(at, 0); marks > 0 && lower(c) == 'u' {
			if low, end := s.digits(end, 16, 4, 4, depth); end > 0 && low >= 0xdc00 && low < 0xe000 {
				return runeValue(utf16.DecodeRune(r, low)), end
			}
		}
	}
	return runeValue(r), next
}

// word reads the encoded word (RFC 2047) at i.
func (s *scan) word(i int) {
	word := s.text[i:min(len(s.text), i+mostWord)]
	if !bytes.HasPrefix(word, []byte("=?")) {
		return
	}
	fields := bytes.SplitN(word[2:], []byte("?"), 4)
	if len(fields) != 4 || len(fields[1]) != 1 || !bytes.HasPrefix(fields[3], []byte("=")) || bytes.ContainsAny(fields[2], " \t\r\n") {
		return
	}
	var decoded []byte
	switch data := fields[2]; lower(fields[1][0]) {
	case 'b':
		decoded = decode64(data)
	case 'q':
		for k := 0; k < len(data); k++ {
			c := data[k]
			if c == '_' {
				c = ' '
			} else if c == '=' && k+2 < len(data) && inHex(data[k+1]) && inHex(data[k+2]) {
				c = nibble(data[k+1])<<4 | nibble(data[k+2])
				k += 2
			}
			decoded = append(decoded, c)
		}
	}
	if len(decoded) == 0 {
		return
	}
	next := i + 2 + len(fields[0]) + 1 + len(fields[1]) + 1 + len(fields[2]) + 2
	after := next // blanks between two encoded words mean nothing
	for after < len(s.text) && after < next+8 && bytes.IndexByte([]byte(" \t\r\n"), s.text[after]) >= 0 {
		after++
	}
	if bytes.HasPrefix(s.text[after:], []byte("=?")) {
		next = after
	}
	s.reads(decoded, false, i, next)
}

func nibble(c byte) byte {
	if isDigit(c) {
		return c - '0'
	}
	return lower(c) - 'a' + 10
}

// sevens reports whether there may be UTF-7 of RFC 2152 at i, a "+".
func (s *scan) sevens(i int) bool {
	if i+1 < len(s.text) && s.text[i+1] == '-' {
		return true
	}
	if i >= s.sevened {
		for s.sevened = i + 1; s.sevened < len(s.text) && is(s.text[s.sevened], base64Digit) && s.text[s.sevened] != '-' && s.text[s.sevened] != '_'; s.sevened++ {
		}
	}
	if s.sevened-i < 3 || s.sevened-i >= mostWord {
		return false
	}
	bits, size := uint32(0), 0
	for _, c := range s.text[i+1 : s.sevened] {
		bits, size = bits<<6|uint32(sixBits[c]), size+6
		if size < 16 {
			continue
		}
		size -= 16
		unit := rune(bits >> size & 0xffff)
		var text [utf8.UTFMax]byte
		utf8.EncodeRune(text[:], unit)
		if s.begins(text[0]) || utf16.IsSurrogate(unit) {
			return true
		}
	}
	return false
}

// seven reads UTF-7 at i: of IMAP ("&AOk-", RFC 3501 section 5.1.3) if slash is a comma, of RFC 2152 ("+AOk-") otherwise.
func (s *scan) seven(i int, slash byte) {
	j := i + 1
	for j < len(s.text) && j < i+mostWord && (isLetter(s.text[j]) || isDigit(s.text[j]) || s.text[j] == '+' || s.text[j] == slash) {
		j++
	}
	if j == i+1 {
		if j < len(s.text) && s.text[j] == '-' {
			s.reads(s.text[i:j], false, i, j+1)
		}
		return
	}
	if j-i < 3 || slash == ',' && (j == len(s.text) || s.text[j] != '-') {
		return
	}
	units := decode64(bytes.ReplaceAll(s.text[i+1:j], []byte{','}, []byte{'/'}))
	if j < len(s.text) && s.text[j] == '-' {
		j++
	}
	code := make([]uint16, len(units)/2)
	for k := range code {
		code[k] = uint16(units[2*k])<<8 | uint16(units[2*k+1])
	}
	s.reads([]byte(string(utf16.Decode(code))), false, i, j)
}

// decode64 decodes base64 of either alphabet, as far as it is some.
func decode64(data []byte) []byte {
	out := make([]byte, 0, len(data)*3/4+1)
	bits, size := uint32(0), 0
	for _, c := range data {
		v := sixBits[c]
		if v > 63 {
			if c == '=' || c == '\r' || c == '\n' {
				continue
			}
			return out[:len(out)/3*3]
		}
		bits, size = bits<<6|uint32(v), size+6
		if size >= 8 {
			size -= 8
			out = append(out, byte(bits>>size)) //nolint:gosec // the low eight bits
		}
	}
	return out
}

// sixBits has the value of each digit of base64, of either alphabet, and 64 for other bytes.
var sixBits = func() (of [256]byte) {
	for c := range of {
		of[c] = 64
	}
	for i, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/" {
		of[c] = byte(i)
	}
	of['-'], of['_'] = of['+'], of['/']
	return of
}()

// leaveOut reads on after what may stand between the characters of a secret.
func (s *scan) leaveOut(i int) {
	text := s.text
	switch text[i] {
	case '+':
		s.reads(nil, true, i, i+1)
		s.seven(i, '/')
	case '_':
		if s.words {
			s.reads(nil, true, i, i+1)
		}
	case '<':
		for _, end := range s.tag(i) {
			if end > 0 {
				s.reads(nil, false, i, end)
			}
		}
	case '"', '\'':
		if bytes.HasPrefix(text[i:], []byte(`'\''`)) { // as a shell writes it
			s.reads([]byte{'\''}, false, i, i+4)
		}
		if i+1 < len(text) && text[i+1] == text[i] { // as SQL and CSV repeat it
			s.reads(nil, false, i, i+1)
		}
		if i+1 == s.cut && s.cut < len(text) {
			for _, t := range s.active {
				s.hideBefore(t, i)
			}
		}
		j := i + 1
		for j < len(text) && j < i+mostBetween && text[j] == ' ' {
			j++
		}
		if j > i+1 && j < len(text) && text[j] == '"' { // the next character string of a DNS record
			s.reads(nil, false, i, j+1)
		}
	case ':', '-', ',':
		s.separates(i, i+1)
	case '0':
		if i+1 < len(text) && lower(text[i+1]) == 'x' {
			s.separates(i, i+2)
		}
	}
}

// separates lets the threads in hexadecimal digits go on at next.
func (s *scan) separates(i, next int) {
	for _, t := range s.active {
		if !s.states[t.state].hexed {
			continue
		}
		if f := s.fork(t); f != nil {
			for s.states[f.state].kinds&hex == 0 { // only what is hexadecimal goes on
				f.state = s.states[f.state].fail
			}
			s.wait(f, next)
		}
	}
}

// beginsTag reports whether a tag or comment may begin with c after its "<".
func beginsTag(c byte) bool { return isLetter(c) || c == '/' || c == '!' || c == '?' }

// tag returns where the tag or comment at i ends: as HTML reads it, with ">" in the values of attributes, and at the first
// ">" if that is another place.
func (s *scan) tag(i int) (ends [2]int) {
	rest := s.text[i+1 : min(len(s.text), i+1+mostTag)]
	if len(rest) == 0 || !beginsTag(rest[0]) || s.tags <= 0 {
		return ends
	}
	if bytes.HasPrefix(rest, []byte("!--")) {
		if end := bytes.Index(rest, []byte("-->")); end >= 0 {
			s.tags -= end
			ends[0] = i + 1 + end + 3
		} else {
			s.tags -= len(rest)
		}
		return ends
	}
	for k := 0; k < len(rest); k++ {
		c := rest[k]
		if !is(c, markup) {
			continue
		}
		switch {
		case c == '<':
			s.tags -= k
			return ends
		case c == '>':
			s.tags -= k
			ends[0] = i + 1 + k + 1
			return ends
		case !bytes.HasSuffix(bytes.TrimRight(rest[:k], " "), []byte{'='}): // no value begins
			continue
		}
		value := rest[k+1:]
		size := bytes.IndexByte(value, c)
		if size >= 0 {
			value = value[:size]
		}
		if end := bytes.IndexByte(value, '>'); end >= 0 && ends[1] == 0 {
			ends[1] = i + 1 + k + 1 + end + 1
		}
		if size < 0 {
			break
		}
		k += 1 + size
	}
	s.tags -= len(rest)
	return ends
}

// prefixed reports whether a code of a reply, or another beginning of a line, may stand at i.
func prefixed(text []byte, i int) bool {
	if i >= len(text) {
		return false
	}
	switch text[i] {
	case '*', '+', '>', '|', '#':
		return i+1 < len(text) && text[i+1] == ' '
	case 'S', 'C':
		return i+1 < len(text) && text[i+1] == ':'
	}
	return text[i] == ' ' || isDigit(text[i]) && i+3 < len(text) && (isDigit(text[i+1]) || text[i+1] == '.')
}

// beginsPrefix reports whether prefixed may be true of a text that begins with c.
func beginsPrefix(c byte) bool {
	return c == '*' || c == '+' || c == '>' || c == '|' || c == '#' || c == 'S' || c == 'C' || isDigit(c)
}

// prefixes reads on after the beginning of a line that the server or a log adds after the blank at i: "250-", "* ", "S: ".
func (s *scan) prefixes(i int) { s.prefixesAt(i, i+1) }

// prefixesAt is prefixes for a beginning at next.
func (s *scan) prefixesAt(i, next int) {
	for range mostLevels {
		end := prefix(s.text, next)
		if end == 0 {
			return
		}
		s.reads(nil, true, i, end)
		next = end
	}
}

// prefix returns where the code of a reply, or another beginning of a line, ends that begins at i, or 0.
func prefix(text []byte, i int) (end int) {
	for i < len(text) && text[i] == ' ' && end < 8 {
		i, end = i+1, end+1
	}
	rest := text[i:min(len(text), i+16)]
	if len(rest) < 2 {
		return 0
	}
	switch c := rest[0]; {
	case (c == 'S' || c == 'C') && rest[1] == ':':
		return i + 2
	case bytes.IndexByte([]byte("*+>|#"), c) >= 0 && rest[1] == ' ':
		return i + 2
	case !isDigit(c):
		return 0
	}
	digits, dots := 0, 0
	for k, c := range rest {
		switch {
		case isDigit(c):
			digits++
		case c == '.' && digits > 0:
			dots++
		case c == '-' && dots == 0 && digits == 3, c == ' ' && dots == 0 && digits == 3:
			return i + k + 1
		case c == ' ' && dots == 2 && k <= 10: // an enhanced status code (RFC 3463)
			return i + k + 1
		default:
			return 0
		}
	}
	return 0
}

// leastToken is the length of a base64 token whose content is read.
const leastToken = 24

// inside reads the content of the base64 tokens, which may hold a secret in another form.
func (s *scan) inside() {
	text := s.text
	for i := 0; i+leastToken <= len(text); {
		j := i + leastToken - 1
		for j >= i && inBase64(text[j]) {
			j--
		}
		if j >= i {
			i = j + 1
			continue
		}
		end := i + leastToken
		line := i // beginning of the line in a token of several
		for end < len(text) {
			if inBase64(text[end]) {
				end++
				continue
			}
			next := end
			if text[next] == '\r' {
				next++
			}
			if next+1 < len(text) && text[next] == '\n' && end-line >= leastToken && inBase64(text[next+1]) {
				end, line = next+1, next+1
				continue
			}
			break
		}
		s.token(i, end)
		i = end
	}
}

// token hides what is a secret in the content of a base64 token.
func (s *scan) token(start, end int) {
	begin := decode64(s.text[start : start+leastToken])
	legible := 0
	for _, c := range begin {
		if c >= ' ' && c < 0x7f || c == '\r' || c == '\n' || c == '\t' || c == 0 {
			legible++
		}
	}
	if legible < leastToken*3/4*3/4 {
		return
	}
	spans := s.find(decode64(s.text[start:end]), s.depth+1)
	if len(spans) == 0 {
		return
	}
	places := make([]int, 0, end-start) // of the characters
	for i := start; i < end; i++ {
		if inBase64(s.text[i]) {
			places = append(places, i)
		}
	}
	for _, found := range spans {
		first, last := found.start*4/3, min(len(places), (found.end*4+2)/3)
		s.spans = append(s.spans, span{places[first], places[last-1] + 1})
	}
}
