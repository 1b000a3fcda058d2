package maildns

import (
	"context"
	"net"
	"sync"

	"github.com/stepwatch/stepwatch/steps/dnsclient"
)

// Texts looks TXT records up for code that wants the errors of Go's own resolver, such as a verifier of signatures. It
// remembers when that failed, because then nothing is known, and a missing record must not be taken for it.
type Texts struct {
	lookup Lookup

	mu      sync.Mutex
	trouble error
}

// NewTexts returns Texts that ask through lookup.
func NewTexts(lookup Lookup) *Texts { return &Texts{lookup: lookup} }

// Lookup returns the TXT records of a name. That there is none is an error too, as net has it.
func (t *Texts) Lookup(ctx context.Context, name string) ([]string, error) {
	missing := &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	if !askable(name) { // which a message may hold
		return nil, missing
	}
	texts, err := t.lookup.texts(ctx, name)
	switch {
	case err == nil && len(texts) == 0:
		return nil, missing
	case err != nil:
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.trouble == nil {
			t.trouble = err
		}
	}
	return texts, dnsclient.NetError(err)
}

// Trouble is the error of the first look-up that got no answer, or nil.
func (t *Texts) Trouble() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.trouble
}
