package maillog

import (
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// postfixDaemons are the programs of Postfix by their own names. syslog_name may put any text before the slash.
var postfixDaemons = map[string]bool{
	"anvil": true, "bounce": true, "cleanup": true, "defer": true, "discard": true, "dnsblog": true, "error": true, "flush": true, "lmtp": true, "local": true,
	"master": true, "oqmgr": true, "pickup": true, "pipe": true, "postalias": true, "postcat": true, "postdrop": true, "postfix-script": true,
	"postlog": true, "postlogd": true, "postmap": true, "postqueue": true, "postscreen": true, "postsuper": true, "proxymap": true, "proxywrite": true, "qmgr": true,
	"qmqpd": true, "retry": true, "scache": true, "sendmail": true, "showq": true, "smtp": true, "smtpd": true, "spawn": true, "tlsmgr": true,
	"tlsproxy": true, "trace": true, "trivial-rewrite": true, "verify": true, "virtual": true,
}

// postfixDaemon returns the daemon in a tag such as "postfix/submission/smtpd", or an empty string.
func postfixDaemon(program string) string {
	slash := strings.LastIndexByte(program, '/')
	if slash < 0 || !postfixDaemons[program[slash+1:]] || strings.HasPrefix(program, "cyrus/") {
		return ""
	}
	return program[slash+1:]
}

// postfixSubjects are what the daemons report. A line of any other daemon is about none of the subjects.
var postfixSubjects = map[string]Subject{
	"smtpd": SubjectLogins | SubjectRefusals | SubjectRejections | SubjectIncoming, "postscreen": SubjectRejections, "cleanup": SubjectRejections,
	"smtp": SubjectDeliveries | SubjectOutgoing, "lmtp": SubjectDeliveries, "local": SubjectDeliveries, "virtual": SubjectDeliveries, "pipe": SubjectDeliveries,
	"error": SubjectDeliveries, "retry": SubjectDeliveries, "discard": SubjectDeliveries, "qmgr": SubjectDeliveries, "oqmgr": SubjectDeliveries,
}

// postfixOfMessage begin lines of no Kind after a queue id.
var postfixOfMessage = []string{"removed", "from=<", "uid=", "resent-message-id=", "sender ", "postmaster ", "host ", "hold: ", "warn: ", "warning: ", "info: ", "prepend: ", "replace: ",
	"filter: ", "redirect: ", "bcc: ", "delay: ", "permit", "pass: ", "reject_warning: ", "strip: ", "ignore: ", "milter-", "lost connection ", "timeout after ",
	"too many errors after ", "improper command pipelining ", "abort: ", "enabling PIX ", "Cannot start TLS: ", "TLS is required", "TLSRPT: ", "conversation with ", "Host offered STARTTLS", "Server certificate ",
	"certificate ", "skipped, still being delivered", "breaking line ", "connect to ", "SASL authentication failed", "passing ", "non-delivery notification", "delivery status notification", "REQUIRETLS",
	"table ", "daemon "}

// postfixOther begin lines of no Kind without a queue id. CONNECT, PASS and the like are postscreen's.
var postfixOther = []string{"statistics: ", "lost connection ", "timeout after ", "too many errors after ", "improper command pipelining ", "SSL_accept error ", "setting up TLS connection ",
	"Trusted: ", "Untrusted: ", "connect to ", "table ", "fatal: ", "error: ", "panic: ", "using backwards-compatible ", "Refusing ", "Wrapper-mode request ", "New TLS session rate ",
	"initializing the ", "CONNECT from ", "DISCONNECT ", "PASS ", "PREGREET ", "HANGUP ", "DNSBL ", "BLACKLISTED ", "DENYLISTED ", "WHITELISTED ", "ALLOWLISTED ", "WHITELIST VETO ", "ALLOWLIST VETO ",
	"BARE NEWLINE ", "COMMAND ", "NON-SMTP ", "cache ", "entering STRESS ", "leaving STRESS ", "certificate verification failed ", "server certificate verification failed ", "Server certificate ",
	"Host offered ", "looking for ", "discarding EHLO ", "removed ", "unable to ", "mapping DSN status ", "MTA-STS ", "TLSRPT: ", "reload", "daemon started ", "< ", "> ", ">>>", "warning: ", "SASL authentication info: ", "SASL authentication debug: ", "SASL authentication trace: ",
	"SASL authentication pass: ", "SASL per-"}

// syslogName returns what syslog_name adds to a tag: "amavis" of "postfix/amavis/smtp".
func syslogName(program string) string {
	_, rest, _ := strings.Cut(program, "/")
	name, _, found := strings.Cut(rest, "/")
	if !found {
		return ""
	}
	return name
}

func (e *Event) postfix(daemon, message string) {
	if e.Daemon = e.Program; len(e.Program) != len("postfix/")+len(daemon) || e.Program[:len("postfix/")] != "postfix/" {
		e.Daemon = "postfix/" + daemon
	}
	id, rest, ok := strings.Cut(message, ": ")
	if ok && (isPostfixID(id) || id == "NOQUEUE") {
		if id != "NOQUEUE" {
			e.QueueID = id
		}
		switch {
		case strings.HasPrefix(rest, "to=<"):
			e.postfixDelivery(daemon, rest)
		case strings.HasPrefix(rest, "client="):
			e.postfixClient(rest)
		case strings.HasPrefix(rest, "reject: "), strings.HasPrefix(rest, "milter-reject: "), strings.HasPrefix(rest, "proxy-reject: "):
			e.postfixReject(rest)
		case strings.HasPrefix(rest, "milter-discard: "), strings.HasPrefix(rest, "discard: "):
			e.Kind, e.Recipient = KindDiscarded, between(rest, " to=<", ">")
			e.Reply, _, _ = strings.Cut(rest, "; from=<")
		case strings.HasPrefix(rest, "proxy-accept: "):
			e.postfixProxied(rest)
		case strings.HasPrefix(rest, "message-id="):
			e.MessageID = between(rest, "<", ">")
		case strings.HasPrefix(rest, "from=<") && strings.Contains(rest, ">, status="):
			if strings.HasSuffix(rest, "expired, returned to sender") { // also force-expired
				e.Kind = KindExpired
			} else {
				e.unknown(SubjectDeliveries)
			}
		case beginsWith(rest, postfixOfMessage):
		default:
			e.postfixUnknown(daemon, rest)
		}
		return
	}
	switch {
	case strings.HasPrefix(message, "connect from "):
		e.Kind, e.Client = KindConnected, bracketed(message)
	case strings.HasPrefix(message, "disconnect from "):
		e.Kind, e.Client = KindDisconnected, bracketed(message)
		for word := range strings.FieldsSeq(message) {
			if n, ok := strings.CutPrefix(word, "mail="); ok {
				n, _, _ = strings.Cut(n, "/")
				e.Mails, _ = number(n)
			}
			e.TLS = e.TLS || word == "starttls=1"
		}
	case strings.Contains(message, " TLS connection established "), strings.Contains(message, " TLS connection reused "):
		e.Kind, e.TLS = KindTLS, true
		if _, to, ok := strings.Cut(message, "ed to "); ok {
			if end := strings.Index(to, ": "); end >= 0 {
				e.Relay = to[:end]
			}
		} else {
			e.Client = bracketed(message)
		}
	case strings.HasPrefix(message, "SSL_connect error to "), strings.HasPrefix(message, "Cannot start TLS"):
		e.Kind = KindNoTLS
	case strings.HasPrefix(message, "proxy-reject: "):
		e.postfixReject(message)
	case strings.HasPrefix(message, "proxy-accept: "):
		e.postfixProxied(message)
	case strings.HasPrefix(message, "warning: "):
		if daemon == "smtpd" {
			e.postfixWarning(message[len("warning: "):])
		}
	case message == "fatal: no SASL authentication mechanisms":
		e.Kind, e.Service, e.Reply = KindAuthDown, "the service of smtpd_sasl_path", "no SASL authentication mechanisms"
	case beginsWith(message, postfixOther):
	default:
		e.postfixUnknown(daemon, message)
	}
}

// postfixUnknown marks a line that no pattern knows. With -v Postfix logs its inner life, by the names of functions:
// "smtp_stream_setup: maxtime=300".
func (e *Event) postfixUnknown(daemon, text string) {
	name, _, _ := strings.Cut(text, ": ")
	if strings.Contains(name, "_") && !strings.ContainsAny(name, " <@[") {
		return
	}
	if of := postfixSubjects[daemon]; of != 0 {
		e.unknown(suspect(of, text))
	}
}

// proxyDown begins the only line about a message that Postfix refuses because its filter before the queue is down.
const proxyDown = "connect to proxy filter "

// postfixWarning reads what smtpd logs of a login: "client.example.org[192.0.2.1]: SASL PLAIN authentication failed:
// reason, sasl_username=name", and what its SASL library says of itself.
func (e *Event) postfixWarning(text string) {
	if strings.HasPrefix(text, proxyDown) {
		e.Kind, e.Reply, e.Code, e.Status = KindRejected, text, 451, "4.3.0"
		return
	}
	if said, ok := strings.CutPrefix(text, "SASL: Connect to Dovecot auth socket "); ok {
		e.Kind, e.Service, e.Reply = KindAuthDown, between(said, "'", "'"), text
		return
	}
	if said, ok := strings.CutPrefix(text, "SASL authentication failure: "); ok {
		if strings.Contains(said, "cannot connect to saslauthd") {
			e.Kind, e.Service, e.Reply = KindAuthDown, "saslauthd", said
		}
		return
	}
	if strings.HasPrefix(text, "SASL authentication problem: ") { // mostly of a plugin that nobody uses: "unable to open Berkeley db /etc/sasldb2"
		return
	}
	client, sasl, ok := strings.Cut(text, ": SASL ")
	if !ok {
		if strings.Contains(text, "SASL") {
			e.unknown(suspect(SubjectRefusals, text))
		}
		return
	}
	_, reason, failed := strings.Cut(sasl, " authentication failed")
	aborted := strings.Contains(sasl, " authentication aborted")
	switch {
	case aborted:
		e.Kind = KindLoginIncomplete
	case failed:
		reason = strings.TrimPrefix(reason, ": ")
		if i := strings.LastIndex(reason, ", sasl_username="); i >= 0 {
			reason, e.User = reason[:i], reason[i+len(", sasl_username="):]
		}
		e.Kind, e.Reply = loginKind(reason), reason
		if e.Kind == KindLoginUnjudged {
			e.Service = saslService(reason)
		}
	default:
		e.unknown(suspect(SubjectRefusals, text))
		return
	}
	e.Client = bracketed(client)
}

// Reasons of a SASL library or of Dovecot, in lower case, for a login whose password nobody judged.
var (
	reasonsOfFault = []string{"connection lost to authentication", "generic failure", "temporary", "temp_fail", "cannot connect", "unable to connect", "system error", "internal error", "timed out", "timeout",
		"remote authentication server unavailable", "authentication server"}
	reasonsOfClient = []string{"invalid authentication mechanism", "no mechanism available", "unsupported", "invalid base64", "bad protocol", "cancel", "abort", "encryption needed", "mechanism too weak",
		"encryption required", "another step is needed"}
)

// loginKind returns what a reason for a refused login means.
func loginKind(reason string) Kind {
	reason = strings.ToLower(reason)
	for _, words := range []struct {
		texts []string
		kind  Kind
	}{{reasonsOfFault, KindLoginUnjudged}, {reasonsOfClient, KindLoginIncomplete}} {
		for _, text := range words.texts {
			if strings.Contains(reason, text) {
				return words.kind
			}
		}
	}
	return KindLoginRefused
}

// saslService names the service to look at after a failure of a SASL library.
func saslService(reason string) string {
	switch {
	case strings.Contains(reason, "saslauthd"):
		return "saslauthd"
	case strings.Contains(reason, "generic failure"):
		return "the service of Cyrus SASL (saslauthd, or what its smtpd.conf names)"
	case strings.Contains(reason, "authentication server"):
		return "the service of smtpd_sasl_path (Dovecot auth)"
	default:
		return "the SASL library's service or database"
	}
}

// isPostfixID reports whether s can be a queue id: hexadecimal, or the long form.
func isPostfixID(s string) bool {
	if len(s) < 5 || len(s) > 25 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return s != "warning" && s != "fatal" && s != "error" && s != "panic" && s != "statistics" && s != "table"
}

// postfixDelivery reads "to=<…>, orig_to=<…>, relay=…, delay=…, delays=a/b/c/d, dsn=…, status=… (…)".
func (e *Event) postfixDelivery(daemon, rest string) {
	rest, ok := strings.CutPrefix(rest, "to=<")
	if !ok {
		return
	}
	e.Recipient, rest, _ = strings.Cut(rest, ">, ")
	for rest != "" {
		name, after, found := strings.Cut(rest, "=")
		if !found {
			break
		}
		if name == "status" {
			e.postfixStatus(daemon, after)
			return
		}
		separator := ", "
		if name == "orig_to" {
			separator = ">, "
		}
		var value string
		value, rest, _ = strings.Cut(after, separator)
		switch name {
		case "relay":
			e.Relay = value
		case "dsn":
			if isStatus(value) {
				e.Status = value
			}
		case "delays":
			e.Delays = postfixDelays(value)
		}
	}
	e.unknown(SubjectDeliveries)
}

// postfixStatus reads "sent (250 2.0.0 Ok: queued as …)".
func (e *Event) postfixStatus(daemon, after string) {
	status, text, _ := strings.Cut(after, " (")
	e.Reply = strings.TrimSuffix(text, ")")
	switch status {
	case "sent":
		e.Kind = KindSent
		e.NextID = queuedAs(e.Reply)
		switch {
		case daemon == "discard", daemon == "local" && (e.Reply == "discarded" || e.Reply == "delivered to file: /dev/null"):
			e.Kind = KindDiscarded
		case daemon != "pipe" && e.filtered():
		case handedOver(daemon, e.Relay, e.Reply), namesFilter(syslogName(e.Program)):
			e.Kind = KindHandedOver
		default:
			e.Mailbox = daemon != "smtp"
		}
	case "deferred", "SOFTBOUNCE": // the latter with soft_bounce = yes
		e.Kind = KindDeferred
		if strings.HasPrefix(e.Reply, "delivery temporarily suspended: ") || e.Reply == "deferred transport" {
			e.Kind = KindSkipped
		}
	case "bounced":
		e.Kind = KindBounced
	case "deliverable", "undeliverable", "deliverable-but-not-cached", "undeliverable-but-not-cached": // a question, not a message
	default:
		e.unknown(SubjectDeliveries)
		return
	}
	if e.Kind == KindDeferred || e.Kind == KindBounced {
		e.Here = serviceHere(e.Relay, e.Reply)
	}
	text = e.Reply
	if _, said, ok := strings.Cut(text, " said: "); ok && e.Kind != KindSent {
		text = said
	}
	e.reply(text)
}

// filters are in the names of programs and of Postfix's transports that examine a message and hand it back.
var filters = []string{"filter", "amavis", "spam", "rspam", "clam", "virus", "scan", "dkim", "altermime", "disclaimer", "cyphermail", "ciphermail", "zeyple", "gpg-mail"}

// namesFilter reports whether the name of a transport or relay is that of a filter.
func namesFilter(name string) bool {
	if name == "" {
		return false
	}
	name = strings.ToLower(name)
	for _, filter := range filters {
		if strings.Contains(name, filter) {
			return true
		}
	}
	return false
}

// handedOver reports whether a message that Postfix sent stays on this machine without being in a mailbox: a filter
// hands it back, or another queue id continues it. A store that is reached by LMTP on this machine is a mailbox; what
// it answers is not "queued as". A host of another machine may have a filter's name: it is the MX of many domains.
func handedOver(daemon, relay, reply string) bool {
	switch daemon {
	case "local":
		return strings.HasPrefix(reply, "forwarded as ")
	case "pipe":
		return namesFilter(relay)
	case "smtp", "lmtp":
		inside := between(relay, "[", "]")
		socket := strings.Contains(inside, "/")
		here := loopback(strings.TrimPrefix(inside, "IPv6:"))
		switch {
		case here && daemon == "smtp", givenBack(reply, relay[strings.LastIndexByte(relay, ':')+1:], false), inside == "" && namesFilter(relay):
			return true
		case socket || here:
			return strings.Contains(reply, "queued as ") || namesFilter(relay)
		}
		return filterByPort(relay)
	}
	return false
}

// filterByPort reports whether a relay is a port that amavis and its like use by convention, at a private address: in a
// container.
func filterByPort(relay string) bool {
	if !strings.HasSuffix(relay, "]:10024") && !strings.HasSuffix(relay, "]:10026") {
		return false
	}
	ip, err := netip.ParseAddr(strings.TrimPrefix(between(relay, "[", "]"), "IPv6:"))
	return err == nil && ip.IsPrivate()
}

// givenBack reports whether a reply of another host is that of an amavis that gave the message back to this one: it
// quotes what the server answered that it gave the message to. The amavis before the queue of an MX answers in the same
// words, at port 25, and gives the message to its own server. Without a port, the address of that server decides, or
// whether the configuration names the filter.
func givenBack(reply, port string, named bool) bool {
	_, server, ok := strings.Cut(reply, " from MTA(")
	switch {
	case !ok:
		return false
	case port != "":
		return port != "25" && port != "465" && port != "587"
	}
	return named || !loopback(bracketed(server))
}

// filtered reads from a reply with which amavis accepts a message that it does not pass on: "Ok, discarded, id=00079-03 -
// spam", "Ok, id=00081-02, BOUNCE" after it notified the sender, "Ok, id=00082-03, DISCARD(bounce.suppressed)", and by
// LMTP "Ok <bob@example.org>, DSN was sent (554 5.7.0 Bounce, …)" or "DSN suppressed (…)". Whose amavis it is does not
// matter. It returns false for any other reply.
func (e *Event) filtered() bool {
	_, said, ok := strings.Cut(e.Reply, "Ok")
	switch {
	case !ok || len(e.Reply) > 1000:
		return false
	case strings.HasPrefix(said, ", discarded"), strings.HasPrefix(said, ", id=") && strings.Contains(said, ", DISCARD"), strings.HasPrefix(said, " <") && strings.Contains(said, ">, DSN suppressed "):
		e.Kind = KindDiscarded
	case strings.HasPrefix(said, ", id=") && strings.Contains(said, ", BOUNCE"), strings.HasPrefix(said, " <") && strings.Contains(said, ">, DSN was sent "):
		e.Kind = KindBounced
	default:
		return false
	}
	e.NextID, e.Mailbox = "", false
	return true
}

// ofThisMachine reports whether a relay "name[address]:port" is a socket or a loopback address.
func ofThisMachine(relay string) bool {
	inside := between(relay, "[", "]")
	return strings.Contains(inside, "/") || loopback(address(inside))
}

// loopback reports whether an address, as address returns it, is one of this machine alone.
func loopback(ip string) bool { return ip == "::1" || strings.HasPrefix(ip, "127.") }

// serviceHere returns the service at a loopback address that a delivery failed at, or an empty string. Without a
// connection only the reason names it: "connect to 127.0.0.1[127.0.0.1]:10024: Connection refused".
func serviceHere(relay, reason string) string {
	if to, ok := strings.CutPrefix(reason, "connect to "); ok && relay == "none" {
		relay, _, _ = strings.Cut(to, ": ")
	}
	if loopback(address(between(relay, "[", "]"))) {
		return relay
	}
	return ""
}

// postfixDelays reads "0.12/0.01/0.01/0.01". It returns nil for anything else.
func postfixDelays(s string) []time.Duration {
	parts := strings.Split(s, "/")
	if len(parts) != 4 {
		return nil
	}
	delays := make([]time.Duration, len(parts))
	for i, part := range parts {
		seconds, err := strconv.ParseFloat(part, 64)
		if err != nil || !(seconds >= 0 && seconds < 1e9) {
			return nil
		}
		delays[i] = time.Duration(seconds * float64(time.Second))
	}
	return delays
}

// postfixClient reads "client=host[address], sasl_method=…, sasl_username=…".
func (e *Event) postfixClient(rest string) {
	e.Kind, e.Client = KindReceived, bracketed(rest)
	if _, user, ok := strings.Cut(rest, ", sasl_username="); ok {
		e.User, _, _ = strings.Cut(user, ", ")
		e.Kind = KindSubmitted
	}
}

// postfixProxied reads what a filter before the queue answered: "proxy-accept: END-OF-MESSAGE: 250 2.0.0 …; from=<…> to=<…>".
// What it passed on is in other lines.
func (e *Event) postfixProxied(rest string) {
	_, text, _ := strings.Cut(strings.TrimPrefix(rest, "proxy-accept: "), ": ")
	text, addresses, _ := strings.Cut(text, "; from=<")
	e.Reply = text
	if e.filtered() {
		e.Recipient = between(addresses, " to=<", ">")
		e.reply(text)
	} else {
		e.Reply = ""
	}
}

// postfixReject reads "reject: RCPT from host[address]: 550 5.1.1 …".
func (e *Event) postfixReject(rest string) {
	e.Kind = KindRejected
	if proxied, ok := strings.CutPrefix(rest, "proxy-reject: "); ok { // END-OF-MESSAGE: 554 5.7.1 …; from=<…>
		_, text, _ := strings.Cut(proxied, ": ")
		e.Reply, _, _ = strings.Cut(text, "; from=<")
		e.reply(e.Reply)
		return
	}
	if strings.HasPrefix(rest, "reject: header ") || strings.HasPrefix(rest, "reject: body ") {
		e.postfixContent(rest)
		return
	}
	_, from, ok := strings.Cut(rest, " from ")
	if !ok {
		return
	}
	e.Client = bracketed(from)
	_, text, ok := strings.Cut(from, "]")
	if !ok {
		return
	}
	_, text, _ = strings.Cut(text, ": ") // postscreen puts the port in between
	e.Reply, _, _ = strings.Cut(text, "; from=<")
	e.reply(text)
	e.codeOfStatus()
}

// codeOfStatus sets the code that Postfix sends with a text of a milter or a table, which has a status alone.
func (e *Event) codeOfStatus() {
	if e.Code == 0 && e.Status != "" {
		e.Code = map[byte]int{'4': 451, '5': 550}[e.Status[0]]
	}
}

// postfixContent reads "reject: header Subject: … from host[address]; from=<…> to=<…> proto=ESMTP helo=<…>: 5.7.1 …". The
// content may say anything.
func (e *Event) postfixContent(rest string) {
	i := strings.LastIndex(rest, "; from=<")
	if i < 0 {
		return
	}
	before, after := rest[:i], rest[i:]
	if j := strings.LastIndex(before, " from "); j >= 0 {
		e.Client = bracketed(before[j:])
	}
	if j := strings.LastIndex(after, ">: "); j >= 0 {
		e.Reply = after[j+len(">: "):]
	}
	e.reply(e.Reply)
	e.codeOfStatus()
}
