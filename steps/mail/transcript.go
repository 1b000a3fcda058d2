package mail

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/wording"
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

// imap adds a line of an IMAP dialogue. The client's lines have no tag, the server's do.
func (t *transcript) imap(fromServer bool, line string) {
	if fromServer {
		t.server(line)
	} else {
		t.client(line)
	}
}

func (t *transcript) add(who, line string) {
	line = who + wording.OneLine(line, 1000)
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

// Attach adds the transcript to w, if it is not empty.
func (t *transcript) Attach(w *steps.World, name string) {
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
