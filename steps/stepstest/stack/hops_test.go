//go:build linux

package stack_test

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps/stepstest/stack"
)

// TestWay holds a message in Postfix' queue and wants the time to be the queue's: in the output, on the metric, and in the
// step that limits it.
func TestWay(t *testing.T) {
	s := need(t)
	logs(t, "postfix")
	emptyQueue(t)
	const held = 3 * time.Second
	released := make(chan error, 1)
	go func() { released <- s.Postfix.ReleaseAfter(t.Context(), held) }()
	config := altered(t, func(config *stack.Config) { config.Accounts[alice].SMTP = stack.Holding })
	feature := write(t, "way.feature", "Feature: Way\n  Scenario: Way\n    * "+fmt.Sprintf(send, 587)+"\n    * "+fmt.Sprintf(receive, 993, "15s")+`
    * every hop used TLS
    * it took 2 hops
    * it went through "mail.example.test"
    * it did not go through "mx2"
    * no hop took longer than 10s
    * the queue held it for at most 1s
`)
	code, out := execute(t, stepwatch, "run", "-v", "--config", config, feature)
	if err := <-released; err != nil {
		t.Fatal(err)
	}
	note := regexp.MustCompile(`submission (0\.\d+)s → queue (\d\.\d+)s → inbox ~?(0\.\d+)s\n`).FindStringSubmatch(out)
	metric := regexp.MustCompile(`mail_hop_seconds\{hop="queue"\} (\S+)`).FindStringSubmatch(out)
	if code != 1 || note == nil || metric == nil || !strings.Contains(out, "mail_clock_skew_seconds{hop=\"queue\"} 0\n") {
		t.Fatalf("exit code %d, want 1 and the way:\n%s", code, out)
	}
	t.Log(note[0])
	for _, text := range []string{note[2], metric[1]} {
		if queue, err := strconv.ParseFloat(text, 64); err != nil || queue < held.Seconds() || queue > held.Seconds()+2 {
			t.Errorf("the queue is said to have held it for %s s, and it was held for %s", text, held)
		}
	}
	if inbox, err := strconv.ParseFloat(note[3], 64); err != nil || inbox > 0.5 {
		t.Errorf("the inbox is said to have taken %s s", note[3])
	}
	if want := "queue at holding.example.test took " + note[2] + "s, wanted at most 1s: submission"; !strings.Contains(out, want) || !strings.Contains(out, "reason slow, blame queue") {
		t.Errorf("want %q:\n%s", want, out)
	}
}

// TestWayOverSeveralHosts has the second host keep the message off for two seconds: the first one's queue has it so long.
func TestWayOverSeveralHosts(t *testing.T) {
	s := route(t)
	const off = 2 * time.Second
	s.Greylist(off)
	defer s.Greylist(0)
	feature := write(t, "way.feature", "Feature: Way\n  Scenario: Way\n    * "+sendFar+"\n    * "+readFar+`
    * every hop used TLS
    * it took 4 hops
    * it went through "mx1.example.test"
    * it went through "store"
    * it did not go through "mail.example.test"
    * no hop took longer than 10s
    * the queue held it for at most 10s
`)
	code, out := execute(t, stepwatch, "run", "-v", "--config", filepath.Join(s.Dir, "stepwatch.yml"), feature)
	note := regexp.MustCompile(`submission (0\.\d+)s → queue (\d\.\d+)s → mx1 (0\.\d+)s → store (0\.\d+)s → inbox ~?(0\.\d+)s\n`).FindStringSubmatch(out)
	if code != 0 || note == nil {
		t.Fatalf("exit code %d, want 0 and the way:\n%s", code, out)
	}
	t.Log(note[0])
	if queue, err := strconv.ParseFloat(note[2], 64); err != nil || queue < off.Seconds() || queue > off.Seconds()+5 {
		t.Errorf("the queue is said to have held it for %s s, and the next host kept it off for %s", note[2], off)
	}
}
