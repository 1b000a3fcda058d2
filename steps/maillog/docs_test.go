package maillog

import (
	"os"
	"strings"
	"testing"
	"time"
)

// TestDocumentedWordings reads the lines of docs/maillog.md: each is the event that stands beside it.
func TestDocumentedWordings(t *testing.T) {
	page, err := os.ReadFile("../../docs/maillog.md")
	if err != nil {
		t.Fatal(err)
	}
	heading, rows := "", 0
	documented := make(map[Kind]bool)
	for line := range strings.Lines(string(page)) {
		line = strings.TrimSpace(line)
		if title, ok := strings.CutPrefix(line, "## "); ok {
			heading = title
		}
		cells := strings.Split(strings.Trim(line, "|"), " | ")
		if len(cells) < 3 || !strings.HasPrefix(line, "| `") || strings.HasPrefix(heading, "Which") {
			continue
		}
		rows++
		kind, sample := Kind(strings.Trim(cells[0], " `")), strings.Trim(cells[1], " `")
		documented[kind] = true
		at := "Nov 30 08:00:00 mail "
		p := NewParser(corpusTime, time.UTC)
		if heading == "Exim" {
			at = "2026-11-30 08:00:00 "
			p.exim = true
		}
		e, class := p.Parse(at + sample)
		if class != ClassMail || e.Kind != kind {
			t.Errorf("%s: class %d, %s, wanted %s: %s", heading, class, e.Kind, kind, sample)
		}
		if kind == KindUnknown && e.May == 0 {
			t.Errorf("%s: no subject depends on it: %s", heading, sample)
		}
	}
	if rows < 100 {
		t.Errorf("only %d rows were found", rows)
	}
	for _, kind := range []Kind{KindSent, KindDeferred, KindBounced, KindExpired, KindHandedOver, KindSkipped, KindDiscarded, KindRejected, KindLoginRefused, KindLoginUnjudged, KindLoginIncomplete, KindAuthDown,
		KindLogin, KindSession, KindSubmitted, KindReceived, KindTLS, KindConnected, KindSigned, KindUnknown, KindOther} {
		if !documented[kind] {
			t.Errorf("no line of %s", kind)
		}
	}
}
