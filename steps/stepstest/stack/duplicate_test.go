//go:build linux

package stack_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps/stepstest/stack"
)

// dropAfterDot stands in the place of the MX and hands SMTP on to the store, in clear. The first message's answer it keeps to
// itself and hangs up, so the client cannot know that the store has the message.
func dropAfterDot(t *testing.T) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.2.1:25")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	var once sync.Once
	all.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer client.Close()
				from := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 2, 1)}, Timeout: 5 * time.Second}
				store, err := from.Dial("tcp", "127.0.3.1:25")
				if err != nil {
					t.Error(err)
					return
				}
				defer store.Close()
				end := time.Now().Add(30 * time.Second)
				if err := client.SetDeadline(end); err != nil {
					t.Error(err)
				}
				if err := store.SetDeadline(end); err != nil {
					t.Error(err)
				}
				all.Go(func() {
					_, _ = io.Copy(store, client) // either end may hang up
					store.Close()
				})
				for lines := bufio.NewScanner(store); lines.Scan(); {
					line := lines.Text()
					drop := false
					if strings.Contains(line, "queued as") {
						once.Do(func() { drop = true })
					}
					if drop {
						return
					}
					line = strings.Replace(line, "250-STARTTLS", "250-NOOP", 1)
					if _, err := fmt.Fprintf(client, "%s\r\n", line); err != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		all.Wait()
	})
}

// TestMessageThatArrivesTwice loses the answer to a message between two Postfixes: the first sends it again, and the mailbox
// has it twice.
func TestMessageThatArrivesTwice(t *testing.T) {
	s := route(t)
	down(t, s.MX.Server)
	dropAfterDot(t)
	config := filepath.Join(s.Dir, "stepwatch.yml")
	once := "it arrived once"
	line := check(t, config, sendFar+"\n"+readFar+"\n"+once, outcome{once, "unexpected", "transfer"})
	if !strings.Contains(line, "there are 2 copies of the message in dave's INBOX") || strings.Count(line, "UID ") != 2 {
		t.Errorf("not both copies are named: %s", line)
	}
	if left := mailbox(t, stack.Dave); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	passes(t, config, sendFar, readFar, once)
}
