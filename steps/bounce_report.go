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

// bounceReport is a delivery status notification (RFC 3464, RFC 6533): what a server tells the sender about a message.
type bounceReport struct {
	reporter   string // Reporting-MTA, the host that wrote it
	envelopeID string // Original-Envelope-Id: the ENVID of the submission, when one was given (RFC 3461)
	queueID    string // X-Postfix-Queue-ID, as in Postfix' answer to the message
	references string // In-Reply-To and References of the report itself
	recipients []reportRecipient
	original   message.Header // header of the message that it is about, as far as it was returned
	text       string         // what it tells people, at most reportTextLimit bytes
}

// reportRecipient is what became of the message for one recipient.
type reportRecipient struct {
	address    string // Final-Recipient
	action     string // "failed", "delayed", "delivered", "relayed" or "expanded"; lower case
	status     string // RFC 3463: "5.1.1"
	diagnostic string // what the refusing server said: "550 5.1.1 <bob@example.org>: user unknown"
	remote     string // Remote-MTA, the host that said it; empty when the reporter refused by itself
}

const (
	reportTextLimit      = 16 << 10 // bytes kept of the text for people
	reportRecipientLimit = 100
	reportDepthLimit     = 5 // of parts within parts
)

var errNoReport = errors.New("it is no delivery report")

var statusCode = regexp.MustCompile(`\b[245]\.\d{1,3}\.\d{1,3}\b`)

// parseReport reads a delivery report. What deviates from the standard it takes as far as it can be understood; the error
// is errNoReport when the message is something else. Bounces from before RFC 3464, which Exim and qmail still send, are
// known by X-Failed-Recipients and by qmail's first line; their status is looked for in the text.
func parseReport(raw []byte) (*bounceReport, error) {
	header, body := blockOf(raw)
	r := &bounceReport{references: header.Line("In-Reply-To") + " " + header.Line("References")}
	kind, params, _ := mime.ParseMediaType(header.Line("Content-Type")) // of a broken one the kind may still be right
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

// parts takes in the parts of a multipart body.
func (r *bounceReport) parts(body []byte, boundary string, depth int) {
	if boundary == "" || depth > reportDepthLimit {
		return
	}
	reader := multipart.NewReader(bytes.NewReader(body), boundary)
	for {
		part, err := reader.NextRawPart()
		if err != nil {
			return // the end, or a part cut short: what came before counts
		}
		raw, _ := io.ReadAll(part) // likewise
		var header message.Header
		for name, values := range part.Header { // which the library has read, to find where the part begins
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

// status reads the machine's part (RFC 3464 section 2.1): a block about the message, then one for each recipient.
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

// typed gives what stands behind the type: "bob@example.org" of "rfc822; bob@example.org".
func typed(value string) string {
	if kind, rest, found := strings.Cut(value, ";"); found && !strings.ContainsAny(kind, " @<") {
		value = rest
	}
	return strings.TrimSpace(value)
}

// blockOf reads a message, or a block of fields. RFC 3464 has the blocks parted by one empty line, some servers write more.
func blockOf(raw []byte) (header message.Header, rest []byte) {
	return message.Read(bytes.TrimLeft(raw, "\r\n"))
}

// decoded undoes the transfer encoding (RFC 2045 section 6). Of broken code it gives what came before.
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
	content, _ := io.ReadAll(r) // see above
	return content
}

// cutReturned finds where a bounce in plain text begins to quote the message.
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

// diagnosticIn finds a server's refusal in the text for people.
func diagnosticIn(text string) string { return strings.TrimSpace(refusalLine.FindString(text)) }

func capped(text string, limit int) string {
	if len(text) > limit {
		return strings.ToValidUTF8(text[:limit], "")
	}
	return text
}

// about gives the number of the run's message that the report is about, or 0 when it is about another one. What the
// server returns of the message is asked first; a report that returns nothing is known by the envelope id, by the message
// that it refers to, or by the queue id that the server had answered with.
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

// reason words what became of a recipient: `5.1.1 (it has no such mailbox): 550 5.1.1 user unknown (said by mx.example.org)`.
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
