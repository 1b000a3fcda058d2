package browser_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps/browser"
	"github.com/stepwatch/stepwatch/steps/limit"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

// TestFloods opens pages that make the browser report more than is kept: they meet messageLimit, eventsLimit, recordsLimit
// and the memory of the run. After each, the browser opens the next page.
func TestFloods(t *testing.T) {
	b := started(t, browser.Options{})
	const begin = `<!DOCTYPE html><title>Flood</title><p>Hello<script>addEventListener("load", async () => { `
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(map[string]string{
			"/message":  begin + `console.log("x".repeat(17 << 20)) })</script>`,
			"/messages": begin + `for (;;) { for (let i = 0; i < 1000; i++) console.log(i); await new Promise((go) => setTimeout(go)) } })</script>`,
			"/requests": begin + `for (let i = 0; ; i++) await fetch("/?" + i + "x".repeat(100000)) })</script>`,
			"/data":     begin + `for (let i = 0; i < 200; i++) await fetch("data:text/plain," + "x".repeat(100000)) })</script>`,
		}[r.URL.Path]))
	}))
	defer server.Close()
	for _, c := range []struct {
		path   string
		memory int64
		want   string // of the limit; empty for none
	}{
		{"/data", 0, ""},
		{"/message", 0, "a report about the page has more than 16777216 bytes, the limit"},
		{"/messages", 0, "the page has 100001 events, the limit is 100000"},
		{"/requests", 0, "the record of the page's requests and messages has "},
		{"/requests", 2 << 20, "what the run has read has "},
	} {
		t.Run(c.path, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
			defer cancel()
			memory, err := limit.NewMemory(c.memory, nil), error(nil)
			for range 3 {
				err = flooded(ctx, t, b, memory, server.URL+c.path, c.want != "")
				if err == nil || !strings.Contains(err.Error(), "the browser hangs") { // so it seems on a busy machine; the next tab gets another
					break
				}
			}
			if over := (*limit.Error)(nil); c.want == "" && err != nil || c.want != "" && (!errors.As(err, &over) || len(err.Error()) < len(c.want) || err.Error()[:len(c.want)] != c.want) {
				t.Errorf("%v, want %s", err, c.want)
			}
			if used := memory.Used(); used != 0 {
				t.Errorf("%d bytes are still counted", used)
			}
		})
	}
}

// flooded visits a page until a limit ends the tab, or for a second if none should.
func flooded(ctx context.Context, t *testing.T, b *browser.Browser, memory *limit.Memory, url string, limited bool) (err error) {
	tab := opened(ctx, t, b)
	defer func() { _ = tab.Close() }() // it may have ended
	tab.Account(memory)
	fixture.PeakBelow(t, 96<<20, func() {
		err = tab.Go(ctx, url, "")
		for until := time.Now().Add(time.Second); err == nil && (limited || time.Now().Before(until)); {
			_, err = tab.Quiet(ctx, 50*time.Millisecond)
			if err == nil && limited {
				err = tab.Check(ctx)
			}
		}
	})
	return err
}
