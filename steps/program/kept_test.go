package program

import (
	"bytes"
	"testing"
)

// FuzzKept writes in pieces: what is kept is the beginning of everything, and no more than the limit.
func FuzzKept(f *testing.F) {
	f.Add([]byte("one two three"), 5, 3)
	f.Add([]byte{}, 0, 1)
	f.Fuzz(func(t *testing.T, output []byte, limit, piece int) {
		limit, piece = min(max(limit, 0), 1<<10), min(max(piece, 1), 1<<10)
		k := NewKept(limit)
		for rest := output; len(rest) > 0; {
			n := min(piece, len(rest))
			if written, err := k.Write(rest[:n]); written != n || err != nil {
				t.Fatal(written, err)
			}
			rest = rest[n:]
		}
		if !bytes.Equal(k.Bytes(), output[:min(limit, len(output))]) || k.Cut() != (len(output) > limit) || k.Written() != int64(len(output)) {
			t.Errorf("limit %d: kept %q of %q, cut %t", limit, k.Bytes(), output, k.Cut())
		}
	})
}
