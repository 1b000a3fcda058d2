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
		e.eximSent(rest)
	case "==", "**":
		e.Kind = KindDeferred
		if flag == "**" {
			e.Kind = KindBounced
		}
		e.eximRecipient(rest)
		e.eximFields(rest)
		e.eximReason(rest)
		if flag == "==" && (strings.Contains(rest, "retry time not reached") || strings.Contains(rest, "local delivery only") || strings.Contains(rest, "domain is in queue_domains") ||
			strings.Contains(rest, "limit reached for")) {
			e.Kind = KindSkipped
		}
	case "*>": // with -N nothing is delivered
	default:
		return e.eximSession(message)
	}
	return true
}

// eximSent tells what is no delivery: thrown away, handed to a filter of this machine.
func (e *Event) eximSent(rest string) {
	transport, _, _ := strings.Cut(between(rest+" ", " T=", " "), " ")
	ip := between(e.Relay, "[", "]")
	switch {
	case strings.HasPrefix(rest, ":blackhole:"), strings.HasPrefix(rest, "blackhole ("), strings.HasPrefix(rest, "/dev/null "):
		e.Kind = KindDiscarded
	case e.filtered():
	case loopback(ip) && !strings.Contains(e.Reply, "Saved"), givenBack(e.Reply, eximPort(rest, ip), namesFilter(transport)), ip == "" && namesFilter(transport):
		e.Kind = KindHandedOver
	default:
		e.Mailbox = ip == "" || loopback(ip)
	}
}

