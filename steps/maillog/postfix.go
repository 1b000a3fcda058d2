package maillog

import (
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
	if slash < 0 || !postfixDaemons[program[slash+1:]] {
		return ""
	}
	return program[slash+1:]
}

func (e *Event) postfix(daemon, message string) {
	id, rest, ok := strings.Cut(message, ": ")
	if ok && (isPostfixID(id) || id == "NOQUEUE") {
		if id != "NOQUEUE" {
			e.QueueID = id
		}
		switch {
		case strings.HasPrefix(rest, "to=<"):
			e.postfixDelivery(rest)
		case strings.HasPrefix(rest, "client="):
			e.postfixClient(rest)
		case strings.HasPrefix(rest, "reject: "), strings.HasPrefix(rest, "milter-reject: "):
			e.postfixReject(rest)
		case strings.HasPrefix(rest, "message-id="):
			e.MessageID = between(rest, "<", ">")
		case strings.HasPrefix(rest, "from=<") && daemon == "qmgr" && strings.Contains(rest, ">, status=") && strings.HasSuffix(rest, "expired, returned to sender"):
			e.Kind = KindExpired
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
	case strings.HasPrefix(message, "warning: ") && strings.Contains(message, ": SASL ") && strings.Contains(message, " authentication failed"):
		e.Kind, e.Client = KindLoginRefused, bracketed(message)
		if _, user, ok := strings.Cut(message, ", sasl_username="); ok {
			e.User = user
		}
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
func (e *Event) postfixDelivery(rest string) {
	rest, ok := strings.CutPrefix(rest, "to=<")
	if !ok {
		return
	}
	e.Recipient, rest, _ = strings.Cut(rest, ">, ")
	for rest != "" {
		name, after, found := strings.Cut(rest, "=")
		if !found {
			return
		}
		if name == "status" {
			status, text, _ := strings.Cut(after, " (")
			e.Reply = strings.TrimSuffix(text, ")")
			switch status {
			case "sent":
				e.Kind = KindSent
				e.NextID = queuedAs(e.Reply)
			case "deferred":
				e.Kind = KindDeferred
			case "bounced":
				e.Kind = KindBounced
			}
			text = e.Reply
			if _, said, ok := strings.Cut(text, " said: "); ok && e.Kind != KindSent {
				text = said
			}
			e.reply(text)
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

// postfixReject reads "reject: RCPT from host[address]: 550 5.1.1 …".
func (e *Event) postfixReject(rest string) {
	e.Kind = KindRejected
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
	if e.Code == 0 && e.Status != "" { // a milter's text: Postfix sends it with its own code
		e.Code = map[byte]int{'4': 451, '5': 550}[e.Status[0]]
	}
}
