package maillog

import "strings"

// dovecotLevels stand between the service and the message, in Dovecot's own file always, in syslog for what is no
// information.
var dovecotLevels = []string{"Info: ", "Warning: ", "Error: ", "Fatal: ", "Panic: ", "Debug: "}

// dovecotService cuts "imap-login: Info: Login: …" into service and message. A service may name its user and session:
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

// dovecot reads what a login process says; the rest of Dovecot tells nothing that is counted.
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
	// The client chose the user's name, which stands first: what follows is looked for from the end.
	if i := strings.LastIndex(text, ", rip="); i >= 0 {
		e.Client = address(between(text[i:], "=", ","))
		e.Local = address(between(text[i:], ", lip=", ","))
	}
	e.User = between(text, "user=<", ">,")
	e.TLS = strings.Contains(text, ", TLS")
}
