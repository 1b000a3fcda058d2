package sshclient

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// said is a connection on which a server has said everything already.
type said struct {
	net.Conn
	from *bytes.Reader
}

func (s *said) Read(p []byte) (int, error)       { return s.from.Read(p) }
func (s *said) Write(p []byte) (int, error)      { return len(p), nil }
func (s *said) Close() error                     { return nil }
func (s *said) SetDeadline(time.Time) error      { return nil }
func (s *said) SetReadDeadline(time.Time) error  { return nil }
func (s *said) SetWriteDeadline(time.Time) error { return nil }
func (s *said) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (s *said) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 22} }

// FuzzOpen reads whatever a server says before its key is known: no login succeeds.
func FuzzOpen(f *testing.F) {
	f.Add([]byte("SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n\x00\x00\x00\x0c\x0a\x14aaaaaaaaaa"))
	f.Add([]byte("a banner\r\nanother\r\nSSH-1.5-old\r\n"))
	f.Add([]byte("SSH-2.0-x\r\n\xff\xff\xff\xff"))
	known := filepath.Join(f.TempDir(), "known_hosts")
	if err := os.WriteFile(known, nil, 0o600); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, server []byte) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if c, err := Open(ctx, &said{from: bytes.NewReader(server)}, Login{Address: "127.0.0.1:22", User: "u", Password: "p", KnownHosts: []string{known}}); err == nil {
			t.Errorf("logged in: %v", c)
		}
		if ctx.Err() != nil {
			t.Error("it did not end")
		}
	})
}

// FuzzKnownHosts reads files with the keys of servers.
func FuzzKnownHosts(f *testing.F) {
	f.Add([]byte("www.example.org ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGZ1eno9 comment\n@revoked * ssh-rsa AAAA\n|1|a|b ssh-rsa AAAA\n"))
	f.Add([]byte("\n#\n[::1]:22 x y"))
	path := filepath.Join(f.TempDir(), "known_hosts")
	f.Fuzz(func(t *testing.T, content []byte) {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		check, err := checker([]string{path})
		if (check == nil) == (err == nil) {
			t.Errorf("got a check: %t, and %v", check != nil, err)
		}
	})
}

// FuzzParseKey reads private keys.
func FuzzParseKey(f *testing.F) {
	f.Add([]byte("-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmU=\n-----END OPENSSH PRIVATE KEY-----\n"))
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA==\n-----END PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if signer, err := ParseKey(text); (signer == nil) == (err == nil) {
			t.Errorf("got a key: %t, and %v", signer != nil, err)
		}
	})
}
