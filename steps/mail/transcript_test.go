package mail

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stepwatch/stepwatch/steps"
)

func TestTranscript(t *testing.T) {
	var log transcript
	log.client("SELECT INBOX")
	log.server("T1 OK done\x1b[2J")
	for i := range 5 {
		log.client("NOOP")
		log.server(fmt.Sprintf("T%d OK done", i+2))
	}
	log.client("NOOP")
	log.server("* 1 EXISTS")
	log.server("T7 OK done")
	log.client("NOOP")
	w := steps.NewWorld(&steps.Target{}, nil, "run", "scenario")
	log.Attach(w, "imap transcript")
	const want = `C: SELECT INBOX
S: T1 OK done?[2J
C: NOOP [after 5 without news]
S: * 1 EXISTS
S: T7 OK done
C: NOOP
`
	if got := string(w.TakeReport().Evidence[0].Body); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	for i := range 1000 {
		log.server(fmt.Sprint("line ", i))
	}
	log.Attach(w, "imap transcript")
	got := strings.Split(string(w.TakeReport().Evidence[0].Body), "\n")
	if len(got) != transcriptHead+transcriptTail+2 || got[transcriptHead] != "[886 lines omitted]" || got[len(got)-2] != "S: line 999" {
		t.Errorf("%d lines, %q, …, %q", len(got), got[transcriptHead], got[len(got)-2])
	}
}
