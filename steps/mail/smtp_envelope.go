package mail

import (
	"fmt"
	"slices"
	"strings"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
)

// envelopeWishes are the rows of a step's table that belong to the envelope and not to the headers.
type envelopeWishes struct {
	notify     string // of RFC 3461: "NEVER", or the wanted ones of SUCCESS, FAILURE and DELAY, with commas between
	ret        string // of RFC 3461: "FULL" or "HDRS"
	requireTLS bool   // RFC 8689
}

const envelopeDoes = " The rows NOTIFY (NEVER, or one or more of SUCCESS,FAILURE,DELAY), RET (FULL or HDRS) and REQUIRETLS (yes) belong to the envelope (RFC 3461, RFC 8689): " +
	"the step fails when the server does not offer the extension for them. If it offers DSN, ENVID names the run."

// takeEnvelope separates the rows of a table into those of the envelope and those of the headers.
func takeEnvelope(table [][]string) (wishes envelopeWishes, headers [][]string, err error) {
	for _, row := range table {
		if len(row) != 2 {
			headers = append(headers, row)
			continue
		}
		value := strings.ToUpper(strings.ReplaceAll(row[1], " ", ""))
		valid := true
		switch strings.ToUpper(row[0]) {
		case "NOTIFY":
			wishes.notify = value
			valid = value == "NEVER" || !slices.ContainsFunc(strings.Split(value, ","), func(event string) bool {
				return event != "SUCCESS" && event != "FAILURE" && event != "DELAY"
			})
		case "RET":
			wishes.ret = value
			valid = value == "FULL" || value == "HDRS"
		case "REQUIRETLS":
			wishes.requireTLS = true
			valid = value == "YES"
		default:
			headers = append(headers, row)
		}
		if !valid {
			return wishes, nil, steps.FailScenario("%s cannot be %q: NOTIFY is NEVER or some of SUCCESS,FAILURE,DELAY, RET is FULL or HDRS, REQUIRETLS is yes", row[0], row[1])
		}
	}
	return wishes, headers, nil
}

// compose writes the message of s and takes the rows of the envelope from the table.
func (c *SMTPClient) compose(s *Submission, a steps.Args) (message []byte, err error) {
	a = withHeaders(a)
	if c.wishes, a.Table, err = takeEnvelope(a.Table); err != nil {
		return nil, err
	}
	s.notify = c.wishes.notify
	s.Message, err = compose(c.World, s, a)
	return s.Message, err
}

// asksFor reports whether servers send a report with one of these actions (RFC 3464 section 2.3.3) about the message. Without
// NOTIFY that is one of a failure or of a delay (RFC 3461 section 4.1).
func (s *Submission) asksFor(actions []string) bool {
	return slices.ContainsFunc(actions, func(action string) bool {
		return s.notify == "" && event(action) != "SUCCESS" || strings.Contains(s.notify, event(action))
	})
}

// event returns the value of NOTIFY that asks for reports with an action.
func event(action string) string {
	switch action {
	case "failed":
		return "FAILURE"
	case "delayed":
		return "DELAY"
	default:
		return "SUCCESS"
	}
}

// wishParameters returns the parameters that the wishes add to MAIL and to RCPT.
func (c *SMTPClient) wishParameters(s *Submission) (mail, rcpt string, err error) {
	if c.wishes.requireTLS {
		if _, offered := c.offers["REQUIRETLS"]; !offered || !c.secure {
			return "", "", steps.Fail(result.ReasonRefused, c.Blame, "%s does not offer REQUIRETLS inside TLS: nothing was sent", c.Server)
		}
		mail += " REQUIRETLS"
	}
	if _, offered := c.offers["DSN"]; !offered {
		if c.wishes.notify+c.wishes.ret != "" {
			return "", "", steps.Fail(result.ReasonRefused, c.Blame, "%s does not offer DSN, which NOTIFY and RET need: nothing was sent", c.Server)
		}
		return mail, "", nil
	}
	if c.wishes.ret != "" {
		mail += " RET=" + c.wishes.ret
	}
	mail += " ENVID=" + xtext(fmt.Sprintf("%s.%d", c.World.Run(), s.Number))
	if c.wishes.notify != "" {
		rcpt = " NOTIFY=" + c.wishes.notify
	}
	return mail, rcpt, nil
}

// xtext encodes a parameter as in RFC 3461 section 4, in at most 100 bytes.
func xtext(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if s[i] < '!' || s[i] > '~' || s[i] == '+' || s[i] == '=' {
			fmt.Fprintf(&b, "+%02X", s[i])
		} else {
			b.WriteByte(s[i])
		}
		if b.Len() > 97 { // the next one might not fit
			break
		}
	}
	return b.String()
}
