package mail_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

const intoFolder = `
	When I send a message from "alice" to "bob" via 587
	Then "bob" receives it in the folder "Lists" over IMAP within 2s`

func TestFolderPasses(t *testing.T) {
	fixture.LeavesNothing(t)
	for name, test := range map[string]struct {
		faults []stepstest.Fault
		text   string
	}{
		"filed": {[]stepstest.Fault{stepstest.FaultFile}, intoFolder + `
			And it is unread
			And it arrived once
			And it is not in the spam folder`},
		"junk": {[]stepstest.Fault{stepstest.FaultJunk}, strings.ReplaceAll(intoFolder, "Lists", "Junk")},
		"inbox": {nil, roundTrip + `
			And it is in the inbox
			And it is not in the spam folder
			And it is unread
			And it arrived once`},
		"both ways": {[]stepstest.Fault{stepstest.FaultFile}, intoFolder + "\n" + `And "bob" receives it in the folder "Lists" over IMAP within 2s`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bed := fixture.OpenMailbed(t, stepstest.MailOptions{})
			if err := bed.Break(test.faults...); err != nil {
				t.Fatal(err)
			}
			for range 2 { // the second time the folder exists
				outcome := bed.Run(t, 10*time.Second, test.text)
				fixture.Passed(t, outcome)
				if n := bed.Mailbox("bob"); n != 0 {
					t.Errorf("%d messages left behind", n)
				}
			}
		})
	}
}

func TestFolderFaults(t *testing.T) {
	fixture.LeavesNothing(t)
	for _, test := range []struct {
		name   string
		faults []stepstest.Fault
		text   string
		step   int
		reason result.Reason
		blame  result.Blame
		want   string
		close  bool
	}{
		{
			name: "not filed", text: strings.ReplaceAll(intoFolder, "2s", "200ms"), step: 1,
			reason: result.ReasonNotReceived, blame: result.BlameFiltering,
			want: `the message is in bob's folder "INBOX" at mail\.demo\.test:993, wanted in "Lists": no filter filed it there`,
		},
		{
			name: "lost", faults: []stepstest.Fault{stepstest.FaultDropMail}, text: strings.ReplaceAll(intoFolder, "2s", "200ms"), step: 1,
			reason: result.ReasonNotReceived, blame: result.BlameQueue, close: true,
			want: `no message in bob's folder "Lists", which does not exist, at mail\.demo\.test:993 after 0\.\d{3}s, nor in another folder: mail\.demo\.test:587 accepted it as Q at \S+ UTC; submission 0\.\d{3}s → in transit for \d\.\d+s; nothing came back to alice@demo\.test in 2 folders: ask the operator of mail\.demo\.test:587`,
		},
		{
			name: "bounced", faults: []stepstest.Fault{stepstest.FaultBounce}, text: strings.ReplaceAll(intoFolder, "2s", "200ms"), step: 1,
			reason: result.ReasonNotReceived, blame: result.BlameDelivery,
			want: `the message to bob@demo\.test came back to alice@demo\.test: 5\.2\.2 \(the mailbox is full\): .*`,
		},
		{
			name: "twice", faults: []stepstest.Fault{stepstest.FaultDuplicate}, text: roundTrip + "\nAnd it arrived once", step: 4,
			reason: result.ReasonUnexpected, blame: result.BlameTransfer,
			want: `there are 2 copies of the message in bob's INBOX at mail\.demo\.test:993, UID 1 of \S+ UTC and UID 2 of \S+ UTC: a server sent it again although the next server had it, or two routes lead there`,
		},
		{
			name: "twice in a folder", faults: []stepstest.Fault{stepstest.FaultDuplicate, stepstest.FaultFile}, text: intoFolder + "\nAnd it arrived once", step: 2,
			reason: result.ReasonUnexpected, blame: result.BlameTransfer,
			want: `there are 2 copies of the message in bob's folder "Lists" at mail\.demo\.test:993, UID 1 of .*`,
		},
		{
			name: "in the spam folder", faults: []stepstest.Fault{stepstest.FaultJunk}, text: strings.ReplaceAll(intoFolder, "Lists", "Junk") + "\nAnd it is not in the spam folder", step: 2,
			reason: result.ReasonUnexpected, blame: result.BlameFiltering,
			want: `the message is in bob's folder "Junk" at mail\.demo\.test:993: a filter took it for spam`,
		},
		{
			name: "not in the inbox", faults: []stepstest.Fault{stepstest.FaultFile}, text: intoFolder + "\nAnd it is in the inbox", step: 2,
			reason: result.ReasonUnexpected, blame: result.BlameFiltering,
			want: `the message is in bob's folder "Lists" at mail\.demo\.test:993, not in the INBOX`,
		},
		{
			name: "no flag", text: roundTrip + "\n" + `And it has the flag "\Flagged"`, step: 4,
			reason: result.ReasonUnexpected, blame: result.BlameFiltering,
			want: `the message in bob's INBOX at mail\.demo\.test:993 has the flags \[.*\], wanted "\\\\Flagged"`,
		},
		{
			name: "no quota", text: `Then the mailbox of "bob" is less than 90 % full`,
			reason: result.ReasonUnexpected, blame: result.BlameAccess,
			want: `mail\.demo\.test:993 reports no quota: it lacks QUOTA \(RFC 9208\)`,
		},
		{
			name: "nothing received", text: `Then it arrived once`,
			reason: result.ReasonScenario, blame: result.BlameScenario,
			want: `no message was received before this step: begin with .*`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			bed := fixture.OpenMailbed(t, stepstest.MailOptions{})
			if err := bed.Break(test.faults...); err != nil {
				t.Fatal(err)
			}
			outcome := bed.Run(t, 5*time.Second, test.text)
			check(t, outcome, test.step, test.reason, test.blame, test.want)
			if (outcome.Close != nil) != test.close {
				t.Errorf("left behind: %v", outcome.Close)
			}
			if n := bed.Mailbox("bob"); n != 0 {
				t.Errorf("%d messages in bob's mailbox", n)
			}
		})
	}
}

