package mail_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

const backup = "From: Backup <backup@db.demo.test>\r\nSubject: =?iso-8859-2?q?Z=E1loha?= backup of web1 ok\r\nX-Job: nightly\r\n\r\ndone\r\n"

const likeBackup = `
	| From    | ^Backup <backup@db\.demo\.test>$ |
	| subject | záloha BACKUP .* ok              |`

// ago returns a time of day some time ago, in UTC.
func ago(d time.Duration) string { return time.Now().UTC().Add(-d).Format("15:04") }

func TestExpectedMail(t *testing.T) {
	since := func(from, by time.Duration) string {
		return fmt.Sprintf(`Then "bob" has received a message like this between %s and %s in UTC`, ago(from), ago(by))
	}
	const hour, minute = time.Hour, time.Minute
	for _, test := range []struct {
		name   string
		came   []time.Duration // ago
		text   string
		reason result.Reason // empty: it passes
		want   string        // pattern of the message, or of the note
		late   float64       // in seconds, measured; -1: not
	}{
		{"in time", []time.Duration{2 * hour}, since(3*hour, hour), "", `it came at \d\d:\d\d:\d\d UTC on \d+ \w+; the next is due by .*`, 0},
		{"already before its time", []time.Duration{hour}, since(3*hour, -hour), "", `it came at .*`, 0},
		{"not due yet", []time.Duration{24 * hour}, since(3*hour, -hour), "", `it came at .*; the next is due by .*`, 0},
		{"missing", nil, since(3*hour, hour), result.ReasonNotReceived,
			`no message with From "\^Backup <backup@db\\\\\.demo\\\\\.test>\$" and Subject "záloha BACKUP \.\* ok" in bob's INBOX at mail\.demo\.test:993 ` +
				`between \S+ UTC on \d+ \w+ and \S+ UTC on \d+ \w+: it is overdue by 1h0m\d+s, and none of the 1 messages since then matches: did the sending program run, and does its mail go out\?`, 3600},
		{"too early", []time.Duration{5 * hour}, since(3*hour, hour), result.ReasonNotReceived, `no message .*`, 3600},
		{"late", []time.Duration{hour / 2}, since(3*hour, hour), result.ReasonSlow, `the message with From .* came to bob's INBOX at mail\.demo\.test:993 at \S+ UTC on \d+ \w+, (29|30)m\d+s too late: it was due between .*`, 1800},
		{"lately", []time.Duration{25 * hour}, `Then "bob" has received a message like this in the last 26 hours`, "", `it came at .*`, -1},
		{"not lately", []time.Duration{27 * hour}, `Then "bob" has received a message like this in the last 26 hours`, result.ReasonNotReceived,
			`no message with From .* in bob's INBOX at mail\.demo\.test:993 in the last 26 hours: none of the 1 messages since then matches: .*`, -1},
	} {
		t.Run(test.name, func(t *testing.T) {
			bed := fixture.NewMailbed(t, stepstest.MailOptions{})
			deliver(t, bed, unrelated, minute)
			for _, came := range test.came {
				deliver(t, bed, backup, came)
			}
			outcome := bed.Run(t, 5*time.Second, test.text+likeBackup)
			step := outcome.Steps[0]
			if test.reason == "" {
				fixture.Passed(t, outcome)
				if !regexp.MustCompile("^(?:" + test.want + ")$").MatchString(step.Report.Note) {
					t.Errorf("noted %q, want %q", step.Report.Note, test.want)
				}
			} else {
				check(t, outcome, 0, test.reason, result.BlameTarget, test.want)
			}
			late := -1.0
			for _, m := range step.Report.Measurements {
				if m.Name == "mail_expected_late_seconds" {
					late = m.Value
				}
				if m.Name == "mail_expected_age_seconds" && (m.Value < test.came[0].Seconds()-1 || m.Value > test.came[0].Seconds()+5) {
					t.Errorf("it is %v s old, want %s", m.Value, test.came[0])
				}
			}
			if late < test.late-61 || late > test.late+61 || test.late == 0 && late != 0 {
				t.Errorf("late by %v s, want %v", late, test.late)
			}
			if n := bed.Mailbox("bob"); n != len(test.came)+1 {
				t.Errorf("%d messages, want %d: such mail stays", n, len(test.came)+1)
			}
		})
	}
}

func deliver(t *testing.T, bed *fixture.Mailbed, message string, ago time.Duration) {
	t.Helper()
	if err := bed.Deliver("bob", []byte(message), time.Now().Add(-ago)); err != nil {
		t.Fatal(err)
	}
}

func TestExpectedMailMistakes(t *testing.T) {
	const step = `Then "bob" has received a message like this in the last 1 hour`
	for _, test := range []struct {
		name, text string
		setup      func(*fixture.Mailbed)
		reason     result.Reason
		blame      result.Blame
		want       string
	}{
		{"no table", step, nil, result.ReasonScenario, result.BlameScenario, `the step has no table that describes the message: \| Subject \| backup \.\* ok \|`},
		{"a row of one cell", step + "\n| Subject |", nil, result.ReasonScenario, result.BlameScenario, `a row of the table is \["Subject"\], wanted a header field and a regular expression: .*`},
		{"no regular expression", step + "\n| Subject | ( |", nil, result.ReasonScenario, result.BlameScenario, `"\(" is not a regular expression: .*`},
		{"no time zone", `Then "bob" has received a message like this between 02:00 and 06:30 in Europe/Atlantis` + "\n| Subject | x |", nil,
			result.ReasonScenario, result.BlameScenario, `the time zone "Europe/Atlantis" is unknown here: .*: is it spelt like Europe/Berlin, and is tzdata installed\?`},
		{"wrong password", step + "\n| Subject | x |", func(b *fixture.Mailbed) { b.Target.Accounts["bob"].Password = "wrong" }, result.ReasonAuth, result.BlameAccess, `.* refused the login of .*`},
	} {
		t.Run(test.name, func(t *testing.T) {
			bed := fixture.NewMailbed(t, stepstest.MailOptions{})
			if test.setup != nil {
				test.setup(bed)
			}
			check(t, bed.Run(t, 5*time.Second, test.text), 0, test.reason, test.blame, test.want)
		})
	}
}

// A search in a busy mailbox begins with its newest message, and stops early.
func TestExpectedMailInABusyMailbox(t *testing.T) {
	bed := fixture.NewMailbed(t, stepstest.MailOptions{})
	for i := range 1200 {
		deliver(t, bed, unrelated, time.Duration(i)*time.Second)
	}
	deliver(t, bed, backup, 10*time.Minute)
	for step, want := range map[string]string{
		`Then "bob" has received a message like this in the last 1 hour`:                                                     "601 messages",
		fmt.Sprintf(`Then "bob" has received a message like this between %s and %s in UTC`, ago(time.Hour), ago(-time.Hour)): "601 messages",
	} {
		outcome := bed.Run(t, 10*time.Second, step+likeBackup)
		fixture.Passed(t, outcome)
		for _, p := range outcome.Steps[0].Report.Phases {
			if p.Name == "search" && !strings.HasPrefix(p.Note, want[:2]) {
				t.Errorf("%s: looked at %s, want about %s", step, p.Note, want)
			}
		}
	}
}
