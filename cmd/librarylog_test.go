package cmd

import (
	"bytes"
	"log"
	"strings"
	"testing"
)

func TestLogWithoutTransport(t *testing.T) {
	var kept bytes.Buffer
	logger := log.New(withoutTransport{&kept}, "", log.LstdFlags)
	logger.Printf("Unsolicited response received on idle HTTP channel starting with %q; err=%v", "secret", nil)
	logger.Printf("http2: Transport received unsolicited DATA frame; closing connection")
	logger.Printf("protocol error: received DATA after END_STREAM")
	logger.Print("a team's own step says http2: something")
	logger.Print("x")
	if got := kept.String(); strings.Count(got, "\n") != 2 || !strings.Contains(got, "own step") || strings.Contains(got, "secret") {
		t.Errorf("got %q", got)
	}
	if _, ours := log.Writer().(withoutTransport); !ours {
		t.Error("the log of the program is not filtered")
	}
}
