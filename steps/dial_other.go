//go:build !linux

package steps

import "net"

// QuickAck does nothing here: only Linux has immediate acknowledgements.
func QuickAck(conn net.Conn) net.Conn { return conn }
