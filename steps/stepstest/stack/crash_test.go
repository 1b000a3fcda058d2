//go:build linux

package stack_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps/stepstest/stack"
)

// crashes are the scenarios that are killed: with a reader, without one, with a message that is filed as spam, with one that
// comes back, and with one that is filed into another folder. The cleanup looks for a message that is not in the INBOX for two
// seconds, so all but the first two are killed less often.
const crashes = `Feature: Crashes
  Scenario: Read
    When I send a message from "alice" to "bob" via 587
    Then "bob" receives it over IMAP within 20s
  Scenario: Not read
    When I send a message from "alice" to "carol" via 465
  Scenario: Spam
    When I send a message from "alice" to "bob" via 587
      | X-Spam-Flag | YES |
  Scenario: Returned
    When I send a message from "alice" to "full" via 587
    Then "alice" receives a bounce within 20s
  Scenario: Filed
    When I send a message from "alice" to "bob" via 587
      | Subject | a test [filtered] |
`

// TestKilledRunsLeaveNothing kills runs at random moments. When the scenario's next run has ended, no mailbox holds a
// message of it. Half of the next runs begin at once; when such a one even ends before Postfix has delivered what the
// killed run handed over, the run after it is the one that counts. STEPWATCH_CRASHES says how many are killed; a thousand
// take some eight minutes.
func TestKilledRunsLeaveNothing(t *testing.T) {
	s := need(t)
	logs(t, "postfix", "dovecot")
	kills := 30
	if n, err := strconv.Atoi(os.Getenv("STEPWATCH_CRASHES")); err == nil {
		kills = n
	}
	if err := s.Fill(stack.Full, 20, 1<<10); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Empty(stack.Full); err != nil {
			t.Error(err)
		}
	}()
	feature := write(t, "crashes.feature", crashes)
	config := filepath.Join(s.Dir, "stepwatch.yml")
	scenario := func(line int) []string {
		return []string{"run", "--config", config, fmt.Sprintf("%s:%d", feature, line)}
	}
	took := map[int]time.Duration{}
	killed, left, overtaken := 0, 0, 0
	again := func(line int, moment time.Duration) {
		if code, out := execute(t, stepwatch, scenario(line)...); code != 0 {
			t.Fatalf("after a kill at %s: exit code %d:\n%s", moment, code, out)
		}
	}
	for i := range kills {
		line := []int{2, 5}[i%2]
		switch i % 20 {
		case 9:
			line = 8
		case 8, 19:
			line = 11
		case 5:
			line = 14
		}
		if took[line] == 0 {
			start := time.Now()
			if code, out := execute(t, stepwatch, scenario(line)...); code != 0 {
				t.Fatalf("exit code %d:\n%s", code, out)
			}
			took[line] = min(time.Since(start), 200*time.Millisecond)
		}
		cmd := exec.Command(stepwatch, scenario(line)...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		moment := rand.N(took[line])
		time.Sleep(moment)
		_ = cmd.Process.Kill() // it may have ended by itself
		if cmd.Wait() != nil {
			killed++
		}
		if i%4 < 2 {
			settle(t)
			left += len(testMail(t))
		}
		again(line, moment)
		if i%4 >= 2 {
			if settle(t); len(testMail(t)) > 0 {
				overtaken++
				again(line, moment)
			}
		}
		if still := testMail(t); len(still) > 0 {
			t.Fatalf("line %d, killed after %s: left behind: %q", line, moment, still)
		}
	}
	t.Logf("%d of %d runs were killed in time; those that were waited for left %d messages, and the next runs none; %d next runs ended before the mail came",
		killed, kills, left, overtaken)
	if killed < kills/4 {
		t.Errorf("only %d of %d runs were killed before their end", killed, kills)
	}
}

// settle waits until no Postfix has anything to deliver or on hold, not even a message that it is just being given.
func settle(t *testing.T) {
	t.Helper()
	empty := 0
	defer func() {
		if empty < 2 {
			t.Logf("it waits in %q", undelivered(t))
		}
	}()
	eventually(t, 20*time.Second, "Postfix has delivered everything", func() bool {
		empty++
		if len(undelivered(t)) > 0 {
			empty = 0
		}
		return empty == 2 // a bounce comes into the queue that was looked into first
	})
}

// undelivered lists the files of the messages in the queues of all Postfixes.
func undelivered(t *testing.T) []string {
	t.Helper()
	var files []string
	for _, instance := range []string{"postfix", "route/*"} {
		for _, queue := range []string{"incoming/*", "active/*", "deferred/*/*", "hold/*"} {
			found, err := filepath.Glob(filepath.Join(servers.Dir, instance, "queue", queue))
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, found...)
		}
	}
	return files
}

// testMail lists the messages of ours in all folders of all mailboxes.
func testMail(t *testing.T) []string {
	t.Helper()
	var ours []string
	for _, path := range delivered(t) {
		// One that is removed meanwhile is not there.
		if content, err := os.ReadFile(path); err == nil && strings.Contains(string(content), "\nX-Stepwatch-Run: ") {
			ours = append(ours, path)
		}
	}
	return ours
}
