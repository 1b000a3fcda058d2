package cmd

import (
	"bytes"
	"io"
	"log"
	"os"
)

func init() { log.SetOutput(withoutTransport{os.Stderr}) }

// withoutTransport passes on what is written to the log of package log, but not what the client of net/http writes there about
// a server that breaks the rules: the failure of the step says it, and the log would have bytes of the server in it, with
// secrets that it may have echoed.
type withoutTransport struct{ to io.Writer }

// transportLines are the beginnings of those messages.
var transportLines = [][]byte{[]byte("Unsolicited response received on idle HTTP channel"), []byte("http2: "), []byte("Transport: "), []byte("protocol error: ")}

// Write drops or passes on a message. Each call has one message, after date and time.
func (w withoutTransport) Write(message []byte) (int, error) {
	const stamp = len("2006/01/02 15:04:05 ")
	if len(message) > stamp {
		for _, begin := range transportLines {
			if bytes.HasPrefix(message[stamp:], begin) {
				return len(message), nil
			}
		}
	}
	return w.to.Write(message)
}
