package verdict

import (
	"context"
	"math"
	"strconv"
	"strings"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/mail"
	"github.com/stepwatch/stepwatch/steps/message"
	"github.com/stepwatch/stepwatch/steps/regex"
	"github.com/stepwatch/stepwatch/steps/wording"
)

func init() {
	steps.Register(
		steps.Definition{
			Area: "mail", Sentence: `its spam score is below {number}`,
			Does: "Fails unless the spam filter wrote a score into the received message and it is lower. Reads the first of these headers that exists: X-Spamd-Result and X-Rspamd-Score (rspamd), X-Spam-Status and " +
				"X-Spam-Score (SpamAssassin and others), X-MS-Exchange-Organization-SCL and X-Forefront-Antispam-Report (Exchange).",
			Measures: "Reading the message (phase read, once). Measures mail_spam_score.",
			Example:  `Then its spam score is below 2.5`,
			Func:     spamScoreBelow,
		},
		steps.Definition{
			Area: "mail", Sentence: `it is not marked as spam`,
			Does: "Fails when the received message is in the spam folder or a spam filter marked it: X-Spam-Flag, X-Spam, X-Spam-Status, X-Spamd-Result, X-Rspamd-Action, " +
				"or a spam confidence level of 5 or more (Exchange). A message that no filter examined is not marked.",
			Measures: "Reading the message (phase read, once). Measures mail_spam_score if there is one.",
			Example:  `Then it is not marked as spam`,
			Func:     notMarkedAsSpam,
		},
	)
}

// spamSign is what one header field says about a message.
type spamSign struct {
	header string
	score  float64 // NaN when there is none
	marked bool    // taken for spam
}

const signedNumber = `([-+]?\d+(?:\.\d+)?)`

// spamHeaders are read in this order. The group of the pattern is the score. On Exchange's scale 5 and above mean spam.
var spamHeaders = []struct {
	name   string
	score  *regex.Regexp
	marked func(value string, score float64) bool
}{
	{"X-Spamd-Result", regex.Lazy(`\[\s*` + signedNumber + `\s*/`), func(v string, _ float64) bool {
		return strings.HasPrefix(strings.ToLower(v), "default: true")
	}},
	{"X-Rspamd-Score", regex.Lazy(`^` + signedNumber), nil},
	{"X-Spam-Status", regex.Lazy(`(?i)\b(?:score|hits)=\s*` + signedNumber), saysYes},
	{"X-Spam-Score", regex.Lazy(`^` + signedNumber), nil},
	{"X-MS-Exchange-Organization-SCL", regex.Lazy(`^` + signedNumber), highLevel},
	{"X-Forefront-Antispam-Report", regex.Lazy(`(?i)(?:^|;)\s*SCL:` + signedNumber), func(v string, level float64) bool {
		return highLevel(v, level) || strings.Contains(strings.ToUpper(v), "SFV:SPM")
	}},
	{"X-Spam-Flag", nil, saysYes},
	{"X-Spam", nil, saysYes},
	{"X-Rspamd-Action", nil, func(v string, _ float64) bool {
		v = strings.ToLower(v)
		return strings.HasPrefix(v, "add header") || strings.HasPrefix(v, "rewrite subject") || strings.HasPrefix(v, "reject")
	}},
}

func saysYes(value string, _ float64) bool {
	value = strings.ToLower(value)
	return strings.HasPrefix(value, "yes") || strings.HasPrefix(value, "true")
}

func highLevel(_ string, level float64) bool { return level >= 5 }

// spamSigns reads what spam filters wrote. Of several fields with one name the topmost counts: it was written last.
func spamSigns(fields message.Header) []spamSign {
	var signs []spamSign
	for _, h := range spamHeaders {
		values := fields.Values(h.name)
		if len(values) == 0 {
			continue
		}
		sign := spamSign{header: h.name + ": " + strings.Join(strings.Fields(values[0]), " "), score: math.NaN()}
		if h.score != nil {
			if m := h.score.FindStringSubmatch(values[0]); m != nil {
				if score, err := strconv.ParseFloat(m[1], 64); err == nil {
					sign.score = score
				}
			}
		}
		if h.marked != nil {
			sign.marked = h.marked(values[0], sign.score)
		}
		signs = append(signs, sign)
	}
	return signs
}

// spamScore returns the first sign with a score, and reports it. It returns nil if there is none.
func spamScore(w *steps.World, signs []spamSign) *spamSign {
	for _, s := range signs {
		if !math.IsNaN(s.score) {
			w.Measure("mail_spam_score", "Spam score of the message by the receiving side's filter, on that filter's own scale.", s.score)
			return &s
		}
	}
	return nil
}

func spamScoreBelow(ctx context.Context, w *steps.World, a steps.Args) error {
	limit, err := a.Number(0)
	if err != nil {
		return err
	}
	l, err := mail.ReceivedLetter(ctx, w)
	if err != nil {
		return err
	}
	s := spamScore(w, spamSigns(l.Fields))
	switch {
	case s == nil:
		l.AttachHeader(w)
		return steps.Fail(result.ReasonUnexpected, result.BlameFiltering, "no spam filter wrote a score into the message in %s: did it pass the filter at all?", l.Where)
	case s.score >= limit:
		l.AttachHeader(w)
		return steps.Fail(result.ReasonUnexpected, result.BlameFiltering, "the spam score is %g, wanted less than %g: %s", s.score, limit, wording.Quote(s.header))
	}
	return nil
}

func notMarkedAsSpam(ctx context.Context, w *steps.World, _ steps.Args) error {
	l, err := mail.ReceivedLetter(ctx, w)
	if err != nil {
		return err
	}
	signs := spamSigns(l.Fields)
	spamScore(w, signs)
	if folder := strings.ToLower(l.Folder); folder == "junk" || folder == "spam" {
		l.AttachHeader(w)
		return steps.Fail(result.ReasonUnexpected, result.BlameFiltering, "the message was filed as spam: it is in %s", l.Where)
	}
	for _, s := range signs {
		if s.marked {
			l.AttachHeader(w)
			return steps.Fail(result.ReasonUnexpected, result.BlameFiltering, "the message is marked as spam: %s", wording.Quote(s.header))
		}
	}
	return nil
}
