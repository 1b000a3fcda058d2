package imapclient

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Reading an answer is linear in its size, whatever it consists of: four times the bytes never take sixteen times as long.
func TestReadingIsLinear(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const size = (1 << 20) / 128
	read := func(call int, begin, piece string, size int) time.Duration {
		said := begin + strings.Repeat(piece, size/len(piece)) + "\r\ns1 OK\r\n"
		best := time.Hour
		for range 3 { // the least, because the collector of garbage may run in this thread
			start := threadTime(t)
			_ = calls[call](t.Context(), New(recorded{Reader: strings.NewReader(said)}, nil))
			best = min(best, threadTime(t)-start)
		}
		return best
	}
	for name, piece := range map[string]string{
		"braces": "{ ", "tildes": "~{1} ", "quotes": "\" ", "escaped quotes": "\\\" ", "parentheses": "(", "closed": ") ", "pairs": "()", "items": " UID FLAGS (",
		"sections": " BODY[ ", "quoted sections": " BODY[\"", "flags": " FLAGS (\"", "names": "&", "encoded": "&AP8-", "commas": "1,", "blanks": " ", "brackets": "]",
	} {
		for begin, call := range map[string]int{"* 1 FETCH (": 0, "* 1 FETCH (FLAGS (": 0, "* SEARCH ": 1, "* ESEARCH UID ALL ": 1, "* LIST (": 2, "* LIST () NIL ": 2,
			"* OK [": 3, "* STATUS a (": 4, "* NAMESPACE (": 5, "* QUOTA \"\" (": 6} {
			small, large := read(call, begin, piece, size), read(call, begin, piece, 4*size)
			if large > 12*small && large > 30*time.Millisecond {
				t.Errorf("%s of %s: %s, and four times as much %s", begin, name, small, large)
			}
		}
	}
}

// threadTime returns the time that the processor has spent on this thread: what other programs do beside it does not count.
func threadTime(t *testing.T) time.Duration {
	t.Helper()
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
