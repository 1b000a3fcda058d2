package mail

import (
	"bufio"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/limit"
	"github.com/stepwatch/stepwatch/steps/regex"
	"github.com/stepwatch/stepwatch/steps/wording"
)

func init() {
	steps.RegisterKind(steps.Kind{Name: "status", Means: "a reply code of SMTP or an enhanced status code: 250, 550, 4.7.1",
		Pattern: `[245]\d\d|[245]\.\d{1,3}\.\d{1,3}`, Sample: "250", Proposed: 6})
}

// Reply is an SMTP server's answer to one command (RFC 5321 section 4.2).
type Reply struct {
	Code  int      // 200 to 599
	Lines []string // the text of each line without the code; printable
}

// String returns the reply on one line: "250 2.1.0 Ok".
func (r Reply) String() string {
	if r.Code == 0 {
		return ""
	}
	return strings.TrimSpace(strconv.Itoa(r.Code) + " " + strings.Join(r.Lines, " "))
}

// Limits of a reply. RFC 5321 section 4.5.3.1.5 allows 512 bytes a line, but some servers send long texts.
var (
	replyLineLimit  = limit.Define(limit.Limit{Subject: "SMTP", What: "a line of the reply", Unit: "bytes", Most: 4096})
	replyBytesLimit = limit.Define(limit.Limit{Subject: "SMTP", What: "the reply", Unit: "bytes", Most: 64 << 10})
	replyLinesLimit = limit.Define(limit.Limit{Subject: "SMTP", What: "the reply", Unit: "lines", Most: 200})
)

var errReply = errors.New("the answer is not an SMTP reply")

// oddLine is a line that is no part of a reply.
type oddLine string

// Error returns what is wrong with it.
func (l oddLine) Error() string {
	return fmt.Sprintf("%q does not begin with a code", wording.OneLine(string(l), 80))
}

// readReply reads one reply of one or more lines. That of net/textproto accepts any number of lines of any length, so a
// broken server could fill memory until the deadline. After an error the Reply holds what was read before.
func readReply(r *bufio.Reader) (Reply, error) {
	var reply Reply
	size := int64(0)
	for range replyLinesLimit.Most {
		raw, err := r.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull) || len(raw) > int(replyLineLimit.Most):
			return reply, replyLineLimit.Exceeded()
		case err != nil:
			return reply, err
		}
		if size += int64(len(raw)); size > replyBytesLimit.Most {
			return reply, replyBytesLimit.Exceeded()
		}
		line := wording.OneLine(strings.TrimRight(string(raw), "\r\n"), int(replyLineLimit.Most))
		code, rest, ok := cutReplyCode(line)
		if !ok {
			return reply, fmt.Errorf("%w: %w", errReply, oddLine(line))
		}
		if reply.Code != 0 && reply.Code != code {
			return reply, fmt.Errorf("%w: its lines have the codes %d and %d", errReply, reply.Code, code)
		}
		reply.Code = code
		text := ""
		if rest != "" {
			text = rest[1:]
		}
		reply.Lines = append(reply.Lines, text)
		if !strings.HasPrefix(rest, "-") {
			return reply, nil
		}
	}
	return reply, replyLinesLimit.Exceeded()
}

// cutReplyCode splits "250-text", "250 text" or "250" into the code and the rest.
func cutReplyCode(line string) (code int, rest string, ok bool) {
	if len(line) < 3 || len(line) > 3 && line[3] != ' ' && line[3] != '-' {
		return 0, "", false
	}
	for i := range 3 {
		if line[i] < '0' || line[i] > '9' {
			return 0, "", false
		}
		code = code*10 + int(line[i]-'0')
	}
	return code, line[3:], code >= 200 && code <= 599
}

var enhancedCode = regex.Lazy(`^[245]\.\d{1,3}\.\d{1,3}(?: |$)`)

// enhanced returns the enhanced status code of RFC 3463, such as "5.1.1", or an empty string.
func (r Reply) enhanced() string {
	if len(r.Lines) == 0 {
		return ""
	}
	return strings.TrimSpace(enhancedCode.FindString(r.Lines[len(r.Lines)-1]))
}

// loginWanted matches what servers answer before a login.
var loginWanted = regex.Lazy(`(?i)\b(?:auth(?:entication|entifi?cation|orization)?|log-?in|logging in) (?:is |was )?(?:first|required|needed|necessary)|\b(?:requires?|needs?) (?:smtp )?(?:auth|an? log-?in)|` +
	`\b(?:must|have to|need to|please|should) (?:first )?(?:issue an? auth|authenticate|log ?in)|not (?:logged in|authenticated)`)

// wantsLogin reports whether the reply refuses a command because there was no login: 530 (RFC 4954 section 6), or any
// refusal that says so. Servers also answer 530 when STARTTLS is missing (RFC 3207 section 4).
func (r Reply) wantsLogin() bool {
	text := strings.Join(r.Lines, " ")
	switch {
	case r.Code/100 != 4 && r.Code/100 != 5, strings.Contains(strings.ToUpper(text), "STARTTLS"):
		return false
	}
	return r.Code == 530 || loginWanted.MatchString(text)
}

// queueIDs match the queue id in the answers of different servers, the most exact pattern first.
var queueIDs = []*regex.Regexp{
	regex.Lazy(`(?i)\bqueued as ([\w.-]*\w)`),                                           // Postfix
	regex.Lazy(`\bid=([\w-]+)`),                                                         // Exim
	regex.Lazy(`(?i)\bInternalId=(\d+)`),                                                // Exchange
	regex.Lazy(`(?i)\bqueued \(([\w.-]+)\)`),                                            // Haraka
	regex.Lazy(`^(?:2\.\d\.\d )?(\w{6,})\s+Message accepted for delivery`),              // sendmail, OpenSMTPD
	regex.Lazy(`^(?:2\.\d\.\d )?<[^>]*> ([\w+/-]{6,}) Saved`),                           // Dovecot
	regex.Lazy(`(?i)^(?:2\.\d\.\d )?ok\.? +\d+ +([\w.-]+) - gsmtp`),                     // Gmail
	regex.Lazy(`(?i)^(?:2\.\d\.\d )?ok\.? +\d+ +qp +(\d+)`),                             // qmail
	regex.Lazy(`(?i)\b(?:queue[ _-]?id|message[ _-]?id|id)[:= ]+<?([\w.@+/-]{5,}[\w])`), // generic
	regex.Lazy(`(?i)^(?:2\.\d\.\d )?ok:? +([\w-]*\d[\w-]{7,})$`),                        // Amazon SES
}

// QueueID returns the queue id from the answer to the end of the message, or "". Search for this id in the server's
// log.
func (r Reply) QueueID() string {
	if r.Code/100 != 2 {
		return ""
	}
	text := strings.Join(r.Lines, " ")
	for _, shape := range queueIDs {
		if m := shape.FindStringSubmatch(text); m != nil {
			return m[1]
		}
	}
	return ""
}
