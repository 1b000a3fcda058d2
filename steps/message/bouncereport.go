package message

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"mime/multipart"
	"mime/quotedprintable"
	"regexp"
	"strings"

	"github.com/stepwatch/stepwatch/steps/parameter"
	"github.com/stepwatch/stepwatch/steps/wording"
)

// Report is a delivery status notification (RFC 3464, RFC 6533): what a server reports to the sender about a
// message.
type Report struct {
	Reporter   string // Reporting-MTA, the host that wrote it
	EnvelopeID string // Original-Envelope-Id: the ENVID of the submission, if it had one (RFC 3461)
	QueueID    string // X-Postfix-Queue-ID, as in Postfix's reply to the message
	References string // In-Reply-To and References of the report itself
	Recipients []Recipient
	Original   Header // header of the reported message, as far as it was returned
	Text       string // the text for people, at most TextLimit bytes
}

// Recipient is the outcome for one recipient.
type Recipient struct {
	Address    string // Final-Recipient
	Action     string // "failed", "delayed", "delivered", "relayed" or "expanded"; lower case
	Status     string // RFC 3463: "5.1.1"
	Diagnostic string // the reply of the refusing server: "550 5.1.1 <bob@example.org>: user unknown"
	Remote     string // Remote-MTA, the host that replied so; empty if the reporter itself refused
}

// The limits of what is kept of a report.
const (
	TextLimit        = 16 << 10 // bytes of the text for people that are kept
	RecipientLimit   = 100
	reportDepthLimit = 5 // of nested parts
)

// ErrNoReport says that a message is not a delivery report.
var ErrNoReport = errors.New("not a delivery report")

// StatusCode finds an enhanced status code (RFC 3463) in a text.
var StatusCode = regexp.MustCompile(`\b[245]\.\d{1,3}\.\d{1,3}\b`)

// ParseReport parses a delivery report. It is lenient where a report deviates from the standard. The error is
// ErrNoReport if the message is something else. Exim and qmail still send bounces from before RFC 3464: ParseReport
// recognises them by X-Failed-Recipients and by qmail's first line, and searches their text for the status.
func ParseReport(raw []byte) (*Report, error) {
	header, body := blockOf(raw)
	r := &Report{References: header.Line("In-Reply-To") + " " + header.Line("References")}
	kind, params := parameter.Mail(header.Line("Content-Type"))
	if kind == "multipart/report" && (params["report-type"] == "" || strings.HasSuffix(strings.ToLower(params["report-type"]), "delivery-status")) {
		r.parts(body, params["boundary"], 0)
		if len(r.Recipients) > 0 {
			return r, nil
		}
		return nil, ErrNoReport
	}
	failed := header.Line("X-Failed-Recipients")
	text := string(decoded(header, body))
	const qmail = "Hi. This is the qmail-send program"
	if failed == "" && !strings.HasPrefix(strings.TrimSpace(text), qmail) {
		return nil, ErrNoReport
	}
	explained, returned, found := cutReturned(text)
	if found {
		r.Original, _ = blockOf([]byte(returned))
	}
	r.Text = capped(explained, TextLimit)
	for i, address := range strings.Split(failed, ",") {
		if i == RecipientLimit {
			break
		}
		r.Recipients = append(r.Recipients, Recipient{Address: strings.TrimSpace(address), Action: "failed",
			Status: StatusCode.FindString(r.Text), Diagnostic: diagnosticIn(r.Text)})
	}
	return r, nil
}

// parts reads the parts of a multipart body.
func (r *Report) parts(body []byte, boundary string, depth int) {
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
		var header Header
		for name, values := range part.Header { // already parsed by the library
			header = append(header, Field{Name: name, Value: values[0], Raw: name + ": " + values[0] + "\r\n"})
		}
		content := decoded(header, raw)
		kind, params := parameter.Mail(header.Line("Content-Type"))
		switch {
		case strings.HasPrefix(kind, "multipart/"):
			r.parts(content, params["boundary"], depth+1)
		case kind == "message/delivery-status", kind == "message/global-delivery-status":
			r.status(content)
		case kind == "message/rfc822", kind == "message/global", kind == "text/rfc822-headers", kind == "message/rfc822-headers", kind == "message/global-headers":
			if r.Original == nil {
				r.Original, _ = blockOf(content)
			}
		case kind == "text/plain", kind == "":
			if r.Text == "" {
				r.Text = capped(string(content), TextLimit)
			}
		}
	}
}

// status reads the machine-readable part (RFC 3464 section 2.1): a block about the message, then one for each
// recipient.
func (r *Report) status(content []byte) {
	for len(content) > 0 && len(r.Recipients) < RecipientLimit {
		var block Header
		block, content = blockOf(content)
		if block.Line("Final-Recipient") == "" && block.Line("Action") == "" {
			if v := block.Line("Reporting-MTA"); v != "" {
				r.Reporter = typed(v)
			}
			if v := block.Line("Original-Envelope-ID"); v != "" {
				r.EnvelopeID = v
			}
			if v := block.Line("X-Postfix-Queue-ID"); v != "" {
				r.QueueID = v
			}
			continue
		}
		action, _, _ := strings.Cut(strings.ToLower(block.Line("Action")), " ")
		status, _, _ := strings.Cut(block.Line("Status"), " ")
		r.Recipients = append(r.Recipients, Recipient{Address: strings.Trim(typed(block.Line("Final-Recipient")), "<>"), Action: action, Status: status,
			Diagnostic: typed(block.Line("Diagnostic-Code")), Remote: typed(block.Line("Remote-MTA"))})
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
func blockOf(raw []byte) (header Header, rest []byte) {
	return Read(bytes.TrimLeft(raw, "\r\n"))
}

// decoded removes the transfer encoding (RFC 2045 section 6). It returns the content up to the first invalid byte.
func decoded(header Header, body []byte) []byte {
	var r io.Reader = bytes.NewReader(body)
	switch word, _ := parameter.Mail(header.Line("Content-Transfer-Encoding")); word {
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
		reason += " (said by " + wording.OneLine(to.Remote, 100) + ", reported by " + wording.OneLine(r.Reporter, 100) + ")"
	case r.Reporter != "":
		reason += " (reported by " + wording.OneLine(r.Reporter, 100) + ")"
	}
	return reason
}
