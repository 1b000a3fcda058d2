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
	class [symbols]uint8 // of a byte; lower and upper case are one
	info  [256]uint16    // class, and what else scan must know of a byte
	shift uint
	table []int32 // [state<<shift|class] for states below dense
	dense int32
	first []int32 // first child of a state
	next  []int32 // next sibling
	label []uint8 // class that leads to the state
	fail  []int32
	depth []uint8
	kinds []kind  // kinds of the patterns that begin with the state, or with an end of it
	own   []int32 // index of the first pattern that ends with the state, -1 for none
	out   []int32 // this state or the next shorter end of it with a pattern, 0 for none
	cut   []uint8 // length of the longest end of the state that is hidden before a cut mark
	model []int32 // a pattern that begins with the longest such end
	ends  []int32 // next pattern of the same state

	patterns []pattern
}

// step returns the state after c.
func (a *automaton) step(s int32, c uint8) int32 {
	for s >= a.dense {
		for child := a.first[s]; child != 0; child = a.next[child] {
			if a.label[child] == c {
				return child
			}
		}
		s = a.fail[s]
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
const mostDense = 1024

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
				child = int32(len(trie))
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
	a.first, a.next, a.fail, a.own, a.out, a.model = make([]int32, n), make([]int32, n), make([]int32, n), make([]int32, n), make([]int32, n), make([]int32, n)
	a.label, a.depth, a.cut, a.kinds = make([]uint8, n), make([]uint8, n), make([]uint8, n), make([]kind, n)
	order, parents := make([]int32, 1, n), make([]int32, n)
	for at := 0; at < len(order); at++ {
		last := int32(0)
		for child := trie[order[at]].first; child != 0; child = trie[child].next {
			number := int32(len(order))
			order, parents[number], a.label[number] = append(order, child), int32(at), trie[child].label
			if last == 0 {
				a.first[at] = number
			} else {
				a.next[last] = number
			}
			last = number
		}
	}
	a.dense = int32(min(n, mostDense))
	a.table = make([]int32, int(a.dense)<<a.shift)
	for at, old := range order {
		s, node := int32(at), &trie[old]
		a.depth[s], a.own[s] = node.depth, node.own
		fail := int32(0)
		if node.depth > 1 {
			fail = a.step(a.fail[parents[s]], node.label)
		}
		a.fail[s] = fail
		a.kinds[s] = node.kind | a.kinds[fail]
		a.model[s] = -1
		switch {
		case node.part != 0 && node.depth >= leastBefore(node.part):
			a.cut[s], a.model[s] = node.depth, node.model
		case s != 0:
			a.cut[s], a.model[s] = a.cut[fail], a.model[fail]
		}
		switch {
		case node.own >= 0:
			a.out[s] = s
		case s != 0:
			a.out[s] = a.out[fail]
		}
		if s < a.dense {
			row := a.table[int(s)<<a.shift : int(s+1)<<a.shift]
			if s != 0 {
				copy(row, a.table[int(fail)<<a.shift:int(fail+1)<<a.shift])
			}
			for child := a.first[s]; child != 0; child = a.next[child] {
				row[a.label[child]] = child
			}
		}
	}
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
