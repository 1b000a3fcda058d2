package maillog

import "strings"

// dovecotLevels are between the service and the message: always in Dovecot's own file, in syslog for everything except
// information.
var dovecotLevels = []string{"Info: ", "Warning: ", "Error: ", "Fatal: ", "Panic: ", "Debug: "}

// dovecotService splits "imap-login: Info: Login: …" into service and message. A service may name its user and session:
// "lmtp(bob)<11053><IeVW>".
func dovecotService(s string) (service, message string, ok bool) {
	for i := 0; ; {
		colon := strings.Index(s[i:], ": ")
		if colon < 0 || i+colon > 300 {
			return "", "", false
		}
		i += colon + 2
		for _, level := range dovecotLevels {
			if text, found := strings.CutPrefix(s[i:], level); found {
				return s[:i-2], text, !strings.Contains(s[:i-2], " ")
			}
		}
	}
}

// dovecot reads the lines of login processes. Other lines of Dovecot are not counted.
func (e *Event) dovecot(service, text string) {
	if !strings.HasSuffix(service, "-login") {
		return
	}
	switch _, failed, refused := strings.Cut(text, "(auth failed, "); {
	case strings.HasPrefix(text, "Login: "):
		e.Kind = KindLogin
	case refused:
		e.Kind = KindLoginRefused
		attempts, _, _ := strings.Cut(failed, " ")
		if n, ok := number(attempts); ok && n > 0 && n < 1000 {
			e.Count = n
		}
	default:
		return
	}
	// The client chose the user's name, which comes first, so the rest is searched from the end.
	if i := strings.LastIndex(text, ", rip="); i >= 0 {
		e.Client = address(between(text[i:], "=", ","))
		e.Local = address(between(text[i:], ", lip=", ","))
	}
	e.User = between(text, "user=<", ">,")
	e.TLS = strings.Contains(text, ", TLS")
}
