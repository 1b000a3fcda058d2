//go:build linux

package stack_test

import (
	"path/filepath"
	"testing"

	"github.com/stepwatch/stepwatch/steps/stepstest/stack"
)

// TestSentencesAlongTheRoute says of a message that went through three hosts what a scenario can say.
func TestSentencesAlongTheRoute(t *testing.T) {
	s := route(t)
	config := filepath.Join(s.Dir, "stepwatch.yml")
	passes(t, config, sendFar, readFar, "every hop used TLS", "no hop took longer than 5s", "the queue held it for at most 5s", "it took 4 hops")
	check(t, config, sendFar+"\n"+readFar+"\nit took 1 hops", outcome{"it took 1 hops", "unexpected", "transfer"})
}

// TestSentencesAboutFolders has Sieve file a message, and a neighbour's that it leaves alone.
func TestSentencesAboutFolders(t *testing.T) {
	s := need(t)
	config := filepath.Join(s.Dir, "stepwatch.yml")
	passes(t, config, `I send a message from "alice" to "`+stack.Bob+`" via 587`+"\n      | X-Spam-Flag | YES |", `"bob" receives it in the folder "Junk" over IMAP within 10s`)
	passes(t, config, `I send a message from "alice" to "bob" via 587`, `"bob" receives it over IMAP within 10s`, "it is in the inbox", "it arrived once", "it is not in the spam folder")
}
