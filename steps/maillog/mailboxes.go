package maillog

import "strings"

// courier reads the lines of Courier's imapd, pop3d and esmtpd: "LOGIN, user=bob, ip=[::ffff:192.0.2.9], port=[4711],
// protocol=IMAP".
func (e *Event) courier(program, message string) {
	e.Program, e.Daemon = "courier", "courier/"+strings.TrimSuffix(program, "-ssl")
	what, rest, _ := strings.Cut(message, ", ")
	rest = ", " + rest
	if program == "authdaemond" {
		if !strings.HasPrefix(message, "pam_") && (strings.Contains(message, "ailed") || strings.Contains(message, "rror")) {
			e.Kind, e.Service, e.Reply = KindAuthDown, "courier's authdaemond", message
		}
		return
	}
	switch what {
	case "LOGIN":
		e.Kind = KindLogin
	case "LOGIN FAILED":
		e.Kind = KindLoginRefused
	case "LOGOUT", "DISCONNECTED", "TIMEOUT":
		if strings.Contains(rest, ", user=") {
			e.Kind = KindSession
		}
	case "Connection", "Disconnected", "Connection refused", "Maximum connection limit reached":
	default:
		switch {
		case strings.Contains(message, "authentication error") || strings.Contains(message, "Input/output error"), strings.Contains(message, "perhaps authdaemond is not running"), strings.HasPrefix(message, "authdaemon: "):
			e.Kind, e.Service, e.Reply = KindAuthDown, "courier's authdaemond", message
		case beginsWith(message, []string{"ip=[", "couriertls: ", "chdir ", "Failed to ", "Error", "error", "Server ", "Maximum ", "Unable to ", "Check for ", "Enforcing ", "Temporary problem", "FAILED: ", "INFO: ", "DEBUG: ", "WARN"}), strings.Contains(message, "Unexpected SSL"), strings.Contains(message, "Account's mailbox directory"), strings.Contains(message, "exited"):
		default:
			e.unknown(suspect(subjectsOfMailboxes, message))
		}
		return
	}
	if i := strings.LastIndex(rest, ", ip=["); i >= 0 {
		e.Client = bracketed(rest[i:])
	}
	_, user, _ := strings.Cut(rest, ", user=")
	e.User, _, _ = strings.Cut(user, ", ")
	if strings.Contains(rest, "protocol=SMTP") && e.Kind == KindLogin {
		e.Kind = KindSubmitted
	}
}

// cyrus reads the lines of Cyrus's imapd, pop3d and timsieved: "login: host [192.0.2.9] bob PLAIN+TLS User logged in
// SESSIONID=<…>", "badlogin: host [192.0.2.9] PLAIN (bob) [SASL(-13): authentication failure: …]".
func (e *Event) cyrus(program, message string) {
	e.Program, e.Daemon = "cyrus", "cyrus/"+strings.TrimPrefix(program, "cyrus/")
	if name, rest, ok := strings.Cut(message, ": "); ok && (name == "login" || name == "badlogin") {
		e.Client = bracketed(rest)
		_, said, _ := strings.Cut(rest, "] ")
		if name == "login" {
			e.Kind = KindLogin
			e.User, _, _ = strings.Cut(said, " ")
			return
		}
		i := strings.Index(said, "SASL(")
		e.Reply = said[max(i, 0):]
		e.Kind = saslKind(e.Reply)
		if e.Kind == KindLoginUnjudged {
			e.Service = saslService(e.Reply)
		}
		if e.User = between(said, "(", ")"); e.User == "-notset-" {
			e.User = ""
		}
		if rest, ok := strings.CutPrefix(said, "plaintext "); ok && !strings.HasPrefix(rest, "(") { // before 3.6
			e.User, _, _ = strings.Cut(rest, " ")
		}
		return
	}
	if usage, ok := strings.CutPrefix(message, "USAGE "); ok {
		e.Kind = KindSession
		e.User, _, _ = strings.Cut(usage, " ")
		return
	}
	for _, word := range []string{"logged in", "login", "authenticated"} {
		if strings.Contains(message, word) {
			e.unknown(subjectsOfMailboxes)
			return
		}
	}
}

// saslKind returns what a failure with one of Cyrus SASL's codes means: "SASL(-13): authentication failure: …".
func saslKind(reply string) Kind {
	switch between(reply, "SASL(", ")") {
	case "-13", "-14", "-18", "-19", "-20", "-21", "-26": // a wrong name or password, or an account that may not
		return KindLoginRefused
	case "-4", "-5", "-6", "-15", "-16": // no such mechanism, not finished, too weak, without TLS
		return KindLoginIncomplete
	case "-1", "-2", "-7", "-8", "-24": // generic failure, try again, unavailable
		return KindLoginUnjudged
	}
	return loginKind(reply)
}

// saslauthd reads what saslauthd says when the service behind it fails. Its refusals stand in the log of the server
// that asked.
func (e *Event) saslauthd(message string) {
	e.Daemon = "saslauthd"
	if strings.Contains(message, "PAM start error") || strings.Contains(message, "cannot connect") || strings.Contains(message, "ldap_simple_bind failed") || strings.Contains(message, "Can't contact LDAP") {
		e.Kind, e.Service, e.Reply = KindAuthDown, "saslauthd", message
	}
}

// otherServer marks lines of programs that are not known but are called like a mailbox server or a mail server, when
// they may be about a login.
func (e *Event) otherServer(program, message string) bool {
	name := strings.ToLower(program)
	for _, client := range []string{"msmtp", "ssmtp", "imapsync", "imapfilter", "offlineimap", "fetch", "check"} { // they log in elsewhere
		if strings.Contains(name, client) {
			return false
		}
	}
	for _, part := range []string{"imap", "pop3", "smtp", "lmtp", "sieve"} {
		if strings.Contains(name, part) {
			e.Daemon = program
			e.unknown(suspect(subjectsOfMailboxes, message))
			return e.May != 0
		}
	}
	return false
}
