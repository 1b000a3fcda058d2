package verdict

import (
	"fmt"
	"testing"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/mail"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

func TestSpam(t *testing.T) {
	const (
		spamAssassin = "X-Spam-Status: No, score=-1.9 required=5.0 tests=BAYES_00,\r\n\tDKIM_SIGNED autolearn=ham\r\n"
		marked       = "X-Spam-Flag: YES\r\nX-Spam-Status: Yes, score=7.2 required=5.0 tests=X\r\n"
		rspamd       = "X-Spamd-Result: default: False [3.50 / 15.00];\r\n\tARC_NA(0.00)[]\r\nX-Rspamd-Action: no action\r\n"
		exchange     = "X-MS-Exchange-Organization-SCL: 1\r\nX-Forefront-Antispam-Report: CIP:192.0.2.7;SCL:1;SFV:NSPM;CAT:NONE\r\n"
	)
	for name, c := range map[string]struct{ header, step, want, score string }{
		"SpamAssassin":           {spamAssassin, "its spam score is below 0", "", "-1.9"},
		"SpamAssassin, too high": {spamAssassin, "its spam score is below -2.5", `the spam score is -1.9, wanted less than -2.5: "X-Spam-Status: No, score=-1.9 required=5.0 tests=BAYES_00, D…" (unexpected, blame filtering)`, "-1.9"},
		"SpamAssassin of old":    {"X-Spam-Status: No, hits=1.5 required=5\r\n", "its spam score is below 2", "", "1.5"},
		"rspamd":                 {rspamd, "its spam score is below 3.6", "", "3.5"},
		"rspamd, score alone":    {"X-Rspamd-Score: -0.10\r\n", "its spam score is below 3", "", "-0.1"},
		"plain score":            {"X-Spam-Score: 4.1 (++++)\r\n", "its spam score is below 4", `the spam score is 4.1, wanted less than 4: "X-Spam-Score: 4.1 (++++)" (unexpected, blame filtering)`, "4.1"},
		"Exchange":               {exchange, "its spam score is below 5", "", "1"},
		"Exchange, report alone": {"X-Forefront-Antispam-Report: CIP:192.0.2.7;SCL:-1;SFV:SKN\r\n", "its spam score is below 5", "", "-1"},
		"no score":               {"X-Spam-Score: high\r\n", "its spam score is below 5", "no spam filter wrote a score into the message in bob's INBOX at imap.mail.test:993: did it pass the filter at all? (unexpected, blame filtering)", ""},
		"good":                   {spamAssassin + rspamd + exchange, "it is not marked as spam", "", "3.5"},
		"unfiltered":             {"", "it is not marked as spam", "", ""},
		"marked":                 {marked, "it is not marked as spam", `the message is marked as spam: "X-Spam-Status: Yes, score=7.2 required=5.0 tests=X" (unexpected, blame filtering)`, "7.2"},
		"marked by flag":         {"X-Spam-Flag: YES\r\n", "it is not marked as spam", `the message is marked as spam: "X-Spam-Flag: YES" (unexpected, blame filtering)`, ""},
		"marked by rspamd":       {"X-Rspamd-Action: add header\r\n", "it is not marked as spam", `the message is marked as spam: "X-Rspamd-Action: add header" (unexpected, blame filtering)`, ""},
		"marked by level":        {"X-MS-Exchange-Organization-SCL: 6\r\n", "it is not marked as spam", `the message is marked as spam: "X-MS-Exchange-Organization-SCL: 6" (unexpected, blame filtering)`, "6"},
		"marked by verdict":      {"X-Forefront-Antispam-Report: CIP:192.0.2.7;SFV:SPM\r\n", "it is not marked as spam", `the message is marked as spam: "X-Forefront-Antispam-Report: CIP:192.0.2.7;SFV:SPM" (unexpected, blame filtering)`, ""},
		"a score in a test":      {"X-Spam-Status: No, required=5.0 tests=MYSCORE\r\n", "its spam score is below 5", "no spam filter wrote a score into the message in bob's INBOX at imap.mail.test:993: did it pass the filter at all? (unexpected, blame filtering)", ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := worldWith(&steps.Target{}, &steps.Account{}, c.header+"From: a@example.org\r\n\r\nX-Spam-Flag: YES\r\n")
			fixture.WantFailure(t, fixture.Perform(t, w, c.step), c.want)
			got := ""
			if score, found := fixture.Reported(w, "mail_spam_score"); found {
				got = fmt.Sprint(score)
			}
			if got != c.score {
				t.Errorf("measured %q, want %q", got, c.score)
			}
		})
	}
	w := worldWith(&steps.Target{}, &steps.Account{}, "From: a@example.org\r\n\r\n")
	steps.State[mail.Session](w).Arrivals[0].Folder = "Junk"
	fixture.WantFailure(t, fixture.Perform(t, w, "it is not marked as spam"), "the message was filed as spam: it is in bob's INBOX at imap.mail.test:993 (unexpected, blame filtering)")
}
