package sshclient

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/stepwatch/stepwatch/steps/limit"
	"github.com/stepwatch/stepwatch/steps/program"
	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open logs in to a server whose line of known_hosts is known.
func open(ctx context.Context, t *testing.T, address, known string) (*Client, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "known_hosts")
	if err := os.WriteFile(file, []byte(known), 0o600); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return Open(ctx, conn, Login{Address: address, User: "monitor", Password: "open sesame", KnownHosts: []string{file}})
}

// wantLimit fails the test unless err is that of a limit.
func wantLimit(t *testing.T, err error, want limit.Limit) {
	t.Helper()
	if over := (*limit.Error)(nil); !errors.As(err, &over) || over.Limit != want {
		t.Errorf("%v, want the limit of %s of %s", err, want.Unit, want.What)
	}
}

// TestFloodedLogin logs in to servers whose login never ends: they ask again and again, say more and more, or ask everything
// at once.
func TestFloodedLogin(t *testing.T) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	host, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name        string
		instruction int // its length
		questions   int
		want        limit.Limit
	}{
		{"asks again and again", 0, 1, questionsLimit},
		{"asks nothing again and again", 0, 0, questionsLimit},
		{"asks much at once", 0, 31, questionsLimit},
		{"says more and more", 200 << 10, 0, loginLimit},
	} {
		t.Run(c.name, func(t *testing.T) {
			rounds := 0
			config := &ssh.ServerConfig{KeyboardInteractiveCallback: func(_ ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
				for ; ; rounds++ {
					if _, err := ask("", strings.Repeat("x", c.instruction), make([]string, c.questions), make([]bool, c.questions)); err != nil {
						return nil, err
					}
				}
			}}
			config.AddHostKey(host)
			address := fixture.Connections(t, func(conn net.Conn) {
				_, _, _, _ = ssh.NewServerConn(conn, config) // never succeeds
			})
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			fixture.PeakBelow(t, 16<<20, func() {
				_, err = open(ctx, t, address, knownhosts.Line([]string{knownhosts.Normalize(address)}, host.PublicKey())+"\n")
			})
			wantLimit(t, err, c.want)
			if rounds > 30 {
				t.Errorf("%d rounds", rounds)
			}
		})
	}
}

// TestFloodedCommand runs a command that prints without end.
func TestFloodedCommand(t *testing.T) {
	sent := make(chan int64, 1)
	server, err := stepstest.NewSSHServer("monitor", "open sesame", func(_ string, stdout, stderr io.Writer) (uint32, string) {
		sent <- fixture.Flood(io.MultiWriter(stdout, stderr), make([]byte, 32<<10))
		return 0, ""
	})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	client, err := open(ctx, t, server.Address, server.KnownHosts)
	if err != nil {
		t.Fatal(err)
	}
	var out *program.Output
	fixture.PeakBelow(t, 32<<20, func() { out, err = client.Run(ctx, "yes") })
	wantLimit(t, err, commandLimit)
	if out == nil || !out.StdoutCut || len(out.Stdout) != program.DefaultOutputLimit {
		t.Errorf("%+v", out)
	}
	if n := <-sent; n > commandLimit.Most {
		t.Errorf("the client read on until %d bytes were sent", n)
	}
	if _, err := client.Run(ctx, "true"); err == nil {
		t.Error("the connection was used again")
	}
	_ = client.Close() // it is closed already
}
