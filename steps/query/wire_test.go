package query

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

// packet reads a packet of MySQL.
func packet(t *testing.T, r io.Reader) (number byte, body string) {
	t.Helper()
	head := make([]byte, 4)
	if _, err := io.ReadFull(r, head); err != nil {
		t.Error(err)
		return 0, ""
	}
	text := make([]byte, int(head[0])|int(head[1])<<8|int(head[2])<<16)
	if _, err := io.ReadFull(r, text); err != nil {
		t.Error(err)
	}
	return head[3], string(text)
}

// TestMySQLOverTLS logs in to a server over TLS that changes the plugin in the middle of the login. It checks the numbers of
// the packets, and that sha256_password gets the password itself, which its server expects over TLS.
func TestMySQLOverTLS(t *testing.T) {
	ca := fixture.Must(stepstest.NewCA("test"))(t)
	roots := fixture.Must(ca.Roots())(t)
	own := fixture.Must(ca.Issue("db.example.test"))(t)
	greeting := func(plugin string, capabilities byte) []byte {
		return my(0, []byte("\x0a8.0.40\x00\x01\x00\x00\x00"), []byte("01234567\x00"), []byte{0, capabilities, 45, 2, 0, 8, 0, 21}, make([]byte, 10), []byte("89abcdefghij\x00"), []byte(plugin+"\x00"))
	}
	const offersTLS, offersNone = 0x8a, 0x82 // of clientSSL in the second byte
	for _, c := range []struct {
		name, plugin, switched string
		capabilities           byte
		wants                  string // the answer to the switch
		roots                  bool
		fault                  string
	}{
		{"the default plugin changes", "caching_sha2_password", "sha256_password", offersTLS, "open sesame\x00", true, "the login was refused: done (1045)"},
		{"the default is sha256_password", "sha256_password", "sha256_password", offersTLS, "open sesame\x00", true, "the login was refused: done (1045)"},
		{"no TLS", "mysql_native_password", "", offersNone, "", true, ErrNoTLS.Error()},
		{"another authority", "mysql_native_password", "", offersTLS, "", false, "certificate signed by unknown authority"},
	} {
		t.Run(c.name, func(t *testing.T) {
			address := fixture.Connections(t, func(conn net.Conn) {
				_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
				_, _ = conn.Write(greeting(c.plugin, c.capabilities))
				if c.capabilities == offersNone {
					_, _ = io.Copy(io.Discard, conn)
					return
				}
				if number, request := packet(t, conn); number != 1 || len(request) != 32 || request[1]&8 == 0 {
					t.Errorf("the request of TLS is packet %d, %q", number, request)
				}
				secure := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{own}})
				if err := secure.Handshake(); err != nil {
					return // by the client
				}
				if number, response := packet(t, secure); number != 2 || !strings.Contains(response, "reader\x00") || response[1]&8 == 0 {
					t.Errorf("the response is packet %d, %q", number, response)
				}
				_, _ = secure.Write(my(3, []byte("\xfe"+c.switched+"\x00"), []byte("0123456789abcdefghij\x00")))
				if number, said := packet(t, secure); number != 4 || said != c.wants {
					t.Errorf("packet %d is %q, want %q", number, said, c.wants)
				}
				_, _ = secure.Write(my(5, []byte{0, 0, 0, 2, 0, 0, 0}))
				if number, query := packet(t, secure); number != 0 || !strings.Contains(query, "SELECT VERSION()") {
					t.Errorf("packet %d is %q", number, query)
				}
				_, _ = secure.Write(my(1, []byte("\xff\x15\x04#28000done")))
			})
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			config := &tls.Config{ServerName: "db.example.test", RootCAs: roots, MinVersion: tls.VersionTLS12}
			if !c.roots {
				config.RootCAs = x509.NewCertPool()
			}
			server := &Server{MySQL: true, Address: address, User: "reader", Password: "open sesame", TLS: config,
				Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
					return new(net.Dialer).DialContext(ctx, network, address)
				}}
			if _, err := server.Run(ctx, "SELECT 1"); err == nil || !strings.Contains(err.Error(), c.fault) {
				t.Errorf("%v, want %s", err, c.fault)
			}
		})
	}
}
