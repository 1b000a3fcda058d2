package maillog

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestNoLineIsHeld counts what lines of 60 KB say. A part of a line that is kept does not keep the line in memory.
func TestNoLineIsHeld(t *testing.T) {
	now := time.Now()
	// of returns a part of a long line.
	of := func(text string) string {
		line := text + strings.Repeat("x", 60_000)
		return line[:len(text)]
	}
	for name, count := range map[string]func(c *counts, i int){
		"a user": func(c *counts, i int) {
			c.used(Event{User: of(fmt.Sprint("u", i)), Local: of("192.0.2.1"), Client: of("192.0.2.2"), Time: now, Count: 1})
		},
		"a client": func(c *counts, i int) {
			c.used(Event{User: "u" + fmt.Sprint(i), Client: of("192.0.2.2"), Time: now.Add(time.Duration(i)), Count: 1})
		},
		"a session": func(c *counts, i int) { c.secured(of(fmt.Sprint("smtpd", i)), of("mx.example.org")) },
		"a tally":   func(c *counts, i int) { c.at(now).Refused = tally(c.at(now).Refused, of(fmt.Sprint(i)), 1, 1000) },
		"a daemon": func(c *counts, i int) {
			c.unread(Event{Daemon: of(fmt.Sprint("d", i)), Time: now, Count: 1}, of("a line"), false)
		},
		"a fault": func(c *counts, i int) {
			c.fault(Event{Service: of(fmt.Sprint("auth", i)), Reply: of("down"), Time: now})
		},
		"a product": func(c *counts, i int) { c.seen(of(fmt.Sprint("product", i))) },
	} {
		c := &counts{}
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for i := range 300 {
			count(c, i)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		if held := int64(after.HeapAlloc) - int64(before.HeapAlloc); held > 1<<20 { //nolint:gosec // far smaller
			t.Errorf("%s: %d bytes are held", name, held)
		}
		runtime.KeepAlive(c)
	}
}
