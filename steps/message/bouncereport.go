package message

import (
	"bytes"
	"errors"
	"strings"

	"github.com/stepwatch/stepwatch/steps/regex"
	"github.com/stepwatch/stepwatch/steps/wording"
)

// Report is what a server reports to the sender about a message: a delivery status notification (RFC 3464, RFC 6533), or
// the text that a server without them writes.
type Report struct {
	Reporter   string // Reporting-MTA, the host that wrote it
	EnvelopeID string // Original-Envelope-Id: the ENVID of the submission, if it had one (RFC 3461)
	QueueID    string // X-Postfix-Queue-ID, as in Postfix's reply to the message
	References string // In-Reply-To and References of the report itself
	Recipients []Recipient
	Original   Header // header of the reported message, as far as it was returned
	Text       string // the text for people, at most TextLimit bytes

	content string // all that can be read of it
}

// Recipient is the outcome for one recipient.
type Recipient struct {
	Address    string // Final-Recipient
	Action     string // "failed", "delayed", "delivered", "relayed" or "expanded"; lower case
	Status     string // RFC 3463: "5.1.1"; of the cause, where the report shows another than its status line says
	Stated     string // the status line's, where Status is another
	Diagnostic string // the reply of the refusing server: "550 5.1.1 <bob@example.org>: user unknown"
	Remote     string // Remote-MTA, the host that replied so; empty if the reporter itself refused, or contacted nobody
}

// The limits of what is kept of a report.
const (
	TextLimit        = 16 << 10 // bytes of the text for people that are kept
	RecipientLimit   = 100
	reportDepthLimit = 8 // of nested parts
	reportPartsLimit = 200
)

// ErrNoReport says that a message is not a delivery report.
var ErrNoReport = errors.New("not a delivery report")

// StatusCode finds an enhanced status code (RFC 3463) in a text.
var StatusCode = regex.Lazy(`\b[245]\.\d{1,3}\.\d{1,3}\b`)

// ParseReport parses a delivery report. It is lenient where a report deviates from the standard. The error is
// ErrNoReport if the message is something else.
//
// A report is what it holds, whatever its outer type says: a part with the status of each recipient. Servers without
// such a part (qmail, dma, old versions of Exim) report in a text. A text is a report if it says so in the way of one of
// them, or if a mail system sent it and it says what reports say or returns a message. Automatic answers of people are
// not reports, nor are receipts, except for one that says that a filter refused the message.
func ParseReport(raw []byte) (*Report, error) { return parseReport(raw, 0) }

func parseReport(raw []byte, depth int) (*Report, error) {
	header, body := blockOf(raw)
	if header.Line("X-Stepwatch-Run") != "" { // it is our own, whatever a scenario writes in it
		return nil, ErrNoReport
	}
	r := &Report{References: header.Line("In-Reply-To") + " " + header.Line("References")}
	c := contents{report: r}
	c.read(header, body, depth)
	r.content = c.all.String()
	if r.Text == "" {
		r.Text = c.html
	}
	explained, returned, found := cutReturned(r.Text)
	if found {
		r.Text = explained
		if r.Original == nil {
			r.Original, _ = blockOf([]byte(returned))
		}
	}
	r.Text = capped(r.Text, TextLimit)
	if len(r.Recipients) == 0 {
		if inner := c.wrapped(depth); inner != nil {
			return inner, nil
		}
		if !r.fromText(header, c) {
			return nil, ErrNoReport
		}
	}
	for i := range r.Recipients {
		r.explain(&r.Recipients[i])
	}
	return r, nil
}

// contents collects what the parts of a report hold.
type contents struct {
	report   *Report
	all      strings.Builder
	html     string   // the text for people, if no part has it as plain text
	messages [][]byte // whole messages in it
	refused  bool     // a receipt says that a filter refused the message
	other    bool     // it is a receipt (RFC 8098), or a complaint (RFC 5965)
	parts    int
}

// read reads a message or a part.
func (c *contents) read(header Header, body []byte, depth int) {
	if c.parts++; c.parts > reportPartsLimit || depth > reportDepthLimit {
		return
	}
	kind, parameters := ContentType(header.Line("Content-Type"))
	if strings.HasPrefix(kind, "multipart/") {
		if parts := Parts(body, parameters["boundary"]); parts != nil {
			for _, part := range parts {
				var inner Header
				var content []byte
				if len(part) > 0 && (part[0] == '\n' || part[0] == '\r') { // it has no header (RFC 2046 section 5.1)
					content = bytes.TrimPrefix(bytes.TrimPrefix(part, []byte("\r")), []byte("\n"))
				} else {
					inner, content = Read(part)
				}
				c.read(inner, content, depth+1)
			}
			return
		}
		kind = "text/plain" // without its boundary the parts are text
	}
	content := Decoded(header, body)
	if strings.HasPrefix(kind, "text/") || strings.HasPrefix(kind, "message/") {
		c.all.Write(content)
		c.all.WriteByte('\n')
	}
	switch kind {
	case "message/rfc822", "message/global", "text/rfc822-headers", "message/rfc822-headers", "message/global-headers":
		c.messages = append(c.messages, content)
		if c.report.Original == nil {
			c.report.Original, _ = blockOf(content)
		}
	case "message/disposition-notification", "message/global-disposition-notification":
		c.other = true
		fields, _ := blockOf(content)
		how := strings.ToLower(strings.ReplaceAll(fields.Line("Disposition"), " ", ""))
		if strings.HasPrefix(how, "automatic-action/") && !strings.Contains(how, ";displayed") && !strings.Contains(how, ";processed") && !strings.Contains(how, ";dispatched") {
			c.refused = true // RFC 5429 section 2.2.1: a filter refuses a message so
		}
	case "message/feedback-report":
		c.other = true
	case "text/html":
		if c.html == "" {
			c.html = plain(string(content))
		}
	default:
		// Gateways give the part with the status another type.
		if kind == "message/delivery-status" || kind == "message/global-delivery-status" || statusBlock.Match(content[:min(len(content), 4096)]) {
			c.report.status(content)
		} else if kind == "text/plain" && c.report.Text == "" {
			c.report.Text = string(content)
		}
	}
}

