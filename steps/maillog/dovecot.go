package maillog

import "strings"

// dovecotLevels are between the service and the message: always in Dovecot's own file, in syslog for everything except
// information.
var dovecotLevels = []string{"Info: ", "Warning: ", "Error: ", "Fatal: ", "Panic: ", "Debug: "}

// dovecotService splits "imap-login: Info: Login: …" into service and message. A service may name its user and session:
// "lmtp(bob)<11053><IeVW>".
func dovecotService(s string) (service, message string, ok bool) {
	service, _, message, ok = dovecotParts(s)
	return service, message, ok
}

func dovecotParts(s string) (service, level, message string, ok bool) {
	for i := 0; ; {
		colon := strings.Index(s[i:], ": ")
		if colon < 0 || i+colon > 300 {
			return "", "", "", false
		}
		i += colon + 2
		for _, level := range dovecotLevels {
			if text, found := strings.CutPrefix(s[i:], level); found {
				return s[:i-2], level, text, !strings.Contains(s[:i-2], " ")
			}
		}
	}
}

// dovecotLine reads "imap-login: Login: …", as Dovecot gives it to syslog or writes it to its own file.
func (e *Event) dovecotLine(line string) {
	service, level, text, ok := dovecotParts(line)
	if !ok {
		service, text, _ = strings.Cut(line, ": ")
		level = "Info: "
	}
	name := service
	if end := strings.IndexAny(name, "(<"); end >= 0 {
		name = name[:end]
	}
	e.Daemon = "dovecot/" + name
	switch {
	case strings.HasSuffix(name, "-login"):
		e.dovecotLogin(level, text)
	case name == "imap", name == "pop3", name == "managesieve", name == "sieve":
		e.dovecotSession(service, text)
	case name == "auth", name == "auth-worker":
		e.dovecotAuth(level, text)
	}
}

// dovecotReasons are in brackets in a line about a login process's client, and what they mean. Dovecot 2.4 adds its own
// word for the reason in a second pair of brackets.
var dovecotReasons = []struct {
	text string
	kind Kind
}{
	{"(no auth attempts", KindOther}, // first, because it stands beside everything that goes wrong before a login
	{"auth service reported temporary failure", KindLoginUnjudged},
	{"(temp_fail)", KindLoginUnjudged},
	{"auth process communication failure", KindLoginUnjudged},
	{"disconnected before auth was ready", KindLoginUnjudged},
	{"(internal failure", KindLoginUnjudged},
	{"(internal_failure)", KindLoginUnjudged},
	{"tried to use disallowed plaintext auth", KindLoginIncomplete},
	{"tried to use disallowed cleartext auth", KindLoginIncomplete},
	{"(cleartext_auth_disabled)", KindLoginIncomplete},
	{"cert required, client didn't start TLS", KindLoginIncomplete},
	{"tried to use unsupported auth mechanism", KindLoginIncomplete},
	{"sent invalid base64 in response", KindLoginIncomplete},
	{"client didn't finish SASL auth", KindLoginIncomplete},
	{"auth aborted by client", KindLoginIncomplete},
	{"aborted authentication", KindLoginIncomplete},
	{"disconnected while authenticating", KindOther},
	{"disconnected while finishing login", KindOther},
	{"client didn't send a cert", KindLoginIncomplete},
	{"client sent an invalid cert", KindLoginRefused},
	{"client sent an untrusted cert", KindLoginRefused},
	{"proxy dest auth failed", KindLoginRefused},
	{"proxy dest authentication failure", KindLoginRefused},
	{"(proxy_dest_auth_temp_fail", KindLoginUnjudged},
	{"proxy dest ", KindLoginUnjudged}, // connection failed, internal failure, remote failure, protocol failure
	{"user disabled", KindLoginRefused},
	{"password expired", KindLoginRefused},
	{"login disabled", KindLoginRefused},
	{"anonymous logins disabled", KindLoginRefused},
	{"authorization failed", KindLoginRefused},
	{"auth referral", KindOther},
	{"disconnected during TLS handshake", KindOther},
	{"Maximum number of connections", KindOther},
	{"(auth failed", KindLoginRefused},
	{"(auth_failed)", KindLoginRefused},
}

// dovecotLogin reads the lines of login processes. A line that is not known may be a login or a refusal: these
// processes do nothing else.
func (e *Event) dovecotLogin(level, text string) {
	switch {
	case strings.HasPrefix(text, "Login: "), strings.HasPrefix(text, "Logged in: "):
		e.Kind = KindLogin
	case strings.HasPrefix(text, "proxy("):
		e.dovecotProxy(level, text)
	case strings.HasPrefix(text, "Disconnected"), strings.HasPrefix(text, "Aborted login"), strings.HasPrefix(text, "Login aborted"), strings.HasPrefix(text, "Connection closed"):
		e.dovecotDisconnected(text)
	case level != "Info: ": // complaints are neither
		if strings.Contains(text, "Auth process not responding") || strings.Contains(text, "Timeout waiting for handshake from auth server") ||
			strings.Contains(text, "auth-client") && strings.Contains(text, "failed") {
			e.Kind, e.Service, e.Reply = KindAuthDown, "dovecot's auth process", text
		}
		return
	case strings.HasPrefix(text, "Internal login failure"):
		e.Kind, e.Service = KindLoginUnjudged, "dovecot's auth process"
	case beginsWith(text, []string{"ID sent: ", "TLS ", "SSL", "Panic", "Shutting down", "Debug", "Server shutting down", "access(", "Maximum number of connections"}):
		return
	default:
		e.unknown(SubjectLogins | SubjectRefusals)
		return
	}
	if e.Kind == KindOther || e.Kind == KindUnknown {
		return
	}
	// The client chose the user's name, which comes first, so the rest is searched from the end.
	rest := text
	if i := strings.LastIndex(text, " rip="); i >= 0 {
		rest = text[i:]
		e.Client = address(between(rest, "=", ","))
		e.Local = address(between(rest, ", lip=", ","))
	}
	e.User = between(text, "user=<", ">,")
	e.TLS = strings.Contains(rest, ", TLS")
	if e.Kind == KindLoginRefused && !e.TLS && !strings.Contains(rest, ", secured") && e.User != "" && e.Client != "" && !strings.Contains(text, ", method=") {
		e.Kind = KindLoginIncomplete // without TLS, which Dovecot reports as "auth failed" without a method
	}
}

