package steps

import (
	"context"
	"net"
	"path"
	"strconv"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
)

func init() {
	Register(Definition{
		Area: "mail", Sentence: `I deliver a message to {account} over LMTP via {text}`,
		Does: "Delivers a test message from the account to itself to a mail store over LMTP (RFC 2033), at a host and port or at a socket's path, without any server before it: " +
			"does the store itself accept mail? There is no login." + anyTLSDoes + " Fails on the first unexpected answer. " +
			"The text, the table and the removal of the message are the same as for \"I send a message\".",
		Measures:  "From the connection to the end of the dialogue, with the phases of a message on port 25." + anyTLSMeasures,
		Table:     Optional,
		DocString: Optional,
		Example:   `When I deliver a message to "bob" over LMTP via "store.example.org:24"`,
		Func:      deliverLMTP,
	})
}

// deliverLMTP runs "I deliver a message … over LMTP".
func deliverLMTP(ctx context.Context, w *World, a Args) error {
	start := time.Now()
	account, err := w.target.Account(a.Text(0))
	if err != nil {
		return err
	}
	c := &smtpClient{w: w, blame: result.BlameDelivery, account: account, lmtp: true, server: a.Text(1), anyTLS: true, tellTLS: true}
	if !path.IsAbs(c.server) {
		host, port, err := w.serverAddress(c.server)
		if err != nil {
			return err
		}
		c.host, c.server = host, net.JoinHostPort(host, strconv.Itoa(port))
	}
	return c.send(ctx, account, account, a, start, "lmtp transcript")
}

// connect opens the connection, to a socket of this machine when the server is a path.
func (c *smtpClient) connect(ctx context.Context) (conn net.Conn, err error) {
	if !path.IsAbs(c.server) {
		return c.w.dial(ctx, c.server, c.blame, c.route)
	}
	err = c.w.Timed("connect", func() (string, error) {
		var err error
		conn, err = dialer.DialContext(ctx, "unix", c.server)
		return "", err
	})
	if err != nil {
		return nil, FailNet(ctx, err, c.blame, "connect to "+c.server)
	}
	return conn, nil
}
