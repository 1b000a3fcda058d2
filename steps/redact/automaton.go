package redact

// pattern is one form of a secret, or a part of one, as the automaton reads it.
type pattern struct {
	kind kind
	rule rule
	text []byte // without what is dropped, in the case of the secret
	gaps uint64 // bit i: something is dropped before text[i]
	lead string // of a broken one: escaped forms of the character before text, separated by blanks
}

// kind is the alphabet of a pattern.
type kind uint8

const (
	plain  kind = 1 << iota // the bytes themselves
	base64                  // in base64
	hex                     // as hexadecimal digits
	ended                   // the end of a secret after a cut mark
	broken                  // the end of a secret after a cut mark and the rest of an escape
)

// rule is how much a text may differ from a pattern.
type rule uint8

const (
	loose rule = iota // in case and blanks
	exact             // not at all
	alone             // not at all, and letters or digits that continue it are next to it
)

// symbols of the automaton beyond the bytes.
const (
	cutSymbol    = 256 // a cut mark
	brokenSymbol = 257 // a cut mark and the rest of an escape
	symbols      = 258
)

// automaton reads canonical bytes. State 0 is the root. States are numbered by their depth, so those near the root, where
// a text without secrets stays, come first; they have a table.
type automaton struct {
	class    [symbols]uint8 // of a byte; lower and upper case are one
	info     [256]uint16    // class, and what else scan must know of a byte
	shift    uint
	shallow  int32   // the last state of one character
	starts   pairs   // with which a form of a secret may begin
	table    []int32 // [state<<shift|class] for states below dense
	dense    int32
	labels   []uint8 // class that leads to a state
	states   []state
	speaking int32 // the first state at which a pattern ends
	patterns []pattern
	ends     []int32 // the next pattern that ends at the same state
}

// state is one state.
type state struct {
	child    int32 // the first; the others follow it
	fail     int32
	children uint8
	depth    uint8
	kinds    kind  // of the patterns that begin with the state
	hexed    bool  // the state, or an end of it, is the beginning of a hexadecimal form, of one byte at least
	cut      uint8 // length of the longest end of the state that is hidden before a cut mark
	own      int32 // index of the first pattern that ends here, -1 for none
	out      int32 // this state or the next shorter end of it with a pattern, 0 for none
	model    int32 // a pattern that begins with the end of length cut
}

// step returns the state after c.
func (a *automaton) step(s int32, c uint8) int32 {
	for s >= a.dense {
		at := &a.states[s]
		for child := at.child; child < at.child+int32(at.children); child++ {
			if a.labels[child] == c {
				return child
			}
		}
		s = at.fail
	}
	return a.table[int(s)<<a.shift|int(c)]
}

// builder collects patterns.
type builder struct {
	patterns []pattern
	seen     map[string]bool
}

func (b *builder) reset() { b.seen = make(map[string]bool) }

// symbolsOf returns what the automaton reads for a pattern.
func symbolsOf(p *pattern) []uint16 {
	read := make([]uint16, 0, len(p.text)+1)
	switch p.kind {
	case ended:
		read = append(read, cutSymbol)
	case broken:
		read = append(read, brokenSymbol)
	}
	for _, c := range p.text {
		read = append(read, uint16(c))
	}
	return read
}

// lower returns the byte in lower case.
func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// mostDense is the number of states with a table.
const mostDense = 256

// finish builds the automaton of the patterns.
func (b *builder) finish(a *automaton) {
	a.patterns = b.patterns
	a.number(b.patterns)
	// The trie, in the order of insertion.
	type node struct {
		first, next, own, model int32
		label, depth            uint8
		kind, part              kind
	}
	trie := []node{{own: -1, model: -1}}
	a.ends = make([]int32, len(b.patterns))
	for i := range b.patterns {
		p := &b.patterns[i]
		at := int32(0)
		for _, symbol := range symbolsOf(p) {
			c := a.class[symbol]
			child := trie[at].first
			for child != 0 && trie[child].label != c {
				child = trie[child].next
			}
			if child == 0 {
				child = int32(len(trie)) //nolint:gosec // so many states would not fit in memory
				trie = append(trie, node{next: trie[at].first, own: -1, model: -1, label: c, depth: trie[at].depth + 1})
				trie[at].first = child
			}
			at = child
			trie[at].kind |= p.kind
			if p.rule != alone && p.kind <= hex {
				if trie[at].part == 0 || p.kind == plain && trie[at].part != plain {
					trie[at].part, trie[at].model = p.kind, int32(i)
				}
			}
		}
		a.ends[i] = trie[at].own
		trie[at].own = int32(i)
	}
	// The same breadth-first.
	n := len(trie)
	a.states, a.labels = make([]state, n), make([]uint8, n)
	order, parents := make([]int32, 1, n), make([]int32, n)
	for at := 0; at < len(order); at++ {
		s := &a.states[at]
		s.child = int32(len(order)) //nolint:gosec // as above
		for child := trie[order[at]].first; child != 0; child = trie[child].next {
			parents[len(order)], a.labels[len(order)] = int32(at), trie[child].label
			order = append(order, child)
			s.children++
		}
	}
	a.dense = int32(min(n, mostDense))
	a.table = make([]int32, int(a.dense)<<a.shift)
	a.speaking = int32(n) //nolint:gosec // as above
	for at, old := range order {
		s, node := &a.states[at], &trie[old]
		s.depth, s.own = node.depth, node.own
		if node.depth > 1 {
			s.fail = a.step(a.states[parents[at]].fail, node.label)
		}
		end := &a.states[s.fail]
		s.kinds = node.kind
		s.hexed = node.kind&hex != 0 && node.depth >= 2 || end.hexed
		s.model = -1
		switch {
		case node.part != 0 && node.depth >= leastBefore(node.part):
			s.cut, s.model = node.depth, node.model
		case at != 0:
			s.cut, s.model = end.cut, end.model
		}
		switch {
		case node.own >= 0:
			s.out = int32(at)
		case at != 0:
			s.out = end.out
		}
		if s.out != 0 {
			a.speaking = min(a.speaking, int32(at))
		}
		if int32(at) < a.dense {
			row := a.table[at<<a.shift : (at+1)<<a.shift]
			if at != 0 {
				copy(row, a.table[int(s.fail)<<a.shift:int(s.fail+1)<<a.shift])
			}
			for child := s.child; child < s.child+int32(s.children); child++ {
				row[a.labels[child]] = child
			}
		}
	}
	a.shallow = int32(a.states[0].children)
	a.pair()
}

// leastBefore returns how many characters of a form are recognised before a cut mark.
func leastBefore(k kind) uint8 {
	switch k {
	case base64:
		return 6
	case hex:
		return 8
	}
	return leastCut
}

// leastCut is the number of characters of a secret from which on a part of it is recognised next to a cut mark.
const leastCut = 3

// number gives each byte of the patterns a class. All others share class 0.
func (a *automaton) number(patterns []pattern) {
	classes := 1
	for i := range patterns {
		for _, symbol := range symbolsOf(&patterns[i]) {
			if symbol < 256 {
				symbol = uint16(lower(byte(symbol)))
			}
			if a.class[symbol] == 0 {
				a.class[symbol] = uint8(classes)
				classes++
			}
		}
	}
	for c := 'A'; c <= 'Z'; c++ {
		a.class[c] = a.class[c+'a'-'A']
	}
	for a.shift = 1; 1<<a.shift < classes; {
		a.shift++
	}
	for c := range a.info {
		a.info[c] = uint16(a.class[c]) | uint16(specials[c])<<8
	}
}
