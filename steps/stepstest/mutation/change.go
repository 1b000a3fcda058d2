package mutation

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"regexp"
	"time"
)

// change is what happens to an answer. It returns what is done in its place, and says so.
type change func(m *Mutation, answer []byte) ([]act, string)

// changes are the changes, with how often each is picked. What makes the client wait until its deadline is rare, because a
// fuzzer that waits finds little.
var changes = []struct {
	weight int
	do     change
}{
	{12, flip}, {8, cutShort}, {4, cutAndClose}, {2, cutAndReset}, {10, repeatPart}, {5, repeatLine}, {4, dropLine}, {4, swapLines},
	{5, extra}, {4, reorder}, {2, drop}, {1, silence}, {2, delay}, {1, drip}, {3, bytewise}, {14, number}, {6, nest}, {10, integer},
	{8, insert}, {4, foreign}, {8, word}, {4, lineEnds}, {1, endlessLine}, {1, endlessAnswers}, {2, longLine}, {4, remove},
}

func pick(random *rand.Rand) change {
	total := 0
	for _, c := range changes {
		total += c.weight
	}
	n := random.IntN(total)
	for _, c := range changes {
		if n -= c.weight; n < 0 {
			return c.do
		}
	}
	return flip
}

func sends(p []byte) []act { return []act{{send: p}} }

// span returns a random part of p, at most limit bytes long and, unless p is empty, not empty.
func (m *Mutation) span(p []byte, limit int) (from, to int) {
	from = m.random.IntN(len(p))
	return from, from + 1 + m.random.IntN(min(limit, len(p)-from))
}

func flip(m *Mutation, p []byte) ([]act, string) {
	n := 1 + m.random.IntN(8)
	for range n {
		p[m.random.IntN(len(p))] ^= 1 << m.random.IntN(8)
	}
	return sends(p), fmt.Sprintf("flip %d bits", n)
}

func cutShort(m *Mutation, p []byte) ([]act, string) {
	n := m.random.IntN(len(p))
	return sends(p[:n]), fmt.Sprintf("cut off after %d bytes", n)
}

func cutAndClose(m *Mutation, p []byte) ([]act, string) {
	n := m.random.IntN(len(p) + 1)
	return []act{{send: p[:n], end: hangUp}}, fmt.Sprintf("close after %d bytes", n)
}

func cutAndReset(m *Mutation, p []byte) ([]act, string) {
	n := m.random.IntN(len(p) + 1)
	return []act{{send: p[:n], end: reset}}, fmt.Sprintf("reset after %d bytes", n)
}

// repeatPart repeats a part of the answer in its place, mostly a few times.
func repeatPart(m *Mutation, p []byte) ([]act, string) {
	from, to := m.span(p, 200)
	n := []int{1, 2, 10, 100, 1000, 10_000}[m.random.IntN(6)]
	n = min(n, 1<<20/(to-from), m.limits.Bytes/(to-from))
	repeated := bytes.Repeat(p[from:to], n)
	return []act{{send: p[:to]}, {send: repeated}, {send: p[to:]}}, fmt.Sprintf("repeat %d bytes %d times", to-from, n)
}

func lines(p []byte) [][]byte { return bytes.SplitAfter(p, []byte("\n")) }

func repeatLine(m *Mutation, p []byte) ([]act, string) {
	all := lines(p)
	i := m.random.IntN(len(all))
	n := 1 + m.random.IntN(3)
	all[i] = bytes.Repeat(all[i], 1+n)
	return sends(bytes.Join(all, nil)), fmt.Sprintf("repeat line %d %d times", i+1, n)
}

func dropLine(m *Mutation, p []byte) ([]act, string) {
	all := lines(p)
	i := m.random.IntN(len(all))
	all[i] = nil
	return sends(bytes.Join(all, nil)), fmt.Sprintf("drop line %d", i+1)
}

func swapLines(m *Mutation, p []byte) ([]act, string) {
	all := lines(p)
	i, j := m.random.IntN(len(all)), m.random.IntN(len(all))
	all[i], all[j] = all[j], all[i]
	return sends(bytes.Join(all, nil)), fmt.Sprintf("exchange lines %d and %d", i+1, j+1)
}

func extra(_ *Mutation, p []byte) ([]act, string) {
	return []act{{send: p}, {send: p}}, "send it twice"
}

func reorder(m *Mutation, p []byte) ([]act, string) {
	m.held = p
	return nil, "send it after the next one"
}

