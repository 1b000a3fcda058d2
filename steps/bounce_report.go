package steps

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"regexp"
	"strings"

	"github.com/stepwatch/stepwatch/steps/message"
)

// bounceReport is a delivery status notification (RFC 3464, RFC 6533): what a server reports to the sender about a
// message.
type bounceReport struct {
	reporter   string // Reporting-MTA, the host that wrote it
	envelopeID string // Original-Envelope-Id: the ENVID of the submission, if it had one (RFC 3461)
	queueID    string // X-Postfix-Queue-ID, as in Postfix's reply to the message
	references string // In-Reply-To and References of the report itself
	recipients []reportRecipient
	original   message.Header // header of the reported message, as far as it was returned
	text       string         // the text for people, at most reportTextLimit bytes
}

// reportRecipient is the outcome for one recipient.
type reportRecipient struct {
	address    string // Final-Recipient
	action     string // "failed", "delayed", "delivered", "relayed" or "expanded"; lower case
	status     string // RFC 3463: "5.1.1"
	diagnostic string // the reply of the refusing server: "550 5.1.1 <bob@example.org>: user unknown"
	remote     string // Remote-MTA, the host that replied so; empty if the reporter itself refused
}

const (
	reportTextLimit      = 16 << 10 // bytes of the text for people that are kept
	reportRecipientLimit = 100
	reportDepthLimit     = 5 // of nested parts
)

var errNoReport = errors.New("not a delivery report")

var statusCode = regexp.MustCompile(`\b[245]\.\d{1,3}\.\d{1,3}\b`)

// parseReport parses a delivery report. It is lenient where a report deviates from the standard. The error is
// errNoReport if the message is something else. Exim and qmail still send bounces from before RFC 3464: parseReport
// recognises them by X-Failed-Recipients and by qmail's first line, and searches their text for the status.
func parseReport(raw []byte) (*bounceReport, error) {
	header, body := blockOf(raw)
	r := &bounceReport{references: header.Line("In-Reply-To") + " " + header.Line("References")}
	kind, params, _ := mime.ParseMediaType(header.Line("Content-Type")) // the type may be usable even if the rest is not
	if kind == "multipart/report" && (params["report-type"] == "" || strings.HasSuffix(strings.ToLower(params["report-type"]), "delivery-status")) {
		r.parts(body, params["boundary"], 0)
		if len(r.recipients) > 0 {
			return r, nil
		}
		return nil, errNoReport
	}
	failed := header.Line("X-Failed-Recipients")
	text := string(decoded(header, body))
	const qmail = "Hi. This is the qmail-send program"
	if failed == "" && !strings.HasPrefix(strings.TrimSpace(text), qmail) {
		return nil, errNoReport
	}
	explained, returned, found := cutReturned(text)
	if found {
		r.original, _ = blockOf([]byte(returned))
	}
	r.text = capped(explained, reportTextLimit)
	for i, address := range strings.Split(failed, ",") {
		if i == reportRecipientLimit {
			break
		}
		r.recipients = append(r.recipients, reportRecipient{address: strings.TrimSpace(address), action: "failed",
			status: statusCode.FindString(r.text), diagnostic: diagnosticIn(r.text)})
	}
	return r, nil
}

// parts reads the parts of a multipart body.
func (r *bounceReport) parts(body []byte, boundary string, depth int) {
	if boundary == "" || depth > reportDepthLimit {
		return
	}
	reader := multipart.NewReader(bytes.NewReader(body), boundary)
	for {
		part, err := reader.NextRawPart()
		if err != nil {
			return // the end, or a truncated part: the parts before it count
		}
		raw, _ := io.ReadAll(part) // a truncated part counts as far as it goes
		var header message.Header
		for name, values := range part.Header { // already parsed by the library
			header = append(header, message.Field{Name: name, Value: values[0], Raw: name + ": " + values[0] + "\r\n"})
		}
		content := decoded(header, raw)
		kind, params, _ := mime.ParseMediaType(header.Line("Content-Type"))
		switch {
		case strings.HasPrefix(kind, "multipart/"):
			r.parts(content, params["boundary"], depth+1)
		case kind == "message/delivery-status", kind == "message/global-delivery-status":
			r.status(content)
		case kind == "message/rfc822", kind == "message/global", kind == "text/rfc822-headers", kind == "message/rfc822-headers", kind == "message/global-headers":
			if r.original == nil {
				r.original, _ = blockOf(content)
			}
		case kind == "text/plain", kind == "":
			if r.text == "" {
				r.text = capped(string(content), reportTextLimit)
			}
		}
	}
}

