package httpserver

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// quietHandler logs a few lines a minute, and how many it left out: whoever reaches the port decides how many there are.
type quietHandler struct {
	slog.Handler

	mu      sync.Mutex
	began   time.Time
	lines   int
	omitted int
}

// linesPerMinute of what net/http says about connections.
const linesPerMinute = 10

// Handle implements slog.Handler.
func (h *quietHandler) Handle(ctx context.Context, r slog.Record) error {
	h.mu.Lock()
	if time.Since(h.began) > time.Minute {
		h.began, h.lines = time.Now(), 0
	}
	if h.lines++; h.lines > linesPerMinute {
		h.omitted++
		h.mu.Unlock()
		return nil
	}
	omitted := h.omitted
	h.omitted = 0
	h.mu.Unlock()
	if omitted > 0 {
		r.AddAttrs(slog.Int("omitted_lines_before", omitted))
	}
	return h.Handler.Handle(ctx, r)
}
