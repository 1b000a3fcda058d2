package steps

import (
	"fmt"
	"strings"
	"sync"
	"unicode"
)

// transcript is a dialogue with a mail server as evidence of a failure: its beginning and its end, so that a long wait
// cannot fill memory. Credentials are never written to it; the caller gives a line without them.
type transcript struct {
	mu   sync.Mutex
	head []string
	tail []string // a ring once it is full
	next int      // where the ring continues
	left int      // lines that the ring has dropped
}

const (
	transcriptHead = 40
	transcriptTail = 80
)

func (t *transcript) client(line string) { t.add("C: ", line) }
func (t *transcript) server(line string) { t.add("S: ", line) }

func (t *transcript) add(who, line string) {
	line = who + oneLine(line, 1000)
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case len(t.head) < transcriptHead:
		t.head = append(t.head, line)
	case len(t.tail) < transcriptTail:
		t.tail = append(t.tail, line)
	default:
		t.tail[t.next] = line
		t.next = (t.next + 1) % transcriptTail
		t.left++
	}
}

// attach hands the transcript to w, if anything was said.
func (t *transcript) attach(w *World, name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.head) == 0 {
		return
	}
	var b strings.Builder
	for _, line := range t.head {
		b.WriteString(line + "\n")
	}
	if t.left > 0 {
		fmt.Fprintf(&b, "[%d lines left out]\n", t.left)
	}
	for i := range t.tail {
		b.WriteString(t.tail[(t.next+i)%len(t.tail)] + "\n")
	}
	w.Attach(name, "text/plain; charset=utf-8", []byte(b.String()))
}

// oneLine makes text from a server fit for one line of a report: no control characters, valid UTF-8, at most limit runes.
func oneLine(text string, limit int) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case r == '\t' || r == '\n' || r == '\r':
			return ' '
		case unicode.IsControl(r), r == unicode.ReplacementChar:
			return '?'
		default:
			return r
		}
	}, text)
	for i := range text {
		if limit == 0 {
			return text[:i] + "…"
		}
		limit--
	}
	return text
}
