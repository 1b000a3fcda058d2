package dns

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/miekg/dns"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/dnsclient"
	"github.com/stepwatch/stepwatch/steps/maildns"
	"github.com/stepwatch/stepwatch/steps/redact"
)

// parts hides the words of a record that has a secret in it. A linter quotes each word of a record on its own, and a secret with
// blanks or semicolons in its form is then in pieces, which nobody recognizes as parts of it.
type parts struct {
	w *steps.World

	mu    sync.Mutex
	words []string // the longest first
}

// watch returns a Lookup that takes note of such records.
func (p *parts) watch(lookup maildns.Lookup) maildns.Lookup {
	return func(ctx context.Context, name string, kind uint16) (maildns.Answer, error) {
		answer, err := lookup(ctx, name, kind)
		for _, record := range answer.Records {
			if txt, is := record.(*dns.TXT); is {
				p.note(dnsclient.Text(txt))
			}
		}
		return answer, err
	}
}

// note takes note of the words of a text that are not in the text without secrets.
func (p *parts) note(text string) {
	hidden := p.w.Redacted(text)
	if hidden == text {
		return
	}
	split := func(r rune) bool { return r == ' ' || r == ';' }
	kept := strings.FieldsFunc(hidden, split)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, word := range strings.FieldsFunc(text, split) {
		if len(word) > 1 && !slices.Contains(kept, word) {
			p.words = append(p.words, word)
		}
	}
	slices.SortFunc(p.words, func(a, b string) int { return len(b) - len(a) })
}

// hide hides the words in texts about the records.
func (p *parts) hide(texts []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range texts {
		for _, word := range p.words {
			texts[i] = strings.ReplaceAll(texts[i], word, redact.Hidden)
		}
	}
}
