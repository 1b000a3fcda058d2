package starttls

import (
	"net"
	"os"
	"strings"
)

// ClientName returns our name for EHLO: the machine's name if it is fully qualified, and otherwise the address literal
// that RFC 5321 section 4.1.4 requires from a client without such a name.
func ClientName(local net.Addr) string {
	if name, err := os.Hostname(); err == nil && len(name) < 254 && strings.Contains(strings.Trim(name, "."), ".") &&
		!strings.ContainsFunc(name, func(r rune) bool {
			return r != '.' && r != '-' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
		}) {
		return name
	}
	if tcp, ok := local.(*net.TCPAddr); ok {
		if ip := tcp.IP.To4(); ip != nil {
			return "[" + ip.String() + "]"
		}
		return "[IPv6:" + tcp.IP.String() + "]"
	}
	return "[127.0.0.1]"
}