func drop(*Mutation, []byte) ([]act, string) { return nil, "do not send it" }

func silence(*Mutation, []byte) ([]act, string) { return []act{{end: hang}}, "never answer again" }

func delay(m *Mutation, p []byte) ([]act, string) {
	d := time.Duration(1+m.random.IntN(100)) * time.Millisecond
	return []act{{send: p, wait: d}}, fmt.Sprintf("send it after %s", d)
}

func drip(m *Mutation, p []byte) ([]act, string) {
	d := time.Duration(1+m.random.IntN(5)) * time.Millisecond
	return []act{{send: p, every: d}}, fmt.Sprintf("a byte each %s", d)
}

func bytewise(_ *Mutation, p []byte) ([]act, string) {
	n := min(len(p), 400)
	return []act{{send: p[:n], every: -1}, {send: p[n:]}}, "a byte at a time"
}

var digits = regexp.MustCompile(`[0-9]+`)

// numbers are those at which types and sizes end. None is so large that a reader who believes it takes much memory by its
// announcement alone: that is what the fuzzer looks for, and the limit on memory ends it.
var numbers = []string{"0", "1", "-1", "00", "127", "128", "255", "256", "32767", "65535", "65536", "99999", "1048577", "16777217", "20971521",
	"2147483647", "2147483648", "4294967295", "4294967296", "9223372036854775807", "9223372036854775808", "18446744073709551616",
	"99999999999999999999999999", "1e9", "0x10", " 5", "5 ", "5.5", "1:*", ""}

func number(m *Mutation, p []byte) ([]act, string) {
	found := digits.FindAllIndex(p, 500)
	if found == nil {
		return integer(m, p)
	}
	at := found[m.random.IntN(len(found))]
	to := numbers[m.random.IntN(len(numbers))]
	said := fmt.Sprintf("write %q for the number %.20q", to, p[at[0]:at[1]])
	return []act{{send: bytes.Join([][]byte{p[:at[0]], []byte(to), p[at[1]:]}, nil)}}, said
}

var brackets = [][2]string{{"(", ")"}, {"[", "]"}, {"{", "}"}, {"<b>", "</b>"}, {"\"", "\""}, {"<a x=\"", "\">"}, {"\x30\x80", "\x00\x00"}}

func nest(m *Mutation, p []byte) ([]act, string) {
	b := brackets[m.random.IntN(len(brackets))]
	n := 1 + m.random.IntN(m.limits.Depth)
	from, to := m.span(p, 50)
	nested := bytes.Join([][]byte{p[:from], bytes.Repeat([]byte(b[0]), n), p[from:to], bytes.Repeat([]byte(b[1]), n), p[to:]}, nil)
	return sends(nested), fmt.Sprintf("%d times %q around %d bytes", n, b[0], to-from)
}

// integer overwrites bytes that may be a length or a type.
func integer(m *Mutation, p []byte) ([]act, string) {
	size := min(len(p), []int{1, 2, 3, 4, 8}[m.random.IntN(5)])
	at := m.random.IntN(len(p) - size + 1)
	values := []uint64{0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x10001, 0x7fffffff, 0x80000000, 0xffffffff, 0x100000000, 1<<63 - 1, 1 << 63, 1<<64 - 1}
	v := values[m.random.IntN(len(values))]
	var b [8]byte
	if m.random.IntN(2) == 0 {
		binary.BigEndian.PutUint64(b[:], v)
		copy(p[at:at+size], b[8-size:])
	} else {
		binary.LittleEndian.PutUint64(b[:], v)
		copy(p[at:at+size], b[:size])
	}
	return sends(p), fmt.Sprintf("write %#x into %d bytes at %d", v, size, at)
}

var inserted = []string{"\x00", "\r", "\n", "\r\n", "\r\n\r\n", "\"", "\\", "'", "<", ">", "&", "%", "%s%d%n", "{", "}", "(", ")", "*", "+ \r\n", "\xff\xfe", "\xef\xbb\xbf",
	"\u202e", "\u0000\u200b", "\x1b[31m", "=?utf-8?q?=00?=", "xn--", "--", ";", ",", ":", "=", "\t", "   ", "\x80", "\xc0\x80", "\xed\xa0\x80", "\U0010ffff", "{10}\r\n", "~{10}\r\n",
	"<!--", "]]>", "<![CDATA[", "&#0;", "&#x110000;", "NaN", "-0", "1e309", "null", "NIL"}

