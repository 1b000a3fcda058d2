package mail

import (
	"context"
	"net"
	"path"
	"strconv"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
)

func init() {
	steps.Register(steps.Definition{
		Area: "mail", Sentence: `I deliver a message to {account} over LMTP via {text}`,
		Does: "Delivers a test message from the account to itself to a mail store over LMTP (RFC 2033), at a host and port or at a socket's path, without any server before it: " +
			"does the store itself accept mail? There is no login." + anyTLSDoes + " Fails on the first unexpected answer. " +
			"The text, the table and the removal of the message are the same as for \"I send a message\".",
		Measures:  "From the connection to the end of the dialogue, with the phases of a message on port 25." + anyTLSMeasures,
		Table:     steps.Optional,
		DocString: steps.Optional,
		Example:   `When I deliver a message to "bob" over LMTP via "store.example.org:24"`,
		Func:      deliverLMTP,
	})
}

// deliverLMTP runs "I deliver a message … over LMTP".
func deliverLMTP(ctx context.Context, w *steps.World, a steps.Args) error {
	start := time.Now()
	account, err := w.Target().Account(a.Text(0))
	if err != nil {
		return err
	}
	c := &SMTPClient{World: w, Blame: result.BlameDelivery, account: account, lmtp: true, Server: a.Text(1), AnyTLS: true, tellTLS: true}
	if !path.IsAbs(c.Server) {
		host, port, err := w.ServerAddress(c.Server)
		if err != nil {
			return err
		}
		c.Host, c.Server = host, net.JoinHostPort(host, strconv.Itoa(port))
	}
	return c.send(ctx, account, account, a, start, "lmtp transcript")
}

// connect opens the connection, to a socket of this machine when the server is a path.
func (c *SMTPClient) connect(ctx context.Context) (conn net.Conn, err error) {
	if !path.IsAbs(c.Server) {
		return c.World.DialRoute(ctx, c.Server, c.Blame, c.route)
	}
	err = c.World.Timed("connect", func() (string, error) {
		var err error
		conn, err = steps.Dialer.DialContext(ctx, "unix", c.Server)
		return "", err
	})
	if err != nil {
		return nil, steps.FailNet(ctx, err, c.Blame, "connect to "+c.Server)
	}
	c.World.Connections().Hold(conn)
	return conn, nil
}
