package maildns

import (
	"context"
	"net"
	"sync"

	"github.com/stepwatch/stepwatch/steps/dnsclient"
)

// Texts looks up TXT records for code that expects the errors of Go's resolver, such as a verifier of signatures. It
// remembers a failed look-up, because that must not be confused with a missing record.
type Texts struct {
	lookup Lookup

	mu      sync.Mutex
	trouble error
}

// NewTexts returns Texts that use lookup.
func NewTexts(lookup Lookup) *Texts { return &Texts{lookup: lookup} }

// Lookup returns the TXT records of a name. As in package net, it is an error if there is none.
func (t *Texts) Lookup(ctx context.Context, name string) ([]string, error) {
	missing := &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	if !askable(name) { // a message may contain any name
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

// Trouble returns the error of the first look-up without an answer, or nil.
func (t *Texts) Trouble() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.trouble
}
