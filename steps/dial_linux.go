package steps

import (
	"net"
	"syscall"
)

// quickAck has the kernel acknowledge what arrives on conn at once, tcp(7) TCP_QUICKACK. A server that writes twice
// without reading in between (Postfix: session ticket, then a short reply) holds the second write back until the first
// is acknowledged (RFC 896), and the kernel's delayed acknowledgement is 40 ms. That pause is ours, not the server's,
// and would stand in every step's time. The option does not last, so it is set before each read.
func quickAck(conn net.Conn) net.Conn {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return conn
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return conn
	}
	return &quickAckConn{Conn: conn, raw: raw}
}

type quickAckConn struct {
	net.Conn
	raw syscall.RawConn
}

func setQuickAck(fd uintptr) {
	// A kernel that refuses only makes the reading later.
	_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_QUICKACK, 1)
}

func (c *quickAckConn) Read(b []byte) (int, error) {
	_ = c.raw.Control(setQuickAck) // fails on a closed connection only, as the read then does
	return c.Conn.Read(b)
}
