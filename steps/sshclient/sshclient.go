// Package sshclient logs in to SSH servers and runs commands there (RFC 4252, RFC 4254).
//
// A server's key must be known: it is compared with known_hosts files, as ssh does with StrictHostKeyChecking=yes and
// CheckHostIP=no. No setting switches that off. Host certificates are not requested. Neither an agent nor forwarding is
// used.
package sshclient

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/stepwatch/stepwatch/steps/lifeline"
	"github.com/stepwatch/stepwatch/steps/limit"
	"github.com/stepwatch/stepwatch/steps/meter"
	"github.com/stepwatch/stepwatch/steps/program"
)

// Errors of a login, and of a command without a result.
var (
	ErrUnknownHost = errors.New("the server's key is not known")
	ErrOtherKey    = errors.New("the server's key has changed")
	ErrRefused     = errors.New("the login was refused")
	ErrNoEnd       = errors.New("the connection ended before the command did")
)

// The limits of what a server sends. The library reads banners, questions, key exchanges and ignored messages without end.
var (
	loginLimit     = limit.Define(limit.Limit{Subject: "SSH", What: "the server's part of the login", Unit: "bytes", Most: 1 << 20})
	questionsLimit = limit.Define(limit.Limit{Subject: "SSH", What: "the login", Unit: "questions", Most: 30})
	commandLimit   = limit.Define(limit.Limit{Subject: "SSH", What: "what the server sends while a command runs", Unit: "bytes", Most: 64 << 20})
)

// Login describes the user, and the server that it must be.
type Login struct {
	Address    string // "host:port", as in known_hosts
	User       string
	Password   string       // empty means that none is offered
	Keys       []ssh.Signer // offered before the password
	KnownHosts []string     // files; empty means those of ssh: ~/.ssh/known_hosts and /etc/ssh/ssh_known_hosts
}

// Client is a connection after the login. Only one goroutine may use it at a time.
type Client struct {
	conn   *ssh.Client
	wire   *meter.Conn
	server string
}

// Open logs in over conn. It closes conn when the login fails; otherwise the Client's Close does. The error may wrap
// ErrUnknownHost, ErrOtherKey or ErrRefused, or a *limit.Error.
func Open(ctx context.Context, conn net.Conn, l Login) (*Client, error) {
	var hostKey error // the library keeps only its text
	check, err := checker(l.KnownHosts)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	config := &ssh.ClientConfig{
		User: l.User,
		HostKeyCallback: func(name string, remote net.Addr, key ssh.PublicKey) error {
			hostKey = judgeKey(check(name, remote, key), l.Address, key)
			return hostKey
		},
		HostKeyAlgorithms: known(check, l.Address, conn.RemoteAddr()),
	}
	if len(l.Keys) > 0 {
		config.Auth = append(config.Auth, ssh.PublicKeys(l.Keys...))
	}
	wire := meter.New(conn, loginLimit)
	if l.Password != "" {
		asked := int64(0)
		config.Auth = append(config.Auth, ssh.Password(l.Password), ssh.KeyboardInteractive(
			func(_, _ string, questions []string, _ []bool) ([]string, error) { // PAM asks for the password
				asked += int64(max(len(questions), 1)) // a server may ask nothing again and again
				if err := questionsLimit.Check(asked); err != nil {
					return nil, wire.Fail(err)
				}
				return slices.Repeat([]string{l.Password}, len(questions)), nil
			}))
	}
	line := lifeline.BindClosing(ctx, conn) // the login then fails
	defer line.Release()
	c, channels, requests, err := ssh.NewClientConn(wire, l.Address, config)
	switch {
	case err == nil:
		return &Client{ssh.NewClient(c, channels, requests), wire, string(c.ServerVersion())}, nil
	case wire.Err() != nil:
		err = wire.Err()
	case ctx.Err() != nil:
		err = line.Cause(err)
	case hostKey != nil:
		err = hostKey
	case strings.Contains(err.Error(), "unable to authenticate"):
		err = fmt.Errorf("%w: the server accepted none of the offered credentials (%s)", ErrRefused, l.offers())
	}
	return nil, errors.Join(err, ignoreClosed(conn.Close()))
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// offers describes the offered credentials without revealing them.
func (l Login) offers() string {
	var offers []string
	for _, key := range l.Keys {
		offers = append(offers, "the key "+ssh.FingerprintSHA256(key.PublicKey()))
	}
	if l.Password != "" {
		offers = append(offers, "a password")
	}
	if offers == nil {
		return "neither a key nor a password"
	}
	return strings.Join(offers, ", ")
}

// checker returns a callback that compares keys with files. Default files of ssh that do not exist are ignored.
func checker(files []string) (ssh.HostKeyCallback, error) {
	if len(files) == 0 {
		own := []string{"/etc/ssh/ssh_known_hosts"}
		if home, err := os.UserHomeDir(); err == nil {
			own = append(own, filepath.Join(home, ".ssh", "known_hosts"))
		}
		for _, file := range own {
			if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
				files = append(files, file)
			}
		}
	}
	check, err := knownhosts.New(files...)
	if err != nil {
		return nil, fmt.Errorf("read the known_hosts: %w", err)
	}
	return check, nil
}

