package steps

import (
	"fmt"
	"slices"
	"strings"

	"github.com/stepwatch/stepwatch/agent/result"
)

// envelopeWishes are the rows of a step's table that stand in the envelope and not among the headers.
type envelopeWishes struct {
	notify     string // of RFC 3461: "NEVER", or of SUCCESS, FAILURE and DELAY those that are wanted, with commas between
	ret        string // of RFC 3461: "FULL" or "HDRS"
	requireTLS bool   // RFC 8689
}

const envelopeDoes = " The rows NOTIFY (NEVER, or SUCCESS,FAILURE,DELAY or some of them), RET (FULL or HDRS) and REQUIRETLS (yes) stand in the envelope (RFC 3461, RFC 8689): " +
	"the step fails when the server does not offer what they need. Where it offers DSN the run is named in ENVID."

// takeEnvelope parts the rows of a table into those of the envelope and those of the headers.
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
			return wishes, nil, scenarioFault("%s cannot be %q: write NOTIFY as NEVER or as some of SUCCESS,FAILURE,DELAY, RET as FULL or HDRS, REQUIRETLS as yes", row[0], row[1])
		}
	}
	return wishes, headers, nil
}

// compose writes the message of s and takes what the table wants of the envelope.
func (c *smtpClient) compose(s *submission, a Args) (message []byte, err error) {
	a = a.withHeaders()
	if c.wishes, a.Table, err = takeEnvelope(a.Table); err != nil {
		return nil, err
	}
	s.message, err = compose(c.w, s, a)
	return s.message, err
}

// wishParameters gives what the wishes add to MAIL and to RCPT.
func (c *smtpClient) wishParameters(s *submission) (mail, rcpt string, err error) {
	if c.wishes.requireTLS {
		if _, offered := c.offers["REQUIRETLS"]; !offered || !c.secure {
			return "", "", Fail(result.ReasonRefused, c.blame, "%s does not offer REQUIRETLS inside TLS: nothing was sent", c.server)
		}
		mail += " REQUIRETLS"
	}
	if _, offered := c.offers["DSN"]; !offered {
		if c.wishes.notify+c.wishes.ret != "" {
			return "", "", Fail(result.ReasonRefused, c.blame, "%s does not offer DSN, which NOTIFY and RET need: nothing was sent", c.server)
		}
		return mail, "", nil
	}
	if c.wishes.ret != "" {
		mail += " RET=" + c.wishes.ret
	}
	mail += " ENVID=" + xtext(fmt.Sprintf("%s.%d", c.w.Run(), s.number))
	if c.wishes.notify != "" {
		rcpt = " NOTIFY=" + c.wishes.notify
	}
	return mail, rcpt, nil
}

// xtext encodes a parameter as RFC 3461 section 4 has it, in 100 bytes at most.
func xtext(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if s[i] < '!' || s[i] > '~' || s[i] == '+' || s[i] == '=' {
			fmt.Fprintf(&b, "+%02X", s[i])
		} else {
			b.WriteByte(s[i])
		}
		if b.Len() > 97 { // the next one might not fit any more
			break
		}
	}
	return b.String()
}
