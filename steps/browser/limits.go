package browser

import (
	"bytes"
	"io"
	"net/http"
	"strings"

	"github.com/stepwatch/stepwatch/steps/limit"
)

// The limits of what a page makes the browser report. What a page may do inside the browser is limited by browser.memory.
var (
	messageLimit = limit.Define(limit.Limit{Subject: "browser", What: "a report about the page", Unit: "bytes", Most: 16 << 20})
	eventsLimit  = limit.Define(limit.Limit{Subject: "browser", What: "the page", Unit: "events", Most: 100_000})
	recordsLimit = limit.Define(limit.Limit{Subject: "browser", What: "the record of the page's requests and messages", Unit: "bytes", Most: 16 << 20})
)

// recordSize is what a request or a message takes in addition to its texts, in bytes.
const recordSize = 1000

// longestData is how much of a data: address is kept, which contains what it stands for. Its length is in characters.
const longestData = 1000

// Account makes memory the account of what is kept of the tab and its windows.
func (t *Tab) Account(memory *limit.Memory) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.memory = memory
}

// keep counts what is kept of a page. If that is too much, it ends the tab. t.mu is held.
func (t *Tab) keep(texts ...string) {
	n := int64(recordSize)
	for _, text := range texts {
		n += int64(len(text))
	}
	t.kept += n
	err := recordsLimit.Check(t.kept)
	if taken := t.memory.Take(n); err == nil {
		err = taken
	}
	if err != nil {
		t.end(err)
	}
}

// keepHeader counts the fields of a request or a response; t.mu is held.
func (t *Tab) keepHeader(h http.Header) {
	n := int64(0)
	for name, values := range h {
		n += int64(len(name)) + 50
		for _, value := range values {
			n += int64(len(value)) + 16
		}
	}
	t.kept += n
	if err := t.memory.Take(n); err != nil {
		t.end(err)
	}
}

// counted counts an event and reports whether there were not too many; otherwise it ends the tab. t.mu is held.
func (t *Tab) counted() bool {
	t.events++
	if err := eventsLimit.Check(t.events); err != nil {
		t.end(err)
		return false
	}
	return true
}

// shortened returns the address of a request as it is kept.
func shortened(address string) string {
	if len(address) > longestData && strings.HasPrefix(address, "data:") {
		return strings.ToValidUTF8(address[:longestData], "") + "…"
	}
	return address
}

// pump copies messages that end in a NUL until one is larger than messageLimit, of which it copies only a part, and calls
// exceeded. It closes both ends.
func pump(from io.ReadCloser, to io.WriteCloser, exceeded func(error)) {
	defer from.Close()
	defer to.Close()
	part := make([]byte, 64<<10)
	for size := int64(0); ; {
		n, err := from.Read(part)
		for rest := part[:n]; ; {
			end := bytes.IndexByte(rest, 0)
			if end < 0 {
				size += int64(len(rest))
				break
			}
			size, rest = 0, rest[end+1:]
		}
		if size > messageLimit.Most {
			exceeded(messageLimit.Exceeded())
			return
		}
		if _, broken := to.Write(part[:n]); broken != nil || err != nil {
			return
		}
	}
}

// The limits of what the script in the page returns. It counts before it returns anything. Scripts of a page may nest
// elements deeper than a parser does.
var (
	nodesLimit = limit.Define(limit.Limit{Subject: "web page in a browser", What: "the page", Unit: "nodes (elements and texts)", Most: 300_000,
		Setting: "limits.page_nodes"})
	levelsLimit = limit.Define(limit.Limit{Subject: "web page in a browser", What: "the page", Unit: "levels of nested elements", Most: 1000})
	textLimit   = limit.Define(limit.Limit{Subject: "web page in a browser", What: "the visible text of the page", Unit: "characters", Most: 10 << 20})
)

// LimitNodes sets how many nodes a document in a Snapshot may have; 0 is the default.
func (t *Tab) LimitNodes(most int64) { t.mostNodes = most }

func (t *Tab) nodes() limit.Limit { return nodesLimit.With(t.mostNodes) }