// Scripted answers of a server with QUOTA.
func TestQuota(t *testing.T) {
	script := func(answer string) string {
		return `
			TLS
			S: * OK [CAPABILITY IMAP4rev1 UIDPLUS QUOTA] ready
			C: @ LOGIN
			S: @ OK [CAPABILITY IMAP4rev1 UIDPLUS QUOTA] in
			C: @ SELECT
			S: * 0 EXISTS
			S: * OK [UIDVALIDITY 1] ok
			S: * OK [UIDNEXT 1] ok
			S: @ OK done
			C: @ GETQUOTAROOT
			` + answer + `
			C: @ LOGOUT
			S: * BYE bye
			S: @ OK done`
	}
	const text = `Then the mailbox of "bob" is less than 90 % full`
	bed := scripted(t, map[string]string{"993": script("S: * QUOTAROOT INBOX \"User quota\"\nS: * QUOTA \"User quota\" (STORAGE 10 20 MESSAGE 5 1000)\nS: @ OK done")})
	outcome := bed.Run(t, 5*time.Second, text)
	fixture.Passed(t, outcome)
	measured := map[string]float64{}
	for _, m := range outcome.Steps[0].Report.Measurements {
		measured[m.Name] = m.Value
	}
	if measured["mail_quota_used_bytes"] != 10240 || measured["mail_quota_limit_bytes"] != 20480 || measured["mail_quota_used_ratio"] != 0.5 {
		t.Errorf("measured %v", measured)
	}
	for answer, want := range map[string]string{
		"S: * QUOTAROOT INBOX \"q\"\nS: * QUOTA \"q\" (STORAGE 19 20)\nS: @ OK done": `the mailbox of bob at mail\.demo\.test:993 is 95\.0 % full, wanted less than 90 %: 19 of 20 KiB; a full mailbox refuses mail`,
		"S: * QUOTAROOT INBOX \"q\"\nS: * QUOTA \"q\" ()\nS: @ OK done":              `mail\.demo\.test:993 sets no limit for the mailbox of bob, so it cannot be full`,
	} {
		bed := scripted(t, map[string]string{"993": script(answer)})
		outcome := bed.Run(t, 5*time.Second, text)
		blame := result.BlameDelivery
		if strings.Contains(want, "sets no limit") {
			blame = result.BlameAccess
		}
		check(t, outcome, 0, result.ReasonUnexpected, blame, want)
	}
}

// The INBOX is a folder like any other.
func TestFolderINBOX(t *testing.T) {
	bed := fixture.NewMailbed(t, stepstest.MailOptions{})
	into := strings.ReplaceAll(roundTrip, `receives it over`, `receives it in the folder "Inbox" over`)
	fixture.Passed(t, bed.Run(t, 5*time.Second, into))
	if n := bed.Mailbox("bob"); n != 0 {
		t.Errorf("%d messages left behind", n)
	}
	if err := bed.Break(stepstest.FaultFile); err != nil {
		t.Fatal(err)
	}
	outcome := bed.Run(t, 5*time.Second, strings.ReplaceAll(into, "IMAP within 5s", "IMAP within 200ms"))
	check(t, outcome, 3, result.ReasonNotReceived, result.BlameFiltering,
		`the message is in bob's folder "Lists" at mail\.demo\.test:993, not in the INBOX: a filter filed it there; it was sent from alice@demo\.test and accepted by mail\.demo\.test:587`)
	if n := bed.Mailbox("bob"); n != 0 || outcome.Close != nil {
		t.Errorf("%d messages left behind, %v", n, outcome.Close)
	}
}
