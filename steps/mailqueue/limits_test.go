package mailqueue

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps/limit"
)

// endless repeats a text.
type endless struct{ text string }

func (e endless) Read(p []byte) (n int, _ error) {
	for n < len(p) {
		n += copy(p[n:], e.text)
	}
	return n, nil
}

func TestLimits(t *testing.T) {
	many := func(n int64, format string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	const head = "queue_name\x00active\x00queue_id\x00A\x00time\x001\x00size\x001\x00"
	for name, test := range map[string]struct {
		do   func() (*Queue, error)
		want string
	}{
		"as many recipients": {func() (*Queue, error) {
			return parseShowq(strings.NewReader(head + many(recipientLimit.Most, "recipient\x00a%d@x.test\x00") + "\x00\x00"))
		}, ""},
		"many recipients": {func() (*Queue, error) {
			return parseShowq(strings.NewReader(head + many(recipientLimit.Most+1, "recipient\x00a%d@x.test\x00") + "\x00\x00"))
		}, "a message has more than 100000 recipients, the limit"},
		"many destinations": {func() (*Queue, error) {
			return parseShowq(strings.NewReader(many(destinationLimit.Most+1, head+"recipient\x00a@%d.test\x00\x00") + "\x00"))
		}, "the queue has more than 200000 destinations, the limit"},
		"a long name": {func() (*Queue, error) {
			return parseShowq(strings.NewReader(strings.Repeat("x", int(attributeLimit.Most)+1) + "\x00"))
		},
			"a name or value of the answer has more than 65536 bytes, the limit"},
		"an answer without end": {func() (*Queue, error) {
			return parseShowq(&bounded{r: endless{head + "\x00"}, left: 1 << 20})
		}, answerLimit.Exceeded().Error()},
		"a long line": {func() (*Queue, error) { return parsePostqueue([]byte(strings.Repeat("x", int(lineLimit.Most)+1))) }, "a line of the answer has more than 16777216 bytes, the limit"},
		"a long line of Exim": {func() (*Queue, error) {
			return parseExim([]byte(strings.Repeat("x", int(rowLimit.Most)+1)), time.Now())
		}, "a line of exim -bp or smtpctl has more than 65536 bytes, the limit"},
	} {
		_, err := test.do()
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != test.want || err != nil && !errors.As(err, new(*limit.Error)) {
			t.Errorf("%s: got %v, want %s", name, err, test.want)
		}
	}
	l := &lines{take: func([]byte) error { return nil }, most: lineLimit, size: answerLimit.Most}
	if _, err := io.WriteString(l, "x"); err == nil || err.Error() != answerLimit.Exceeded().Error() {
		t.Error(err)
	}
}

// The recipients of a message are counted in linear time: 100,000 at as many domains took seconds.
func TestManyDomainsOfAMessage(t *testing.T) {
	m := &Message{Queue: Active}
	for i := range recipientLimit.Most {
		m.Recipients = append(m.Recipients, Recipient{Address: fmt.Sprintf("a@%d.test", i), Reason: "r"}, Recipient{Address: fmt.Sprintf("b@%d.test", i)})
	}
	q := newQueue(postfixQueues)
	begin := time.Now()
	if err := q.add(m); err != nil || q.Destinations["7.test"].Messages != 1 || len(q.Destinations) != int(recipientLimit.Most) {
		t.Error(err, len(q.Destinations))
	}
	if took := time.Since(begin); took > 2*time.Second {
		t.Error(took)
	}
}

// What remote servers say is kept in part, and is counted.
func TestReasonsAreBounded(t *testing.T) {
	q := newQueue(postfixQueues)
	for i := range 2 * reasonsLimit {
		if err := q.add(&Message{Queue: Active, Recipients: []Recipient{{Address: fmt.Sprintf("a@%d.test", i%300), Reason: fmt.Sprint(i, strings.Repeat("ä", 3000))}}}); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	for _, d := range q.Destinations {
		for reason := range d.reasons {
			if n++; len(reason) > reasonLength {
				t.Fatal(len(reason))
			}
		}
	}
	if n != reasonsLimit || q.Held() < int64(n)*reasonLength {
		t.Error(n, q.Held())
	}
}

// A program's output is read as it comes and not kept.
func TestProgramsAreReadLineByLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "exim")
	message := `25m  2.9K 0t5C6f-0000c8-00 <alice@example.com>\n          a@example.org\n\n`
	script := "#!/bin/sh\ni=0; while [ $i -lt 20000 ]; do printf '" + message + "'; i=$((i+1)); done\n"
	if err := os.WriteFile(path, []byte(script), 0o700); err != nil { //nolint:gosec // it is to be run
		t.Fatal(err)
	}
	q, err := Exim(t.Context(), path)
	if err != nil || q.Messages() != 20000 || q.Waiting("example.org") != 20000 {
		t.Error(q, err)
	}
}

// TestQuotesAreBounded reads queues in which something is not what it must be, and is long. The message says its beginning.
func TestQuotesAreBounded(t *testing.T) {
	long := strings.Repeat("x", 60_000)
	for name, err := range map[string]error{
		"protocol": new(Message).setShowq("protocol", long),
		"time":     new(Message).setShowq("time", long),
		"size":     new(Message).setShowq("size", long),
		"queue":    newQueue(postfixQueues).add(&Message{ID: long, Queue: long}),
	} {
		if !errors.Is(err, ErrFormat) || len(err.Error()) > 400 || !strings.Contains(err.Error(), "xxx…") {
			t.Errorf("%s: %.500v", name, err)
		}
	}
}

// TestNamesAreBounded reads recipients whose addresses are long, in the local part or in the domain. What is kept of them, and
// counted, is little.
func TestNamesAreBounded(t *testing.T) {
	long := strings.Repeat("x", 60_000)
	for name, address := range map[string]string{"local part": long + "@%d.test", "domain": "a@%d" + long} {
		q := newQueue(postfixQueues)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		const n = 500
		for i := range n {
			if err := q.add(&Message{Queue: Active, Recipients: []Recipient{{Address: fmt.Sprintf(address, i)}}}); err != nil {
				t.Fatal(err)
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		if len(q.Destinations) != n || q.Held() > n*500 || int64(after.HeapAlloc)-int64(before.HeapAlloc) > 2<<20 { //nolint:gosec // far smaller
			t.Errorf("%s: %d destinations, %d bytes are counted, %d held", name, len(q.Destinations), q.Held(), int64(after.HeapAlloc)-int64(before.HeapAlloc)) //nolint:gosec // as above
		}
		runtime.KeepAlive(q)
	}
}
