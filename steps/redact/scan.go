package redact

import (
	"bytes"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// memory is how many characters a thread remembers: at least as many as the longest pattern has.
const memory = 64

// origin says where a character that the automaton read came from: the place of its first byte in the text, the character
// itself in the case of the text, and whether something was dropped before it. It is one word, because each character that
// may be part of a secret is stored with one.
type origin uint64

func newOrigin(at int, raw byte, gap bool) origin {
	o := origin(at)<<9 | origin(raw) //nolint:gosec // a place is not negative
	if gap {
		o |= 1 << 8
	}
	return o
}

func (o origin) at() int   { return int(o >> 9) }
func (o origin) raw() byte { return byte(o) } //nolint:gosec // the low eight bits
func (o origin) gap() bool { return o>>8&1 != 0 }

// thread is one way of reading the text up to a place.
type thread struct {
	at    int // where it goes on
	state int32
	read  int  // number of characters remembered, of which the ring has the last
	gap   bool // something was dropped after the last character
	skip  int  // of a broken one: where the rest of the escape begins
	ring  [memory]origin
}

// mostThreads bounds the ways of reading a text at once. More than a handful exist only in texts made for it.
const mostThreads = 32

// scan is one search through a text.
type scan struct {
	*Redactor
	text    []byte
	depth   int              // of base64 in base64
	names   map[string]value // of HTML that were read, also in earlier texts
	words   bool             // there may have been an encoded word
	cut     int              // place of the next cut mark
	spans   []span
	slashed int // end of the last backslashes
	sevened int // end of the last UTF-7
	tags    int // budget for the search of the ends of tags
	pool    [mostThreads]thread
	fresh   int // number of those of the pool that were taken
	free    []*thread
	active  []*thread
	waiting []*thread
	due     int // the first place of the waiting
}

var scans = sync.Pool{New: func() any { return new(scan) }}

// find returns the places of all secrets, in order.
func (r *Redactor) find(text []byte, depth int) []span {
	s := scans.Get().(*scan)
	s.Redactor, s.text, s.depth, s.spans, s.slashed, s.tags = r, text, depth, nil, 0, 4*len(text)+1024
	s.sevened = 0
	s.words, s.cut = false, -1
	s.free, s.active, s.waiting, s.due = s.free[:0], s.active[:0], s.waiting[:0], len(text)+1
	s.fresh = 0
	s.run()
	if depth < 2 {
		s.inside()
	}
	spans := s.spans
	s.Redactor, s.text, s.spans = nil, nil, nil
	scans.Put(s)
	if len(spans) == 0 {
		return nil
	}
	return merged(text, spans)
}

// run reads the text.
func (s *scan) run() {
	main := s.take()
	main.at, main.state, main.read, main.gap = 0, 0, 0, false
	s.active = append(s.active, main)
	text := s.text
	for i := 0; i < len(text); {
		if i == s.due {
			s.wake(i)
		}
		if i > s.cut {
			s.cut = i + index(text[i:], cutMark)
		}
		if len(s.active) == 1 {
			if i = s.alone(main, i, min(len(text), s.due, s.cut)); i >= len(text) || i == s.due {
				continue
			}
		}
		i = s.slowly(i)
	}
	if len(s.waiting) > 0 {
		s.due = len(text)
		s.wake(len(text))
	}
}

// index returns the place of part in text, or the length of text.
func index(text []byte, part string) int {
	if i := bytes.Index(text, []byte(part)); i >= 0 {
		return i
	}
	return len(text)
}

// alone reads while there is one way to read, up to limit. It returns the place of the first byte that may have others.
func (s *scan) alone(t *thread, i, limit int) int {
	text, info, table, shift, dense, speaking := s.text, &s.info, s.table, s.shift, s.dense, s.speaking
	state, gap := t.state, t.gap
	for ; i < limit; i++ {
		if state == 0 {
			if i = s.skip(i, limit); i == limit {
				break
			}
		}
		c := text[i]
		v := info[c]
		if v >= 1<<8 {
			switch special := v >> 8; {
			case special == lateral && !s.leaves(i, state):
			case special == blank && (state == 0 || !prefixed(text, i+1)):
				gap = gap || c != 0
				continue
			case special == opener && !s.opens(i, state, 0):
			case special == high && !s.drops(i):
			default:
				t.state, t.gap = state, gap
				return i
			}
		}
		before := state
		if state < dense {
			state = table[int(state)<<shift|int(v&0xff)]
		} else {
			state = s.step(state, uint8(v)) //nolint:gosec // the class of info
		}
		if state != 0 {
			if state <= s.shallow && before != 0 && !s.goesOn(state, i+1) { // skip has asked otherwise
				state = 0
				continue
			}
			t.ring[t.read%memory] = newOrigin(i, c, gap)
			t.read++
			if state >= speaking && s.states[state].out != 0 {
				t.state = state
				s.matched(t, i+1)
			}
		}
		gap = false
	}
	t.state, t.gap = state, gap
	return i
}

// skip returns the place of the first byte from i on with which a form of a secret may begin, or limit.
func (s *scan) skip(i, limit int) int {
	text, last := s.text[:limit], uint32(0)
	for k := i; ; k++ {
		k, last = s.starts.next(text, k, last)
		at := before(text, i, k)
		if at >= i && aside(text[at]) {
			if first := before(text, i, at); first >= i && s.mayBegin(first) {
				return first
			}
		}
		if at >= i && !s.plainly(at) && s.mayBegin(at) {
			return at
		}
		if k == limit {
			return limit
		}
		last = carry(last, text[k])
	}
}

// plainly reports whether it is plain that no form of a secret begins with the three bytes at i: they are themselves, and
// none does. It is the quick answer for most pairs.
func (s *scan) plainly(i int) bool {
	if i+2 >= len(s.text) {
		return false
	}
	v, w, x := s.info[s.text[i]], s.info[s.text[i+1]], s.info[s.text[i+2]]
	if v|w|x >= 1<<8 {
		return false
	}
	one := s.table[v]
	two := s.step(one, uint8(w)) //nolint:gosec // the class of info
	if two <= s.shallow {
		return s.states[one].own < 0
	}
	return s.states[two].out == 0 && s.states[one].own < 0 && s.states[s.step(two, uint8(x))].depth < 3 //nolint:gosec // see above
}

// before returns the place of the last byte before k, from i on, that is no blank, or i-1.
func before(text []byte, i, k int) int {
	for k--; k >= i && specials[text[k]] == blank; k-- {
	}
	return k
}

// mayBegin reports whether a form of a secret may begin with the byte at i, when nothing has been read of it.
func (s *scan) mayBegin(i int) bool {
	c := s.text[i]
	switch specials[c] {
	case opener:
		if s.opens(i, 0, 0) {
			return true
		}
	case high:
		if s.drops(i) {
			return true
		}
	case lateral:
		if s.leaves(i, 0) {
			return true
		}
	}
	first := s.table[s.class[c]]
	return first != 0 && s.goesOn(first, i+1)
}

// goesOn reports whether a form of a secret of which a state has read at most two characters may go on at i. Most do not:
// whoever asks saves a way of reading.
func (s *scan) goesOn(state int32, i int) bool {
	const mostBlanks = 8
	for end := i + mostBlanks; i < end && i < len(s.text); i++ {
		c := s.text[i]
		switch specials[c] {
		case blank:
			if prefixed(s.text, i+1) {
				return true
			}
			continue
		case lateral:
			if s.leaves(i, state) {
				return true
			}
		case opener:
			if s.opens(i, state, s.states[state].depth) {
				return true
			}
		case high:
			if s.drops(i) { // a cut mark does not matter after so few characters
				return true
			}
		}
		depth := s.states[state].depth
		if s.states[state].own >= 0 || depth > 2 {
			return true
		}
		if state = s.step(state, s.class[c]); s.states[state].depth <= depth {
			return false
		}
	}
	return true
}

// aside reports whether the pair of a byte and the one after it tells whether it may be left out or be an escape.
func aside(c byte) bool { return c == '"' || c == '\'' || specials[c] == opener }

// mayLeave reports whether a byte before another may be left out after the first character of a secret.
func mayLeave(c, next byte) bool {
	switch c {
	case '+', '_':
		return true
	case '<':
		return beginsTag(next)
	case '"':
		return next == c || next == ' '
	case '\'':
		return next == c || next == ' ' || next == '\\'
	}
	return false
}

// leaves reports whether the byte at i may be left out after a state, or begin UTF-7, beyond being itself.
func (s *scan) leaves(i int, state int32) bool {
	c := s.text[i]
	if state == 0 {
		return c == '+' && s.sevens(i)
	}
	switch c {
	case '_':
		return s.words
	case ':', '-', ',', '0':
		return s.states[state].hexed
	}
	if i+1 >= len(s.text) {
		return false
	}
	if next := s.text[i+1]; next == ' ' && (c == '"' || c == '\'') {
		end := i + 1
		for end < len(s.text) && end < i+mostBetween && s.text[end] == ' ' {
			end++
		}
		return end < len(s.text) && s.text[end] == '"'
	}
	return mayLeave(c, s.text[i+1]) || i+1 == s.cut
}

// slowly reads the byte at i in every way. It returns the next place.
func (s *scan) slowly(i int) int {
	text, c := s.text, s.text[i]
	special := uint8(s.info[c] >> 8)
	switch special {
	case blank:
		s.prefixes(i)
	case opener:
		if i+1 >= len(text) || s.cut <= i+1+mostTruncated || mayOpen(c, text[i+1]) {
			s.open(i)
		}
	case lateral:
		s.leaveOut(i)
	case high:
		if size, gap := dropped(text, i); size > 0 {
			for _, t := range s.active {
				t.gap = t.gap || gap
			}
			return s.to(i + size)
		}
		if i == s.cut {
			s.cutAt(i)
		}
	}
	if special == blank {
		for _, t := range s.active {
			t.gap = t.gap || c != 0
		}
		return i + 1
	}
	for _, t := range s.active {
		s.feed(t, c, i, i+1)
	}
	s.settle()
	return i + 1
}

// to returns the place to go on at, which is at most that of the next waiting thread.
func (s *scan) to(i int) int { return min(i, s.due) }

// feed lets a thread read a character that stands in the text from at to end.
func (s *scan) feed(t *thread, c byte, at, end int) {
	t.state = s.step(t.state, s.class[c])
	if t.state != 0 {
		t.ring[t.read%memory] = newOrigin(at, c, t.gap)
		t.read++
		if t.state >= s.speaking && s.states[t.state].out != 0 {
			s.matched(t, end)
		}
	}
	t.gap = false
}

// settle ends the threads that know nothing that another does not know.
func (s *scan) settle() {
	kept := s.active[:1]
	for _, t := range s.active[1:] {
		if t.state == 0 || s.known(kept, t) {
			s.free = append(s.free, t)
			continue
		}
		kept = append(kept, t)
	}
	s.active = kept
}

// known reports whether one of the threads is where t is. That one then begins where the earlier of both began: "%31" is
// one character "1", and ends with another.
func (s *scan) known(threads []*thread, t *thread) bool {
	for _, other := range threads {
		if other.state != t.state || other.at != t.at {
			continue
		}
		if depth := int(s.states[t.state].depth); depth > 0 && t.origin(depth).at() < other.origin(depth).at() {
			s.copy(other, t)
		}
		return true
	}
	return false
}

// take returns a free thread, or nil if all are in use.
func (s *scan) take() *thread {
	if n := len(s.free); n > 0 {
		t := s.free[n-1]
		s.free = s.free[:n-1]
		return t
	}
	if s.fresh < len(s.pool) {
		s.fresh++
		return &s.pool[s.fresh-1]
	}
	return nil
}

// fork returns a copy of a thread. If all threads are in use, it takes that of the waiting which has recognised least, or
// returns nil if none has recognised less than t.
func (s *scan) fork(t *thread) *thread {
	f := s.take()
	if f == nil {
		least := -1
		for i, w := range s.waiting {
			if depth := s.states[w.state].depth; depth < s.states[t.state].depth && (least < 0 || depth < s.states[s.waiting[least].state].depth) {
				least = i
			}
		}
		if least < 0 {
			return nil
		}
		f = s.waiting[least]
		s.waiting = slices.Delete(s.waiting, least, least+1)
	}
	s.copy(f, t)
	return f
}

// copy copies what is needed of a thread.
func (s *scan) copy(to, from *thread) {
	to.at, to.state, to.read, to.gap, to.skip = from.at, from.state, from.read, from.gap, from.skip
	for k := from.read - int(s.states[from.state].depth); k < from.read; k++ {
		to.ring[k%memory] = from.ring[k%memory]
	}
}

// wait lets a thread go on at a later place.
func (s *scan) wait(t *thread, at int) {
	t.at = at
	if t.state == 0 || t.state <= s.shallow && !s.goesOn(t.state, at) || s.known(s.waiting, t) {
		s.free = append(s.free, t)
		return
	}
	s.waiting = append(s.waiting, t)
	s.due = min(s.due, at)
}

// wake makes the threads that wait for this place active.
func (s *scan) wake(i int) {
	kept := s.waiting[:0]
	s.due = len(s.text) + 1
	for _, t := range s.waiting {
		if t.at > i {
			kept = append(kept, t)
			s.due = min(s.due, t.at)
			continue
		}
		t.at = 0
		s.active = append(s.active, t)
	}
	s.waiting = kept
	s.settle()
}

// reads lets every thread go on at next, after it has read these characters instead of the text from i on.
func (s *scan) reads(characters []byte, gap bool, i, next int) {
	for _, t := range s.active {
		if len(characters) == 0 && t.state <= s.shallow && (t.state == 0 || !s.goesOn(t.state, next)) {
			continue
		}
		from := 0
		for t.state == 0 && from < len(characters) && s.table[s.class[characters[from]]] == 0 {
			from++
		}
		if from == len(characters) && from > 0 {
			continue
		}
		if t.state == 0 && from == len(characters)-1 && !s.goesOn(s.table[s.class[characters[from]]], next) {
			continue
		}
		f := s.fork(t)
		if f == nil {
			continue
		}
		f.gap = f.gap || gap
		for k := from; k < len(characters); {
			if size, blank := dropped(characters, k); size > 0 {
				f.gap = f.gap || blank
				k += size
				continue
			}
			s.feed(f, characters[k], i, next)
			k++
		}
		s.wait(f, next)
	}
}

// matched looks at the patterns that end with the state of a thread, the longest first.
func (s *scan) matched(t *thread, end int) {
	for at := s.states[t.state].out; at != 0; at = s.states[s.states[at].fail].out {
		for i := s.states[at].own; i >= 0; i = s.ends[i] {
			if p := &s.patterns[i]; s.fits(p, t, len(p.text), end) {
				s.hide(p, t, len(p.text), end)
				return
			}
		}
	}
}

// origin returns the origin of the character that is back characters before the end of what a thread read.
func (t *thread) origin(back int) origin { return t.ring[(t.read-back)%memory] }

// fits reports whether the last n characters that a thread read differ from the first n of a pattern by no more than its
// rule allows.
func (s *scan) fits(p *pattern, t *thread, n, end int) bool {
	if p.rule == loose {
		return p.kind != broken || s.fitsLead(p, t, n)
	}
	for k := range n {
		o := t.origin(n - k)
		if o.raw() != p.text[k] || p.kind != base64 && k > 0 && o.gap() != (p.gaps>>k&1 != 0) {
			return false
		}
	}
	start := t.origin(n).at()
	switch {
	case p.kind == broken:
		return s.fitsLead(p, t, n)
	case p.rule != alone:
		return true
	case p.kind == base64:
		return (start == 0 || !inBase64(s.text[start-1])) && (end == len(s.text) || !inBase64(s.text[end]))
	}
	return standsAlone(s.text, start, end)
}

// fitsLead reports whether the text between a cut mark and a broken end is the end of an escape of the character before.
func (s *scan) fitsLead(p *pattern, t *thread, n int) bool {
	rest := strings.ToLower(string(s.text[t.skip:t.origin(n).at()]))
	if len(rest)+len(p.text) < leastCut {
		return false
	}
	for form := range strings.FieldsSeq(p.lead) {
		if len(rest) < len(form) && strings.HasSuffix(form, rest) {
			return true
		}
	}
	return false
}

// standsAlone reports whether the text around a short secret does not continue its first or last word or number.
func standsAlone(text []byte, start, end int) bool {
	first, _ := utf8.DecodeRune(text[start:end])
	last, _ := utf8.DecodeLastRune(text[start:end])
	before, size := utf8.DecodeLastRune(text[:start])
	if start > 0 && continues(before, first) {
		return false
	}
	if unicode.IsDigit(first) && (before == '.' || before == ',') {
		if r, _ := utf8.DecodeLastRune(text[:start-size]); unicode.IsDigit(r) {
			return false
		}
	}
	after, size := utf8.DecodeRune(text[end:])
	if end < len(text) && continues(last, after) {
		return false
	}
	if unicode.IsDigit(last) && (after == '.' || after == ',') {
		if r, _ := utf8.DecodeRune(text[end+size:]); unicode.IsDigit(r) {
			return false
		}
	}
	return true
}

func continues(a, b rune) bool {
	return unicode.IsLetter(a) && unicode.IsLetter(b) || unicode.IsDigit(a) && unicode.IsDigit(b)
}

// hide hides the last n characters that a thread read, up to end, and the rest of the token around them.
func (s *scan) hide(p *pattern, t *thread, n, end int) {
	found := span{t.origin(n).at(), end}
	if p.kind == broken {
		found.start = t.skip
	}
	last := len(s.spans) - 1
	covered := span{}
	if last >= 0 {
		covered = s.spans[last]
	}
	if p.kind == base64 || p.kind == hex {
		in := inBase64
		if p.kind == hex {
			in = inHex
		}
		if found.start >= covered.start && found.end <= covered.end { // of a token that is hidden
			return
		}
		for found.start > covered.end && in(s.text[found.start-1]) {
			found.start--
		}
		for found.end < len(s.text) && in(s.text[found.end]) {
			found.end++
		}
		for pad := 0; p.kind == base64 && pad < 2 && found.end < len(s.text) && s.text[found.end] == '='; pad++ {
			found.end++
		}
	}
	if last >= 0 && found.start <= covered.end && found.end >= covered.start {
		s.spans[last] = span{min(covered.start, found.start), max(covered.end, found.end)}
		return
	}
	s.spans = append(s.spans, found)
}

// drops reports whether the character at i, which is not ASCII, is dropped.
func (s *scan) drops(i int) bool {
	size, _ := dropped(s.text, i)
	return size > 0
}

// cutAt reads a cut mark: what comes before it may be the beginning of a secret, and what comes after it the end of one.
func (s *scan) cutAt(i int) {
	for _, t := range s.active {
		s.hideBefore(t, i)
	}
	after := i + len(cutMark)
	s.mark(cutSymbol, after, after)
	const mostBroken = 8
	for k := after; k < len(s.text) && k < after+mostBroken && inEscape(s.text[k]); k++ {
		s.mark(brokenSymbol, after, k+1)
	}
}

// mark adds a thread that has read a cut mark before from and goes on at next.
func (s *scan) mark(symbol, from, next int) {
	if s.class[symbol] == 0 {
		return
	}
	t := s.take()
	if t == nil {
		return
	}
	t.state, t.read, t.gap, t.skip = s.step(0, s.class[symbol]), 1, false, from
	t.ring[0] = newOrigin(from, 0, false)
	s.wait(t, next)
}

// hideBefore hides the end of what a thread has read if it is the beginning of a secret that was truncated at i: the longest
// end that is.
func (s *scan) hideBefore(t *thread, i int) {
	at := &s.states[t.state]
	for n := int(at.cut); n > 0; n = int(at.cut) {
		if p := &s.patterns[at.model]; s.fitsBefore(p, t, n) {
			s.hide(p, t, n, i)
			return
		}
		for int(at.depth) >= n {
			at = &s.states[at.fail]
		}
	}
}

// fitsBefore reports whether the last n characters that a thread read differ from the first n of a pattern by no more than
// its rule allows before a cut mark.
func (s *scan) fitsBefore(p *pattern, t *thread, n int) bool {
	if p.kind != plain || p.rule == loose && n >= 6 {
		return true
	}
	for k := range n {
		o := t.origin(n - k)
		if o.raw() != p.text[k] || k > 0 && o.gap() != (p.gaps>>k&1 != 0) {
			return false
		}
	}
	return true
}
