package maillog

import "strings"

// isEximID reports whether s is an id of a message: "1abcDE-000123-4F", or the longer form since Exim 4.97.
func isEximID(s string) bool {
	if len(s) != 16 && len(s) != 23 {
		return false
	}
	parts := strings.Split(s, "-")
	if len(parts) != 3 || len(parts[0]) != 6 || len(parts[1])+len(parts[2]) != len(s)-8 {
		return false
	}
	for _, r := range parts[0] + parts[1] + parts[2] {
		if r == '-' || !isIDRune(r) {
			return false
		}
	}
	return true
}

// exim reads a message of Exim's main log (specification, chapter "Log files"). It returns false if message cannot be
// one.
func (e *Event) exim(message string) bool {
	if strings.HasPrefix(message, "[") { // log_selector +pid
		pid, rest, ok := strings.Cut(message[1:], "] ")
		if _, digits := number(pid); ok && digits {
			e.PID, message = pid, rest
		}
	}
	if id, rest, _ := strings.Cut(message, " "); isEximID(id) {
		e.QueueID, message = id, rest
	}
	flag, rest, _ := strings.Cut(message, " ")
	switch flag {
	case "<=":
		e.Kind = KindReceived
		e.eximFields(rest)
		if e.User != "" {
			e.Kind = KindSubmitted
		}
	case "=>", "->", ">>":
		e.Kind = KindSent
		e.eximRecipient(rest)
		e.eximFields(rest)
		e.Reply = between(rest, ` C="`, `"`)
		e.reply(e.Reply)
		e.NextID = queuedAs(e.Reply)
	case "==", "**":
		e.Kind = KindDeferred
		if flag == "**" {
			e.Kind = KindBounced
		}
		e.eximRecipient(rest)
		e.eximFields(rest)
		e.eximReason(rest)
	default:
		return e.eximSession(message)
	}
	return true
}

func (e *Event) eximRecipient(rest string) {
	first, _, _ := strings.Cut(rest, " ")
	e.Recipient = strings.TrimSuffix(first, ":")
}

// eximFields reads "H=host [address]:port X=TLS… A=login:user".
func (e *Event) eximFields(rest string) {
	rest, _, _ = strings.Cut(rest, ` C="`) // the other side's answer
	rest, _, _ = strings.Cut(rest, ` T="`) // the message's subject
	rest, _, _ = strings.Cut(rest, ": SMTP ")
	if _, host, ok := strings.Cut(rest, " H="); ok {
		name, _, _ := strings.Cut(host, " ")
		ip := eximHost(host)
		e.Relay = name + "[" + ip + "]"
		if e.Kind == KindReceived {
			e.Relay, e.Client = "", ip
		}
	}
	e.TLS = strings.Contains(rest, " X=")
	if _, login, ok := strings.Cut(rest, " A="); ok && e.Kind == KindReceived {
		login, _, _ = strings.Cut(login, " ")
		_, e.User, _ = strings.Cut(login, ":")
		if e.User == "" {
			e.User = login
		}
	}
	if local := between(rest, " I=[", "]"); local != "" {
		e.Local = address(local)
	}
}

// eximHost returns the address in "host.name (its greeting) [192.0.2.1]". The client chooses the greeting, which may be
// an address too.
func eximHost(s string) string {
	if open := strings.IndexByte(s, '('); open >= 0 && open < strings.IndexByte(s, '[') {
		_, s, _ = strings.Cut(s, ") [")
		s = "[" + s
	}
	return bracketed(s)
}

// eximReason finds why a recipient did not get the message: "… defer (111): Connection refused", "…: SMTP error from
// remote mail server after RCPT TO:<…>: 550 5.1.1 …".
func (e *Event) eximReason(rest string) {
	_, reason, ok := strings.Cut(rest, ": ")
	if !ok {
		return
	}
	e.Reply = reason
	if strings.HasPrefix(reason, "SMTP error ") {
		for part := range strings.SplitSeq(reason, ": ") {
			e.reply(part)
			if e.Code != 0 {
				return
			}
		}
	}
}

// eximSession reads the other lines: refusals, failed logins, and lines that are only known to be Exim's.
func (e *Event) eximSession(message string) bool {
	switch {
	case strings.Contains(message, " authenticator failed for "):
		e.Kind = KindLoginRefused
		_, host, _ := strings.Cut(message, " authenticator failed for ")
		e.Client = eximHost(host)
		e.User = between(message, "(set_id=", ")")
		return true
	case strings.HasPrefix(message, "H=") && (strings.Contains(message, " rejected ") || strings.HasPrefix(message, "rejected ")):
		e.Kind = KindRejected
		e.Client = eximHost(message)
		_, what, _ := strings.Cut(message, " rejected ")
		_, e.Reply, _ = strings.Cut(what, ": ")
		if e.reply(e.Reply); e.Code == 0 {
			if e.Code = 550; strings.Contains(message, " temporarily rejected ") {
				e.Code = 451
			}
		}
		return true
	case e.QueueID != "":
		return true
	}
	for _, beginning := range []string{"exim ", "Start queue run", "End queue run", "SMTP ", "TLS ", "no host name found", "no IP address found", "H=", "unexpected ", "lost input ",
		"refused connection", "rejected ", "cwd=", "Warning:", "daemon:", "SIGHUP", "connection from "} {
		if strings.HasPrefix(message, beginning) {
			return true
		}
	}
	return false
}
