//go:build linux

package stack

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"
)

// greylist is a policy server of Postfix (SMTPD_POLICY_README) that greylists when it is told to.
type greylist struct {
	*acceptor

	mutex sync.Mutex
	delay time.Duration
	first map[string]time.Time // of a sender and recipient
}

func startGreylist(ctx context.Context, address string) (*greylist, error) {
	g := &greylist{}
	var err error
	g.acceptor, err = accept(ctx, address, g.serve)
	return g, err
}

func (g *greylist) set(delay time.Duration) {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	g.delay, g.first = delay, map[string]time.Time{}
}

// serve answers the questions of one connection, which Postfix keeps. A question is lines of name=value and an empty one.
func (g *greylist) serve(_ context.Context, conn net.Conn) {
	question := map[string]string{}
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		if name, value, found := strings.Cut(lines.Text(), "="); found {
			question[name] = value
			continue
		}
		if _, err := fmt.Fprintf(conn, "action=%s\n\n", g.judge(question["sender"], question["recipient"])); err != nil {
			return
		}
		clear(question)
	}
}

func (g *greylist) judge(sender, recipient string) string {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	pair := sender + " " + recipient
	first, known := g.first[pair]
	switch {
	case g.delay == 0, known && time.Since(first) >= g.delay:
		return "DUNNO"
	case !known:
		g.first[pair] = time.Now()
	}
	return "450 4.2.0 Greylisted"
}
