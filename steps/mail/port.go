package mail

import (
	"fmt"
	"slices"
	"strings"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/address"
	"github.com/stepwatch/stepwatch/steps/wording"
)

// service is what a client expects on a port.
type service struct {
	protocol string // "SMTP"
	ports    []int  // where its servers listen
	implicit int    // the one of them that is TLS from the first byte
}

var (
	smtpService = service{"SMTP", []int{address.PortSMTP, 587, address.PortSMTPS}, address.PortSMTPS}
	imapService = service{"IMAP", []int{143, address.PortIMAPS}, address.PortIMAPS}
	pop3Service = service{"POP3", []int{110, address.PortPOP3S}, address.PortPOP3S}
)

// silent are the well-known ports whose servers say nothing before the client does: TLS comes first, or the client speaks
// first. A client that waits for a greeting there waits in vain.
var silent = map[int]string{
	80: "HTTP", 389: "LDAP", 443: "HTTPS", 465: "SMTP inside TLS", 636: "LDAPS", 853: "DNS over TLS", 990: "FTPS", 993: "IMAP inside TLS", 995: "POP3 inside TLS",
}

// write lists the ports to write instead.
func (s service) write() string {
	last := len(s.ports) - 1
	names := make([]string, len(s.ports))
	for i, port := range s.ports {
		names[i] = fmt.Sprint(port)
	}
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

// mistaken returns the scenario's mistake if the port belongs to a server that says nothing before the client does, or nil.
func (s service) mistaken(server string, port int) error {
	if other, known := silent[port]; known && port != s.implicit {
		return steps.FailScenario("%s: port %d is for %s, not for %s, so nothing was asked there: write %s", server, port, other, s.protocol, s.write())
	}
	return nil
}

// greeted returns the scenario's mistake if another protocol's server sends this first line, or nil. On a port of this
// protocol it is no mistake of the scenario: the server is at fault.
func (s service) greeted(server string, port int, line string) error {
	other := greets(line)
	if other == "" || other == s.protocol || slices.Contains(s.ports, port) {
		return nil
	}
	return steps.FailScenario("%s is a server of %s, not of %s: it greets with %q: write %s", server, other, s.protocol, wording.OneLine(line, 80), s.write())
}

// greets returns the protocol whose server sends this first line, or "".
func greets(line string) string {
	words := strings.Fields(strings.ToUpper(line))
	switch {
	case len(words) == 0:
		return ""
	case words[0] == "*" && len(words) > 1 && slices.Contains([]string{"OK", "PREAUTH", "BYE"}, words[1]): // RFC 9051 section 7.1
		return "IMAP"
	case words[0] == "+OK" || words[0] == "-ERR": // RFC 1939 section 3
		return "POP3"
	case strings.HasPrefix(words[0], `"IMPLEMENTATION"`), strings.HasPrefix(words[0], `"SASL"`): // RFC 5804 section 1.7
		return "ManageSieve"
	case strings.HasPrefix(words[0], "SSH-"): // RFC 4253 section 4.2
		return "SSH"
	case strings.HasPrefix(words[0], "HTTP/"):
		return "HTTP"
	}
	code, rest, ok := cutReplyCode(line)
	switch {
	case !ok || code != 220 && code != 421 && code != 554:
		return ""
	case strings.Contains(strings.ToUpper(rest), "LMTP"):
		return "LMTP"
	case strings.Contains(strings.ToUpper(rest), "SMTP"):
		return "SMTP"
	case strings.Contains(strings.ToUpper(rest), "FTP"):
		return "FTP"
	default:
		return "SMTP or FTP"
	}
}
