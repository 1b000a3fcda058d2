//go:build linux

package stack

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"
)

// greylist is a policy server of Postfix (SMTPD_POLICY_README) that greylists when it is told to.
type greylist struct {
	listener net.Listener
	end      context.CancelFunc
	all      sync.WaitGroup

	mutex sync.Mutex
	delay time.Duration
	first map[string]time.Time // of a sender and recipient
}

// startGreylist serves until close, even when ctx ends before.
func startGreylist(ctx context.Context, address string) (*greylist, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	ctx, end := context.WithCancel(context.WithoutCancel(ctx))
	g := &greylist{listener: listener, end: end}
	g.all.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			g.all.Go(func() { g.serve(ctx, conn) })
		}
	})
	return g, nil
}

func (g *greylist) set(delay time.Duration) {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	g.delay, g.first = delay, map[string]time.Time{}
}

// serve answers the questions of one connection, which Postfix keeps. A question is lines of name=value and an empty one.
func (g *greylist) serve(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
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

func (g *greylist) close() error {
	err := g.listener.Close()
	g.end()
	g.all.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