func insert(m *Mutation, p []byte) ([]act, string) {
	what := []byte(inserted[m.random.IntN(len(inserted))])
	if m.random.IntN(5) == 0 {
		what = make([]byte, 1+m.random.IntN(64))
		for i := range what {
			what[i] = byte(m.random.Uint32())
		}
	}
	at := m.random.IntN(len(p) + 1)
	return sends(bytes.Join([][]byte{p[:at], what, p[at:]}, nil)), fmt.Sprintf("insert %q at %d", what, at)
}

// greetings are what other protocols send first.
var greetings = []string{"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", "220 mail.demo.test ESMTP\r\n", "* OK IMAP4rev1 ready\r\n", "* BYE too many connections\r\n", "+OK POP3 ready\r\n",
	"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", "421 4.3.2 try again later\r\n", "-ERR busy\r\n", "AMQP\x00\x00\x09\x01",
	"\x15\x03\x03\x00\x02\x02\x28", "\x16\x03\x03\x00\x7a", "\x00\x00\x00\x04\x00\x00\x00\x00\x00", "E\x00\x00\x00\x0cSFATAL\x00\x00", "\x0a5.5.5\x00", "<html><body>It works!</body></html>\n",
	"\x00", "\n", "\xff\xfb\x01", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"}

func foreign(m *Mutation, p []byte) ([]act, string) {
	other := greetings[m.random.IntN(len(greetings))]
	said := fmt.Sprintf("send %.20q instead", other)
	switch m.random.IntN(3) {
	case 0:
		return []act{{send: []byte(other), end: hangUp}}, said + " and close"
	case 1:
		return []act{{send: append([]byte(other), p...)}}, fmt.Sprintf("send %.20q before it", other)
	}
	return sends([]byte(other)), said
}

var words = regexp.MustCompile(`[A-Za-z0-9.@+/=_-]+`)

// word replaces a word by another one of the same answer: a tag, a name, an id, a boundary.
func word(m *Mutation, p []byte) ([]act, string) {
	found := words.FindAllIndex(p, 500)
	if len(found) < 2 {
		return flip(m, p)
	}
	a, b := found[m.random.IntN(len(found))], found[m.random.IntN(len(found))]
	said := fmt.Sprintf("write %.20q for %.20q", p[b[0]:b[1]], p[a[0]:a[1]])
	return sends(bytes.Join([][]byte{p[:a[0]], p[b[0]:b[1]], p[a[1]:]}, nil)), said
}

func lineEnds(m *Mutation, p []byte) ([]act, string) {
	end := []string{"\n", "\r", "\r\r\n", "\x00", "\n\n", ""}[m.random.IntN(6)]
	return sends(bytes.ReplaceAll(p, []byte("\r\n"), []byte(end))), fmt.Sprintf("end lines with %q", end)
}

func remove(m *Mutation, p []byte) ([]act, string) {
	from, to := m.span(p, 100)
	return sends(append(p[:from:from], p[to:]...)), fmt.Sprintf("remove %d bytes at %d", to-from, from)
}

// block is what endless answers are made of.
const block = 64 << 10

func endlessLine(m *Mutation, p []byte) ([]act, string) {
	n := m.random.IntN(len(p))
	fill := bytes.Repeat([]byte{"A (1\x00"[m.random.IntN(5)]}, block)
	return []act{{send: p[:n]}, {send: fill, times: m.limits.Bytes / block}, {send: p[n:]}}, fmt.Sprintf("%d MB without an end of line", m.limits.Bytes>>20)
}

func longLine(m *Mutation, p []byte) ([]act, string) {
	n, size := m.random.IntN(len(p)), []int{1000, 9000, 70_000, 300_000, 1_100_000}[m.random.IntN(5)]
	return []act{{send: p[:n]}, {send: bytes.Repeat([]byte{'x'}, min(size, m.limits.Bytes))}, {send: p[n:]}}, fmt.Sprintf("a line of %d bytes more", size)
}

func endlessAnswers(m *Mutation, p []byte) ([]act, string) {
	all := lines(p)
	what := p
	if m.random.IntN(2) == 0 {
		what = all[m.random.IntN(len(all))]
	}
	if len(what) == 0 {
		what = p
	}
	many := bytes.Repeat(what, 1+block/len(what))
	return []act{{send: p}, {send: many, times: m.limits.Bytes / len(many)}, {send: p}}, fmt.Sprintf("%d MB of the same %d bytes", m.limits.Bytes>>20, len(what))
}
