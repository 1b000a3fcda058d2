// Package mutation alters what a server sends, as a seed decides: a good dialogue becomes one that no good server would hold.
//
// A Mutation belongs to one dialogue, which may have several connections. Each write of the server is a turn. The seed
// decides in which turns what happens: bits flip, answers are cut off, repeated, exchanged, delayed or never sent, sizes and
// numbers become absurd, another protocol answers. The same seed alters the same turns in the same way. Everything is
// bounded: an endless answer stops after Limits.Bytes, nesting after Limits.Depth.
package mutation

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"
)

// Limits bound what a mutation sends. The zero value means the defaults.
type Limits struct {
	Turns int // a change happens in one of so many turns; default: 8
	Bytes int // at most so many bytes more than the answer itself; default: 20 MB, twice what stepwatch reads of a page
	Depth int // parentheses, brackets and tags are nested at most so deep; default: 70, a few more than stepwatch reads
}

// Mutation decides what happens to the turns of one dialogue. Its methods may be called from any number of goroutines.
type Mutation struct {
	Seed uint64

	limits Limits
	over   chan struct{}
	once   sync.Once

	mu      sync.Mutex
	random  *rand.Rand
	turn    int
	changes map[int]change
	held    []byte
	said    []string
	bytes   bytes.Buffer // the beginning of what was sent
}

// kept is how much of what was sent a mutation keeps, for Sent.
const kept = 1 << 20

// ErrEnded is the error of a write to a connection that the mutation has ended, or whose dialogue is over.
var ErrEnded = errors.New("the mutation ended the connection")

// Control is the seed of a dialogue that is not altered.
const Control = 0

// New returns the mutation of a seed.
func New(seed uint64, limits Limits) *Mutation {
	if limits.Turns == 0 {
		limits.Turns = 8
	}
	if limits.Bytes == 0 {
		limits.Bytes = 20 << 20
	}
	if limits.Depth == 0 {
		limits.Depth = 70
	}
	m := &Mutation{Seed: seed, limits: limits, over: make(chan struct{}), changes: make(map[int]change),
		random: rand.New(rand.NewPCG(seed, 0x5eed))} //nolint:gosec // a seed must repeat
	if seed == Control {
		return m
	}
	// Most dialogues have one change, so that what comes after it is reached.
	for range 1 + max(0, m.random.IntN(8)-5) {
		m.changes[m.random.IntN(limits.Turns)] = pick(m.random)
	}
	return m
}

// End ends the dialogue: every write that waits returns.
func (m *Mutation) End() { m.once.Do(func() { close(m.over) }) }

// Ended is closed when the dialogue ends.
func (m *Mutation) Ended() <-chan struct{} { return m.over }

// String says what was done so far: "seed 17: turn 3: repeat 12 bytes 100 times".
func (m *Mutation) String() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.said) == 0 {
		return fmt.Sprintf("seed %d: no change", m.Seed)
	}
	return fmt.Sprintf("seed %d: %s", m.Seed, strings.Join(m.said, ", "))
}

// Changed reports whether anything was altered so far.
func (m *Mutation) Changed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.said) > 0
}

// Sent reports whether text may have been sent: whether it is in what was sent, of which the first MB is known.
func (m *Mutation) Sent(text string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.bytes.Len() >= kept || bytes.Contains(m.bytes.Bytes(), []byte(text))
}

// Alter returns what is sent in place of one answer of a protocol without connections, such as a datagram or a file. It is a
// turn. What takes time or ends a connection changes nothing here, and an endless answer has limits.Bytes.
func (m *Mutation) Alter(answer []byte) []byte {
	acts, size := m.next(answer), 0
	for _, a := range acts {
		size += len(a.send) * max(1, a.times)
	}
	altered := make([]byte, 0, size)
	for _, a := range acts {
		for range max(1, a.times) {
			altered = append(altered, a.send...)
		}
	}
	return altered
}

// act is a part of what happens in a turn.
type act struct {
	send  []byte
	times int           // how often; 0 means once
	every time.Duration // send a byte at a time, with this pause; below zero without a pause
	wait  time.Duration
	end   ending
}

type ending int

const (
	goOn   ending = iota
	hang          // nothing more is sent
	hangUp        // the connection is closed
	reset         // it is reset
)

// next takes a turn.
func (m *Mutation) next(answer []byte) []act {
	m.mu.Lock()
	defer m.mu.Unlock()
	turn := m.turn
	m.turn++
	acts := []act{{send: answer}}
	if do, found := m.changes[turn]; found && len(answer) > 0 {
		var said string
		acts, said = do(m, bytes.Clone(answer))
		m.said = append(m.said, fmt.Sprintf("turn %d: %s", turn, said))
	}
	if m.held != nil && turn > 0 && len(acts) > 0 && len(answer) > 0 && !bytes.Equal(m.held, answer) {
		acts = append(acts, act{send: m.held})
		m.held = nil
	}
	for _, a := range acts {
		if room := kept - m.bytes.Len(); room > 0 {
			m.bytes.Write(a.send[:min(room, len(a.send))])
		}
	}
	return acts
}

// Conn returns the server's side of a connection, whose writes are altered.
func (m *Mutation) Conn(conn net.Conn) net.Conn { return &mutated{Conn: conn, m: m} }

type mutated struct {
	net.Conn
	m     *Mutation
	mu    sync.Mutex
	ended bool
}

// Write takes a turn. It reports that everything was written, whatever was.
func (c *mutated) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return 0, ErrEnded
	}
	for _, a := range c.m.next(p) {
		if err := c.do(a); err != nil {
			c.ended = true
			return 0, err
		}
	}
	return len(p), nil
}

func (c *mutated) do(a act) error {
	if a.wait > 0 && !c.m.sleep(a.wait) {
		return ErrEnded
	}
	for range max(1, a.times) {
		if a.every != 0 {
			for i := range a.send {
				if _, err := c.Conn.Write(a.send[i : i+1]); err != nil {
					return err
				}
				if a.every > 0 && !c.m.sleep(a.every) {
					return ErrEnded
				}
			}
			continue
		}
		if len(a.send) == 0 {
			continue
		}
		if _, err := c.Conn.Write(a.send); err != nil {
			return err
		}
		select {
		case <-c.m.over:
			return ErrEnded
		default:
		}
	}
	switch a.end {
	case hang:
		<-c.m.over
		return ErrEnded
	case hangUp:
		_ = c.Close()
		return ErrEnded
	case reset:
		Reset(c.Conn)
		return ErrEnded
	}
	return nil
}

// sleep waits. It returns false when the dialogue ends before.
func (m *Mutation) sleep(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-m.over:
		return false
	}
}

// Reset closes a connection so that the other side gets a reset instead of an end, whatever is above it, and so that no port
// stays in use.
func Reset(conn net.Conn) {
	inner := conn
	for {
		if tcp, ok := inner.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // it is closed either way
			_ = tcp.Close()
			return
		}
		switch c := inner.(type) {
		case *mutated:
			inner = c.Conn
		case interface{ NetConn() net.Conn }: // TLS
			inner = c.NetConn()
		default:
			_ = conn.Close()
			return
		}
	}
}