// judgeKey returns an error that explains what is wrong with a server's key.
func judgeKey(err error, address string, key ssh.PublicKey) error {
	var wrong *knownhosts.KeyError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &wrong) && len(wrong.Want) == 0:
		return fmt.Errorf("%w: compare its %s key %s with the server's own, then add the line that ssh-keyscan prints for %s to the known_hosts",
			ErrUnknownHost, key.Type(), ssh.FingerprintSHA256(key), knownhosts.Normalize(address))
	case errors.As(err, &wrong):
		return fmt.Errorf("%w: its %s key is %s, and %s:%d has %s: the server was reinstalled, or someone intercepts the connection", ErrOtherKey, key.Type(),
			ssh.FingerprintSHA256(key), wrong.Want[0].Filename, wrong.Want[0].Line, ssh.FingerprintSHA256(wrong.Want[0].Key))
	default:
		return fmt.Errorf("%w: %w", ErrOtherKey, err) // a revoked key
	}
}

// known returns the types of the keys that the files have for a server, so that the client asks for one of them. Nil
// means any type.
func known(check ssh.HostKeyCallback, address string, remote net.Addr) []string {
	var all *knownhosts.KeyError
	if !errors.As(check(address, remote, noKey{}), &all) {
		return nil
	}
	var kinds []string
	for _, want := range all.Want {
		switch kind := want.Key.Type(); kind {
		case ssh.KeyAlgoRSA:
			kinds = append(kinds, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
		default:
			kinds = append(kinds, kind)
		}
	}
	return kinds
}

// noKey is a key that no server has.
type noKey struct{}

func (noKey) Type() string                        { return "none" }
func (noKey) Marshal() []byte                     { return nil }
func (noKey) Verify([]byte, *ssh.Signature) error { return errors.New("no key") }

// Server returns the version string of the server: "SSH-2.0-OpenSSH_9.2p1 Debian-2".
func (c *Client) Server() string { return c.server }

// Close logs out.
func (c *Client) Close() error { return c.conn.Close() }

// Time limits after a command: killing for the server to end it, quiet for its background processes to print more.
const (
	killing = 100 * time.Millisecond
	quiet   = time.Second
)

// Run runs a command in the user's shell on the server, to its end, and keeps 1 MiB of each output. An exit code other
// than zero is not an error. Run does not wait for background processes that print nothing; they keep running. When ctx
// ends, Run asks the server to kill the command (RFC 4254 section 6.9); OpenSSH then kills its whole process group. The
// error wraps that of ctx, and the Output holds the output so far. ErrNoEnd means that the connection ended before the
// command. A *limit.Error means that the server sent too much, and that the connection is closed.
func (c *Client) Run(ctx context.Context, command string) (*program.Output, error) {
	start := time.Now()
	c.wire.Allow(commandLimit)
	line := lifeline.BindClosing(ctx, c.conn)
	channel, requests, err := c.conn.OpenChannel("session", nil)
	if err != nil {
		line.Release()
		return nil, c.failure(ctx, "open a session", err)
	}
	defer func() { _ = channel.Close() }() // usually closed already by the command's end
	ended := make(chan end, 1)
	go func() { ended <- readEnd(requests) }()
	taken, err := channel.SendRequest("exec", true, ssh.Marshal(struct{ Command string }{command}))
	line.Release() // if it is too late, the connection is closed, and with it the channel
	switch {
	case err != nil:
		return nil, c.failure(ctx, "start the command", err)
	case !taken:
		return nil, errors.New("start the command: the server runs no commands for this user")
	}
	_ = channel.CloseWrite() // there is no input
	stdout, stderr := program.NewKept(program.DefaultOutputLimit), program.NewKept(program.DefaultOutputLimit)
	var printing sync.WaitGroup
	printing.Go(func() { _, _ = io.Copy(stdout, channel) }) // the server reports how the command ended
	printing.Go(func() { _, _ = io.Copy(stderr, channel.Stderr()) })
	printed := make(chan struct{})
	go func() { printing.Wait(); close(printed) }()

	got, err := end{status: noStatus}, error(nil)
	select {
	case got = <-ended:
	case <-ctx.Done():
		err = c.failure(ctx, "wait for the command's end", ctx.Err())
		_, _ = channel.SendRequest("signal", false, ssh.Marshal(struct{ Signal string }{string(ssh.SIGKILL)}))
		select {
		case <-ended:
		case <-time.After(killing):
		}
	}
	out := &program.Output{Duration: time.Since(start), ExitCode: got.status, Signal: got.signal}
	if err == nil {
		awaitQuiet(ctx, printed, stdout, stderr)
	}
	if out.Stdout, out.Stderr, out.StdoutCut, out.StderrCut = stdout.Bytes(), stderr.Bytes(), stdout.Cut(), stderr.Cut(); err == nil && got.status == noStatus && got.signal == "" {
		err = ErrNoEnd
	}
	if over := c.wire.Err(); over != nil && err != nil {
		err = over
	}
	return out, err
}

// end describes how a command ended (RFC 4254 section 6.10).
type end struct {
	status int // noStatus when the server sent none
	signal string
}

const noStatus = -1

// readEnd reads how a command ended from the server's requests on its channel.
func readEnd(requests <-chan *ssh.Request) end {
	defer func() { go ssh.DiscardRequests(requests) }() // until the channel is closed
	for r := range requests {
		var status struct{ Status uint32 }
		var signal struct {
			Signal       string
			Dumped       bool
			Message, Tag string
		}
		switch {
		case r.Type == "exit-status" && ssh.Unmarshal(r.Payload, &status) == nil:
			return end{status: int(status.Status)}
		case r.Type == "exit-signal" && ssh.Unmarshal(r.Payload, &signal) == nil:
			return end{status: noStatus, signal: signal.Signal}
		case r.WantReply:
			_ = r.Reply(false, nil) // the end of the connection is noticed elsewhere
		}
	}
	return end{status: noStatus}
}

// awaitQuiet waits for the end of a command's output: its last part may arrive after the exit status. Background
// processes may hold the outputs open, so the output also counts as ended when nothing arrives for a while.
func awaitQuiet(ctx context.Context, printed <-chan struct{}, outputs ...*program.Kept) {
	total := func() (sum int64) {
		for _, o := range outputs {
			sum += o.Written()
		}
		return sum
	}
	for before := int64(-1); before != total(); {
		before = total()
		timer := time.NewTimer(quiet)
		select {
		case <-printed:
			before = total()
		case <-ctx.Done():
			before = total()
		case <-timer.C:
		}
		timer.Stop()
	}
}

// Ending returns a script for a POSIX shell. It ends all processes of its user that started with the mark in their
// environment, on systems with a /proc like Linux. The mark consists of letters, digits, "_" and "=".
func Ending(mark string) string {
	// A process may fork during the search, so the search repeats until it finds none.
	return "for i in 1 2 3; do f=; for e in $(grep -ls " + Quote(mark) + " /proc/[0-9]*/environ 2>/dev/null); do " +
		"e=${e%/environ}; kill -KILL ${e#/proc/} 2>/dev/null && f=1; done; test $f || break; done"
}

func (c *Client) failure(ctx context.Context, act string, err error) error {
	if over := c.wire.Err(); over != nil {
		return over
	}
	if cause := context.Cause(ctx); errors.Is(cause, context.DeadlineExceeded) {
		return &lateError{act, cause}
	} else if cause != nil {
		return fmt.Errorf("%s: %w", act, cause)
	}
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: %w", act, ErrNoEnd)
	}
	return fmt.Errorf("%s: %w", act, err)
}

// lateError reports an act that was not over by the deadline.
type lateError struct {
	act   string
	cause error
}

func (e *lateError) Error() string { return e.act + ": no answer before the deadline" }
func (e *lateError) Unwrap() error { return e.cause }

// ParseKey reads a private key, as ssh-keygen writes it. It refuses a key with a passphrase: nobody can type it.
func ParseKey(text []byte) (ssh.Signer, error) {
	key, err := ssh.ParsePrivateKey(text)
	var locked *ssh.PassphraseMissingError
	switch {
	case errors.As(err, &locked):
		return nil, errors.New("the key has a passphrase: create one without a passphrase for stepwatch")
	case err != nil:
		if block, _ := pem.Decode(text); block == nil {
			return nil, errors.New("this is not a private key in PEM")
		}
		return nil, errors.New("this private key cannot be read") // the library's text may quote it
	}
	return key, nil
}

// Quote quotes a word for a POSIX shell.
func Quote(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }
