package lifeline

import (
	"context"
	"time"
)

// evidenceTime is the part of the remaining time that a program or a server may not use. It is for reporting the result.
const evidenceTime = 200 * time.Millisecond

// WithEvidenceTime returns a context that ends shortly before ctx, so that a hanging program is reported in time.
func WithEvidenceTime(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, limited := ctx.Deadline()
	if !limited {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, deadline.Add(-evidenceTime))
}
