// Package meter limits what a server may send before a library reads it. Libraries for AMQP, SSH, MySQL and others keep what
// a server sends for as long as it sends, or allocate what it announces; a Conn stops them after a number of bytes, and
// Messages looks at each message of a protocol first.
//
// Libraries often replace the error of a connection by their own. Whoever uses one asks Err what really happened.
package meter

import (
	"bufio"
	"io"
	"net"
	"sync"
	"sync/atomic"

	"github.com/stepwatch/stepwatch/steps/limit"
)

// Conn is a connection on which the other side may send a limited number of bytes. The first byte too many closes it, and
// every Read and Write from then on returns the *limit.Error.
type Conn struct {
	net.Conn
	left atomic.Int64
	read atomic.Int64

	mu   sync.Mutex
	most limit.Limit
	err  error
}

// New returns conn with a limit of what may be read from it. The limit counts bytes.
func New(conn net.Conn, most limit.Limit) *Conn {
	c := &Conn{Conn: conn, most: most}
	c.left.Store(most.Most)
	return c
}

// Allow begins a new part of the dialogue: what was read before does not count. A connection that is closed stays closed.
func (c *Conn) Allow(most limit.Limit) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.most = most
	c.left.Store(most.Most)
}

// Received returns how many bytes were read since the connection began.
func (c *Conn) Received() int64 { return c.read.Load() }

// Err returns the *limit.Error that closed the connection, or the first fault that was reported, or nil.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Fail closes the connection because of what was read from it. Err returns err from then on, unless it returned another one
// before.
func (c *Conn) Fail(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
		_ = c.Close() // err says more than an error of Close
	}
	return c.err
}

// Read implements net.Conn.
func (c *Conn) Read(p []byte) (int, error) {
	left := c.left.Load()
	if left >= 0 && int64(len(p)) > left+1 {
		p = p[:left+1] // one more than allowed, to see whether there is more
	}
	n, err := c.Conn.Read(p)
	c.read.Add(int64(n))
	if c.left.Add(-int64(n)) < 0 && n > 0 {
		c.mu.Lock()
		over := c.most.Exceeded()
		c.mu.Unlock()
		return 0, c.Fail(over)
	}
	return n, c.cause(err)
}

// Write implements net.Conn.
func (c *Conn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	return n, c.cause(err)
}

// cause returns why the connection was closed in place of an error that says only that.
func (c *Conn) cause(err error) error {
	if err == nil {
		return nil
	}
	if known := c.Err(); known != nil {
		return known
	}
	return err
}

// Messages is a reader of a protocol whose messages begin with a header of fixed size that says how long the rest is. It
// checks each message before it returns a byte of it.
type Messages struct {
	R      *bufio.Reader
	Header int // bytes of a header, at most 8

	// Size returns how many bytes follow a header, or an error that ends reading. It may change the header.
	Size func(header []byte) (int64, error)

	// Begin is called with the first bytes of what follows, up to Peek, or all of it. An error ends reading. Nil checks
	// nothing.
	Begin func(header, begin []byte) error
	Peek  int // at most the size of R's buffer

	held [8]byte
	head []byte // of held, not returned yet
	body int64  // bytes of the message that were not returned yet
	err  error
}

// Read implements io.Reader.
func (m *Messages) Read(p []byte) (int, error) {
	if m.err == nil && len(m.head) == 0 && m.body == 0 {
		m.err = m.next()
	}
	switch {
	case m.err != nil:
		return 0, m.err
	case len(p) == 0:
		return 0, nil
	case len(m.head) > 0:
		n := copy(p, m.head)
		m.head = m.head[n:]
		return n, nil
	}
	n, err := m.R.Read(p[:min(int64(len(p)), m.body)])
	m.body -= int64(n)
	return n, err
}

// next reads and checks the header of the next message.
func (m *Messages) next() error {
	head := m.held[:m.Header]
	if _, err := io.ReadFull(m.R, head); err != nil {
		return err
	}
	size, err := m.Size(head)
	if err != nil {
		return err
	}
	if m.Begin != nil {
		begin, err := m.R.Peek(int(min(size, int64(m.Peek))))
		if err != nil {
			return err
		}
		if err := m.Begin(head, begin); err != nil {
			return err
		}
	}
	m.head, m.body = head, size
	return nil
}
