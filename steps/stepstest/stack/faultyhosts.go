//go:build linux

package stack

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/steps/lifeline"
)

// BannerDelay is how long the host SlowBanner lets a client wait for its greeting.
const BannerDelay = time.Second

// startFaultyHosts serves the hosts whose faults no real server can be told to have.
func (s *Stack) startFaultyHosts(ctx context.Context) error {
	for _, f := range []struct {
		host, port string
		serve      func(context.Context, net.Conn)
	}{
		{Dropping, "25", until(Dropping, firstLine)},
		{AfterDot, "25", until(AfterDot, wholeMessage)},
		{Stalling, "25", until(Stalling, nothing)},
		{SlowBanner, "25", lateTo("127.0.0.1:25")},
		{SlowBanner, "587", lateTo("127.0.0.1:587")},
	} {
		a, err := accept(ctx, net.JoinHostPort(s.find(f.host)[0].IP, f.port), f.serve)
		if err != nil {
			return err
		}
		s.faulty = append(s.faulty, a)
	}
	return nil
}

// until agrees to everything up to a message, has take read what it wants of that, and then closes the connection.
func until(name string, take func(ctx context.Context, message *bufio.Scanner)) func(context.Context, net.Conn) {
	return func(ctx context.Context, conn net.Conn) {
		answer := "220 " + name + " ESMTP"
		for lines := bufio.NewScanner(conn); ; {
			if _, err := fmt.Fprintf(conn, "%s\r\n", answer); err != nil || strings.HasPrefix(answer, "221") {
				return
			}
			if strings.HasPrefix(answer, "354") {
				take(ctx, lines)
				return
			}
			if !lines.Scan() {
				return
			}
			switch verb, _, _ := strings.Cut(strings.ToUpper(lines.Text()), " "); verb {
			case "DATA":
				answer = "354 go on"
			case "QUIT":
				answer = "221 bye"
			default:
				answer = "250 " + name
			}
		}
	}
}

func firstLine(_ context.Context, message *bufio.Scanner) { message.Scan() }

func wholeMessage(_ context.Context, message *bufio.Scanner) {
	for message.Scan() && message.Text() != "." {
		continue
	}
}

func nothing(ctx context.Context, _ *bufio.Scanner) { <-ctx.Done() }

// lateTo connects a client with a good server, after BannerDelay.
func lateTo(server string) func(context.Context, net.Conn) {
	return func(ctx context.Context, client net.Conn) {
		select {
		case <-time.After(BannerDelay):
		case <-ctx.Done():
			return
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", server)
		if err != nil {
			return
		}
		defer conn.Close()
		defer lifeline.BindClosing(ctx, conn).Release()
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			_, _ = io.Copy(conn, client) // either end may hang up
			conn.Close()
		}()
		_, _ = io.Copy(client, conn)
		client.Close()
		<-sent
	}
}