// dovecotProxy reads "proxy(bob@example.org,192.0.2.10:993): Started proxying to <192.0.2.10> (0.012 secs): user=<…>".
func (e *Event) dovecotProxy(level, text string) {
	_, said, _ := strings.Cut(text, "): ")
	switch said = strings.ToLower(said); {
	case strings.HasPrefix(said, "started proxying"):
		e.Kind = KindLogin
	case beginsWith(said, []string{"disconnected by ", "disconnecting", "created proxy session", "connecting to ", "connect(", "login timed out", "disconnected: ", "host has been down", "host is down", "redirected to ",
		"redirecting to ", "failed to connect", "aborting due to", "ttl reached zero", "proxying loops", "authentication failed", "connection closed", "logging in timed out", "remote server sent"}), level != "Info: ":
	default:
		e.unknown(SubjectLogins | SubjectRefusals)
	}
	if e.User = between(text, "user=<", ">"); e.User == "" && e.Kind == KindLogin {
		e.User, _, _ = strings.Cut(between(text, "proxy(", ")"), ",")
	}
}

// dovecotDisconnected reads "Disconnected: Connection closed (auth failed, 1 attempts in 2 secs): user=<…>" and, since
// 2.4, "Login aborted: Connection closed (auth failed, 1 attempts in 2 secs) (auth_failed): user=<…>". Between the
// first colon and the user's name everything is Dovecot's own.
func (e *Event) dovecotDisconnected(text string) {
	said, _, _ := strings.Cut(text, ": user=")
	if said == text {
		said, _, _ = strings.Cut(text, ", rip=")
	}
	if !strings.Contains(said, "(") { // "Disconnected: Shutting down", "Disconnected: Inactivity"
		return
	}
	for _, r := range dovecotReasons {
		if !strings.Contains(said, r.text) {
			continue
		}
		if e.Kind = r.kind; e.Kind == KindLoginUnjudged {
			e.Service = "dovecot's account lookup"
			if strings.Contains(said, "proxy dest") || strings.Contains(said, "internal failure") {
				e.Service = "the service behind dovecot's login (a backend, or the mail process)"
			}
			e.Reply = said
		}
		e.Count *= dovecotAttempts(said)
		return
	}
	if strings.Contains(said, "attempts") || strings.Contains(said, "auth") || strings.Contains(said, "login") {
		e.unknown(SubjectRefusals)
	}
}

// dovecotAttempts returns the number in "(auth failed, 3 attempts in 4 secs)".
func dovecotAttempts(said string) int {
	before, _, ok := strings.Cut(said, " attempts")
	if !ok {
		return 1
	}
	n, ok := number(before[strings.LastIndexByte(before, ' ')+1:])
	if !ok || n < 1 || n >= 1000 {
		return 1
	}
	return n
}

// dovecotSession reads the end of a mailbox's session: "imap(bob@example.org)<310><session>: Disconnected: Logged out".
// A session may have begun long before the lines that are still counted.
func (e *Event) dovecotSession(service, text string) {
	_, rest, _ := strings.Cut(service, "(")
	user, _, ok := strings.Cut(rest, ")")
	if ok && user != "" && beginsWith(text, []string{"Disconnected", "Connection closed", "Logged out"}) {
		if i := strings.LastIndexByte(user, ','); i > 0 && address(user[i+1:]) != "" { // "bob,192.0.2.1"
			user = user[:i]
		}
		e.Kind, e.User = KindSession, user
	}
}

// dovecotAuth reads what the authentication process says of its lookups, by which a broken one is named:
// "passwd-file(bob,192.0.2.1,<session>): open(/etc/dovecot/users) failed: Permission denied".
func (e *Event) dovecotAuth(level, text string) {
	if level != "Error: " && level != "Fatal: " && level != "Panic: " {
		return
	}
	lookup := ""
	if end := strings.IndexAny(text, "(: "); end > 0 && (text[end] != ' ' || strings.HasPrefix(text, "passwd-file ")) {
		lookup = " " + text[:end]
	}
	if beginsWith(text, []string{"BUG: ", "Authentication client", "auth client", "read(anvil", "anvil"}) {
		return
	}
	for _, own := range []string{"nknown scheme", "not in expected scheme", "nvalid UID", "nvalid GID", "missing UID", "missing GID"} { // of one account's entry
		if strings.Contains(text, own) {
			return
		}
	}
	e.Kind, e.Service, e.Reply = KindAuthDown, "dovecot's account lookup"+lookup, text
}
