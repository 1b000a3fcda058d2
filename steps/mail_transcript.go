package steps

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode"
)

// transcript is a dialogue with a mail server as evidence of a failure. It keeps the beginning and the end, so that a
// long wait cannot fill memory. It never holds credentials; the caller adds a line without them.
type transcript struct {
	mu    sync.Mutex
	lines []string
	left  int // number of omitted lines after the first transcriptHead
	noops int // number of consecutive NOOPs without news
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
	const noop = "C: NOOP"
	switch n := len(t.lines); {
	case line != noop:
	case n >= 2 && strings.HasPrefix(t.lines[n-2], noop) && strings.Contains(t.lines[n-1], " OK "):
		t.noops++
		t.lines = t.lines[:n-2]
		line += fmt.Sprintf(" [after %d without news]", t.noops)
	default:
		t.noops = 0
	}
	t.lines = append(t.lines, line)
	if len(t.lines) > transcriptHead+transcriptTail {
		t.lines = slices.Delete(t.lines, transcriptHead, transcriptHead+1)
		t.left++
	}
}

// attach adds the transcript to w, if it is not empty.
func (t *transcript) attach(w *World, name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.lines) == 0 {
		return
	}
	lines := slices.Clone(t.lines)
	if t.left > 0 {
		lines = slices.Insert(lines, transcriptHead, fmt.Sprintf("[%d lines omitted]", t.left))
	}
	w.Attach(name, "text/plain; charset=utf-8", []byte(strings.Join(lines, "\n")+"\n"))
}

// oneLine makes text from a server fit for one line of a report: no control characters, valid UTF-8, at most limit
// runes.
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