// statusBlock matches the beginning of a part with the status of recipients.
var statusBlock = regex.Lazy(`(?i)^\s*(?:[\w-]+:[^\n]*\n(?:[ \t][^\n]*\n)*)*?(?:Reporting-MTA|Final-Recipient):`)

// wrapped returns the report in a message that this message holds, as a filter or a person forwards it.
func (c *contents) wrapped(depth int) *Report {
	if depth >= reportDepthLimit {
		return nil
	}
	for _, m := range c.messages[:min(len(c.messages), 3)] {
		if inner, err := parseReport(m, depth+reportDepthLimit/2); err == nil {
			return inner
		}
	}
	return nil
}

// status reads the machine-readable part (RFC 3464 section 2.1): a block about the message, then one for each
// recipient.
func (r *Report) status(content []byte) {
	for len(content) > 0 && len(r.Recipients) < RecipientLimit {
		var block Header
		block, content = blockOf(content)
		if v := block.Line("Reporting-MTA"); v != "" {
			r.Reporter = typed(v)
		}
		if v := block.Line("Original-Envelope-ID"); v != "" {
			r.EnvelopeID = v
		}
		if v := block.Line("X-Postfix-Queue-ID"); v != "" {
			r.QueueID = v
		}
		address := typed(block.Line("Final-Recipient"))
		if address == "" {
			address = typed(block.Line("Original-Recipient"))
		}
		if address == "" && block.Line("Action") == "" {
			continue
		}
		to := Recipient{Address: strings.Trim(address, "<>"), Action: action(block.Line("Action")),
			Diagnostic: typed(block.Line("Diagnostic-Code")), Remote: typed(block.Line("Remote-MTA"))}
		status := block.Line("Status")
		to.Status = StatusCode.FindString(status)
		if to.Diagnostic == "" { // some servers write the reason as a comment of another field
			to.Diagnostic = commentIn(status)
		}
		if to.Action == "" {
			to.Action = map[string]string{"2": "delivered", "4": "delayed"}[to.Status[:min(len(to.Status), 1)]]
		}
		if to.Action == "" {
			to.Action = "failed"
		}
		r.Recipients = append(r.Recipients, to)
	}
}

// action returns an Action field (RFC 3464 section 2.3.3) in the standard's word for it.
func action(value string) string {
	word := strings.ToLower(value)
	if i := strings.IndexAny(word, " \t(;,"); i >= 0 {
		word = word[:i]
	}
	for beginning, known := range map[string]string{"fail": "failed", "delay": "delayed", "deliver": "delivered", "relay": "relayed", "expand": "expanded"} {
		if strings.HasPrefix(word, beginning) {
			return known
		}
	}
	return word
}

// commentIn returns the text beside a status code: "mailbox unknown" in `5.1.1 (mailbox unknown)`.
func commentIn(status string) string {
	at := StatusCode.FindStringIndex(status)
	if at == nil {
		return strings.TrimSpace(status)
	}
	return strings.Trim(status[at[1]:], " \t();,:-")
}

// typed returns the value after the type: "bob@example.org" for "rfc822; bob@example.org".
func typed(value string) string {
	if kind, rest, found := strings.Cut(value, ";"); found && !strings.ContainsAny(strings.TrimSpace(kind), " @<") {
		value = rest
	}
	return strings.TrimSpace(value)
}

// blockOf reads a message or a block of fields. RFC 3464 separates blocks by one empty line, but some servers write
// more.
func blockOf(raw []byte) (header Header, rest []byte) {
	return Read(bytes.TrimLeft(raw, "\r\n"))
}

// Quotes reports whether the report contains this text anywhere, also in what it returns of the message.
func (r *Report) Quotes(text string) bool { return text != "" && strings.Contains(r.content, text) }

// Content returns all that could be read of the report.
func (r *Report) Content() string { return r.content }

func capped(text string, limit int) string {
	if len(text) > limit {
		return strings.ToValidUTF8(text[:limit], "")
	}
	return text
}

// Reason describes the outcome for a recipient: `5.1.1 (it has no such mailbox): 550 5.1.1 user unknown (said by
// mx.example.org)`.
func (r *Report) Reason(to Recipient) string {
	reason := to.Status
	if reason == "" {
		reason = "no status"
	}
	reason += StatusHint(to.Status)
	if to.Diagnostic != "" {
		reason += ": " + wording.OneLine(to.Diagnostic, 300)
	}
	switch {
	case to.Remote != "" && to.Remote != r.Reporter:
		reason += " (said by " + wording.OneLine(to.Remote, 100)
		if r.Reporter != "" {
			reason += ", reported by " + wording.OneLine(r.Reporter, 100)
		}
		reason += ")"
	case r.Reporter != "":
		reason += " (reported by " + wording.OneLine(r.Reporter, 100) + ")"
	}
	return reason
}
