package stepstest

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

// servePOP3 serves the INBOX over POP3 (RFC 1939), with STLS if the connection has no TLS (RFC 2595).
func (s *MailServer) servePOP3(listener net.Listener, config *tls.Config) error {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			_ = conn.Close() // the server is closed
			continue
		}
		s.pop3[conn] = true
		s.mu.Unlock()
		s.serving.Go(func() {
			c := &pop3Session{server: s, config: config}
			c.use(conn)
			c.serve()
			c.end()
			_ = conn.Close() // the session is over in any case
			s.mu.Lock()
			delete(s.pop3, conn)
			s.mu.Unlock()
		})
	}
}

// pop3Session is one client of the POP3 server. It reads the mailbox as an IMAP client of the same server.
type pop3Session struct {
	server  *MailServer
	config  *tls.Config
	conn    net.Conn
	r       *bufio.Reader
	name    string
	imap    *imapclient.Client
	uids    []imap.UID
	deleted imap.UIDSet
}

func (c *pop3Session) use(conn net.Conn) { c.conn, c.r = conn, bufio.NewReader(conn) }

func (c *pop3Session) say(format string, args ...any) {
	_, _ = fmt.Fprintf(c.conn, format+"\r\n", args...) // the next read notices that the client has left
}

func (c *pop3Session) end() {
	if c.imap != nil {
		_ = c.imap.Close() // the connection is the server's own
	}
}

func (c *pop3Session) serve() {
	c.say("+OK POP3 server ready")
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return
		}
		verb, rest, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
		switch verb = strings.ToUpper(verb); {
		case verb == "QUIT":
			c.quit()
			return
		case verb == "CAPA":
			delay := ""
			if d := c.server.options.LoginDelay; d > 0 && !c.server.options.HideDelay {
				delay = fmt.Sprintf("LOGIN-DELAY %d\r\n", int(d.Seconds()))
			}
			c.say("+OK\r\nTOP\r\nUIDL\r\nUSER\r\nSTLS\r\n%s.", delay)
		case verb == "STLS":
			c.say("+OK begin TLS")
			c.use(tls.Server(c.conn, c.config))
		case verb == "USER":
			c.name = rest
			c.say("+OK")
		case verb == "PASS":
			if err := c.login(rest); err != nil {
				c.say("-ERR [AUTH] Authentication failed")
				continue
			}
			if !c.server.permitPOP3(c.name) {
				c.end()
				c.imap = nil
				c.say("-ERR [LOGIN-DELAY] Logins must be further apart")
				continue
			}
			c.say("+OK %d messages", len(c.uids))
		case c.imap == nil:
			c.say("-ERR log in first")
		case verb == "UIDL":
			c.say("+OK")
			for i, uid := range c.uids {
				if c.server.options.IDsFromNewest {
					c.say("%d %d", i+1, len(c.uids)-i)
					continue
				}
				c.say("%d %08x", i+1, uint32(uid))
			}
			c.say(".")
		default:
			c.message(verb, rest)
		}
	}
}

func (c *pop3Session) login(password string) error {
	address := c.server.connectTo[net.JoinHostPort(c.server.options.Host, "993")]
	roots, err := c.server.ca.Roots()
	if err != nil {
		return err
	}
	client, err := imapclient.DialTLS(address, &imapclient.Options{TLSConfig: &tls.Config{ServerName: c.server.options.Host, RootCAs: roots, MinVersion: tls.VersionTLS12}})
	if err != nil {
		return err
	}
	c.end()
	c.imap = nil
	if err := client.Login(c.name, password).Wait(); err != nil {
		_ = client.Close() // the login failed
		return err
	}
	c.imap, c.uids, c.deleted = client, nil, nil
	data, err := client.Select("INBOX", nil).Wait()
	if err != nil || data.NumMessages == 0 {
		return err
	}
	messages, err := client.Fetch(imap.SeqSet{{Start: 1, Stop: 0}}, &imap.FetchOptions{UID: true}).Collect()
	for _, message := range messages {
		c.uids = append(c.uids, message.UID)
	}
	return err
}

// message answers a command about one message.
func (c *pop3Session) message(verb, rest string) {
	number, _, _ := strings.Cut(rest, " ")
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 || n > len(c.uids) {
		c.say("-ERR no such message")
		return
	}
	uid := c.uids[n-1]
	section := &imap.FetchItemBodySection{Peek: true}
	switch verb {
	case "DELE":
		c.deleted.AddNum(uid)
		c.say("+OK marked")
		return
	case "TOP":
		section.Specifier = imap.PartSpecifierHeader
	case "RETR":
	default:
		c.say("-ERR unknown command")
		return
	}
	messages, err := c.imap.Fetch(imap.UIDSetNum(uid), &imap.FetchOptions{UID: true, BodySection: []*imap.FetchItemBodySection{section}}).Collect()
	if err != nil || len(messages) == 0 || len(messages[0].BodySection) == 0 {
		c.say("-ERR the message is gone")
		return
	}
	c.say("+OK")
	for line := range bytes.Lines(messages[0].BodySection[0].Bytes) {
		text := string(bytes.TrimRight(line, "\r\n"))
		if strings.HasPrefix(text, ".") {
			text = "." + text
		}
		c.say("%s", text)
	}
	c.say(".")
}

func (c *pop3Session) quit() {
	if len(c.deleted) > 0 {
		err := c.imap.Store(c.deleted, &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{imap.FlagDeleted}}, nil).Close()
		if err == nil {
			err = c.imap.Expunge().Close()
		}
		if err != nil {
			c.say("-ERR not all were removed")
			return
		}
	}
	c.say("+OK bye")
}
