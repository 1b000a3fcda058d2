//go:build !linux

package steps

import "net"

// quickAck does nothing here: only Linux has immediate acknowledgements.
func quickAck(conn net.Conn) net.Conn { return conn }