// eximPart reads "[1/2] ", by which Exim numbers the parts of a line that is too long for syslog, and returns the rest.
func eximPart(message string) (part int, rest string) {
	inside, rest, ok := strings.Cut(message, "] ")
	if !ok || !strings.HasPrefix(inside, "[") || len(inside) > len("[999/999") {
		return 0, message
	}
	separator := strings.IndexAny(inside, `/\`)
	if separator < 0 {
		return 0, message
	}
	part, ok1 := number(inside[1:separator])
	_, ok2 := number(inside[separator+1:])
	if !ok1 || !ok2 {
		return 0, message
	}
	return part, rest
}

func (e *Event) eximRecipient(rest string) {
	first, original, _ := strings.Cut(rest, " ")
	if !strings.Contains(first, "@") && strings.HasPrefix(original, "<") { // a local part, a file or a command
		if address := between(original, "<", ">"); address != "" {
			first = address
		}
	}
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

// eximPort returns the port after an address, with log_selector +outgoing_port, or an empty string.
func eximPort(rest, ip string) string {
	_, port, _ := strings.Cut(rest, " ["+ip+"]:")
	port, _, _ = strings.Cut(port, " ")
	return port
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

// eximOther begin lines of no Kind, with the id of a message or without one.
var eximOther = []string{"exim ", "Start queue run", "End queue run", "Completed", "Frozen", "frozen by ", "Message is frozen", "Unfrozen", "unfrozen by ", "removed by ", "cancelled by ", "retry time ", "TLS session", "TLS error on connection",
	"TLS client ", "no host name found", "no MAIL in ", "SMTP protocol error in ", "address <", "no IP address found", "unexpected disconnection", "lost input connection", "cwd=", "Warning: ", "daemon: ", "SIGHUP received", "pid ", "SMTP connection ", "SMTP command timeout ",
	"SMTP data timeout ", "SMTP protocol violation", "SMTP syntax error", "SMTP error from ", "Remote host ", "Spool file ", "spool file ", "remote host address is the local host", "Connection from ", "connection from ",
	"H=", "host name alias", "list matching forced to fail", "DKIM: ", "DNS list lookup", "PANIC", "failed to ", "unable to ", "could not ", "Failed to ", "Unable to ", "Could not ", "ETRN ", "EXPN ", "VRFY ", "locked by ",
	"original recipients: ", "sender address changed", "routing failed for ", "LMTP error ", "error in ", "expansion ", "*** ", "delivering ", "no immediate delivery", "bind of ", "socket bind()", "Giving up",
	"listen() ", "inetd ", "daemon_smtp_port", "continued connection", "Malformed ", "fixed_", "reading ", "Ignored ", "ignoring ", "message abandoned", "SPF:", "ARC:", "DMARC ", "malware acl ", "spam acl ",
	"spamd: ", "malware", "ident connection ", "host lookup ", "callout ", "sender verify ", "recipient verify ", "cannot ", "Cannot ", "[", "quarantin", "delivered to ", "Recipients refused", "set_process_info", "changed "}

// eximSession reads the other lines: refusals, failed logins, and lines that are only known to be Exim's. It returns
// false if the message cannot be known to be Exim's.
func (e *Event) eximSession(message string) bool {
	switch {
	case strings.Contains(message, " authenticator failed for "):
		e.eximLogin(message)
		return true
	case strings.Contains(message, " authenticator failed H="), strings.Contains(message, " authenticator cancelled authentication H="): // as a client
		return true
	case strings.HasPrefix(message, "H=") && (strings.Contains(message, " rejected AUTH ") || strings.Contains(message, " rejected STARTTLS")):
		e.Kind, e.Client = KindLoginIncomplete, eximHost(message)
		return true
	case e.eximRejected(message):
		return true
	case e.QueueID != "" && strings.HasPrefix(message, "H=") && strings.Contains(message, ": SMTP error "), beginsWith(message, eximOther):
		return true
	case e.QueueID != "":
		e.unknown(suspect(SubjectDeliveries|SubjectRejections|SubjectRefusals|SubjectOutgoing, message))
		return true
	}
	return false
}

// eximLogin reads "plain authenticator failed for (client.example.org) [192.0.2.1]: 535 Incorrect authentication data
// (set_id=alice)".
func (e *Event) eximLogin(message string) {
	name, host, _ := strings.Cut(message, " authenticator failed for ")
	e.Client = eximHost(host)
	e.User = between(message, "(set_id=", ")")
	_, e.Reply, _ = strings.Cut(host, "]")
	_, e.Reply, _ = strings.Cut(e.Reply, ": ") // I=[…]:587 comes before it
	var said Event
	switch said.reply(e.Reply); {
	case said.Code/100 == 4, strings.HasPrefix(e.Reply, "Unable to authenticate at present"):
		e.Kind, e.Service = KindLoginUnjudged, "exim's authenticator "+name
		_, why, _ := strings.Cut(e.Reply, " at present")
		if strings.HasPrefix(why, " (set_id=") {
			_, why, _ = strings.Cut(why, ")")
		}
		if why = strings.TrimPrefix(why, ": "); why != "" {
			e.Reply = why
		}
	case said.Code == 501:
		e.Kind = KindLoginIncomplete
	default:
		e.Kind = KindLoginRefused
	}
}

// eximRejected reads "H=… F=<…> rejected RCPT <…>: reason", "rejected EHLO from [192.0.2.1]: …", "refused connection from
// …", "SMTP call from [192.0.2.1] dropped: …".
func (e *Event) eximRejected(message string) bool {
	var what string
	switch {
	case strings.HasPrefix(message, "H="):
		before, after, found := strings.Cut(message, " rejected ")
		if !found || strings.Contains(before, ": ") { // the other side's words
			return false
		}
		e.Client, what = eximHost(message), after
	case strings.HasPrefix(message, "rejected "), strings.HasPrefix(message, "Rejected "), strings.HasPrefix(message, "temporarily rejected "), strings.HasPrefix(message, "refused connection from "),
		strings.HasPrefix(message, "temporarily refused connection from "), strings.HasPrefix(message, "Connection from ") && strings.Contains(message, " refused: "),
		strings.HasPrefix(message, "SMTP call from ") && strings.Contains(message, " dropped: "), strings.HasPrefix(message, "unqualified ") && strings.Contains(message, " rejected: "),
		strings.HasPrefix(message, "too many recipients: "), strings.HasPrefix(message, "SMTP protocol synchronization error") && strings.Contains(message, ": rejected "):
		_, from, _ := strings.Cut(message, " from ")
		if _, host, ok := strings.Cut(message, " H="); ok {
			from = host
		}
		e.Client, what = eximHost(from), message
	default:
		return false
	}
	e.Kind = KindRejected
	_, e.Reply, _ = strings.Cut(what, ": ")
	if e.reply(e.Reply); e.Code == 0 {
		if e.Code = 550; strings.Contains(message, "temporarily re") {
			e.Code = 451
		}
	}
	return true
}