// status reads the machine-readable part (RFC 3464 section 2.1): a block about the message, then one for each
// recipient.
func (r *bounceReport) status(content []byte) {
	for len(content) > 0 && len(r.recipients) < reportRecipientLimit {
		var block message.Header
		block, content = blockOf(content)
		if block.Line("Final-Recipient") == "" && block.Line("Action") == "" {
			if v := block.Line("Reporting-MTA"); v != "" {
				r.reporter = typed(v)
			}
			if v := block.Line("Original-Envelope-ID"); v != "" {
				r.envelopeID = v
			}
			if v := block.Line("X-Postfix-Queue-ID"); v != "" {
				r.queueID = v
			}
			continue
		}
		action, _, _ := strings.Cut(strings.ToLower(block.Line("Action")), " ")
		status, _, _ := strings.Cut(block.Line("Status"), " ")
		r.recipients = append(r.recipients, reportRecipient{address: strings.Trim(typed(block.Line("Final-Recipient")), "<>"), action: action, status: status,
			diagnostic: typed(block.Line("Diagnostic-Code")), remote: typed(block.Line("Remote-MTA"))})
	}
}

// typed returns the value after the type: "bob@example.org" for "rfc822; bob@example.org".
func typed(value string) string {
	if kind, rest, found := strings.Cut(value, ";"); found && !strings.ContainsAny(kind, " @<") {
		value = rest
	}
	return strings.TrimSpace(value)
}

// blockOf reads a message or a block of fields. RFC 3464 separates blocks by one empty line, but some servers write
// more.
func blockOf(raw []byte) (header message.Header, rest []byte) {
	return message.Read(bytes.TrimLeft(raw, "\r\n"))
}

// decoded removes the transfer encoding (RFC 2045 section 6). It returns the content up to the first invalid byte.
func decoded(header message.Header, body []byte) []byte {
	var r io.Reader = bytes.NewReader(body)
	switch strings.ToLower(header.Line("Content-Transfer-Encoding")) {
	case "base64":
		r = base64.NewDecoder(base64.StdEncoding, r)
	case "quoted-printable":
		r = quotedprintable.NewReader(r)
	default:
		return body
	}
	content, _ := io.ReadAll(r) // invalid input ends the content
	return content
}

// cutReturned splits a plain-text bounce where it begins to quote the message.
func cutReturned(text string) (before, returned string, found bool) {
	for _, mark := range []string{"------ This is a copy of the message", "--- Below this line is a copy of the message"} {
		if before, rest, found := strings.Cut(text, mark); found {
			_, returned, _ := strings.Cut(rest, "\n")
			return before, returned, true
		}
	}
	return text, "", false
}

var refusalLine = regexp.MustCompile(`(?m)\b[45]\d\d[ -].*$`)

// diagnosticIn returns a server's refusal from the text for people.
func diagnosticIn(text string) string { return strings.TrimSpace(refusalLine.FindString(text)) }

func capped(text string, limit int) string {
	if len(text) > limit {
		return strings.ToValidUTF8(text[:limit], "")
	}
	return text
}

// about returns the number of the run's message that the report is about, or 0 if it is about another message. It
// checks the returned header first. A report without one is identified by the envelope id, by the message that it
// references, or by the queue id in the server's reply.
func (r *bounceReport) about(run string, sent []*submission) int {
	if run == "" {
		return 0
	}
	for _, s := range sent {
		id := messageID(run, s.number)
		ours := strings.TrimSpace(r.original.Line(headerRun)) == run && ownNumber(r.original.Line(headerMessage)) == s.number ||
			strings.Contains(r.original.Line("Message-ID"), "<"+id+"@") ||
			strings.Contains(r.references, "<"+id+"@") ||
			r.envelopeID == id || strings.HasPrefix(r.envelopeID, id+"@") ||
			r.original == nil && r.queueID != "" && r.queueID == s.reply.QueueID()
		if ours {
			return s.number
		}
	}
	return 0
}

// reason describes the outcome for a recipient: `5.1.1 (it has no such mailbox): 550 5.1.1 user unknown (said by
// mx.example.org)`.
func (r *bounceReport) reason(to reportRecipient) string {
	reason := to.status
	if reason == "" {
		reason = "no status"
	}
	reason += statusHint(to.status)
	if to.diagnostic != "" {
		reason += ": " + oneLine(to.diagnostic, 300)
	}
	switch {
	case to.remote != "" && to.remote != r.reporter:
		reason += " (said by " + oneLine(to.remote, 100) + ", reported by " + oneLine(r.reporter, 100) + ")"
	case r.reporter != "":
		reason += " (reported by " + oneLine(r.reporter, 100) + ")"
	}
	return reason
}
