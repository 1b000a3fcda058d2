package stepstest

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/subtle"
	"encoding/pem"
	"errors"
	"io"
	"net"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// SSHServer is an SSH server on loopback. It runs no programs: a function answers commands.
type SSHServer struct {
	Address    string // "host:port"
	KnownHosts string // the line for it in a known_hosts file
	UserKey    []byte // a private key of the user, in PEM

	acceptor
	run    func(command string, stdout, stderr io.Writer) (exitStatus uint32, signal string)
	config *ssh.ServerConfig
}

// NewSSHServer starts a server for one user, who logs in with the password or with UserKey. run answers commands. If it
// returns a signal, the command ends by that signal instead of an exit status; "drop" ends the connection.
func NewSSHServer(user, password string, run func(command string, stdout, stderr io.Writer) (exitStatus uint32, signal string)) (*SSHServer, error) {
	_, hostKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	host, err := ssh.NewSignerFromKey(hostKey)
	if err != nil {
		return nil, err
	}
	public, userKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	mine, err := ssh.NewPublicKey(public)
	if err != nil {
		return nil, err
	}
	block, err := ssh.MarshalPrivateKey(userKey, "")
	if err != nil {
		return nil, err
	}
	same := func(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
	s := &SSHServer{run: run, UserKey: pem.EncodeToMemory(block)}
	s.config = &ssh.ServerConfig{
		PasswordCallback: func(c ssh.ConnMetadata, given []byte) (*ssh.Permissions, error) {
			if c.User() == user && same(string(given), password) {
				return nil, nil //nolint:nilnil // all permissions
			}
			return nil, errors.New("wrong password")
		},
		PublicKeyCallback: func(c ssh.ConnMetadata, given ssh.PublicKey) (*ssh.Permissions, error) {
			if c.User() == user && same(string(given.Marshal()), string(mine.Marshal())) {
				return nil, nil //nolint:nilnil // all permissions
			}
			return nil, errors.New("unknown key")
		},
	}
	s.config.AddHostKey(host)
	if err := s.listen(s.serve); err != nil {
		return nil, err
	}
	s.Address = s.address()
	s.KnownHosts = knownhosts.Line([]string{knownhosts.Normalize(s.Address)}, host.PublicKey()) + "\n"
	return s, nil
}

func (s *SSHServer) serve(conn net.Conn) {
	server, channels, requests, err := ssh.NewServerConn(conn, s.config)
	if err != nil {
		return
	}
	s.work.Go(func() { ssh.DiscardRequests(requests) })
	for asked := range channels {
		channel, requests, err := asked.Accept()
		if err != nil {
			return
		}
		s.work.Go(func() {
			for request := range requests {
				var exec struct{ Command string }
				if request.Type != "exec" || ssh.Unmarshal(request.Payload, &exec) != nil {
					_ = request.Reply(false, nil)
					continue
				}
				_ = request.Reply(true, nil)
				s.work.Go(func() { s.answer(server, channel, exec.Command) })
			}
		})
	}
}

func (s *SSHServer) answer(server io.Closer, channel ssh.Channel, command string) {
	status, signal := s.run(command, channel, channel.Stderr())
	switch signal {
	case "":
		_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
	case "drop":
		_ = server.Close()
	default:
		_, _ = channel.SendRequest("exit-signal", false, ssh.Marshal(struct {
			Signal  string
			Dumped  bool
			Message string
			Lang    string
		}{Signal: signal}))
	}
	_ = channel.Close() // the client may be gone
}
