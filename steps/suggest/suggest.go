// Package suggest finds the sentences that mean nearly the same as a step.
package suggest

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"sync"
)

// What is suggested for a step that no sentence matches. A suggestion that means something else is worse than none: an
// author who copies it has a check of another thing. So a suggestion has the same negations as the step, never the opposite
// of one of its words, and never a subject that the step does not name.

// Finder finds the sentences that are nearest to a step by their words. It belongs to one library, which it reads once.
type Finder struct {
	Sentences func() []Sentence // called once, on first use

	once       sync.Once
	outlines   []outline
	vocabulary map[string]*word
	squashed   map[string]string // sentences by their outlines without blanks, for "I goto"

	mu    sync.Mutex
	spelt map[string]spelling // by words of steps
}

// Sentence is a sentence of a library.
type Sentence struct {
	Text    string
	Area    string // its chapter
	Outline string // with {} in the place of each parameter
	Quoted  int    // parameters in quotes
	Bare    int    // parameters with or without quotes
}

// rememberedWords is the most words that a Finder remembers.
const rememberedWords = 4096

// outline is a sentence as its words.
type outline struct {
	sentence string
	words    []*word
	weight   float64
	turned   turns
	letters  []rune // without blanks
	used     [32]int8
	quoted   int // parameters in quotes
	bare     int // parameters with or without quotes
}

// word is a word of the library's sentences.
type word struct {
	text   string
	weight float64 // the fewer sentences have it, the more
	area   string  // the only area whose sentences have it, or empty
	small  bool
}

// spelling is the word of the vocabulary that a word of a step is, or nearly is.
type spelling struct {
	word  *word // nil if there is none
	alike float64
}

// The weights of the words that carry little or no meaning, and of a word that no sentence has.
const (
	smallWeight   = 0.15
	valueWeight   = 0.3
	unknownWeight = 0.7
	alikeEnough   = 0.6
)

// The words below are split when the first step is unknown.

// small returns the words that contribute little to the meaning of a sentence.
var small = fields("a an and are as at be been by for from has have i in is it its must of on should shall that the then there this to via was will with")

// turns are the ways in which a sentence says the opposite of what it would say without a word.
type turns struct{ not, wrong bool }

var (
	negations = fields("not no never nobody none nothing neither nor without cannot lacks except")
	wrongs    = fields("wrong invalid bad refuse refused refuses reject rejected rejects fail fails failed failure unknown expired deny denied " +
		"denies block blocked blocks forbidden unauthorized incorrect missing broken try tries impossible unable disallowed")
	// opposites returns words that exclude each other, in groups: a step that has a word of a group means no sentence that has
	// only others of it.
	opposites = groups("below above", "less more fewer greater most", "fewer more", "least most", "under over", "before after", "enabled disabled",
		"checked unchecked", "check uncheck choose", "open closed filtered", "first last", "oldest newest latest", "send sends receive receives received",
		"empty full", "succeed succeeds fail fails pass passes", "shorter longer", "smaller larger bigger", "increase decrease", "up down",
		"start stop starts stops", "allow deny", "allowed denied", "permit forbid", "valid invalid", "accept refuse", "accepted refused rejected",
		"imap pop3 smtp lmtp", "ipv4 ipv6", "udp tcp", "stdout stderr", "file directory", "link button heading image field cookie header", "xml json",
		"active inactive", "follow press fill select", "upload download", "spf dkim dmarc bimi mta-sts dane tlsa arc", "mysql postgres redis amqp")
)

// fields returns a function that splits words once.
func fields(words string) func() []string {
	return sync.OnceValue(func() []string { return strings.Fields(words) })
}

// groups returns a function that splits the words of each line once.
func groups(lines ...string) func() [][]string {
	return sync.OnceValue(func() [][]string {
		all := make([][]string, len(lines))
		for i, line := range lines {
			all[i] = strings.Fields(line)
		}
		return all
	})
}

// Nearest returns up to three sentences that mean nearly the same as a step, the best first. outline has {} in the place of
// each value, and quotes is the number of values in quotes.
func (s *Finder) Nearest(outlined string, quotes int) []string {
	s.once.Do(s.learn)
	wanted := strings.ToLower(outlined)
	if sentence, found := s.squashed[squash(wanted)]; found {
		return []string{sentence}
	}
	words := split(wanted)
	turned := turnsOf(words)
	have := make(map[*word]float64, len(words))
	counted := make(map[*word]int, len(words))
	total := 0.0
	areas := make(map[string]bool)
	contents := 0 // words that are not small
	strange := 0  // words that no sentence has, and single letters
	for i, w := range words {
		sp := s.spell(w)
		if len(w) == 1 && w != "i" { // a value rather than an article
			sp = spelling{}
		}
		if sp.word == nil {
			total += unknownWeight
			strange++
			contents++
			continue
		}
		contents += boolean(!sp.word.small)
		words[i] = sp.word.text
		total += sp.word.weight
		have[sp.word] = max(have[sp.word], sp.alike)
		counted[sp.word]++
		if sp.word.area != "" {
			areas[sp.word.area] = true
		}
	}
	type candidate struct {
		sentence string
		alike    float64
	}
	var candidates []candidate
	used := make(map[*word]int, len(words))
	for i := range s.outlines {
		o := &s.outlines[i]
		if o.turned != turned {
			continue
		}
		clear(used)
		both, content, other, open, theirs, ours := 0.0, false, false, 0, false, contents
		for _, w := range o.words {
			if used[w] < counted[w] {
				used[w]++
				both += w.weight * have[w]
				if !w.small {
					content = true
					ours--
				}
				continue
			}
			open += boolean(w.text == "{}")
			theirs = theirs || !w.small
			other = other || w.area != "" && !areas[w.area]
		}
		// A word of the step that no sentence has may be a value that is written without quotes. A value that the step lacks
		// changes its meaning no more than a small word.
		values := float64(min(open, strange))
		if theirs && ours > 0 {
			continue // one word for another: it may be the opposite
		}
		if open > 0 && ours > strange {
			continue // a known word for a value: it is another subject, as the URL is for {stream}
		}
		both += values * valueWeight
		alike := both / (total + o.weight - both - values*(unknownWeight-valueWeight) - (float64(open)-values)*(valueWeight-smallWeight))
		if quotes < o.quoted || quotes > o.quoted+o.bare {
			alike -= 0.01 // of two that are as near, the one with texts in quotes where the step has them
		}
		if content && !other && alike >= alikeEnough && !opposed(words, o.words) {
			candidates = append(candidates, candidate{o.sentence, alike})
		}
	}
	if len(candidates) == 0 {
		return s.spelled(squash(wanted), words, turned)
	}
	slices.SortStableFunc(candidates, func(a, b candidate) int { return cmp.Compare(b.alike, a.alike) })
	sentences := make([]string, 0, 3)
	for _, c := range candidates {
		if len(sentences) < 3 && !slices.Contains(sentences, c.sentence) {
			sentences = append(sentences, c.sentence)
		}
	}
	return sentences
}

// spelled returns the sentence that a step is but for some slips of the pen, if there is one. text has no blanks.
func (s *Finder) spelled(text string, words []string, turned turns) []string {
	letters := []rune(text)
	if len(letters) > 100 {
		return nil
	}
	used := histogram(letters)
	best, least := "", min(3, len(letters)/4)+1
	for i := range s.outlines {
		o := &s.outlines[i]
		if d := len(o.letters) - len(letters); max(d, -d) >= least || o.turned != turned || apart(used, o.used) >= least {
			continue
		}
		if slips := Distance(letters, o.letters); slips < least && !opposed(words, o.words) {
			best, least = o.sentence, slips
		}
	}
	if best == "" {
		return nil
	}
	return []string{best}
}

// histogram counts letters, by their low bits.
func histogram(letters []rune) (used [32]int8) {
	for _, r := range letters {
		used[r&31]++
	}
	return used
}

// apart returns a number of slips that two texts have at least between them.
func apart(a, b [32]int8) int {
	more, less := 0, 0
	for i := range a {
		if d := int(a[i]) - int(b[i]); d > 0 {
			more += d
		} else {
			less -= d
		}
	}
	return max(more, less)
}

// learn reads the sentences of a library.
func (s *Finder) learn() {
	s.vocabulary, s.spelt, s.squashed = make(map[string]*word), make(map[string]spelling), make(map[string]string)
	count := make(map[*word]int)
	for _, d := range s.Sentences() {
		text := strings.ToLower(d.Outline)
		if _, taken := s.squashed[squash(text)]; !taken {
			s.squashed[squash(text)] = d.Text
		}
		o := outline{sentence: d.Text, letters: []rune(squash(text)), quoted: d.Quoted, bare: d.Bare}
		o.used = histogram(o.letters)
		texts := split(text)
		o.turned = turnsOf(texts)
		for _, t := range texts {
			w, known := s.vocabulary[t]
			if !known {
				w = &word{text: t, area: d.Area, small: t == "{}" || slices.Contains(small(), t)}
				s.vocabulary[t] = w
			}
			if w.area != d.Area || w.small {
				w.area = ""
			}
			if !slices.Contains(o.words, w) {
				count[w]++
			}
			o.words = append(o.words, w)
		}
		s.outlines = append(s.outlines, o)
	}
	for w, n := range count {
		switch {
		case w.text == "{}":
			w.weight = valueWeight
		case w.small:
			w.weight = smallWeight
		default:
			w.weight = 1 / math.Sqrt(float64(n))
		}
	}
	for i := range s.outlines {
		for _, w := range s.outlines[i].words {
			s.outlines[i].weight += w.weight
		}
	}
}

