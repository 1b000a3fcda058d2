package hello_test

import (
	"crypto/tls"
	"net"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps/hello"
	"github.com/stepwatch/stepwatch/steps/stepstest"
)

// TestOffer offers versions to crypto/tls servers with different oldest versions.
func TestOffer(t *testing.T) {
	ca, err := stepstest.NewCA("hello test")
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := ca.Issue("old.test")
	if err != nil {
		t.Fatal(err)
	}
	const protocolVersion = 70
	for oldest, answers := range map[uint16]map[uint16]hello.Answer{
		tls.VersionTLS10: {hello.SSL30: {Alert: protocolVersion}, hello.TLS10: {Version: hello.TLS10}, hello.TLS11: {Version: hello.TLS11}, hello.TLS12: {Version: hello.TLS12}},
		tls.VersionTLS12: {hello.SSL30: {Alert: protocolVersion}, hello.TLS10: {Alert: protocolVersion}, hello.TLS11: {Alert: protocolVersion}, hello.TLS12: {Version: hello.TLS12}},
		tls.VersionTLS13: {hello.TLS12: {Alert: protocolVersion}},
	} {
		for version, want := range answers {
			name := ""
			client, server := net.Pipe()
			done := make(chan struct{})
			go func() {
				defer close(done)
				_ = tls.Server(server, &tls.Config{MinVersion: oldest, Certificates: []tls.Certificate{certificate}, //nolint:gosec // the old versions are the subject
					GetConfigForClient: func(asked *tls.ClientHelloInfo) (*tls.Config, error) {
						name = asked.ServerName
						return nil, nil
					}}).Handshake()
				server.Close()
			}()
			_ = client.SetDeadline(time.Now().Add(5 * time.Second))
			got, err := hello.Offer(client, version, "old.test")
			client.Close()
			<-done
			if err != nil || got != want {
				t.Errorf("oldest %#x, offered %#x: got %+v, %v, want %+v", oldest, version, got, err, want)
			}
			if want.Version != 0 && name != "old.test" {
				t.Errorf("the server was asked for %q", name)
			}
		}
	}
}
