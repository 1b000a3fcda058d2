package mail_test

import (
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

// heapPeak returns by how much the heap grows while do runs: the live bytes, sampled, with a collector that runs often.
func heapPeak(do func()) (grown int64) {
	defer debug.SetGCPercent(debug.SetGCPercent(20))
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	used := func() int64 {
		metrics.Read(sample)
		return int64(sample[0].Value.Uint64()) //nolint:gosec // no machine has as much
	}
	debug.FreeOSMemory()
	before, end := used(), make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		for {
			select {
			case <-end:
				return
			case <-time.After(500 * time.Microsecond):
				grown = max(grown, used()-before)
			}
		}
	})
	do()
	close(end)
	watch.Wait()
	return grown
}

// A server that sends without end within its protocol is cut off early, with the blame on it and bounded memory.
func TestFloods(t *testing.T) {
	const (
		send = `When I send a message from "alice" to "carol" via 25`
		imap = "TLS\nS: * PREAUTH [CAPABILITY IMAP4rev1 LIST-STATUS] you are bob\n"
		open = imap + "C: @ EXAMINE\nS: * 1 EXISTS\nS: * OK [UIDNEXT 2] x\nS: @ OK done\n"
		pop3 = "TLS\nS: +OK hi\nC: CAPA\nS: -ERR no\nC: USER\nS: +OK\nC: PASS\nS: +OK\nC: CAPA\nS: -ERR no\n"
		read = `Then "bob" receives it over POP3 within 5s`
	)
	for _, test := range []struct {
		name, port, script, step, want string
		memory                         int64 // limit of the run; 0 is the default
	}{
		{"SMTP: one line (replyLineLimit)", "25", "flood 220 hello", send, `too_large submission: the greeting at .*: a line of the reply has more than 4096 bytes, the limit: is an SMTP server on that port\?`, 0},
		{"SMTP: lines of a greeting (replyLinesLimit)", "25", `flood 220-hello\n`, send, `too_large submission: the greeting at .*: the reply has more than 200 lines, the limit: is an SMTP server on that port\?`, 0},
		{"SMTP: extensions", "25", "S: 220 hi\nC: EHLO\n" + `flood 250-X-A\n`, send, `too_large submission: EHLO at .*: the reply has more than 200 lines, the limit`, 0},
		{"SMTP: answer to the message", "25", untilData + "C*\n" + `flood 250-stored\n`, send, `too_large submission: no answer to the message from .*, which may have taken it: the reply has more than 200 lines, the limit`, 0},
		{"IMAP: greeting", "993", "TLS\nflood * OK x", `Then the mailbox of "bob" is less than 90 % full`, `too_large access: the greeting of .*: a line of the answer has more than 1048576 bytes, the limit: is an IMAP server on that port\?`, 0},
		{"IMAP: responses", "993", imap + "C: @ SELECT\n" + `flood * OK x\n`, `Then the mailbox of "bob" is less than 90 % full`, `too_large access: SELECT in .*: the answer to one command has more than 200000 responses, the limit`, 0},
		{"IMAP: folders", "993", open + "C: @ LIST\n" + `flood * LIST () NIL a\n`, `Then the oldest message in the folder "x" of "bob" is younger than 2 hours`, `too_large access: LIST in .*: the list of folders has more than 50000 folders, the limit`, 0},
		{"IMAP: bytes", "993", open + "C: @ LIST\n" + `flood * X xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n`, `Then the oldest message in the folder "x" of "bob" is younger than 2 hours`,
			`too_large access: LIST in .*: the answer to one command has more than 9437184 bytes, the limit; limits.message in stepwatch.yml raises it`, 0},
		{"IMAP: flags", "993", open + "C: @ LIST\n" + `flood * LIST (\a \b \c \d \e \f \g \h \i \j \k \l \m \v \o \p \q \r \s \t) NIL a\n`, `Then the oldest message in the folder "x" of "bob" is younger than 2 hours`,
			`too_large access: LIST in .*: what the run has read has [0-9]+ bytes, the limit is 4000000; limits.memory in stepwatch.yml raises it`, 4_000_000},
		{"POP3: one line (pop3LineLimit)", "995", "TLS\nflood +OK hi", read, `too_large access: the greeting at .*: a line of the answer has more than 65536 bytes, the limit`, 0},
		{"POP3: list", "995", pop3 + "C: UIDL\nS: +OK\n" + `flood 1 x\n`, read, `too_large access: UIDL at .*: what the run has read has [0-9]+ bytes, the limit is 67108864; limits.memory in stepwatch.yml raises it`, 0},
		{"POP3: long list (pop3SessionLimit)", "995", pop3 + "C: UIDL\nS: +OK\n" + `flood 1 xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n`, read,
			`too_large access: UIDL at .*: the server's part of one session has more than 16777216 bytes, the limit; limits.message in stepwatch.yml raises it`, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			scripts := map[string]string{"25": takesMail}
			scripts[test.port] = test.script
			bed := scripted(t, scripts)
			bed.Target.Set(steps.Limits{Memory: test.memory})
			bed.Target.Accounts["bob"].POP3 = "mail.demo.test"
			text := test.step
			if strings.Contains(text, "POP3") {
				bed.Target.Accounts["bob"].IMAP = ""
				text = strings.ReplaceAll(send, "carol", "bob") + "\n" + text
			}
			var outcome *stepstest.Outcome
			begin := time.Now()
			grown := heapPeak(func() { outcome = bed.Run(t, 8*time.Second, text) })
			outcome.Close = nil // the mail of a mailbox that floods stays there
			fixture.FailedAs(t, outcome, test.want)
			t.Logf("%.1f MB in %s", float64(grown)/(1<<20), time.Since(begin).Round(time.Millisecond))
			most := int64(96 << 20)
			if test.memory > 0 {
				most = 3 * test.memory
			}
			if grown > most {
				t.Errorf("the heap grew by %d bytes", grown)
			}
			if took := time.Since(begin); took > 5*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}
