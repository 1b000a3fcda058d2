package redact

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unsafe"
)

// Hidden takes the place of a secret.
const Hidden = "[hidden]"

// cutMark marks where a text was truncated.
const cutMark = "…"

// Redactor removes a set of secrets from texts. It is immutable. A nil Redactor has no secrets.
type Redactor struct {
	automaton
	secrets []string
}

// most is how much memory the redactors take that New keeps, in bytes. That of three passwords takes about 200 KB.
const most = 32 << 20

// made has the redactors by their secrets, because making one takes a thousand times longer than using it.
var made = struct {
	sync.Mutex
	by   map[string]*Redactor
	size int
}{by: make(map[string]*Redactor)}

// New returns the redactor of these secrets. Empty ones are ignored. Redactors are kept and shared, up to 32 MB of them.
func New(secrets []string) *Redactor {
	var key strings.Builder
	for _, s := range secrets {
		if s != "" {
			key.WriteString(strconv.Itoa(len(s)))
			key.WriteByte(' ')
			key.WriteString(s)
		}
	}
	if key.Len() == 0 {
		return nil
	}
	made.Lock()
	defer made.Unlock()
	r := made.by[key.String()]
	if r == nil {
		r = build(secrets)
		made.size += r.size()
		for other, old := range made.by { // any one
			if made.size <= most {
				break
			}
			delete(made.by, other)
			made.size -= old.size()
		}
		made.by[key.String()] = r
	}
	return r
}

// size returns about how much memory a redactor takes, in bytes.
func (r *Redactor) size() int {
	size := int(unsafe.Sizeof(*r)) + 4*len(r.table) + len(r.labels) + int(unsafe.Sizeof(state{}))*len(r.states)
	for i := range r.patterns {
		size += int(unsafe.Sizeof(pattern{})) + len(r.patterns[i].text) + len(r.patterns[i].lead)
	}
	return size
}

// build makes the automaton of all forms of the secrets.
func build(secrets []string) *Redactor {
	secrets = slices.DeleteFunc(slices.Clone(secrets), func(s string) bool { return s == "" })
	r := &Redactor{secrets: secrets}
	var b builder
	b.reset()
	for _, s := range secrets {
		b.addSecret(s)
	}
	b.finish(&r.automaton)
	return r
}

// Bytes returns text without the secrets. It is text itself if there are none in it.
func (r *Redactor) Bytes(text []byte) []byte { return r.Head(text, len(text)) }

// beyond is how far Head looks past its end.
const beyond = 64 << 10

// Head returns the first size bytes of text without the secrets, also without the beginning of one that goes on after
// them. It does not read the rest of a long text.
func (r *Redactor) Head(text []byte, size int) []byte {
	size = min(size, len(text))
	if r == nil || size == 0 {
		return text[:size]
	}
	spans := r.find(text[:min(len(text), size+beyond)], 0)
	if len(spans) == 0 {
		return text[:size]
	}
	return without(text, spans, size)
}

// String is Bytes for a string.
func (r *Redactor) String(text string) string {
	if r == nil || text == "" {
		return text
	}
	read := []byte(text)
	spans := r.find(read, 0)
	if len(spans) == 0 {
		return text
	}
	return string(without(read, spans, len(read)))
}

// without returns the first size bytes of text with the spans replaced.
func without(text []byte, spans []span, size int) []byte {
	out := make([]byte, 0, size+len(Hidden))
	at := 0
	for _, s := range spans {
		if s.start >= size {
			break
		}
		out = append(append(out, text[at:s.start]...), Hidden...)
		at = s.end
	}
	return append(out, text[min(at, size):size]...)
}

// span is a part of a text, in bytes.
type span struct{ start, end int }

// merged returns the spans in order, with those that overlap or touch as one, and without those inside a marker of an
// earlier pass.
func merged(text []byte, spans []span) []span {
	slices.SortFunc(spans, func(a, b span) int { return a.start - b.start })
	kept := spans[:0]
	for _, s := range spans {
		if n := len(kept); n > 0 && s.start <= kept[n-1].end {
			kept[n-1].end = max(kept[n-1].end, s.end)
			continue
		}
		kept = append(kept, s)
	}
	return slices.DeleteFunc(kept, func(s span) bool {
		if s.end-s.start > len(Hidden) {
			return false
		}
		from, to := max(0, s.end-len(Hidden)), min(len(text), s.start+len(Hidden))
		return bytes.Contains(text[from:to], []byte(Hidden))
	})
}
