package maillog

import "strings"

// sendmail reads sendmail's log: "4AUAB1cd000123: to=<bob@example.net>, delay=00:00:01, mailer=esmtp, relay=mx.example.net.
// [192.0.2.25], dsn=2.0.0, stat=Sent (ok)".
func (e *Event) sendmail(message string) {
	e.Program, e.Daemon = "sendmail", "sendmail"
	if strings.HasPrefix(message, "STARTTLS=server, ") {
		e.Kind, e.TLS, e.Client = KindTLS, true, bracketed(message)
		return
	}
	if strings.HasPrefix(message, "STARTTLS=client, ") {
		e.Kind, e.TLS = KindTLS, true
		_, relay, _ := strings.Cut(message, "relay=")
		e.Relay, _, _ = strings.Cut(relay, ", ")
		return
	}
	if strings.HasPrefix(message, "AUTH=server, ") {
		e.Kind, e.Client = KindSubmitted, bracketed(message)
		_, user, _ := strings.Cut(message, ", authid=")
		e.User, _, _ = strings.Cut(user, ", ")
		return
	}
	if strings.HasPrefix(message, "tls_srv_features=") || strings.HasPrefix(message, "tls_clt_features=") {
		return
	}
	id, rest, ok := strings.Cut(message, ": ")
	if !ok || len(id) < 8 || len(id) > 24 || strings.ContainsAny(id, " =") {
		id, rest = "", message
	}
	e.QueueID = id
	switch {
	case strings.HasPrefix(rest, "AUTH failure"):
		e.Reply = rest
		if e.Kind = saslKind(rest); e.Kind == KindLoginUnjudged {
			e.Service = saslService(rest)
		}
		if i := strings.LastIndex(rest, ", relay="); i >= 0 {
			e.Client = bracketed(rest[i:])
			if j := strings.LastIndex(rest[:i], ", user="); j >= 0 {
				e.User = rest[j+len(", user=") : i]
			}
		}
	case strings.HasPrefix(rest, "ruleset=") && strings.Contains(rest, ", reject="), strings.HasPrefix(rest, "rejecting "):
		e.Kind = KindRejected
		_, e.Reply, _ = strings.Cut(rest, ", reject=")
		if _, from, ok := strings.Cut(rest, ", relay="); ok {
			e.Client = bracketed(from)
		}
		e.reply(e.Reply)
	case strings.HasPrefix(rest, "Milter: ") && strings.Contains(rest, "reject="):
		e.Kind = KindRejected
		_, e.Reply, _ = strings.Cut(rest, "reject=")
		e.reply(e.Reply)
	case strings.HasPrefix(rest, "<") && strings.HasSuffix(rest, "... User unknown"):
		e.Kind, e.Code, e.Status, e.Reply = KindRejected, 550, "5.1.1", rest
	case strings.HasPrefix(rest, "from="):
		if _, from, ok := strings.Cut(rest, ", relay="); ok && strings.Contains(rest, ", nrcpts=") && !strings.Contains(rest, ", nrcpts=0") {
			e.Kind, e.Client = KindReceived, bracketed(from)
			e.TLS = strings.Contains(rest, ", proto=ESMTPS")
		}
	case strings.HasPrefix(rest, "to="):
		e.sendmailDelivery(rest)
	case strings.Contains(rest, ": DSN: "), strings.Contains(rest, ": return to sender: "), strings.Contains(rest, "sender notify: "), strings.Contains(rest, "postmaster notify: "):
	default:
		if strings.Contains(rest, "stat=") {
			e.unknown(SubjectDeliveries)
		}
	}
}

func (e *Event) sendmailDelivery(rest string) {
	e.Recipient = strings.Trim(between(rest, "to=", ", "), "<>")
	i := strings.LastIndex(rest, ", stat=")
	if i < 0 {
		e.unknown(SubjectDeliveries)
		return
	}
	e.Reply = rest[i+len(", stat="):]
	if _, status, ok := strings.Cut(rest[:i], ", dsn="); ok {
		status, _, _ = strings.Cut(status, ", ")
		if isStatus(status) {
			e.Status = status
		}
	}
	if e.Status == "" && !strings.Contains(rest[:i], ", mailer=") { // refused while it came, which is in another line
		if e.Reply == "discarded" {
			e.Kind = KindDiscarded
		}
		return
	}
	network := false
	if _, relay, ok := strings.Cut(rest[:i], ", relay="); ok {
		e.Relay, _, _ = strings.Cut(relay, ", ")
		network = bracketed(e.Relay) != ""
	}
	switch {
	case strings.HasPrefix(e.Reply, "Sent"):
		e.Kind, e.NextID = KindSent, queuedAs(e.Reply)
		switch {
		case e.filtered():
		case network && loopback(bracketed(e.Relay)), givenBack(e.Reply, "", namesFilter(e.Relay)):
			e.Kind = KindHandedOver
		default:
			e.Mailbox = !network
		}
	case e.Reply == "queued", strings.HasPrefix(e.Reply, "Deferred") && strings.Contains(e.Reply, "host status"):
		e.Kind = KindSkipped
	case strings.HasPrefix(e.Reply, "Deferred"), strings.HasPrefix(e.Status, "4"):
		e.Kind = KindDeferred
	case strings.HasPrefix(e.Status, "5"), strings.HasPrefix(e.Reply, "User unknown"), strings.HasPrefix(e.Reply, "Host unknown"), strings.HasPrefix(e.Reply, "Service unavailable"):
		e.Kind = KindBounced
	default:
		e.unknown(SubjectDeliveries)
		return
	}
	if _, said, ok := strings.Cut(rest[:i], ", reply="); ok && (e.Kind == KindBounced || e.Kind == KindDeferred) {
		e.Reply = said
	}
	e.reply(strings.TrimPrefix(strings.TrimPrefix(e.Reply, "Sent ("), "Deferred: "))
}
