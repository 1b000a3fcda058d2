package maillog

import "strings"

// opensmtpdOther begin lines that are not of a session.
var opensmtpdOther = []string{"info: ", "warn: ", "fatal: ", "debug: ", "smtp-out: ", "smtp-in: ", "mta: ", "mda: ", "queue: ", "scheduler: ", "bounce: ", "dns: ", "filter: ", "lka: ", "table-", "commands executed from aliases ", "log: "}

// opensmtpd reads OpenSMTPD's log: "01f3b44e2d102c45 smtp connected address=192.0.2.1 host=client.example.org". A line
// has the session's id; the address, the user and the encryption are in other lines of the same session.
func (e *Event) opensmtpd(message string) {
	e.Daemon = "opensmtpd/smtpd"
	session, rest, _ := strings.Cut(message, " ")
	if !isSession(session) {
		if process, rest, ok := strings.Cut(message, ": "); ok && (process == "relay" || process == "delivery" || process == "bounce") {
			e.opensmtpdEnvelope(rest)
			return
		}
		if !beginsWith(message, opensmtpdOther) && !strings.HasPrefix(message, "/") {
			e.unknown(suspect(subjectsOfMTA, message))
		}
		return
	}
	e.Session = "smtpd " + session
	process, rest, _ := strings.Cut(rest, " ")
	what, fields, _ := strings.Cut(rest, " ")
	fields = " " + fields
	switch process + " " + what {
	case "smtp connected":
		e.Kind = KindConnected
		if e.Client = address(field(fields, "address")); strings.HasPrefix(field(fields, "address"), "local") {
			e.Client = "127.0.0.1" // by sendmail(8)
		}
	case "smtp disconnected":
		e.Kind = KindDisconnected
	case "smtp tls", "mta tls":
		e.Kind, e.TLS = KindTLS, true
	case "smtp authentication":
		e.User = field(fields, "user")
		switch result := field(fields, "result"); result {
		case "ok":
			e.Kind = KindSubmitted
		case "permfail":
			e.Kind = KindLoginRefused
		case "tempfail":
			e.Kind, e.Service, e.Reply = KindLoginUnjudged, "opensmtpd's table of accounts", "result=tempfail"
		default:
			e.unknown(SubjectLogins | SubjectRefusals)
		}
	case "smtp message":
		e.Kind, e.QueueID = KindReceived, field(fields, "msgid")
	case "smtp envelope":
		e.QueueID = envelopeOf(field(fields, "evpid"))
	case "smtp failed-command":
		e.opensmtpdRefused(fields)
	case "mda delivery", "mta delivery":
		e.opensmtpdDelivery(process, fields)
	case "smtp bad-input", "smtp starttls", "smtp ciphers", "smtp cert-check", "smtp client-cert-check", "mta connecting", "mta connected", "mta disconnected", "mta error", "mta closing", "mta cert-check", "mta server-cert-check",
		"mta host-rejects-all-mails", "mta starttls", "mda error", "filters session-begin", "filters session-end", "filters protocol", "filters data-begin", "filters data-end":
	default:
		e.unknown(suspect(subjectsOfMTA, rest))
	}
}

// isSession reports whether s is the id of a session of OpenSMTPD: 16 hexadecimal digits.
func isSession(s string) bool {
	if len(s) != 16 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// envelopeOf returns the id of the message that an envelope is of, which is what the server told the client.
func envelopeOf(id string) string { return id[:min(len(id), 8)] }

// field returns the value of " name=value", in quotes, in angle brackets or to the next blank. The values before it may
// hold what a client sent.
func field(fields, name string) string {
	i := strings.LastIndex(fields, " "+name+"=")
	if i < 0 {
		return ""
	}
	value := fields[i+len(name)+2:]
	if strings.HasPrefix(value, `"`) {
		value = value[1:]
		if end := strings.LastIndexByte(value, '"'); end >= 0 {
			if next := strings.Index(value, `" `); next >= 0 {
				end = next
			}
			return value[:end]
		}
		return value
	}
	if strings.HasPrefix(value, "<") {
		value, _, _ = strings.Cut(value[1:], ">")
		return value
	}
	value, _, _ = strings.Cut(value, " ")
	return value
}

// opensmtpdRefused reads a command that the server refused. A refused password has a line of its own.
func (e *Event) opensmtpdRefused(fields string) {
	command := strings.ToUpper(field(fields, "command"))
	e.Reply = field(fields, "result")
	e.reply(e.Reply)
	switch {
	case strings.HasPrefix(command, "AUTH"):
		if e.Code != 535 && e.Code/100 == 5 {
			e.Kind = KindLoginIncomplete
		}
	case e.Code == 503 || e.Code < 400: // an artefact of an earlier refusal
	case strings.HasPrefix(command, "MAIL FROM"), strings.HasPrefix(command, "RCPT TO"), strings.HasPrefix(command, "DATA"), command == ".":
		e.Kind = KindRejected
	}
}

// opensmtpdDelivery reads the outcome for a recipient, by the program for local mailboxes (mda) or for other servers
// (mta).
func (e *Event) opensmtpdDelivery(process, fields string) {
	e.QueueID, e.Recipient = envelopeOf(field(fields, "evpid")), field(fields, "to")
	_, e.Reply, _ = strings.Cut(fields, " stat=")
	e.Reply = strings.Trim(e.Reply, `"`)
	if process == "mta" { // "192.0.2.25 (mx.example.org)", or a name before it was looked up
		ip, name, _ := strings.Cut(field(fields, "relay"), " (")
		e.Relay = strings.TrimSuffix(name, ")") + "[" + ip + "]"
	}
	switch field(fields, "result") {
	case "Ok":
		e.Kind, e.NextID = KindSent, queuedAs(e.Reply)
		e.Mailbox = process == "mda"
		if !e.Mailbox && !e.filtered() && (ofThisMachine(e.Relay) || givenBack(e.Reply, "", false)) {
			e.Kind = KindHandedOver
		}
	case "TempFail":
		e.Kind = KindDeferred
	case "PermFail", "Loop":
		e.Kind = KindBounced
	case "Expired":
		e.Kind = KindExpired
	default:
		e.unknown(SubjectDeliveries)
		return
	}
	e.reply(e.Reply)
}

// opensmtpdEnvelope reads "Expire for 1a79a4d60de6718e: from=<…>, to=<…>, rcpt=<…>, delay=4d, stat=…", and the outcomes
// that old versions wrote so.
func (e *Event) opensmtpdEnvelope(rest string) {
	what, fields, _ := strings.Cut(rest, " for ")
	id, fields, _ := strings.Cut(fields, ": ")
	e.QueueID = envelopeOf(id)
	e.Recipient = between(fields, "to=<", ">")
	_, e.Reply, _ = strings.Cut(fields, ", stat=")
	switch what {
	case "Ok":
		e.Kind = KindSent
	case "TempFail":
		e.Kind = KindDeferred
	case "PermFail":
		e.Kind = KindBounced
	case "Expire":
		e.Kind = KindExpired
	case "Remove":
	default:
		e.unknown(SubjectDeliveries)
	}
}