// spell returns the word of the vocabulary that a word of a step is, or nearly is. A slip never leads to a word that turns a
// sentence around, nor to the opposite of the word.
func (s *Finder) spell(text string) spelling {
	if w, known := s.vocabulary[text]; known {
		return spelling{w, 1}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if known, found := s.spelt[text]; found {
		return known
	}
	best := spelling{}
	letters := []rune(text)
	if len(letters) > 1 && len(letters) <= 32 && !strings.ContainsAny(text, "0123456789") {
		for other, w := range s.vocabulary {
			size := max(len(letters), len(other))
			if d := len(letters) - len(other); max(d, -d)*3 > size || w.text == "{}" || turnsOf([]string{other}) != (turns{}) || negates(text, other) {
				continue
			}
			slips := Distance(letters, []rune(other))
			if swapped(text, other) {
				slips = 1
			}
			alike := 1 - float64(slips)/float64(size)
			if slips*3 <= size && (alike > best.alike || alike == best.alike && best.word != nil && other < best.word.text) {
				best = spelling{w, alike}
			}
		}
	}
	if len(s.spelt) >= rememberedWords {
		clear(s.spelt)
	}
	s.spelt[text] = best
	return best
}

// swapped reports whether two words differ only in two letters that are the other way round.
func swapped(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	i := 0
	for i < len(a) && a[i] == b[i] {
		i++
	}
	return i+1 < len(a) && a[i] == b[i+1] && a[i+1] == b[i] && a[i+2:] == b[i+2:]
}

// turning has the prefixes that turn a word around.
var turning = []string{"un", "in", "im", "dis", "de", "non", "ir"}

// negates reports whether one word is the other with a prefix that turns it around.
func negates(a, b string) bool {
	if len(a) < len(b) {
		a, b = b, a
	}
	prefix, found := strings.CutSuffix(a, b)
	return found && slices.Contains(turning, prefix)
}

// opposed reports whether a step has a word that excludes a sentence.
func opposed(step []string, sentence []*word) bool {
	for _, group := range opposites() {
		var a, b []string
		for _, w := range step {
			if slices.Contains(group, w) {
				a = append(a, w)
			}
		}
		if a == nil {
			continue
		}
		for _, w := range sentence {
			if slices.Contains(group, w.text) {
				b = append(b, w.text)
			}
		}
		if b != nil && !slices.ContainsFunc(a, func(w string) bool { return slices.Contains(b, w) }) {
			return true
		}
	}
	for _, a := range step {
		if slices.ContainsFunc(sentence, func(b *word) bool { return len(a) > 3 && len(b.text) > 3 && negates(a, b.text) }) {
			return true
		}
	}
	return false
}

func boolean(b bool) int {
	if b {
		return 1
	}
	return 0
}

// turnsOf returns the ways in which words turn a sentence around.
func turnsOf(words []string) (t turns) {
	for _, w := range words {
		t.not = t.not != slices.Contains(negations(), w)
		t.wrong = t.wrong || slices.Contains(wrongs(), w)
	}
	return t
}

// split returns the words of an outline in lower case.
func split(text string) []string {
	var words []string
	for _, w := range strings.Fields(apostrophes.Replace(text)) {
		if w = strings.Trim(w, `.,:;!?()"'`); w != "" {
			words = append(words, w)
		}
	}
	return words
}

// apostrophes writes contracted negations as words.
var apostrophes = strings.NewReplacer("can't", "can not", "cannot", "can not", "won't", "will not", "n't", " not", "n’t", " not", "{}", " {} ")

// squash returns an outline without blanks.
func squash(text string) string { return strings.Join(strings.Fields(text), "") }

// Distance returns the least number of letters to insert, remove or change to turn a into b.
func Distance(a, b []rune) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range a {
		diagonal := row[0]
		row[0] = i + 1
		for j := range b {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal, row[j+1] = row[j+1], min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
