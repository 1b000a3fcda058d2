package address

// The ports of mail: of SMTP between servers (RFC 5321), and of submission, IMAP and POP3 with TLS from the first byte
// (RFC 8314).
const (
	PortSMTP  = 25
	PortSMTPS = 465
	PortIMAPS = 993
	PortPOP3S = 995
)
