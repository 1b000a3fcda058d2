package lifeline

import (
	"context"
	"io"
)

// Reader returns a reader of a document that is in memory. It ends with the cause of ctx when ctx ends, so that a decoder of a
// large document does.
func Reader(ctx context.Context, document []byte) io.Reader { return &reader{ctx, document} }

type reader struct {
	ctx  context.Context //nolint:containedctx // a reader connects it to a document
	rest []byte
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}
