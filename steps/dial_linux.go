package steps

import (
	"net"
	"syscall"
)

// QuickAck makes the kernel acknowledge data on conn at once, tcp(7) TCP_QUICKACK. A server that writes twice
// without reading in between (Postfix: session ticket, then a short reply) holds the second write back until the first
// is acknowledged (RFC 896), and the kernel's delayed acknowledgement is 40 ms. This pause is ours, not the server's,
// and would count in the time of every step. The option is not permanent, so it is set before each read.
func QuickAck(conn net.Conn) net.Conn {
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
	// If the kernel refuses, reads are only later.
	_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_QUICKACK, 1)
}

func (c *quickAckConn) Read(b []byte) (int, error) {
	_ = c.raw.Control(setQuickAck) // fails only on a closed connection, like the read
	return c.Conn.Read(b)
}
